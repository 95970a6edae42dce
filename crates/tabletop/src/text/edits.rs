//! Instructions for edits.

use rand::{Rng, RngExt};

use super::lexicon::table;
use super::reference::{refer, refer_plainly};
use super::sentences as say;
use super::{Description, Sentences, Wording, indefinite, with_article};
use crate::draw::pick;
use crate::edit::Edit;
use crate::edit::draw::single;
use crate::placement::{Placement, Reach, Side};
use crate::scene::{Ground, Pose, Scene, Size, Solid, Tone};

/// Draws an instruction for `edit` of `scene`; `None` where the edit is invalid or no text identifies its objects.
pub fn instruction(
    scene: &Scene,
    edit: &Edit,
    wording: Wording,
    rng: &mut impl Rng,
) -> Option<String> {
    // Reject invalid edits; from here on all indices are valid.
    edit.apply(scene)?;
    let Edit::Compound(edits) = edit else {
        return sentence(scene, edit, None, Style::free(wording), rng);
    };
    let [first, second] = edits.as_slice() else {
        return None;
    };
    let style = Style {
        wording,
        imperative: true,
    };
    let between = first.apply(scene)?;
    let same = single(first).is_some() && single(first) == single(second);
    let again = same.then_some("it");
    let one = sentence(scene, first, None, style, rng)?;
    // The second sentence refers to the scene that the user sees; for an edit of the same object, to the scene between.
    let referenced = if same { &between } else { scene };
    let two = sentence(referenced, second, again, style, rng)?;
    Some(say::COMPOUND.say(wording, &[("1", &one), ("2", &two)], rng))
}

/// The style of a sentence.
#[derive(Clone, Copy)]
struct Style {
    wording: Wording,
    /// Part of a longer sentence: a common imperative.
    imperative: bool,
}

impl Style {
    fn free(wording: Wording) -> Style {
        Style {
            wording,
            imperative: false,
        }
    }

    fn say(self, sentences: &Sentences, slots: &[(&str, &str)], rng: &mut impl Rng) -> String {
        if !self.imperative {
            return sentences.say(self.wording, slots, rng);
        }
        let is_plain =
            |s: &&str| !s.starts_with(['{', 'R']) && !s.contains("IMG1") && !s.contains(" should ");
        let usual: Vec<&str> = sentences
            .training
            .iter()
            .copied()
            .filter(is_plain)
            .collect();
        super::fill_slots(pick(&usual, rng), slots)
    }
}

/// Returns the sentence for one edit; `subject` replaces the reference to its object.
fn sentence(
    scene: &Scene,
    edit: &Edit,
    subject: Option<&str>,
    style: Style,
    rng: &mut impl Rng,
) -> Option<String> {
    let wording = style.wording;
    match (subject, edit) {
        (Some(subject), _) => about_objects(scene, edit, subject, style, rng),
        (_, Edit::Light { change }) => Some(style.say(say::light(*change), &[], rng)),
        (_, Edit::Camera { change }) => Some(style.say(say::camera(*change), &[], rng)),
        (_, Edit::Ground { ground, tone }) => Some(about_table(*ground, *tone, style, rng)),
        (_, Edit::Add { .. }) => {
            let (new, placement) = added(edit)?;
            let n = indefinite(&new, wording, rng);
            let p = place(scene, placement, wording, rng)?;
            Some(style.say(&say::ADD, &[("n", &n), ("p", &p)], rng))
        }
        (_, Edit::Remove { solids }) if solids.len() > 1 => {
            let (rest, group) = rest_and_group(scene, solids, wording, rng);
            match (rest, group) {
                (Some(rest), group) if group.is_none() || rng.random() => {
                    Some(style.say(&say::KEEP, &[("x", &rest)], rng))
                }
                (_, group) => about_objects(scene, edit, &group?, style, rng),
            }
        }
        _ => {
            let subject = subject_of(scene, edit, wording, rng)?;
            about_objects(scene, edit, &subject, style, rng)
        }
    }
}

/// Returns the sentence for an edit of the objects that `x` refers to.
fn about_objects(
    scene: &Scene,
    edit: &Edit,
    x: &str,
    style: Style,
    rng: &mut impl Rng,
) -> Option<String> {
    Some(match edit {
        Edit::Recolour { colour, .. } => {
            let c = pick(colour.adjectives(), rng);
            let slots = [("x", x), ("c", c), ("a", &with_article(c))];
            style.say(&say::RECOLOUR, &slots, rng)
        }
        Edit::Material { material, .. } => {
            let m = pick(material.states(), rng);
            let slots = [("x", x), ("m", m), ("a", &with_article(m))];
            style.say(&say::MATERIAL, &slots, rng)
        }
        Edit::Remove { .. } => style.say(&say::REMOVE, &[("x", x)], rng),
        Edit::Move { placement, .. } => {
            let t = target(scene, *placement, style.wording, rng)?;
            style.say(&say::MOVE, &[("x", x), ("t", &t)], rng)
        }
        Edit::Replace { solid, shape } => {
            let new = Solid {
                shape: *shape,
                ..scene.solids[*solid].clone()
            };
            let what = Description::of(&new, pick(&[1, 1, 3], rng));
            let n = with_article(&what.say(style.wording, rng));
            style.say(&say::REPLACE, &[("x", x), ("n", &n)], rng)
        }
        Edit::Resize { size, .. } => match size {
            Size::Large => style.say(&say::ENLARGE, &[("x", x)], rng),
            Size::Small => style.say(&say::SHRINK, &[("x", x)], rng),
        },
        Edit::Layer { other, front, .. } => {
            let o = refer_plainly(scene, *other, rng)?;
            let sentences = if *front { &say::FRONT } else { &say::BEHIND };
            style.say(sentences, &[("x", x), ("o", &o)], rng)
        }
        _ => return None,
    })
}

fn about_table(
    ground: Option<Ground>,
    tone: Option<Tone>,
    style: Style,
    rng: &mut impl Rng,
) -> String {
    match (ground, tone) {
        (None, Some(tone)) if rng.random() => {
            style.say(&say::TONE, &[("c", pick(tone.adjectives(), rng))], rng)
        }
        _ => style.say(&say::GROUND, &[("g", &table(ground, tone, rng))], rng),
    }
}

/// Returns the object of an `Add`, with the attributes that texts describe, and its placement.
fn added(edit: &Edit) -> Option<(Solid, Placement)> {
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
    let solid = Solid {
        shape: *shape,
        colour: *colour,
        material: *material,
        size: *size,
        tint: [1.0; 3],
        pose: Pose::upright(*shape, 0.0),
    };
    Some((solid, *placement))
}

/// Returns a reference to the objects of an edit; empty for edits of the scene.
fn subject_of(scene: &Scene, edit: &Edit, wording: Wording, rng: &mut impl Rng) -> Option<String> {
    match edit {
        Edit::Recolour { solids, .. } | Edit::Remove { solids } | Edit::Material { solids, .. } => {
            match solids.as_slice() {
                [one] if scene.solids.len() == 1 && rng.random_bool(0.25) => {
                    refer(scene, *one, wording, rng).map(|_| "it".into())
                }
                [one] => refer(scene, *one, wording, rng),
                many => {
                    let (rest, group) = rest_and_group(scene, many, wording, rng);
                    match rest {
                        Some(rest) if group.is_none() || rng.random_bool(0.4) => {
                            Some(format!("everything but {rest}"))
                        }
                        _ => group,
                    }
                }
            }
        }
        Edit::Move { solid, .. }
        | Edit::Replace { solid, .. }
        | Edit::Resize { solid, .. }
        | Edit::Layer { solid, .. } => refer(scene, *solid, wording, rng),
        _ => Some(String::new()),
    }
}

/// Returns a reference to the only object outside a group, if there is exactly one, and a phrase for exactly the objects of the
/// group.
fn rest_and_group(
    scene: &Scene,
    solids: &[usize],
    wording: Wording,
    rng: &mut impl Rng,
) -> (Option<String>, Option<String>) {
    let outside: Vec<usize> = (0..scene.solids.len())
        .filter(|i| !solids.contains(i))
        .collect();
    let rest = match outside.as_slice() {
        [one] => refer(scene, *one, wording, rng),
        _ => None,
    };
    let is_group = |description: &Description, group: &[usize]| {
        (0..scene.solids.len()).all(|i| description.fits(&scene.solids[i]) == group.contains(&i))
    };
    let described = |group: &[usize]| -> Vec<Description> {
        let of = |&i: &usize| [1, 2, 3, 4, 8].map(|bits| Description::of(&scene.solids[i], bits));
        let all = group.first().map(of).into_iter().flatten();
        all.filter(|description| is_group(description, group))
            .collect()
    };
    let (same, different) = (described(solids), described(&outside));
    let mut phrases: Vec<String> = Vec::new();
    if outside.is_empty() {
        phrases.extend(["everything", "all objects"].map(String::from));
    }
    if !same.is_empty() {
        let what = pick(&same, rng);
        phrases.push(format!("all {}", what.say_all(rng)));
        phrases.push(format!("every {}", what.say(Wording::Training, rng)));
    }
    if !different.is_empty() {
        let what = pick(&different, rng);
        let negated = match what {
            Description { shape: Some(_), .. } => with_article(&what.say(Wording::Training, rng)),
            _ => what.state(rng),
        };
        phrases.push(format!("every object that is not {negated}"));
        phrases.push(format!("all but the {}", what.say_all(rng)));
    }
    let group =
        (!phrases.is_empty()).then(|| phrases.swap_remove(rng.random_range(0..phrases.len())));
    (rest, group)
}

/// Returns the phrase for where an object is put: "left of the cube", "in the back left corner".
fn place(
    scene: &Scene,
    placement: Placement,
    wording: Wording,
    rng: &mut impl Rng,
) -> Option<String> {
    let relations: &[&str] = match (placement, wording) {
        (Placement::Step { .. }, _) => return None,
        (Placement::Place { column, row }, _) => {
            return Some(table_position(column, row, Preposition::At, wording, rng));
        }
        (Placement::On { .. }, Wording::Training) => &["on top of", "on"],
        (Placement::On { .. }, Wording::HeldOut) => &["upon"],
        (Placement::Beside { side, .. }, Wording::Training) => match side {
            Side::Left => &["left of", "to the left of"],
            Side::Right => &["right of", "to the right of"],
            Side::Front => &["in front of"],
            Side::Behind => &["behind"],
        },
        (Placement::Beside { side, .. }, Wording::HeldOut) => match side {
            Side::Left => &["on the left side of"],
            Side::Right => &["on the right side of"],
            Side::Front => &["directly in front of"],
            Side::Behind => &["directly behind"],
        },
    };
    let (Placement::Beside { other, .. } | Placement::On { other }) = placement else {
        return None;
    };
    let other = refer_plainly(scene, other, rng)?;
    Some(format!("{} {other}", pick(relations, rng)))
}

/// Returns the phrase for where an object moves: "to the left", "to the front left corner", "behind the cube".
fn target(
    scene: &Scene,
    placement: Placement,
    wording: Wording,
    rng: &mut impl Rng,
) -> Option<String> {
    Some(match placement {
        Placement::Step { side, reach } => step(side, reach, wording, rng),
        Placement::Place { column, row } => {
            table_position(column, row, Preposition::To, wording, rng)
        }
        _ => place(scene, placement, wording, rng)?,
    })
}

fn step(side: Side, reach: Reach, wording: Wording, rng: &mut impl Rng) -> String {
    let directions: &[&str] = match side {
        Side::Left => &["to the left"],
        Side::Right => &["to the right"],
        Side::Front => &["forward", "towards the camera"],
        Side::Behind => &["backward", "away from the camera"],
    };
    let lengths: &[&str] = match (reach, wording) {
        (Reach::Bit, Wording::Training) => &["a bit ", "slightly "],
        (Reach::Step, Wording::Training) => &["", "", "a step "],
        (Reach::Far, Wording::Training) => &["far "],
        (Reach::Bit, Wording::HeldOut) => &["a little "],
        (Reach::Step, Wording::HeldOut) => &["one step "],
        (Reach::Far, Wording::HeldOut) => &["a long way "],
    };
    format!("{}{}", pick(lengths, rng), pick(directions, rng))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Preposition {
    At,
    To,
}

/// Returns the phrase for one of the nine positions on the table.
fn table_position(
    column: i8,
    row: i8,
    preposition: Preposition,
    wording: Wording,
    rng: &mut impl Rng,
) -> String {
    let side = ["left", "middle", "right"][(column + 1).clamp(0, 2) as usize];
    let depth = ["back", "middle", "front"][(row + 1).clamp(0, 2) as usize];
    let held_out = wording == Wording::HeldOut;
    let (noun, at) = match (column, row) {
        (0, 0) => (pick(&["middle", "centre"], rng).to_string(), "in"),
        (0, _) => (format!("{depth} side"), "at"),
        (_, 0) => (format!("{side} side"), "on"),
        _ => (format!("{depth} {side} corner"), "in"),
    };
    let of = if held_out { " of the table" } else { "" };
    let preposition = if preposition == Preposition::To {
        "to"
    } else {
        at
    };
    format!("{preposition} the {noun}{of}")
}
