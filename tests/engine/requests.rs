//! Parsing of valid and invalid requests from pages.

use unireal::internals::web::request::parse;
use unireal::{Method, Role, Tag};
use wasm_bindgen_test::*;

use super::support::run;

#[wasm_bindgen_test]
fn every_field_arrives() {
    let request = parse(&run(
        r#"{
            prompt: "make IMG1 blue", context: ["synthetic style"], width: 64, height: 128, outputs: 2, steps: 7,
            method: "heun", guidance: 3.5, imageGuidance: 1.5, composite: false, seed: 2 ** 53 - 1, previewEvery: 4,
            images: [
                { width: 2, height: 1, data: new Uint8Array([1, 2, 3, 255, 9, 9, 9, 0]), role: "canvas" },
                { width: 1, height: 1, data: new Uint8ClampedArray([0, 0, 7, 8, 9, 255]).subarray(2), role: "asset" },
            ],
        }"#,
    ))
    .unwrap();
    request.check().unwrap();
    assert_eq!(request.prompt, "make IMG1 blue");
    assert_eq!(request.context, Some(vec![Tag::SyntheticStyle]));
    assert_eq!(request.size, Some((64, 128)));
    assert_eq!((request.outputs, request.steps), (2, Some(7)));
    assert_eq!(request.method, Method::Heun);
    assert_eq!((request.guidance, request.image_guidance), (Some(3.5), 1.5));
    assert!(!request.composite);
    assert_eq!((request.seed, request.preview_every), ((1 << 53) - 1, 4));
    let [canvas, asset] = request.frames.as_slice() else {
        panic!("{} frames", request.frames.len());
    };
    assert_eq!((canvas.role, asset.role), (Role::Canvas, Role::Asset));
    // Transparent pixels become white.
    assert_eq!(canvas.image.rgb, [1, 2, 3, 255, 255, 255]);
    assert_eq!(asset.image.rgb, [7, 8, 9]);
}

#[wasm_bindgen_test]
fn what_is_left_out_has_the_defaults_of_a_request() {
    let request = parse(&run(
        r#"{ prompt: "a cube", context: null, width: undefined }"#,
    ))
    .unwrap();
    let default = unireal::Request::new("a cube");
    assert_eq!(format!("{request:?}"), format!("{default:?}"));
}

#[wasm_bindgen_test]
fn a_wrong_field_is_named_with_what_it_holds_and_what_it_should_hold() {
    let image = "{ width: 1, height: 1, data: new Uint8Array(4), role: 'canvas' }";
    let table = [
        ("null", "the request is null, expected an object"),
        ("'remove'", "the request is \"remove\""),
        ("{ prompt: 5 }", "prompt is 5, expected a text"),
        (
            "{ context: 'static' }",
            "context is \"static\", expected an array",
        ),
        ("{ context: [3] }", "context is 3"),
        ("{ context: ['sunny'] }", "unknown context tag \"sunny\""),
        ("{ width: 64 }", "width and height come together"),
        (
            "{ width: -1, height: 64 }",
            "width is -1, expected a whole number",
        ),
        ("{ width: 64, height: 1e300 }", "height is 1"),
        (
            "{ outputs: 1.5 }",
            "outputs is 1.5, expected a whole number",
        ),
        (
            "{ steps: '20' }",
            "steps is \"20\", expected a finite number",
        ),
        ("{ steps: NaN }", "steps is NaN"),
        ("{ guidance: Infinity }", "guidance is inf"),
        ("{ composite: 1 }", "composite is 1"),
        ("{ imageGuidance: {} }", "imageGuidance is of type object"),
        (
            "{ seed: 2 ** 53 }",
            "seed is 9007199254740992, expected a whole number",
        ),
        ("{ seed: 5n }", "seed is of type bigint"),
        ("{ previewEvery: true }", "previewEvery is of type boolean"),
        ("{ method: 'rk4' }", "unknown sampler \"rk4\""),
        (
            "{ images: {} }",
            "images is of type object, expected an array",
        ),
        ("{ images: [7] }", "IMG1 is 7, expected an object"),
        (
            "{ images: [{}] }",
            "IMG1's role is missing, expected canvas, asset or control",
        ),
        (
            "{ images: [{ role: 'mask' }] }",
            "unknown image role \"mask\"",
        ),
        ("{ images: [{ role: 'asset' }] }", "IMG1's width is missing"),
        (
            "{ images: [{ role: 'asset', width: 0 }] }",
            "IMG1's width is 0",
        ),
        (
            "{ images: [{ role: 'asset', width: 9000 }] }",
            "IMG1's width is 9000",
        ),
        (
            "{ images: [{ role: 'asset', width: 1, height: 1, data: [1, 2, 3, 4] }] }",
            "IMG1's data is an array, expected a Uint8Array",
        ),
        (
            "{ images: [{ role: 'asset', width: 8000, height: 8000, data: new Uint8Array(3) }] }",
            "IMG1's data holds 3 bytes; 8000x8000 pixels of RGBA are 256000000",
        ),
        (
            "{ get prompt() { throw new Error('mine'); } }",
            "prompt cannot be read: mine",
        ),
        (
            "{ images: new Array(4000000) }",
            "images holds 4000000; at most 10",
        ),
        (&format!("{{ images: [{image}, 3] }}"), "IMG2 is 3"),
    ];
    for (source, expected) in table {
        let error = parse(&run(source)).unwrap_err();
        assert_eq!(error.code(), "request", "{source}: {error}");
        let message = error.to_string();
        assert!(message.contains(expected), "{source}: {message}");
    }
}
