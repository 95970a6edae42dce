//! Captions, instructions and names from an endpoint of OpenAI's chat protocol with images: one request per clip, with time
//! limits and retries. Answers are cached on disk, so that a re-run pays for no request again.

mod client;

#[cfg(test)]
mod tests;

use std::env::VarError;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::clip::{Clip, Instruction};
use super::super::kinds::Counts;
use super::super::mask::bounds;
use super::{Annotator, Shot};
use client::Client;
use unireal::{Error, Result};

/// Settings of the endpoint and its requests.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The base address with the version, such as `https://api.openai.com/v1`; `/chat/completions` is appended.
    pub url: String,
    /// The model's name.
    pub model: String,
    /// The API key, sent as a bearer token.
    pub key: Option<String>,
    /// Time limit for one answer.
    pub limit: Duration,
    /// Maximum number of tries of one request.
    pub tries: u32,
    /// Pause before the second try; it doubles with each further try.
    pub pause: Duration,
    /// Longest pause, even if the endpoint asks for more.
    pub longest_pause: Duration,
}

impl Settings {
    /// Returns the default limits, with the key from the environment variable `OPENAI_API_KEY`.
    ///
    /// # Errors
    /// [`Error::Request`] when the variable's value is not text.
    pub fn new(url: &str, model: &str) -> Result<Settings> {
        Ok(Settings {
            url: url.trim_end_matches('/').to_owned(),
            model: model.to_owned(),
            key: key(std::env::var(KEY_VARIABLE))?,
            limit: Duration::from_secs(120),
            tries: 5,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        })
    }
}

/// The environment variable with the API key.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// Returns the API key; an unset or empty variable means none.
fn key(variable: std::result::Result<String, VarError>) -> Result<Option<String>> {
    match variable {
        Ok(key) => Ok(Some(key).filter(|key| !key.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Error::Request(format!(
            "reading the environment variable {KEY_VARIABLE}: not Unicode, expected the API key"
        ))),
    }
}

/// An annotator that asks a chat endpoint.
pub struct Chat {
    client: Client,
    model: String,
}

impl Chat {
    /// Creates an annotator with these settings that caches answers in the folder `cache`.
    pub fn new(settings: Settings, cache: &Path) -> Chat {
        Chat {
            model: settings.model.clone(),
            client: Client::new(settings, cache),
        }
    }
}

/// Maximum length of an accepted text, in characters; longer ones are dropped.
const MAX_TEXT: usize = 400;

/// The answer expected from the endpoint.
#[derive(Debug, Deserialize)]
struct Answer {
    /// Paraphrases of the video's caption.
    captions: Vec<String>,
    /// Captions of each frame.
    frames: Vec<Vec<String>>,
    /// Paraphrases of the instruction from each frame to the next.
    instructions: Vec<Vec<String>>,
    /// Names of each entity listed in the request.
    #[serde(default, rename = "things")]
    names: Vec<Vec<String>>,
}

impl Annotator for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn annotate(&self, shot: &mut Shot<'_>, _: &mut Counts) -> Result<()> {
        if shot.clip.frames.is_empty() {
            return Ok(());
        }
        let request = request(&shot.clip, &self.model)?;
        let (frames, entities) = (shot.clip.frames.len(), shot.clip.entities.len());
        let answer = self
            .client
            .ask(&request, |text| parse(text, frames, entities))?;
        apply(&mut shot.clip, answer);
        Ok(())
    }
}

fn request(clip: &Clip, model: &str) -> Result<Value> {
    let n = clip.frames.len();
    let mut text = format!(
        "These are {n} frames of one video, in order. Answer with one JSON object and nothing else, in plain short \
         English:\n{{\"captions\": [three paraphrases of what the video shows],\n\"frames\": [for each of the {n} frames a \
         list of two captions],\n\"instructions\": [for each of the {} steps from a frame to the next a list of two short \
         imperatives that name all that changes, such as \"move the boat slightly to the right\"]",
        n - 1
    );
    if !clip.entities.is_empty() {
        text += ",\n\"things\": [for each of the things below, in order, a list of two noun phrases that mean it and nothing \
                 else in the frames]";
    }
    text += "}";
    for (i, entity) in clip.entities.iter().enumerate() {
        let seen = entity.masks.iter().enumerate().find_map(|(frame, mask)| {
            Some((frame, bounds(mask, clip.frames[frame].width as usize)?))
        });
        if let Some((frame, b)) = seen {
            let size = &clip.frames[frame];
            let percent = |at: usize, of: u32| 100 * at / of as usize;
            text += &format!(
                "\nThing {}: in frame {}, from {} % to {} % of the width and from {} % to {} % of the height.",
                i + 1,
                frame + 1,
                percent(b.left, size.width),
                percent(b.right, size.width),
                percent(b.top, size.height),
                percent(b.bottom, size.height)
            );
        }
    }
    let mut content = vec![json!({"type": "text", "text": text})];
    for frame in &clip.frames {
        let url = format!("data:image/png;base64,{}", base64(&frame.to_png()?));
        content.push(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    Ok(json!({
        "model": model,
        "temperature": 0,
        "messages": [{"role": "user", "content": content}],
    }))
}

/// Parses the JSON answer in a model's text, which may have other text around it; otherwise returns what is wrong with it.
fn parse(text: &str, frames: usize, entities: usize) -> std::result::Result<Answer, String> {
    let object = text
        .find('{')
        .zip(text.rfind('}'))
        .filter(|(start, end)| start < end);
    let (start, end) = object.ok_or("no JSON object, expected one")?;
    let mut answer: Answer = serde_json::from_str(&text[start..=end]).map_err(|e| e.to_string())?;
    let counted = |what: &str, found: usize, expected: usize| {
        if found == expected {
            Ok(())
        } else {
            Err(format!("{found} {what}, expected {expected}"))
        }
    };
    counted("lists of frame captions", answer.frames.len(), frames)?;
    counted(
        "lists of instructions",
        answer.instructions.len(),
        frames - 1,
    )?;
    counted("lists of names", answer.names.len(), entities)?;
    let lists = answer
        .frames
        .iter_mut()
        .chain(&mut answer.instructions)
        .chain(&mut answer.names);
    for list in lists.chain([&mut answer.captions]) {
        for text in list.iter_mut() {
            *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        list.retain(|text| !text.is_empty() && text.chars().count() <= MAX_TEXT);
    }
    if answer.captions.is_empty() {
        Err("no caption, expected one or more".into())
    } else {
        Ok(answer)
    }
}

fn apply(clip: &mut Clip, answer: Answer) {
    clip.captions = answer.captions;
    clip.frame_captions = answer.frames;
    let instructions = answer.instructions.into_iter().enumerate();
    let instructions = instructions.filter(|(_, texts)| !texts.is_empty());
    clip.instructions = instructions
        .map(|(from, texts)| Instruction {
            from,
            to: from + 1,
            texts,
        })
        .collect();
    for (entity, phrases) in clip.entities.iter_mut().zip(answer.names) {
        if !phrases.is_empty() {
            entity.phrases = phrases;
        }
    }
}

/// Encodes bytes as base64 with the standard alphabet and padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for block in bytes.chunks(3) {
        let byte = |i: usize| u32::from(block.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            if i <= block.len() {
                text.push(LETTERS[(bits >> (18 - 6 * i) & 63) as usize] as char)
            } else {
                text.push('=')
            }
        }
    }
    text
}
