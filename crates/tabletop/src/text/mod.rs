//! English text for tabletop scenes: references, instructions and captions, in many paraphrases of a small vocabulary,
//! because a small text encoder learns them from scratch.
//!
//! Sides are relative to the camera. An added object without a stated size is large; without a stated material it is matte.

mod captions;
mod corpus;
mod edits;
mod lexicon;
mod motion;
mod reference;
mod sentences;
#[cfg(test)]
mod tests;

use rand::Rng;
use serde::{Deserialize, Serialize};

pub use captions::caption;
pub use corpus::corpus;
pub use edits::instruction;
pub use lexicon::{Description, indefinite};
pub use motion::{clip_caption, motion};
pub use reference::{Reference, Relation, refer, references};

use super::draw::pick;

/// The set of paraphrases to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wording {
    /// The paraphrases of training.
    Training,
    /// Paraphrases that training never sees: other sentences, other descriptions of objects and of relations.
    HeldOut,
}

/// Sentence templates with `{slots}`, by wording.
pub(crate) struct Sentences {
    pub(crate) training: &'static [&'static str],
    pub(crate) held_out: &'static [&'static str],
}

impl Sentences {
    /// Draws a sentence and fills its slots.
    pub(crate) fn say(
        &self,
        wording: Wording,
        slots: &[(&str, &str)],
        rng: &mut impl Rng,
    ) -> String {
        let sentence = match wording {
            Wording::Training => pick(self.training, rng),
            Wording::HeldOut => pick(self.held_out, rng),
        };
        fill_slots(sentence, slots)
    }
}

/// Replaces every `{name}` by its value.
fn fill_slots(sentence: &str, slots: &[(&str, &str)]) -> String {
    let filled = slots
        .iter()
        .fold(sentence.to_string(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        });
    debug_assert!(!filled.contains('{'), "a slot of \"{filled}\" is empty");
    filled
}

/// Adds an indefinite article: "a cube", "an orange cube".
pub(crate) fn with_article(phrase: &str) -> String {
    let vowel = phrase.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {phrase}", if vowel { "an" } else { "a" })
}

/// Joins phrases: "a", "a and b", "a, b and c".
pub(crate) fn list(phrases: &[String]) -> String {
    match phrases {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
