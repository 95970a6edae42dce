//! Random requests with valid and invalid prompt text.

#[path = "../../../tests/request/mod.rs"]
mod request;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use request::{NUMBERS, ask};

/// Pieces of prompts: image references in every form, words, text that tokenizers treat specially, and invalid UTF-8.
const PIECES: [&[u8]; 30] = [
    b"IMG",
    b"RES",
    b"IMG1",
    b"IMG2",
    b"IMG10",
    b"RES1",
    b"RES2",
    b"RES11",
    b"IMG01",
    b"IMG99999999999999999999",
    b"img1",
    "ＩＭＧ３".as_bytes(),
    "IMG３".as_bytes(),
    "IMG\u{200d}4".as_bytes(),
    "IMG\u{ad}5".as_bytes(),
    "ＲＥＳ４".as_bytes(),
    b"0",
    b"7",
    b" ",
    b"\n\t",
    b", ",
    b"remove the red cube",
    b"<pad>",
    b"</s>",
    b"<unk>",
    b"\0",
    b"\xff\xfe",
    "é世界🦊".as_bytes(),
    "\u{202e}\u{feff}".as_bytes(),
    b"a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a ",
];

/// Set `PROMPTS=1000000` for a long run. Every run prints its random seed, to reproduce failures.
#[test]
fn what_random_requests_name_is_there() {
    let count = std::env::var("PROMPTS").map_or(20_000, |n| n.parse().expect("a number"));
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut through = 0;
    for _ in 0..count {
        let mut data: Vec<u8> = (0..NUMBERS).map(|_| rng.random()).collect();
        for _ in 0..rng.random_range(0..8) {
            data.extend(PIECES[rng.random_range(0..PIECES.len())]);
        }
        through += usize::from(ask(&data));
    }
    assert!(20 * through > count, "{through} of {count} got through");
}
