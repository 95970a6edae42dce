//! The tabletop world: a simulated table with solids on it, filmed as short clips whose every frame comes with truth. It
//! trains and measures the shipped model, and the page can render new scenes of it.
//!
//! The data and the renderer are part of every build; the physics, which only clips need, is native.

mod camera;
#[cfg(feature = "tools")]
pub mod clip;
pub mod draw;
pub mod edit;
mod edit_draw;
mod form;
mod on_device;
pub(crate) mod pack;
#[cfg(feature = "tools")]
pub mod physics;
pub mod place;
pub mod render;
mod sampling;
pub mod scene;
pub mod spot;
mod stage;
mod surface;
mod trace;
mod vector;
pub mod words;

#[cfg(feature = "tools")]
pub use clip::film;
pub use edit::{CameraChange, Concerned, Edit, EditKind, LightChange};
pub use on_device::render_on;
pub use render::{Frame, Settings, render};
pub use scene::{
    Backdrop, Camera, Colour, Form, Ground, Light, MAX_SOLIDS, Material, Pose, Scene, Shape, Size,
    Solid, Tone,
};
pub use spot::{Reach, Side, Spot};
pub use words::Wording;

#[cfg(test)]
mod tests;
