//! DreamBench as published by google/dreambooth: `prompts_and_classes.txt` and one folder of images per subject; and
//! DreamBench++: `images/.../<n>.jpg` and `captions/.../<n>.txt`, whose first line is the subject.
//!
//! DreamBench has no public evaluation code and so no results layout; this module uses `<subject>/<n>`, with the prompt number
//! n from 00. DreamBench++ results are `<category>_<n>_<subject>/<prompt>_0`.

use std::path::{Path, PathBuf};

use super::case::{Case, Cases, Input, id, is_image};
use crate::data::shard::sorted_entries;
use unireal::Role;
use unireal::{Error, Result};

/// Classes of live subjects. The file has two lists of prompts but does not assign subjects to them; the paper counts 9 live
/// subjects of 30, which are those of these classes.
const LIVE: [&str; 2] = ["cat", "dog"];

/// Contents of `prompts_and_classes.txt`.
#[derive(Debug, Default, PartialEq)]
struct Lists {
    /// Subjects with their classes.
    subjects: Vec<(String, String)>,
    /// Prompts with `{0}` for the token and `{1}` for the class.
    objects: Vec<String>,
    live: Vec<String>,
}

/// Loads the cases of DreamBench: every subject with every prompt.
///
/// # Errors
/// [`Error::Format`] with the file and the field.
pub(super) fn load(data: &Path) -> Result<Cases> {
    let file = data.join("prompts_and_classes.txt");
    let name = file.display().to_string();
    let text = std::fs::read_to_string(&file).map_err(|e| Error::format(&name, e))?;
    let lists = parse(&text).map_err(|reason| Error::format(&name, reason))?;
    let mut cases = Vec::new();
    for (subject, class) in &lists.subjects {
        let folder = data.join(subject);
        let images: Vec<PathBuf> = sorted_entries(&folder)?
            .into_iter()
            .filter(|path| is_image(path))
            .collect();
        let Some(first) = images.first() else {
            return Err(Error::format(
                folder.display().to_string(),
                "images of the subject: none, expected at least one",
            ));
        };
        let prompts = if LIVE.contains(&class.as_str()) {
            &lists.live
        } else {
            &lists.objects
        };
        for (i, prompt) in prompts.iter().enumerate() {
            cases.push(Case {
                id: id(&[subject, &format!("{i:02}")]),
                group: subject.clone(),
                names: vec![format!("{subject}/{i:02}"), format!("{subject}/{i}")],
                prompt: prompt.replace("{0} {1}", &format!("{class} of IMG1")),
                input: Input::File(first.clone()),
                role: Role::Asset,
                references: images.clone(),
                change: None,
                // Without the rare token, which CLIP does not know.
                caption: prompt.replace("{0} {1}", class),
                is_scored: true,
            });
        }
    }
    Cases::from(cases).check(data)
}

/// Parses the file, which mixes a table with Python code.
fn parse(text: &str) -> std::result::Result<Lists, String> {
    let mut lists = Lists::default();
    let mut heading = "";
    for line in text.lines().map(str::trim) {
        if matches!(
            line,
            "Classes" | "Prompts" | "Object Prompts" | "Live Subject Prompts"
        ) {
            heading = line;
            continue;
        }
        if heading == "Classes" {
            match line.split_once(',') {
                Some(("subject_name", _)) | None => {}
                Some((subject, class)) => lists.subjects.push((subject.into(), class.into())),
            }
        } else if let Some(quoted) = line.strip_prefix('\'') {
            let prompt = quoted.split('\'').next().unwrap_or_default();
            if !prompt.contains("{0} {1}") {
                return Err(format!(
                    "prompt: \"{prompt}\", expected {{0}} {{1}} for token and class"
                ));
            }
            match heading {
                "Object Prompts" => lists.objects.push(prompt.into()),
                "Live Subject Prompts" => lists.live.push(prompt.into()),
                other => {
                    return Err(format!(
                        "heading of a prompt: \"{other}\", expected \"Object Prompts\" or \"Live Subject Prompts\""
                    ));
                }
            }
        }
    }
    for (what, count) in [
        ("subjects under \"Classes\"", lists.subjects.len()),
        ("prompts under \"Object Prompts\"", lists.objects.len()),
        ("prompts under \"Live Subject Prompts\"", lists.live.len()),
    ] {
        if count == 0 {
            return Err(format!("no {what}, expected at least one"));
        }
    }
    Ok(lists)
}

/// Loads the cases of DreamBench++.
///
/// # Errors
/// [`Error::Format`] with the file and the field.
pub(super) fn load_plus(data: &Path) -> Result<Cases> {
    let (images, captions) = (data.join("images"), data.join("captions"));
    let image_paths = below(&images, "jpg")?;
    let caption_paths = below(&captions, "txt")?;
    let unpaired = image_paths
        .iter()
        .find(|path| !caption_paths.contains(path));
    let unpaired = unpaired.or_else(|| {
        caption_paths
            .iter()
            .find(|path| !image_paths.contains(path))
    });
    if let Some(path) = unpaired {
        let reason = format!(
            "{}: one file, expected both images/X.jpg and captions/X.txt",
            path.display()
        );
        return Err(Error::format(data.display().to_string(), reason));
    }
    let mut cases = Vec::new();
    for path in image_paths {
        let file = captions.join(&path).with_extension("txt");
        let caption = std::fs::read_to_string(&file).map_err(|e| Error::io(&file, e))?;
        let mut lines = caption.lines().map(str::trim);
        let subject = lines.next().unwrap_or_default().to_owned();
        let text = |name: Option<&std::ffi::OsStr>| {
            name.unwrap_or_default().to_string_lossy().into_owned()
        };
        let category = text(path.parent().and_then(Path::file_name));
        let category = match category.as_str() {
            "animal" | "human" => format!("live_subject_{category}"),
            _ => category,
        };
        let index = text(path.file_name());
        let group = [
            &*category,
            &index,
            &subject.to_lowercase().replace(' ', "_"),
        ]
        .join("_");
        let image = images.join(&path).with_extension("jpg");
        for (i, prompt) in lines.enumerate() {
            cases.push(Case {
                id: id(&[&group, &i.to_string()]),
                group: group.clone(),
                names: vec![format!("{group}/{i}_0"), format!("{group}/{i}")],
                prompt: of_image(prompt, &subject),
                input: Input::File(image.clone()),
                role: Role::Asset,
                references: vec![image.clone()],
                change: None,
                caption: prompt.into(),
                is_scored: true,
            });
        }
    }
    Cases::from(cases).check(data)
}

/// Inserts `of IMG1` after the first mention of the subject; a prompt that does not mention the subject gets it appended.
fn of_image(prompt: &str, subject: &str) -> String {
    if !subject.is_empty() && prompt.contains(subject) {
        prompt.replacen(subject, &format!("{subject} of IMG1"), 1)
    } else {
        format!("{prompt}, with the {subject} of IMG1")
    }
}

/// Returns the files with this extension below a folder, as sorted relative paths without extension.
fn below(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(at) = folders.pop() {
        for path in sorted_entries(&at)? {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let inside = path.strip_prefix(folder).unwrap_or(&path);
                found.push(inside.with_extension(""));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_format_is_parsed() {
        let text = "Classes\n\nsubject_name,class\nmug,cup\nrex,dog\n\nPrompts\n\nObject Prompts\n\nprompt_list = [\n\
                    'a {0} {1} in the sea'.format(unique_token, class_token),\n]\n\nLive Subject Prompts\n\nprompt_list = [\n\
                    'a {0} {1} in a hat'.format(unique_token, class_token),\n\
                    'a blue {0} {1}'.format(unique_token, class_token)\n]\n";
        let lists = parse(text).unwrap();
        assert_eq!(
            lists.subjects,
            [("mug".into(), "cup".into()), ("rex".into(), "dog".into())]
        );
        assert_eq!(lists.objects, ["a {0} {1} in the sea"]);
        assert_eq!(lists.live, ["a {0} {1} in a hat", "a blue {0} {1}"]);
        let refused = |text: &str| parse(text).unwrap_err();
        assert!(refused("").contains("subjects"));
        assert!(refused(&text.replace("{0} {1} in the sea", "cup")).contains("\"a cup\""));
        assert!(
            refused(&text.replace("Live Subject Prompts", "")).contains("no prompts under \"Live")
        );
    }

    #[test]
    fn a_prompt_names_the_image_of_its_subject() {
        assert_eq!(of_image("a cat in a hat", "cat"), "a cat of IMG1 in a hat");
        assert_eq!(of_image("a tiger", "cat"), "a tiger, with the cat of IMG1");
    }
}
