//! `assay logits`: logits and hidden states as safetensors, so that another program can compare them with its own.
//!
//! Tensors: `logits` [T, V] and `hidden_states` [L + 1, T, H], f32. As in Hugging Face transformers, the last hidden state
//! is the one *after* the final norm; a trace holds the one before it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use assay_engine::{Engine, EngineError, Numerics, Want};
use assay_model::Model;
use safetensors::tensor::{Dtype, TensorView};

use crate::atomic_file::AtomicFile;
use crate::device_arg::{DeviceArgs, in_a_line};
use crate::exit::Exit;
use crate::model_arg::ModelArgs;
use crate::output::Output;
use crate::progress::Progress;
use crate::prompt_arg::PromptArgs;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    prompt: PromptArgs,

    /// Where to write the safetensors file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Default)]
struct Rows {
    logits: Vec<f32>,
    /// By layer, [T, H].
    states: Vec<Vec<f32>>,
}

/// Writes the file.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let model = args.model.open(output, false)?;
    let ids = args.prompt.ids(&model)?;
    let mut progress = Progress::start(true);
    let file = AtomicFile::create(&args.out)?;
    let (mut rows, adapter) = pollster::block_on(forward(&model, &ids, device, &mut progress))?;
    progress.clear();
    final_norm(&model, &mut rows)?;
    let bytes = serialize(&model, ids.len(), &rows)?;
    file.finish(|file| file.write_all(&bytes))?;
    output.note(format_args!(
        "wrote {} ({} tokens, on {adapter})",
        args.out.display(),
        ids.len()
    ));
    Ok(Exit::Ok)
}

async fn forward(
    model: &Model,
    ids: &[u32],
    device: &DeviceArgs,
    progress: &mut Progress,
) -> anyhow::Result<(Rows, String)> {
    let device = device.open().await?;
    let mut engine = Engine::load(&device, model, ids.len(), Numerics::Fast, progress).await?;
    let want = Want {
        logits_from: Some(0),
        ..Want::all_states(model.config())
    };
    let mut rows = Rows {
        states: vec![Vec::new(); want.states.len()],
        ..Rows::default()
    };
    engine
        .prefill(ids, &want, progress, |outputs| -> Result<(), EngineError> {
            rows.logits.extend(outputs.logits);
            for (all, chunk) in rows.states.iter_mut().zip(outputs.states) {
                all.extend(chunk);
            }
            Ok(())
        })
        .await?;
    Ok((rows, in_a_line(engine.info())))
}

fn final_norm(model: &Model, rows: &mut Rows) -> anyhow::Result<()> {
    if let Some(last) = rows.states.last_mut() {
        *last = assay_engine::forward::final_norm(model, last)?;
    }
    Ok(())
}

fn serialize(model: &Model, n_tokens: usize, rows: &Rows) -> anyhow::Result<Vec<u8>> {
    let config = model.config();
    let bytes = |values: &[f32]| {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let (logits, states) = (bytes(&rows.logits), bytes(&rows.states.concat()));
    let tensors = BTreeMap::from([
        (
            "logits",
            TensorView::new(Dtype::F32, vec![n_tokens, config.vocab], &logits)?,
        ),
        (
            "hidden_states",
            TensorView::new(
                Dtype::F32,
                vec![config.layers + 1, n_tokens, config.hidden],
                &states,
            )?,
        ),
    ]);
    Ok(safetensors::serialize(tensors, None)?)
}
