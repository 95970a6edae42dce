//! Reads shards: first an index, by seeking, then one sample at a time, so that memory is bounded by the largest sample.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::check;
use crate::data::IMAGE_EXTENSIONS;
use crate::data::sample::{Kind, Sample};
use unireal::Image;
use unireal::internals::request::{MAX_IMAGES, Role, Tag};
use unireal::{Error, Result};

/// Maximum size of a member, in bytes: an incompressible image of 4096 x 4096 has 48 MiB.
const MAX_MEMBER: u64 = 64 << 20;

/// A sample with encoded images.
#[derive(Clone, Debug)]
pub struct EncodedSample {
    /// The shard's path and the sample's key, for messages.
    pub name: String,
    /// The key, unique in the shard.
    pub key: String,
    /// The kind.
    pub kind: Kind,
    /// The variant of the kind, or empty.
    pub variant: String,
    /// Paraphrases of the base prompt.
    pub prompts: Vec<String>,
    /// The context prompt.
    pub context: Vec<Tag>,
    /// The input images, IMG1 first.
    pub inputs: Vec<(EncodedImage, Role)>,
    /// The output images, RES1 first.
    pub outputs: Vec<EncodedImage>,
    /// The mask of the pixels that the instruction changes.
    pub changed: Option<EncodedImage>,
    /// The origin.
    pub source: Value,
}

/// An encoded image.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedImage {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes. Equal images from one writer have equal hashes, so that the autoencoder encodes each only once.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for EncodedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncodedImage({} bytes)", self.bytes.len())
    }
}

impl EncodedImage {
    fn new(bytes: Vec<u8>) -> Self {
        let hash = Sha256::digest(&bytes).into();
        EncodedImage { bytes, hash }
    }

    /// Decodes the pixels; `name` is for the error message.
    ///
    /// # Errors
    /// [`Error::Format`] when the bytes are not an image, or declare sides that no sample has.
    pub fn decode(&self, name: &str) -> Result<Image> {
        Image::decode(&self.bytes, name)
    }
}

impl EncodedSample {
    /// Decodes the images.
    ///
    /// # Errors
    /// [`Error::Format`] when one is not an image, or when the sample fails `check`.
    pub fn decode(&self) -> Result<Sample> {
        let named = |field: &str| format!("{}.{field}", self.name);
        let mut inputs = Vec::new();
        for (i, (image, role)) in self.inputs.iter().enumerate() {
            inputs.push((image.decode(&named(&format!("input{}", i + 1)))?, *role));
        }
        let mut outputs = Vec::new();
        for (i, image) in self.outputs.iter().enumerate() {
            outputs.push(image.decode(&named(&format!("output{}", i + 1)))?);
        }
        let changed = self.changed.as_ref();
        let changed = changed.map(|p| p.decode(&named("changed"))).transpose()?;
        let sample = Sample {
            kind: self.kind,
            variant: self.variant.clone(),
            prompts: self.prompts.clone(),
            context: self.context.clone(),
            inputs,
            outputs,
            changed,
            source: self.source.clone(),
        };
        check(&sample).map_err(|reason| Error::format(&self.name, reason))?;
        Ok(sample)
    }
}

/// Reads and decodes the samples of a shard, in order.
///
/// # Errors
/// As [`encoded`]; each sample as [`EncodedSample::decode`].
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<Sample>>> {
    Ok(encoded(path)?.map(|sample| sample?.decode()))
}

/// Reads the samples of a shard, in order, with encoded images.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened. [`Error::Format`] at once when it is not a complete tar file; for each sample
/// when its JSON or one of its images is missing or wrong. The message names the file, the sample's key and the field.
pub fn encoded(path: &Path) -> Result<impl Iterator<Item = Result<EncodedSample>>> {
    let file_name = path.display().to_string();
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let entries = index(&mut file).map_err(|reason| Error::format(&file_name, reason))?;
    Ok(entries.into_iter().map(move |entry| {
        let name = format!("{file_name}: {}", entry.key);
        load(&mut file, &entry, &name).map_err(|reason| Error::format(&name, reason))
    }))
}

/// The index entry of one sample.
struct Entry {
    key: String,
    members: Vec<Member>,
}

struct Member {
    field: String,
    offset: u64,
    length: u64,
}

type Reason<T> = std::result::Result<T, String>;

fn index(file: &mut File) -> Reason<Vec<Entry>> {
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    let mut entries: Vec<Entry> = Vec::new();
    let mut seen = HashSet::new();
    let mut end = 0;
    let mut archive = tar::Archive::new(&mut *file);
    for entry in archive.entries_with_seek().map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| format!("after byte {end}: {e}"))?;
        let path = entry.path().map_err(|e| e.to_string())?.into_owned();
        let name = path.to_string_lossy().into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        end = offset.saturating_add(size.div_ceil(512).saturating_mul(512));
        if end > length {
            return Err(format!(
                "{name}: the file ends at byte {length}, expected {size} bytes from byte {offset}; it is truncated"
            ));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let base = name.rfind('/').map_or(0, |slash| slash + 1);
        let Some(dot) = name[base..].find('.') else {
            return Err(format!("{name}: no extension, expected the field's name"));
        };
        let (key, field) = (name[..base + dot].to_owned(), &name[base + dot + 1..]);
        if entries.last().is_none_or(|entry| entry.key != key) {
            if !seen.insert(key.clone()) {
                return Err(format!(
                    "{key}: the members are scattered, expected adjacent members"
                ));
            }
            let members = Vec::new();
            entries.push(Entry { key, members });
        }
        let sample = entries.last_mut().expect("one was just pushed");
        sample.members.push(Member {
            field: field.to_lowercase(),
            offset,
            length: size,
        });
    }
    check_end(file, end)?;
    Ok(entries)
}

/// Checks that the file ends with a block of zeros, as a complete tar file does; otherwise members may be missing.
fn check_end(file: &mut File, end: u64) -> Reason<()> {
    let mut block = [1u8; 512];
    let read = file
        .seek(SeekFrom::Start(end))
        .and_then(|_| file.read_exact(&mut block));
    match read {
        Ok(()) if block.iter().all(|&byte| byte == 0) => Ok(()),
        _ => Err(format!(
            "no end mark at byte {end}, expected a block of zeros; the file is truncated or not a tar file"
        )),
    }
}

fn load(file: &mut File, entry: &Entry, name: &str) -> Reason<EncodedSample> {
    let json = entry.members.iter().find(|member| member.field == "json");
    let json = bytes(file, json.ok_or("its .json is missing")?)?;
    let header: Value = serde_json::from_slice(&json).map_err(|e| format!("json: {e}"))?;
    let roles = roles(&header)?;
    let inputs = images(file, entry, "input")?;
    if inputs.len() != roles.len() {
        return Err(format!(
            "{} roles, expected one for each of the {} inputs",
            roles.len(),
            inputs.len()
        ));
    }
    let outputs = images(file, entry, "output")?;
    if outputs.is_empty() {
        return Err("output1 is missing".into());
    }
    let changed = find(entry, "changed").map(|member| bytes(file, member));
    Ok(EncodedSample {
        name: name.to_owned(),
        key: entry.key.clone(),
        kind: field(&header, "kind")?,
        variant: optional(&header, "variant")?.unwrap_or_default(),
        prompts: field(&header, "prompts")?,
        context: tags(&header)?,
        inputs: inputs.into_iter().zip(roles).collect(),
        outputs,
        changed: changed.transpose()?.map(EncodedImage::new),
        source: header.get("source").cloned().unwrap_or(Value::Null),
    })
}

/// Reads the images `name1`, `name2`, ...; a gap is an error.
fn images(file: &mut File, entry: &Entry, name: &str) -> Reason<Vec<EncodedImage>> {
    let mut images = Vec::new();
    while let Some(member) = find(entry, &format!("{name}{}", images.len() + 1)) {
        images.push(EncodedImage::new(bytes(file, member)?));
    }
    let last = (1..=MAX_IMAGES).rfind(|n| find(entry, &format!("{name}{n}")).is_some());
    match last {
        Some(last) if last > images.len() => Err(format!(
            "{name}{} is missing, expected all up to {name}{last}",
            images.len() + 1
        )),
        _ => Ok(images),
    }
}

fn find<'a>(entry: &'a Entry, name: &str) -> Option<&'a Member> {
    entry.members.iter().find(|member| {
        let split = member.field.split_once('.');
        split.is_some_and(|(field, extension)| {
            field == name && IMAGE_EXTENSIONS.contains(&extension)
        })
    })
}

fn bytes(file: &mut File, member: &Member) -> Reason<Vec<u8>> {
    let fail = |e: std::io::Error| format!("{}: {e}", member.field);
    if member.length > MAX_MEMBER {
        return Err(format!(
            "{} has {} bytes, expected at most {MAX_MEMBER}",
            member.field, member.length
        ));
    }
    let mut bytes = vec![0; member.length as usize];
    file.seek(SeekFrom::Start(member.offset)).map_err(fail)?;
    file.read_exact(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

fn optional<T: DeserializeOwned>(header: &Value, name: &str) -> Reason<Option<T>> {
    let Some(value) = header.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let parsed = T::deserialize(value).map_err(|e| format!("{name}: {e}"))?;
    Ok(Some(parsed))
}

fn field<T: DeserializeOwned>(header: &Value, name: &str) -> Reason<T> {
    optional(header, name)?.ok_or_else(|| format!("{name} is missing"))
}

fn tags(header: &Value) -> Reason<Vec<Tag>> {
    let names: Vec<String> = field(header, "context")?;
    let parse = |name: &String| name.parse().map_err(|e| format!("context: {e}"));
    names.iter().map(parse).collect()
}

fn roles(header: &Value) -> Reason<Vec<Role>> {
    let names: Vec<String> = field(header, "roles")?;
    let parse = |name: &String| name.parse().map_err(|e| format!("roles: {e}"));
    names.iter().map(parse).collect()
}
