//! The tabletop world: a simulated table with solids on it, filmed as short clips whose every frame comes with truth. It
//! trains and measures the shipped model, and the page can render new scenes of it.
//!
//! The data and the renderer are part of every build; the physics, which only films need, comes with the feature `world`: to
//! the native command, and to the page as a module of its own, beside the engine's.

mod camera;
#[cfg(feature = "world")]
pub mod clip;
pub mod draw;
pub mod edit;
mod form;
#[cfg(feature = "engine")]
mod on_device;
#[cfg(feature = "engine")]
pub(crate) mod pack;
#[cfg(feature = "world")]
pub mod physics;
pub mod place;
pub mod render;
mod sampling;
pub mod scene;
pub mod spot;
mod stage;
#[cfg(feature = "world")]
pub mod still;
mod surface;
mod trace;
mod vector;
pub mod words;

#[cfg(feature = "world")]
pub use clip::film;
pub use edit::{CameraChange, Concerned, Edit, EditKind, LightChange};
#[cfg(feature = "engine")]
pub use on_device::render_on;
pub use render::{Frame, Settings, render};
pub use scene::{
    Backdrop, Camera, Colour, Form, Ground, Light, MAX_SOLIDS, Material, Pose, Scene, Shape, Size,
    Solid, Tone,
};
pub use spot::{Reach, Side, Spot};
#[cfg(feature = "world")]
pub use still::HELD_OUT;
pub use words::Wording;

#[cfg(test)]
mod tests;
