//! Applies an edit to a scene and validates the result.

use super::{CameraChange, Edit, LightChange};
use crate::placement::Side;
use crate::scene::{Camera, Light, MAX_SOLIDS, Pose, Scene, Shape, Solid};

/// Minimum visible share of every object after an edit.
const MIN_VISIBLE: f32 = 0.4;
/// Minimum visible share after a layer edit, which hides part of an object.
const MIN_VISIBLE_LAYERED: f32 = 0.2;
/// Yaw of new objects relative to the camera, so that no cube faces it squarely.
const YAW: f32 = 0.4;

/// A scene under edit, and for each of its objects the index before the edit.
struct Change {
    scene: Scene,
    origins: Vec<Option<usize>>,
}

impl Edit {
    /// Returns the scene after the edit, and for each of its objects the index before; `None` where the result is invalid.
    pub(super) fn trace(&self, scene: &Scene) -> Option<(Scene, Vec<Option<usize>>)> {
        let mut change = Change {
            scene: scene.clone(),
            origins: (0..scene.solids.len()).map(Some).collect(),
        };
        change.apply(self)?;
        let hides = matches!(self, Edit::Layer { .. });
        change
            .is_valid(scene, hides)
            .then_some((change.scene, change.origins))
    }
}

impl Change {
    /// Returns whether something changed, and no object collides, leaves the view, hides others or blends into the table.
    fn is_valid(&self, before: &Scene, hides: bool) -> bool {
        let after = &self.scene;
        let all = 0..after.solids.len();
        let was = |i: usize| self.origins[i].map(|origin| &before.solids[origin]);
        let geometry = |solid: &Solid| (solid.shape, solid.size, solid.pose);
        let touched = |i: usize| was(i) != Some(&after.solids[i]);
        let stays =
            |i: usize| was(i).is_some_and(|was| geometry(was) == geometry(&after.solids[i]));
        let camera = after.camera != before.camera;
        let min_visible = if hides {
            MIN_VISIBLE_LAYERED
        } else {
            MIN_VISIBLE
        };
        let moved = camera || !all.clone().all(stays);
        *after != *before
            && !after.glares()
            && all
                .clone()
                .filter(|&i| touched(i))
                .all(|i| after.is_distinct(i))
            && all.clone().all(|i| stays(i) || after.is_clear(i))
            && after.solids.iter().all(|solid| after.contrasts(solid))
            && (!camera || all.clone().all(|i| after.is_in_view(i)))
            && (!moved || after.is_visible(min_visible))
    }

    /// Applies an edit without validating the result; `None` where an index is out of range or a placement does not exist.
    fn apply(&mut self, edit: &Edit) -> Option<()> {
        match edit {
            Edit::Compound(edits) => edits.iter().try_for_each(|edit| self.apply(edit)),
            Edit::Recolour { solids, colour } => self.change_each(solids, |s| s.colour = *colour),
            Edit::Material { solids, material } => {
                self.change_each(solids, |s| s.material = *material)
            }
            Edit::Remove { solids } => self.remove(solids),
            Edit::Add { .. } => self.add(edit),
            Edit::Move { solid, placement } => {
                let mut moving = self.scene.solids.get(*solid)?.clone();
                let (point, base) = placement.point(&self.scene, &moving, Some(*solid))?;
                moving.put(point, base);
                self.replace(*solid, moving)
            }
            Edit::Layer {
                solid,
                other,
                front,
            } => self.layer(*solid, *other, *front),
            Edit::Replace { solid, shape } => {
                let pose = Pose::upright(*shape, self.scene.camera.azimuth + YAW);
                self.change_in_place(*solid, |old| Solid {
                    shape: *shape,
                    pose,
                    ..old
                })
            }
            Edit::Resize { solid, size } => {
                self.change_in_place(*solid, |old| Solid { size: *size, ..old })
            }
            Edit::Light { .. } | Edit::Camera { .. } | Edit::Ground { .. } => {
                self.surroundings(edit)
            }
        }
    }

    /// Changes the light, the camera or the table.
    fn surroundings(&mut self, edit: &Edit) -> Option<()> {
        let scene = &mut self.scene;
        match edit {
            Edit::Light { change } => scene.light = change.of(scene.light, &scene.camera)?,
            Edit::Camera { change } => scene.camera = change.of(scene.camera),
            Edit::Ground { ground, tone } => {
                scene.ground = ground.unwrap_or(scene.ground);
                scene.ground_tone = tone.unwrap_or(scene.ground_tone);
            }
            _ => return None,
        }
        Some(())
    }

    /// Changes the given objects in place; `None` where there are none or an index is out of range.
    fn change_each(&mut self, solids: &[usize], change: impl Fn(&mut Solid)) -> Option<()> {
        for &i in solids {
            change(self.scene.solids.get_mut(i)?);
        }
        (!solids.is_empty()).then_some(())
    }

    fn remove(&mut self, solids: &[usize]) -> Option<()> {
        self.change_each(solids, |_| ())?;
        let before = self.scene.clone();
        let all = 0..before.solids.len();
        let stays: Vec<usize> = all.filter(|i| !solids.contains(i)).collect();
        self.scene.solids = stays.iter().map(|&i| before.solids[i].clone()).collect();
        self.origins = stays.iter().map(|&i| self.origins[i]).collect();
        self.settle(&before, &stays)
    }

    fn add(&mut self, edit: &Edit) -> Option<()> {
        let Edit::Add {
            shape,
            colour,
            material,
            size,
            placement,
        } = edit
        else {
            return None;
        };
        if self.scene.solids.len() >= MAX_SOLIDS {
            return None;
        }
        let mut solid = Solid {
            shape: *shape,
            colour: *colour,
            material: *material,
            size: *size,
            tint: [1.0; 3],
            pose: Pose::upright(*shape, self.scene.camera.azimuth + YAW),
        };
        let (point, base) = placement.point(&self.scene, &solid, None)?;
        solid.put(point, base);
        self.scene.solids.push(solid);
        self.origins.push(None);
        Some(())
    }

    fn layer(&mut self, solid: usize, other: usize, front: bool) -> Option<()> {
        let mut moving = self.scene.solids.get(solid)?.clone();
        let side = if front { Side::Front } else { Side::Behind };
        let still = self.scene.solids.get(other).filter(|_| solid != other)?;
        moving.put(side.beside(&self.scene, &moving, still), 0.0);
        let pair = Scene {
            solids: vec![moving.clone(), still.clone()],
            ..self.scene.clone()
        };
        // Without any occlusion, neither object is in front of the other.
        let hides = pair.visibility(usize::from(front)) <= 0.9;
        hides.then_some(())?;
        self.replace(solid, moving)
    }

    /// Changes the shape or size of object `index` in place.
    fn change_in_place(&mut self, index: usize, change: impl Fn(Solid) -> Solid) -> Option<()> {
        let old = self.scene.solids.get(index)?.clone();
        let ([x, y, z], base) = (old.pose.position, old.heights().0);
        let mut new = change(old);
        new.pose.position = [x, y, z];
        new.put([x, z], base);
        self.replace(index, new)
    }

    /// Replaces object `index` by `new` and settles the objects that stood on it.
    fn replace(&mut self, index: usize, new: Solid) -> Option<()> {
        let before = self.scene.clone();
        self.scene.solids[index] = new;
        let all: Vec<usize> = (0..before.solids.len()).collect();
        self.settle(&before, &all)
    }

    /// Lets every object follow its changed support, or come down to the table where the support is gone. `origins` are the
    /// indices in `before`. `None` where a support cannot bear its object.
    fn settle(&mut self, before: &Scene, origins: &[usize]) -> Option<()> {
        let solids = &mut self.scene.solids;
        let mut order: Vec<usize> = (0..origins.len()).collect();
        let height = |&i: &usize| before.solids[origins[i]].heights().0;
        order.sort_by(|a, b| height(a).total_cmp(&height(b)));
        for i in order {
            let Some(bearer) = before.bearer(origins[i]) else {
                continue;
            };
            let below = origins.iter().position(|&origin| origin == bearer);
            let below = below.map(|below| solids[below].clone());
            let unchanged = below.as_ref() == Some(&before.solids[bearer]);
            if unchanged && solids[i] == before.solids[origins[i]] {
                continue;
            }
            let [x, _, z] = solids[i].pose.position;
            match below.filter(|below| solids[i].distance(below) < below.footprint()) {
                Some(below) if !below.bears(&solids[i]) => return None,
                Some(below) => solids[i].put([x, z], below.heights().1),
                None => {
                    let elsewhere = (0..solids.len()).any(|j| solids[i].stands_on(&solids[j]));
                    if !elsewhere {
                        solids[i].put([x, z], 0.0);
                    }
                }
            }
        }
        Some(())
    }
}

/// Returns whether two scenes differ only by rounding, or by rotations of round objects about their axis.
pub(super) fn looks_like(a: &Scene, b: &Scene) -> bool {
    let close = |a: &Solid, b: &Solid| {
        let near = (0..3).all(|i| (a.pose.position[i] - b.pose.position[i]).abs() < 1e-3);
        let turn: f32 = (0..4)
            .map(|i| a.pose.rotation[i] * b.pose.rotation[i])
            .sum();
        let axes: f32 = (0..3).map(|i| a.axis()[i] * b.axis()[i]).sum();
        let alike = match a.shape {
            Shape::Sphere => true,
            Shape::Cylinder | Shape::Cone | Shape::Torus => axes > 0.9999,
            Shape::Cube | Shape::Capsule => turn.abs() > 0.9999,
        };
        let pose = a.pose;
        near && alike && Solid { pose, ..b.clone() } == *a
    };
    let solids = b.solids.clone();
    a.solids.len() == b.solids.len()
        && std::iter::zip(&a.solids, &b.solids).all(|(a, b)| close(a, b))
        && Scene {
            solids,
            ..a.clone()
        } == *b
}

impl LightChange {
    /// Returns the changed light; `None` where it hardly differs or its strength would leave 0.3 to 2.
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
            CameraChange::Lower => new.elevation -= 0.2,
            CameraChange::Closer => new.distance *= 0.82,
            CameraChange::Farther => new.distance *= 1.22,
        }
        // Low cameras look past the table; very high ones do not see the backdrop.
        new.elevation = new.elevation.clamp(0.3, 1.1);
        new
    }
}
