//! Bits of a whole model's run, to be compared between devices.

use assay_engine::{Device, Engine, EngineError, Numerics, Outputs, Quiet, Want};
use assay_model::Model;

/// Bits of all hidden states and of the logits, position by position.
#[derive(Debug, Default, PartialEq)]
pub struct Bits {
    /// By layer.
    pub states: Vec<Vec<u32>>,
    /// [positions, vocab]
    pub logits: Vec<u32>,
}

/// How tokens reach the engine: `prefill` picks chunks itself, else these sizes, again and again.
pub fn forward(
    device: &Device,
    model: &Model,
    ids: &[u32],
    sizes: Option<&[usize]>,
) -> Result<Bits, EngineError> {
    let mut engine = pollster::block_on(Engine::load(
        device,
        model,
        ids.len(),
        Numerics::Strict,
        &mut Quiet,
    ))?;
    let want = Want {
        logits_from: Some(0),
        ..Want::all_states(model.config())
    };
    let mut bits = Bits {
        states: vec![Vec::new(); model.config().layers + 1],
        logits: Vec::new(),
    };
    let mut take = |outputs: Outputs| -> Result<(), EngineError> {
        for (all, chunk) in bits.states.iter_mut().zip(&outputs.states) {
            all.extend(chunk.iter().map(|v| v.to_bits()));
        }
        bits.logits
            .extend(outputs.logits.iter().map(|v| v.to_bits()));
        Ok(())
    };
    let Some(sizes) = sizes else {
        pollster::block_on(engine.prefill(ids, &want, &mut Quiet, take))?;
        return Ok(bits);
    };
    let mut rest = ids;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*size).min(rest.len()).min(engine.chunk()));
        take(pollster::block_on(engine.run(chunk, &want, &mut Quiet))?)?;
        rest = after;
    }
    Ok(bits)
}

impl Bits {
    /// Whether these are the first positions of `other`: a position sees nothing after it, so a shorter prompt has the same bits.
    pub fn begin(&self, other: &Self) -> bool {
        let all = self.states.iter().zip(&other.states);
        self.states.len() == other.states.len()
            && all.into_iter().all(|(a, b)| b.starts_with(a))
            && other.logits.starts_with(&self.logits)
            && !self.logits.is_empty()
    }
}
