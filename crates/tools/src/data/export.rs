//! `unireal data export` and `unireal data frames`: write the frames and annotations of videos for other tools.

use std::collections::BTreeMap;

use super::build::Options;
use super::build::source::{self, Item, SampleBuilder};
use super::kinds::Counts;
use super::toolkit::{self, Name};
use unireal::{Error, Result};

/// Writes pairs of neighbouring frames with entities and instructions in the authors' toolkit format.
///
/// # Errors
/// As [`build`](super::build::build); an unreadable video is named on stderr and skipped.
pub fn export(options: &Options) -> Result<()> {
    let (builder, mut told, mut pairs) = (SampleBuilder::new(options)?, BTreeMap::new(), 0);
    for (row, item) in mine(options)?.iter().enumerate() {
        let clips = match builder.clips(item, &mut Counts::default()) {
            Err(e) => {
                eprintln!("skipped {}: {e}", item.name());
                continue;
            }
            Ok(clips) => clips,
        };
        for (number, clip) in clips.iter().enumerate() {
            for from in 1..clip.frames.len() {
                let name = Name {
                    row: row as u64,
                    video: item.legible(),
                    clip: number as u64,
                    start: clip.numbers[from - 1],
                    end: clip.numbers[from],
                };
                let (file, instruction) =
                    toolkit::write(&options.out, &name, clip, [from - 1, from])?;
                told.extend(instruction.map(|text| (file, text)));
                pairs += 1;
            }
        }
    }
    toolkit::add_instructions(&options.out, &told)?;
    eprintln!("{pairs} pairs, {} with an instruction", told.len());
    Ok(())
}

/// Writes the frames that `build` would select as `OUT/<video>/<frame>.png`, for annotators.
///
/// # Errors
/// As [`export`].
pub fn frames(options: &Options) -> Result<()> {
    let (builder, mut count) = (SampleBuilder::new(options)?, 0);
    for item in mine(options)? {
        let clips = match builder.clips(&item, &mut Counts::default()) {
            Err(e) => {
                eprintln!("skipped {}: {e}", item.name());
                continue;
            }
            Ok(clips) => clips,
        };
        let folder = options.out.join(item.stem());
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        for clip in clips {
            for (image, number) in clip.frames.iter().zip(&clip.numbers) {
                image.save(folder.join(format!("{number:05}.png")))?;
                count += 1;
            }
        }
    }
    eprintln!("{count} frames");
    Ok(())
}

/// Returns the items of the options' part.
fn mine(options: &Options) -> Result<Vec<Item>> {
    let (k, n) = options.part;
    Ok(source::items(options)?
        .into_iter()
        .skip(k - 1)
        .step_by(n)
        .collect())
}
