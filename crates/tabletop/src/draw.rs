//! Random scenes whose objects can be distinguished by text and by eye.

use rand::{Rng, RngExt};

use super::scene::{
    Backdrop, Camera, Colour, Ground, Light, MAX_SOLIDS, Material, Pose, Scene, Shape, Size, Solid,
    Tone,
};

/// Minimum visible share of each object in a drawn scene.
pub(crate) const MIN_VISIBLE: f32 = 0.6;
/// Maximum distance of objects from the middle: to either side, to the back, to the front.
const REACH: (f32, f32, f32) = (1.5, 1.6, 1.1);

/// Draws one of `choices`, which must not be empty.
pub(crate) fn pick<T: Copy>(choices: &[T], rng: &mut impl Rng) -> T {
    choices[rng.random_range(0..choices.len())]
}

impl Scene {
    /// Draws a scene of one to six objects at rest, mostly two to four, sometimes one on top of another, with a random table,
    /// backdrop, light and camera.
    pub fn draw(rng: &mut impl Rng) -> Scene {
        let count = pick(&[1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 6], rng);
        loop {
            let mut scene = Scene::draw_empty(rng);
            // A full table gets fewer objects.
            for _ in 0..count {
                scene.draw_solid(rng);
            }
            if !scene.solids.is_empty() {
                return scene;
            }
        }
    }

    /// Draws a simple scene for the first stages of training: one to three large objects on the table, no mirrors, each with
    /// a colour and a shape of its own.
    pub fn draw_easy(rng: &mut impl Rng) -> Scene {
        let count = rng.random_range(1..=3);
        loop {
            let mut scene = Scene::draw_empty(rng);
            for _ in 0..count {
                scene.place(rng, |scene, rng| {
                    let mut solid = Solid::draw(rng);
                    solid.size = Size::Large;
                    let alike =
                        |other: &Solid| other.colour == solid.colour || other.shape == solid.shape;
                    let easy =
                        solid.material != Material::Mirror && !scene.solids.iter().any(alike);
                    easy.then(|| scene.on_table(solid, rng))
                });
            }
            if !scene.solids.is_empty() {
                return scene;
            }
        }
    }

    /// Draws a scene without objects.
    pub fn draw_empty(rng: &mut impl Rng) -> Scene {
        let camera = Camera::draw(rng);
        Scene {
            solids: Vec::new(),
            ground: pick(Ground::ALL, rng),
            ground_tone: pick(Tone::ALL, rng),
            backdrop: pick(Backdrop::ALL, rng),
            backdrop_tone: pick(Tone::ALL, rng),
            light: Light::draw(&camera, rng),
            camera,
        }
    }

    /// Adds an object on the table or on another object; returns `false` where none fits.
    pub fn draw_solid(&mut self, rng: &mut impl Rng) -> bool {
        if self.solids.len() >= MAX_SOLIDS {
            return false;
        }
        self.place(rng, |scene, rng| {
            let mut solid = Solid::draw(rng);
            let bearer = rng
                .random_bool(0.15)
                .then(|| scene.free_bearer(&solid, rng));
            Some(match bearer.flatten() {
                Some(bearer) => {
                    let [x, _, z] = bearer.pose.position;
                    solid.put([x, z], bearer.heights().1);
                    solid
                }
                None => scene.on_table(solid, rng),
            })
        })
    }

    /// Moves `solid` to a random point of the table.
    fn on_table(&self, mut solid: Solid, rng: &mut impl Rng) -> Solid {
        let across = rng.random_range(-REACH.0..REACH.0);
        let towards = rng.random_range(-REACH.1..REACH.2);
        solid.put(self.camera.table_point([across, towards]), 0.0);
        solid
    }

    /// Adds the first of 60 drawn objects that fits and is distinct; returns `false` where none does.
    fn place<R: Rng>(
        &mut self,
        rng: &mut R,
        draw: impl Fn(&Scene, &mut R) -> Option<Solid>,
    ) -> bool {
        (0..60).any(|_| {
            let Some(solid) = draw(self, rng) else {
                return false;
            };
            self.solids.push(solid);
            let last = self.solids.len() - 1;
            let fits =
                self.is_clear(last) && self.is_distinct(last) && self.is_visible(MIN_VISIBLE);
            if !fits {
                self.solids.pop();
            }
            fits
        })
    }

    /// Draws an object that can bear `solid` and bears none yet.
    fn free_bearer(&self, solid: &Solid, rng: &mut impl Rng) -> Option<Solid> {
        let bears = |below: &&Solid| {
            let free = !self.solids.iter().any(|other| other.stands_on(below));
            below.top().is_some_and(|top| solid.footprint() <= top) && free
        };
        let all: Vec<&Solid> = self.solids.iter().filter(bears).collect();
        (!all.is_empty()).then(|| pick(&all, rng).clone())
    }

    /// Returns whether object `index` is in view and collides with no other.
    pub(crate) fn is_clear(&self, index: usize) -> bool {
        let solid = &self.solids[index];
        let mut others = (0..self.solids.len()).filter(|&i| i != index);
        others.all(|i| !solid.collides(&self.solids[i])) && self.is_in_view(index)
    }

    /// Returns whether object `index` resembles no other, contrasts with the table and shows its colour.
    pub(crate) fn is_distinct(&self, index: usize) -> bool {
        let solid = &self.solids[index];
        let mut others = (0..self.solids.len()).filter(|&i| i != index);
        others.all(|i| !solid.resembles(&self.solids[i]))
            && self.contrasts(solid)
            && solid.is_plausible()
    }

    /// Returns whether at least the share `min_share` of every object is visible.
    pub(crate) fn is_visible(&self, min_share: f32) -> bool {
        (0..self.solids.len()).all(|i| self.visibility(i) >= min_share)
    }

    /// Returns whether a polished table would mirror the lamp into the camera, as a white disc that looks like an object.
    pub(crate) fn glares(&self) -> bool {
        let turn = self.light.azimuth - self.camera.azimuth;
        let rise = self.light.elevation - self.camera.elevation;
        turn.cos() < -0.9 && rise.abs() < 0.45
    }

    /// Returns whether an object stands out from the table: no black on dark, no white on light.
    pub(crate) fn contrasts(&self, solid: &Solid) -> bool {
        !matches!(
            (solid.colour, self.ground_tone),
            (Colour::Black, Tone::Dark) | (Colour::White, Tone::Light)
        )
    }
}

impl Solid {
    /// Draws a random object, at rest at the origin.
    pub fn draw(rng: &mut impl Rng) -> Solid {
        let shape = pick(Shape::ALL, rng);
        loop {
            let solid = Solid {
                shape,
                colour: pick(Colour::ALL, rng),
                material: pick(
                    &[
                        Material::Matte,
                        Material::Matte,
                        Material::Glossy,
                        Material::Mirror,
                    ],
                    rng,
                ),
                size: if rng.random_bool(0.6) {
                    Size::Large
                } else {
                    Size::Small
                },
                tint: [0; 3].map(|_| rng.random_range(0.9..1.1)),
                pose: Pose::upright(shape, rng.random_range(0.0..std::f32::consts::TAU)),
            };
            if solid.is_plausible() {
                return solid;
            }
        }
    }

    /// Returns whether its colour is visible: a black mirror shows only its surroundings.
    pub(crate) fn is_plausible(&self) -> bool {
        (self.colour, self.material) != (Colour::Black, Material::Mirror)
    }
}

impl Light {
    /// Draws a light: mostly from the front and a side, sometimes from behind and a side; occasionally dim or bright.
    pub fn draw(camera: &Camera, rng: &mut impl Rng) -> Light {
        let turn = match rng.random_range(0..6) {
            0 => pick(&[-1.0, 1.0], rng) * rng.random_range(2.2..2.6),
            1 => rng.random_range(-0.4..0.4),
            2 | 3 => rng.random_range(0.5..1.5),
            _ => rng.random_range(-1.5..-0.5),
        };
        Light {
            azimuth: camera.azimuth + turn,
            elevation: rng.random_range(0.55..1.15),
            strength: pick(&[0.7, 1.0, 1.0, 1.0, 1.3], rng) * rng.random_range(0.93..1.07),
        }
    }
}

impl Camera {
    /// Draws a camera: the default one in 70 % of the cases, else a random one.
    pub fn draw(rng: &mut impl Rng) -> Camera {
        if rng.random_bool(0.7) {
            return Camera::default();
        }
        Camera {
            azimuth: rng.random_range(-0.4..0.4),
            elevation: rng.random_range(0.42..0.75),
            distance: rng.random_range(7.6..9.2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn easy_scenes_have_few_large_objects_of_different_colours_and_shapes() {
        let mut counts = [0; 4];
        let start = rand::random::<u64>();
        for seed in (0..100).map(|i| start.wrapping_add(i)) {
            let scene = Scene::draw_easy(&mut ChaCha8Rng::seed_from_u64(seed));
            counts[scene.solids.len()] += 1;
            for (i, solid) in scene.solids.iter().enumerate() {
                assert_eq!(solid.size, Size::Large, "seed {seed}");
                assert_ne!(solid.material, Material::Mirror, "seed {seed}");
                for other in &scene.solids[..i] {
                    assert_ne!(solid.colour, other.colour, "seed {seed}");
                    assert_ne!(solid.shape, other.shape, "seed {seed}");
                }
            }
        }
        assert!(
            counts[1..].iter().all(|&count| count > 10),
            "from {start}: {counts:?}"
        );
    }

    #[test]
    fn drawn_scenes_are_valid_and_varied() {
        let start = rand::random::<u64>();
        let (mut counts, mut stacks) = ([0; MAX_SOLIDS + 1], 0);
        for seed in (0..400).map(|i| start.wrapping_add(i)) {
            let scene = Scene::draw(&mut ChaCha8Rng::seed_from_u64(seed));
            assert_eq!(scene, Scene::draw(&mut ChaCha8Rng::seed_from_u64(seed)));
            counts[scene.solids.len()] += 1;
            assert!(scene.is_at_rest(), "seed {seed}: {scene:?}");
            for (i, solid) in scene.solids.iter().enumerate() {
                assert!(scene.is_in_view(i), "seed {seed}: object {i} out of view");
                assert!(
                    scene.visibility(i) > 0.59,
                    "seed {seed}: object {i} is hidden"
                );
                stacks += usize::from(scene.bearer(i).is_some());
                let twins = scene.solids.iter().filter(|other| other.resembles(solid));
                assert_eq!(twins.count(), 1, "seed {seed}: object {i} has a twin");
            }
        }
        assert_eq!(counts[0], 0);
        assert!(
            counts[1..].iter().all(|&count| count > 0),
            "of 400 scenes, by the number of objects: {counts:?}"
        );
        assert!((4..200).contains(&stacks), "{stacks} stacks in 400 scenes");
    }
}
