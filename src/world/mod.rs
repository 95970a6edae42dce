//! The tabletop world: a simulated table with solids on it, filmed as short clips whose every frame comes with truth. It
//! trains and measures the shipped model, and the page can render new scenes of it.
//!
//! The data and the renderer are part of every build; the physics, which only clips need, is native.

mod camera_view;
#[cfg(feature = "tools")]
pub mod clip;
pub mod draw;
pub mod edit;
mod edit_draw;
#[cfg(feature = "tools")]
pub mod physics;
pub mod place;
pub mod scene;
pub mod spot;
pub mod words;

#[cfg(feature = "tools")]
pub use clip::film;
pub use edit::{CameraChange, Concerned, Edit, EditKind, LightChange};
pub use scene::{
    Backdrop, Camera, Colour, Form, Ground, Light, MAX_SOLIDS, Material, Pose, Scene, Shape, Size,
    Solid, Tone,
};
pub use spot::{Reach, Side, Spot};
pub use words::Wording;
