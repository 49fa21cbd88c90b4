//! `assay sparse`: datasets of a model's inside, predictors of what is active, and what skipping the rest really does.

use clap::Subcommand;

use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::output::Output;
use crate::sparse::{bench, collect, report, thresholds, train};

/// Its verbs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a model over a text and keep its layers' inside
    Collect(collect::Args),
    /// Measure thresholds for the rules `cats` and `teal`
    Thresholds(thresholds::Args),
    /// Train predictors of active neurons or heads
    Train(train::Args),
    /// Hold predictors against held-out documents
    Eval(report::EvalArgs),
    /// Write tables and plots of predictors and of drift
    Report(report::ReportArgs),
    /// Measure perplexity and speed at several sparsities: dense, oracle, predicted
    Bench(bench::Args),
}

/// Does what was asked for.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Collect(args) => collect::run(args, device, output),
        Verb::Thresholds(args) => thresholds::run(args, device, output),
        Verb::Train(args) => train::run(args, output),
        Verb::Eval(args) => report::eval(args, output),
        Verb::Report(args) => report::run(args, output),
        Verb::Bench(args) => bench::run(args, device, output),
    }
}
