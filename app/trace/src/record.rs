//! One position, rounded and hashed: the prover's expensive step, pure, so that it can run on any thread.

use crate::{BuildError, Digest, StateDtype, commit};

/// Digests of one position and the rows to keep. Faults are noted here and reported when the record is pushed.
#[derive(Debug, Clone)]
pub struct PositionRecord {
    pub(crate) state_dtype: StateDtype,
    pub(crate) opened: Vec<u32>,
    /// One a hidden state, in order.
    pub(crate) digests: Vec<Digest>,
    /// Encoded rows of the opened hidden states, in `opened`'s order.
    pub(crate) kept: Vec<Vec<u8>>,
    pub(crate) logits: Option<LogitsRecord>,
    /// Channels of each hidden state given.
    widths: Vec<usize>,
    /// First (hidden state, channel) that is infinite or NaN after rounding.
    non_finite: Option<(usize, usize)>,
}

#[derive(Debug, Clone)]
pub(crate) struct LogitsRecord {
    pub digest: Digest,
    width: usize,
    non_finite: Option<usize>,
}

impl PositionRecord {
    /// Rounds `states` (layers + 1 rows of `hidden` channels) to `state_dtype`, hashes each, keeps those whose index
    /// is in `opened`, and hashes `logits` (`vocab` entries, as f32; given where the next token is an output).
    pub fn compute(
        state_dtype: StateDtype,
        opened: &[u32],
        states: &[&[f32]],
        logits: Option<&[f32]>,
    ) -> Self {
        let mut record = Self {
            state_dtype,
            opened: opened.to_vec(),
            digests: Vec::with_capacity(states.len()),
            kept: Vec::with_capacity(opened.len()),
            logits: logits.map(LogitsRecord::compute),
            widths: states.iter().map(|row| row.len()).collect(),
            non_finite: None,
        };
        for (layer, row) in states.iter().enumerate() {
            let bytes = state_dtype.encode(row);
            if record.non_finite.is_none() {
                record.non_finite = state_dtype
                    .first_non_finite(&bytes)
                    .map(|channel| (layer, channel));
            }
            record.digests.push(Digest::of(&bytes));
            if opened.iter().any(|&index| index as usize == layer) {
                record.kept.push(bytes);
            }
        }
        record
    }

    /// Reports the first fault, now that the sizes and the position are known.
    pub(crate) fn check(
        &self,
        position: usize,
        state_rows: usize,
        hidden: usize,
        vocab: usize,
    ) -> Result<(), BuildError> {
        if self.widths.len() != state_rows {
            return Err(BuildError::StateCount {
                position,
                got: self.widths.len(),
                want: state_rows,
            });
        }
        if let Some((layer, &got)) = self
            .widths
            .iter()
            .enumerate()
            .find(|&(_, &width)| width != hidden)
        {
            return Err(BuildError::StateWidth {
                layer,
                position,
                got,
                want: hidden,
            });
        }
        if let Some((layer, channel)) = self.non_finite {
            return Err(BuildError::NonFiniteState {
                layer,
                position,
                channel,
            });
        }
        match &self.logits {
            Some(logits) if logits.width != vocab => Err(BuildError::LogitsWidth {
                position,
                got: logits.width,
                want: vocab,
            }),
            Some(LogitsRecord {
                non_finite: Some(token),
                ..
            }) => Err(BuildError::NonFiniteLogits {
                position,
                token: *token,
            }),
            _ => Ok(()),
        }
    }
}

impl LogitsRecord {
    fn compute(logits: &[f32]) -> Self {
        Self {
            digest: commit::logits_digest(logits),
            width: logits.len(),
            non_finite: logits.iter().position(|x| !x.is_finite()),
        }
    }
}
