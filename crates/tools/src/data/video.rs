//! Reads real videos with the programs `ffprobe` and `ffmpeg`, in every format they support, one frame at a time through a
//! pipe, so that memory does not depend on the length of the video.

mod process;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::clip::Clip;
use super::fit::Fit;
use super::kinds::Counts;
use super::quality;
use process::Program;
pub(crate) use process::check as check_program;
use unireal::Image;
use unireal::{Error, Result};

/// Settings for reading videos.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Side of the square whose area the samples have, in pixels.
    pub side: u32,
    /// Whether samples are square instead of having the video's aspect ratio.
    pub square: bool,
    /// Number of frames decoded per second of video.
    pub rate: f64,
    /// Maximum number of frames per clip.
    pub span: usize,
    /// Maximum number of clips per video; they are spread over its length.
    pub clips: usize,
    /// Time limit for a whole video.
    pub limit: Duration,
    /// Time limit for each wait for the decoder's output.
    pub stall: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            side: 128,
            square: false,
            rate: 6.0,
            span: 18,
            clips: 8,
            limit: Duration::from_secs(600),
            stall: Duration::from_secs(60),
        }
    }
}

/// Minimum number of frames of a shot; shorter ones are dropped.
const MIN_SHOT_FRAMES: usize = 4;

/// Checks that the programs that read videos can be run.
///
/// # Errors
/// [`Error::Unsupported`] with the program that cannot.
pub(super) fn check_programs() -> Result<()> {
    ["ffprobe", "ffmpeg"].into_iter().try_for_each(|name| {
        check_program(name).map_err(|reason| {
            Error::Unsupported(format!("reading videos: {reason}; install FFmpeg"))
        })
    })
}

/// Properties of a video.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Width and height as displayed: after rotation, with square pixels.
    pub size: (u32, u32),
    /// Frames per second.
    pub rate: f64,
    /// Length in seconds, if the file declares it.
    pub seconds: Option<f64>,
}

/// Reads the properties of a video with `ffprobe`.
///
/// # Errors
/// [`Error::Unsupported`] when the program is missing, [`Error::Format`] when it finds no readable video in the file.
pub fn probe(path: &Path, limit: Duration) -> Result<Probe> {
    let name = path.display().to_string();
    let mut program = Program::start(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_streams",
            "-show_format",
            "-of",
            "json",
        ],
        &[],
        path,
    )?;
    let json = program.output(limit, 1 << 20);
    let json = json.map_err(|reason| Error::format(&name, reason))?;
    let report: Value = serde_json::from_slice(&json).map_err(|e| Error::format(&name, e))?;
    parse(&report).map_err(|reason| Error::format(&name, reason))
}

/// Parses the JSON report of `ffprobe`.
fn parse(report: &Value) -> std::result::Result<Probe, String> {
    let stream = report["streams"]
        .get(0)
        .ok_or("reading the video: no video stream, expected one or more")?;
    let side = |name: &str| {
        stream[name]
            .as_u64()
            .filter(|side| (1..=1 << 16).contains(side))
    };
    let (Some(width), Some(height)) = (side("width"), side("height")) else {
        return Err(format!(
            "reading the video: {} x {} pixels, expected 1 to 65536 a side",
            stream["width"], stream["height"]
        ));
    };
    let ratio = |name: &str, separator: char| {
        let (numerator, denominator) = stream[name].as_str()?.split_once(separator)?;
        let ratio = numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?;
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    };
    let pixel_aspect = ratio("sample_aspect_ratio", ':')
        .unwrap_or(1.0)
        .clamp(0.1, 10.0);
    let mut size = ((width as f64 * pixel_aspect).round() as u32, height as u32);
    let side_data = stream["side_data_list"].as_array().into_iter().flatten();
    let rotated = side_data
        .filter_map(|data| data["rotation"].as_i64())
        .any(|r| r.rem_euclid(180) == 90);
    if rotated {
        size = (size.1, size.0);
    }
    // Files without a usable frame rate, such as still images, count as 25 frames per second.
    let rate = ratio("avg_frame_rate", '/').or_else(|| ratio("r_frame_rate", '/'));
    let seconds = |value: &Value| value["duration"].as_str()?.parse().ok();
    Ok(Probe {
        size,
        rate: rate.filter(|rate| *rate < 1e4).unwrap_or(25.0),
        seconds: seconds(stream)
            .or_else(|| seconds(&report["format"]))
            .filter(|s: &f64| *s > 0.0),
    })
}

/// Reads the shots of a video as clips of at most `span` frames of the samples' size; drops are added to `counts`.
///
/// # Errors
/// [`Error::Unsupported`] when a program is missing or the size is out of range, [`Error::Format`] when the file holds no
/// video, when the decoder fails, or when a time limit is exceeded.
pub fn clips(path: &Path, settings: &Settings, counts: &mut Counts) -> Result<(Vec<Clip>, Fit)> {
    let started = Instant::now();
    let name = path.display().to_string();
    let probe = probe(path, settings.stall)?;
    let fit = Fit::new(probe.size, settings.side, settings.square)?;
    // Samples at most at the video's own frame rate.
    let rate = settings.rate.min(probe.rate);
    let mut program = decoder(path, &fit, rate)?;
    let mut shots = Shots::new(path, settings, probe, rate);
    let bytes = 3 * fit.size.0 as usize * fit.size.1 as usize;
    let fail = |reason: String| Error::format(&name, reason);
    while let Some(rgb) = program.chunk(bytes, settings.stall).map_err(fail)? {
        if started.elapsed() > settings.limit {
            let seconds = settings.limit.as_secs();
            return Err(fail(format!(
                "reading the video: took longer than {seconds} s, the time limit"
            )));
        }
        shots.push(Image::from_rgb(fit.size.0, fit.size.1, rgb)?, counts);
    }
    program.end(settings.stall).map_err(fail)?;
    if shots.frames == 0 {
        return Err(fail(
            "reading the video: no frame could be decoded, expected one or more".into(),
        ));
    }
    Ok((shots.finish(counts), fit))
}

fn decoder(path: &Path, fit: &Fit, rate: f64) -> Result<Program> {
    let ((scaled_x, scaled_y), (width, height), (left, top)) = (fit.scaled, fit.size, fit.offset());
    let filter = format!(
        "fps={rate},scale={scaled_x}:{scaled_y}:flags=area,setsar=1,crop={width}:{height}:{left}:{top}"
    );
    let input = ["-v", "error", "-nostdin", "-threads", "1", "-i"];
    let output = [
        "-an", "-sn", "-dn", "-vf", &filter, "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    ];
    Program::start("ffmpeg", &input, &output, path)
}

/// Splits a stream of frames at the shot cuts.
struct Shots<'a> {
    settings: &'a Settings,
    path: PathBuf,
    /// Rate of the decoded frames, per second.
    rate: f64,
    /// Frame rate of the video, per second.
    video_rate: f64,
    /// Number of frames so far.
    frames: u64,
    /// The frames of the present shot, with their numbers in the video.
    shot: Vec<(u64, Image)>,
    /// Every `stride`-th piece becomes a clip, so that the clips spread over the video.
    stride: u64,
    pieces: u64,
    clips: Vec<Clip>,
}

impl<'a> Shots<'a> {
    fn new(path: &Path, settings: &'a Settings, probe: Probe, rate: f64) -> Self {
        let pieces = probe.seconds.unwrap_or(0.0) * rate / settings.span as f64;
        Shots {
            settings,
            path: path.to_owned(),
            rate,
            video_rate: probe.rate,
            frames: 0,
            shot: Vec::new(),
            stride: (pieces / settings.clips as f64).ceil().max(1.0) as u64,
            pieces: 0,
            clips: Vec::new(),
        }
    }

    fn push(&mut self, frame: Image, counts: &mut Counts) {
        let last = self.shot.last();
        let cut = last.is_some_and(|(_, last)| quality::is_cut(last, &frame));
        if cut {
            counts.drop("cut that ends a shot");
        }
        if cut || self.shot.len() == self.settings.span {
            self.end_shot(counts);
        }
        let number = (self.frames as f64 / self.rate * self.video_rate).round() as u64;
        self.shot.push((number, frame));
        self.frames += 1;
    }

    fn end_shot(&mut self, counts: &mut Counts) {
        let shot = std::mem::take(&mut self.shot);
        if shot.len() < MIN_SHOT_FRAMES {
            if !shot.is_empty() {
                counts.drop("short shot");
            }
            return;
        }
        self.pieces += 1;
        let selected = (self.pieces - 1).is_multiple_of(self.stride);
        if !selected || self.clips.len() >= self.settings.clips {
            return;
        }
        let (numbers, frames) = shot.into_iter().unzip();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.clips.push(Clip {
            name: name.into_owned(),
            frames,
            numbers,
            rate: self.video_rate,
            ..Clip::default()
        });
    }

    fn finish(mut self, counts: &mut Counts) -> Vec<Clip> {
        self.end_shot(counts);
        self.clips
    }
}

/// Selects `count` frames of a clip: the sharpest of each of `count` equal intervals, to avoid motion blur.
pub fn select(clip: &Clip, count: usize) -> Vec<usize> {
    let frames = clip.frames.len();
    let count = count.min(frames);
    let start = |i: usize| i * frames / count;
    let blur: Vec<f32> = clip.frames.iter().map(quality::blur).collect();
    let sharpest = |i: usize| (start(i)..start(i + 1)).min_by(|&a, &b| blur[a].total_cmp(&blur[b]));
    (0..count).filter_map(sharpest).collect()
}

/// Returns the clip with only these frames and their annotations.
pub fn select_frames(clip: Clip, frames: &[usize]) -> Clip {
    fn pick<T: Clone>(list: &[T], frames: &[usize]) -> Vec<T> {
        frames
            .iter()
            .filter_map(|&frame| list.get(frame).cloned())
            .collect()
    }
    let mut selected = clip.clone();
    selected.frames = pick(&clip.frames, frames);
    selected.numbers = pick(&clip.numbers, frames);
    selected.frame_captions = pick(&clip.frame_captions, frames);
    selected.depths = pick(&clip.depths, frames);
    for entity in &mut selected.entities {
        entity.masks = pick(&entity.masks, frames);
    }
    let index = |frame: usize| frames.iter().position(|&selected| selected == frame);
    selected.instructions.retain_mut(|instruction| {
        let indices = index(instruction.from).zip(index(instruction.to));
        if let Some((from, to)) = indices {
            (instruction.from, instruction.to) = (from, to);
        }
        indices.is_some()
    });
    selected
}
