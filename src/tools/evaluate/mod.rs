//! `unireal evaluate`: what a pack can do, measured against truth.

pub mod backbone;
mod cases;
pub mod features;
mod metrics;
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
}

/// Evaluates and prints.
///
/// # Errors
/// As what is evaluated on: see [`world::run`].
pub fn run(options: &Options) -> Result<()> {
    match &options.on {
        On::World(options) => world::run(options),
    }
}
