//! `unireal evaluate`: what a pack can do, measured against truth.

pub mod backbone;
mod cases;
pub mod extract;
pub mod features;
mod metrics;
pub mod resample;
pub mod retrieval;
mod score;
mod seen;
pub mod world;

use crate::error::Result;

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
    /// Write a backbone's feature vectors of pictures and captions
    Features(extract::Options),
    /// Measure small encoders of the tabletop on held-out samples
    Retrieval(retrieval::Options),
}

/// Evaluates and prints.
///
/// # Errors
/// As what is evaluated on: see [`world::run`], [`extract::run`] and [`retrieval::run`].
pub fn run(options: &Options) -> Result<()> {
    match &options.on {
        On::World(options) => world::run(options),
        On::Features(options) => extract::run(options),
        On::Retrieval(options) => retrieval::run(options),
    }
}
