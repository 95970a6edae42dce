//! Edits of a scene: what an instruction asks for, and the scene that is the true answer.
//!
//! Wherever something is moved or put, the instruction fixes the place: a step has one length, "left of" means touching
//! distance, a corner is one point. So there is one right picture.

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
        /// Another colour.
        Recolour = "recolour",
        /// Solids taken away.
        Remove = "remove",
        /// One more solid.
        Add = "add",
        /// A solid elsewhere.
        Move = "move",
        /// Another shape in its place.
        Replace = "replace",
        /// Another surface.
        Material = "material",
        /// Another size.
        Resize = "resize",
        /// The light from elsewhere, brighter or dimmer.
        Light = "light",
        /// Another table.
        Ground = "ground",
        /// The camera elsewhere.
        Camera = "camera",
        /// A solid in front of another or behind it, so that one hides part of the other.
        Layer = "layer",
        /// Two of the others at once.
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
        /// It comes from behind the solids.
        Behind = "from behind",
        /// It stands high: short shadows.
        High = "from above",
        /// It stands low: long shadows.
        Low = "from low down",
        /// Half as strong.
        Dimmer = "dimmer",
        /// Half as strong again.
        Brighter = "brighter",
    }
}

named! {
    /// Changes of the camera.
    CameraChange {
        /// It goes to the left about the table.
        Left = "to the left",
        /// It goes to the right about the table.
        Right = "to the right",
        /// It looks from higher up.
        Higher = "higher",
        /// It looks from lower down.
        Lower = "lower",
        /// It comes closer.
        Closer = "closer",
        /// It goes farther away.
        Farther = "farther away",
    }
}

/// What is to change. Solids are given by their index in the scene before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Solids take another colour.
    Recolour {
        /// Which.
        solids: Vec<usize>,
        /// Their new colour.
        colour: Colour,
    },
    /// Solids are taken away; what stood on them comes down.
    Remove {
        /// Which.
        solids: Vec<usize>,
    },
    /// One more solid; it takes the last index.
    Add {
        /// Its shape.
        shape: Shape,
        /// Its colour.
        colour: Colour,
        /// Its surface.
        material: Material,
        /// Its size.
        size: Size,
        /// Where it goes.
        placement: Placement,
    },
    /// A solid goes elsewhere.
    Move {
        /// Which.
        solid: usize,
        /// Where it goes.
        placement: Placement,
    },
    /// A solid of another shape takes a solid's place; all else stays.
    Replace {
        /// Which.
        solid: usize,
        /// Its new shape.
        shape: Shape,
    },
    /// Solids take another surface.
    Material {
        /// Which.
        solids: Vec<usize>,
        /// Their new surface.
        material: Material,
    },
    /// A solid grows or shrinks where it is.
    Resize {
        /// Which.
        solid: usize,
        /// Its new size.
        size: Size,
    },
    /// The light changes.
    Light {
        /// How.
        change: LightChange,
    },
    /// The table changes.
    Ground {
        /// Its new material, if that changes.
        ground: Option<Ground>,
        /// Its new tone, if that changes.
        tone: Option<Tone>,
    },
    /// The camera moves.
    Camera {
        /// How.
        change: CameraChange,
    },
    /// A solid goes right in front of another or right behind it, on the camera's line of sight.
    Layer {
        /// Which goes.
        solid: usize,
        /// The other.
        other: usize,
        /// Whether it goes in front.
        front: bool,
    },
    /// One after the other; indices are those of the scene between, which only a last `Remove` changes.
    Compound(
        /// The edits.
        Vec<Edit>,
    ),
}

/// Indices of the solids that an edit changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// In the scene before.
    pub before: Vec<usize>,
    /// In the scene after.
    pub after: Vec<usize>,
}

impl Edit {
    /// Its kind.
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

    /// The scene after the edit; `None` where an index is out of range, nothing changes, or the result is not sound:
    /// solids would float, touch, leave the view, hide another or vanish against the table.
    pub fn apply(&self, scene: &Scene) -> Option<Scene> {
        self.trace(scene).map(|(after, _)| after)
    }

    /// The solids that differ between the scene before and after, among them those that come down when their support is
    /// gone. None for light, ground and camera.
    pub fn solids(&self, scene: &Scene) -> Concerned {
        let Some((after, origins)) = self.trace(scene) else {
            return Concerned::default();
        };
        let differs = |i: usize| origins[i].is_none_or(|o| scene.solids[o] != after.solids[i]);
        let changed: Vec<usize> = (0..origins.len()).filter(|&i| differs(i)).collect();
        let kept = |before: usize| {
            let now = origins.iter().position(|&origin| origin == Some(before));
            now.is_some_and(|now| !changed.contains(&now))
        };
        Concerned {
            before: (0..scene.solids.len()).filter(|&i| !kept(i)).collect(),
            after: changed,
        }
    }

    /// The edit that leads back from the scene after to `scene`, where words can ask for it exactly: what was moved or taken
    /// away stood where no word puts it.
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
    /// All kinds as often as training takes them: what users ask for most comes most.
    pub const WEIGHTED: &[EditKind] = &draw::WEIGHTED;
}

impl Edit {
    /// An edit of `kind` whose result in `scene` is sound; `None` where some tries find none.
    pub fn draw(kind: EditKind, scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
        (0..24)
            .map(|_| draw::propose(kind, scene, rng))
            .find_map(|edit| edit.filter(|edit| edit.apply(scene).is_some()))
    }

    /// Any edit that `scene` allows, by the weights of training.
    pub fn draw_any(scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
        (0..8).find_map(|_| Edit::draw(super::draw::pick(EditKind::WEIGHTED, rng), scene, rng))
    }
}
