//! Text to token ids, by a Hugging Face `tokenizer.json` that holds IMG1..IMG10 and RES1..RES10 as single tokens.

use tokenizers::Tokenizer as Inner;

use crate::error::{Error, Result};
use crate::model::sequence::ImageRef;
use crate::request::MAX_IMAGES;

/// A tokenizer whose referring words were found.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Inner,
    image_refs: Vec<(u32, ImageRef)>,
}

/// One text as the encoder reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, the end of text included.
    pub ids: Vec<u32>,
    /// For each token, which image it names.
    pub image_refs: Vec<ImageRef>,
}

/// Longest text in tokens; T5 has no limit of its own, the sequence's cost is what bounds it.
pub const MAX_TOKENS: usize = 512;

impl Tokenizer {
    /// Parses `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Format`] when it cannot be parsed, or when a referring word is not a single token.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let file = "tokenizer/tokenizer.json";
        let inner = Inner::from_bytes(bytes).map_err(|e| Error::format(file, e))?;
        let mut image_refs = Vec::new();
        for k in 1..=MAX_IMAGES {
            for (image_ref, meaning) in [("IMG", ImageRef::Input(k)), ("RES", ImageRef::Output(k))]
            {
                let name = format!("{image_ref}{k}");
                let id = inner.token_to_id(&name).ok_or_else(|| {
                    Error::format(
                        file,
                        format!("holds no token {name}; IMG1..IMG10 and RES1..RES10 are needed"),
                    )
                })?;
                image_refs.push((id, meaning));
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

    /// Number of token ids.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}
