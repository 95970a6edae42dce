//! The command `unireal data`.

use super::{build, export, show};
use crate::train::encode;
use unireal::Result;

/// What `unireal data` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make shards of samples from videos, from the tabletop world, or from the authors' toolkit format
    #[command(visible_alias = "import")]
    Build(build::Options),
    /// Write pairs of frames in the authors' toolkit format
    Export(build::Options),
    /// Write the frames that a build would keep, for annotators
    Frames(build::Options),
    /// Draw contact sheets of shards, one a kind
    Show(show::Options),
    /// Write the latents and prompts of shards, as training reads them
    Encode(encode::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// Those of the subcommand.
pub fn run(options: &Options) -> Result<()> {
    match &options.command {
        Command::Build(options) => build::run(options),
        Command::Export(options) => export::export(options),
        Command::Frames(options) => export::frames(options),
        Command::Show(options) => show::run(options),
        Command::Encode(options) => encode::run(options),
    }
}
