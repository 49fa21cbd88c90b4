//! A run as the program makes it: forward, hash, choose, on to the next position.

use assay_model::{Model, Tokenizer};

use crate::error::ReplayError;
use crate::forward::Transformer;
use crate::hash::logits_hash;
use crate::limits::MAX_STEPS;
use crate::read::{Entry, Metadata, Trace};
use crate::sampler::{Sampler, SamplerSpec};

/// The token that ends a run when it is chosen.
pub const BOS: u32 = 1;

/// What one step of a run was.
#[derive(Debug, Clone)]
pub struct Step {
    /// The token that went in.
    pub token: u32,
    /// All logits.
    pub logits: Vec<f32>,
}

/// A run of the program's own.
#[derive(Debug)]
pub struct Run {
    /// The trace that the program would have written, in the newer revision.
    pub trace: Trace,
    /// Prompt, then what was chosen; as many as steps, since the last chosen token never goes in.
    pub tokens: Vec<u32>,
    /// Whether the run ended because BOS was chosen.
    pub ended: bool,
}

/// Ids of a prompt, BOS first: the program has no way to give ids.
pub fn prompt_ids(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<u32>, ReplayError> {
    Ok(tokenizer.encode(prompt)?)
}

/// The text of `next` after `token`, without the space that follows BOS.
pub fn text_after(tokenizer: &Tokenizer, token: u32, next: u32) -> String {
    tokenizer.pieces(&[token, next]).pop().unwrap_or_default()
}

impl Run {
    /// Runs at most `steps` steps (0: as many as the context has), as `--trace` makes the program do. Progress is told by step; an
    /// answer of false ends the run with [`ReplayError::Cancelled`].
    pub fn make(
        model: &Model,
        prompt: &[u32],
        metadata: Metadata,
        spec: SamplerSpec,
        mut on: impl FnMut(usize, usize) -> bool,
    ) -> Result<Self, ReplayError> {
        let mut transformer = Transformer::load(model)?;
        let context = transformer.context();
        let steps = effective_steps(metadata.steps, context);
        let Some(&first) = prompt
            .first()
            .filter(|_| prompt.len() <= context && steps <= MAX_STEPS)
        else {
            return Err(ReplayError::Length {
                prompt: prompt.len(),
                steps,
                most: context.min(MAX_STEPS),
            });
        };
        let mut sampler = Sampler::new(spec);
        let (mut tokens, mut entries, mut ended) = (Vec::new(), Vec::new(), false);
        let mut token = first;
        for position in 0..steps {
            if !on(position, steps) {
                return Err(ReplayError::Cancelled);
            }
            let logits = transformer.forward(token)?;
            let next = match prompt.get(position + 1) {
                Some(next) => *next,
                None => sampler.choose(&logits).token,
            };
            entries.push(Entry {
                position: position as i32, // below MAX_STEPS
                token: token as i32,       // below the vocabulary, whose ceiling is 2^21
                text: Some(match model.tokenizer() {
                    Some(tokenizer) => text_after(tokenizer, token, next),
                    None => String::new(),
                }),
                logits: logits_hash(&logits),
            });
            tokens.push(token);
            ended = next == BOS;
            if ended {
                break;
            }
            token = next;
        }
        Ok(Self {
            trace: Trace::seal(metadata, entries),
            tokens,
            ended,
        })
    }
}

/// What the program makes of its `-n`.
pub(crate) fn effective_steps(steps: u64, context: usize) -> usize {
    match usize::try_from(steps) {
        Ok(steps @ 1..) if steps <= context => steps,
        _ => context,
    }
}
