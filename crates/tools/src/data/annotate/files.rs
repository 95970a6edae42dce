//! Reads entities from files: grounded captions in the format of Kosmos-2, masks in the format of SAM 2.
//!
//! `DIR/entities/<video>/<frame>.json` holds `{"caption", "entities": [[phrase, [start, end], [[x0, y0, x1, y1], ..]], ..]}`,
//! with boxes as fractions of the image. Masks are either `DIR/masks/<video>/<frame>.png`, an image of object numbers (an
//! indexed PNG in the VOC colours, as SAM 2's scripts write it, or a grey one), or `DIR/masks/<video>/<object>/<frame>.png`,
//! a black and white image per object. `<frame>` is the frame's number in the video. An object gets the phrases whose box
//! matches its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::clip::Entity;
use super::super::fit::Fit;
use super::super::kinds::Counts;
use super::super::mask::bounds;
use super::super::prompts::definite;
use super::super::shard::listed;
use super::maps::Map;
use super::{Annotator, Shot};
use unireal::{Error, Result};

/// Files of a video's frames, by frame number.
pub(super) enum Frames {
    /// The video has no folder.
    None,
    /// The files in its folder.
    Found(BTreeMap<u64, PathBuf>),
}

/// Returns the files in `folder` with one of the extensions `endings`, by the number at the start of their names.
pub(super) fn frames(folder: &Path, endings: &[&str]) -> Result<Frames> {
    if !folder.is_dir() {
        return Ok(Frames::None);
    }
    let mut found = BTreeMap::new();
    for path in listed(folder)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let ending = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
        if let Some(number) = digits
            .parse()
            .ok()
            .filter(|_| endings.contains(&ending.as_str()))
        {
            found.insert(number, path);
        }
    }
    Ok(Frames::Found(found))
}

/// An annotator that reads masks and grounded captions.
#[derive(Clone, Debug)]
pub struct EntityFiles {
    /// The folder that holds `entities` and `masks`.
    pub folder: PathBuf,
}

impl Annotator for EntityFiles {
    fn name(&self) -> &'static str {
        "entity files"
    }

    fn annotate(&self, shot: &mut Shot<'_>, counts: &mut Counts) -> Result<()> {
        let masks = self.folder.join("masks").join(shot.video);
        let objects = objects(&masks, &shot.clip.numbers, &shot.fit)?;
        if !objects.is_empty() {
            let entity = |masks| Entity {
                phrases: Vec::new(),
                masks,
            };
            shot.clip.entities = objects.into_values().map(entity).collect();
        }
        let grounded = self.folder.join("entities").join(shot.video);
        let Frames::Found(files) = frames(&grounded, &["json"])? else {
            return Ok(());
        };
        let numbers = shot.clip.numbers.clone();
        let mut captions = vec![Vec::new(); numbers.len()];
        for (i, number) in numbers.iter().enumerate() {
            let Some(path) = files.get(number) else {
                continue;
            };
            let said = Grounded::read(path)?;
            captions[i].extend(said.caption.clone());
            shot.name(i, &said, counts);
        }
        if captions.iter().any(|captions| !captions.is_empty()) {
            shot.clip.frame_captions = captions;
        }
        Ok(())
    }
}

/// A box as fractions of the image: left, top, right, bottom.
pub type Box4 = [f32; 4];

/// A grounded caption of Kosmos-2.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grounded {
    /// The caption.
    pub caption: Option<String>,
    /// Phrases of the caption with their boxes.
    pub entities: Vec<(String, Vec<Box4>)>,
}

impl Grounded {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Format`] with what is wrong.
    pub fn read(path: &Path) -> Result<Grounded> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| Error::format(&name, e))?;
        let value = serde_json::from_slice(&bytes).map_err(|e| Error::format(&name, e))?;
        Grounded::parse(&value).map_err(|reason| Error::format(&name, reason))
    }

    /// Parses JSON.
    ///
    /// # Errors
    /// A description of what is wrong.
    pub fn parse(value: &Value) -> std::result::Result<Grounded, String> {
        let list = value["entities"]
            .as_array()
            .ok_or("entities: a list is missing")?;
        let mut entities = Vec::new();
        for (i, entity) in list.iter().enumerate() {
            let phrase = entity[0]
                .as_str()
                .map(str::trim)
                .filter(|phrase| !phrase.is_empty());
            let phrase = phrase.ok_or_else(|| format!("entity {i}: has no phrase"))?;
            let boxes = entity[2]
                .as_array()
                .ok_or_else(|| format!("entity {i}: has no boxes"))?;
            let numbers = |b: &Value| -> Option<Box4> {
                let b = b.as_array().filter(|b| b.len() == 4)?;
                let mut sides = [0.0; 4];
                for (side, value) in sides.iter_mut().zip(b) {
                    *side = value.as_f64()? as f32;
                }
                let inside = sides.iter().all(|side| (-0.01..=1.01).contains(side));
                (inside && sides[0] < sides[2] && sides[1] < sides[3]).then_some(sides)
            };
            let boxes: Option<Vec<Box4>> = boxes.iter().map(numbers).collect();
            let boxes = boxes.ok_or_else(|| {
                format!(
                    "entity {i} ({phrase}): a box is not left < right, top < bottom in 0..1: {}",
                    entity[2]
                )
            })?;
            entities.push((phrase.to_owned(), boxes));
        }
        let caption = value["caption"]
            .as_str()
            .map(str::trim)
            .filter(|text| !text.is_empty());
        Ok(Grounded {
            caption: caption.map(str::to_owned),
            entities,
        })
    }

    /// Returns the JSON form. Each phrase's character range is looked up in the caption.
    pub fn to_json(&self) -> Value {
        let caption = self.caption.clone().unwrap_or_default();
        let entity = |(phrase, boxes): &(String, Vec<Box4>)| {
            let start = caption
                .find(phrase.as_str())
                .map(|at| caption[..at].chars().count());
            let start = start.unwrap_or(0);
            let length = if caption.contains(phrase.as_str()) {
                phrase.chars().count()
            } else {
                0
            };
            serde_json::json!([phrase, [start, start + length], boxes])
        };
        let entities: Vec<Value> = self.entities.iter().map(entity).collect();
        serde_json::json!({ "caption": caption, "entities": entities })
    }
}

/// Intersection over union from which a phrase's box matches an object's.
const SAME: f32 = 0.5;

impl Shot<'_> {
    /// Adds the phrases of one frame to the objects whose boxes they match.
    fn name(&mut self, frame: usize, said: &Grounded, counts: &mut Counts) {
        let (width, height) = self.fit.size;
        for (phrase, boxes) in &said.entities {
            // Several boxes refer to several objects, which one mask does not cover.
            let [found] = boxes[..] else {
                counts.drop("phrase with several boxes");
                continue;
            };
            let (left, top) = self.fit.point(found[0], found[1]);
            let (right, bottom) = self.fit.point(found[2], found[3]);
            let found = [left, top, right, bottom];
            let overlap = |entity: &Entity| {
                let b = bounds(&entity.masks[frame], width as usize)?;
                let (w, h) = (width as f32, height as f32);
                let own = [
                    b.left as f32 / w,
                    b.top as f32 / h,
                    b.right as f32 / w,
                    b.bottom as f32 / h,
                ];
                Some(box_overlap(&own, &found))
            };
            let best = self
                .clip
                .entities
                .iter()
                .enumerate()
                .filter_map(|(i, e)| Some((overlap(e)?, i)));
            match best
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .filter(|(most, _)| *most >= SAME)
            {
                Some((_, i)) => {
                    let phrases = &mut self.clip.entities[i].phrases;
                    let phrase = definite(phrase);
                    if !phrases.contains(&phrase) {
                        phrases.push(phrase);
                    }
                }
                None => counts.drop("phrase without a mask"),
            }
        }
    }
}

/// Returns the intersection over union of two boxes.
fn box_overlap(a: &Box4, b: &Box4) -> f32 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |b: &Box4| (b[2] - b[0]) * (b[3] - b[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both).max(1e-9)
}

/// Returns each object's masks in the frames `numbers`, by object number; the mask is empty in a frame without a file.
fn objects(folder: &Path, numbers: &[u64], fit: &Fit) -> Result<BTreeMap<u32, Vec<Vec<bool>>>> {
    let pixels = (fit.size.0 * fit.size.1) as usize;
    let mut objects: BTreeMap<u32, Vec<Vec<bool>>> = BTreeMap::new();
    let Frames::Found(files) = frames(folder, &["png"])? else {
        return Ok(objects);
    };
    let mut add = |object: u32, frame: usize, mask: Vec<bool>| {
        let masks = objects.entry(object);
        masks.or_insert_with(|| vec![vec![false; pixels]; numbers.len()])[frame] = mask;
    };
    for (frame, path) in numbers
        .iter()
        .enumerate()
        .filter_map(|(i, n)| Some((i, files.get(n)?)))
    {
        let (ids, width, height) = object_numbers(path)?;
        let ids = fit.map(&ids, width, height);
        let mut present = ids.clone();
        present.sort_unstable();
        present.dedup();
        for object in present.into_iter().filter(|&object| object > 0) {
            add(object, frame, ids.iter().map(|&id| id == object).collect());
        }
    }
    for path in listed(folder)?.into_iter().filter(|path| path.is_dir()) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Ok(object) = name.parse() else { continue };
        let Frames::Found(files) = frames(&path, &["png"])? else {
            continue;
        };
        for (frame, path) in numbers
            .iter()
            .enumerate()
            .filter_map(|(i, n)| Some((i, files.get(n)?)))
        {
            let picture = image::open(path)
                .map_err(|e| Error::format(path.display().to_string(), e))?
                .to_luma8();
            let shown: Vec<bool> = picture.as_raw().iter().map(|&value| value > 0).collect();
            add(
                object,
                frame,
                fit.map(&shown, picture.width(), picture.height()),
            );
        }
    }
    Ok(objects)
}

/// Reads the object number of each pixel of an indexed or grey PNG; 0 is no object.
///
/// # Errors
/// [`Error::Format`] when the file is not an image, or has colours that are not in the VOC table.
pub fn object_numbers(path: &Path) -> Result<Map<u32>> {
    let name = path.display().to_string();
    let picture = image::open(path).map_err(|e| Error::format(&name, e))?;
    if !picture.color().has_color() {
        let grey = picture.to_luma8();
        let (width, height) = grey.dimensions();
        return Ok((
            grey.as_raw().iter().map(|&v| u32::from(v)).collect(),
            width,
            height,
        ));
    }
    // The decoder returns colours instead of indices; the VOC table is one to one, so the indices can be recovered.
    let rgb = picture.to_rgb8();
    let (width, height) = rgb.dimensions();
    let number = |p: &image::Rgb<u8>| {
        let number = voc_number(p.0);
        if voc_colour(number) == p.0 {
            Ok(u32::from(number))
        } else {
            Err(Error::format(
                &name,
                format!(
                    "the colour {:?} is none of the VOC table, in which objects are numbered",
                    p.0
                ),
            ))
        }
    };
    let numbers: Result<Vec<u32>> = rgb.pixels().map(number).collect();
    Ok((numbers?, width, height))
}

/// Returns the colour of an index in the table of PASCAL VOC and DAVIS, which spreads the index's bits over the channels,
/// lowest bit first.
pub fn voc_colour(index: u8) -> [u8; 3] {
    let mut colour = [0; 3];
    for bit in 0..8u8 {
        colour[usize::from(bit % 3)] |= (index >> bit & 1) << (7 - bit / 3);
    }
    colour
}

fn voc_number(colour: [u8; 3]) -> u8 {
    let bit = |bit: u8| (colour[usize::from(bit % 3)] >> (7 - bit / 3) & 1) << bit;
    (0..8).map(bit).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Clip;
    use unireal::Image;

    #[test]
    fn voc_colours_are_the_published_ones_and_one_to_one() {
        // The first entries of the table in the VOC development kit.
        let published = [
            [0, 0, 0],
            [128, 0, 0],
            [0, 128, 0],
            [128, 128, 0],
            [0, 0, 128],
            [128, 0, 128],
            [0, 128, 128],
            [128, 128, 128],
            [64, 0, 0],
            [192, 0, 0],
            [64, 128, 0],
            [192, 128, 0],
            [64, 0, 128],
        ];
        for (index, colour) in published.into_iter().enumerate() {
            assert_eq!(voc_colour(index as u8), colour);
        }
        assert!((0..=255).all(|index| voc_number(voc_colour(index)) == index));
        assert_eq!(voc_colour(255), [224, 224, 192]);
    }

    fn write(folder: &Path, path: &str, image: &Image) {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.save(&path).unwrap();
    }

    /// Returns a 64 x 32 image with two boxes in the given colours.
    fn boxes(colours: [[u8; 3]; 2]) -> Image {
        let mut rgb = vec![0; 3 * 64 * 32];
        for (left, colour) in [8, 40].into_iter().zip(colours) {
            for i in 0..64 * 32 {
                if (left..left + 16).contains(&(i % 64)) && (8..24).contains(&(i / 64)) {
                    rgb[3 * i..3 * i + 3].copy_from_slice(&colour);
                }
            }
        }
        Image::from_rgb(64, 32, rgb).unwrap()
    }

    fn shot() -> Shot<'static> {
        let frame = boxes([[200, 0, 0], [0, 0, 200]]);
        let clip = Clip {
            frames: vec![frame.clone(), frame],
            numbers: vec![3, 12],
            ..Clip::default()
        };
        let fit = Fit {
            source: (64, 32),
            scaled: (64, 32),
            size: (64, 32),
        };
        Shot {
            clip,
            video: "v",
            fit,
        }
    }

    fn grounded() -> Value {
        serde_json::json!({"caption": "A dog and a red car.", "entities": [
            ["a red car", [10, 19], [[0.125, 0.25, 0.375, 0.75]]],
            ["A dog", [0, 5], [[0.6, 0.25, 0.875, 0.75]]],
            ["stars", [0, 0], [[0.0, 0.0, 0.1, 0.1]]],
            ["two things", [0, 0], [[0.1, 0.2, 0.4, 0.7], [0.6, 0.2, 0.9, 0.7]]],
        ]})
    }

    #[test]
    fn masks_by_number_and_by_object_meet_the_phrases_of_their_boxes() {
        for by_object in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let masks = [
                [voc_colour(1), voc_colour(2)],
                [[255; 3], [0; 3]],
                [[0; 3], [255; 3]],
            ];
            for frame in ["00003", "00012"] {
                if by_object {
                    write(
                        folder.path(),
                        &format!("masks/v/001/{frame}.png"),
                        &boxes(masks[1]),
                    );
                    write(
                        folder.path(),
                        &format!("masks/v/002/{frame}.png"),
                        &boxes(masks[2]),
                    );
                } else {
                    write(
                        folder.path(),
                        &format!("masks/v/{frame}.png"),
                        &boxes(masks[0]),
                    )
                }
            }
            let entities = folder.path().join("entities/v");
            std::fs::create_dir_all(&entities).unwrap();
            std::fs::write(entities.join("3.json"), grounded().to_string()).unwrap();
            let (mut shot, mut counts) = (shot(), Counts::default());
            let files = EntityFiles {
                folder: folder.path().to_owned(),
            };
            files.annotate(&mut shot, &mut counts).unwrap();
            let phrases: Vec<_> = shot
                .clip
                .entities
                .iter()
                .map(|e| e.phrases.clone())
                .collect();
            assert_eq!(phrases, [["the red car"], ["the dog"]]);
            for (entity, colour) in shot.clip.entities.iter().zip([[200, 0, 0], [0, 0, 200]]) {
                for (mask, frame) in entity.masks.iter().zip(&shot.clip.frames) {
                    let is = frame.rgb.chunks_exact(3).map(|p| p == colour);
                    assert!(is.eq(mask.iter().copied()));
                }
            }
            assert_eq!(shot.clip.frame_captions[0], ["A dog and a red car."]);
            assert_eq!(counts.dropped["phrase without a mask"], 1);
            assert_eq!(counts.dropped["phrase with several boxes"], 1);
        }
    }

    #[test]
    fn grounded_captions_come_back_and_wrong_ones_are_named() {
        let said = Grounded::parse(&grounded()).unwrap();
        let json = said.to_json();
        assert_eq!(json["entities"][0][1], serde_json::json!([10, 19]));
        assert_eq!(Grounded::parse(&json).unwrap(), said);
        for (wrong, expected) in [
            (serde_json::json!({}), "entities"),
            (
                serde_json::json!({"entities": [[7, [0, 1], []]]}),
                "entity 0",
            ),
            (serde_json::json!({"entities": [["x", [0, 1]]]}), "no boxes"),
            (
                serde_json::json!({"entities": [["x", [0, 1], [[0.5, 0.0, 0.2, 1.0]]]]}),
                "(x)",
            ),
            (
                serde_json::json!({"entities": [["x", [0, 1], [[0, 0, 300, 200]]]]}),
                "0..1",
            ),
        ] {
            let error = Grounded::parse(&wrong).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn colours_out_of_the_table_and_missing_folders() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            "masks/v/3.png",
            &boxes([[1, 2, 3], [9, 9, 9]]),
        );
        let files = EntityFiles {
            folder: folder.path().to_owned(),
        };
        let error = files
            .annotate(&mut shot(), &mut Counts::default())
            .unwrap_err();
        assert!(error.to_string().contains("[1, 2, 3]"), "{error}");
        let none = EntityFiles {
            folder: folder.path().join("none"),
        };
        none.annotate(&mut shot(), &mut Counts::default()).unwrap();
    }
}
