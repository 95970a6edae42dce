//! The hierarchical prompt (paper, section 3.1): base text, context tags, a role for every input image. Parsing is
//! validation: a [`Request`] that [`Request::check`] accepted names only images that exist.

mod builder;
mod prompt;
#[cfg(test)]
mod tests;

pub use builder::RequestBuilder;
pub use prompt::{ImageRef, Method, Role, Tag};

use crate::config::STEPS;
use crate::error::{Error, Result};
use crate::image::Image;

/// Most images a request can refer to, in and out: the tokenizer holds IMG1..IMG10 and RES1..RES10.
pub const MAX_IMAGES: usize = 10;

/// An input image and its role.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The image, of any size.
    pub image: Image,
    /// What the image is for.
    pub role: Role,
}

/// The input of a generation; [`Request::builder`] makes one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The base prompt: the instruction in words, naming images as IMG1.. and results as RES1...
    pub prompt: String,
    /// Input images; the first is IMG1.
    pub frames: Vec<Frame>,
    /// The context prompt; `None` derives it from the rest, see [`Request::tags`].
    pub context: Option<Vec<Tag>>,
    /// Output width and height in pixels; `None` takes the first canvas's shape, else the model's own size.
    pub size: Option<(u32, u32)>,
    /// Number of output images, all made in one pass.
    pub outputs: usize,
    /// Sampler steps; `None` takes the model's own number.
    pub steps: Option<usize>,
    /// How the sampler steps.
    pub method: Method,
    /// Text guidance scale; 1 is none, `None` takes the model's own.
    pub guidance: Option<f32>,
    /// Image guidance scale; 1 is none.
    pub image_guidance: f32,
    /// Whether unchanged pixels of the canvas are pasted back into the result: see [`Request::composite_canvas`].
    pub composite: bool,
    /// Seed of the noise.
    pub seed: u64,
    /// Decode the estimate of the result every so many steps, for a live preview; 0 is never.
    pub preview_every: usize,
}

impl Request {
    /// Starts building a request.
    ///
    /// ```ignore-wasm32
    /// use unireal::{Image, Request, Role};
    ///
    /// # fn main() -> unireal::Result<()> {
    /// let room = Image::from_rgb(1, 1, vec![90; 3])?;
    /// let dog = Image::from_rgb(1, 1, vec![200; 3])?;
    /// let request = Request::builder("put the dog of IMG2 into IMG1")
    ///     .canvas(room)
    ///     .asset(dog)
    ///     .steps(4)
    ///     .seed(7)
    ///     .build()?;
    /// assert_eq!(request.frames[1].role, Role::Asset);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(prompt: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(prompt.into())
    }

    /// Returns a request with the defaults: no images, derived tags, one output, the model's own number of steps and guidance scale, the
    /// Euler method, image guidance 1, compositing, seed 0, no previews.
    pub fn new(prompt: impl Into<String>) -> Self {
        Request {
            prompt: prompt.into(),
            frames: Vec::new(),
            context: None,
            size: None,
            outputs: 1,
            steps: None,
            method: Method::Euler,
            guidance: None,
            image_guidance: 1.0,
            composite: true,
            seed: 0,
            preview_every: 0,
        }
    }

    /// Adds an input image.
    pub fn frame(mut self, image: Image, role: Role) -> Self {
        self.frames.push(Frame { image, role });
        self
    }

    /// The context tags: the given ones in the text's order, or what the request implies.
    ///
    /// Choice: the paper derives defaults from the base prompt without saying how. Here: a canvas means that the rest
    /// of the image holds still; an asset is a reference object, and without a canvas it asks for a new scene.
    pub fn tags(&self) -> Vec<Tag> {
        let mut tags = match &self.context {
            Some(tags) => tags.clone(),
            None => {
                let has = |role| self.frames.iter().any(|frame| frame.role == role);
                let mut tags = vec![Tag::RealisticStyle];
                if has(Role::Canvas) {
                    tags.push(Tag::StaticScenario);
                }
                if has(Role::Asset) {
                    tags.push(Tag::WithReferenceObject);
                    if !has(Role::Canvas) {
                        tags.push(Tag::NovelScenario);
                    }
                }
                tags
            }
        };
        tags.sort();
        tags.dedup();
        tags
    }

    /// The image whose pixels stay where nothing changes: the one canvas of a request for one image in which the rest holds
    /// still, as its tags say.
    pub fn composite_canvas(&self) -> Option<&Image> {
        let tags = self.tags();
        let still = tags.contains(&Tag::StaticScenario) && !tags.contains(&Tag::PerceptionTask);
        let mut canvases = self
            .frames
            .iter()
            .filter(|frame| frame.role == Role::Canvas);
        match (canvases.next(), canvases.next()) {
            (Some(canvas), None) if self.composite && still && self.outputs == 1 => {
                Some(&canvas.image)
            }
            _ => None,
        }
    }

    /// The text that the encoder reads: context tags, then the base prompt.
    pub fn text(&self) -> String {
        text(&self.tags(), &self.prompt)
    }

    /// Refuses a request that cannot be right.
    ///
    /// # Errors
    /// [`Error::Request`] for an empty prompt, more than [`MAX_IMAGES`] images, a reference to an image that is not
    /// there, contradicting tags, or a number out of range; the message says what would be right.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Request(message));
        if self.prompt.trim().is_empty() {
            return refuse("the prompt is empty; say in words what the result should be".into());
        }
        if self.frames.len() > MAX_IMAGES {
            let n = self.frames.len();
            return refuse(format!(
                "{n} input images; at most {MAX_IMAGES} can be named"
            ));
        }
        if self.outputs == 0 || self.outputs > MAX_IMAGES {
            let n = self.outputs;
            return refuse(format!("{n} outputs; ask for 1 to {MAX_IMAGES}"));
        }
        if let Some(steps) = self.steps.filter(|steps| !STEPS.contains(steps)) {
            return refuse(format!("{steps} steps; ask for 1 to 1000"));
        }
        for (name, scale) in [
            ("guidance", self.guidance.unwrap_or(1.0)),
            ("image guidance", self.image_guidance),
        ] {
            if !(0.0..=100.0).contains(&scale) {
                return refuse(format!("{name} of {scale}; use 0 to 100, where 1 is none"));
            }
        }
        self.check_references("IMG", self.frames.len(), "input image")?;
        self.check_references("RES", self.outputs, "output")?;
        let tags = self.tags();
        for (one, other) in [
            (Tag::RealisticStyle, Tag::SyntheticStyle),
            (Tag::StaticScenario, Tag::DynamicScenario),
        ] {
            if tags.contains(&one) && tags.contains(&other) {
                let (one, other) = (one.name(), other.name());
                return refuse(format!(
                    "\"{one}\" and \"{other}\" contradict each other; keep one"
                ));
            }
        }
        Ok(())
    }

    fn check_references(&self, word: &str, count: usize, noun: &str) -> Result<()> {
        for (at, _) in self.prompt.match_indices(word) {
            let digits: String = self.prompt[at + word.len()..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            let known = digits.parse().is_ok_and(|k| (1..=count).contains(&k));
            if !digits.is_empty() && !known {
                let given = match count {
                    0 => format!("no {noun} was given"),
                    1 => format!("the only {noun} is {word}1"),
                    n => format!("there are {word}1 to {word}{n}"),
                };
                return Err(Error::Request(format!(
                    "the prompt names {word}{digits}, but {given}"
                )));
            }
        }
        Ok(())
    }
}

/// Context tags and base prompt as one text, the form in which training writes it too.
pub fn text(tags: &[Tag], prompt: &str) -> String {
    let mut parts: Vec<&str> = tags.iter().map(|tag| tag.name()).collect();
    parts.push(prompt.trim());
    parts.join(", ")
}
