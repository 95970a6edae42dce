//! The small packs' tokenizer: byte-pair merges learnt from the world's own wording, so that its words become single
//! tokens while any other text still has letters to fall back to. Large packs bring T5's tokenizer instead.

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, PostProcessorWrapper, TokenizerBuilder, TokenizerImpl,
};

use crate::error::{Error, Result};
use crate::request::MAX_IMAGES;

/// `tokenizer.json` for `texts`, with at most `size` token ids: padding 0, end of text 1, unknown 2, then IMG1..IMG10 and
/// RES1..RES10, then letters and merges.
///
/// # Errors
/// [`Error::Internal`] when the tokenizers crate refuses, which no text should make it do.
pub fn vocabulary(texts: &[String], size: usize) -> Result<String> {
    let internal = |e: tokenizers::Error| Error::Internal(format!("training the tokenizer: {e}"));
    let mut special: Vec<String> = ["<pad>", "</s>", "<unk>"].map(String::from).to_vec();
    for word in ["IMG", "RES"] {
        special.extend((1..=MAX_IMAGES).map(|k| format!("{word}{k}")));
    }
    // Case carries no meaning here, except in the referring words, which are cut out before the text is lowered.
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
    use crate::model::sequence::Word;
    use crate::tokenizer::Tokenizer;

    #[test]
    fn known_words_are_one_token_and_unknown_ones_still_encode() {
        let texts = vec!["remove the red cube from IMG1".to_string(); 3];
        let json = vocabulary(&texts, 256).unwrap();
        let tokenizer = Tokenizer::from_json(json.as_bytes()).unwrap();
        assert!(tokenizer.size() <= 256);
        let tokens = tokenizer.encode("Remove the RED cube from IMG1").unwrap();
        assert_eq!(tokens.ids.len(), 7); // six words and the end
        assert_eq!(tokens.words[5], Word::Input(1));
        assert_eq!(tokens.words[4], Word::Plain);
        let unknown = tokenizer.encode("zebra, IMG10!").unwrap();
        assert!(unknown.words.contains(&Word::Input(10)));
        assert!(!unknown.ids.contains(&2), "{:?}", unknown.ids);
    }
}
