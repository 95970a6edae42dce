//! The builder of requests.

use super::{Frame, Method, Request, Role, Tag};
use crate::error::Result;
use crate::image::Image;

/// Builds a [`Request`]; see [`Request::builder`].
#[derive(Clone, Debug)]
pub struct RequestBuilder(Request);

impl RequestBuilder {
    pub(super) fn new(prompt: String) -> Self {
        RequestBuilder(Request::new(prompt))
    }

    /// Adds an input image with a role; the first image is IMG1.
    pub fn image(mut self, image: Image, role: Role) -> Self {
        self.0.frames.push(Frame { image, role });
        self
    }

    /// Adds an image to edit.
    pub fn canvas(self, image: Image) -> Self {
        self.image(image, Role::Canvas)
    }

    /// Adds an image that shows an object to use.
    pub fn asset(self, image: Image) -> Self {
        self.image(image, Role::Asset)
    }

    /// Adds an image whose layout the result follows.
    pub fn control(self, image: Image) -> Self {
        self.image(image, Role::Control)
    }

    /// Sets the context tags instead of deriving them.
    pub fn context(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.0.context = Some(tags.into_iter().collect());
        self
    }

    /// Sets the output's width and height in pixels.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.0.size = Some((width, height));
        self
    }

    /// Sets the number of output images.
    pub fn outputs(mut self, outputs: usize) -> Self {
        self.0.outputs = outputs;
        self
    }

    /// Sets the number of sampler steps.
    pub fn steps(mut self, steps: usize) -> Self {
        self.0.steps = Some(steps);
        self
    }

    /// Sets the sampler's method.
    pub fn method(mut self, method: Method) -> Self {
        self.0.method = method;
        self
    }

    /// Sets the text guidance scale; 1 is none.
    pub fn guidance(mut self, scale: f32) -> Self {
        self.0.guidance = Some(scale);
        self
    }

    /// Sets the image guidance scale; 1 is none.
    pub fn image_guidance(mut self, scale: f32) -> Self {
        self.0.image_guidance = scale;
        self
    }

    /// Sets whether unchanged pixels of the canvas are pasted back; see [`Request::composite_canvas`].
    pub fn composite(mut self, composite: bool) -> Self {
        self.0.composite = composite;
        self
    }

    /// Sets the seed of the noise.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }

    /// Decodes a preview every `steps` steps; 0 is never.
    pub fn preview_every(mut self, steps: usize) -> Self {
        self.0.preview_every = steps;
        self
    }

    /// Checks the request and returns it.
    ///
    /// # Errors
    /// As [`Request::check`].
    pub fn build(self) -> Result<Request> {
        self.0.check()?;
        Ok(self.0)
    }
}
