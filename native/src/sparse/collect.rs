//! `assay sparse collect`: a model's inside over a text, for training predictors.

use std::path::PathBuf;

use anyhow::Context as _;
use assay_engine::{Engine, Numerics, Want};
use assay_model::{Mlp, ModelConfig};
use assay_study::Stored;
use assay_study::dataset::{Activation, DatasetFacts, RowId, Rows, Split, TextFacts, Writer};

use super::corpus::TextArgs;
use crate::device_arg::{DeviceArgs, in_a_line};
use crate::exit::Exit;
use crate::interrupt;
use crate::model_arg::{self, ModelArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::text;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    text: TextArgs,

    /// Folder for the dataset; one that was begun is gone on with
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Only these layers, as in 0,5,10 [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    layers: Vec<u32>,

    /// How numbers are stored: f16 or f32
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = ["f16", "f32"])]
    dtype: String,
}

/// Collects. Killed, it goes on at the last whole document.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let model = args.model.open(output, false)?;
    let config = model.config().clone();
    let corpus = args.text.read(&model)?;
    let mut progress = Progress::start(true);
    let root = model_arg::root(&model, &mut progress)?;
    let mut layers = match args.layers.is_empty() {
        true => (0..config.layers as u32).collect(),
        false => args.layers.clone(),
    };
    layers.sort_unstable();
    layers.dedup();
    let facts = DatasetFacts {
        activation: match config.family.mlp() {
            Mlp::Gated => Activation::SiluGated,
            Mlp::Relu => Activation::Relu,
        },
        dtype: match args.dtype.as_str() {
            "f32" => Stored::F32,
            _ => Stored::F16,
        },
        family: config.family.as_str().to_owned(),
        format: DatasetFacts::FORMAT.to_owned(),
        heads: config.heads as u32,
        hidden: config.hidden as u32,
        intermediate: config.intermediate as u32,
        layers: layers.clone(),
        model_layers: config.layers as u32,
        root,
        split: Split::default(),
        text: TextFacts {
            digest: corpus.digest,
            name: corpus.name.clone(),
        },
        tokens: corpus.tokens(),
        version: DatasetFacts::VERSION,
    };
    let mut writer = Writer::open(&args.out, &facts)?;
    let begun = writer.rows();
    let longest = corpus.documents.iter().map(Vec::len).max().unwrap_or(1);
    let want = Want {
        states: layers.iter().map(|l| *l as usize).collect(),
        inside: layers.iter().map(|l| *l as usize).collect(),
        ..Want::default()
    };
    let info = pollster::block_on(async {
        let device = device.open().await?;
        let numerics = Numerics::Fast;
        let mut engine = Engine::load(&device, &model, longest, numerics, &mut progress).await?;
        let mut at = 0;
        for (document, ids) in (0u32..).zip(&corpus.documents) {
            at += ids.len() as u64;
            // A chunk is a document, so what is there ends with one.
            if at <= begun {
                continue;
            }
            interrupt::check()?;
            engine.reset();
            collect(
                &mut engine,
                &mut writer,
                document,
                ids,
                &layers,
                &want,
                &mut progress,
            )
            .await?;
        }
        anyhow::Ok(engine.info().clone())
    })?;
    progress.clear();
    output.note_field("adapter", in_a_line(&info));
    output.note_field(
        "dataset",
        format_args!(
            "{}: {} tokens of {} documents, {}",
            args.out.display(),
            text::grouped(writer.rows()),
            text::grouped(corpus.documents.len() as u64),
            text::bytes(facts.total_bytes())
        ),
    );
    if begun > 0 {
        output.note_field("resumed", format_args!("at {}", text::grouped(begun)));
    }
    Ok(Exit::Ok)
}

async fn collect(
    engine: &mut Engine,
    writer: &mut Writer,
    document: u32,
    ids: &[u32],
    layers: &[u32],
    want: &Want,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let row = |(position, token): (u32, &u32)| RowId {
        token: *token,
        position,
        document,
    };
    let rows: Vec<RowId> = (0u32..).zip(ids).map(row).collect();
    let mut streams: Vec<[Vec<f32>; 4]> = vec![Default::default(); layers.len()];
    let config = engine.config().clone();
    engine
        .prefill(ids, want, progress, |outputs| -> anyhow::Result<()> {
            let each = outputs.inside.iter().zip(&outputs.states);
            for (streams, (inside, before)) in streams.iter_mut().zip(each) {
                let [mlp_x, mlp_y, att_x, att_y] = streams;
                mlp_x.extend(&inside.mid);
                mlp_y.extend(&inside.active);
                att_x.extend(before);
                att_y.extend(head_norms(&inside.attended, &config));
            }
            Ok(())
        })
        .await?;
    writer.begin_chunk(&rows)?;
    for (layer, [mlp_x, mlp_y, att_x, att_y]) in layers.iter().zip(&streams) {
        writer.append(&Rows {
            layer: *layer,
            mlp_x,
            mlp_y,
            att_x,
            att_y,
        })?;
    }
    writer.end_chunk().context("the dataset was not written")?;
    Ok(())
}

/// L2 norm of each head's output, [rows, heads].
fn head_norms(attended: &[f32], config: &ModelConfig) -> Vec<f32> {
    let square = |v: &f32| f64::from(*v).powi(2);
    attended
        .chunks_exact(config.head_dim)
        .map(|head| head.iter().map(square).sum::<f64>().sqrt() as f32)
        .collect()
}
