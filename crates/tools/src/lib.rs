//! The library of the command `unireal`: data, training, packing, generation, evaluation, benchmarks.

/// Prints a line to the standard output like `println!`, but ignores errors such as a closed pipe after `| head`.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

pub mod arguments;
pub mod bench;
pub mod data;
pub mod evaluate;
mod float_weights;
pub mod frame;
pub mod generate;
pub mod location;
pub mod pack;
/// Precision of matrix products on the CPU.
pub mod precision {
    pub use unireal::internals::cpu::gemm::engine::{
        Engine, Precision, Scope, check_variable, engine, scoped,
    };
}
pub mod train;
pub mod world;
