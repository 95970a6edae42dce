//! Tokenises text with a Hugging Face `tokenizer.json` in which IMG1..IMG10 and RES1..RES10 are single tokens.

use tokenizers::Tokenizer as Inner;

use crate::error::{Error, Result};
use crate::request::ImageRef;
use crate::request::MAX_IMAGES;

/// A tokenizer that knows the ids of the IMGk and RESk tokens.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Inner,
    image_refs: Vec<(u32, ImageRef)>,
}

/// A tokenised text, the input of the text encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, including the end-of-text token.
    pub ids: Vec<u32>,
    /// The image that each token refers to.
    pub image_refs: Vec<ImageRef>,
}

/// Maximum number of tokens in a text. T5 has no limit of its own; this one bounds the cost of the sequence.
pub const MAX_TOKENS: usize = 512;

impl Tokenizer {
    /// Parses `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Format`] when it cannot be parsed, or when an IMGk or RESk is not a single token.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let file = "tokenizer/tokenizer.json";
        let inner = Inner::from_bytes(bytes).map_err(|e| Error::format(file, e))?;
        let mut image_refs = Vec::new();
        for k in 1..=MAX_IMAGES {
            for (prefix, image_ref) in [("IMG", ImageRef::Input(k)), ("RES", ImageRef::Output(k))] {
                let name = format!("{prefix}{k}");
                let id = inner.token_to_id(&name).ok_or_else(|| {
                    Error::format(
                        file,
                        format!("holds no token {name}; IMG1..IMG10 and RES1..RES10 are needed"),
                    )
                })?;
                image_refs.push((id, image_ref));
            }
        }
        Ok(Tokenizer { inner, image_refs })
    }

    /// # Errors
    /// [`Error::Request`] when the text is longer than [`MAX_TOKENS`].
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self
            .inner
            .encode(text, true)
            .map_err(|e| Error::Request(format!("the prompt cannot be tokenised: {e}")))?;
        let ids = encoding.get_ids().to_vec();
        if ids.len() > MAX_TOKENS {
            return Err(Error::Request(format!(
                "the prompt has {} tokens; at most {MAX_TOKENS} are read, so shorten it",
                ids.len()
            )));
        }
        let image_ref = |id| self.image_refs.iter().find(|(known, _)| *known == id);
        let image_refs = ids
            .iter()
            .map(|id| image_ref(*id).map_or(ImageRef::None, |(_, image_ref)| *image_ref))
            .collect();
        Ok(Tokens { ids, image_refs })
    }

    /// Returns the vocabulary size.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}
