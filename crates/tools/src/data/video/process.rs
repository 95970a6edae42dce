//! A child process whose output is read in chunks, each with a time limit; it never outlives its owner.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use unireal::{Error, Result};

/// Maximum number of bytes of stderr that are stored.
const MAX_STDERR: u64 = 2000;
/// Number of bytes read at once.
const BLOCK: usize = 1 << 16;

/// A running program.
pub(super) struct Program {
    name: &'static str,
    child: Child,
    blocks: Receiver<Vec<u8>>,
    stderr: Option<JoinHandle<String>>,
    /// Bytes that were received but not yet returned.
    buffer: Vec<u8>,
}

type Reason<T> = std::result::Result<T, String>;

/// Checks that a program of FFmpeg can be run; returns the reason when it cannot.
pub(crate) fn check(name: &str) -> Reason<()> {
    let status = Command::new(name)
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the program {name} ended with {status}")),
        Err(e) => Err(format!("the program {name} cannot be started ({e})")),
    }
}

impl Program {
    /// Starts `name input.. path output..`.
    pub(super) fn start(
        name: &'static str,
        input: &[&str],
        output: &[&str],
        path: &Path,
    ) -> Result<Program> {
        // An absolute path is never taken for an option or an address.
        let path = std::path::absolute(path).map_err(|e| Error::io(path, e))?;
        let child = Command::new(name)
            .args(input)
            .arg(&path)
            .args(output)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|e| {
            Error::Unsupported(format!(
                "reading videos: the program {name} cannot be started ({e}); install FFmpeg"
            ))
        })?;
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        // A small queue, so that a fast decoder does not fill the memory.
        let (sender, blocks) = sync_channel(16);
        std::thread::spawn(move || forward(stdout, &sender));
        Ok(Program {
            name,
            child,
            blocks,
            stderr: Some(std::thread::spawn(move || read_stderr(stderr))),
            buffer: Vec::new(),
        })
    }

    /// Returns the next `length` bytes; `None` at the end, where an incomplete chunk is dropped.
    pub(super) fn chunk(&mut self, length: usize, limit: Duration) -> Reason<Option<Vec<u8>>> {
        while self.buffer.len() < length {
            match self.blocks.recv_timeout(limit) {
                Ok(block) => self.buffer.extend(block),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "reading from {}: no output for {} s, the time limit",
                        self.name,
                        limit.as_secs()
                    ));
                }
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }

    /// Returns the whole output, at most `max_length` bytes, if the program succeeds.
    pub(super) fn output(&mut self, limit: Duration, max_length: usize) -> Reason<Vec<u8>> {
        let mut output = Vec::new();
        while let Some(byte) = self.chunk(1, limit)? {
            output.extend(byte);
            output.append(&mut self.buffer);
            if output.len() > max_length {
                return Err(format!(
                    "reading from {}: {} bytes or more, expected at most {max_length}",
                    self.name,
                    output.len()
                ));
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
                    return Err(format!(
                        "waiting for {}: it still runs after {} s, the time limit",
                        self.name,
                        limit.as_secs()
                    ));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok());
        let stderr = stderr.unwrap_or_default();
        if status.success() {
            Ok(())
        } else {
            Err(format!(
                "{}: {}",
                self.name,
                stderr.trim().replace('\n', "; ")
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

/// Sends stdout block by block until it ends or the receiver is gone.
fn forward(mut stdout: impl Read, sender: &SyncSender<Vec<u8>>) {
    loop {
        let mut block = vec![0; BLOCK];
        match stdout.read(&mut block) {
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
fn read_stderr(mut stderr: impl Read) -> String {
    let mut beginning = Vec::new();
    let _ = stderr.by_ref().take(MAX_STDERR).read_to_end(&mut beginning);
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    String::from_utf8_lossy(&beginning).into_owned()
}
