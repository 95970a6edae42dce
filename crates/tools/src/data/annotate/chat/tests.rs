use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::*;
use crate::data::Entity;
use crate::data::fit::Fit;
use unireal::Error;
use unireal::Image;

/// How the test server treats a connection.
#[derive(Clone)]
enum Act {
    Answer(u16, &'static str, String),
    Stall,
    HangUp,
    /// Declares more bytes than it sends.
    Cut,
}

/// A request as received by the server: the header and the JSON.
type Seen = (String, Value);

fn serve(acts: Vec<Act>) -> (String, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let (sender, seen) = channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for act in acts {
            let (stream, _) = listener.accept().unwrap();
            let _ = sender.send(read(&stream));
            let mut stream = stream;
            match act {
                Act::Answer(status, headers, body) => {
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all((head + &body).as_bytes());
                }
                Act::Stall => held.push(stream),
                Act::HangUp => drop(stream),
                Act::Cut => {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"choices\"");
                }
            }
        }
    });
    (url, seen)
}

fn read(stream: &TcpStream) -> Seen {
    let mut reader = BufReader::new(stream);
    let (mut header, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        header += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (header, serde_json::from_slice(&body).unwrap())
}

fn good() -> Act {
    let answer = json!({
        "captions": ["a ball  rolls"], "frames": [["a ball on the left"], ["a ball on the right"]],
        "instructions": [["move the ball to the right"]], "things": [["the ball"]],
    });
    let content = format!("Here you are:\n```json\n{answer}\n```");
    let body = json!({"choices": [{"message": {"content": content}}]});
    Act::Answer(200, "", body.to_string())
}

fn shot() -> Shot<'static> {
    let frame = |value| Image::from_rgb(20, 10, vec![value; 600]).unwrap();
    let mask: Vec<bool> = (0..200).map(|i| i % 20 < 10 && i / 20 >= 5).collect();
    let clip = Clip {
        frames: vec![frame(7), frame(90)],
        numbers: vec![0, 5],
        entities: vec![Entity {
            phrases: vec!["the moving object".into()],
            masks: vec![mask; 2],
        }],
        ..Clip::default()
    };
    let fit = Fit {
        source: (20, 10),
        scaled: (20, 10),
        size: (20, 10),
    };
    Shot {
        clip,
        video: "v",
        fit,
    }
}

fn chat(url: &str, cache: &Path) -> Chat {
    let settings = Settings {
        key: Some("secret".into()),
        limit: Duration::from_millis(400),
        tries: 7,
        pause: Duration::from_millis(5),
        ..Settings::new(url, "some-model").unwrap()
    };
    Chat::new(settings, cache)
}

#[test]
fn a_faulty_endpoint_is_asked_again_and_its_answer_is_cached() {
    let garbage = json!({"choices": [{"message": {"content": "{\"captions\": 7}"}}]}).to_string();
    let (url, seen) = serve(vec![
        Act::Answer(429, "Retry-After: 1\r\n", "slow down".into()),
        Act::Answer(500, "", "oops".into()),
        Act::Answer(200, "", "<html>not JSON</html>".into()),
        Act::Answer(200, "", garbage),
        Act::Stall,
        Act::Cut,
        good(),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let chat = chat(&url, cache.path());
    let started = Instant::now();
    let mut first = shot();
    chat.annotate(&mut first, &mut Counts::default()).unwrap();
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(1400),
        "Retry-After and the stall were not waited for: {took:?}"
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(first.clip.captions, ["a ball rolls"]);
    assert_eq!(first.clip.frame_captions[1], ["a ball on the right"]);
    assert_eq!(
        (
            first.clip.instructions[0].from,
            first.clip.instructions[0].to
        ),
        (0, 1)
    );
    assert_eq!(first.clip.entities[0].phrases, ["the ball"]);
    let requests: Vec<Seen> = seen.try_iter().collect();
    assert_eq!(requests.len(), 7);
    for (header, body) in &requests {
        assert!(header.starts_with("POST /v1/chat/completions "), "{header}");
        assert!(
            header
                .to_lowercase()
                .contains("authorization: bearer secret"),
            "{header}"
        );
        assert_eq!(body["model"], "some-model");
        let content = body["messages"][0]["content"].as_array().unwrap();
        assert_eq!(content.len(), 3);
        let text = content[0]["text"].as_str().unwrap();
        assert!(
            text.contains("from 0 % to 50 % of the width and from 50 % to 100 % of the height"),
            "{text}"
        );
        let url = content[1]["image_url"]["url"].as_str().unwrap();
        let expected = base64(&shot().clip.frames[0].to_png().unwrap());
        assert_eq!(url, format!("data:image/png;base64,{expected}"));
    }
    // The server is gone by now; the answer comes from the cache.
    let mut again = shot();
    chat.annotate(&mut again, &mut Counts::default()).unwrap();
    assert_eq!(again.clip.captions, first.clip.captions);
    let cached = std::fs::read_dir(cache.path())
        .unwrap()
        .map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap());
    assert!(cached.collect::<String>().find("secret").is_none());
}

#[test]
fn a_refusal_is_final_and_a_dead_endpoint_is_given_up() {
    let (url, seen) = serve(vec![Act::Answer(
        401,
        "",
        "{\"error\": \"wrong key\"}".into(),
    )]);
    let cache = tempfile::tempdir().unwrap();
    let refused = chat(&url, cache.path()).annotate(&mut shot(), &mut Counts::default());
    let error = refused.unwrap_err();
    assert!(
        matches!(error, Error::Network { .. }) && error.to_string().contains("401"),
        "{error}"
    );
    assert!(error.to_string().contains("wrong key") && !error.to_string().contains("secret"));
    assert_eq!(seen.iter().count(), 1);
    let dead = chat(&url, cache.path());
    for _ in 0..MAX_FAILURES {
        let error = dead
            .annotate(&mut shot(), &mut Counts::default())
            .unwrap_err();
        assert!(error.to_string().contains("after 7 tries"), "{error}");
    }
    let started = Instant::now();
    let error = dead
        .annotate(&mut shot(), &mut Counts::default())
        .unwrap_err();
    assert!(error.to_string().contains("in a row"), "{error}");
    assert!(started.elapsed() < Duration::from_millis(100));
}

const MAX_FAILURES: usize = 3;

#[test]
fn an_endpoint_that_hangs_up_for_ever_is_an_error_in_bounded_time() {
    let (url, seen) = serve(vec![Act::HangUp; 7]);
    let cache = tempfile::tempdir().unwrap();
    let error = chat(&url, cache.path())
        .annotate(&mut shot(), &mut Counts::default())
        .unwrap_err();
    assert!(error.to_string().contains("tries"), "{error}");
    assert_eq!(seen.iter().count(), 7);
    let nonsense =
        chat("not an address", cache.path()).annotate(&mut shot(), &mut Counts::default());
    assert!(nonsense.is_err());
}

#[test]
fn answers_that_do_not_fit_the_question_are_refused() {
    let parse = |text: &str| parse(text, 2, 0).map(|_| ()).unwrap_err();
    for (text, expected) in [
        ("no", "no JSON object"),
        ("} {", "no JSON object"),
        (
            r#"{"captions": [], "frames": [[], []], "instructions": [[]]}"#,
            "no caption",
        ),
        (
            r#"{"captions": ["a"], "frames": [[]], "instructions": [[]]}"#,
            "1 lists of frame captions, expected 2",
        ),
        (
            r#"{"captions": ["a"], "frames": [[], []], "instructions": []}"#,
            "0 lists of instructions, expected 1",
        ),
        (
            r#"{"captions": ["a"], "frames": [[], []], "instructions": [[]], "things": [[]]}"#,
            "1 lists of names, expected 0",
        ),
        (r#"{"captions": "a"}"#, "invalid type"),
    ] {
        let error = parse(text);
        assert!(error.contains(expected), "{error}");
    }
}

/// The test vectors of RFC 4648.
#[test]
fn base64_is_that_of_the_standard() {
    for (plain, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64(plain.as_bytes()), text);
    }
}

#[test]
fn a_key_that_is_not_text_is_refused() {
    assert_eq!(key(Ok("secret".into())).unwrap().as_deref(), Some("secret"));
    assert_eq!(key(Ok(String::new())).unwrap(), None);
    assert_eq!(key(Err(VarError::NotPresent)).unwrap(), None);
    let error = key(Err(VarError::NotUnicode("x".into()))).unwrap_err();
    assert!(matches!(error, Error::Request(_)), "{error}");
    assert!(error.to_string().contains("OPENAI_API_KEY"), "{error}");
}
