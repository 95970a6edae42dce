//! Opens a device and loads a pack from disk: the front door of native programs.

use std::path::Path;
use std::time::Instant;

use crate::error::Result;
use crate::gpu::device::{self, Choice, Opened};
use crate::gpu::measure_tiles;
use crate::pipeline::Pipeline;
use crate::weights::files::Folder;
use crate::weights::load::{Plan, Progress};
use crate::weights::quant::Encoding;

/// Options of loading a [`Pipeline`], made by [`Pipeline::from_dir`].
///
/// ```
/// use unireal::{Device, Pipeline};
///
/// # fn main() -> unireal::Result<()> {
/// let pipeline = Pipeline::from_dir("www/models/tabletop")
///     .device(Device::Cpu)
///     .on_progress(|progress| eprintln!("{} of {} bytes", progress.loaded, progress.total))
///     .load_blocking()?;
/// assert_eq!(pipeline.device_kind(), "cpu");
/// # Ok(())
/// # }
/// ```
pub struct Loader {
    folder: Folder,
    device: Choice,
    on_progress: Box<dyn FnMut(Progress)>,
}

impl Pipeline {
    /// Starts loading the pack in a local folder.
    pub fn from_dir(path: impl AsRef<Path>) -> Loader {
        Loader {
            folder: Folder::new(path),
            device: Choice::Auto,
            on_progress: Box::new(|_| ()),
        }
    }
}

impl Loader {
    /// Chooses the device; [`Choice::Auto`] by default.
    pub fn device(mut self, device: Choice) -> Self {
        self.device = device;
        self
    }

    /// Calls `on_progress` after each shard.
    pub fn on_progress(mut self, on_progress: impl FnMut(Progress) + 'static) -> Self {
        self.on_progress = Box::new(on_progress);
        self
    }

    /// Reads the pack, verifies it and puts its weights on the device.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) or [`Error::Format`](crate::Error::Format) when a file is missing or malformed,
    /// [`Error::Integrity`](crate::Error::Integrity) when a shard does not have the hash of its index,
    /// [`Error::Unsupported`](crate::Error::Unsupported) when the device is not there.
    pub async fn load(mut self) -> Result<Pipeline> {
        let plan = Plan::read(&self.folder).await?;
        let opened = open(self.device).await?;
        Pipeline::load(plan, &self.folder, opened, &mut self.on_progress).await
    }

    /// Like [`Loader::load`], for programs without an async runtime.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_blocking(self) -> Result<Pipeline> {
        pollster::block_on(self.load())
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("folder", &self.folder)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// Opens a device and measures which tiles are the fastest on it.
///
/// # Errors
/// As [`device::open`].
pub async fn open(choice: Choice) -> Result<Opened> {
    let opened = device::open(choice, &Encoding::QUANTIZED).await?;
    let start = Instant::now();
    measure_tiles(&opened.device, &Encoding::QUANTIZED, || {
        start.elapsed().as_secs_f64() * 1e3
    })
    .await;
    Ok(opened)
}
