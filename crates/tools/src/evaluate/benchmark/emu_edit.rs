//! The EMU Edit test set as published: parquet files `test-00000-of-00001-....parquet` and `validation-...`, in the data folder
//! or its `data/`. Each row has `instruction`, `input_caption`, `output_caption`, `idx`, `task` and the encoded `image`.
//!
//! Results are named `<task>_<idx>`, or `<idx>` where that is unique.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use super::case::{Case, Cases, Change, Input, id};
use crate::data::shard::sorted_entries;
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
    let mut counts = HashMap::new();
    for row in &rows {
        *counts.entry(row.idx).or_insert(0) += 1;
    }
    let cases = rows.iter().map(|row| {
        let mut names = vec![format!("{}_{}", row.task, row.idx)];
        if counts[&row.idx] == 1 {
            names.push(row.idx.to_string());
        }
        let id = id(&[&row.task, &row.idx.to_string()]);
        Case {
            group: id.clone(),
            id,
            names,
            prompt: row.instruction.clone(),
            input: Input::File(row.image.clone()),
            role: Role::Canvas,
            references: vec![row.image.clone()],
            change: Some(Change {
                image: row.image.clone(),
                before: row.before.clone(),
                after: row.after.clone(),
            }),
            caption: row.after.clone(),
            is_scored: true,
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
    image: PathBuf,
}

/// Returns the files of a split, sorted.
fn files(data: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let inner = data.join("data");
    let folder = if inner.is_dir() { &inner } else { data };
    let of_split = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{split}-")) && name.ends_with(".parquet")
    };
    let found: Vec<PathBuf> = sorted_entries(folder)?
        .into_iter()
        .filter(of_split)
        .collect();
    if found.is_empty() {
        Err(Error::format(
            folder.display().to_string(),
            format!(
                "split: no {split}-*.parquet, expected files such as test-00000-of-... or validation-00000-of-..."
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
            RowError::Invalid(reason) => fail(&format!("row {number}: {reason}")),
            RowError::Disk(e) => e,
        })?;
        rows.push(edit);
    }
    Ok(())
}

/// An error of a row.
enum RowError {
    /// Invalid contents.
    Invalid(String),
    /// An image that cannot be written.
    Disk(Error),
}

fn edit(row: &Row, unpacked: &Path) -> std::result::Result<Edit, RowError> {
    let column = |name: &str| {
        let found = row.get_column_iter().find(|(column, _)| *column == name);
        let columns: Vec<_> = row
            .get_column_iter()
            .map(|(column, _)| column.as_str())
            .collect();
        let missing = || {
            RowError::Invalid(format!(
                "column \"{name}\": missing, found {}",
                columns.join(", ")
            ))
        };
        found.map(|(_, field)| field).ok_or_else(missing)
    };
    let text = |name: &str| match column(name)? {
        Field::Str(value) => Ok(value.clone()),
        other => Err(RowError::Invalid(format!("{name}: {other}, expected text"))),
    };
    let idx = match column("idx")? {
        Field::Long(idx) => *idx,
        Field::Int(idx) => i64::from(*idx),
        other => {
            let reason = format!("idx: {other}, expected an integer");
            return Err(RowError::Invalid(reason));
        }
    };
    let task = text("task")?;
    let no_bytes = || RowError::Invalid("image: no bytes, expected an encoded image".into());
    let Field::Group(image) = column("image")? else {
        return Err(no_bytes());
    };
    let bytes = image
        .get_column_iter()
        .find_map(|(name, field)| match field {
            Field::Bytes(bytes) if name == "bytes" => Some(bytes.data()),
            _ => None,
        });
    let bytes = bytes
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(no_bytes)?;
    let format =
        image::guess_format(bytes).map_err(|e| RowError::Invalid(format!("image: {e}")))?;
    let extension = format.extensions_str().first().copied().unwrap_or("bin");
    let path = unpacked.join(format!("{}.{extension}", id(&[&task, &idx.to_string()])));
    // A file of another length belongs to another data set.
    let is_unpacked =
        std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64);
    if !is_unpacked {
        checkpoint::write(&path, bytes).map_err(RowError::Disk)?;
    }
    Ok(Edit {
        idx,
        task,
        instruction: text("instruction")?,
        before: text("input_caption")?,
        after: text("output_caption")?,
        image: path,
    })
}
