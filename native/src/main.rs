//! The `assay` program: one verb a file under `commands`, everything about the terminal in `output` and `progress`.
//!
//! Results go to stdout, all else to stderr. Exit codes are a contract; see [`exit::Exit`].
#![deny(clippy::unwrap_used)]

mod activations_arg;
mod atomic_file;
mod bench;
mod cli;
mod commands;
mod compute_arg;
mod device_arg;
mod doctor;
mod errors;
mod eval;
mod exit;
mod experiment;
mod interrupt;
mod key_arg;
mod live;
mod llama2rs;
mod model_arg;
mod numerics_arg;
mod open_arg;
mod output;
mod progress;
mod prompt_arg;
mod sampler_arg;
mod serve;
mod sparse;
mod suspect_arg;
mod text;
mod token_file;
mod toploc;
mod trace_file;
mod tune_file;
mod verdict;
mod window;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse();
    let output = output::Output::new(cli.no_color);
    let exit = match commands::run(cli, &output) {
        Ok(exit) => exit,
        Err(err) => errors::report(&err, &output),
    };
    exit.into()
}
