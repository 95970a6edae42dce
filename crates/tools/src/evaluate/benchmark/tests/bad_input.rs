//! Error messages for invalid data sets, results folders and requests name the file and the field.

use std::path::Path;

use serde_json::{Value, json};

use super::super::*;
use super::fixtures::{
    Row, options, picture, rows, save, write_dream_bench, write_emu_edit, write_json,
    write_magic_brush,
};
use super::{run_with, says};

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
        save(path, &picture(1, 20, 16));
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
    let (_folder, options) = emu_edit(|rows| rows[2].image = b"no picture".to_vec());
    let file = "test-00000-of-00001-0a1b2c.parquet";
    says(&refused(&options), &[file, "row 2", "image"]);
    let (_folder, options) = emu_edit(|rows| rows[1].image.clear());
    says(&refused(&options), &["row 1", "image has no bytes"]);
    let (_folder, options) = emu_edit(|rows| rows[2].idx = 0);
    says(&refused(&options), &["id", "add-0", "twice"]);
    let (_folder, options) = emu_edit(|rows| rows[0].after = " ".into());
    says(&refused(&options), &["caption of add-0", "empty"]);
    let (_folder, options) = emu_edit(|rows| rows[3].instruction.clear());
    says(&refused(&options), &["prompt of global-3", "empty"]);
    // A truncated image.
    let (_folder, options) = emu_edit(|rows| rows[0].image.truncate(60));
    says(&refused(&options), &["inputs/add-0.png"]);

    let (folder, options) = emu_edit(|_| ());
    let other = Options {
        split: "validation".into(),
        ..options.clone()
    };
    says(&refused(&other), &["no validation-*.parquet"]);
    let path = folder.path().join("set/data").join(file);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    says(&refused(&options), &[file]);
}

#[test]
fn folders_of_results() {
    let (folder, options) = emu_edit(|_| ());
    let result = folder.path().join("results/2.png");
    std::fs::write(&result, "no picture").unwrap();
    says(&refused(&options), &["results/2.png"]);
    std::fs::remove_file(&result).unwrap();
    says(
        &refused(&options),
        &["1 of 4 results are missing", "add_2 or 2"],
    );
    save(result, &picture(1, 20, 16));
    let other = folder.path().join("results/17.png");
    save(other.clone(), &picture(1, 20, 16));
    let left = "1 pictures belong to no case, such as 17";
    says(&refused(&options), &[left, "4 were expected"]);
    std::fs::rename(other, folder.path().join("results/2.jpg")).unwrap();
    says(&refused(&options), &["results/2.", "there is also"]);
    let nowhere = Options {
        images: Some(folder.path().join("nowhere")),
        ..options
    };
    says(&refused(&nowhere), &["nowhere"]);
}

#[test]
fn requests_that_cannot_be_right() {
    let (folder, options) = emu_edit(|_| ());
    let unlisted = Options {
        exclude: None,
        ..options.clone()
    };
    says(&refused(&unlisted), &["emu-edit/ultraedit", "--exclude"]);
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "add-0\nadd-1\n").unwrap();
    let unknown = Options {
        exclude: Some(list.clone()),
        ..options.clone()
    };
    says(&refused(&unknown), &["list.txt", "add-1", "named as add-0"]);
    std::fs::write(&list, "add-0\nglobal-1\nadd-2\nglobal-3\n").unwrap();
    says(&refused(&unknown), &["cases", "there are none"]);
    let listed = Options {
        profile: "emu-edit/omnigen".into(),
        ..unknown
    };
    says(&refused(&listed), &["emu-edit/omnigen", "another profile"]);

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
    says(&refused(&moved), &["another images", "copies", "--out"]);
    let mut other = rows(4);
    other[0].instruction = "something else".into();
    write_emu_edit(&folder.path().join("set"), &other);
    says(&refused(&options), &["another cases"]);
    // Required networks that are not given.
    let blind = open(
        &options,
        Profile::named("dreambench").unwrap(),
        &HashSet::new(),
    );
    says(
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
    says(
        &broken(&|_| ()),
        &["results", "2 of 2 results are missing", "139/139_1"],
    );
    let said = changed("global_descriptions.json", &|v| v["139"] = json!({}));
    says(&said, &["global_descriptions.json", "139-input.png"]);
    let said = changed("local_descriptions.json", &|v| *v = json!({}));
    says(&said, &["local_descriptions.json", "139-output1.png"]);
    let said = changed("edit_turns.json", &|v| {
        drop(v.as_array_mut().unwrap().pop())
    });
    says(&said, &["edit_turns.json", "1 turns", "has 2"]);
    let said = changed("edit_turns.json", &|v| v[1]["instruction"] = json!("x"));
    says(&said, &["edit_turns.json", "139-output2.png"]);
    let said = changed("edit_sessions.json", &|v| v["139"][0]["input"] = json!(3));
    says(&said, &["edit_sessions.json", "expected a string"]);
    let said = broken(&|set| std::fs::remove_file(set.join("images/139/139-output2.png")).unwrap());
    says(&said, &["139-output2.png", "missing"]);
    let said = broken(&|set| std::fs::remove_file(set.join("edit_sessions.json")).unwrap());
    says(&said, &["edit_sessions.json"]);
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
    let said = broken(&|set| std::fs::remove_file(set.join(lists)).unwrap());
    says(&said, &[lists]);
    let said = broken(&|set| std::fs::remove_dir_all(set.join("rex")).unwrap());
    says(&said, &["rex"]);
    let said = broken(&|set| {
        std::fs::remove_dir_all(set.join("rex")).unwrap();
        std::fs::create_dir(set.join("rex")).unwrap();
    });
    says(&said, &["rex", "no pictures of the subject"]);
    let said = broken(&|set| {
        let text = std::fs::read_to_string(set.join(lists)).unwrap();
        std::fs::write(set.join(lists), text.replace("rex,dog", "mug,dog")).unwrap();
    });
    says(&said, &["\"mug-00\" is there twice"]);
}
