//! An AMX emulator, so that the AMX code is tested on every CPU with AVX-512 BF16. A handler of SIGILL decodes and executes the tile
//! instructions that [`super::amx`] uses, slowly, for full tiles of 16 rows by 64 bytes only.

use std::cell::RefCell;
use std::sync::Once;

use half::bf16;

/// A tile register, 16 rows of 64 bytes.
type Register = [[u32; 16]; 16];

thread_local! {
    static REGISTERS: RefCell<[Register; 8]> = const { RefCell::new([[[0; 16]; 16]; 8]) };
}

/// Installs the handler for this process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler has the signature that SA_SIGINFO requires.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(
                libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()),
                0
            );
        }
    });
}

extern "C" fn handle(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system passes the context of the faulting instruction.
    let general = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let rip = general[libc::REG_RIP as usize];
    match execute(rip as *const u8, general) {
        Some(length) => general[libc::REG_RIP as usize] = rip + length,
        // Another illegal instruction: abort, as without a handler.
        None => std::process::abort(),
    }
}

/// Returns the value of a general register by its number in an instruction's encoding.
fn register(general: &[libc::greg_t; 23], number: u8) -> i64 {
    const ORDER: [i32; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];
    general[ORDER[usize::from(number)] as usize]
}

/// Executes the instruction at `code` and returns its length; `None` when it is not emulated.
fn execute(code: *const u8, general: &[libc::greg_t; 23]) -> Option<i64> {
    // SAFETY: a fetched instruction can be read up to its length.
    let byte = |i: usize| unsafe { code.add(i).read() };
    let (first, second) = (byte(1), byte(2));
    if byte(0) != 0xc4 || first & 0x1f != 2 {
        return None;
    }
    let extend = |bit: u8| if first >> bit & 1 == 0 { 8 } else { 0 };
    let (prefix, other) = (second & 3, usize::from(!(second >> 3) & 15));
    let (operation, modrm) = (byte(3), byte(4));
    let (mode, middle, low) = (modrm >> 6, usize::from(modrm >> 3 & 7), modrm & 7);
    REGISTERS.with_borrow_mut(|tiles| match (operation, prefix) {
        // tilerelease and ldtilecfg do nothing: tiles are always full here.
        (0x49, 0) if mode == 3 => Some(5),
        (0x49, 0) => address(&byte, general, extend(6), extend(5)).map(|(_, _, length)| length),
        (0x49, 3) => {
            tiles[middle] = [[0; 16]; 16];
            Some(5)
        }
        (0x4b, 2 | 3) if low == 4 => {
            let (start, stride, length) = address(&byte, general, extend(6), extend(5))?;
            for (r, row) in tiles[middle].iter_mut().enumerate() {
                let at = (start + r as i64 * stride) as *mut [u32; 16];
                // SAFETY: the instruction itself would access the same memory.
                match prefix {
                    3 => *row = unsafe { at.read_unaligned() },
                    _ => unsafe { at.write_unaligned(*row) },
                }
            }
            Some(length)
        }
        (0x5c, 2) if mode == 3 => {
            let (left, right) = (tiles[usize::from(low)], tiles[other]);
            multiply(&left, &right, &mut tiles[middle]);
            Some(5)
        }
        _ => None,
    })
}

/// Decodes a memory operand: its start, its stride and the length of the instruction.
fn address(
    byte: &impl Fn(usize) -> u8,
    general: &[libc::greg_t; 23],
    index_bit: u8,
    base_bit: u8,
) -> Option<(i64, i64, i64)> {
    let (mode, low) = (byte(4) >> 6, byte(4) & 7);
    let (mut length, mut stride, mut base) = (5, 0, low | base_bit);
    if low == 4 {
        let sib = byte(5);
        length = 6;
        base = sib & 7 | base_bit;
        let index = sib >> 3 & 7 | index_bit;
        stride = if index == 4 {
            0
        } else {
            register(general, index) << (sib >> 6)
        };
    }
    let start = register(general, base);
    match mode {
        0 if base & 7 != 5 => Some((start, stride, length as i64)),
        1 => Some((
            start + i64::from(byte(length).cast_signed()),
            stride,
            length as i64 + 1,
        )),
        2 => {
            let bytes = [0, 1, 2, 3].map(|i| byte(length + i));
            Some((
                start + i64::from(i32::from_le_bytes(bytes)),
                stride,
                length as i64 + 4,
            ))
        }
        _ => None,
    }
}

fn multiply(left: &Register, right: &Register, sums: &mut Register) {
    let values =
        |pair: u32| [pair as u16, (pair >> 16) as u16].map(|bits| bf16::from_bits(bits).to_f32());
    for (row, sums) in left.iter().zip(sums) {
        for (pair, columns) in row.iter().zip(right) {
            let [a, b] = values(*pair);
            for (sum, column) in sums.iter_mut().zip(columns) {
                let [x, y] = values(*column);
                *sum = (f32::from_bits(*sum) + a * x + b * y).to_bits();
            }
        }
    }
}
