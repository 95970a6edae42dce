//! Trains the tokenizer of small packs: byte-pair merges learnt from the samples' texts, so that their words become single
//! tokens, while other text falls back to letters. Large packs bring T5's tokenizer instead.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, PostProcessorWrapper, TokenizerBuilder, TokenizerImpl,
};

use super::checkpoint;
use super::data::list;
use crate::data::shard;
use unireal::internals::request::{self, MAX_IMAGES};
use unireal::internals::tokenizer::Tokenizer;
use unireal::{Error, Result};

/// Approximate number of texts on which the tokenizer is trained.
const CORPUS_TEXTS: usize = 20_000;

/// Reads the run's tokenizer. If it is missing, trains and writes one of at most `size` ids on the texts of the current shards, with
/// about as many texts from each shard.
///
/// # Errors
/// [`Error::Format`] for a file that cannot be read or written, [`Error::Request`] when there is no text to learn from.
pub(super) fn read_or_train(run: &Path, patterns: &[PathBuf], size: usize) -> Result<Tokenizer> {
    let path = run.join("tokenizer/tokenizer.json");
    if !path.exists() {
        let json = vocabulary(&corpus(patterns)?, size)?;
        checkpoint::write(&path, json.as_bytes())?;
    }
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    Tokenizer::from_json(&bytes)
}

/// Collects texts of the shards, about [`CORPUS_TEXTS`] in total.
fn corpus(patterns: &[PathBuf]) -> Result<Vec<String>> {
    let shards = list(patterns)?;
    let per_shard = CORPUS_TEXTS / shards.len().max(1) + 1;
    let mut texts = Vec::new();
    for path in shards {
        let Ok(samples) = shard::encoded(&path) else {
            continue; // The thread that reads the samples reports it.
        };
        let found = samples.filter_map(Result::ok).flat_map(|sample| {
            let texts = sample.prompts.iter();
            let texts = texts.map(|prompt| request::text(&sample.context, prompt));
            texts.collect::<Vec<_>>()
        });
        texts.extend(found.take(per_shard));
    }
    if texts.is_empty() {
        Err(Error::Request(
            "training the tokenizer: the shards hold no text, expected 1 or more".into(),
        ))
    } else {
        Ok(texts)
    }
}

/// Trains a tokenizer on `texts` and returns its `tokenizer.json`, with at most `size` token ids: padding 0, end of text 1,
/// unknown 2, then IMG1..IMG10 and RES1..RES10, then letters and merges.
///
/// # Errors
/// [`Error::Internal`] when the tokenizers crate fails, which no text should cause.
pub fn vocabulary(texts: &[String], size: usize) -> Result<String> {
    let internal = |e: tokenizers::Error| Error::Internal(format!("training the tokenizer: {e}"));
    let mut special: Vec<String> = ["<pad>", "</s>", "<unk>"].map(String::from).to_vec();
    for word in ["IMG", "RES"] {
        special.extend((1..=MAX_IMAGES).map(|k| format!("{word}{k}")));
    }
    // Text is lowercased, except special tokens such as IMG1, which are matched before normalisation.
    let special: Vec<AddedToken> = special
        .into_iter()
        .map(|word| AddedToken::from(word, true).normalized(false))
        .collect();
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(size)
        .min_frequency(1)
        .special_tokens(special.clone())
        .initial_alphabet((' '..='~').filter(|c| !c.is_ascii_uppercase()).collect())
        .build();
    let model = BPE::builder()
        .unk_token("<unk>".into())
        .build()
        .map_err(internal)?;
    let end = TemplateProcessing::builder()
        .try_single("$A </s>")
        .and_then(|builder| builder.try_pair("$A </s> $B </s>"))
        .map_err(|e| Error::Internal(format!("the tokenizer's template: {e}")))?
        .special_tokens(vec![("</s>", 1)])
        .build()
        .map_err(|e| Error::Internal(format!("the tokenizer's template: {e}")))?;
    let mut tokenizer: TokenizerImpl<
        BPE,
        Lowercase,
        Whitespace,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerBuilder::new()
        .with_model(model)
        .with_normalizer(Some(Lowercase))
        .with_pre_tokenizer(Some(Whitespace {}))
        .with_post_processor(Some(PostProcessorWrapper::Template(end)))
        .with_decoder(None)
        .build()
        .map_err(internal)?;
    tokenizer
        .train(&mut trainer, texts.iter().cloned())
        .map_err(internal)?;
    tokenizer.to_string(true).map_err(internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unireal::internals::request::ImageRef;

    /// Every printable ASCII character encodes without the unknown token, alone and beside others.
    #[test]
    fn all_printable_letters_encode() {
        let json = vocabulary(&["a red cube".into()], 128).unwrap();
        let tokenizer = Tokenizer::from_json(json.as_bytes()).unwrap();
        let all: String = (' '..='~').collect();
        for text in (' '..='~').map(String::from).chain([all]) {
            let tokens = tokenizer.encode(&text).unwrap();
            assert!(!tokens.ids.contains(&2), "{text:?}: {:?}", tokens.ids);
        }
    }

    #[test]
    fn known_words_are_one_token_and_unknown_ones_still_encode() {
        let texts = vec!["remove the red cube from IMG1".to_string(); 3];
        let json = vocabulary(&texts, 256).unwrap();
        let tokenizer = Tokenizer::from_json(json.as_bytes()).unwrap();
        assert!(tokenizer.size() <= 256);
        let tokens = tokenizer.encode("Remove the RED cube from IMG1").unwrap();
        assert_eq!(tokens.ids.len(), 7); // six words and the end
        assert_eq!(tokens.image_refs[5], ImageRef::Input(1));
        assert_eq!(tokens.image_refs[4], ImageRef::None);
        let unknown = tokenizer.encode("zebra, IMG10!").unwrap();
        assert!(unknown.image_refs.contains(&ImageRef::Input(10)));
        assert!(!unknown.ids.contains(&2), "{:?}", unknown.ids);
    }
}
