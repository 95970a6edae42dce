//! The native command `unireal`: one line a subcommand.

use clap::{Parser, Subcommand};
use unireal_tools::{bench, data, evaluate, generate, pack, train, world};

/// UniReal in the open: one transformer that generates and edits images.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate or edit pictures
    Generate(generate::Options),
    /// Turn a checkpoint into a pack for any static host
    Pack(pack::PackOptions),
    /// Say what a pack holds, and verify it
    Inspect(pack::InspectOptions),
    /// Make training data from videos
    Data(data::command::Options),
    /// Measure a pack against truth
    Evaluate(evaluate::Options),
    /// Film the tabletop world: clips, edits and their truth, videos
    World(world::Options),
    /// Train a model on shards of samples
    Train(train::Options),
    /// Time what the others do
    Bench(bench::Options),
}

fn main() -> std::process::ExitCode {
    let result = match Arguments::parse().command {
        Command::Generate(options) => generate::run(&options),
        Command::Pack(options) => pack::pack(&options),
        Command::Inspect(options) => pack::run_inspect(&options),
        Command::Data(options) => data::command::run(&options),
        Command::Evaluate(options) => evaluate::run(&options),
        Command::World(options) => world::run(&options),
        Command::Train(options) => train::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("unireal: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
