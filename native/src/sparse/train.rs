//! `assay sparse train`: predictors from a dataset.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context as _;
use assay_study::dataset::Dataset;
use assay_study::labels::{Label, Target};
use assay_study::predictor::Query;
use assay_study::train::{TrainOptions, Trained, train};

use crate::exit::Exit;
use crate::interrupt;
use crate::output::Output;
use crate::sparse::table;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset's folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// What is predicted: neurons (`mlp`) or heads (`att`)
    #[arg(long, value_name = "WHAT", default_value = "mlp", value_parser = ["mlp", "att"])]
    target: String,

    /// From what: `same-layer`, `previous-layer` (its attention's input) or `cross-layer:N`
    #[arg(long, value_name = "QUERY", default_value = "same-layer", value_parser = query)]
    query: Query,

    /// What counts as active: `topk:COUNT`, `quantile:0.3` (the share that is active), `positive` (ReLU), `sign` (the seed's: about half by
    /// construction) or `heads:0.7` [default: quantile:0.3; heads:0.7 for heads]
    #[arg(long, value_name = "LABEL", value_parser = label)]
    label: Option<Label>,

    /// Rank of the predictors [default: 1000, or less where matrices are small]
    #[arg(long, value_name = "R")]
    rank: Option<u32>,

    /// Most epochs
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,

    /// Learning rate of AdamW
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,

    /// Seed of the start and of the order of batches
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Only these layers, as in 0,5,10 [default: all that can be predicted]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    layers: Vec<u32>,

    /// Where to write the predictors [default: a name that says what they are, in the dataset's folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn query(text: &str) -> Result<Query, String> {
    match text {
        "same-layer" => Ok(Query::SameLayer),
        "previous-layer" => Ok(Query::PreviousLayer),
        _ => {
            let from = text.strip_prefix("cross-layer:").map(str::parse);
            match from {
                Some(Ok(from)) => Ok(Query::CrossLayer { from }),
                _ => Err("want same-layer, previous-layer or cross-layer:N".to_owned()),
            }
        }
    }
}

fn label(text: &str) -> Result<Label, String> {
    const WANT: &str = "want topk:COUNT, quantile:SHARE, positive, sign or heads:SHARE";
    let share = |text: &str| match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err(WANT.to_owned()),
    };
    match text.split_once(':') {
        None if text == "positive" => Ok(Label::Positive),
        None if text == "sign" => Ok(Label::Sign),
        Some(("topk", count)) => Ok(Label::TopK {
            keep: count.parse().map_err(|_| WANT.to_owned())?,
        }),
        Some(("quantile", text)) => Ok(Label::Quantile {
            fraction: share(text)?,
        }),
        Some(("heads", text)) => Ok(Label::HeadShare {
            share: share(text)?,
        }),
        _ => Err(WANT.to_owned()),
    }
}

/// Trains, and prints what it is worth on held-out documents.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let dataset = Dataset::open(&args.data)?;
    let target = match args.target.as_str() {
        "att" => Target::Att,
        _ => Target::Mlp,
    };
    let label = args.label.unwrap_or(match target {
        Target::Att => Label::HeadShare { share: 0.7 },
        Target::Mlp => Label::Quantile { fraction: 0.3 },
    });
    let mut options = TrainOptions::new(target, args.query, label);
    options.rank = args.rank.unwrap_or(options.rank);
    options.epochs = args.epochs.unwrap_or(options.epochs);
    options.learning_rate = args.learning_rate.unwrap_or(options.learning_rate);
    options.seed = args.seed;
    options.check()?;
    let facts = dataset.facts();
    let has_source = |layer: &u32| match args.query.source(target, *layer) {
        Some((_, from)) => facts.layers.contains(&from),
        None => false,
    };
    let layers: Vec<u32> = match args.layers.is_empty() {
        true => facts.layers.iter().copied().filter(has_source).collect(),
        false => args.layers.clone(),
    };
    let bar = indicatif::ProgressBar::new_spinner();
    let trained = train(&dataset, &layers, &options, &mut |step| {
        bar.set_message(format!(
            "layer {} ({} of {}), epoch {} of {}, loss {:.4}",
            step.layer,
            step.layers_done + 1,
            step.layers,
            step.epoch,
            step.epochs,
            step.loss
        ));
        bar.tick();
        match interrupt::requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    bar.finish_and_clear();
    interrupt::check()?;
    let Trained { predictor, .. } = trained?;
    let facts = predictor.facts();
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.data.join(facts.file_name()));
    let digest = predictor
        .save(&out)
        .context("the predictors were not kept")?;
    let metrics: Vec<_> = facts.layers.iter().map(|layer| &layer.held_out).collect();
    table::print(&metrics, output)?;
    if let Some(remark) = facts.label.remark() {
        output.note_field("label", format_args!("{}: {remark}", facts.label.name()));
    }
    output.note_field("predictors", out.display());
    output.note_field("digest", digest);
    Ok(Exit::Ok)
}
