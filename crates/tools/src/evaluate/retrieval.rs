//! `unireal evaluate retrieval`: measures the tabletop's small encoders on held-out samples: retrieval between captions and
//! images, and of images that show the same scene at another moment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::Device;
use serde::Serialize;

use super::backbone::{Backbone, Encoder};
use super::features::{Features as _, Preprocess};
use super::metrics::cosine;
use crate::data::Kind;
use crate::data::shard;
use unireal::Image;
use unireal::{Error, Result};

/// Options of `unireal evaluate retrieval`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Folder with the encoders `clip` and `dino`, as written by `unireal train`
    #[arg(long, value_name = "DIR")]
    pub backbones: PathBuf,
    /// Shards that were not used for training
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    /// Maximum number of clips, taken from the start of the shards
    #[arg(long, default_value_t = 100)]
    pub clips: usize,
}

/// Retrieval accuracy: the share of queries whose match ranks first, or among the first five.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Accuracy {
    among: usize,
    first: f64,
    first_five: f64,
}

/// One clip: an image with its caption, and two frames.
#[derive(Default)]
struct Clip {
    captioned: Option<(String, Image)>,
    frames: Option<[Image; 2]>,
}

/// Measures retrieval and prints a line of JSON.
///
/// # Errors
/// [`Error::Format`] for invalid shards or encoders, [`Error::Request`] when the shards have too few clips.
pub fn run(options: &Options) -> Result<()> {
    let clips = clips(options)?;
    let device = Device::flex();
    let open = |name, backbone| Encoder::open(&options.backbones.join(name), backbone, &device);
    let (clip, dino) = (open("clip", Backbone::Clip)?, open("dino", Backbone::Dino)?);
    let captioned = clips.iter().filter_map(|clip| clip.captioned.clone());
    let (captions, images): (Vec<String>, Vec<Image>) = captioned.unzip();
    let frames = clips.iter().filter_map(|clip| clip.frames.clone());
    let (before, after): (Vec<Image>, Vec<Image>) = frames.map(|[a, b]| (a, b)).unzip();
    if images.len() < 5 || before.len() < 5 {
        return Err(Error::Request(format!(
            "clips of the shards: {} with a caption and {} with several frames, expected 5 of each",
            images.len(),
            before.len()
        )));
    }
    let square = Preprocess::Square;
    let (texts, images) = (clip.texts(&captions)?, clip.images(&images, square)?);
    let (first, second) = (dino.images(&before, square)?, dino.images(&after, square)?);
    let pixels = |all: &[Image]| -> Vec<Vec<f32>> {
        let centred = |image: &Image| image.rgb.iter().map(|&v| f32::from(v) - 127.5).collect();
        all.iter().map(centred).collect()
    };
    let report = BTreeMap::from([
        ("picture of a caption", accuracy(&texts, &images)),
        ("caption of a picture", accuracy(&images, &texts)),
        ("same scene at another moment", accuracy(&first, &second)),
        (
            "same scene at another moment, by pixels",
            accuracy(&pixels(&before), &pixels(&after)),
        ),
    ]);
    let json = serde_json::to_string(&report).map_err(|e| Error::Internal(e.to_string()))?;
    say!("{json}");
    Ok(())
}

/// Reads one captioned image and one pair of frames of every clip.
fn clips(options: &Options) -> Result<Vec<Clip>> {
    let mut clips: BTreeMap<String, Clip> = BTreeMap::new();
    for path in &options.data {
        for sample in shard::encoded(path)? {
            let sample = sample?;
            let Some(name) = sample.source["clip"].as_str() else {
                continue;
            };
            if !clips.contains_key(name) && clips.len() == options.clips {
                continue;
            }
            let decode = |i: usize| sample.outputs[i].decode(&sample.name);
            match sample.kind {
                Kind::TextToImage => {
                    let clip = clips.entry(name.to_owned()).or_default();
                    if let (None, Some(caption)) = (&clip.captioned, sample.prompts.first()) {
                        clip.captioned = Some((caption.clone(), decode(0)?));
                    }
                }
                Kind::TextToVideo if sample.outputs.len() > 1 => {
                    let clip = clips.entry(name.to_owned()).or_default();
                    clip.frames = Some([decode(0)?, decode(sample.outputs.len() - 1)?]);
                }
                _ => {}
            }
        }
    }
    Ok(clips.into_values().collect())
}

/// Ranks every query's own key among all keys by cosine similarity; ties count as misses.
fn accuracy(queries: &[Vec<f32>], keys: &[Vec<f32>]) -> Accuracy {
    let rank = |(i, query): (usize, &Vec<f32>)| {
        let own = cosine(query, &keys[i]);
        let others = keys.iter().enumerate().filter(|(j, _)| *j != i);
        others.filter(|(_, key)| cosine(query, key) >= own).count()
    };
    let ranks: Vec<usize> = queries.iter().enumerate().map(rank).collect();
    let share = |top: usize| {
        ranks.iter().filter(|&&rank| rank < top).count() as f64 / ranks.len().max(1) as f64
    };
    Accuracy {
        among: keys.len(),
        first: share(1),
        first_five: share(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_by_angle_ranks_first_and_ties_do_not() {
        let keys = vec![vec![1.0, 0.0], vec![0.0, 2.0], vec![-3.0, 0.0]];
        let queries = vec![vec![5.0, 0.1], vec![0.9, 1.0], vec![1.0, 0.0]];
        let all = accuracy(&queries, &keys);
        assert_eq!((all.among, all.first), (3, 2.0 / 3.0));
        assert_eq!(all.first_five, 1.0);
        let same = vec![vec![1.0, 1.0]; 6];
        let none = accuracy(&same, &same);
        assert_eq!((none.first, none.first_five), (0.0, 0.0));
    }
}
