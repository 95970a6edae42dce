//! The native commands around the model: the tabletop world, training, packing, generating, evaluating.

/// A line to the standard output, as `println!` writes it; that nobody reads it any more, as after `| head`, is no error.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

pub mod data;
pub mod evaluate;
pub mod generate;
pub mod pack;
pub mod train;
pub mod world;
