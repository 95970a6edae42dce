//! `unireal evaluate`: what a pack can do, measured against truth.

pub mod backbone;
pub mod benchmark;
mod cases;
pub mod extract;
pub mod features;
mod metrics;
mod networks;
pub mod preference;
pub mod profile;
pub mod reconstruct;
pub(super) mod requests;
pub mod resample;
pub mod retrieval;
pub mod sampling;
mod score;
mod seen;
pub mod statistics;
pub mod world;

use unireal::Result;

/// What `unireal evaluate` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What to evaluate on
    #[command(subcommand)]
    pub on: On,
}

/// What to evaluate on.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum On {
    /// Held-out scenes of the tabletop world against their truth
    World(world::Options),
    /// What the autoencoder alone makes of held-out frames
    Reconstruct(reconstruct::Options),
    /// A published benchmark, by the profile of a published number
    Benchmark(benchmark::Options),
    /// Runs of a benchmark with each other
    Compare(benchmark::CompareOptions),
    /// Write a study in which people prefer one of two runs' results without knowing whose they are
    Preference(preference::Options),
    /// What the raters of such a study have answered
    Answers(preference::AnswersOptions),
    /// Write a backbone's feature vectors of pictures and captions
    Features(extract::Options),
    /// Measure small encoders of the tabletop on held-out samples
    Retrieval(retrieval::Options),
}

/// Evaluates and prints.
///
/// # Errors
/// As what is evaluated on: see [`world::run`], [`reconstruct::run`], [`benchmark::run`], [`benchmark::compare`], [`preference::run`],
/// [`preference::answers()`], [`extract::run`] and [`retrieval::run`].
pub fn run(options: &Options) -> Result<()> {
    match &options.on {
        On::World(options) => world::run(options),
        On::Reconstruct(options) => reconstruct::run(options),
        On::Benchmark(options) => benchmark::run(options),
        On::Compare(options) => benchmark::compare(options),
        On::Preference(options) => preference::run(options),
        On::Answers(options) => preference::answers(options),
        On::Features(options) => extract::run(options),
        On::Retrieval(options) => retrieval::run(options),
    }
}
