//! The command line. `--verify FILE` is the headline and therefore a flag of the program itself; the rest are verbs.

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{
    adapters, bench, eval, experiment, explain, keygen, logits, prove, quantize, sparse, synth,
    tamper, tune, verify, window,
};
use crate::device_arg::DeviceArgs;

const EXAMPLES: &str = "\
Examples:
  assay prove --prompt \"ROMEO:\" --temperature 0.8 --trace trace.bin
  assay --verify trace.bin
  assay --verify trace.bin --model ./Llama-3.2-1B --json
  assay explain trace.bin
  assay keygen --model ./Llama-3.2-1B   (then, without the model:)
  assay --verify trace.bin --key Llama-3.2-1B.SECRET.assay-key
  assay serve --model ./Llama-3.2-1B    (a live prover; elsewhere, then:)
  assay --verify http://HOST:8737 --model ./Llama-3.2-1B --prompt \"ROMEO:\"
  assay                                 (opens the window)

Exit codes:
  0    accepted (or the verb is done)
  1    rejected; a malformed trace too
  2    nothing was judged: usage, missing file, model or device
  3    inconclusive
  130  interrupted

Run `assay help VERB` for a verb's options.";

/// Verifies LLM inference: re-runs a claimed run on this machine and says ACCEPT, REJECT or INCONCLUSIVE.
#[derive(Debug, Parser)]
#[command(name = "assay", version, after_help = EXAMPLES, max_term_width = 80)]
pub struct Cli {
    /// Verify this trace; `-` reads it from stdin, http://HOST:PORT asks a live prover
    #[arg(long = "verify", value_name = "FILE", help_heading = "Verification")]
    pub verify: Option<std::path::PathBuf>,

    #[command(flatten)]
    pub verify_options: verify::Options,

    #[command(flatten)]
    pub device: DeviceArgs,

    /// Print without colour (as does the environment variable NO_COLOR)
    #[arg(long, global = true, help_heading = "Common options")]
    pub no_color: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a model and write a trace of the run
    Prove(prove::Args),
    /// The same as `assay --verify FILE`
    Verify(Box<verify::Args>),
    /// Be a live prover: run a model for verifiers that ask over HTTP
    Serve(crate::serve::Args),
    /// Show what a trace claims, without checking it against a model
    Explain(explain::Args),
    /// Make a verifier key: what it takes to audit traces of a model without its weights
    Keygen(keygen::Args),
    /// Generate on a device while this machine's CPU checks every linear layer
    Eval(eval::Args),
    /// Sparse MLPs: collect, train and evaluate predictors, measure what skipping does
    Sparse(sparse::Args),
    /// VeriLLM's experiments: how often honest runs pass and dishonest ones are caught
    Experiment(Box<experiment::Args>),
    /// Measure what honest runs look like on your devices: thresholds, and a profile for `--verify --profile`
    Calibrate(Box<crate::experiment::calibrate::Args>),
    /// Noise on a model's products: losses by stream, and perplexity
    Noise(crate::experiment::noise::Args),
    /// Write a quantised copy of a model, by rounding to nearest, for experiments
    Quantize(quantize::Args),
    /// Open the window, as does `assay` alone
    Window(window::Args),
    /// Traces of llama2-rs: write one, write and check proofs of single steps
    #[command(name = "llama2-rs")]
    Llama2Rs(crate::llama2rs::Args),
    /// TOPLOC proofs: make them of a run, hold them against your own
    Toploc(crate::toploc::Args),
    /// Say whether this machine can verify, and what to do where it cannot
    Doctor(crate::doctor::Args),
    /// List the adapters that this machine can compute on
    Adapters(adapters::Args),
    /// Measure how fast a model runs, and where its time goes
    Bench(bench::Args),
    /// Measure which kernels are fastest on an adapter, and remember them for it
    Tune(tune::Args),
    /// Write a model's logits and hidden states for a prompt, for comparison with other programs
    #[command(hide = true)]
    Logits(logits::Args),
    /// Write a synthetic checkpoint of a published shape, for measurements
    #[command(hide = true)]
    Synth(synth::Args),
    /// Make a dishonest copy of a trace, for demonstrations and tests
    #[command(hide = true)]
    Tamper(tamper::Args),
}

/// Parses the command line; usage errors and `--help` end the process here.
pub fn parse() -> Cli {
    let plain = std::env::args_os().any(|arg| arg == "--no-color");
    let command = Cli::command().color(if plain {
        ColorChoice::Never
    } else {
        ColorChoice::Auto
    });
    let mut usage = command.clone();
    let matches = command.get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|err| err.format(&mut usage).exit());
    match (&cli.verify, &cli.command) {
        (Some(_), Some(_)) => conflict(&mut usage, "--verify is not for use with another verb"),
        (None, None) if std::env::args_os().skip(1).any(|arg| arg != "--no-color") => {
            conflict(&mut usage, "nothing to do: give --verify FILE or a verb")
        }
        _ => cli,
    }
}

fn conflict(usage: &mut clap::Command, message: &str) -> ! {
    usage
        .error(clap::error::ErrorKind::ArgumentConflict, message)
        .exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }
}
