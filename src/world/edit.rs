//! Edits of a scene: what an instruction asks for, and the scene that is the true answer.
//!
//! Wherever something is moved or put, the instruction fixes the place: a step has one length, "left of" means touching
//! distance, a corner is one point. So there is one right picture.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::draw::pick;
use super::scene::{
    Camera, Colour, Ground, Light, MAX_SOLIDS, Material, Pose, Scene, Shape, Size, Solid, Tone,
    named,
};
use super::spot::{Side, Spot};

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
        spot: Spot,
    },
    /// A solid goes elsewhere.
    Move {
        /// Which.
        solid: usize,
        /// Where it goes.
        spot: Spot,
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
            .filter(|found| looks_like(found, scene))
            .map(|_| back)
    }

    /// The scene after, and for each of its solids the index before.
    fn trace(&self, scene: &Scene) -> Option<(Scene, Vec<Option<usize>>)> {
        let mut after = scene.clone();
        let mut origins: Vec<_> = (0..scene.solids.len()).map(Some).collect();
        self.change(&mut after, &mut origins)?;
        let moved: Vec<usize> = (0..origins.len())
            .filter(|&i| origins[i].is_none_or(|o| scene.solids[o] != after.solids[i]))
            .collect();
        let least = if matches!(self, Edit::Layer { .. }) {
            0.2
        } else {
            0.33
        };
        let camera = after.camera != scene.camera;
        let body = |solid: &Solid| (solid.shape, solid.size, solid.pose);
        let stays =
            |i: usize| origins[i].is_some_and(|o| body(&scene.solids[o]) == body(&after.solids[i]));
        let sound = after != *scene
            && !after.glares()
            && moved
                .iter()
                .all(|&i| after.is_distinct(i) && (stays(i) || after.is_clear(i)))
            && after.solids.iter().all(|solid| after.contrasts(solid))
            && (!camera || (0..origins.len()).all(|i| after.is_in_view(i)))
            && (moved.is_empty() && !camera || after.is_visible(least));
        sound.then_some((after, origins))
    }

    fn change(&self, scene: &mut Scene, origins: &mut Vec<Option<usize>>) -> Option<()> {
        match self {
            Edit::Compound(edits) => {
                for edit in edits {
                    edit.change(scene, origins)?;
                }
                Some(())
            }
            Edit::Recolour { solids, colour } => each(scene, solids, |s| s.colour = *colour),
            Edit::Material { solids, material } => each(scene, solids, |s| s.material = *material),
            Edit::Remove { solids } => {
                each(scene, solids, |_| ())?;
                let before = scene.clone();
                let stays: Vec<usize> = (0..before.solids.len())
                    .filter(|i| !solids.contains(i))
                    .collect();
                scene.solids = stays.iter().map(|&i| before.solids[i].clone()).collect();
                *origins = stays.iter().map(|&i| origins[i]).collect();
                settle(&before, scene, &stays)
            }
            Edit::Add { .. } => {
                let solid = self.added(scene)?;
                scene.solids.push(solid);
                origins.push(None);
                Some(())
            }
            Edit::Move { solid, spot } => {
                let mut moving = scene.solids.get(*solid)?.clone();
                let (point, base) = spot.point(scene, &moving, Some(*solid))?;
                moving.put(point, base);
                displace(scene, *solid, moving)
            }
            Edit::Layer { .. } => self.layer(scene),
            Edit::Replace { solid, shape } => {
                let old = scene.solids.get(*solid)?;
                let mut new = Solid {
                    shape: *shape,
                    ..old.clone()
                };
                new.pose = Pose::upright(*shape, scene.camera.azimuth + 0.4);
                let [x, _, z] = old.pose.position;
                new.put([x, z], old.heights().0);
                displace(scene, *solid, new)
            }
            Edit::Resize { solid, size } => {
                let old = scene.solids.get(*solid)?;
                let mut new = Solid {
                    size: *size,
                    ..old.clone()
                };
                let [x, _, z] = old.pose.position;
                new.put([x, z], old.heights().0);
                displace(scene, *solid, new)
            }
            Edit::Light { change } => {
                scene.light = change.of(scene.light, &scene.camera)?;
                Some(())
            }
            Edit::Camera { change } => {
                scene.camera = change.of(scene.camera);
                Some(())
            }
            Edit::Ground { ground, tone } => {
                scene.ground = ground.unwrap_or(scene.ground);
                scene.ground_tone = tone.unwrap_or(scene.ground_tone);
                Some(())
            }
        }
    }

    /// The solid that an `Add` puts down.
    fn added(&self, scene: &Scene) -> Option<Solid> {
        let Edit::Add {
            shape,
            colour,
            material,
            size,
            spot,
        } = self
        else {
            return None;
        };
        if scene.solids.len() >= MAX_SOLIDS {
            return None;
        }
        let mut solid = Solid {
            shape: *shape,
            colour: *colour,
            material: *material,
            size: *size,
            tint: [1.0; 3],
            pose: Pose::upright(*shape, scene.camera.azimuth + 0.4),
        };
        let (point, base) = spot.point(scene, &solid, None)?;
        solid.put(point, base);
        Some(solid)
    }

    fn layer(&self, scene: &mut Scene) -> Option<()> {
        let Edit::Layer {
            solid,
            other,
            front,
        } = self
        else {
            return None;
        };
        let mut moving = scene.solids.get(*solid)?.clone();
        let side = if *front { Side::Front } else { Side::Behind };
        let other = scene.solids.get(*other).filter(|_| solid != other)?;
        moving.put(side.beside(scene, &moving, other), 0.0);
        let sight = Scene {
            solids: vec![moving.clone(), other.clone()],
            ..scene.clone()
        };
        // One that hides nothing is beside it, not in front.
        if sight.visibility(usize::from(*front)) > 0.9 {
            return None;
        }
        displace(scene, *solid, moving)
    }
}

/// Whether two scenes differ by rounding alone, or by a turn about its axis of what is round.
fn looks_like(a: &Scene, b: &Scene) -> bool {
    let close = |a: &Solid, b: &Solid| {
        let (pose, other) = (a.pose, b.pose);
        let near = (0..3).all(|i| (pose.position[i] - other.position[i]).abs() < 1e-3);
        let inner: f32 = (0..4).map(|i| pose.rotation[i] * other.rotation[i]).sum();
        let axes: f32 = (0..3).map(|i| a.axis()[i] * b.axis()[i]).sum();
        let round = !matches!(a.shape, Shape::Cube | Shape::Capsule);
        let turned = match (a.shape, round) {
            (Shape::Sphere, _) => true,
            (_, true) => axes > 0.9999,
            _ => inner.abs() > 0.9999,
        };
        near && turned && Solid { pose, ..b.clone() } == *a
    };
    a.solids.len() == b.solids.len()
        && std::iter::zip(&a.solids, &b.solids).all(|(a, b)| close(a, b))
        && Scene {
            solids: b.solids.clone(),
            ..a.clone()
        } == *b
}

/// Changes solids in place; `None` where there are none or an index is out of range.
fn each(scene: &mut Scene, solids: &[usize], change: impl Fn(&mut Solid)) -> Option<()> {
    for &i in solids {
        change(scene.solids.get_mut(i)?);
    }
    (!solids.is_empty()).then_some(())
}

/// Puts `new` in the place of solid `index` and lets what stood on it rise, sink or come down.
fn displace(scene: &mut Scene, index: usize, new: Solid) -> Option<()> {
    let before = scene.clone();
    scene.solids[index] = new;
    let all: Vec<usize> = (0..scene.solids.len()).collect();
    settle(&before, scene, &all)
}

/// Lets every solid of `scene` whose support changed follow it or come down onto the table. `origins` are the indices
/// before. `None` where a solid would have to stand on what cannot bear it.
fn settle(before: &Scene, scene: &mut Scene, origins: &[usize]) -> Option<()> {
    let mut order: Vec<usize> = (0..origins.len()).collect();
    order.sort_by(|&a, &b| {
        let height = |i: usize| before.solids[origins[i]].heights().0;
        height(a).total_cmp(&height(b))
    });
    for i in order {
        let Some(bearer) = before.bearer(origins[i]) else {
            continue;
        };
        if scene.solids[i] != before.solids[origins[i]] && scene.bearer(i).is_some() {
            continue;
        }
        let below = origins.iter().position(|&origin| origin == bearer);
        let below = below.map(|below| scene.solids[below].clone());
        let solid = &mut scene.solids[i];
        let [x, _, z] = solid.pose.position;
        match below {
            Some(below)
                if below == before.solids[bearer] && *solid == before.solids[origins[i]] =>
            {
                ()
            }
            Some(below) if solid.distance(&below) < below.footprint() => {
                if !below.bears(solid) {
                    return None;
                }
                solid.put([x, z], below.heights().1);
            }
            _ => solid.put([x, z], 0.0),
        }
    }
    Some(())
}

impl LightChange {
    /// The changed light; `None` where it is so already.
    fn of(self, light: Light, camera: &Camera) -> Option<Light> {
        let mut new = light;
        match self {
            LightChange::Left => new.azimuth = camera.azimuth - 1.1,
            LightChange::Right => new.azimuth = camera.azimuth + 1.1,
            LightChange::Front => new.azimuth = camera.azimuth + 0.1,
            LightChange::Behind => new.azimuth = camera.azimuth + 2.5,
            LightChange::High => new.elevation = 1.25,
            LightChange::Low => new.elevation = 0.5,
            LightChange::Dimmer => new.strength *= 0.5,
            LightChange::Brighter => new.strength *= 1.5,
        }
        let turned = (new.azimuth - light.azimuth).cos() < 0.85;
        let raised = (new.elevation - light.elevation).abs() > 0.25;
        let stronger = new.strength != light.strength && (0.3..2.0).contains(&new.strength);
        (turned || raised || stronger).then_some(new)
    }
}

impl CameraChange {
    fn of(self, camera: Camera) -> Camera {
        let mut new = camera;
        match self {
            CameraChange::Left => new.azimuth -= 0.4,
            CameraChange::Right => new.azimuth += 0.4,
            CameraChange::Higher => new.elevation += 0.25,
            CameraChange::Lower => new.elevation -= 0.22,
            CameraChange::Closer => new.distance *= 0.82,
            CameraChange::Farther => new.distance *= 1.22,
        }
        // Low cameras look past the table, very high ones lose the backdrop.
        new.elevation = new.elevation.clamp(0.3, 1.1);
        new
    }
}

impl EditKind {
    /// All kinds as often as training takes them: what users ask for most comes most.
    pub const WEIGHTED: &[EditKind] = &super::edit_draw::WEIGHTED;

    /// Draws an edit of this kind that `scene` allows, in some tries.
    pub(crate) fn tries(self, scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
        (0..24)
            .map(|_| super::edit_draw::propose(self, scene, rng))
            .find_map(|edit| edit.filter(|edit| edit.apply(scene).is_some()))
    }
}

impl Edit {
    /// An edit of `kind` whose result in `scene` is sound; `None` where none was found.
    pub fn draw(kind: EditKind, scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
        kind.tries(scene, rng)
    }

    /// Any edit that `scene` allows, by the weights of training.
    pub fn draw_any(scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
        (0..8).find_map(|_| Edit::draw(pick(EditKind::WEIGHTED, rng), scene, rng))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Scenes with an edit of each kind that they allow.
    fn cases(count: u64) -> impl Iterator<Item = (Scene, Edit, Scene)> {
        let start = rand::random::<u64>();
        (0..count).flat_map(move |i| {
            let mut rng = ChaCha8Rng::seed_from_u64(start.wrapping_add(i));
            let scene = Scene::draw(&mut rng);
            let draw = |&kind: &EditKind| {
                let edit = Edit::draw(kind, &scene, &mut rng)?;
                assert_eq!(edit.kind(), kind);
                let after = edit.apply(&scene).expect("a drawn edit can be applied");
                Some((scene.clone(), edit, after))
            };
            EditKind::ALL.iter().filter_map(draw).collect::<Vec<_>>()
        })
    }

    #[test]
    fn nothing_floats_or_collides_after_an_edit() {
        for (before, edit, after) in cases(150) {
            assert_ne!(before, after, "{edit:?}");
            assert!(after.is_at_rest(), "{edit:?} of {before:#?}");
            for i in 0..after.solids.len() {
                assert!(after.is_in_view(i), "{edit:?}: solid {i} of {after:#?}");
                for j in 0..i {
                    let (a, b) = (&after.solids[i], &after.solids[j]);
                    assert!(!a.collides(b), "{edit:?}: solids {i} and {j} of {after:#?}");
                }
            }
        }
    }

    #[test]
    fn only_the_concerned_solids_change() {
        for (before, edit, after) in cases(100) {
            let concerned = edit.solids(&before);
            let rest = |scene: &Scene, but: &[usize]| -> Vec<Solid> {
                let stays = (0..scene.solids.len()).filter(|i| !but.contains(i));
                stays.map(|i| scene.solids[i].clone()).collect()
            };
            assert_eq!(
                rest(&before, &concerned.before),
                rest(&after, &concerned.after),
                "{edit:?}"
            );
            let whole = matches!(
                edit.kind(),
                EditKind::Light | EditKind::Ground | EditKind::Camera
            );
            assert_eq!(whole, concerned == Concerned::default(), "{edit:?}");
        }
    }

    #[test]
    fn a_solid_comes_down_when_its_support_goes() {
        let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
        let mut stacks = 0;
        while stacks < 20 {
            let scene = Scene::draw(&mut rng);
            let Some(top) = (0..scene.solids.len()).find(|&i| scene.bearer(i).is_some()) else {
                continue;
            };
            let below = scene.bearer(top).expect("it has one");
            let edit = Edit::Remove {
                solids: vec![below],
            };
            let Some(after) = edit.apply(&scene) else {
                continue;
            };
            stacks += 1;
            let down = &after.solids[top - usize::from(below < top)];
            assert!(down.heights().0.abs() < 1e-4, "{after:#?}");
            assert!(edit.solids(&scene).before.contains(&top));
        }
    }

    #[test]
    fn impossible_edits_are_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let scene = Scene::draw(&mut rng);
        let count = scene.solids.len();
        let refused = [
            Edit::Remove {
                solids: vec![count],
            },
            Edit::Remove { solids: vec![] },
            Edit::Recolour {
                solids: vec![0],
                colour: scene.solids[0].colour,
            },
            Edit::Move {
                solid: 0,
                spot: Spot::Beside {
                    side: Side::Left,
                    other: 0,
                },
            },
            Edit::Move {
                solid: 0,
                spot: Spot::On { other: 99 },
            },
            Edit::Layer {
                solid: 0,
                other: 0,
                front: true,
            },
        ];
        for edit in refused {
            assert_eq!(edit.apply(&scene), None, "{edit:?}");
        }
    }
}
