//! The words of a request: roles, context tags, methods, and references to images.

use crate::config::TransformerConfig;
use crate::error::{Error, Result};

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
    /// The rest of the image may move as well.
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

/// How the sampler steps from noise to image.
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
