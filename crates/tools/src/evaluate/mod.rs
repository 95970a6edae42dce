//! `unireal evaluate`: measures the quality of a pack against ground truth.

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

/// Options of `unireal evaluate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Evaluation to run
    #[command(subcommand)]
    pub on: On,
}

/// Selects the evaluation.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum On {
    /// Compare edits of held-out tabletop scenes with the ground truth
    World(world::Options),
    /// Measure the autoencoder's reconstruction of held-out frames
    Reconstruct(reconstruct::Options),
    /// Run a published benchmark with the protocol of a published number
    Benchmark(benchmark::Options),
    /// Compare runs of a benchmark
    Compare(benchmark::CompareOptions),
    /// Write a blind preference study of two runs' results
    Preference(preference::Options),
    /// Summarise the answers to a preference study
    Answers(preference::AnswersOptions),
    /// Write a backbone's feature vectors of images and captions
    Features(extract::Options),
    /// Measure the tabletop's small encoders on held-out samples
    Retrieval(retrieval::Options),
}

/// Runs the selected evaluation and prints its results.
///
/// # Errors
/// Those of [`world::run`], [`reconstruct::run`], [`benchmark::run`], [`benchmark::compare`], [`preference::run`],
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
