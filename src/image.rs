//! Images: RGB8 on the CPU, `[1, 3, y, x]` in -1..1 on the device.

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};

/// An RGB image with 8 bits per channel, rows from top to bottom, without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}

impl From<image::RgbImage> for Image {
    fn from(image: image::RgbImage) -> Self {
        Image {
            width: image.width(),
            height: image.height(),
            rgb: image.into_raw(),
        }
    }
}

impl Image {
    /// Creates an image from RGB bytes.
    ///
    /// # Errors
    /// [`Error::Request`] when a side is 0 or the number of bytes is not `3 * width * height`.
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self> {
        let expected = 3 * width as usize * height as usize;
        if expected == 0 || rgb.len() != expected {
            return Err(Error::Request(format!(
                "an image of {width}x{height} needs {expected} RGB bytes, more than none; got {}",
                rgb.len()
            )));
        }
        Ok(Self { width, height, rgb })
    }

    /// Creates an image from RGBA bytes, blended onto white as a web page shows them.
    ///
    /// # Errors
    /// [`Error::Request`] when the number of bytes is not `4 * width * height`.
    pub fn from_rgba(width: u32, height: u32, rgba: &[u8]) -> Result<Self> {
        if rgba.len() != 4 * width as usize * height as usize {
            return Err(Error::Request(format!(
                "an image of {width}x{height} needs {} RGBA bytes; got {}",
                4 * width as usize * height as usize,
                rgba.len()
            )));
        }
        let over_white = |c: u8, a: u8| {
            let (c, a) = (u32::from(c), u32::from(a));
            ((c * a + 255 * (255 - a) + 127) / 255) as u8
        };
        let rgb = rgba
            .chunks_exact(4)
            .flat_map(|p| [0, 1, 2].map(|i| over_white(p[i], p[3])))
            .collect();
        Self::from_rgb(width, height, rgb)
    }

    /// Returns the pixels as RGBA with an opaque alpha channel, the format of an HTML canvas.
    pub fn to_rgba(&self) -> Vec<u8> {
        self.rgb
            .chunks_exact(3)
            .flat_map(|p| [p[0], p[1], p[2], 255])
            .collect()
    }

    /// Resizes to exactly `width` x `height` (Catmull-Rom, antialiased when shrinking).
    pub fn resize(&self, width: u32, height: u32) -> Image {
        if (self.width, self.height) == (width, height) {
            return self.clone();
        }
        let source = image::RgbImage::from_raw(self.width, self.height, self.rgb.clone())
            .expect("Image holds 3 * width * height bytes");
        let scaled = image::imageops::resize(
            &source,
            width,
            height,
            image::imageops::FilterType::CatmullRom,
        );
        Image {
            width,
            height,
            rgb: scaled.into_raw(),
        }
    }
}

impl Image {
    /// Returns the pixels as a tensor `[1, 3, y, x]` in -1..1.
    pub fn to_tensor(&self, device: &Device) -> Tensor<4> {
        let (w, h) = (self.width as usize, self.height as usize);
        Tensor::from_data(TensorData::new(self.to_planes(), [1, 3, h, w]), device)
    }

    /// Returns the pixels in -1..1, channel by channel.
    pub fn to_planes(&self) -> Vec<f32> {
        let size = self.width as usize * self.height as usize;
        let mut planes = vec![0f32; 3 * size];
        for (i, pixel) in self.rgb.chunks_exact(3).enumerate() {
            for c in 0..3 {
                planes[c * size + i] = f32::from(pixel[c]) / 127.5 - 1.0;
            }
        }
        planes
    }

    /// Converts the first image of `[b, 3, y, x]` in -1..1 to 8 bits with rounding; values outside the range are clamped.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] when the device cannot be read, [`Error::Internal`] when a value is not finite.
    pub async fn from_tensor(x: Tensor<4>) -> Result<Image> {
        let [_, _, h, w] = x.dims();
        let data = x
            .into_data_async()
            .await
            .map_err(|e| Error::DeviceLost(format!("reading an image: {e:?}")))?;
        let planes: Vec<f32> = data.iter::<f32>().collect();
        if let Some(bad) = planes.iter().find(|v| !v.is_finite()) {
            return Err(Error::Internal(format!(
                "decoding: {bad}, expected finite pixel values"
            )));
        }
        let mut rgb = vec![0u8; 3 * w * h];
        for (i, pixel) in rgb.chunks_exact_mut(3).enumerate() {
            for c in 0..3 {
                pixel[c] = ((planes[c * w * h + i] + 1.0) * 127.5)
                    .round()
                    .clamp(0.0, 255.0) as u8;
            }
        }
        Image::from_rgb(w as u32, h as u32, rgb)
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod files {
    use super::*;
    use std::path::Path;

    /// Maximum side in pixels of an image that [`Image::decode`] accepts.
    const MAX_SIDE: u32 = 16384;

    impl Image {
        /// Reads a PNG, JPEG or WebP file.
        ///
        /// # Errors
        /// [`Error::Io`] when the file cannot be read, [`Error::Format`] when it is not an image.
        pub fn open(path: impl AsRef<Path>) -> Result<Image> {
            let path = path.as_ref();
            let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
            Image::decode(&bytes, &path.display().to_string())
        }

        /// Decodes PNG, JPEG or WebP bytes; `name` appears in error messages. Transparent pixels are blended onto
        /// white.
        ///
        /// # Errors
        /// [`Error::Format`] when the bytes are not an image, or declare a side over 16384.
        pub fn decode(bytes: &[u8], name: &str) -> Result<Image> {
            let fail = |e: &dyn std::fmt::Display| Error::format(name, e);
            let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes))
                .with_guessed_format()
                .map_err(|e| fail(&e))?;
            let mut limits = image::Limits::default();
            limits.max_image_width = Some(MAX_SIDE);
            limits.max_image_height = Some(MAX_SIDE);
            reader.limits(limits);
            let rgba = reader.decode().map_err(|e| fail(&e))?.into_rgba8();
            Image::from_rgba(rgba.width(), rgba.height(), rgba.as_raw())
        }

        /// Encodes the image as PNG; equal images give equal bytes.
        ///
        /// # Errors
        /// [`Error::Internal`] when encoding fails.
        pub fn to_png(&self) -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            image::ImageEncoder::write_image(
                image::codecs::png::PngEncoder::new(&mut bytes),
                &self.rgb,
                self.width,
                self.height,
                image::ExtendedColorType::Rgb8,
            )
            .map_err(|e| Error::Internal(format!("encoding an image: {e}")))?;
            Ok(bytes)
        }

        /// Arranges groups of images of one size in a grid on grey, `columns` groups per row; a missing image stays
        /// grey.
        ///
        /// # Errors
        /// [`Error::Request`] when there is no image or the sizes differ.
        pub fn sheet<const N: usize>(
            groups: &[[Option<&Image>; N]],
            columns: usize,
        ) -> Result<Image> {
            const MARGIN: usize = 2;
            let images = || groups.iter().flatten().flatten();
            let Some(first) = images().next() else {
                return Err(Error::Request(
                    "a sheet of 0 images, expected at least 1".into(),
                ));
            };
            let (w, h) = (first.width as usize, first.height as usize);
            if let Some(other) =
                images().find(|p| (p.width, p.height) != (first.width, first.height))
            {
                return Err(Error::Request(format!(
                    "a sheet of images of {w}x{h} and {}x{}, expected one size",
                    other.width, other.height
                )));
            }
            let columns = columns.clamp(1, groups.len());
            let (tile_x, tile_y) = (N * (w + MARGIN) + MARGIN, h + 2 * MARGIN);
            let (width, height) = (columns * tile_x, groups.len().div_ceil(columns) * tile_y);
            let mut rgb = vec![128u8; 3 * width * height];
            for (i, group) in groups.iter().enumerate() {
                let (left, top) = (i % columns * tile_x, i / columns * tile_y + MARGIN);
                for (j, image) in group.iter().enumerate() {
                    let Some(image) = image else { continue };
                    let x = left + MARGIN + j * (w + MARGIN);
                    for (y, row) in image.rgb.chunks_exact(3 * w).enumerate() {
                        let at = 3 * ((top + y) * width + x);
                        rgb[at..at + 3 * w].copy_from_slice(row);
                    }
                }
            }
            Image::from_rgb(width as u32, height as u32, rgb)
        }

        /// Writes a PNG or JPEG file, by its extension.
        ///
        /// # Errors
        /// [`Error::Io`] when the file cannot be written, [`Error::Format`] when the image cannot be encoded.
        pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
            let path = path.as_ref();
            image::save_buffer(
                path,
                &self.rgb,
                self.width,
                self.height,
                image::ColorType::Rgb8,
            )
            .map_err(|e| match e {
                image::ImageError::IoError(e) => Error::io(path, e),
                e => Error::format(path.display().to_string(), e),
            })
        }
    }
}
