//! `unireal data export` and `unireal data frames`: write the frames and annotations of videos for other tools.

use std::collections::BTreeMap;

use super::build::Options;
use super::build::source::{self, Item, ItemBuilder};
use super::clip::Clip;
use super::kinds::Counts;
use super::toolkit::{self, Name};
use unireal::{Error, Result};

/// Writes pairs of neighbouring frames with entities and instructions in the authors' toolkit format.
///
/// # Errors
/// As [`build`](super::build::build); an unreadable video is named on stderr and skipped.
pub fn export(options: &Options) -> Result<()> {
    let items = checked_items(options)?;
    let builder = ItemBuilder::new(options)?;
    let (mut instructions, mut pairs) = (BTreeMap::new(), 0);
    for (row, item) in items.iter().enumerate() {
        for (number, clip) in clips(&builder, item).iter().enumerate() {
            for from in 1..clip.frames.len() {
                let name = Name {
                    row: row as u64,
                    video: item.readable_name(),
                    clip: number as u64,
                    start: clip.numbers[from - 1],
                    end: clip.numbers[from],
                };
                let (file, instruction) =
                    toolkit::write(&options.out, &name, clip, [from - 1, from])?;
                instructions.extend(instruction.map(|text| (file, text)));
                pairs += 1;
            }
        }
    }
    toolkit::add_instructions(&options.out, &instructions)?;
    eprintln!("{pairs} pairs, {} with an instruction", instructions.len());
    Ok(())
}

/// Writes the frames that `build` would select as `OUT/<video>/<frame>.png`, for annotators.
///
/// # Errors
/// As [`export`].
pub fn frames(options: &Options) -> Result<()> {
    let items = checked_items(options)?;
    let (builder, mut count) = (ItemBuilder::new(options)?, 0);
    for item in &items {
        let folder = options.out.join(item.stem());
        for clip in clips(&builder, item) {
            std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
            for (image, number) in clip.frames.iter().zip(&clip.numbers) {
                image.save(folder.join(format!("{number:05}.png")))?;
                count += 1;
            }
        }
    }
    eprintln!("{count} frames");
    Ok(())
}

/// Returns the items of the options' part, after checking the options and the programs that read videos.
fn checked_items(options: &Options) -> Result<Vec<Item>> {
    options.check()?;
    let items = source::items_of_part(options)?;
    source::check_programs(&items)?;
    Ok(items)
}

/// Returns the clips of an item; an unreadable item is reported on stderr and has none.
fn clips(builder: &ItemBuilder, item: &Item) -> Vec<Clip> {
    match builder.clips(item, &mut Counts::default()) {
        Ok(clips) => clips,
        Err(e) => {
            eprintln!("skipped {}: {e}", item.name());
            Vec::new()
        }
    }
}
