//! Rows of activations: the output of the final norm, one for each token that went in.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use assay_engine::forward::final_norm;
use assay_engine::{Engine, EngineError, Numerics, Want};
use assay_model::Model;
use assay_toploc::Activations;
use assay_trace::Trace;
use safetensors::{Dtype, SafeTensors};

use crate::device_arg::{DeviceArgs, in_a_line};
use crate::errors::Malformed;
use crate::model_arg::ModelArgs;
use crate::output::Output;
use crate::progress::Progress;
use crate::{prompt_arg, trace_file};

/// The largest file of activations that is read: 131,072 rows of 8192 in bf16.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Where they come from.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// Activations in a safetensors file: `[rows, width]`, bf16 or f32 (which is rounded)
    #[arg(long, value_name = "FILE", requires = "prompt_rows", conflicts_with_all = ["trace", "prompt_ids"])]
    activations: Option<PathBuf>,

    /// Which tensor, if the file has several
    #[arg(long, value_name = "NAME", requires = "activations")]
    tensor: Option<String>,

    /// How many of its rows are the prompt's
    #[arg(long, value_name = "N", requires = "activations")]
    prompt_rows: Option<usize>,

    /// An Assay trace
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_ids")]
    trace: Option<PathBuf>,

    /// Ids of the prompt, for a run of the model
    #[arg(long, value_name = "IDS", requires = "output_ids")]
    prompt_ids: Option<String>,

    /// Ids that were generated; the last of them never went in
    #[arg(long, value_name = "IDS", requires = "prompt_ids")]
    output_ids: Option<String>,

    #[command(flatten)]
    model: ModelArgs,
}

/// Who asks: a trace's states are its prover's word, so a verifier runs the tokens itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Prover,
    Verifier,
}

/// Rows, and whose they are.
pub struct Rows {
    pub activations: Activations,
    pub from: String,
}

impl SourceArgs {
    /// Reads or computes them.
    pub fn rows(
        &self,
        side: Side,
        batch: usize,
        device: &DeviceArgs,
        output: &Output,
        quiet: bool,
    ) -> anyhow::Result<Rows> {
        if let Some(path) = &self.activations {
            let prompt_rows = self.prompt_rows.unwrap_or_default();
            let activations = read(path, self.tensor.as_deref(), prompt_rows, batch)?;
            return Ok(Rows {
                activations,
                from: format!("activations in {}", path.display()),
            });
        }
        let model = self.model.open(output, quiet)?;
        if let Some(path) = &self.trace {
            let bytes = trace_file::read(path)?;
            let trace = Trace::parse(&bytes).map_err(Malformed)?;
            trace
                .check_commitment()
                .context("the trace does not hold together")?;
            let n_prompt = trace.prompt().len();
            if side == Side::Prover {
                let activations = of_trace(&trace, &model, n_prompt, batch)?;
                let from = format!("the last hidden states in {}", path.display());
                return Ok(Rows { activations, from });
            }
            let tokens = trace.tokens().get(..trace.positions()).unwrap_or_default();
            return run(&model, tokens, n_prompt, batch, device, quiet);
        }
        let listed = |ids: &Option<String>| prompt_arg::listed(ids.as_deref().unwrap_or_default());
        let (prompt, generated) = (listed(&self.prompt_ids)?, listed(&self.output_ids)?);
        ensure!(
            !prompt.is_empty(),
            "the prompt is empty\ngive at least one token with --prompt-ids, or --trace, or --activations"
        );
        let n_prompt = prompt.len();
        let kept = generated.len().saturating_sub(1);
        let tokens: Vec<u32> = prompt
            .into_iter()
            .chain(generated.into_iter().take(kept))
            .collect();
        run(&model, &tokens, n_prompt, batch, device, quiet)
    }
}

fn read(
    path: &Path,
    name: Option<&str>,
    prompt_rows: usize,
    batch: usize,
) -> anyhow::Result<Activations> {
    let cannot_read = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(cannot_read)?.len();
    ensure!(
        size <= MAX_FILE_BYTES,
        "file is too large: got {size} bytes, want at most {MAX_FILE_BYTES}: {}",
        path.display()
    );
    let bytes = std::fs::read(path).with_context(cannot_read)?;
    let tensors = SafeTensors::deserialize(&bytes)
        .with_context(|| format!("not a safetensors file: {}", path.display()))?;
    let names = tensors.names();
    let name = match (name, names.as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, [only]) => (*only).to_owned(),
        (None, _) => bail!(
            "the file has {} tensors\nname one with --tensor, such as {}",
            names.len(),
            names.first().map_or("NAME", |name| *name)
        ),
    };
    let tensor = tensors
        .tensor(&name)
        .with_context(|| format!("no such tensor: {}", crate::text::quoted(&name)))?;
    let [_, width] = *tensor.shape() else {
        bail!(
            "the tensor has {} dimensions, want 2: rows and width",
            tensor.shape().len()
        );
    };
    Ok(match tensor.dtype() {
        Dtype::BF16 => {
            let bits = tensor
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| u16::from_le_bytes(*b));
            Activations::from_bits(bits.collect(), width, prompt_rows, batch)?
        }
        Dtype::F32 => {
            let values = tensor
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b));
            Activations::from_f32(&values.collect::<Vec<f32>>(), width, prompt_rows, batch)?
        }
        other => bail!("the tensor is {other:?}, want BF16 or F32"),
    })
}

/// A trace keeps states before the final norm.
fn of_trace(
    trace: &Trace<'_>,
    model: &Model,
    n_prompt: usize,
    batch: usize,
) -> anyhow::Result<Activations> {
    let claims = trace.manifest();
    let states = trace.states(claims.model.layers).context(
        "the trace does not open its last hidden state\nmake it with the default layers, or give --prompt-ids and --output-ids",
    )?;
    let width = model.config().hidden;
    ensure!(
        claims.model.hidden as usize == width,
        "the trace is of another model: got width {}, the model has {width}\ngive its model with --model",
        claims.model.hidden
    );
    let normed = final_norm(model, &states)?;
    Ok(Activations::from_f32(&normed, width, n_prompt, batch)?)
}

fn run(
    model: &Model,
    tokens: &[u32],
    n_prompt: usize,
    batch: usize,
    device: &DeviceArgs,
    quiet: bool,
) -> anyhow::Result<Rows> {
    let config = model.config();
    if let Some(id) = tokens.iter().find(|id| **id as usize >= config.vocab) {
        bail!(
            "token {id} is beyond the model's vocabulary: want ids below {}",
            config.vocab
        );
    }
    ensure!(
        tokens.len() <= config.context,
        "too many tokens: got {}, the model's context has {}",
        tokens.len(),
        config.context
    );
    let mut progress = Progress::start(!quiet);
    let (states, adapter) = pollster::block_on(last_states(model, tokens, device, &mut progress))?;
    progress.clear();
    let normed = final_norm(model, &states)?;
    Ok(Rows {
        activations: Activations::from_f32(&normed, config.hidden, n_prompt, batch)?,
        from: format!("an own run on {adapter}"),
    })
}

async fn last_states(
    model: &Model,
    tokens: &[u32],
    device: &DeviceArgs,
    progress: &mut Progress,
) -> anyhow::Result<(Vec<f32>, String)> {
    let device = device.open().await?;
    let mut engine = Engine::load(&device, model, tokens.len(), Numerics::Fast, progress).await?;
    let want = Want {
        states: vec![model.config().layers],
        ..Want::default()
    };
    let mut rows = Vec::new();
    let keep = |outputs: assay_engine::Outputs| -> Result<(), EngineError> {
        rows.extend(outputs.states.into_iter().flatten());
        Ok(())
    };
    engine.prefill(tokens, &want, progress, keep).await?;
    Ok((rows, in_a_line(engine.info())))
}
