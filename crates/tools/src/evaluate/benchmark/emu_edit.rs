//! The EMU Edit test set as published: parquet files `test-00000-of-00001-....parquet` and `validation-...`, in the data folder
//! or its `data/`. Each row has `instruction`, `input_caption`, `output_caption`, `idx`, `task` and the encoded `image`.
//!
//! Results are named `<task>_<idx>`, or `<idx>` where that is unique.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use super::case::{Case, Cases, Change, Input, id, listed};
use crate::train::checkpoint;
use unireal::Role;
use unireal::{Error, Result};

/// Loads the cases of a split and unpacks their images into `unpacked` where they are not there yet.
///
/// # Errors
/// [`Error::Format`] with the file, row and column.
pub(super) fn load(data: &Path, split: &str, unpacked: &Path) -> Result<Cases> {
    let mut rows = Vec::new();
    for file in files(data, split)? {
        read(&file, unpacked, &mut rows)?;
    }
    let mut times = HashMap::new();
    for row in &rows {
        *times.entry(row.idx).or_insert(0) += 1;
    }
    let cases = rows.iter().map(|row| {
        let mut names = vec![format!("{}_{}", row.task, row.idx)];
        if times[&row.idx] == 1 {
            names.push(row.idx.to_string());
        }
        let id = id(&[&row.task, &row.idx.to_string()]);
        Case {
            group: id.clone(),
            id,
            names,
            prompt: row.instruction.clone(),
            input: Input::File(row.picture.clone()),
            role: Role::Canvas,
            references: vec![row.picture.clone()],
            change: Some(Change {
                image: row.picture.clone(),
                before: row.before.clone(),
                after: row.after.clone(),
            }),
            caption: row.after.clone(),
            counts: true,
        }
    });
    Cases::from(cases.collect::<Vec<_>>()).check(data)
}

/// A row with the path of its unpacked image.
struct Edit {
    idx: i64,
    task: String,
    instruction: String,
    before: String,
    after: String,
    picture: PathBuf,
}

/// Returns the files of a split, sorted.
fn files(data: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let inner = data.join("data");
    let folder = if inner.is_dir() { &inner } else { data };
    let of_split = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{split}-")) && name.ends_with(".parquet")
    };
    let found: Vec<PathBuf> = listed(folder)?.into_iter().filter(of_split).collect();
    if found.is_empty() {
        Err(Error::format(
            folder.display().to_string(),
            format!(
                "no {split}-*.parquet; the set's files are named test-00000-of-... and validation-00000-of-..."
            ),
        ))
    } else {
        Ok(found)
    }
}

fn read(path: &Path, unpacked: &Path, rows: &mut Vec<Edit>) -> Result<()> {
    let name = path.display().to_string();
    let fail = |e: &dyn std::fmt::Display| Error::format(&name, e);
    let file = File::open(path).map_err(|e| fail(&e))?;
    let reader = SerializedFileReader::new(file).map_err(|e| fail(&e))?;
    for (number, row) in reader.get_row_iter(None).map_err(|e| fail(&e))?.enumerate() {
        let row = row.map_err(|e| fail(&format!("row {number}: {e}")))?;
        let edit = edit(&row, unpacked).map_err(|reason| match reason {
            Broken::Row(reason) => fail(&format!("row {number}: {reason}")),
            Broken::Disk(e) => e,
        })?;
        rows.push(edit);
    }
    Ok(())
}

/// Why a row cannot be used.
enum Broken {
    Row(String),
    Disk(Error),
}

fn edit(row: &Row, unpacked: &Path) -> std::result::Result<Edit, Broken> {
    let column = |name: &str| {
        let found = row.get_column_iter().find(|(column, _)| *column == name);
        let there: Vec<_> = row
            .get_column_iter()
            .map(|(column, _)| column.as_str())
            .collect();
        let missing = || {
            Broken::Row(format!(
                "no column \"{name}\"; there are {}",
                there.join(", ")
            ))
        };
        found.map(|(_, field)| field).ok_or_else(missing)
    };
    let text = |name: &str| match column(name)? {
        Field::Str(text) => Ok(text.clone()),
        other => Err(Broken::Row(format!("{name} is {other}; it should be text"))),
    };
    let idx = match column("idx")? {
        Field::Long(idx) => *idx,
        Field::Int(idx) => i64::from(*idx),
        other => {
            return Err(Broken::Row(format!(
                "idx is {other}; it should be a number"
            )));
        }
    };
    let task = text("task")?;
    let wrong = || Broken::Row("image has no bytes".into());
    let Field::Group(image) = column("image")? else {
        return Err(wrong());
    };
    let bytes = image
        .get_column_iter()
        .find_map(|(name, field)| match field {
            Field::Bytes(bytes) if name == "bytes" => Some(bytes.data()),
            _ => None,
        });
    let bytes = bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(wrong)?;
    let format = image::guess_format(bytes).map_err(|e| Broken::Row(format!("image: {e}")))?;
    let ending = format.extensions_str().first().copied().unwrap_or("bin");
    let picture = unpacked.join(format!("{}.{ending}", id(&[&task, &idx.to_string()])));
    // A file of another length belongs to another data set.
    let there = std::fs::metadata(&picture).is_ok_and(|facts| facts.len() == bytes.len() as u64);
    if !there {
        checkpoint::write(&picture, bytes).map_err(Broken::Disk)?;
    }
    Ok(Edit {
        idx,
        task,
        instruction: text("instruction")?,
        before: text("input_caption")?,
        after: text("output_caption")?,
        picture,
    })
}
