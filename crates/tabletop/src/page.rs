//! The page's second wasm module: new scenes of the tabletop, what may be asked of them, and the ground truth. `www/demo/scene-worker.js`
//! loads it when somebody wants a scene.

use wasm_bindgen::prelude::*;

use crate::still::{HELD_OUT, Still, still};
use crate::{Scene, Settings, Wording, render};

/// Largest side of a picture: a larger one takes the CPU minutes.
const MAX_SIDE: u32 = 512;

/// Runs once when the module starts: a panic then shows its message and place in the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// A scene that no training has seen, and edits of it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Tabletop {
    still: Still,
    /// Numbers of the edits that words can ask for, and the words.
    asked: Vec<(usize, String)>,
    settings: Settings,
}

#[wasm_bindgen]
impl Tabletop {
    /// The scene of the held-out seed number `number`, in pictures of `side` pixels. `unireal world --seed S --size SIDE` makes
    /// the same with S of 2^40 + `number`.
    ///
    /// # Errors
    /// An `Error` where the side is not 1 to 512.
    #[wasm_bindgen(constructor)]
    pub fn new(number: u32, side: u32) -> Result<Tabletop, JsError> {
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(JsError::new(&format!(
                "a scene of {side} pixels; a side has 1 to {MAX_SIDE}"
            )));
        }
        let seed = HELD_OUT + u64::from(number);
        let still = still(seed);
        let texts = still.instructions(seed, Wording::Training);
        let asked = texts.into_iter().enumerate();
        Ok(Tabletop {
            asked: asked.filter_map(|(i, text)| Some((i, text?))).collect(),
            settings: Settings::square(side),
            still,
        })
    }

    /// What may be asked.
    pub fn instructions(&self) -> Vec<String> {
        self.asked.iter().map(|(_, text)| text.clone()).collect()
    }

    /// The scene: RGBA, rows from the top.
    pub fn before(&self) -> Vec<u8> {
        self.picture(&self.still.scene)
    }

    /// The true answer to an instruction, given by its place in the list: RGBA, rows from the top.
    ///
    /// # Errors
    /// An `Error` where the list is not that long.
    pub fn after(&self, instruction: usize) -> Result<Vec<u8>, JsError> {
        let (edit, _) = self.asked.get(instruction).ok_or_else(|| {
            JsError::new(&format!(
                "instruction {instruction}; there are {}, counted from 0",
                self.asked.len()
            ))
        })?;
        Ok(self.picture(&self.still.edits[*edit].1))
    }

    fn picture(&self, scene: &Scene) -> Vec<u8> {
        let image = render(scene, &self.settings).image;
        image
            .pixels()
            .flat_map(|p| [p[0], p[1], p[2], 255])
            .collect()
    }
}
