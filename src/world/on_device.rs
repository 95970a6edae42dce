//! Pictures of scenes made on a device.

use burn::tensor::{Device, Tensor, TensorData};

use super::pack::Job;
use super::render::{Frame, Settings, develop};
use super::scene::Scene;
use crate::error::{Error, Result};
use crate::gpu;
use crate::image::Image;

/// Most paths in one launch: a slow adapter must not be taken for one that hangs.
const PATHS: usize = 1 << 20;

/// [`render`](super::render()) on WebGPU, by the same paths: of 1000 pixels all but a few are the same bytes, where rounding sends a path
/// another way.
///
/// # Errors
/// [`Error::Unsupported`] when the device is not WebGPU, or its limits do not allow the picture's width;
/// [`Error::DeviceLost`] when it cannot be read.
pub async fn render_on(scene: &Scene, settings: &Settings, device: &Device) -> Result<Frame> {
    let settings = settings.clamped();
    let (width, height) = (settings.width as usize, settings.height as usize);
    let job = Job::new(scene, settings);
    let upload = |data: Vec<f32>| {
        let length = data.len();
        Tensor::<1>::from_data(TensorData::new(data, [length]), device)
    };
    let (stage, points) = (upload(job.scene), upload(job.points));
    let band = (PATHS / (width * settings.samples as usize)).clamp(1, height);
    let mut rgb = Vec::with_capacity(3 * width * height);
    let (mut ids, mut depth) = (Vec::new(), Vec::new());
    for first in (0..height).step_by(band) {
        let rows = first..height.min(first + band);
        let Some(pixels) = gpu::path_trace(&stage, &points, job.sizes, rows) else {
            return Err(Error::Unsupported(format!(
                "this device traces no paths of a picture {width} wide (it is not WebGPU, or too small); render on the CPU"
            )));
        };
        let data = pixels
            .into_data_async()
            .await
            .map_err(|error| Error::DeviceLost(format!("reading a rendered picture: {error:?}")))?;
        let numbers: Vec<f32> = data.iter::<f32>().collect();
        for pixel in numbers.chunks_exact(gpu::NUMBERS) {
            rgb.extend(develop([pixel[0], pixel[1], pixel[2]]));
            ids.push(pixel[3] as u8);
            depth.push(pixel[4]);
        }
    }
    Ok(Frame {
        image: Image::from_rgb(settings.width, settings.height, rgb)?,
        ids,
        depth,
    })
}
