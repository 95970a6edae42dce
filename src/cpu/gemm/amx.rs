//! GEMM of a 32 x 32 block with AMX tiles: `tdpbf16ps` multiplies a left tile by a right tile in one instruction.

use std::arch::asm;

use super::pack::Tile;

/// Rows and bytes of the eight tile registers (Intel's software developer manual, `LDTILECFG`).
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

const fn eight<const N: u16>() -> [u16; 16] {
    let mut all = [0; 16];
    let mut i = 0;
    while i < 8 {
        all[i] = N;
        i += 1;
    }
    all
}

static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: eight::<64>(),
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tile registers, configured for [`block`] until this is dropped.
pub(crate) struct Tiles(());

impl Tiles {
    /// Configures this thread's tile registers.
    ///
    /// # Safety
    /// CPU and operating system must grant AMX.
    pub(crate) unsafe fn configure() -> Self {
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack)) };
        Tiles(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: only `configure`, which requires AMX, creates this.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// [`super::avx512::block`] with AMX, for all 32 rows.
///
/// # Safety
/// [`Tiles`] must be configured; the pointers as for [`super::avx512::block`].
pub(crate) unsafe fn block(
    left: [*const Tile; 2],
    right: [*const Tile; 2],
    depth: usize,
    c: *mut f32,
    stride: usize,
    add: bool,
) {
    let below = c.wrapping_add(16 * stride);
    // One statement, since the compiler does not preserve tile registers between statements.
    unsafe {
        asm!(
            "test {add}, {add}",
            "jz 3f",
            "tileloadd tmm0, [{c}+{l}*1]",
            "tileloadd tmm1, [{c}+{l}*1+64]",
            "tileloadd tmm2, [{d}+{l}*1]",
            "tileloadd tmm3, [{d}+{l}*1+64]",
            "jmp 2f",
            "3:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a0}+{s}*1]",
            "tileloadd tmm6, [{b0}+{s}*1]",
            "tileloadd tmm5, [{a1}+{s}*1]",
            "tileloadd tmm7, [{b1}+{s}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 1024",
            "add {a1}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {i}",
            "jnz 2b",
            "tilestored [{c}+{l}*1], tmm0",
            "tilestored [{c}+{l}*1+64], tmm1",
            "tilestored [{d}+{l}*1], tmm2",
            "tilestored [{d}+{l}*1+64], tmm3",
            a0 = inout(reg) left[0] => _, a1 = inout(reg) left[1] => _,
            b0 = inout(reg) right[0] => _, b1 = inout(reg) right[1] => _,
            s = in(reg) 64usize, i = inout(reg) depth => _, add = in(reg) u64::from(add),
            c = in(reg) c, d = in(reg) below, l = in(reg) 4 * stride,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack)
        );
    }
}
