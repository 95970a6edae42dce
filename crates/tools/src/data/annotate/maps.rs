//! Reads depth maps as Depth Anything writes them, one file per frame: `DIR/depth/<video>/<frame>.png` with 8 or 16 bits,
//! where white is near (relative models), or `.npy` with metres (metric models; also named `<frame>_raw_depth_meter.npy`).

use std::path::{Path, PathBuf};

use super::super::kinds::Counts;
use super::files::frame_files;
use super::{Annotator, Shot, npy};
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
        let folder = self.folder.join(shot.video);
        let Some(files) = frame_files(&folder, &["png", "npy"])? else {
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
/// [`Error::Io`] when the file cannot be read, [`Error::Format`] when it is neither a grey PNG nor an NPY array of two axes.
pub fn read(path: &Path) -> Result<Map<f32>> {
    let name = path.display().to_string();
    let fail = |reason: String| Error::format(&name, reason);
    if path.extension().is_some_and(|e| e == "npy") {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let (values, width, height) = npy::parse(&bytes).map_err(fail)?;
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
                "reading depth: a pixel has the colour {:?}, expected grey (Depth Anything: --grayscale --pred-only)",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_8_and_16_bits_are_inverse_depth_and_colours_are_refused() {
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
