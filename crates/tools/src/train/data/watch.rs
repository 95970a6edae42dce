//! Watches for shards: a separate thread reads every shard once and looks for new ones while training runs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use unireal::{Error, Result};

/// Interval between searches for new shards.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

/// Returns the shards that `patterns` match now, sorted: files, the `.tar` files of folders, or names with one `*` in the last part.
///
/// # Errors
/// [`Error::Format`] for a missing file or folder.
pub(in super::super) fn list(patterns: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for pattern in patterns {
        if pattern.is_file() {
            found.push(pattern.clone());
            continue;
        }
        let name = pattern.file_name().map(|name| name.to_string_lossy());
        let (folder, before, after) = match name.as_deref().and_then(|name| name.split_once('*')) {
            Some((before, after)) => (
                pattern.parent().unwrap_or(Path::new("")),
                before.to_owned(),
                after.to_owned(),
            ),
            None => (pattern.as_path(), String::new(), ".tar".to_owned()),
        };
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let fail = |e| Error::format(folder.display().to_string(), e);
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let fits = name.len() >= before.len() + after.len();
            if fits && name.starts_with(&before) && name.ends_with(&after) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// A running thread that reads shards.
pub(in super::super) struct ShardWatcher {
    stop: Arc<AtomicBool>,
    /// Whether every shard of the first search has been read.
    settled: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ShardWatcher {
    /// Starts a thread that calls `read_shard` with every shard and a flag that tells it to stop. Reports and skips the shards that
    /// cannot be read.
    ///
    /// # Errors
    /// As [`list`].
    pub(in super::super) fn start(
        patterns: Vec<PathBuf>,
        mut read_shard: impl FnMut(&Path, &AtomicBool) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        list(&patterns)?;
        let stop = Arc::new(AtomicBool::new(false));
        let settled = Arc::new(AtomicBool::new(false));
        let (stopped, done) = (stop.clone(), settled.clone());
        let thread = std::thread::spawn(move || {
            let mut seen = HashSet::new();
            while !stopped.load(Ordering::Relaxed) {
                // If a folder vanishes while training runs, training continues with the samples read so far.
                let each = patterns.iter().map(std::slice::from_ref);
                for path in each.flat_map(|pattern| list(pattern).unwrap_or_default()) {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    if !seen.insert(path.clone()) {
                        continue;
                    }
                    if let Err(error) = read_shard(&path, &stopped) {
                        eprintln!("{error}; skipped");
                    }
                }
                done.store(true, Ordering::Relaxed);
                let mut waited = Duration::ZERO;
                while waited < SEARCH_INTERVAL && !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(50));
                    waited += Duration::from_millis(50);
                }
            }
        });
        Ok(ShardWatcher {
            stop,
            settled,
            thread: Some(thread),
        })
    }

    /// Waits until `count` returns at least `min_count`, or all shards of the first search are read.
    ///
    /// # Errors
    /// [`Error::Internal`] when the thread ended, [`Error::Request`] when `count` is still 0.
    pub(in super::super) fn wait(
        &self,
        min_count: usize,
        count: impl Fn() -> usize,
        what: &str,
    ) -> Result<()> {
        loop {
            let settled = self.settled.load(Ordering::Relaxed);
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            let loaded = count();
            if loaded >= min_count.max(1) || (settled && loaded > 0) {
                return Ok(());
            }
            if ended {
                return Err(Error::Internal(format!(
                    "reading shards: the thread ended after {loaded} {what}"
                )));
            }
            if settled {
                return Err(Error::Request(format!(
                    "reading shards: no {what}, expected 1 or more; check the messages above, and data and kinds in the settings"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for ShardWatcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // `wait` already reports a panic of the thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_files_and_wildcards_match_shards() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b-1.tar",
            "a-1.tar",
            "a-2.tar",
            "a-2.tar.partial",
            "a-3.json",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = list(&[folder.path().join(pattern)]).unwrap();
            let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            found.iter().map(name).collect()
        };
        assert_eq!(names(""), ["a-1.tar", "a-2.tar", "b-1.tar"]);
        assert_eq!(names("a-*.tar"), ["a-1.tar", "a-2.tar"]);
        assert_eq!(names("a-3.json"), ["a-3.json"]);
        assert!(list(&[folder.path().join("none")]).is_err());
    }

    #[test]
    fn later_shards_are_read_and_broken_ones_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let create = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        create("a.tar");
        create("broken.tar");
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let recorded = seen.clone();
        let watch = ShardWatcher::start(vec![folder.path().to_owned()], move |path, _| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if name == "broken" {
                return Err(Error::format(name, "is broken"));
            }
            recorded.lock().unwrap().push(name);
            Ok(())
        })
        .unwrap();
        let count = || seen.lock().unwrap().len();
        watch.wait(9, count, "shards").unwrap();
        assert_eq!(count(), 1);
        create("b.tar");
        let since = std::time::Instant::now();
        while count() < 2 && since.elapsed() < 4 * SEARCH_INTERVAL {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(watch);
        assert_eq!(*seen.lock().unwrap(), ["a", "b"]);
    }
}
