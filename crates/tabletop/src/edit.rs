//! Edits of a scene, and the scene after each edit as ground truth.
//!
//! An instruction fixes the exact position of what it moves or adds: a step has one length, "left of" means touching
//! distance, a corner is one point. So there is exactly one correct image.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::placement::Placement;
use super::scene::{Colour, Ground, Material, Scene, Shape, Size, Tone, named};

mod apply;
pub(crate) mod draw;
#[cfg(test)]
mod tests;

named! {
    /// The kinds of edit.
    EditKind {
        /// Objects change colour.
        Recolour = "recolour",
        /// Objects are removed.
        Remove = "remove",
        /// An object is added.
        Add = "add",
        /// An object moves.
        Move = "move",
        /// An object changes shape.
        Replace = "replace",
        /// Objects change material.
        Material = "material",
        /// An object changes size.
        Resize = "resize",
        /// The light changes direction or strength.
        Light = "light",
        /// The table changes.
        Ground = "ground",
        /// The camera moves.
        Camera = "camera",
        /// An object moves in front of another or behind it, so that one partly hides the other.
        Layer = "layer",
        /// Two of the other edits at once.
        Compound = "compound",
    }
}

named! {
    /// Changes of the key light.
    LightChange {
        /// It comes from the left.
        Left = "from the left",
        /// It comes from the right.
        Right = "from the right",
        /// It comes from the camera's side.
        Front = "from the front",
        /// It comes from behind the objects.
        Behind = "from behind",
        /// It is high: short shadows.
        High = "from above",
        /// It is low: long shadows.
        Low = "from low down",
        /// Half as strong.
        Dimmer = "dimmer",
        /// 1.5 times as strong.
        Brighter = "brighter",
    }
}

named! {
    /// Changes of the camera.
    CameraChange {
        /// It orbits to the left.
        Left = "to the left",
        /// It orbits to the right.
        Right = "to the right",
        /// It looks from higher up.
        Higher = "higher",
        /// It looks from lower down.
        Lower = "lower",
        /// It moves closer.
        Closer = "closer",
        /// It moves farther away.
        Farther = "farther away",
    }
}

/// An edit. Objects are given by their index in the scene before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Changes the colour of objects.
    Recolour {
        /// Indices of the objects.
        solids: Vec<usize>,
        /// Their new colour.
        colour: Colour,
    },
    /// Removes objects; objects that stood on them come down.
    Remove {
        /// Indices of the objects.
        solids: Vec<usize>,
    },
    /// Adds an object, which takes the last index.
    Add {
        /// Its shape.
        shape: Shape,
        /// Its colour.
        colour: Colour,
        /// Its material.
        material: Material,
        /// Its size.
        size: Size,
        /// Where it goes.
        placement: Placement,
    },
    /// Moves an object.
    Move {
        /// Index of the object.
        solid: usize,
        /// Where it goes.
        placement: Placement,
    },
    /// Changes the shape of an object; its other attributes stay.
    Replace {
        /// Index of the object.
        solid: usize,
        /// Its new shape.
        shape: Shape,
    },
    /// Changes the material of objects.
    Material {
        /// Indices of the objects.
        solids: Vec<usize>,
        /// Their new material.
        material: Material,
    },
    /// Changes the size of an object in place.
    Resize {
        /// Index of the object.
        solid: usize,
        /// Its new size.
        size: Size,
    },
    /// Changes the light.
    Light {
        /// The change.
        change: LightChange,
    },
    /// Changes the table.
    Ground {
        /// Its new material, if that changes.
        ground: Option<Ground>,
        /// Its new tone, if that changes.
        tone: Option<Tone>,
    },
    /// Moves the camera.
    Camera {
        /// The change.
        change: CameraChange,
    },
    /// Moves an object directly in front of another or directly behind it, on the camera's line of sight.
    Layer {
        /// Index of the object that moves.
        solid: usize,
        /// Index of the other object.
        other: usize,
        /// Whether it goes in front.
        front: bool,
    },
    /// Applies edits in order. Each uses the indices of the scene before it; only a `Remove`, which comes last, changes them.
    Compound(
        /// The edits.
        Vec<Edit>,
    ),
}

/// Indices of the objects that an edit changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// In the scene before the edit.
    pub before: Vec<usize>,
    /// In the scene after the edit.
    pub after: Vec<usize>,
}

impl Edit {
    /// Returns its kind.
    pub fn kind(&self) -> EditKind {
        match self {
            Edit::Recolour { .. } => EditKind::Recolour,
            Edit::Remove { .. } => EditKind::Remove,
            Edit::Add { .. } => EditKind::Add,
            Edit::Move { .. } => EditKind::Move,
            Edit::Replace { .. } => EditKind::Replace,
            Edit::Material { .. } => EditKind::Material,
            Edit::Resize { .. } => EditKind::Resize,
            Edit::Light { .. } => EditKind::Light,
            Edit::Ground { .. } => EditKind::Ground,
            Edit::Camera { .. } => EditKind::Camera,
            Edit::Layer { .. } => EditKind::Layer,
            Edit::Compound(_) => EditKind::Compound,
        }
    }

    /// Returns the scene after the edit; `None` where an index is out of range, nothing changes, or the result is invalid:
    /// objects would float, collide, leave the view, hide another or blend into the table.
    pub fn apply(&self, scene: &Scene) -> Option<Scene> {
        self.trace(scene).map(|(after, _)| after)
    }

    /// Returns the objects that differ between the scenes before and after, including those that come down when their support
    /// is gone. None for light, ground and camera.
    pub fn solids(&self, scene: &Scene) -> Concerned {
        let Some((after, origins)) = self.trace(scene) else {
            return Concerned::default();
        };
        let differs = |i: usize| origins[i].is_none_or(|o| scene.solids[o] != after.solids[i]);
        let changed: Vec<usize> = (0..origins.len()).filter(|&i| differs(i)).collect();
        let unchanged = |before: usize| {
            let now = origins.iter().position(|&origin| origin == Some(before));
            now.is_some_and(|now| !changed.contains(&now))
        };
        Concerned {
            before: (0..scene.solids.len()).filter(|&i| !unchanged(i)).collect(),
            after: changed,
        }
    }

    /// Returns the edit that leads back from the scene after to `scene`; `None` where no instruction describes it exactly, as
    /// for moved and removed objects, whose old position has no name.
    pub fn reverse(&self, scene: &Scene) -> Option<Edit> {
        let after = self.apply(scene)?;
        let back = match self {
            Edit::Recolour { solids, .. } => Edit::Recolour {
                colour: scene.solids[solids[0]].colour,
                solids: solids.clone(),
            },
            Edit::Material { solids, .. } => Edit::Material {
                material: scene.solids[solids[0]].material,
                solids: solids.clone(),
            },
            Edit::Add { .. } => Edit::Remove {
                solids: vec![scene.solids.len()],
            },
            Edit::Replace { solid, .. } => Edit::Replace {
                solid: *solid,
                shape: scene.solids[*solid].shape,
            },
            Edit::Resize { solid, .. } => Edit::Resize {
                solid: *solid,
                size: scene.solids[*solid].size,
            },
            Edit::Ground { ground, tone } => Edit::Ground {
                ground: ground.map(|_| scene.ground),
                tone: tone.map(|_| scene.ground_tone),
            },
            _ => return None,
        };
        back.apply(&after)
            .filter(|found| apply::looks_like(found, scene))
            .map(|_| back)
    }
}

impl EditKind {
    /// All kinds, repeated by their frequency in training: the kinds that users ask for most come most often.
    pub const WEIGHTED: &[EditKind] = &draw::WEIGHTED;
}

impl Edit {
    /// Draws an edit of `kind` with a valid result in `scene`; `None` where 24 tries find none.
    pub fn draw(kind: EditKind, scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
        (0..24)
            .map(|_| draw::propose(kind, scene, rng))
            .find_map(|edit| edit.filter(|edit| edit.apply(scene).is_some()))
    }

    /// Draws an edit that `scene` allows, by the weights of training.
    pub fn draw_any(scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
        (0..8).find_map(|_| Edit::draw(super::draw::pick(EditKind::WEIGHTED, rng), scene, rng))
    }
}
