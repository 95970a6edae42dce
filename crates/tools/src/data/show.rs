//! `unireal data show`: draws one contact sheet per kind, with inputs and their roles, outputs and prompts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::card::{self, Card, INK, PALE, RESULT, role_colour};
use super::sample::{Kind, Sample};
use super::shard;
use unireal::Image;
use unireal::{Error, Result};

/// Command-line options of `unireal data show`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Shards, or folders of shards
    #[arg(required = true, value_name = "DIR|FILE")]
    pub shards: Vec<PathBuf>,
    /// Folder for the sheets
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Maximum number of samples on a sheet
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub count: usize,
}

/// Number of cards per row.
const COLUMNS: usize = 2;
/// Maximum number of prompts shown per sample.
const PROMPTS: usize = 3;

/// Draws the sheets and prints the files' names.
///
/// # Errors
/// As [`sheets`], and [`Error::Format`] or [`Error::Io`] when the folder or a sheet cannot be written.
pub fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.out).map_err(|e| Error::io(&options.out, e))?;
    for (kind, sheet) in sheets(&options.shards, options.count)? {
        let path = options.out.join(format!("{}.png", kind.name()));
        sheet.save(&path)?;
        say!("{}", path.display());
    }
    Ok(())
}

/// Returns a sheet for each kind in the shards, with at most `count` samples that cycle through the variants.
///
/// # Errors
/// [`Error::Format`] or [`Error::Io`] when a shard cannot be read, [`Error::Request`] when there is no sample or `count` is 0.
pub fn sheets(paths: &[PathBuf], count: usize) -> Result<Vec<(Kind, Image)>> {
    if count == 0 {
        return Err(Error::Request(
            "drawing sheets: 0 samples per sheet, expected 1 or more".into(),
        ));
    }
    let mut chosen: BTreeMap<Kind, BTreeMap<String, Vec<Sample>>> = BTreeMap::new();
    for path in shard::find(paths)? {
        for sample in shard::encoded(&path)? {
            let sample = sample?;
            let variants = chosen.entry(sample.kind).or_default();
            let variant = variants.entry(sample.variant.clone()).or_default();
            if variant.len() < count {
                variant.push(sample.decode()?);
            }
        }
    }
    if chosen.is_empty() {
        return Err(Error::Request(
            "drawing sheets: the shards hold no sample, expected 1 or more".into(),
        ));
    }
    let sheet = |(kind, variants): (Kind, BTreeMap<String, Vec<Sample>>)| {
        let mut samples = Vec::new();
        for i in 0..count {
            samples.extend(variants.values().filter_map(|variant| variant.get(i)));
        }
        samples.truncate(count);
        (kind, sheet(&samples))
    };
    Ok(chosen.into_iter().map(sheet).collect())
}

/// Returns the card of a sample.
fn card(sample: &Sample) -> Card<'_> {
    let inputs = sample.inputs.iter().enumerate().map(|(i, (image, role))| {
        let label = format!("IMG{} {}", i + 1, role.name());
        (image, label, role_colour(*role))
    });
    let outputs = sample.outputs.iter().enumerate();
    let outputs = outputs.map(|(i, image)| (image, format!("RES{}", i + 1), RESULT));
    let prompts = sample.prompts.iter().take(PROMPTS);
    let tags: Vec<&str> = sample.context.iter().map(|tag| tag.name()).collect();
    let origin = format!("[{}] {} {}", tags.join(", "), sample.variant, sample.source);
    Card {
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        lines: prompts
            .map(|prompt| (prompt.clone(), INK))
            .chain(std::iter::once((origin, PALE)))
            .collect(),
    }
}

fn sheet(samples: &[&Sample]) -> Image {
    let cards: Vec<Card<'_>> = samples.iter().map(|sample| card(sample)).collect();
    card::sheet(&cards, COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::prelude::RgbColor as _;
    use serde_json::json;
    use unireal::Role;

    #[test]
    fn a_sheet_shows_the_images_and_marks_the_roles() {
        let image = |colour: [u8; 3]| Image::from_rgb(64, 32, colour.repeat(64 * 32)).unwrap();
        let sample = Sample {
            kind: Kind::Insertion,
            variant: String::new(),
            prompts: vec!["words with ünïcode and 漢字".into(), "x".repeat(500)],
            context: vec![],
            inputs: vec![
                (image([9, 99, 9]), Role::Canvas),
                (image([9, 9, 99]), Role::Asset),
            ],
            outputs: vec![image([99, 9, 9])],
            changed: None,
            source: json!({}),
        };
        let sheet = sheet(&[&sample, &sample, &sample]);
        let count = |colour: [u8; 3]| sheet.rgb.chunks_exact(3).filter(|p| **p == colour).count();
        for colour in [[9, 99, 9], [9, 9, 99], [99, 9, 9]] {
            assert_eq!(count(colour), 3 * 128 * 64);
        }
        let frame = |role| {
            let colour = role_colour(role);
            count([colour.r(), colour.g(), colour.b()])
        };
        assert!(
            frame(Role::Canvas) >= 3 * 2 * (130 + 64) && frame(Role::Asset) >= 3 * 2 * (130 + 64)
        );
    }

    #[test]
    fn sheets_of_no_samples_are_refused() {
        let error = sheets(&[], 0).unwrap_err().to_string();
        assert!(error.contains("0 samples per sheet"), "{error}");
    }
}
