//! Invariants of edits.

use super::*;
use crate::Solid;
use crate::placement::Side;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Draws scenes, with an edit of each kind that they allow and the scene after it.
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
            assert!(after.is_in_view(i), "{edit:?}: object {i} of {after:#?}");
            for j in 0..i {
                let (a, b) = (&after.solids[i], &after.solids[j]);
                assert!(
                    !a.collides(b),
                    "{edit:?}: objects {i} and {j} of {after:#?}"
                );
            }
        }
    }
}

#[test]
fn only_the_concerned_objects_change() {
    for (before, edit, after) in cases(100) {
        let concerned = edit.solids(&before);
        let rest = |scene: &Scene, but: &[usize]| -> Vec<Solid> {
            let others = (0..scene.solids.len()).filter(|i| !but.contains(i));
            others.map(|i| scene.solids[i].clone()).collect()
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
fn an_object_comes_down_when_its_support_is_removed() {
    let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
    let mut stacks = 0;
    while stacks < 20 {
        let scene = Scene::draw(&mut rng);
        let Some(top) = (0..scene.solids.len()).find(|&i| scene.bearer(i).is_some()) else {
            continue;
        };
        let below = scene.bearer(top).expect("`top` has a bearer");
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
            placement: Placement::Beside {
                side: Side::Left,
                other: 0,
            },
        },
        Edit::Move {
            solid: 0,
            placement: Placement::On { other: 99 },
        },
        Edit::Move {
            solid: 0,
            placement: Placement::Place { column: 0, row: 2 },
        },
        Edit::Move {
            solid: 0,
            placement: Placement::Place { column: -2, row: 0 },
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

#[test]
fn a_reversed_edit_restores_the_scene() {
    let (mut reversed, mut all) = (0, 0);
    for (before, edit, after) in cases(60) {
        all += 1;
        let Some(reverse) = edit.reverse(&before) else {
            continue;
        };
        reversed += 1;
        let again = reverse.apply(&after).expect("`reverse` has applied it");
        let names = |scene: &Scene| -> Vec<_> {
            let all = scene.solids.iter();
            all.map(|s| (s.shape, s.colour, s.material, s.size))
                .collect()
        };
        assert_eq!(names(&again), names(&before), "{edit:?}");
        for (a, b) in std::iter::zip(&again.solids, &before.solids) {
            assert!(a.distance(b) < 1e-3, "{edit:?}");
            assert!((a.heights().1 - b.heights().1).abs() < 1e-3, "{edit:?}");
        }
    }
    assert!(
        4 * reversed > all,
        "{reversed} of {all} edits are reversible"
    );
}
