//! The native commands around the model: the tabletop world, training, packing, generating, evaluating.

/// A line to the standard output, as `println!` writes it; that nobody reads it any more, as after `| head`, is no error.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

mod arguments;
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
        Engine, Precision, Scope, VARIABLE, engine, scoped,
    };
}
pub mod train;
pub mod world;

use std::time::Instant;

use unireal::Result;
use unireal::internals::gpu::device::{self, Choice, Opened};
use unireal::internals::gpu::measure_tiles;
use unireal::internals::weights::quant::Encoding;

/// Opens a device with the tiles that are the fastest on it.
async fn open_device(choice: Choice) -> Result<Opened> {
    let opened = device::open(choice, &Encoding::QUANTIZED).await?;
    let start = Instant::now();
    measure_tiles(&opened.device, &Encoding::QUANTIZED, || {
        start.elapsed().as_secs_f64() * 1e3
    })
    .await;
    Ok(opened)
}
