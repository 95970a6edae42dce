//! The command `unireal data`.

use super::{build, show};
use crate::error::Result;

/// What `unireal data` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make shards of samples from videos
    Build(build::Options),
    /// Draw contact sheets of shards, one a kind
    Show(show::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// Those of the subcommand.
pub fn run(options: &Options) -> Result<()> {
    match &options.command {
        Command::Build(options) => build::run(options),
        Command::Show(options) => show::run(options),
    }
}
