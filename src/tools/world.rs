//! The tabletop world: a simulated table with solids on it, from which come instructions, pictures before and after,
//! and the exact truth about both. It trains and tests the shipped model and stands in for the video frames from which
//! the paper draws its training pairs (section 3.3): what moves or changes is known, the rest of the picture holds still.

mod body;
mod edit;
mod family;
mod render;
mod scene;
#[cfg(test)]
mod tests;
mod words;

use std::io::Write;
use std::path::PathBuf;

pub use edit::{Edit, Kind};
pub use family::{Family, Pair, Sample, Task, corpus, effect, family, sample};
pub use render::{Rendered, render};
pub use scene::{Cell, Colour, Ground, Light, MAX_SOLIDS, Scene, Shape, Size, Solid, Tone};

use crate::error::{Error, Result};
use crate::image::Image;

/// What `unireal world` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Folder for the samples: NNNNNN-before.png, -after.png, -mask.png and samples.jsonl
    #[arg(long, value_name = "DIR", required_unless_present = "sheet")]
    pub out: Option<PathBuf>,
    /// Number of samples
    #[arg(long, default_value_t = 24)]
    pub count: u64,
    /// Seed of the first sample; the others count up from it
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Pixels along a side
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub size: u32,
    /// Only this kind: recolour, remove, add, move, text-to-image or segment; all in turn when left out
    #[arg(long)]
    pub kind: Option<Kind>,
    /// Picture of all samples in a grid, before beside after
    #[arg(long, value_name = "FILE")]
    pub sheet: Option<PathBuf>,
}

/// Writes samples of the world, as files, as a contact sheet, or both.
///
/// # Errors
/// [`Error::Format`] that names the file that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let seeds = options.seed..options.seed.saturating_add(options.count);
    let samples = seeds.enumerate().map(|(i, seed)| {
        let kind = options.kind.unwrap_or(Kind::ALL[i % Kind::ALL.len()]);
        (seed, sample(kind, seed, options.size))
    });
    let mut sheet = Vec::new();
    let mut lines = String::new();
    for (seed, sample) in samples {
        if let Some(folder) = &options.out {
            lines.push_str(&write(folder, seed, &sample, options.size)?);
        }
        if options.sheet.is_some() {
            sheet.push(sample);
        }
    }
    if let Some(folder) = &options.out {
        let path = folder.join("samples.jsonl");
        std::fs::File::create(&path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(|e| Error::format(path.display().to_string(), e))?;
    }
    match &options.sheet {
        Some(path) => {
            let pairs = sheet.iter().map(|sample| {
                let before = sample.inputs.first().map(|(image, _)| image);
                [before, Some(&sample.output)]
            });
            let columns = (sheet.len() as f64 / 2.0).sqrt().ceil() as usize;
            Image::sheet(&pairs.collect::<Vec<_>>(), columns)?.save(path)
        }
        None => Ok(()),
    }
}

/// Writes one sample's pictures and returns its line of the list.
fn write(folder: &std::path::Path, seed: u64, sample: &Sample, size: u32) -> Result<String> {
    std::fs::create_dir_all(folder).map_err(|e| Error::format(folder.display().to_string(), e))?;
    let file = |what: &str| format!("{seed:06}-{what}.png");
    let before = sample.inputs.first().map(|_| file("before"));
    for ((image, _), name) in sample.inputs.iter().zip(&before) {
        image.save(&folder.join(name))?;
    }
    sample.output.save(&folder.join(file("after")))?;
    let white = sample.mask.iter().flat_map(|&on| [255 * u8::from(on); 3]);
    Image::from_rgb(size, size, white.collect())?.save(&folder.join(file("mask")))?;
    let tags: Vec<_> = sample.tags.iter().map(|tag| tag.name()).collect();
    let line = serde_json::json!({
        "seed": seed,
        "kind": sample.kind.name(),
        "prompt": sample.prompt,
        "tags": tags,
        "before": before,
        "after": file("after"),
        "mask": file("mask"),
    });
    Ok(format!("{line}\n"))
}
