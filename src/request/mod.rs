//! The hierarchical prompt (paper, section 3.1): base text, context tags, a role for every input image. Parsing is
//! validation: a [`Request`] that [`Request::check`] accepted names only images that exist.

mod builder;

pub use builder::RequestBuilder;

use crate::config::{STEPS, TransformerConfig};
use crate::error::{Error, Result};
use crate::image::Image;

/// Most images a request can refer to, in and out: the tokenizer holds IMG1..IMG10 and RES1..RES10.
pub const MAX_IMAGES: usize = 10;

/// The image prompt: what an input image is for. Role and order are the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// To be edited: the output keeps its layout.
    Canvas,
    /// Shows a thing or a style to bring into the output.
    Asset,
    /// Says where or in what shape: a mask, edges, a depth map.
    Control,
}

impl Role {
    /// All roles, in the order of the category embedding's rows.
    pub const ALL: [Role; 3] = [Role::Canvas, Role::Asset, Role::Control];

    /// The word in requests.
    pub fn name(self) -> &'static str {
        match self {
            Role::Canvas => "canvas",
            Role::Asset => "asset",
            Role::Control => "control",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Role::ALL
            .into_iter()
            .find(|role| role.name() == name)
            .ok_or_else(|| {
                Error::Request(format!(
                    "unknown image role \"{name}\"; use canvas, asset or control"
                ))
            })
    }
}

/// The context prompt: attributes that training tasks share, as plain text ahead of the base prompt (paper, section 3.1
/// and figure 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tag {
    /// Looks like a photograph.
    RealisticStyle,
    /// Looks made by a program.
    SyntheticStyle,
    /// Only what the prompt names changes.
    StaticScenario,
    /// The rest of the picture may move as well.
    DynamicScenario,
    /// An input shows an object that is to appear.
    WithReferenceObject,
    /// The output is a new scene.
    NovelScenario,
    /// The output is a mask, a depth map or edges.
    PerceptionTask,
}

impl Tag {
    /// All tags, in the order in which they stand in the text.
    pub const ALL: [Tag; 7] = [
        Tag::RealisticStyle,
        Tag::SyntheticStyle,
        Tag::StaticScenario,
        Tag::DynamicScenario,
        Tag::WithReferenceObject,
        Tag::NovelScenario,
        Tag::PerceptionTask,
    ];

    /// The words in requests and in the text that the encoder reads.
    pub fn name(self) -> &'static str {
        match self {
            Tag::RealisticStyle => "realistic style",
            Tag::SyntheticStyle => "synthetic style",
            Tag::StaticScenario => "static scenario",
            Tag::DynamicScenario => "dynamic scenario",
            Tag::WithReferenceObject => "with reference object",
            Tag::NovelScenario => "novel scenario",
            Tag::PerceptionTask => "perception task",
        }
    }
}

impl std::str::FromStr for Tag {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Tag::ALL
            .into_iter()
            .find(|tag| tag.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Tag::ALL.iter().map(|tag| tag.name()).collect();
                Error::Request(format!(
                    "unknown context tag \"{name}\"; use any of: {}",
                    known.join(", ")
                ))
            })
    }
}

/// How the sampler steps from noise to picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// First order: one evaluation a step.
    #[default]
    Euler,
    /// Second order: two evaluations a step, fewer steps for the same error.
    Heun,
}

impl std::str::FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "euler" => Ok(Method::Euler),
            "heun" => Ok(Method::Heun),
            _ => Err(Error::Request(format!(
                "unknown sampler \"{name}\"; use euler or heun"
            ))),
        }
    }
}

/// The image that a text token refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRef {
    /// No image.
    None,
    /// IMGk, k from 1.
    Input(usize),
    /// RESk, k from 1.
    Output(usize),
}

impl ImageRef {
    /// Returns the row in the table of index embeddings, which holds (none, inputs, outputs). An index beyond the model's maximum
    /// gives row 0.
    pub fn row(self, config: &TransformerConfig) -> i32 {
        let row = match self {
            ImageRef::None => 0,
            ImageRef::Input(k) if k <= config.max_inputs => k,
            ImageRef::Output(k) if k <= config.max_outputs => config.max_inputs + k,
            ImageRef::Input(_) | ImageRef::Output(_) => 0,
        };
        row as i32
    }
}

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
    /// of the picture holds still; an asset is a reference object, and without a canvas it asks for a new scene.
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

    /// The picture whose pixels stay where nothing changes: the one canvas of a request for one picture in which the rest holds
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pixel() -> Image {
        Image::from_rgb(1, 1, vec![0; 3]).unwrap()
    }

    fn refusal(request: &Request) -> String {
        request.check().unwrap_err().to_string()
    }

    #[test]
    fn a_reference_to_an_image_that_was_not_given_is_refused_with_what_is_there() {
        let request = Request::new("put the dog of IMG2 on the sofa of IMG1");
        assert!(refusal(&request).contains("IMG2, but no input image was given"));
        let request = request.frame(pixel(), Role::Canvas);
        assert!(refusal(&request).contains("IMG2, but the only input image is IMG1"));
        request.frame(pixel(), Role::Asset).check().unwrap();
        assert!(refusal(&Request::new("RES2 is its mask")).contains("the only output is RES1"));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let with = |change: fn(&mut Request)| {
            let mut request = Request::new("a red cube");
            change(&mut request);
            refusal(&request)
        };
        assert!(refusal(&Request::new("  ")).contains("empty"));
        assert!(with(|r| r.steps = Some(0)).contains("0 steps"));
        assert!(with(|r| r.outputs = 11).contains("11 outputs"));
        assert!(with(|r| r.guidance = Some(f32::NAN)).contains("NaN"));
        assert!(
            with(|r| r.frames = vec![
                Frame {
                    image: pixel(),
                    role: Role::Asset
                };
                11
            ])
            .contains("at most 10")
        );
        assert!(
            with(|r| r.context = Some(vec![Tag::StaticScenario, Tag::DynamicScenario]))
                .contains("contradict")
        );
    }

    #[test]
    fn what_is_left_alone_is_kept_in_an_edit_of_one_canvas() {
        let image = || Image::from_rgb(1, 1, vec![0; 3]).expect("a pixel");
        let edit = || Request::new("remove the cube").frame(image(), Role::Canvas);
        assert!(edit().composite_canvas().is_some());
        assert!(
            edit()
                .frame(image(), Role::Asset)
                .composite_canvas()
                .is_some()
        );
        let changed: [fn(&mut Request); 4] = [
            |request| request.composite = false,
            |request| request.outputs = 2,
            |request| request.context = Some(vec![Tag::DynamicScenario]),
            |request| request.context = Some(vec![Tag::StaticScenario, Tag::PerceptionTask]),
        ];
        for change in changed {
            let mut request = edit();
            change(&mut request);
            assert!(request.composite_canvas().is_none());
        }
        assert!(
            edit()
                .frame(image(), Role::Canvas)
                .composite_canvas()
                .is_none()
        );
        assert!(
            Request::new("a cube")
                .frame(image(), Role::Asset)
                .composite_canvas()
                .is_none()
        );
    }

    #[test]
    fn tags_are_derived_from_roles_and_can_be_overridden() {
        let edit = Request::new("make it blue").frame(pixel(), Role::Canvas);
        assert_eq!(
            edit.text(),
            "realistic style, static scenario, make it blue"
        );
        let scene = Request::new("the toy of IMG1 at sea").frame(pixel(), Role::Asset);
        assert_eq!(
            scene.tags(),
            [
                Tag::RealisticStyle,
                Tag::WithReferenceObject,
                Tag::NovelScenario
            ]
        );
        let mut chosen = edit;
        chosen.context = Some(vec![
            "dynamic scenario".parse().unwrap(),
            Tag::SyntheticStyle,
        ]);
        assert_eq!(
            chosen.text(),
            "synthetic style, dynamic scenario, make it blue"
        );
        assert!(
            "sunny"
                .parse::<Tag>()
                .unwrap_err()
                .to_string()
                .contains("perception task")
        );
        assert!(
            "mask"
                .parse::<Role>()
                .unwrap_err()
                .to_string()
                .contains("control")
        );
    }
}
