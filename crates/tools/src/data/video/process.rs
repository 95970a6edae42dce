//! A child process whose output is read in chunks, each with a time limit; it never outlives its owner.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use unireal::{Error, Result};

/// Maximum number of bytes of stderr that are stored.
const COMPLAINTS: u64 = 2000;
/// Number of bytes read at once.
const BLOCK: usize = 1 << 16;

/// A running program.
pub(super) struct Program {
    name: &'static str,
    child: Child,
    blocks: Receiver<Vec<u8>>,
    complaints: Option<JoinHandle<String>>,
    rest: Vec<u8>,
}

type Reason<T> = std::result::Result<T, String>;

impl Program {
    /// Starts `name before.. path after..`.
    pub(super) fn start(
        name: &'static str,
        before: &[&str],
        after: &[&str],
        path: &Path,
    ) -> Result<Program> {
        // An absolute path is never taken for an option or an address.
        let path =
            std::path::absolute(path).map_err(|e| Error::format(path.display().to_string(), e))?;
        let child = Command::new(name)
            .args(before)
            .arg(&path)
            .args(after)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|e| {
            Error::Unsupported(format!(
                "the program {name} cannot be started ({e}); install FFmpeg, which reads the videos"
            ))
        })?;
        let output = child.stdout.take().expect("it is piped");
        let errors = child.stderr.take().expect("it is piped");
        // A small queue, so that a fast decoder does not fill the memory.
        let (sender, blocks) = sync_channel(16);
        std::thread::spawn(move || forward(output, &sender));
        Ok(Program {
            name,
            child,
            blocks,
            complaints: Some(std::thread::spawn(move || read_complaints(errors))),
            rest: Vec::new(),
        })
    }

    /// Returns the next `length` bytes; `None` at the end, where an incomplete chunk is dropped.
    pub(super) fn chunk(&mut self, length: usize, limit: Duration) -> Reason<Option<Vec<u8>>> {
        while self.rest.len() < length {
            match self.blocks.recv_timeout(limit) {
                Ok(block) => self.rest.extend(block),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "{} gave nothing for {} s",
                        self.name,
                        limit.as_secs()
                    ));
                }
            }
        }
        let rest = self.rest.split_off(length);
        Ok(Some(std::mem::replace(&mut self.rest, rest)))
    }

    /// Returns all output, at most `most` bytes, if the program succeeds.
    pub(super) fn all(&mut self, limit: Duration, most: usize) -> Reason<Vec<u8>> {
        let mut output = Vec::new();
        while let Some(byte) = self.chunk(1, limit)? {
            output.extend(byte);
            output.append(&mut self.rest);
            if output.len() > most {
                return Err(format!("{} said more than {most} bytes", self.name));
            }
        }
        self.end(limit)?;
        Ok(output)
    }

    /// Waits for the program to end; the error is its stderr when it failed.
    pub(super) fn end(&mut self, limit: Duration) -> Reason<()> {
        let started = Instant::now();
        let status = loop {
            match self.child.try_wait().map_err(|e| e.to_string())? {
                Some(status) => break status,
                None if started.elapsed() > limit => {
                    return Err(format!("{} does not end", self.name));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok());
        let complaints = complaints.unwrap_or_default();
        if status.success() {
            Ok(())
        } else {
            Err(format!(
                "{}: {}",
                self.name,
                complaints.trim().replace('\n', "; ")
            ))
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Errors mean that the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(mut output: impl Read, sender: &SyncSender<Vec<u8>>) {
    loop {
        let mut block = vec![0; BLOCK];
        match output.read(&mut block) {
            Ok(0) => return,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
            Ok(length) => block.truncate(length),
        }
        if sender.send(block).is_err() {
            return;
        }
    }
}

/// Returns the beginning of stderr. The rest is read and discarded, so that the program does not block.
fn read_complaints(mut errors: impl Read) -> String {
    let mut selected = Vec::new();
    let _ = errors.by_ref().take(COMPLAINTS).read_to_end(&mut selected);
    let _ = std::io::copy(&mut errors, &mut std::io::sink());
    String::from_utf8_lossy(&selected).into_owned()
}
