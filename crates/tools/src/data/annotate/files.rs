//! Reads entities from files: grounded captions in the format of Kosmos-2, masks in the formats of SAM 2.
//!
//! `DIR/entities/<video>/<frame>.json` holds `{"caption", "entities": [[phrase, [start, end], [[x0, y0, x1, y1], ..]], ..]}`,
//! with boxes as fractions of the image. Masks are either `DIR/masks/<video>/<frame>.png`, an image of object numbers (an
//! indexed PNG in the VOC colours, as SAM 2's scripts write it, or a grey one), or `DIR/masks/<video>/<object>/<frame>.png`,
//! a black and white image per object. `<frame>` is the frame's number in the video. An object gets the phrases whose box
//! matches its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::clip::Entity;
use super::super::kinds::Counts;
use super::super::mask::bounds;
use super::super::prompts::definite;
use super::super::shard::sorted_entries;
use super::grounded::{Box4, Grounded, box_overlap};
use super::{Annotator, Shot, object_masks};
use unireal::Result;

/// Returns the files in `folder` with one of these extensions, by the frame number at the start of their names; `None` when
/// there is no such folder.
pub(super) fn frame_files(
    folder: &Path,
    extensions: &[&str],
) -> Result<Option<BTreeMap<u64, PathBuf>>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut files = BTreeMap::new();
    for path in sorted_entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let listed = extensions.contains(&extension.to_lowercase().as_str());
        if let Some(number) = digits.parse().ok().filter(|_| listed) {
            files.insert(number, path);
        }
    }
    Ok(Some(files))
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
        let objects = object_masks::read(&masks, &shot.clip.numbers, &shot.fit)?;
        if !objects.is_empty() {
            let entity = |masks| Entity {
                phrases: Vec::new(),
                masks,
            };
            shot.clip.entities = objects.into_values().map(entity).collect();
        }
        let entities = self.folder.join("entities").join(shot.video);
        let Some(files) = frame_files(&entities, &["json"])? else {
            return Ok(());
        };
        let numbers = shot.clip.numbers.clone();
        let mut captions = vec![Vec::new(); numbers.len()];
        for (frame, number) in numbers.iter().enumerate() {
            let Some(path) = files.get(number) else {
                continue;
            };
            let grounded = Grounded::read(path)?;
            shot.name_objects(frame, &grounded, counts);
            captions[frame].extend(grounded.caption);
        }
        if captions.iter().any(|captions| !captions.is_empty()) {
            shot.clip.frame_captions = captions;
        }
        Ok(())
    }
}

/// Minimum intersection over union of a phrase's box and the box of the object that it names.
const MIN_OVERLAP: f32 = 0.5;

impl Shot<'_> {
    /// Adds the phrases of one frame to the objects whose boxes they match.
    fn name_objects(&mut self, frame: usize, grounded: &Grounded, counts: &mut Counts) {
        for (phrase, boxes) in &grounded.entities {
            // Several boxes refer to several objects, which one mask does not cover.
            let [phrase_box] = boxes[..] else {
                counts.drop("phrase with several boxes");
                continue;
            };
            match self.matching_object(frame, phrase_box) {
                Some(object) => {
                    let phrases = &mut self.clip.entities[object].phrases;
                    let phrase = definite(phrase);
                    if !phrases.contains(&phrase) {
                        phrases.push(phrase);
                    }
                }
                None => counts.drop("phrase without a mask"),
            }
        }
    }

    /// Returns the object whose box in a frame overlaps most with a box of the source, if it overlaps enough.
    fn matching_object(&self, frame: usize, source_box: Box4) -> Option<usize> {
        let (left, top) = self.fit.point(source_box[0], source_box[1]);
        let (right, bottom) = self.fit.point(source_box[2], source_box[3]);
        let target = [left, top, right, bottom];
        let size = self.fit.size;
        let overlap = |entity: &Entity| {
            let bounds = bounds(&entity.masks[frame], size.0 as usize)?;
            Some(box_overlap(&bounds.fractions(size), &target))
        };
        let entities = self.clip.entities.iter().enumerate();
        entities
            .filter_map(|(i, entity)| Some((overlap(entity)?, i)))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(overlap, _)| *overlap >= MIN_OVERLAP)
            .map(|(_, i)| i)
    }
}

#[cfg(test)]
mod tests {
    use super::super::grounded::tests::grounded;
    use super::super::object_masks::voc_colour;
    use super::*;
    use crate::data::Clip;
    use crate::data::fit::Fit;
    use unireal::Image;

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
