//! Error messages for invalid data sets, results folders and requests name the file and the field.

use std::path::Path;

use serde_json::{Value, json};

use super::super::*;
use super::fixtures::{
    Row, options, random_image, rows, save, write_dream_bench, write_emu_edit, write_json,
    write_magic_brush,
};
use super::{assert_contains, run_with};

/// Returns the error message of a run.
#[track_caller]
fn refused(options: &Options) -> String {
    run_with(options).unwrap_err().to_string()
}

fn emu_edit(change: impl FnOnce(&mut Vec<Row>)) -> (tempfile::TempDir, Options) {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = rows(4);
    for row in &rows {
        let path = folder.path().join(format!("results/{}.png", row.idx));
        save(path, &random_image(1, 20, 16));
    }
    change(&mut rows);
    write_emu_edit(&folder.path().join("set"), &rows);
    let options = options("emu-edit/ultraedit", folder.path());
    (folder, options)
}

#[test]
fn rows_of_emu_edit() {
    let (_folder, options) = emu_edit(|_| ());
    run_with(&options).unwrap();
    let (_folder, options) = emu_edit(|rows| rows[2].image = b"no image".to_vec());
    let file = "test-00000-of-00001-0a1b2c.parquet";
    assert_contains(&refused(&options), &[file, "row 2", "image"]);
    let (_folder, options) = emu_edit(|rows| rows[1].image.clear());
    assert_contains(&refused(&options), &["row 1", "image: no bytes"]);
    let (_folder, options) = emu_edit(|rows| rows[2].idx = 0);
    assert_contains(&refused(&options), &["id", "add-0", "twice"]);
    let (_folder, options) = emu_edit(|rows| rows[0].after = " ".into());
    assert_contains(&refused(&options), &["caption of add-0", "empty"]);
    let (_folder, options) = emu_edit(|rows| rows[3].instruction.clear());
    assert_contains(&refused(&options), &["prompt of global-3", "empty"]);
    // A truncated image.
    let (_folder, options) = emu_edit(|rows| rows[0].image.truncate(60));
    assert_contains(&refused(&options), &["inputs/add-0.png"]);

    let (folder, options) = emu_edit(|_| ());
    let other = Options {
        split: "validation".into(),
        ..options.clone()
    };
    assert_contains(&refused(&other), &["no validation-*.parquet"]);
    let path = folder.path().join("set/data").join(file);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_contains(&refused(&options), &[file]);
}

#[test]
fn folders_of_results() {
    let (folder, options) = emu_edit(|_| ());
    let result = folder.path().join("results/2.png");
    std::fs::write(&result, "no image").unwrap();
    assert_contains(&refused(&options), &["results/2.png"]);
    std::fs::remove_file(&result).unwrap();
    assert_contains(
        &refused(&options),
        &["1 of 4 results are missing", "add_2 or 2"],
    );
    save(result, &random_image(1, 20, 16));
    let other = folder.path().join("results/17.png");
    save(other.clone(), &random_image(1, 20, 16));
    let extra = "1 images belong to no case, such as 17";
    assert_contains(&refused(&options), &[extra, "expected 4"]);
    std::fs::rename(other, folder.path().join("results/2.jpg")).unwrap();
    assert_contains(&refused(&options), &["results/2.", "a second image"]);
    let nowhere = Options {
        images: Some(folder.path().join("nowhere")),
        ..options
    };
    assert_contains(&refused(&nowhere), &["nowhere"]);
}

#[test]
fn invalid_requests() {
    let (folder, options) = emu_edit(|_| ());
    let unlisted = Options {
        exclude: None,
        ..options.clone()
    };
    assert_contains(&refused(&unlisted), &["emu-edit/ultraedit", "--exclude"]);
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "add-0\nadd-1\n").unwrap();
    let unknown = Options {
        exclude: Some(list.clone()),
        ..options.clone()
    };
    assert_contains(&refused(&unknown), &["list.txt", "add-1", "such as add-0"]);
    std::fs::write(&list, "add-0\nglobal-1\nadd-2\nglobal-3\n").unwrap();
    assert_contains(&refused(&unknown), &["cases: none"]);
    let listed = Options {
        profile: "emu-edit/omnigen".into(),
        ..unknown
    };
    assert_contains(&refused(&listed), &["emu-edit/omnigen", "another profile"]);

    // A run's folder is refused for another run.
    run_with(&options).unwrap();
    let copies = folder.path().join("copies");
    std::fs::create_dir(&copies).unwrap();
    for entry in std::fs::read_dir(folder.path().join("results")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copies.join(path.file_name().unwrap())).unwrap();
    }
    let moved = Options {
        images: Some(copies),
        ..options.clone()
    };
    assert_contains(&refused(&moved), &["images of the run", "copies", "--out"]);
    let mut other = rows(4);
    other[0].instruction = "something else".into();
    write_emu_edit(&folder.path().join("set"), &other);
    assert_contains(&refused(&options), &["cases of the run"]);
    // A split of a benchmark without splits.
    let split = Options {
        split: "validation".into(),
        ..super::fixtures::options("dreambench", folder.path())
    };
    assert_contains(&refused(&split), &["dreambench", "--split validation"]);
    // Required networks that are not given.
    let blind = open(
        &options,
        Profile::named("dreambench").unwrap(),
        &HashSet::new(),
    );
    assert_contains(
        &blind.err().unwrap().to_string(),
        &["dreambench", "--backbones"],
    );
}

fn change_json(folder: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let mut value: Value = case::json(&folder.join(name)).unwrap();
    change(&mut value);
    write_json(folder, name, &value);
}

#[test]
fn files_of_magic_brush() {
    let broken = |break_it: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("set");
        write_magic_brush(&set, &[2]);
        break_it(&set);
        std::fs::create_dir(folder.path().join("results")).unwrap();
        refused(&options("magicbrush/all-turn", folder.path()))
    };
    let changed =
        |name: &str, change: &dyn Fn(&mut Value)| broken(&|set| change_json(set, name, change));
    assert_contains(
        &broken(&|_| ()),
        &["results", "2 of 2 results are missing", "139/139_1"],
    );
    let message = changed("global_descriptions.json", &|v| v["139"] = json!({}));
    assert_contains(&message, &["global_descriptions.json", "139-input.png"]);
    let message = changed("local_descriptions.json", &|v| *v = json!({}));
    assert_contains(&message, &["local_descriptions.json", "139-output1.png"]);
    let message = changed("edit_turns.json", &|v| {
        drop(v.as_array_mut().unwrap().pop())
    });
    assert_contains(&message, &["edit_turns.json", "1 turns", "expected 2"]);
    let message = changed("edit_turns.json", &|v| v[1]["instruction"] = json!("x"));
    assert_contains(&message, &["edit_turns.json", "139-output2.png"]);
    let message = changed("edit_sessions.json", &|v| v["139"][0]["input"] = json!(3));
    assert_contains(&message, &["edit_sessions.json", "expected a string"]);
    let message =
        broken(&|set| std::fs::remove_file(set.join("images/139/139-output2.png")).unwrap());
    assert_contains(&message, &["139-output2.png", "missing"]);
    let message = broken(&|set| std::fs::remove_file(set.join("edit_sessions.json")).unwrap());
    assert_contains(&message, &["edit_sessions.json"]);
}

#[test]
fn files_of_dream_bench() {
    let broken = |break_it: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("set");
        write_dream_bench(&set);
        break_it(&set);
        refused(&options("dreambench", folder.path()))
    };
    let lists = "prompts_and_classes.txt";
    let message = broken(&|set| std::fs::remove_file(set.join(lists)).unwrap());
    assert_contains(&message, &[lists]);
    let message = broken(&|set| std::fs::remove_dir_all(set.join("rex")).unwrap());
    assert_contains(&message, &["rex"]);
    let message = broken(&|set| {
        std::fs::remove_dir_all(set.join("rex")).unwrap();
        std::fs::create_dir(set.join("rex")).unwrap();
    });
    assert_contains(&message, &["rex", "images of the subject: none"]);
    let message = broken(&|set| {
        let text = std::fs::read_to_string(set.join(lists)).unwrap();
        std::fs::write(set.join(lists), text.replace("rex,dog", "mug,dog")).unwrap();
    });
    assert_contains(&message, &["\"mug-00\" occurs twice"]);
}
