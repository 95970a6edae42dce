//! The page's second wasm module: new tabletop scenes, instructions for them, and the ground truth.
//! `www/demo/scene-worker.js` loads it when the user asks for a scene.

use wasm_bindgen::prelude::*;

use crate::edit_case::{EditCases, HELD_OUT, edit_cases};
use crate::{Scene, Settings, Wording, render};

/// Maximum image side in pixels; a larger image takes minutes on the CPU.
const MAX_SIDE: u32 = 512;

/// Makes panics print their message and location to the console. Runs once when the module starts.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// A held-out scene and edits of it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Tabletop {
    cases: EditCases,
    /// Indices of the edits that have an instruction, and the instructions.
    instructions: Vec<(usize, String)>,
    settings: Settings,
}

#[wasm_bindgen]
impl Tabletop {
    /// Creates the scene of the held-out seed S = 2^40 + `number`, in images of `side` by `side` pixels. `unireal world
    /// --seed S --size SIDE` creates the same scene.
    ///
    /// # Errors
    /// An `Error` if `side` is not 1 to 512.
    #[wasm_bindgen(constructor)]
    pub fn new(number: u32, side: u32) -> Result<Tabletop, JsError> {
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(JsError::new(&format!(
                "scene side: {side} pixels, expected 1 to {MAX_SIDE}"
            )));
        }
        let seed = HELD_OUT + u64::from(number);
        let cases = edit_cases(seed);
        let texts = cases.instructions(seed, Wording::Training);
        let texts = texts.into_iter().enumerate();
        Ok(Tabletop {
            instructions: texts.filter_map(|(i, text)| Some((i, text?))).collect(),
            settings: Settings::square(side),
            cases,
        })
    }

    /// Returns the instructions for the edits.
    pub fn instructions(&self) -> Vec<String> {
        let texts = self.instructions.iter();
        texts.map(|(_, text)| text.clone()).collect()
    }

    /// Renders the scene before the edits: RGBA, rows from the top.
    pub fn before(&self) -> Vec<u8> {
        self.rgba(&self.cases.scene)
    }

    /// Renders the ground truth for an instruction, given by its index in the list: RGBA, rows from the top.
    ///
    /// # Errors
    /// An `Error` if the index is out of range.
    pub fn after(&self, instruction: usize) -> Result<Vec<u8>, JsError> {
        let (edit, _) = self.instructions.get(instruction).ok_or_else(|| {
            JsError::new(&format!(
                "instruction index: {instruction}, expected below {}",
                self.instructions.len()
            ))
        })?;
        Ok(self.rgba(&self.cases.edits[*edit].1))
    }

    /// Renders a scene to RGBA, rows from the top.
    fn rgba(&self, scene: &Scene) -> Vec<u8> {
        let image = render(scene, &self.settings).image;
        image
            .pixels()
            .flat_map(|p| [p[0], p[1], p[2], 255])
            .collect()
    }
}
