//! Reads depth maps as Depth Anything writes them, one file per frame: `DIR/depth/<video>/<frame>.png` with 8 or 16 bits,
//! where white is near (relative models), or `.npy` with metres (metric models; also named `<frame>_raw_depth_meter.npy`).

use std::path::{Path, PathBuf};

use super::super::kinds::Counts;
use super::files::{Frames, frames};
use super::{Annotator, Shot};
use unireal::{Error, Result};

/// An annotator that reads depth maps from files.
#[derive(Clone, Debug)]
pub struct DepthMaps {
    /// The folder that holds one folder per video.
    pub folder: PathBuf,
}

/// Values in row-major order, with width and height.
pub(super) type Map<T> = (Vec<T>, u32, u32);

impl Annotator for DepthMaps {
    fn name(&self) -> &'static str {
        "depth maps"
    }

    fn annotate(&self, shot: &mut Shot<'_>, counts: &mut Counts) -> Result<()> {
        let Frames::Found(files) = frames(&self.folder.join(shot.video), &["png", "npy"])? else {
            return Ok(());
        };
        let mut depths = Vec::new();
        for number in &shot.clip.numbers {
            let Some(path) = files.get(number) else {
                counts.drop("clip without a depth map of each frame");
                return Ok(());
            };
            let (depth, width, height) = read(path)?;
            depths.push(shot.fit.map(&depth, width, height));
        }
        shot.clip.depths = depths;
        Ok(())
    }
}

/// Reads a depth map whose values grow with distance; pixels of unknown depth are infinitely far.
///
/// # Errors
/// [`Error::Format`] when the file is neither a grey PNG nor an NPY array of two axes.
pub fn read(path: &Path) -> Result<Map<f32>> {
    let name = path.display().to_string();
    let fail = |reason: String| Error::format(&name, reason);
    if path.extension().is_some_and(|ending| ending == "npy") {
        let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let (values, width, height) = npy(&bytes).map_err(fail)?;
        let known = |v: f32| {
            if v.is_finite() && v > 0.0 {
                v
            } else {
                f32::INFINITY
            }
        };
        return Ok((values.into_iter().map(known).collect(), width, height));
    }
    let image = image::open(path).map_err(|e| fail(e.to_string()))?;
    let grey = image.to_luma16();
    if image.color().has_color() {
        let rgb = image.to_rgb8();
        if let Some(p) = rgb.pixels().find(|p| p.0[0] != p.0[1] || p.0[1] != p.0[2]) {
            return Err(fail(format!(
                "a pixel has the colour {:?}; a depth map must be grey (Depth Anything: --grayscale --pred-only)",
                p.0
            )));
        }
    }
    let (width, height) = grey.dimensions();
    // The images hold inverse depth up to scale and offset, so the reciprocal serves as depth.
    let depth = |&near: &u16| {
        if near == 0 {
            f32::INFINITY
        } else {
            65535.0 / f32::from(near)
        }
    };
    Ok((grey.as_raw().iter().map(depth).collect(), width, height))
}

/// Parses a two-dimensional NumPy array.
fn npy(bytes: &[u8]) -> std::result::Result<Map<f32>, String> {
    const MAGIC: &[u8] = b"\x93NUMPY";
    if bytes.len() < 12 || &bytes[..6] != MAGIC {
        return Err("does not begin as an NPY file".into());
    }
    let (start, length) = match bytes[6] {
        1 => (10, u32::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
        2 | 3 => (
            12,
            u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        ),
        version => return Err(format!("NPY version {version}; 1 to 3 are read")),
    };
    let end = start + length as usize;
    let header = bytes.get(start..end).ok_or("ends within its header")?;
    let header = String::from_utf8_lossy(header);
    let after = |key: &str| {
        Some(
            header
                .split_once(key)?
                .1
                .trim_start()
                .trim_start_matches(':')
                .trim_start(),
        )
    };
    let kind = after("'descr'")
        .and_then(|text| text.get(1..4))
        .ok_or("has no 'descr'")?;
    if after("'fortran_order'").is_none_or(|text| text.starts_with("True")) {
        return Err("is stored by columns; rows are read".into());
    }
    let shape = after("'shape'").and_then(|text| text.strip_prefix('(')?.split_once(')'));
    let sides = shape.ok_or("has no 'shape'")?.0.split(',').map(str::trim);
    let sides: Vec<&str> = sides.filter(|side| !side.is_empty()).collect();
    let [height, width] = sides[..] else {
        return Err(format!("has {} axes; a depth map has two", sides.len()));
    };
    let side = |text: &str| {
        text.parse()
            .ok()
            .filter(|side| (1..=16384u32).contains(side))
    };
    let (Some(height), Some(width)) = (side(height), side(width)) else {
        return Err(format!(
            "{width} x {height} values; sides from 1 to 16384 are read"
        ));
    };
    let data = &bytes[end..];
    let size = match kind {
        "<f4" => 4,
        "<f8" => 8,
        "<f2" | "<u2" => 2,
        "|u1" => 1,
        other => return Err(format!("holds {other}; f2, f4, f8, u1 and u2 are read")),
    };
    let count = width as usize * height as usize;
    if data.len() != size * count {
        return Err(format!(
            "{} bytes for {width} x {height} values of {size}",
            data.len()
        ));
    }
    let value = |b: &[u8]| match kind {
        "<f4" => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        "<f8" => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
        "<f2" => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
        "<u2" => f32::from(u16::from_le_bytes([b[0], b[1]])),
        _ => f32::from(b[0]),
    };
    Ok((data.chunks_exact(size).map(value).collect(), width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of `numpy.save` for a 2 x 3 array such as `numpy.array([[1.5, 2.5, 3], [4, 5, 6]], dtype)`.
    fn saved(kind: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (2, 3), }}");
        let padded = format!("{header:<117}\n");
        [
            b"\x93NUMPY\x01\x00\x76\x00".as_slice(),
            padded.as_bytes(),
            data,
        ]
        .concat()
    }

    #[test]
    fn arrays_of_each_kind_are_read() {
        let values = [1.5f32, 2.5, 3.0, 4.0, 5.0, 6.0];
        let f4 = values.map(f32::to_le_bytes).concat();
        let f8 = values.map(|v| f64::from(v).to_le_bytes()).concat();
        let f2 = values
            .map(|v| half::f16::from_f32(v).to_le_bytes())
            .concat();
        for (kind, data) in [("<f4", &f4), ("<f8", &f8), ("<f2", &f2)] {
            assert_eq!(
                npy(&saved(kind, data)).unwrap(),
                (values.to_vec(), 3, 2),
                "{kind}"
            );
        }
        assert_eq!(npy(&saved("|u1", &[9; 6])).unwrap().0, [9.0; 6]);
    }

    #[test]
    fn wrong_arrays_say_what_is_wrong() {
        let good = saved("<f4", &[0; 24]);
        let text = |from: &str, to: &str| {
            let at = good
                .windows(from.len())
                .position(|w| w == from.as_bytes())
                .unwrap();
            let mut bytes = good.clone();
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            npy(&bytes).unwrap_err()
        };
        assert!(text("<f4", "<c8").contains("<c8"));
        assert!(text("False", "True ").contains("columns"));
        assert!(text("(2, 3)", "(2, 9)").contains("24 bytes"));
        assert!(text("(2, 3)", "(6,  )").contains("1 axes"));
        for cut in [0, 5, 11, 60, 130] {
            assert!(npy(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn pictures_of_8_and_16_bits_are_inverse_depth_and_colours_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.png");
        image::GrayImage::from_raw(2, 1, vec![255, 51])
            .unwrap()
            .save(&path)
            .unwrap();
        let (depth, width, height) = read(&path).unwrap();
        assert_eq!((width, height), (2, 1));
        assert!((depth[1] / depth[0] - 5.0).abs() < 1e-3, "{depth:?}");
        let deep: image::ImageBuffer<image::Luma<u16>, _> =
            image::ImageBuffer::from_raw(2, 1, vec![60000u16, 0]).unwrap();
        deep.save(&path).unwrap();
        assert_eq!(read(&path).unwrap().0[1], f32::INFINITY);
        image::RgbImage::from_raw(1, 1, vec![200, 100, 9])
            .unwrap()
            .save(&path)
            .unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("grey"));
    }
}
