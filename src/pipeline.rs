//! From a request to images, as in figure 2 of the paper. The only file that uses tokenizer, networks and sampler together.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};

use crate::composite::composite_onto;
use crate::config::{Attention, Config};
use crate::error::{Error, Result};
use crate::gpu::device::Opened;
use crate::image::Image;
use crate::model::Model;
use crate::model::sequence::{Grid, InputFrame, Sequence, TextStates, check_frames};
use crate::model::tokens::batch_tokens;
use crate::model::vae::Tiling;
use crate::noise::Noise;
use crate::request::{Frame, Request, Role};
use crate::sampler::{self, Branch, Step};
use crate::tokenizer::Tokenizer;
use crate::weights::load::{Plan, Progress};
use crate::weights::source::ShardSource;

/// Longest side of an output in pixels.
pub const MAX_SIDE: u32 = 4096;

/// Latents with more cells than this are encoded and decoded in tiles: 128 x 128 cells are 1024 pixels at stride 8.
const UNTILED_CELLS: usize = 128 * 128;

/// Longest sequence, in tokens, of which two branches of guidance are computed as one batch; a longer one fills a device by itself.
const BATCHED_TOKENS: usize = 1024;

/// The tiles of diffusers.
const TILING: Tiling = Tiling {
    latent: 64,
    overlap: 0.25,
};

/// A loaded model.
///
/// ```ignore-wasm32
/// use unireal::{Image, Pipeline, Request};
///
/// # fn main() -> unireal::Result<()> {
/// let pipeline = Pipeline::from_dir("www/models/tabletop").load_blocking()?;
/// let request = Request::builder("remove the cyan sphere")
///     .canvas(Image::open("www/examples/tabletop-9.png")?)
///     .build()?;
/// let images = pipeline.generate_blocking(&request)?;
/// assert_eq!(images.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pipeline {
    #[doc(hidden)]
    pub config: Config,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) model: Model,
    pub(crate) opened: Opened,
}

/// Branches of guidance that are predicted in one batch.
#[derive(Debug)]
struct Prediction {
    /// One sample per branch.
    sequence: Sequence,
    /// Weight of each branch's velocity.
    weights: Vec<f64>,
}

/// The stages of a generation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Encodes the prompt.
    Text,
    /// Encodes the input images.
    Encode,
    /// Runs the sampler.
    Sample,
    /// Decodes the results.
    Decode,
}

/// An event of a running generation.
#[derive(Debug)]
pub enum Event {
    /// A stage begins; the device has finished the stage before it.
    Stage(Stage),
    /// A sampler step is done.
    Step {
        /// Number of steps done, from 1.
        step: usize,
        /// Number of steps in all.
        steps: usize,
        /// The current estimate of the results, if [`Request::preview_every`] asks for one.
        preview: Option<Vec<Image>>,
    },
}

impl Pipeline {
    /// Makes a pipeline of loaded parts.
    #[doc(hidden)]
    pub fn new(config: Config, tokenizer: Tokenizer, model: Model, opened: Opened) -> Self {
        Pipeline {
            config,
            tokenizer,
            model,
            opened,
        }
    }

    /// Loads the networks that a plan describes.
    ///
    /// # Errors
    /// As [`Plan::load`].
    #[doc(hidden)]
    pub async fn load(
        plan: Plan,
        source: &impl ShardSource,
        opened: Opened,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let model = plan.load(source, &opened.device, on_progress).await?;
        Ok(Self::new(plan.config, plan.tokenizer, model, opened))
    }

    /// Returns the kind of the device, `webgpu` or `cpu`.
    pub fn device_kind(&self) -> &'static str {
        self.opened.kind
    }

    /// Returns the name of the adapter, for people.
    pub fn adapter(&self) -> &str {
        &self.opened.adapter
    }

    /// Returns why [`Device::Auto`](crate::Device::Auto) chose the CPU, if it did.
    pub fn device_note(&self) -> Option<&str> {
        self.opened.note.as_deref()
    }

    /// Generates the images that a request asks for.
    ///
    /// # Errors
    /// [`Error::Request`] before any computation when the request is invalid, [`Error::DeviceLost`] when the device goes away.
    pub async fn generate(&self, request: &Request) -> Result<Vec<Image>> {
        self.generate_with(request, async |_| ControlFlow::Continue(()))
            .await
    }

    /// Like [`Pipeline::generate`], for programs without an async runtime.
    ///
    /// # Errors
    /// As [`Pipeline::generate`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn generate_blocking(&self, request: &Request) -> Result<Vec<Image>> {
        pollster::block_on(self.generate(request))
    }

    /// Generates, and calls `on_event` at each stage and step; [`ControlFlow::Break`] cancels.
    ///
    /// ```ignore-wasm32
    /// use std::ops::ControlFlow;
    /// use unireal::{Event, Pipeline, Request};
    ///
    /// # fn main() -> unireal::Result<()> {
    /// # let pipeline = Pipeline::from_dir("www/models/tabletop").load_blocking()?;
    /// let request = Request::builder("a red cube on a wooden table").build()?;
    /// let result = pollster::block_on(pipeline.generate_with(&request, async |event| match event {
    ///     Event::Step { step: 2, .. } => ControlFlow::Break(()),
    ///     _ => ControlFlow::Continue(()),
    /// }));
    /// assert_eq!(result.unwrap_err().code(), "abort");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Pipeline::generate`], and [`Error::Aborted`] when `on_event` breaks.
    pub async fn generate_with(
        &self,
        request: &Request,
        mut on_event: impl AsyncFnMut(Event) -> ControlFlow<()>,
    ) -> Result<Vec<Image>> {
        request.check()?;
        check_frames(
            &self.config.transformer,
            request.frames.len(),
            request.outputs,
        )?;
        let (width, height) = self.output_size(request)?;
        let tokens = [
            self.tokenizer.encode(&request.text())?,
            self.tokenizer.encode("")?,
        ];

        report(&mut on_event, Stage::Text).await?;
        let texts = self.encode_text(&tokens.each_ref());
        let lengths = tokens.each_ref().map(|tokens| tokens.ids.len());
        settle(&texts.states).await?;

        report(&mut on_event, Stage::Encode).await?;
        let inputs: Vec<InputFrame> = request
            .frames
            .iter()
            .map(|frame| self.encode_frame(frame, (width, height)))
            .collect();
        if let Some(last) = inputs.last() {
            settle(&last.latent).await?;
        }

        report(&mut on_event, Stage::Sample).await?;
        let (cells, channels) = (
            self.config.vae.stride() as u32,
            self.config.vae.latent_channels,
        );
        let shape = [
            1,
            channels,
            (height / cells) as usize,
            (width / cells) as usize,
        ];
        let mut noise = Noise::new(request.seed);
        let noise: Vec<Tensor<4>> = (0..request.outputs)
            .map(|_| noise.tensor(shape, &self.opened.device))
            .collect();
        let grid = Grid::of(&noise[0], self.config.transformer.patch_size);
        let outputs = vec![grid; request.outputs];
        let branches = sampler::guidance(
            self.guidance(request.guidance),
            f64::from(request.image_guidance),
            !inputs.is_empty(),
        );
        let predictions = self.predictions(&branches, &texts, lengths, &inputs, &outputs);
        let canvas = request
            .composite_canvas()
            .map(|canvas| canvas.resize(width, height));
        let canvas = canvas.as_ref();
        let times = sampler::schedule(self.steps(request.steps), self.config.scheduler.shift);
        let velocity = async |x: &[Tensor<4>], t: f64| Ok(self.guided(&predictions, x, t));
        let latents = sampler::sample(request.method, &times, noise, velocity, async |step| {
            self.report_step(&mut on_event, request.preview_every, step, canvas)
                .await
        })
        .await?;

        report(&mut on_event, Stage::Decode).await?;
        self.decode(&latents, canvas).await
    }

    /// Returns the number of sampler steps of a request, by default the pack's.
    #[doc(hidden)]
    pub fn steps(&self, requested: Option<usize>) -> usize {
        requested.unwrap_or(self.config.index.num_inference_steps)
    }

    /// Returns the text guidance scale of a request, by default the pack's.
    fn guidance(&self, requested: Option<f32>) -> f64 {
        requested.map_or(self.config.index.guidance_scale, f64::from)
    }

    async fn report_step(
        &self,
        on_event: &mut impl AsyncFnMut(Event) -> ControlFlow<()>,
        every: usize,
        step: Step<'_>,
        canvas: Option<&Image>,
    ) -> Result<ControlFlow<()>> {
        settle(&step.estimate[0]).await?;
        let wanted = every > 0 && step.step.is_multiple_of(every) && step.step < step.steps;
        let preview = if wanted {
            Some(self.decode(step.estimate, canvas).await?)
        } else {
            None
        };
        let (step, steps) = (step.step, step.steps);
        let event = Event::Step {
            step,
            steps,
            preview,
        };
        Ok(on_event(event).await)
    }

    /// Returns the branches of guidance as sequences. Two short ones with the same images become one batch, which halves the number of
    /// kernel launches. `texts` holds the prompt and an empty prompt of the given lengths.
    fn predictions(
        &self,
        branches: &[(Branch, f64)],
        texts: &TextStates,
        lengths: [usize; 2],
        inputs: &[InputFrame],
        outputs: &[Grid],
    ) -> Vec<Prediction> {
        let transformer = &self.model.transformer;
        // Branches can share a batch if they see the same images; without input images, all do.
        let sees_images = |branch| branch != Branch::Nothing || inputs.is_empty();
        let frames = inputs
            .iter()
            .map(|input| Grid::of(&input.latent, self.config.transformer.patch_size));
        let tokens: usize = frames
            .chain(outputs.iter().copied())
            .map(Grid::tokens)
            .sum();
        // A KV cache must not hold padding.
        let short = lengths[0] + tokens <= BATCHED_TOKENS
            && self.config.transformer.attention == Attention::Full;
        let batched = short
            && branches
                .iter()
                .filter(|(branch, _)| sees_images(*branch))
                .count()
                == 2;
        let (in_one_batch, one_by_one): (Vec<_>, Vec<_>) = branches
            .iter()
            .partition(|(branch, _)| batched && sees_images(*branch));
        let mut predictions = Vec::new();
        if !in_one_batch.is_empty() {
            let inputs: Vec<InputFrame> = inputs
                .iter()
                .map(|input| InputFrame {
                    latent: input.latent.clone().repeat_dim(0, 2),
                    role: input.role,
                })
                .collect();
            predictions.push(Prediction {
                sequence: transformer.sequence(texts, &inputs, outputs),
                weights: in_one_batch.into_iter().map(|(_, weight)| weight).collect(),
            });
        }
        for (branch, weight) in one_by_one {
            let (text, inputs) = match branch {
                Branch::Full => (0, inputs),
                Branch::Images => (1, inputs),
                Branch::Nothing => (1, [].as_slice()),
            };
            let text = texts.sample(text, lengths[text]);
            predictions.push(Prediction {
                sequence: transformer.prepare(&text, inputs, outputs),
                weights: vec![weight],
            });
        }
        predictions
    }

    /// Returns the weighted sum of the branches' velocities.
    fn guided(&self, predictions: &[Prediction], x: &[Tensor<4>], t: f64) -> Vec<Tensor<4>> {
        let velocities = predictions
            .iter()
            .flat_map(|Prediction { sequence, weights }| {
                let b = weights.len();
                let t = TensorData::new(vec![t as f32; b], [b]);
                let t = Tensor::from_data(t, &self.opened.device);
                let x: Vec<Tensor<4>> = x.iter().map(|x| x.clone().repeat_dim(0, b)).collect();
                let v = self.model.transformer.forward(sequence, &x, t);
                weights.iter().enumerate().map(move |(i, weight)| {
                    let own = v.iter().map(|v| v.clone().narrow(0, i, 1) * *weight);
                    own.collect::<Vec<_>>()
                })
            });
        velocities
            .reduce(|sum, v| sum.into_iter().zip(v).map(|(a, b)| a + b).collect())
            .expect("guidance always keeps a branch")
    }

    fn encode_text(&self, texts: &[&crate::tokenizer::Tokens]) -> TextStates {
        let (ids, image_refs, mask) = batch_tokens(texts, &self.config, &self.opened.device);
        TextStates {
            states: self.model.text.forward(ids, mask.clone()),
            image_refs,
            mask,
        }
    }

    fn encode_frame(&self, frame: &Frame, output: (u32, u32)) -> InputFrame {
        // Choice: canvas and control describe the output's own layout, so they take its size; an asset keeps its shape.
        let (width, height) = match frame.role {
            Role::Canvas | Role::Control => output,
            Role::Asset => self.fitted(frame.image.width, frame.image.height),
        };
        let pixels = frame
            .image
            .resize(width, height)
            .to_tensor(&self.opened.device);
        let tiling = self.tiling(width as usize * height as usize);
        InputFrame {
            latent: self.model.vae.encode(pixels, tiling),
            role: frame.role,
        }
    }

    /// Decodes latents; with a canvas, pastes its unchanged pixels back.
    async fn decode(&self, latents: &[Tensor<4>], canvas: Option<&Image>) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for latent in latents {
            let [_, _, y, x] = latent.dims();
            let tiling = self.tiling(y * x * self.config.vae.stride().pow(2));
            let pixels = self.model.vae.decode(latent.clone(), tiling);
            let image = Image::from_tensor(pixels).await?;
            images.push(match canvas {
                Some(canvas) => composite_onto(canvas, &image, self.config.vae.stride()),
                None => image,
            });
        }
        Ok(images)
    }

    fn tiling(&self, pixels: usize) -> Option<Tiling> {
        (pixels / self.config.vae.stride().pow(2) > UNTILED_CELLS).then_some(TILING)
    }

    /// Returns the output's width and height: those of the request, else the first canvas's aspect ratio at the model's area, else a square.
    fn output_size(&self, request: &Request) -> Result<(u32, u32)> {
        let (width, height) = match request.size {
            Some(size) => size,
            None => {
                let canvas = request.frames.iter().find(|f| f.role == Role::Canvas);
                let (w, h) = canvas.map_or((1, 1), |f| (f.image.width, f.image.height));
                return Ok(self.fitted(w, h));
            }
        };
        let grid = self.config.grid() as u32;
        if [width, height]
            .iter()
            .any(|side| !(grid..=MAX_SIDE).contains(side))
        {
            return Err(Error::Request(format!(
                "a size of {width}x{height}; this model makes {grid} to {MAX_SIDE} pixels a side"
            )));
        }
        Ok((to_grid(width as f64, grid), to_grid(height as f64, grid)))
    }

    /// Returns the size on the grid that is nearest to the model's area with this aspect ratio.
    fn fitted(&self, width: u32, height: u32) -> (u32, u32) {
        let size = self.config.index.sample_size as u32;
        fitted(size, self.config.grid() as u32, width, height)
    }
}

/// Returns sides with this aspect ratio and an area near `size` x `size`, as multiples of `grid`.
pub fn fitted(size: u32, grid: u32, width: u32, height: u32) -> (u32, u32) {
    let (w, h) = (f64::from(width), f64::from(height));
    let scale = f64::from(size) / (w * h).sqrt();
    (to_grid(w * scale, grid), to_grid(h * scale, grid))
}

fn to_grid(side: f64, grid: u32) -> u32 {
    let cells = (side / f64::from(grid)).round() as u32;
    cells.clamp(1, MAX_SIDE / grid) * grid
}

/// Waits until the device has computed `x`, by reading one number of it.
async fn settle<const D: usize>(x: &Tensor<D>) -> Result<()> {
    let first = x.clone().slice(std::array::from_fn::<_, D, _>(|_| 0..1));
    first
        .into_data_async()
        .await
        .map(|_| ())
        .map_err(|e| Error::DeviceLost(format!("waiting for a result: {e:?}")))
}

async fn report(
    on_event: &mut impl AsyncFnMut(Event) -> ControlFlow<()>,
    stage: Stage,
) -> Result<()> {
    match on_event(Event::Stage(stage)).await {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Aborted),
    }
}
