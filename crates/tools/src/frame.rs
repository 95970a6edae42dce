//! Rendered tabletop frames whose image is a [`unireal::Image`].

use unireal::Image;
use unireal_tabletop::{Scene, Settings};

/// A rendered frame with its ground truth, as [`unireal_tabletop::Frame`].
#[derive(Clone, Debug)]
pub struct Frame {
    /// The image.
    pub image: Image,
    /// The object at each pixel's centre, row-major from the top: 0 is no object, `i + 1` is object `i` of the scene.
    pub ids: Vec<u8>,
    /// Depth along the view axis at each pixel's centre, in table units; the sky has 100, the maximum.
    pub depth: Vec<f32>,
}

/// Renders a scene.
pub fn render(scene: &Scene, settings: &Settings) -> Frame {
    let frame = unireal_tabletop::render(scene, settings);
    Frame {
        image: frame.image.into(),
        ids: frame.ids,
        depth: frame.depth,
    }
}
