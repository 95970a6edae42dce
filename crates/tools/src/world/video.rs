//! Encodes frames as video files with the `ffmpeg` program.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::data::video::check_program;
use unireal::Image;
use unireal::{Error, Result};

/// Checks that ffmpeg can be run.
///
/// # Errors
/// [`Error::Unsupported`] when it cannot.
pub(super) fn check() -> Result<()> {
    check_program("ffmpeg").map_err(missing)
}

fn missing(reason: String) -> Error {
    Error::Unsupported(format!(
        "writing videos: {reason}; install FFmpeg or leave out --video"
    ))
}

/// Writes frames of one size as a widely supported H.264 file, at `rate` frames per second.
///
/// # Errors
/// [`Error::Unsupported`] when ffmpeg is missing; [`Error::Format`] with its error output when it fails.
pub(super) fn write<'a>(
    path: &Path,
    frames: impl Iterator<Item = &'a Image>,
    rate: u32,
) -> Result<()> {
    let mut frames = frames.peekable();
    let Some(first) = frames.peek() else {
        return Err(Error::Request(
            "writing a video: 0 frames, expected 1 or more".into(),
        ));
    };
    let mut child = start(path, first.width, first.height, rate)?;
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // If ffmpeg stops reading, its error output explains why; the pipe's error is only reported if ffmpeg succeeds.
    let sent = frames.try_for_each(|frame| stdin.write_all(&frame.rgb));
    drop(stdin);
    let mut complaint = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // An unreadable error output only shortens the message.
        let _ = stderr.read_to_string(&mut complaint);
    }
    let failed = |reason: String| Error::format(path.display().to_string(), reason);
    let status = child.wait().map_err(|e| failed(e.to_string()))?;
    if !status.success() {
        return Err(failed(format!(
            "ffmpeg ended with {status}: {}",
            complaint.trim()
        )));
    }
    sent.map_err(|e| failed(format!("sending the frames to ffmpeg: {e}")))
}

fn start(path: &Path, width: u32, height: u32, rate: u32) -> Result<Child> {
    Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"])
        .args(["-s", &format!("{width}x{height}"), "-r", &rate.to_string()])
        .args(["-i", "-", "-an", "-c:v", "libx264", "-crf", "12"])
        // Sides are padded to even numbers, as yuv420p requires; a single thread makes the output reproducible.
        .args([
            "-vf",
            "pad=ceil(iw/2)*2:ceil(ih/2)*2",
            "-pix_fmt",
            "yuv420p",
        ])
        .args([
            "-threads",
            "1",
            "-fflags",
            "+bitexact",
            "-movflags",
            "+faststart",
        ])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| missing(format!("the program ffmpeg cannot be started ({e})")))
}
