//! The tabletop world: a simulated table with solids on it, filmed as short clips whose every frame comes with truth. It
//! trains and measures the shipped model, and the page can render new scenes of it.
//!
//! The data and the renderer are part of every build; the physics, which only clips need, is native.

mod camera;
mod form;
pub mod render;
mod sampling;
pub mod scene;
mod stage;
mod surface;
mod trace;
mod vector;

pub use render::{Frame, Settings, render};
pub use scene::{
    Backdrop, Camera, Colour, Form, Ground, Light, MAX_SOLIDS, Material, Pose, Scene, Shape, Size,
    Solid, Tone,
};

#[cfg(test)]
mod tests;
