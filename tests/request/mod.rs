//! Builds requests from arbitrary bytes, for tests with malformed requests.

use std::sync::OnceLock;

use unireal::Error;
use unireal::Image;
use unireal::internals::request::ImageRef;
use unireal::internals::tokenizer::{MAX_TOKENS, Tokenizer};
use unireal::{Request, Role, Tag};

/// Number of bytes before the prompt.
pub(crate) const NUMBERS: usize = 16;

fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    const BYTES: &[u8] = include_bytes!("../../www/models/tabletop/tokenizer/tokenizer.json");
    TOKENIZER.get_or_init(|| Tokenizer::from_json(BYTES).expect("the shipped tokenizer"))
}

/// Checks and tokenises the request that the bytes encode: the first [`NUMBERS`] are its settings, the rest is its prompt.
/// Returns whether it is accepted. A refused request gives [`Error::Request`], and every image that an accepted one names
/// exists; otherwise it panics.
pub(crate) fn ask(data: &[u8]) -> bool {
    let Some((numbers, prompt)) = data.split_at_checked(NUMBERS) else {
        return false;
    };
    let word = |at: usize| u32::from_le_bytes(numbers[at..at + 4].try_into().expect("four bytes"));
    let mut request = Request::new(String::from_utf8_lossy(prompt));
    for k in 0..numbers[0] % 12 {
        let pixel = Image::from_rgba(1, 1, &[k, k, k, 255]).expect("a pixel");
        request = request.frame(pixel, Role::ALL[usize::from(k) % Role::ALL.len()]);
    }
    request.outputs = usize::from(numbers[1] % 12);
    request.context = (numbers[2] < 128).then(|| {
        let chosen = |(i, _): &(usize, Tag)| numbers[2] & (1 << i) != 0;
        let all = Tag::ALL.into_iter().enumerate();
        all.filter(chosen).map(|(_, tag)| tag).collect()
    });
    request.composite = numbers[3] % 2 == 0;
    // Mostly valid values, so that prompts are tested.
    let wild = numbers[15] == 0;
    let scale = |at: usize| {
        if wild {
            f32::from_bits(word(at))
        } else {
            f32::from(numbers[at]) / 2.0
        }
    };
    (request.guidance, request.image_guidance) = (Some(scale(4)), scale(8));
    request.steps = Some(if wild {
        word(12) as usize
    } else {
        usize::from(numbers[12])
    });

    let _ = request.composite_canvas();
    match request.check() {
        Err(Error::Request(_)) => return false,
        Err(other) => panic!("a request is refused with {other:?}"),
        Ok(()) => (),
    }
    let tokens = match tokenizer().encode(&request.text()) {
        Err(Error::Request(_)) => return false,
        Err(other) => panic!("a prompt is refused with {other:?}"),
        Ok(tokens) => tokens,
    };
    assert!(tokens.ids.len() <= MAX_TOKENS && tokens.ids.len() == tokens.image_refs.len());
    for word in tokens.image_refs {
        let there = match word {
            ImageRef::None => true,
            ImageRef::Input(k) => k <= request.frames.len(),
            ImageRef::Output(k) => k <= request.outputs,
        };
        assert!(there, "{word:?} is not there: {:?}", request.prompt);
    }
    true
}
