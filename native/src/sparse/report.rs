//! `assay sparse eval` and `assay sparse report`: what predictors are worth on held-out documents, and how hidden states drift.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use assay_study::dataset::{Dataset, DatasetFacts};
use assay_study::drift::{Drift, SeedVerdict};
use assay_study::labels::Target;
use assay_study::metrics::evaluate;
use assay_study::predictor::{Predictor, Wanted};
use assay_study::report::{self, PredictorReport, plot};

use crate::exit::Exit;
use crate::interrupt;
use crate::output::Output;
use crate::sparse::table;

/// Flags of `eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// The dataset's folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// A file of predictors
    #[arg(long, value_name = "FILE")]
    predictor: PathBuf,

    /// Seed of the random predictor beside it
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Flags of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The dataset's folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Files of predictors that differ in their seed alone: more of them give intervals
    #[arg(long, value_name = "FILE", num_args = 1..)]
    predictor: Vec<PathBuf>,

    /// Folder for report.json, layers.csv, drift.csv, the plots, and sheet.json, which the app draws
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Evaluates anew, on the dataset at hand.
pub fn eval(args: &EvalArgs, output: &Output) -> anyhow::Result<Exit> {
    let dataset = Dataset::open(&args.data)?;
    let predictor = load(&args.predictor, dataset.facts())?;
    let mut all = Vec::new();
    for layer in &predictor.facts().layers {
        interrupt::check()?;
        all.push(evaluate(&dataset, &predictor, layer.layer, args.seed)?);
    }
    if args.json {
        output.json(&all)?;
    } else {
        table::print(&all.iter().collect::<Vec<_>>(), output)?;
    }
    Ok(Exit::Ok)
}

/// Writes the report.
pub fn run(args: &ReportArgs, output: &Output) -> anyhow::Result<Exit> {
    let dataset = Dataset::open(&args.data)?;
    let predictors: Vec<Predictor> = args
        .predictor
        .iter()
        .map(|path| load(path, dataset.facts()))
        .collect::<anyhow::Result<_>>()?;
    let all: Vec<&Predictor> = predictors.iter().collect();
    let report = PredictorReport::new(dataset.facts(), &all)?;
    report.write(&args.out)?;
    let write = |name: &str, text: &str| {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let mut measured = None;
    // Drift needs every layer's input; a dataset of some layers has none.
    if dataset.facts().layers.len() == dataset.facts().model_layers as usize {
        let drift = Drift::of_dataset(&dataset)?;
        let name = &dataset.facts().family;
        write("drift.json", &report::to_json(&drift)?)?;
        write("drift.csv", &report::drift_csv(&drift))?;
        write("drift.svg", &plot::drift(&drift, name)?)?;
        if let Some(verdict) = SeedVerdict::of(name, &drift) {
            write("drift-seed.json", &report::to_json(&verdict)?)?;
        }
        measured = Some(drift);
    }
    write("sheet.json", &report.to_sheet(measured.as_ref()).to_json()?)?;
    let metrics: Vec<_> = predictors
        .first()
        .map(|p| p.facts().layers.iter().map(|l| &l.held_out).collect())
        .unwrap_or_default();
    table::print(&metrics, output)?;
    output.note_field("report", args.out.display());
    Ok(Exit::Ok)
}

fn load(path: &Path, facts: &DatasetFacts) -> anyhow::Result<Predictor> {
    let peeked = Predictor::peek(path)?;
    let outputs = match peeked.target {
        Target::Mlp => facts.intermediate,
        Target::Att => facts.heads,
    };
    let wanted = Wanted {
        root: facts.root,
        target: peeked.target,
        hidden: facts.hidden,
        outputs,
        model_layers: facts.model_layers,
        layers: peeked.layers.iter().map(|l| l.layer).collect(),
        digest: None,
    };
    let (predictor, _) = Predictor::load(path, &wanted)?;
    ensure!(
        !predictor.facts().layers.is_empty(),
        "{} predicts no layer",
        path.display()
    );
    Ok(predictor)
}
