//! Classifies the colour and shape that an image shows at an object's place: renders every alternative and selects the nearest.

use super::cases::Subject;
use super::metrics::difference;
use crate::frame::{Frame, render};
use unireal::Image;
use unireal_tabletop::{Colour, Scene, Settings, Shape, Solid};

/// Paths per pixel of the alternatives; their noise is far below the errors of a model's images.
const SAMPLES: u32 = 8;

/// The recognised appearance of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The nearest colour.
    pub colour: Colour,
    /// The nearest shape.
    pub shape: Shape,
}

impl Seen {
    /// Classifies the object at the place of `subject`: the nearest of all colours in the true shape, and the nearest of all
    /// shapes in the true colour.
    pub(super) fn of(image: &Image, subject: &Subject) -> Seen {
        let Subject { scene, solid } = subject;
        let ground_truth = &scene.solids[*solid];
        let colour = nearest(image, subject, Colour::ALL, |colour| Solid {
            colour,
            ..ground_truth.clone()
        });
        let shape = nearest(image, subject, Shape::ALL, |shape| {
            reshaped(ground_truth, shape)
        });
        Seen { colour, shape }
    }

    /// Returns whether colour and shape are those of the ground truth.
    pub(super) fn is_right(&self, subject: &Subject) -> bool {
        let ground_truth = &subject.scene.solids[subject.solid];
        (self.colour, self.shape) == (ground_truth.colour, ground_truth.shape)
    }
}

/// Returns the object with another shape, at the same place and resting on the same surface.
fn reshaped(solid: &Solid, shape: Shape) -> Solid {
    if shape == solid.shape {
        return solid.clone();
    }
    let [x, _, z] = solid.pose.position;
    let mut other = Solid {
        shape,
        ..solid.clone()
    };
    other.put([x, z], solid.heights().0);
    other
}

fn nearest<T: Copy>(
    image: &Image,
    subject: &Subject,
    choices: &[T],
    with: impl Fn(T) -> Solid,
) -> T {
    let settings = Settings {
        width: image.width,
        height: image.height,
        samples: SAMPLES,
        ..Settings::square(image.width)
    };
    let id = subject.solid as u8 + 1;
    let frames: Vec<Frame> = choices
        .iter()
        .map(|&choice| {
            let mut scene: Scene = subject.scene.clone();
            scene.solids[subject.solid] = with(choice);
            render(&scene, &settings)
        })
        .collect();
    // All alternatives are compared over the union of their masks; otherwise a small shape would be compared on fewer pixels.
    let anywhere = |i: usize| frames.iter().any(|frame| frame.ids[i] == id);
    let distance = |frame: &Frame| difference(image, &frame.image, anywhere);
    let best =
        (0..frames.len()).min_by(|&a, &b| distance(&frames[a]).total_cmp(&distance(&frames[b])));
    choices[best.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The ground truth is recognised, and another colour is recognised as such.
    #[test]
    fn rendered_objects_are_recognised_and_others_distinguished() {
        let rng = &mut ChaCha8Rng::seed_from_u64(rand::random());
        let settings = Settings::square(64);
        let (mut right, mut distinguished) = (0, 0);
        const CASES: usize = 12;
        for _ in 0..CASES {
            let scene = Scene::draw(rng);
            let solid = rng.random_range(0..scene.solids.len());
            let subject = Subject { scene, solid };
            let ground_truth = render(&subject.scene, &settings).image;
            right += usize::from(Seen::of(&ground_truth, &subject).is_right(&subject));
            let mut other = subject.scene.clone();
            let old = other.solids[solid].colour;
            let shift = rng.random_range(1..Colour::ALL.len());
            let at = Colour::ALL.iter().position(|&c| c == old).unwrap_or(0);
            other.solids[solid].colour = Colour::ALL[(at + shift) % Colour::ALL.len()];
            let seen = Seen::of(&render(&other, &settings).image, &subject);
            distinguished += usize::from(seen.colour == other.solids[solid].colour);
        }
        assert_eq!((right, distinguished), (CASES, CASES));
    }
}
