//! MagicBrush as published: `edit_sessions.json`, `edit_turns.json`, `global_descriptions.json`, `local_descriptions.json` and
//! `images/<session>/<session>-input.png`, `-output1.png`, `-mask1.png` and so on. Results have the names that the authors'
//! evaluation reads: `<session>/<session>_1`, `<session>_inde_2` edited from the true source, `<session>_iter_2` from the
//! result of the previous turn.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use super::case::{Case, Cases, Change, Input, id, json};
use unireal::Role;
use unireal::{Error, Result};

/// One turn of an editing session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Turn {
    input: String,
    output: String,
    instruction: String,
}

/// Captions by session and by image.
type Captions = BTreeMap<String, BTreeMap<String, String>>;

/// Loads the cases of a folder: all turns, or each session's final turn.
///
/// # Errors
/// [`Error::Format`] with the file and the field.
pub(super) fn load(data: &Path, final_turn: bool) -> Result<Cases> {
    let sessions: BTreeMap<String, Vec<Turn>> = json(&data.join("edit_sessions.json"))?;
    check_turns(&sessions, data)?;
    let global = data.join("global_descriptions.json");
    // The documentation of the authors' evaluation uses the second name.
    let local = ["local_descriptions.json", "local_captions.json"].map(|name| data.join(name));
    let local = if local[0].is_file() {
        &local[0]
    } else {
        &local[1]
    };
    let (global, local) = ((&*global, json(&global)?), (&**local, json(local)?));
    let mut cases = Vec::new();
    let mut others = HashSet::new();
    for (session, turns) in &sessions {
        let name = |kind: &str, turn: usize| match turn {
            1 => format!("{session}/{session}_1"),
            _ => format!("{session}/{session}_{kind}_{turn}"),
        };
        let folder = data.join("images").join(session);
        let (first, last) = (turns.first(), turns.len());
        for (turn, edit) in turns.iter().enumerate().map(|(i, edit)| (i + 1, edit)) {
            others.extend([name("inde", turn), name("iter", turn)]);
            let before = if final_turn {
                first.map_or(&edit.input, |first| &first.input)
            } else {
                &edit.input
            };
            let input = if final_turn && turn > 1 {
                Input::Result(id(&[session, &(turn - 1).to_string()]))
            } else {
                Input::File(folder.join(&edit.input))
            };
            cases.push(Case {
                id: id(&[session, &turn.to_string()]),
                group: session.clone(),
                names: vec![name(if final_turn { "iter" } else { "inde" }, turn)],
                prompt: edit.instruction.clone(),
                input,
                role: Role::Canvas,
                references: vec![folder.join(&edit.output)],
                change: Some(Change {
                    image: folder.join(before),
                    before: caption(&global, session, before)?.clone(),
                    after: caption(&global, session, &edit.output)?.clone(),
                }),
                caption: caption(&local, session, &edit.output)?.clone(),
                is_scored: !final_turn || turn == last,
            });
        }
    }
    let left_out = 0;
    Cases {
        cases,
        others,
        left_out,
    }
    .check(data)
}

fn caption<'a>(
    (file, captions): &'a (&Path, Captions),
    session: &str,
    image: &str,
) -> Result<&'a String> {
    let of_session = captions.get(session);
    of_session.and_then(|of| of.get(image)).ok_or_else(|| {
        let reason =
            format!("caption of \"{image}\" in session \"{session}\": missing, expected text");
        Error::format(file.display().to_string(), reason)
    })
}

/// Checks that `edit_turns.json` lists the turns of the sessions; otherwise the two files belong to different copies of the
/// data set.
fn check_turns(sessions: &BTreeMap<String, Vec<Turn>>, data: &Path) -> Result<()> {
    let path = data.join("edit_turns.json");
    let turns: Vec<Turn> = json(&path)?;
    let fail = |reason: String| Err(Error::format(path.display().to_string(), reason));
    let count: usize = sessions.values().map(Vec::len).sum();
    if turns.len() != count {
        return fail(format!(
            "{} turns, expected {count} as in edit_sessions.json",
            turns.len()
        ));
    }
    let listed: HashSet<(&str, &str)> = turns
        .iter()
        .map(|t| (t.output.as_str(), t.instruction.as_str()))
        .collect();
    for (session, turn) in sessions
        .iter()
        .flat_map(|(s, turns)| turns.iter().map(move |t| (s, t)))
    {
        if !listed.contains(&(turn.output.as_str(), turn.instruction.as_str())) {
            return fail(format!(
                "turn to {}: missing, expected with the instruction of session {session}",
                turn.output
            ));
        }
    }
    Ok(())
}
