//! The native command `unireal` with its subcommands.

use clap::{Parser, Subcommand};
use unireal_tools::{arguments, bench, data, evaluate, generate, pack, precision, train, world};

/// UniReal in the open: one diffusion transformer that generates and edits images.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate or edit images
    Generate(generate::Options),
    /// Convert a checkpoint to a pack for any static host
    Pack(pack::PackOptions),
    /// Print the contents of a pack and verify it
    Inspect(pack::InspectOptions),
    /// Create training data from videos
    Data(data::command::Options),
    /// Measure the quality of a pack against ground truth
    Evaluate(evaluate::Options),
    /// Render the tabletop world: clips, edits with their ground truth, videos
    World(world::Options),
    /// Train a model on shards of samples
    Train(train::Options),
    /// Measure the speed of training and inference
    Bench(bench::Options),
}

fn main() -> std::process::ExitCode {
    arguments::warn_of_old_names(std::env::args_os());
    let command = Arguments::parse().command;
    let result = precision::check_variable().and_then(|()| match command {
        Command::Generate(options) => generate::run(&options),
        Command::Pack(options) => pack::pack(&options),
        Command::Inspect(options) => pack::run_inspect(&options),
        Command::Data(options) => data::command::run(&options),
        Command::Evaluate(options) => evaluate::run(&options),
        Command::World(options) => world::run(&options),
        Command::Train(options) => train::run(&options),
        Command::Bench(options) => bench::run(&options),
    });
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("unireal: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
