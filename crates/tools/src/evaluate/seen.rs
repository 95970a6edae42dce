//! Which colour and shape a picture shows at a solid's place: every alternative is rendered, and the nearest one counts.

use super::cases::Subject;
use super::metrics::difference;
use crate::frame::{Frame, render};
use unireal::Image;
use unireal_tabletop::{Colour, Scene, Settings, Shape, Solid};

/// Paths a pixel of the alternatives: they are compared with a model's picture, whose errors are far above their noise.
const SAMPLES: u32 = 8;

/// What a picture shows of a solid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The nearest colour.
    pub colour: Colour,
    /// The nearest shape.
    pub shape: Shape,
}

impl Seen {
    /// What `picture` shows where `subject` is in the true scene: the nearest of all colours in the true shape, and the
    /// nearest of all shapes in the true colour.
    pub(super) fn of(picture: &Image, subject: &Subject) -> Seen {
        let Subject { scene, solid } = subject;
        let truth = &scene.solids[*solid];
        let colour = nearest(picture, subject, Colour::ALL, |colour| Solid {
            colour,
            ..truth.clone()
        });
        let shape = nearest(picture, subject, Shape::ALL, |shape| reshaped(truth, shape));
        Seen { colour, shape }
    }

    /// Whether it shows the true solid.
    pub(super) fn is_right(&self, subject: &Subject) -> bool {
        let truth = &subject.scene.solids[subject.solid];
        (self.colour, self.shape) == (truth.colour, truth.shape)
    }
}

/// The solid in another shape, resting where it rests.
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
    picture: &Image,
    subject: &Subject,
    choices: &[T],
    with: impl Fn(T) -> Solid,
) -> T {
    let settings = Settings {
        width: picture.width,
        height: picture.height,
        samples: SAMPLES,
        ..Settings::square(picture.width)
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
    // All are compared where any of them is: else a small shape would be compared with less than a large one.
    let anywhere = |i: usize| frames.iter().any(|frame| frame.ids[i] == id);
    let distance = |frame: &Frame| difference(picture, &frame.image, anywhere);
    let best =
        (0..frames.len()).min_by(|&a, &b| distance(&frames[a]).total_cmp(&distance(&frames[b])));
    choices[best.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The truth is recognised, and the truth with another colour is not taken for it.
    #[test]
    fn rendered_solids_are_recognised_and_others_are_told_apart() {
        let rng = &mut ChaCha8Rng::seed_from_u64(rand::random());
        let settings = Settings::square(64);
        let (mut right, mut told) = (0, 0);
        const CASES: usize = 12;
        for _ in 0..CASES {
            let scene = Scene::draw(rng);
            let solid = rng.random_range(0..scene.solids.len());
            let subject = Subject { scene, solid };
            let truth = render(&subject.scene, &settings).image;
            right += usize::from(Seen::of(&truth, &subject).is_right(&subject));
            let mut other = subject.scene.clone();
            let old = other.solids[solid].colour;
            let shift = rng.random_range(1..Colour::ALL.len());
            let at = Colour::ALL.iter().position(|&c| c == old).unwrap_or(0);
            other.solids[solid].colour = Colour::ALL[(at + shift) % Colour::ALL.len()];
            let seen = Seen::of(&render(&other, &settings).image, &subject);
            told += usize::from(seen.colour == other.solids[solid].colour);
        }
        assert_eq!((right, told), (CASES, CASES));
    }
}
