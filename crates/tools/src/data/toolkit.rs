//! Reads and writes the format of the UniReal authors' data construction toolkit.
//!
//! A folder holds `pairs/<row>_<video>_<clip>_<start>to<end>.png`, two frames side by side; `instructions.json`, an object
//! from file name to instruction; `masks/<the same name>.png`, where the value 20 (i + 1) is entity i; and
//! `masks/<the same name>.json` with the caption and the entities in the format of Kosmos-2. The toolkit's description does
//! not specify the folders, nor whether a mask covers one frame or both: masks are written for both, and either is read.

use std::collections::BTreeMap;
use std::path::Path;

use super::annotate::grounded::Grounded;
use super::clip::{Clip, Entity, Instruction};
use super::fit::Fit;
use super::mask::bounds;
use crate::train::checkpoint;
use unireal::Image;
use unireal::{Error, Result};

/// Step between the values of two entities in a mask image.
const STEP: u8 = 20;
/// Maximum number of entities whose values fit into a byte.
const MAX_ENTITIES: usize = 255 / STEP as usize;

/// The parsed file name of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Row in the source's table.
    pub row: u64,
    /// Name of the video.
    pub video: String,
    /// Number of the clip in the video.
    pub clip: u64,
    /// Number of the first frame.
    pub start: u64,
    /// Number of the second frame.
    pub end: u64,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Name {
            row,
            video,
            clip,
            start,
            end,
        } = self;
        write!(f, "{row}_{video}_{clip}_{start}to{end}")
    }
}

impl std::str::FromStr for Name {
    type Err = Error;

    fn from_str(stem: &str) -> Result<Name> {
        let parsed = || {
            let (row, rest) = stem.split_once('_')?;
            let (rest, frames) = rest.rsplit_once('_')?;
            let (video, clip) = rest.rsplit_once('_')?;
            let (start, end) = frames.split_once("to")?;
            Some(Name {
                row: row.parse().ok()?,
                video: video.to_owned(),
                clip: clip.parse().ok()?,
                start: start.parse().ok()?,
                end: end.parse().ok()?,
            })
        };
        let reason = "parsing the name: expected <row>_<video>_<clip>_<start>to<end>";
        parsed().ok_or_else(|| Error::format(stem, reason))
    }
}

/// Writes two frames of a clip with their annotations; returns the file's name and the instruction, if there is one.
///
/// # Errors
/// [`Error::Format`] when a file cannot be written.
pub fn write(
    folder: &Path,
    name: &Name,
    clip: &Clip,
    [from, to]: [usize; 2],
) -> Result<(String, Option<String>)> {
    let pair = side_by_side(&clip.frames[from], &clip.frames[to]);
    let file = format!("{name}.png");
    checkpoint::write(&folder.join("pairs").join(&file), &pair.to_png()?)?;
    let entities: Vec<&Entity> = clip
        .entities
        .iter()
        .filter(|entity| !entity.phrases.is_empty())
        .take(MAX_ENTITIES)
        .collect();
    let masks = folder.join("masks");
    let png = mask_png(&entities, [from, to], &pair)?;
    checkpoint::write(&masks.join(&file), &png)?;
    let json = grounded(clip, &entities, from).to_json().to_string();
    checkpoint::write(&masks.join(format!("{name}.json")), json.as_bytes())?;
    let mut instructions = clip.instructions.iter();
    let instruction = instructions.find(|i| (i.from, i.to) == (from, to));
    Ok((file, instruction.and_then(|i| i.texts.first().cloned())))
}

/// Encodes the mask image of a pair: the masks of both frames side by side, where entity `i` has the value `STEP * (i + 1)`.
fn mask_png(entities: &[&Entity], frames: [usize; 2], pair: &Image) -> Result<Vec<u8>> {
    let width = pair.width as usize / 2;
    let mut values = vec![0u8; (pair.width * pair.height) as usize];
    for (i, entity) in entities.iter().enumerate() {
        for (side, frame) in frames.into_iter().enumerate() {
            let mask = entity.masks[frame].iter().enumerate();
            for (at, _) in mask.filter(|(_, on)| **on) {
                values[at / width * 2 * width + side * width + at % width] = STEP * (i as u8 + 1);
            }
        }
    }
    let mut png = Vec::new();
    image::ImageEncoder::write_image(
        image::codecs::png::PngEncoder::new(&mut png),
        &values,
        pair.width,
        pair.height,
        image::ExtendedColorType::L8,
    )
    .map_err(|e| Error::Internal(format!("encoding a mask: {e}")))?;
    Ok(png)
}

/// Returns the caption of a frame, with the first phrase of each entity and its box in that frame.
fn grounded(clip: &Clip, entities: &[&Entity], frame: usize) -> Grounded {
    let size = (clip.frames[frame].width, clip.frames[frame].height);
    let phrase = |entity: &&Entity| {
        let bounds = bounds(&entity.masks[frame], size.0 as usize);
        let boxes = bounds.map(|b| b.fractions(size)).into_iter().collect();
        (entity.phrases[0].clone(), boxes)
    };
    Grounded {
        caption: clip.captions_of(frame).first().cloned(),
        entities: entities.iter().map(phrase).collect(),
    }
}

/// Joins two images of one size.
fn side_by_side(left: &Image, right: &Image) -> Image {
    let row = 3 * left.width as usize;
    let rows = left.rgb.chunks_exact(row).zip(right.rgb.chunks_exact(row));
    Image {
        width: 2 * left.width,
        height: left.height,
        rgb: rows
            .flat_map(|(left, right)| left.iter().chain(right))
            .copied()
            .collect(),
    }
}

/// Reads the instructions of a folder, by file name; none when there is no `instructions.json`.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Format`] when it is not an object of strings.
pub fn instructions(folder: &Path) -> Result<BTreeMap<String, String>> {
    let path = folder.join("instructions.json");
    let name = path.display().to_string();
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(Error::io(&path, e)),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::format(name, e)),
    }
}

/// Adds instructions to those of a folder.
///
/// # Errors
/// [`Error::Format`] when the existing file is wrong, or cannot be written.
pub fn add_instructions(folder: &Path, added: &BTreeMap<String, String>) -> Result<()> {
    let mut all = instructions(folder)?;
    all.extend(
        added
            .iter()
            .map(|(file, text)| (file.clone(), text.clone())),
    );
    let json = serde_json::to_string_pretty(&all).map_err(|e| Error::Internal(e.to_string()))?;
    checkpoint::write(&folder.join("instructions.json"), json.as_bytes())
}

/// Reads a pair as a clip of two frames, fitted to samples of `side` pixels.
///
/// # Errors
/// [`Error::Io`] when the pair cannot be read, [`Error::Format`] when a file is not in this format; as [`Fit::new`] for sizes.
pub fn read(
    folder: &Path,
    file: &str,
    instructions: &BTreeMap<String, String>,
    side: u32,
    square: bool,
) -> Result<Clip> {
    let stem = file.strip_suffix(".png").unwrap_or(file);
    let name: Name = stem.parse()?;
    let path = folder.join("pairs").join(file);
    let pair = Image::open(&path)?;
    if !pair.width.is_multiple_of(2) {
        return Err(Error::format(
            path.display().to_string(),
            format!(
                "splitting the pair: {} pixels wide, expected an even width",
                pair.width
            ),
        ));
    }
    let fit = Fit::new((pair.width / 2, pair.height), side, square)?;
    let half = |which: usize| fit.image(&half(&pair, which));
    let mut clip = Clip {
        name: stem.to_owned(),
        frames: vec![half(0), half(1)],
        numbers: vec![name.start, name.end],
        ..Clip::default()
    };
    if let Some(text) = instructions.get(file) {
        let texts = vec![text.clone()];
        clip.instructions.push(Instruction {
            from: 0,
            to: 1,
            texts,
        });
    }
    let json = folder.join("masks").join(format!("{stem}.json"));
    if json.exists() {
        let grounded = Grounded::read(&json)?;
        if let Some(caption) = &grounded.caption {
            clip.frame_captions = vec![vec![caption.clone()]; 2];
        }
        clip.entities = entities(&folder.join("masks").join(file), &grounded, &pair, &fit)?;
    }
    Ok(clip)
}

fn half(pair: &Image, which: usize) -> Image {
    let row = 3 * pair.width as usize / 2;
    let rows = pair.rgb.chunks_exact(row).skip(which).step_by(2);
    Image {
        width: pair.width / 2,
        height: pair.height,
        rgb: rows.flatten().copied().collect(),
    }
}

fn entities(path: &Path, grounded: &Grounded, pair: &Image, fit: &Fit) -> Result<Vec<Entity>> {
    let name = path.display().to_string();
    let fail = |reason: String| Error::format(&name, reason);
    let grey = image::open(path)
        .map_err(|e| fail(e.to_string()))?
        .to_luma8();
    let (width, height) = grey.dimensions();
    let (frame_width, pair_height) = (pair.width / 2, pair.height);
    if height != pair_height || ![pair.width, frame_width].contains(&width) {
        return Err(fail(format!(
            "reading the mask: {width}x{height}, expected {}x{pair_height} for both frames or {frame_width}x{pair_height} for the first",
            pair.width
        )));
    }
    let values = grey.as_raw();
    let count = grounded.entities.len();
    let largest = STEP as usize * count;
    let invalid = |&&value: &&u8| value % STEP != 0 || value as usize > largest;
    if let Some(value) = values.iter().find(invalid) {
        return Err(fail(format!(
            "reading the mask: the value {value}, expected multiples of {STEP} up to {largest} for {count} entities"
        )));
    }
    let frame_values = |which: u32| -> Vec<u8> {
        let columns = which * frame_width..(which + 1) * frame_width;
        let inside = (0..values.len()).filter(|&i| columns.contains(&(i as u32 % width)));
        let map: Vec<u8> = inside.map(|i| values[i]).collect();
        if map.is_empty() {
            vec![0; (fit.size.0 * fit.size.1) as usize]
        } else {
            fit.map(&map, frame_width, pair_height)
        }
    };
    let frames = [frame_values(0), frame_values(1)];
    let entity = |(i, (phrase, _)): (usize, &(String, _))| {
        let own = STEP as usize * (i + 1);
        let mask = |map: &Vec<u8>| map.iter().map(|&value| value as usize == own).collect();
        Entity {
            phrases: vec![super::prompts::definite(phrase)],
            masks: frames.iter().map(mask).collect(),
        }
    };
    Ok(grounded.entities.iter().enumerate().map(entity).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn random_clip(seed: u64) -> Clip {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut frame =
            || Image::from_rgb(64, 64, (0..3 * 4096).map(|_| rng.random()).collect()).unwrap();
        let frames = vec![frame(), frame()];
        let owner: Vec<Vec<usize>> = (0..2)
            .map(|_| (0..4096).map(|_| rng.random_range(0..4)).collect())
            .collect();
        let entity = |i: usize| Entity {
            phrases: vec![format!("the thing {i}")],
            masks: owner
                .iter()
                .map(|owner| owner.iter().map(|&o| o == i).collect())
                .collect(),
        };
        Clip {
            frames,
            numbers: vec![12, 40],
            frame_captions: vec![vec!["the thing 0 near the thing 2".into()]; 2],
            entities: (0..3).map(entity).collect(),
            instructions: vec![Instruction {
                from: 0,
                to: 1,
                texts: vec!["move the boat".into()],
            }],
            ..Clip::default()
        }
    }

    fn name() -> Name {
        Name {
            row: 7,
            video: "a_b-c".into(),
            clip: 2,
            start: 12,
            end: 40,
        }
    }

    #[test]
    fn exported_pairs_are_imported() {
        let seed = rand::random();
        let (folder, clip) = (tempfile::tempdir().unwrap(), random_clip(seed));
        let (file, instruction) = write(folder.path(), &name(), &clip, [0, 1]).unwrap();
        assert_eq!(file, "7_a_b-c_2_12to40.png");
        add_instructions(
            folder.path(),
            &BTreeMap::from([(file.clone(), instruction.unwrap())]),
        )
        .unwrap();
        let instructions = instructions(folder.path()).unwrap();
        let back = read(folder.path(), &file, &instructions, 64, false).unwrap();
        assert_eq!(back.frames, clip.frames, "seed {seed}");
        assert_eq!(back.numbers, clip.numbers);
        assert_eq!(back.frame_captions, clip.frame_captions);
        assert_eq!(back.instructions[0].texts, clip.instructions[0].texts);
        for (a, b) in back.entities.iter().zip(&clip.entities) {
            assert_eq!(
                (&a.phrases, &a.masks),
                (&b.phrases, &b.masks),
                "seed {seed}"
            );
        }
        // Checks the raw mask values, as the authors' scripts would read them.
        let masks = image::open(folder.path().join("masks").join(&file))
            .unwrap()
            .to_luma8();
        for (i, pixel) in masks.pixels().enumerate() {
            let (x, y) = (i % 128, i / 128);
            let visible = clip
                .entities
                .iter()
                .position(|e| e.masks[x / 64][y * 64 + x % 64]);
            assert_eq!(pixel.0[0], visible.map_or(0, |i| 20 * (i as u8 + 1)));
        }
    }

    #[test]
    fn names_are_read_and_wrong_files_are_named() {
        assert_eq!(name().to_string().parse::<Name>().unwrap(), name());
        for wrong in [
            "",
            "1_2",
            "x_video_1_2to3",
            "1_video_1_2-3",
            "1_video_1_2toX",
        ] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
        let (folder, clip) = (tempfile::tempdir().unwrap(), random_clip(1));
        let (file, _) = write(folder.path(), &name(), &clip, [0, 1]).unwrap();
        let read = || read(folder.path(), &file, &BTreeMap::new(), 64, false);
        let mask = folder.path().join("masks").join(&file);
        image::GrayImage::from_raw(128, 64, vec![30; 8192])
            .unwrap()
            .save(&mask)
            .unwrap();
        assert!(read().unwrap_err().to_string().contains("value 30"));
        image::GrayImage::from_raw(9, 9, vec![20; 81])
            .unwrap()
            .save(&mask)
            .unwrap();
        assert!(read().unwrap_err().to_string().contains("9x9"));
        image::GrayImage::from_raw(64, 64, vec![20; 4096])
            .unwrap()
            .save(&mask)
            .unwrap();
        let first = read().unwrap();
        assert!(
            first.entities[0].masks[0].iter().all(|on| *on)
                && !first.entities[0].masks[1].contains(&true)
        );
        Image::from_rgb(65, 64, vec![0; 3 * 65 * 64])
            .unwrap()
            .save(folder.path().join("pairs").join(&file))
            .unwrap();
        assert!(read().unwrap_err().to_string().contains("65 pixels"));
    }
}
