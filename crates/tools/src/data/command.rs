//! The command `unireal data`.

use super::{build, export, show};
use crate::train::encode;
use unireal::Result;

/// Command-line options of `unireal data`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Build shards of samples from videos, the tabletop world or the authors' toolkit format
    #[command(visible_alias = "import")]
    Build(build::Options),
    /// Write pairs of frames in the authors' toolkit format
    Export(build::Options),
    /// Write the frames that a build would select, for annotators
    Frames(build::Options),
    /// Draw contact sheets of shards, one per kind
    Show(show::Options),
    /// Write the latents and prompts of shards in the format that training reads
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
