//! The precision of CPU matrix products: f32, or bf16 operands with f32 sums where the CPU has instructions for them. The CPU's
//! features are detected once; the precision is thread-local, so that two models in one process do not affect each other.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Precision of the operands of matrix products. Sums, weights and everything else are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Operands rounded to bf16.
    Bf16,
}

impl FromStr for Precision {
    type Err = Error;

    /// Parses `f32` or `bf16`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Precision::F32),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(Error::Request(format!(
                "precision {text:?}, expected f32 or bf16"
            ))),
        }
    }
}

/// Instructions that multiply bf16 matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Intel AMX: tiles of 16 x 32 bf16 numbers.
    Amx,
    /// AVX-512 BF16: `vdpbf16ps`.
    Avx512,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Amx => "AMX tiles",
            Engine::Avx512 => "AVX-512 BF16",
        })
    }
}

/// Environment variable that restricts [`engine`] for tests: `amx`, `avx512` or `off`.
pub const VARIABLE: &str = "UNIREAL_BF16";

/// Checks the value of [`VARIABLE`].
///
/// # Errors
/// [`Error::Request`] for a value that [`engine`] does not know.
pub fn check_variable() -> Result<()> {
    match std::env::var_os(VARIABLE) {
        None => Ok(()),
        Some(value) if ["off", "avx512", "amx"].iter().any(|known| value == *known) => Ok(()),
        Some(value) => Err(Error::Request(format!(
            "{VARIABLE} is {value:?}, expected off, avx512 or amx"
        ))),
    }
}

/// Returns the fastest bf16 instructions that CPU and operating system grant; `None` if there are none.
pub fn engine() -> Option<Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    *ENGINE.get_or_init(|| match std::env::var(VARIABLE).as_deref() {
        Ok("off") => None,
        Ok("avx512") => has_avx512().then_some(Engine::Avx512),
        Ok("amx") => has_amx().then_some(Engine::Amx),
        _ if has_amx() => Some(Engine::Amx),
        _ => has_avx512().then_some(Engine::Avx512),
    })
}

/// Returns the model name of the CPU for reports, or "unknown CPU".
#[cfg(not(target_arch = "wasm32"))]
pub fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(':'));
    name.map_or_else(|| "unknown CPU".into(), |(_, name)| name.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512bf16")
}

/// Detects AMX by CPUID and requests permission for the tile registers from Linux (`ARCH_REQ_XCOMP_PERM`).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_amx() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
    let (bf16, tiles) = (features >> 22 & 1 == 1, features >> 24 & 1 == 1);
    if !bf16 || !tiles || !has_avx512() {
        return false;
    }
    let answer: i64;
    // SAFETY: the system call changes only the process's permission; it clobbers rcx and r11.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA, out("rcx") _, out("r11") _);
    }
    answer == 0
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn has_amx() -> bool {
    false
}

thread_local! {
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Returns the requested precision, by default bf16 for `fast` work and f32 for other work; always f32 without bf16 instructions. Prints
/// a line to standard error when bf16 was requested and is not available.
#[cfg(not(target_arch = "wasm32"))]
pub fn choose(requested: Option<Precision>, fast: bool) -> Precision {
    let wanted = match requested {
        Some(precision) => precision,
        None if fast => Precision::Bf16,
        None => Precision::F32,
    };
    if requested == Some(Precision::Bf16) && engine().is_none() {
        eprintln!(
            "precision: bf16 instructions not found on {}, using f32",
            cpu_name()
        );
    }
    wanted.available()
}

/// Returns the precision of this thread's matrix products.
pub fn precision() -> Precision {
    PRECISION.get()
}

/// Sets the precision of this thread's matrix products until the guard is dropped: [`Precision::available`], so f32 where the CPU has no
/// bf16 instructions.
#[must_use]
pub fn scoped(precision: Precision) -> Scope {
    Scope(PRECISION.replace(precision.available()))
}

/// Restores the previous precision when dropped; see [`scoped`].
#[derive(Debug)]
pub struct Scope(Precision);

impl Drop for Scope {
    fn drop(&mut self) {
        PRECISION.set(self.0);
    }
}

impl Precision {
    /// Returns its name in options and reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Returns this precision, or f32 where the CPU has no instructions for it.
    pub fn available(self) -> Self {
        match engine() {
            Some(_) => self,
            None => Precision::F32,
        }
    }
}
