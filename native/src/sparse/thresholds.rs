//! `assay sparse thresholds`: thresholds by layer that leave a share of neurons active, measured on a text.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use assay_engine::sparsity::SparseModel;
use assay_engine::{Engine, Numerics, Want, numerics};
use assay_model::Mlp;
use assay_trace::Decimal;

use super::corpus::TextArgs;
use super::files::Thresholds;
use crate::atomic_file::AtomicFile;
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::interrupt;
use crate::model_arg::{self, ModelArgs};
use crate::output::Output;
use crate::progress::Progress;

/// Values of a layer that are kept for a quantile.
const SAMPLE: usize = 1 << 20;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    text: TextArgs,

    /// For which rule: `cats` or `teal`
    #[arg(long, value_name = "RULE", default_value = "cats", value_parser = ["cats", "teal"])]
    rule: String,

    /// Share that stays active, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50.0)]
    share: f64,

    /// Where to write them
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Every so many-th value, so that what is kept stays small.
struct Sample {
    stride: usize,
    seen: usize,
    kept: Vec<f32>,
}

impl Sample {
    fn of(total: usize) -> Self {
        Self {
            stride: total.div_ceil(SAMPLE).max(1),
            seen: 0,
            kept: Vec::new(),
        }
    }

    fn add(&mut self, values: impl Iterator<Item = f32>) {
        for value in values {
            if self.seen.is_multiple_of(self.stride) {
                self.kept.push(value);
            }
            self.seen += 1;
        }
    }

    /// The value that `share` of them reach.
    fn reached_by(mut self, share: f64) -> anyhow::Result<Decimal> {
        let n = self.kept.len();
        let at = ((1.0 - share) * n as f64) as usize;
        let (_, value, _) = self
            .kept
            .select_nth_unstable_by(at.min(n.saturating_sub(1)), f32::total_cmp);
        Ok(Decimal::from_f64(f64::from(*value))?)
    }
}

/// Measures.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        args.share > 0.0 && args.share < 100.0,
        "--share is {}: want a percentage between 0 and 100",
        args.share
    );
    let file = AtomicFile::create(&args.out)?;
    let model = args.model.open(output, false)?;
    let config = model.config().clone();
    let corpus = args.text.read(&model)?;
    let mut progress = Progress::start(true);
    let root = model_arg::root(&model, &mut progress)?;
    let is_teal = args.rule == "teal";
    // With thresholds of 0 everything is active, and what a rule looks at can be read.
    let zeros = vec![Decimal::ZERO; config.layers];
    let sparse = match is_teal {
        true => SparseModel::teal(zeros.clone(), zeros),
        false => SparseModel::cats(zeros),
    };
    let tokens = corpus.tokens() as usize;
    let samples = |width: usize| -> Vec<Sample> {
        let one = |_| Sample::of(tokens * width);
        (0..config.layers).map(one).collect()
    };
    let mut inputs = samples(if is_teal { config.hidden } else { 0 });
    let mut neurons = samples(config.intermediate);
    let size = |v: f32| match (is_teal, config.family.mlp()) {
        (true, _) => v.abs(),
        (false, Mlp::Gated) => numerics::silu(v).abs(),
        (false, Mlp::Relu) => v.max(0.0),
    };
    let want = Want {
        scores: true,
        ..Want::default()
    };
    let longest = corpus.documents.iter().map(Vec::len).max().unwrap_or(1);
    pollster::block_on(async {
        let device = device.open().await?;
        let mut engine = Engine::load_with(
            &device,
            &model,
            longest,
            Numerics::Fast,
            Some(Arc::new(sparse)),
            &mut progress,
        )
        .await?;
        for ids in &corpus.documents {
            interrupt::check()?;
            engine.reset();
            engine
                .prefill(ids, &want, &mut progress, |outputs| -> anyhow::Result<()> {
                    for (l, scores) in outputs.scores.iter().enumerate() {
                        inputs[l].add(scores.input.iter().map(|v| v.abs()));
                        neurons[l].add(scores.neurons.iter().map(|v| size(*v)));
                    }
                    Ok(())
                })
                .await?;
        }
        anyhow::Ok(())
    })?;
    progress.clear();
    let share = args.share / 100.0;
    let reached = |samples: Vec<Sample>| -> anyhow::Result<Vec<Decimal>> {
        samples.into_iter().map(|s| s.reached_by(share)).collect()
    };
    let thresholds = Thresholds {
        format: Thresholds::FORMAT.to_owned(),
        version: 1,
        root,
        measured_on: format!("{} ({} tokens)", corpus.name, corpus.tokens()),
        share,
        input: match is_teal {
            true => Some(reached(inputs)?),
            false => None,
        },
        neurons: reached(neurons)?,
    };
    let json = serde_json::to_string_pretty(&thresholds)?;
    file.finish(|file| writeln!(file, "{json}"))?;
    output.note_field("thresholds", args.out.display());
    output.note_field(
        "use",
        format_args!("--sparse {}:{}", args.rule, args.out.display()),
    );
    Ok(Exit::Ok)
}
