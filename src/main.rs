//! The native command `unireal`: one line a subcommand.

use clap::{Parser, Subcommand};
use unireal::tools::{train, world};

/// UniReal in the open: one transformer that generates and edits images.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Render samples of the tabletop world
    World(world::Options),
    /// Train a model on the tabletop world
    Train(train::Options),
}

fn main() -> std::process::ExitCode {
    let result = match Arguments::parse().command {
        Command::World(options) => world::run(&options),
        Command::Train(options) => train::run(&options),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("unireal: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
