//! Prompt templates of the data engine, which are filled with a clip's captions and phrases.
//!
//! Every list has templates for training and held-out ones, so that a test can use wordings that training never saw.

mod grammar;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};

pub(super) use grammar::{definite, indefinite, join_list};

/// Maximum number of paraphrases of a sample's prompt.
const PARAPHRASES: usize = 6;

/// Prompt templates with placeholders such as `{object}`.
pub(super) struct Wording {
    training: &'static [&'static str],
    held_out: &'static [&'static str],
}

pub(super) const SEGMENT: Wording = Wording {
    training: &[
        "segment {object}",
        "the mask of {object}",
        "mask of {object} in IMG1",
        "where is {object}?",
        "mark {object} in white",
        "RES1 is the mask of {object} in IMG1",
        "{object}",
        "a mask for {object}",
        "segmentation of {object}",
        "find {object}",
        "select {object}",
        "show where {object} is",
        "where in IMG1 is {object}?",
        "cut out {object}",
        "pick out {object} in IMG1",
        "{object} in white, everything else in black",
    ],
    held_out: &["highlight {object}", "which pixels of IMG1 show {object}?"],
};

pub(super) const DEPTH: Wording = Wording {
    training: &[
        "depth map of IMG1",
        "the depth of IMG1",
        "how far is each pixel of IMG1?",
        "estimate the depth",
        "RES1 is the depth map of IMG1",
        "depth",
        "depth estimation",
        "how far away is everything?",
        "the picture's depth",
        "near is bright and far is dark",
    ],
    held_out: &["predict depth from IMG1", "a map of distances"],
};

pub(super) const EDGES: Wording = Wording {
    training: &[
        "edges of IMG1",
        "canny edges of IMG1",
        "draw the edges of IMG1",
        "edge map",
        "RES1 shows the edges of IMG1",
        "edges",
        "edge detection",
        "find the edges in IMG1",
        "a drawing of the edges",
    ],
    held_out: &["the contours of IMG1", "trace the outlines"],
};

pub(super) const FROM_DEPTH: Wording = Wording {
    training: &[
        "{caption}, following the depth map of IMG1",
        "{caption}; IMG1 is its depth map",
        "from the depth in IMG1: {caption}",
        "{caption} (depth: IMG1)",
        "turn the depth map into a picture: {caption}",
    ],
    held_out: &["{caption}, as deep as IMG1 says"],
};

pub(super) const FROM_EDGES: Wording = Wording {
    training: &[
        "{caption}, following the edges of IMG1",
        "{caption}; IMG1 shows its edges",
        "from the edges in IMG1: {caption}",
        "{caption} (edges: IMG1)",
        "turn the edges into a picture: {caption}",
    ],
    held_out: &["{caption}, along the lines of IMG1"],
};

pub(super) const CUSTOMISE: Wording = Wording {
    training: &[
        "{objects}: {caption}",
        "{caption}, with {objects}",
        "{objects} in a new picture: {caption}",
        "{objects} here: {caption}",
        "a picture with {objects}, {caption}",
    ],
    held_out: &["use {objects} to show this: {caption}"],
};

pub(super) const CUSTOMISE_FREELY: Wording = Wording {
    training: &["{objects} in a new scene", "a new picture of {objects}"],
    held_out: &["show {objects} somewhere else"],
};

pub(super) const INSERT: Wording = Wording {
    training: &[
        "put {object} of IMG2 into IMG1",
        "add {object} from IMG2 to IMG1",
        "insert {object} of IMG2 in IMG1",
        "place {object} of IMG2 in the picture",
        "{object} of IMG2 into IMG1",
        "IMG1 and in it {object} from IMG2",
    ],
    held_out: &[
        "bring {object} of IMG2 over to IMG1",
        "IMG1 with {object} of IMG2",
    ],
};

pub(super) const POSITION: Wording = Wording {
    training: &[
        "{prompt}, at the position of {mask}",
        "{prompt}, following the mask of {mask}",
        "{prompt}, where {mask} is white",
    ],
    held_out: &["{prompt}, exactly in the shape of {mask}"],
};

pub(super) const ADD: Wording = Wording {
    training: &[
        "add {object} in the grey area",
        "fill the hole in IMG1 with {object}",
        "put {object} where IMG1 is grey",
        "{object} in the hole of IMG1",
    ],
    held_out: &[
        "complete IMG1 with {object}",
        "the grey part shows {object}",
    ],
};

pub(super) const VIDEO: Wording = Wording {
    training: &[
        "{caption}",
        "{count} frames of a video: {caption}",
        "{results} show a video: {caption}",
    ],
    held_out: &["a clip in {count} frames, {caption}"],
};

pub(super) const WITH_MASK: Wording = Wording {
    training: &[
        "{prompt}; RES2 is the mask of it",
        "{prompt}, and mark the place in RES2",
        "{prompt}; RES1 is the result and RES2 the mask",
    ],
    held_out: &["{prompt}, then show the changed part as RES2"],
};

/// Filler phrases around a request. Training includes them so that the model learns to ignore them.
const FILLERS: [&str; 11] = [
    "please {prompt}",
    "{prompt}, please",
    "now {prompt}",
    "{prompt} now",
    "next: {prompt}",
    "task: {prompt}",
    "this is what to do: {prompt}",
    "only one thing: {prompt}",
    "{prompt}, nothing else",
    "{prompt}!",
    "{prompt}.",
];

/// Templates that refer to the images of an edit as IMG1 and RES1.
pub(super) const NAMED: Wording = Wording {
    training: &[
        "in IMG1, {prompt}",
        "RES1 is IMG1, but {prompt}",
        "edit IMG1: {prompt}",
    ],
    held_out: &["make RES1 from IMG1: {prompt}"],
};

impl Wording {
    fn templates(&self, held_out: bool) -> &'static [&'static str] {
        if held_out {
            self.held_out
        } else {
            self.training
        }
    }

    /// Returns paraphrases: random pairs of a template and one of `fillings`, which map each placeholder to its text.
    pub(super) fn all(
        &self,
        held_out: bool,
        fillings: &[Vec<(&str, String)>],
        rng: &mut impl Rng,
    ) -> Vec<String> {
        let mut pairs: Vec<(&str, &Vec<(&str, String)>)> = Vec::new();
        for template in self.templates(held_out) {
            pairs.extend(fillings.iter().map(|filling| (*template, filling)));
        }
        pairs.shuffle(rng);
        pairs.truncate(PARAPHRASES);
        pairs
            .iter()
            .map(|(template, filling)| fill(template, filling))
            .collect()
    }

    /// Inserts each prompt into a random template of this list.
    pub(super) fn around(
        &self,
        held_out: bool,
        prompts: &[String],
        filling: &[(&str, String)],
        rng: &mut impl Rng,
    ) -> Vec<String> {
        let around = |prompt: &String| {
            let templates = self.templates(held_out);
            let template = templates.choose(rng).expect("a wording has templates");
            let mut filling = filling.to_vec();
            filling.push(("prompt", prompt.clone()));
            fill(template, &filling)
        };
        prompts.iter().map(around).collect()
    }
}

fn fill(template: &str, filling: &[(&str, String)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in filling {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

/// Returns at most `PARAPHRASES` of the texts, in random order.
pub(super) fn some(texts: &[String], rng: &mut impl Rng) -> Vec<String> {
    let mut texts = texts.to_vec();
    texts.shuffle(rng);
    texts.truncate(PARAPHRASES);
    texts
}

/// Returns some of the prompts. One that does not mention IMG or RES is put into a template of `NAMED` with probability 0.3.
pub(super) fn name_images_in_some(
    prompts: &[String],
    held_out: bool,
    rng: &mut impl Rng,
) -> Vec<String> {
    let mut prompts = some(prompts, rng);
    for prompt in &mut prompts {
        if !prompt.contains("IMG") && !prompt.contains("RES") && rng.random_bool(0.3) {
            let named = NAMED.around(held_out, std::slice::from_ref(prompt), &[], rng);
            *prompt = named.concat();
        }
    }
    prompts
}

/// Puts each prompt into one of the `FILLERS` with probability 0.2.
pub(super) fn add_filler_to_some(prompts: &mut [String], rng: &mut impl Rng) {
    for prompt in prompts {
        if rng.random_bool(0.2) {
            let filler = FILLERS.choose(rng).expect("the list is not empty");
            *prompt = fill(filler, &[("prompt", prompt.clone())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const ALL: [&Wording; 13] = [
        &SEGMENT,
        &DEPTH,
        &EDGES,
        &FROM_DEPTH,
        &FROM_EDGES,
        &CUSTOMISE,
        &CUSTOMISE_FREELY,
        &INSERT,
        &POSITION,
        &ADD,
        &VIDEO,
        &WITH_MASK,
        &NAMED,
    ];

    #[test]
    fn training_and_held_out_wordings_are_disjoint() {
        let list = |held_out| ALL.iter().flat_map(move |w| w.templates(held_out));
        for text in list(true) {
            assert!(!list(false).any(|other| other == text), "{text}");
        }
        assert!(
            ALL.iter()
                .all(|w| !w.held_out.is_empty() && !w.training.is_empty())
        );
    }

    #[test]
    fn every_placeholder_is_filled_and_paraphrases_differ() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let names = [
            "object", "objects", "caption", "mask", "count", "results", "prompt",
        ];
        let filling: Vec<(&str, String)> = names.map(|n| (n, n.to_uppercase())).to_vec();
        for wording in ALL {
            for held_out in [false, true] {
                let mut texts = wording.all(held_out, std::slice::from_ref(&filling), &mut rng);
                assert!(texts.iter().all(|text| !text.contains('{')), "{texts:?}");
                let count = texts.len();
                texts.sort();
                texts.dedup();
                assert_eq!(texts.len(), count);
            }
        }
    }
}
