//! A simulated table with objects on it, rendered as short clips with ground truth for every frame. The clips train and
//! evaluate the shipped model; the page renders new scenes in the browser (`page`, built as a separate wasm module).

mod camera;
pub mod clip;
pub mod draw;
pub mod edit;
pub mod edit_case;
#[cfg(target_arch = "wasm32")]
pub mod page;
pub mod physics;
pub mod place;
pub mod placement;
mod primitive;
pub mod render;
mod sampling;
pub mod scene;
mod stage;
mod surface;
pub mod text;
mod trace;
mod vector;

pub use clip::film;
pub use edit::{CameraChange, Concerned, Edit, EditKind, LightChange};
pub use edit_case::HELD_OUT;
pub use placement::{Placement, Reach, Side};
pub use render::{Frame, Settings, render};
pub use scene::{
    Backdrop, Camera, Colour, Ground, Light, MAX_SOLIDS, Material, Pose, Primitive, Scene, Shape,
    Size, Solid, Tone,
};
pub use text::Wording;

#[cfg(test)]
mod tests;
