//! Placements that instructions name, and the point of the table for each.

use serde::{Deserialize, Serialize};

use super::scene::{Scene, Solid, named};

named! {
    /// A side as seen by the camera.
    Side {
        /// To the camera's left.
        Left = "left",
        /// To the camera's right.
        Right = "right",
        /// Towards the camera.
        Front = "front",
        /// Away from the camera.
        Behind = "behind",
    }
}

named! {
    /// The length of a step.
    Reach {
        /// Half a step.
        Bit = "a bit",
        /// A whole step.
        Step = "a step",
        /// Five thirds of a step.
        Far = "far",
    }
}

/// Where an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// A step from the object's current position.
    Step {
        /// Direction of the step.
        side: Side,
        /// Length of the step.
        reach: Reach,
    },
    /// Next to another object.
    Beside {
        /// On which side of it.
        side: Side,
        /// Index of the other object.
        other: usize,
    },
    /// On top of another object.
    On {
        /// Index of the other object.
        other: usize,
    },
    /// One of nine positions on the table.
    Place {
        /// -1 left, 0 middle, 1 right.
        column: i8,
        /// -1 back, 0 middle, 1 front.
        row: i8,
    },
}

impl Reach {
    /// Returns the length in table units.
    pub fn length(self) -> f32 {
        match self {
            Reach::Bit => 0.45,
            Reach::Step => 0.9,
            Reach::Far => 1.5,
        }
    }
}

impl Side {
    /// Returns the unit vector of this direction: to the right, and towards the camera.
    pub fn direction(self) -> [f32; 2] {
        match self {
            Side::Left => [-1.0, 0.0],
            Side::Right => [1.0, 0.0],
            Side::Front => [0.0, 1.0],
            Side::Behind => [0.0, -1.0],
        }
    }

    /// Returns the point at which `solid` stands on this side of `other` with a small gap.
    pub(crate) fn beside(self, scene: &Scene, solid: &Solid, other: &Solid) -> [f32; 2] {
        let gap = solid.footprint() + other.footprint() + 0.1;
        let [across, towards] = scene.camera.table_axes(other.pose.position);
        let [right, front] = self.direction();
        scene
            .camera
            .table_point([across + gap * right, towards + gap * front])
    }
}

impl Placement {
    /// Returns the point of the table and the height at which `solid` stands; `None` for an index, column or row out of range.
    /// `moving` is its index if it is already in the scene.
    pub(crate) fn point(
        self,
        scene: &Scene,
        solid: &Solid,
        moving: Option<usize>,
    ) -> Option<([f32; 2], f32)> {
        let other = |index: usize| scene.solids.get(index).filter(|_| Some(index) != moving);
        match self {
            Placement::Step { side, reach } => {
                let from = scene.solids.get(moving?)?.pose.position;
                let [across, towards] = scene.camera.table_axes(from);
                let [right, front] = side.direction().map(|d| d * reach.length());
                let to = [across + right, towards + front];
                Some((scene.camera.table_point(to), 0.0))
            }
            Placement::Beside { side, other: index } => {
                Some((side.beside(scene, solid, other(index)?), 0.0))
            }
            Placement::On { other: index } => {
                let below = other(index)?;
                let taken = (0..scene.solids.len())
                    .any(|i| Some(i) != moving && scene.bearer(i) == Some(index));
                let [x, _, z] = below.pose.position;
                let mut placed = solid.clone();
                placed.put([x, z], below.heights().1);
                let bears = below.bears(&placed) && !taken;
                bears.then_some(([x, z], below.heights().1))
            }
            Placement::Place { column, row } => {
                let towards = match row {
                    -1 => -1.3,
                    0 => -0.25,
                    1 => 0.75,
                    _ => return None,
                };
                if !(-1..=1).contains(&column) {
                    return None;
                }
                let point = [1.1 * f32::from(column), towards];
                Some((scene.camera.table_point(point), 0.0))
            }
        }
    }
}
