//! A folder of the origin's private file system. Tracks the names of its files and closes access handles on drop.

use std::cell::RefCell;
use std::collections::HashSet;

use js_sys::{Object, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::js::{Access, Directory, File, object, property};

/// The result of a JavaScript call: its value or what it throws.
pub(super) type Thrown<T> = std::result::Result<T, JsValue>;

/// A folder and the names of its files.
#[derive(Debug)]
pub(super) struct Folder {
    handle: Directory,
    /// Names of the files in the folder, except those that are being written.
    pub(super) names: RefCell<HashSet<String>>,
}

/// An access handle that is closed on drop, because an open handle locks its file.
#[derive(Debug)]
pub(super) struct Open(pub(super) Access);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Folder {
    /// Lists the names of the folder's files.
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

    /// Opens a file, and creates it if `create` is set.
    pub(super) async fn access(&self, name: &str, create: bool) -> Thrown<(File, Open)> {
        let options = object(&[("create", create.into())]);
        let file: File = wait(self.handle.file(name, &options))
            .await?
            .unchecked_into();
        // In browsers that support this mode, several tabs can read a file at once. Other browsers ignore the option.
        let options = if create {
            Object::new()
        } else {
            object(&[("mode", "read-only".into())])
        };
        let access: Access = wait(file.open(&options)).await?.unchecked_into();
        Ok((file, Open(access)))
    }

    /// Writes a small file completely. It is not flushed to disc: behind a shard that is being written, a flush takes
    /// 0.1 s.
    pub(super) async fn put(&self, name: &str, bytes: &[u8]) -> Thrown<File> {
        let (file, access) = self.access(name, true).await?;
        access.0.truncate(0.0)?;
        write_at(&access, bytes, 0)?;
        self.names.borrow_mut().insert(name.to_owned());
        Ok(file)
    }

    /// Reads a small file of at most `limit` bytes completely.
    pub(super) async fn get(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let access = self.access(name, false).await.ok()?.1;
        let length = access.0.size().ok().filter(|size| *size <= limit as f64)? as usize;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).ok()?;
        read_into(&access, length, &mut bytes)
            .ok()?
            .then_some(bytes)
    }

    /// Deletes a file if it exists. A file that another tab has locked stays.
    pub(super) async fn remove(&self, name: &str) {
        self.names.borrow_mut().remove(name);
        let _ = wait(self.handle.remove(name, &Object::new())).await;
    }
}

/// Returns the root folder of the origin's private file system.
pub(super) async fn origin_folder() -> Thrown<Directory> {
    let storage = property(&property(&js_sys::global(), "navigator"), "storage");
    let get: js_sys::Function = property(&storage, "getDirectory").dyn_into()?;
    let root = wait(get.call0(&storage).map(JsValue::unchecked_into)).await?;
    Ok(root.unchecked_into())
}

/// Opens a folder in `parent`, and creates it if `create` is set.
pub(super) async fn directory(parent: &Directory, name: &str, create: bool) -> Thrown<Directory> {
    let options = object(&[("create", create.into())]);
    Ok(wait(parent.directory(name, &options))
        .await?
        .unchecked_into())
}

pub(super) async fn wait(promise: Thrown<Promise>) -> Thrown<JsValue> {
    JsFuture::from(promise?).await
}

/// Reads the first `length` bytes of a file into an empty vector. Returns false if there are fewer.
pub(super) fn read_into(access: &Open, length: usize, bytes: &mut Vec<u8>) -> Thrown<bool> {
    bytes.resize(length, 0);
    let read = access.0.read(bytes, &object(&[("at", 0.into())]));
    let whole = matches!(read, Ok(read) if read == length as f64);
    if !whole {
        bytes.clear();
    }
    read.map(|_| whole)
}

/// Writes all of `bytes` at offset `at` of the file.
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
