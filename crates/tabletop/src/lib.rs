//! The tabletop world: a simulated table with objects on it, rendered as short clips whose every frame comes with ground truth.
//! It trains and measures the shipped model, and the page renders new scenes of it (`page`, a wasm module of its own).

mod camera;
pub mod clip;
pub mod draw;
pub mod edit;
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
pub mod still;
mod surface;
mod trace;
mod vector;
pub mod words;

pub use clip::film;
pub use edit::{CameraChange, Concerned, Edit, EditKind, LightChange};
pub use placement::{Placement, Reach, Side};
pub use render::{Frame, Settings, render};
pub use scene::{
    Backdrop, Camera, Colour, Ground, Light, MAX_SOLIDS, Material, Pose, Primitive, Scene, Shape,
    Size, Solid, Tone,
};
pub use still::HELD_OUT;
pub use words::Wording;

#[cfg(test)]
mod tests;
