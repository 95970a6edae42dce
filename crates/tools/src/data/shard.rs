//! Samples on disk: WebDataset tar shards, which common loaders read.
//!
//! A sample is a run of members that share a key: `<key>.json` (kind, variant, prompts, context, roles, source),
//! `<key>.input1.png` .., `<key>.output1.png` .. and, if known, `<key>.changed.png`. A shard is written as `.tar.partial` and
//! then renamed, so that every `.tar` is complete even after a kill. A note `<shard>.json` lists what the shard was built
//! from. It is written before the renaming, and only a shard with its note counts as finished work.

mod read;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::sample::Sample;
use unireal::Image;
use unireal::internals::request::MAX_IMAGES;
use unireal::{Error, Result};

pub use read::{EncodedImage, EncodedSample, encoded, read};

/// An encoded sample: the members of a tar file, with the key in their names.
#[derive(Clone, Debug)]
pub struct Members(Vec<(String, Vec<u8>)>);

/// Encodes a sample. Encoding takes most of the time of writing, and as a separate step it can run on many threads.
///
/// # Errors
/// [`Error::Request`] when the key is not 1 to 80 letters, digits, `-` or `_`, or when the sample fails `check`.
pub fn encode(key: &str, sample: &Sample) -> Result<Members> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if key.is_empty() || key.len() > 80 || !key.chars().all(plain) {
        return Err(Error::Request(format!(
            "encoding a sample: the key \"{key}\", expected 1 to 80 letters, digits, - or _"
        )));
    }
    check(sample).map_err(|reason| Error::Request(format!("encoding sample {key}: {reason}")))?;
    let header = json!({
        "kind": sample.kind,
        "variant": sample.variant,
        "prompts": sample.prompts,
        "context": sample.context.iter().map(|tag| tag.name()).collect::<Vec<_>>(),
        "roles": sample.inputs.iter().map(|(_, role)| role.name()).collect::<Vec<_>>(),
        "source": sample.source,
    });
    let mut members = vec![(format!("{key}.json"), header.to_string().into_bytes())];
    let mut add_image = |name: String, image: &Image| -> Result<()> {
        members.push((format!("{key}.{name}.png"), image.to_png()?));
        Ok(())
    };
    for (i, (image, _)) in sample.inputs.iter().enumerate() {
        add_image(format!("input{}", i + 1), image)?;
    }
    for (i, image) in sample.outputs.iter().enumerate() {
        add_image(format!("output{}", i + 1), image)?;
    }
    if let Some(changed) = &sample.changed {
        add_image("changed".into(), changed)?;
    }
    Ok(Members(members))
}

/// Checks whether a sample can be trained on; returns the reason when it cannot.
fn check(sample: &Sample) -> std::result::Result<(), String> {
    if sample.prompts.iter().all(|prompt| prompt.trim().is_empty()) {
        return Err("prompts: all are empty, expected one or more with text".into());
    }
    let (inputs, outputs) = (sample.inputs.len(), sample.outputs.len());
    if inputs > MAX_IMAGES {
        return Err(format!("{inputs} inputs, expected at most {MAX_IMAGES}"));
    }
    if outputs == 0 || outputs > MAX_IMAGES {
        return Err(format!("{outputs} outputs, expected 1 to {MAX_IMAGES}"));
    }
    let size = |image: &Image| (image.width, image.height);
    let (w, h) = size(&sample.outputs[0]);
    for (i, image) in sample.outputs.iter().enumerate() {
        let (x, y) = size(image);
        if (x, y) != (w, h) {
            let n = i + 1;
            return Err(format!("output{n} is {x}x{y}, expected {w}x{h} as output1"));
        }
    }
    match sample.changed.as_ref().map(size) {
        Some((x, y)) if (x, y) != (w, h) => Err(format!(
            "changed is {x}x{y}, expected {w}x{h} as the outputs"
        )),
        _ => Ok(()),
    }
}

/// Writes samples into shards `<prefix>-00000.tar`, `<prefix>-00001.tar`, ... of a folder.
pub struct Writer {
    folder: PathBuf,
    prefix: String,
    samples: usize,
    /// Number of the open shard or, when none is open, of the next one.
    next: usize,
    open: Option<OpenShard>,
}

/// A shard being written.
struct OpenShard {
    path: PathBuf,
    tar: tar::Builder<BufWriter<File>>,
    samples: usize,
}

impl Writer {
    /// Creates a writer of shards of `samples` samples or a few more in `folder`, which is created if needed. Existing
    /// shards of this prefix stay. Concurrent writers need distinct prefixes.
    ///
    /// # Errors
    /// [`Error::Request`] for shards of 0 samples, [`Error::Io`] when the folder cannot be created.
    pub fn create(folder: &Path, prefix: &str, samples: usize) -> Result<Self> {
        if samples == 0 {
            return Err(Error::Request(
                "writing shards: 0 samples per shard, expected 1 or more".into(),
            ));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let mut writer = Writer {
            folder: folder.to_owned(),
            prefix: prefix.to_owned(),
            samples,
            next: 0,
            open: None,
        };
        writer.skip_existing();
        Ok(writer)
    }

    /// Advances to the next number without a shard. Shards after a gap stay, such as a gap from a deleted shard.
    fn skip_existing(&mut self) {
        while self.path(self.next).exists() {
            self.next += 1;
        }
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// As [`encode`], or [`Error::Format`] when the shard cannot be written.
    pub fn write(&mut self, key: &str, sample: &Sample) -> Result<()> {
        self.append(&encode(key, sample)?)
    }

    /// Adds an encoded sample.
    ///
    /// # Errors
    /// [`Error::Format`] when the shard cannot be written.
    pub fn append(&mut self, members: &Members) -> Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let path = self.path(self.next);
                let opened = OpenShard::create(path)?;
                self.open.insert(opened)
            }
        };
        for (name, bytes) in &members.0 {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            let added = open.tar.append_data(&mut header, name, bytes.as_slice());
            added.map_err(|e| Error::format(open.path.display().to_string(), e))?;
        }
        open.samples += 1;
        Ok(())
    }

    /// Returns whether the open shard has reached its number of samples. The caller then [closes](Writer::close) it, at once or
    /// after a few more samples that belong with them.
    pub fn full(&self) -> bool {
        self.samples() >= self.samples
    }

    /// Returns the number of samples in the open shard.
    pub fn samples(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.samples)
    }

    /// Finishes the open shard and returns its path, `None` when none is open. `note` lists what the shard was built from and is
    /// written beside it as JSON.
    ///
    /// # Errors
    /// [`Error::Format`] when the shard cannot be written.
    pub fn close(&mut self, note: Option<&Value>) -> Result<Option<PathBuf>> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        let path = open.path.clone();
        if let Some(note) = note {
            crate::train::checkpoint::write(&note_path(&path), note.to_string().as_bytes())?;
        }
        open.finish()?;
        self.skip_existing();
        Ok(Some(path))
    }

    fn path(&self, index: usize) -> PathBuf {
        self.folder.join(format!("{}-{index:05}.tar", self.prefix))
    }
}

impl OpenShard {
    fn create(path: PathBuf) -> Result<Self> {
        let partial = partial(&path);
        let file = File::create(&partial).map_err(|e| Error::io(&partial, e))?;
        Ok(OpenShard {
            path,
            tar: tar::Builder::new(BufWriter::new(file)),
            samples: 0,
        })
    }

    fn finish(self) -> Result<()> {
        let fail = |e: std::io::Error| Error::io(&self.path, e);
        let mut buffer = self.tar.into_inner().map_err(fail)?;
        buffer.flush().map_err(fail)?;
        let file = buffer.into_inner().map_err(|e| fail(e.into_error()))?;
        file.sync_all().map_err(fail)?;
        std::fs::rename(partial(&self.path), &self.path).map_err(fail)
    }
}

fn partial(path: &Path) -> PathBuf {
    path.with_extension("tar.partial")
}

fn note_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// Returns the notes of a folder's complete shards, with the shards' file stems, sorted; none when the folder does not exist.
///
/// # Errors
/// [`Error::Format`] or [`Error::Io`] when a note cannot be read.
pub fn notes(folder: &Path) -> Result<Vec<(String, Value)>> {
    let mut notes = Vec::new();
    if !folder.exists() {
        return Ok(notes);
    }
    for path in sorted_entries(folder)? {
        let note = note_path(&path);
        if path.extension().is_none_or(|e| e != "tar") || !note.exists() {
            continue;
        }
        let bytes = std::fs::read(&note).map_err(|e| Error::io(&note, e))?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|e| Error::format(note.display().to_string(), e))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        notes.push((name.into_owned(), value));
    }
    Ok(notes)
}

/// Returns the entries of a folder, sorted.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub(crate) fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: std::io::Error| Error::io(folder, e);
    let entries = std::fs::read_dir(folder).map_err(fail)?;
    let paths = entries.map(|entry| Ok(entry.map_err(fail)?.path()));
    let mut paths = paths.collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Returns the shards of `paths`, each a shard or a folder of shards; sorted, without duplicates.
///
/// # Errors
/// [`Error::Format`] for a path that does not exist and for a folder without shards.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let fail = |e: &dyn std::fmt::Display| Error::format(path.display().to_string(), e);
        if std::fs::metadata(path).map_err(|e| fail(&e))?.is_file() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        let tar = |path: &PathBuf| path.extension().is_some_and(|e| e == "tar");
        found.extend(sorted_entries(path)?.into_iter().filter(tar));
        if found.len() == before {
            return Err(fail(
                &"finding shards: no file, expected one or more whose names end in .tar",
            ));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}
