//! One file a verb: its flags, and what it does with them.

pub mod adapters;
pub mod bench;
pub mod eval;
pub mod experiment;
pub mod explain;
pub mod keygen;
pub mod logits;
pub mod prove;
pub mod quantize;
pub mod sparse;
pub mod synth;
pub mod tamper;
pub mod tune;
pub mod verify;
pub mod window;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::output::Output;

/// Runs what was asked for.
pub fn run(cli: Cli, output: &Output) -> anyhow::Result<Exit> {
    cli.device.apply_threads()?;
    let device = &cli.device;
    match cli.command {
        Some(Command::Prove(args)) => prove::run(&args, device, output),
        Some(Command::Verify(args)) => verify::run(&args.verify, &args.options, device, output),
        Some(Command::Serve(args)) => crate::serve::run(&args, device, output),
        Some(Command::Explain(args)) => explain::run(&args, output),
        Some(Command::Eval(args)) => eval::run(&args, device, output),
        Some(Command::Experiment(args)) => experiment::run(&args, device, output),
        Some(Command::Calibrate(args)) => crate::experiment::calibrate::run(&args, device, output),
        Some(Command::Noise(args)) => crate::experiment::noise::run(&args, output),
        Some(Command::Sparse(args)) => sparse::run(&args, device, output),
        Some(Command::Keygen(args)) => keygen::run(&args, device, output),
        Some(Command::Llama2Rs(args)) => crate::llama2rs::run(&args, device, output),
        Some(Command::Toploc(args)) => crate::toploc::run(&args, device, output),
        Some(Command::Doctor(args)) => crate::doctor::run(&args, device, output),
        Some(Command::Adapters(args)) => adapters::run(&args, device, output),
        Some(Command::Bench(args)) => bench::run(&args, device, output),
        Some(Command::Tune(args)) => tune::run(&args, device, output),
        Some(Command::Logits(args)) => logits::run(&args, device, output),
        Some(Command::Quantize(args)) => quantize::run(&args, output),
        Some(Command::Synth(args)) => synth::run(&args, output),
        Some(Command::Window(args)) => window::run(&args),
        Some(Command::Tamper(args)) => tamper::run(&args, output),
        None => match &cli.verify {
            Some(file) => verify::run(file, &cli.verify_options, device, output),
            None => window::run(&window::Args::default()),
        },
    }
}
