//! Sentence templates of instructions. Slots: x the object or objects, c a colour or tone, m a material, a either with an
//! article, n a new object with its article, p a position, t a target, g a table with its article, o another object.

use super::Sentences;
use crate::edit::{CameraChange, LightChange};

macro_rules! sentences {
    ($($name:ident: [$($training:literal),* $(,)?], [$($held_out:literal),* $(,)?];)*) => {
        $(pub(super) const $name: Sentences = Sentences {
            training: &[$($training),*],
            held_out: &[$($held_out),*],
        };)*

        /// All templates, for the tests.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &Sentences)] = &[$((stringify!($name), &$name)),*];
    };
}

sentences! {
    RECOLOUR: [
        "make {x} {c}", "turn {x} {c}", "paint {x} {c}", "colour {x} {c}", "change the colour of {x} to {c}",
        "change {x} to {c}", "give {x} {a} colour", "{x} should be {c}", "in IMG1 make {x} {c}",
        "RES1 is IMG1 with {x} painted {c}",
        "recolour {x} {c}", "dye {x} {c}", "{c} for {x}", "{x}, now {c}", "the colour of {x} should be {c}",
        "turn the colour of {x} into {c}", "repaint {x}, this time {c}",
    ], [
        "let {x} become {c}", "I want {x} to be {c}", "set the colour of {x} to {c}", "in RES1 the colour of {x} is {c}",
    ];
    REMOVE: [
        "remove {x}", "delete {x}", "take {x} away", "get rid of {x}", "erase {x}", "remove {x} from IMG1",
        "take {x} out of the picture", "everything stays but {x}", "keep everything but {x}", "RES1 is IMG1 without {x}",
        "drop {x}", "throw {x} out", "cut {x} out of the picture", "without {x}", "{x} should go", "away with {x}",
    ], [
        "make {x} disappear", "I want {x} to be removed", "clear {x} away", "{x} should not be in RES1",
    ];
    KEEP: [
        "keep only {x}", "remove everything but {x}", "delete all but {x}", "only {x} stays", "remove all objects except {x}",
        "RES1 is IMG1 with only {x}",
        "leave only {x}", "nothing but {x} stays", "all objects other than {x} should go",
    ], [
        "take everything away except {x}", "I want only {x} to stay", "{x} should be the only object in RES1",
    ];
    ADD: [
        "add {n} {p}", "put {n} {p}", "place {n} {p}", "insert {n} {p}", "{p} add {n}", "there should be {n} {p}",
        "add {n} {p} in IMG1", "RES1 is IMG1 with {n} {p}",
        "{n} {p}", "create {n} {p}", "draw {n} {p}", "give the scene {n} {p}", "one more object: {n} {p}",
    ], [
        "let {n} appear {p}", "I want {n} to stand {p}", "set {n} {p}", "in RES1 there is {n} {p}",
    ];
    MOVE: [
        "move {x} {t}", "shift {x} {t}", "slide {x} {t}", "push {x} {t}", "take {x} and move it {t}", "{x} should move {t}",
        "in IMG1 move {x} {t}", "RES1 is IMG1 with {x} moved {t}",
        "pull {x} {t}", "roll {x} {t}", "drag {x} {t}", "carry {x} {t}", "{x} moves {t}",
    ], [
        "let {x} go {t}", "I want {x} to be moved {t}", "bring {x} {t}", "in RES1 {x} is moved {t}",
    ];
    REPLACE: [
        "replace {x} with {n}", "replace {x} by {n}", "swap {x} for {n}", "turn {x} into {n}", "change {x} into {n}",
        "{x} should be {n}", "RES1 is IMG1 with {x} replaced by {n}",
        "exchange {x} for {n}", "transform {x} into {n}", "make {x} {n}", "remove {x} and put {n} there",
    ], [
        "let {x} become {n}", "I want {n} instead of {x}", "put {n} in the place of {x}", "in RES1 {n} replaces {x}",
    ];
    MATERIAL: [
        "make {x} {m}", "turn {x} {m}", "give {x} {a} surface", "change {x} to {m}", "change the surface of {x} to {m}",
        "{x} should be {m}", "in IMG1 make {x} {m}", "RES1 is IMG1 with {x} made {m}",
        "make the surface of {x} {m}", "the surface of {x} should be {m}", "give {x} {a} finish", "{x}, now {m}",
    ], [
        "let {x} become {m}", "I want {x} to be {m}", "set the surface of {x} to {m}", "in RES1 the surface of {x} is {m}",
    ];
    ENLARGE: [
        "make {x} large", "make {x} larger", "make {x} bigger", "enlarge {x}", "change the size of {x} to large",
        "{x} should be bigger", "RES1 is IMG1 with {x} made larger",
        "grow {x}", "scale {x} up", "{x} should be large", "blow {x} up",
    ], [
        "let {x} become larger", "I want {x} to be bigger", "increase the size of {x}", "in RES1 {x} is larger",
    ];
    SHRINK: [
        "make {x} small", "make {x} smaller", "shrink {x}", "change the size of {x} to small", "{x} should be smaller",
        "RES1 is IMG1 with {x} made smaller",
        "scale {x} down", "{x} should be small", "make {x} tiny",
    ], [
        "let {x} become smaller", "I want {x} to be smaller", "reduce the size of {x}", "in RES1 {x} is smaller",
    ];
    GROUND: [
        "put everything on {g}", "change the table to {g}", "replace the table with {g}", "turn the table into {g}",
        "the scene should be on {g}", "RES1 is IMG1 on {g}",
    ], [
        "let everything stand on {g}", "I want {g} instead of the table", "in RES1 the objects are on {g}",
    ];
    TONE: [
        "make the table {c}", "paint the table {c}", "change the colour of the table to {c}", "the table should be {c}",
    ], [
        "let the table become {c}", "I want the table to be {c}", "in RES1 the table is {c}",
    ];
    FRONT: [
        "move {x} right in front of {o}", "layer {x} in front of {o}", "cover {o} with {x}", "hide {o} behind {x}",
        "{x} should hide {o}", "RES1 is IMG1 with {x} hiding {o}",
    ], [
        "let {x} cover {o}", "I want {x} to hide {o}", "bring {x} to the layer before {o}", "in RES1 {x} covers {o}",
    ];
    BEHIND: [
        "move {x} right behind {o}", "layer {x} behind {o}", "hide {x} with {o}", "cover {x} by {o}",
        "{x} should hide behind {o}", "RES1 is IMG1 with {x} hidden behind {o}",
    ], [
        "let {x} be covered by {o}", "I want {x} to hide behind {o}", "bring {x} to the layer after {o}",
        "in RES1 {x} is covered by {o}",
    ];
    COMPOUND: [
        "{1} and {2}", "{1}, then {2}", "first {1}, then {2}", "{1} and then {2}",
    ], [
        "{1}, and also {2}", "{1}; after that {2}",
    ];
    LIGHT_LEFT: [
        "light from the left", "the light comes from the left", "light the scene from the left", "move the light to the left",
    ], ["let the light come from the left", "I want the light on the left", "in RES1 the light is on the left"];
    LIGHT_RIGHT: [
        "light from the right", "the light comes from the right", "light the scene from the right", "move the light to the right",
    ], ["let the light come from the right", "I want the light on the right", "in RES1 the light is on the right"];
    LIGHT_FRONT: [
        "light from the front", "the light comes from the front", "light the scene from the front", "move the light to the front",
    ], ["let the light come from the front", "I want the light in front", "in RES1 the light is in front"];
    LIGHT_BEHIND: [
        "light from behind", "the light comes from behind", "light the scene from behind", "move the light to the back",
    ], ["let the light come from the back", "I want the light at the back", "in RES1 the light is at the back"];
    LIGHT_HIGH: [
        "raise the light", "light from above", "the light comes from above", "make the shadows shorter",
    ], ["let the light come from above", "I want the shadows to be short", "in RES1 the light is high"];
    LIGHT_LOW: [
        "lower the light", "light from low down", "the light comes from low down", "make the shadows longer",
    ], ["let the light come from low down", "I want the shadows to be long", "in RES1 the light is low"];
    LIGHT_DIMMER: [
        "make the light dimmer", "dim the light", "make the picture darker", "the light should be dimmer",
    ], ["let the light become dimmer", "I want less light", "in RES1 the light is dimmer"];
    LIGHT_BRIGHTER: [
        "make the light brighter", "brighten the light", "make the picture brighter", "the light should be brighter",
    ], ["let the light become brighter", "I want more light", "in RES1 the light is brighter"];
    CAMERA_LEFT: [
        "move the camera to the left", "turn the camera to the left", "look from the left", "the camera moves to the left",
    ], ["let the camera go to the left", "I want to look from the left", "RES1 is seen from the left"];
    CAMERA_RIGHT: [
        "move the camera to the right", "turn the camera to the right", "look from the right", "the camera moves to the right",
    ], ["let the camera go to the right", "I want to look from the right", "RES1 is seen from the right"];
    CAMERA_HIGHER: [
        "move the camera up", "raise the camera", "look from higher up", "the camera moves up",
    ], ["let the camera go up", "I want to look from higher up", "RES1 is seen from higher up"];
    CAMERA_LOWER: [
        "move the camera down", "lower the camera", "look from lower down", "the camera moves down",
    ], ["let the camera go down", "I want to look from lower down", "RES1 is seen from lower down"];
    CAMERA_CLOSER: [
        "move the camera closer", "zoom in", "look from closer", "the camera moves closer",
    ], ["let the camera come closer", "I want to look from closer", "RES1 is seen from closer"];
    CAMERA_FARTHER: [
        "move the camera away", "zoom out", "look from farther away", "the camera moves away",
    ], ["let the camera go away", "I want to look from farther away", "RES1 is seen from farther away"];
}

/// Returns the templates for a change of the light.
pub(super) fn light(change: LightChange) -> &'static Sentences {
    match change {
        LightChange::Left => &LIGHT_LEFT,
        LightChange::Right => &LIGHT_RIGHT,
        LightChange::Front => &LIGHT_FRONT,
        LightChange::Behind => &LIGHT_BEHIND,
        LightChange::High => &LIGHT_HIGH,
        LightChange::Low => &LIGHT_LOW,
        LightChange::Dimmer => &LIGHT_DIMMER,
        LightChange::Brighter => &LIGHT_BRIGHTER,
    }
}

/// Returns the templates for a change of the camera.
pub(super) fn camera(change: CameraChange) -> &'static Sentences {
    match change {
        CameraChange::Left => &CAMERA_LEFT,
        CameraChange::Right => &CAMERA_RIGHT,
        CameraChange::Higher => &CAMERA_HIGHER,
        CameraChange::Lower => &CAMERA_LOWER,
        CameraChange::Closer => &CAMERA_CLOSER,
        CameraChange::Farther => &CAMERA_FARTHER,
    }
}
