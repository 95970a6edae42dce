//! `unireal generate`: runs one request from the command line with the pipeline that the browser uses.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::location::Location;
use unireal::Image;
use unireal::internals::cpu::gemm::engine::{self, Precision};
use unireal::internals::gpu::device::Choice;
use unireal::internals::loader::open;
use unireal::internals::weights::load::Plan;
use unireal::{Error, Result};
use unireal::{Event, Pipeline};
use unireal::{Frame, Method, Request, Role, Tag};

/// Options of `unireal generate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Pack: a folder or a URL
    #[arg(long, value_name = "DIR|URL")]
    pub pack: String,
    /// Description of the result; refers to inputs as IMG1, IMG2, ...
    #[arg(long)]
    pub prompt: String,
    /// Input image with its role, canvas, asset or control; may be repeated
    #[arg(long = "image", value_name = "ROLE=PATH")]
    pub images: Vec<String>,
    /// Context tag, instead of the derived ones; may be repeated
    #[arg(long = "context", value_name = "TAG")]
    pub context: Vec<String>,
    /// Size of the results in pixels
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub size: Option<(u32, u32)>,
    /// Number of results
    #[arg(long, default_value_t = 1)]
    pub outputs: usize,
    /// Number of sampler steps; default: the pack's own
    #[arg(long)]
    pub steps: Option<usize>,
    /// Sampling method: euler or heun
    #[arg(long, default_value = "euler")]
    pub method: Method,
    /// Text guidance scale; default: the pack's own
    #[arg(long)]
    pub guidance: Option<f32>,
    /// Image guidance scale
    #[arg(long, default_value_t = 1.0)]
    pub image_guidance: f32,
    /// Take every pixel from the model; otherwise unchanged pixels of the canvas are pasted back
    #[arg(long, alias = "no-keep")]
    pub no_composite: bool,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// auto, cpu, gpu or gpu-f16
    #[arg(long, default_value = "auto")]
    pub device: Choice,
    /// Precision of matrix products on the CPU
    #[arg(long, default_value = "f32", value_parser = crate::arguments::precision())]
    pub precision: Precision,
    /// Output file; with several results, a number is inserted before the extension
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print a JSON report
    #[arg(long)]
    pub json: bool,
}

/// Outputs and durations of a generation.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The written files.
    pub files: Vec<String>,
    /// Seed of the noise.
    pub seed: u64,
    /// The device that it ran on.
    pub device: String,
    /// Time to load the pipeline, in milliseconds.
    pub load_ms: f64,
    /// Time from the request to the images, in milliseconds.
    pub generate_ms: f64,
}

fn size(text: &str) -> std::result::Result<(u32, u32), String> {
    let invalid = || "expected WIDTHxHEIGHT, such as 64x64".to_owned();
    let (width, height) = text.split_once('x').ok_or_else(invalid)?;
    let side = |text: &str| text.parse().map_err(|_| invalid());
    Ok((side(width)?, side(height)?))
}

/// Builds the request that the options describe.
///
/// # Errors
/// [`Error::Request`] for a missing or unknown role and for an unknown tag, [`Error::Io`] for a file that cannot be read,
/// [`Error::Format`] for one that is not an image.
pub fn request(options: &Options) -> Result<Request> {
    let mut request = Request::new(&options.prompt);
    for text in &options.images {
        let (role, path) = text.split_once('=').ok_or_else(|| {
            Error::Request(format!(
                "parsing --image: {text}, expected ROLE=PATH such as canvas={text}"
            ))
        })?;
        request.frames.push(Frame {
            image: Image::open(Path::new(path))?,
            role: role.parse::<Role>()?,
        });
    }
    if !options.context.is_empty() {
        let tags = options.context.iter().map(|tag| tag.parse::<Tag>());
        request.context = Some(tags.collect::<Result<_>>()?);
    }
    request.size = options.size;
    request.outputs = options.outputs;
    request.steps = options.steps;
    request.method = options.method;
    request.guidance = options.guidance;
    request.image_guidance = options.image_guidance;
    request.composite = !options.no_composite;
    request.seed = options.seed;
    request.check()?;
    Ok(request)
}

/// Loads the pack, generates the images and writes them.
///
/// # Errors
/// Errors of the request, the loader and the pipeline.
pub fn run(options: &Options) -> Result<()> {
    let request = request(options)?;
    let _precision = engine::scoped(engine::choose(Some(options.precision), false));
    let report = pollster::block_on(generate(options, &request))?;
    if options.json {
        let json = serde_json::to_string_pretty(&report);
        say!("{}", json.map_err(|e| Error::Internal(e.to_string()))?);
    } else {
        eprintln!(
            "{} on {} in {:.1} s",
            report.files.join(", "),
            report.device,
            report.generate_ms / 1e3
        );
    }
    Ok(())
}

async fn generate(options: &Options, request: &Request) -> Result<Report> {
    let started = Instant::now();
    let source = Location::new(&options.pack);
    let plan = Plan::read(&source).await?;
    let opened = open(options.device).await?;
    if let Some(note) = &opened.note {
        eprintln!("{note}");
    }
    let pipeline = Pipeline::load(plan, &source, opened, &mut |_| {}).await?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let started = Instant::now();
    let images = pipeline
        .generate_with(request, async |event| {
            if let Event::Step { step, steps, .. } = event {
                eprint!("\rstep {step} of {steps}");
                if step == steps {
                    eprintln!();
                }
                let _ = std::io::stderr().flush();
            }
            ControlFlow::Continue(())
        })
        .await?;
    let generate_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut files = Vec::new();
    for (i, image) in images.iter().enumerate() {
        let path = numbered(&options.out, i, images.len());
        image.save(&path)?;
        files.push(path.display().to_string());
    }
    Ok(Report {
        files,
        seed: request.seed,
        device: format!("{} {}", pipeline.device_kind(), pipeline.adapter())
            .trim()
            .to_owned(),
        load_ms,
        generate_ms,
    })
}

/// Returns `out.png` for a single result; `out-1.png`, `out-2.png` and so on for several.
fn numbered(path: &Path, index: usize, count: usize) -> PathBuf {
    if count == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut name = format!("{stem}-{}", index + 1);
    if let Some(extension) = path.extension() {
        name = format!("{name}.{}", extension.to_string_lossy());
    }
    path.with_file_name(name)
}
