//! Traces of llama2-rs on the command line: `--verify` and `explain` know them by their head; the verb `llama2-rs` writes them and their
//! proofs.
//!
//! | file | subject |
//! |---|---|
//! | `args` | flags of `--verify` that only such a trace has, and what the others mean for it |
//! | `verify` | a trace against a replay on the CPU, and how far an adapter is from it |
//! | `distance` | that distance |
//! | `report`, `print` | the JSON contract (docs/llama2-rs.schema.json), and it for people |
//! | `explain` | the provenance table |
//! | `prove`, `proof` | the verb's parts |

mod args;
mod distance;
mod explain;
mod print;
mod proof;
mod prove;
mod report;
mod verify;

pub use args::{Asked, Llama2RsArgs, SamplerNumbers};
pub use explain::explain;
pub use print::{bullet, field};
pub use verify::{Shown, verify};

use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::output::Output;

/// `assay llama2-rs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Run a llama2.c checkpoint as llama2-rs does, and write its trace
    Prove(prove::Args),
    /// Write the proof of one step of a trace
    Proof(proof::Args),
    /// Check such a proof alone, against a root from elsewhere
    Check(proof::CheckArgs),
}

/// Runs the part that was asked for. All of it is arithmetic on the CPU.
pub fn run(args: &Args, _device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    match &args.part {
        Part::Prove(args) => prove::run(args, output),
        Part::Proof(args) => proof::run(args, output),
        Part::Check(args) => proof::check(args, output),
    }
}
