//! The layers of the runtime, checked by reading its sources: a module names only layers below its own, JavaScript, wgpu and
//! quantisation appear in their places only, and `internals` holds what this file lists.
#![cfg(not(target_arch = "wasm32"))]

use std::path::Path;

/// Modules from low to high. Modules of one layer may name one another.
const LAYERS: [&[&str]; 10] = [
    &["error"],
    &["config", "image", "noise"],
    &["request", "weights::manifest", "weights::quant"],
    &["cpu"],
    &["gpu", "tokenizer", "weights::files", "weights::source"],
    &["model", "sampler", "composite", "weights::module"],
    &["weights::load", "weights::memory", "weights::save"],
    &["pipeline"],
    &["loader"],
    &["web"],
];

/// What the tools and tests use beyond the front door.
const INTERNALS: [&str; 12] = [
    "config",
    "cpu",
    "gpu",
    "loader",
    "model",
    "noise",
    "pipeline",
    "request",
    "sampler",
    "tokenizer",
    "weights",
    "web",
];

/// A source file's path below `src/` and its text without comments.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).expect("below src").display();
            let text = std::fs::read_to_string(&path).expect("a source file");
            let lines = text
                .lines()
                .map(|line| line.split("//").next().unwrap_or(""));
            files.push((name.to_string(), lines.collect::<Vec<_>>().join("\n")));
        }
    }
    files
}

/// Unit tests may compare with layers above.
fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs")
}

/// Returns the module of a file, such as `weights::load`; `None` for module lists.
fn module(file: &str) -> Option<String> {
    let parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    match parts[..] {
        ["lib"] | ["weights", "mod"] => None,
        ["weights", name, ..] => Some(format!("weights::{name}")),
        [name, ..] => Some(name.to_owned()),
        [] => None,
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Returns the modules that a text names by `crate::`.
fn named(text: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        let letters = text.chars();
        letters
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let names = text.split("crate::").skip(1).map(|rest| {
        let first = word(rest);
        match rest.strip_prefix("weights::") {
            Some(rest) => format!("weights::{}", word(rest)),
            None => first,
        }
    });
    names.collect()
}

#[test]
fn modules_name_only_layers_below() {
    for (file, text) in sources() {
        let Some(module) = module(&file).filter(|_| !is_test(&file)) else {
            continue;
        };
        let own = layer(&module).unwrap_or_else(|| panic!("{file}: {module} has no layer"));
        for other in named(&text) {
            // Items of the crate's root, such as `crate::Error`.
            let Some(others) = layer(&other) else {
                assert!(other.starts_with(char::is_uppercase), "{file}: {other}");
                continue;
            };
            assert!(others <= own, "{file}: {module} imports {other} from above");
        }
    }
}

/// Each name with the modules that may use it.
#[test]
fn names_stay_in_their_places() {
    let places: [(&str, &[&str]); 7] = [
        ("js_sys", &["web"]),
        ("wasm_bindgen", &["web"]),
        ("web_sys", &["web"]),
        ("wgpu::", &["gpu"]),
        ("include_str!", &["gpu"]),
        (
            "Encoding::Q8",
            &[
                "gpu",
                "cpu",
                "model",
                "weights::quant",
                "weights::manifest",
                "weights::load",
                "weights::module",
                "weights::memory",
                "weights::save",
            ],
        ),
        (
            "std::fs",
            &["config", "image", "weights::files", "weights::save", "cpu"],
        ),
    ];
    for (file, text) in sources() {
        let Some(module) = module(&file).filter(|_| !is_test(&file)) else {
            continue;
        };
        for (name, allowed) in places {
            assert!(
                !text.contains(name) || allowed.contains(&module.as_str()),
                "{file} names {name}, which only {allowed:?} may"
            );
        }
    }
}

#[test]
fn internals_are_those_listed() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"));
    let text = text.expect("src/lib.rs");
    let (_, inside) = text.split_once("pub mod internals {").expect("internals");
    let mut found: Vec<&str> = inside
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(" {"))
        .collect();
    found.sort_unstable();
    let mut listed = INTERNALS;
    listed.sort_unstable();
    assert_eq!(found, listed);
}
