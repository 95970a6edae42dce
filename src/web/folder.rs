//! A folder of the origin's private file system, with its files' names known and its file handles closed in time.

use std::cell::RefCell;
use std::collections::HashSet;

use js_sys::{Object, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::js::{Access, Directory, File, object, property};

/// What JavaScript returns or throws.
pub(super) type Thrown<T> = std::result::Result<T, JsValue>;

/// A folder.
#[derive(Debug)]
pub(super) struct Folder {
    handle: Directory,
    /// Names of the files in it, save those that are being written.
    pub(super) names: RefCell<HashSet<String>>,
}

/// An access handle that is closed when it goes out of scope: an open one locks its file.
#[derive(Debug)]
pub(super) struct Open(pub(super) Access);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Folder {
    /// Reads the names of the files that are there.
    pub(super) async fn list(folder: Directory) -> Thrown<Self> {
        let keys = folder.keys()?;
        let mut names = HashSet::new();
        loop {
            let entry = wait(keys.next()).await?;
            if property(&entry, "done").is_truthy() {
                break;
            }
            names.extend(property(&entry, "value").as_string());
        }
        Ok(Folder {
            handle: folder,
            names: RefCell::new(names),
        })
    }

    /// Opens a file.
    pub(super) async fn access(&self, name: &str, create: bool) -> Thrown<(File, Open)> {
        let options = object(&[("create", create.into())]);
        let file: File = wait(self.handle.file(name, &options))
            .await?
            .unchecked_into();
        // Several tabs may read a file at once where the browser knows this mode; elsewhere the option means nothing.
        let options = if create {
            Object::new()
        } else {
            object(&[("mode", "read-only".into())])
        };
        let access: Access = wait(file.open(&options)).await?.unchecked_into();
        Ok((file, Open(access)))
    }

    /// Writes a small file, whole. It is not flushed to the disc: behind a shard that is being written, that takes a tenth of a second.
    pub(super) async fn put(&self, name: &str, bytes: &[u8]) -> Thrown<File> {
        let (file, access) = self.access(name, true).await?;
        access.0.truncate(0.0)?;
        write_at(&access, bytes, 0)?;
        self.names.borrow_mut().insert(name.to_owned());
        Ok(file)
    }

    /// Reads a small file, whole.
    pub(super) async fn get(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let access = self.access(name, false).await.ok()?.1;
        let length = access.0.size().ok().filter(|size| *size <= limit as f64)? as usize;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).ok()?;
        read_into(&access, length, &mut bytes)
            .ok()?
            .then_some(bytes)
    }

    /// Deletes a file if it is there. What is locked by another tab stays.
    pub(super) async fn remove(&self, name: &str) {
        self.names.borrow_mut().remove(name);
        let _ = wait(self.handle.remove(name, &Object::new())).await;
    }
}

/// The top folder of the origin's private file system.
pub(super) async fn origin_folder() -> Thrown<Directory> {
    let storage = property(&property(&js_sys::global(), "navigator"), "storage");
    let get: js_sys::Function = property(&storage, "getDirectory").dyn_into()?;
    let root = wait(get.call0(&storage).map(JsValue::unchecked_into)).await?;
    Ok(root.unchecked_into())
}

/// A folder in a folder.
pub(super) async fn directory(parent: &Directory, name: &str, create: bool) -> Thrown<Directory> {
    let options = object(&[("create", create.into())]);
    Ok(wait(parent.directory(name, &options))
        .await?
        .unchecked_into())
}

pub(super) async fn wait(promise: Thrown<Promise>) -> Thrown<JsValue> {
    JsFuture::from(promise?).await
}

/// The file's first `length` bytes into an empty vector; false when there are fewer.
pub(super) fn read_into(access: &Open, length: usize, bytes: &mut Vec<u8>) -> Thrown<bool> {
    bytes.resize(length, 0);
    let read = access.0.read(bytes, &object(&[("at", 0.into())]));
    let whole = matches!(read, Ok(read) if read == length as f64);
    if !whole {
        bytes.clear();
    }
    read.map(|_| whole)
}

/// Writes all of `bytes` from byte `at` of the file on.
pub(super) fn write_at(access: &Open, bytes: &[u8], at: usize) -> Thrown<()> {
    let written = access
        .0
        .write(bytes, &object(&[("at", (at as f64).into())]))?;
    if written == bytes.len() as f64 {
        Ok(())
    } else {
        Err("fewer bytes were written than given".into())
    }
}
