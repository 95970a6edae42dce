//! Masks of objects in the formats of SAM 2: an image of object numbers per frame, or a folder of masks per object.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::fit::Fit;
use super::super::shard::sorted_entries;
use super::files::frame_files;
use super::maps::Map;
use unireal::{Error, Result};

/// The masks of each object, one per frame, by object number.
pub(super) type ObjectMasks = BTreeMap<u32, Vec<Vec<bool>>>;

/// Reads each object's masks in the frames `numbers`; the mask is empty in a frame without a file.
///
/// # Errors
/// [`Error::Format`] or [`Error::Io`] for a file that cannot be read.
pub(super) fn read(folder: &Path, numbers: &[u64], fit: &Fit) -> Result<ObjectMasks> {
    let mut objects = ObjectMasks::new();
    let Some(files) = frame_files(folder, &["png"])? else {
        return Ok(objects);
    };
    let pixels = (fit.size.0 * fit.size.1) as usize;
    let mut add = |object: u32, frame: usize, mask: Vec<bool>| {
        let masks = objects.entry(object);
        masks.or_insert_with(|| vec![vec![false; pixels]; numbers.len()])[frame] = mask;
    };
    for (frame, path) in numbered(numbers, &files) {
        let (ids, width, height) = object_numbers(path)?;
        let ids = fit.map(&ids, width, height);
        let mut present = ids.clone();
        present.sort_unstable();
        present.dedup();
        for object in present.into_iter().filter(|&object| object > 0) {
            add(object, frame, ids.iter().map(|&id| id == object).collect());
        }
    }
    for path in sorted_entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(object) = name.parse().ok().filter(|_| path.is_dir()) else {
            continue;
        };
        let files = frame_files(&path, &["png"])?.unwrap_or_default();
        for (frame, path) in numbered(numbers, &files) {
            let (mask, width, height) = object_mask(path)?;
            add(object, frame, fit.map(&mask, width, height));
        }
    }
    Ok(objects)
}

/// Returns the files of the frames `numbers`, with the frames' indices.
fn numbered<'a>(
    numbers: &'a [u64],
    files: &'a BTreeMap<u64, PathBuf>,
) -> impl Iterator<Item = (usize, &'a Path)> {
    let numbers = numbers.iter().enumerate();
    numbers.filter_map(|(frame, number)| Some((frame, files.get(number)?.as_path())))
}

/// Reads the mask of one object: every pixel that is not black.
fn object_mask(path: &Path) -> Result<Map<bool>> {
    let image = image::open(path).map_err(|e| Error::format(path.display().to_string(), e))?;
    let grey = image.to_luma8();
    let mask = grey.as_raw().iter().map(|&value| value > 0).collect();
    Ok((mask, grey.width(), grey.height()))
}

/// Reads the object number of each pixel of an indexed or grey PNG; 0 is no object.
///
/// # Errors
/// [`Error::Format`] when the file is not an image, or has colours that are not in the VOC table.
pub fn object_numbers(path: &Path) -> Result<Map<u32>> {
    let name = path.display().to_string();
    let image = image::open(path).map_err(|e| Error::format(&name, e))?;
    if !image.color().has_color() {
        let grey = image.to_luma8();
        let (width, height) = grey.dimensions();
        let numbers = grey.as_raw().iter().map(|&value| u32::from(value));
        return Ok((numbers.collect(), width, height));
    }
    // The decoder returns colours instead of indices; the VOC table is one to one, so the indices can be recovered.
    let rgb = image.to_rgb8();
    let (width, height) = rgb.dimensions();
    let number = |p: &image::Rgb<u8>| {
        let number = voc_number(p.0);
        if voc_colour(number) == p.0 {
            Ok(u32::from(number))
        } else {
            Err(Error::format(
                &name,
                format!(
                    "reading object numbers: the colour {:?}, expected one of the VOC table",
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
}
