//! `assay toploc`: proofs of TOPLOC, made and checked. What they can tell and what not is in docs/toploc.md.
//!
//! | file | subject |
//! |---|---|
//! | `source` | where the rows come from: a file of activations, a trace, or a run of the model |
//! | `prove`, `verify` | the two verbs |

mod prove;
mod source;
mod verify;

use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::output::Output;

/// `assay toploc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Make proofs of a run's last hidden states
    Prove(prove::Args),
    /// Hold proofs against one's own activations
    Verify(verify::Args),
}

/// Runs the part that was asked for.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    match &args.part {
        Part::Prove(args) => prove::run(args, device, output),
        Part::Verify(args) => verify::run(args, device, output),
    }
}
