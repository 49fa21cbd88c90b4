//! One position, rounded and hashed: the prover's expensive step, pure, so that it can run on any thread.

use crate::dtype::{LinearDtype, SumDtype};
use crate::plan::Plan;
use crate::{BuildError, Digest, RecordPlan, commit};

/// What the model computed at one position.
#[derive(Debug, Clone, Copy, Default)]
pub struct PositionInput<'a> {
    /// The layers + 1 hidden states, `[hidden]` each, state 0 first.
    pub states: &'a [&'a [f32]],
    /// With the stream `linears`: for each layer, one row for each product, in the order of the spec's list and as wide
    /// as it says. Empty without.
    pub linears: &'a [Vec<&'a [f32]>],
    /// In place of `linears`, where products are of integers: their sums, in the same order.
    pub sums: &'a [Vec<&'a [i64]>],
    /// With the stream `masks`: `[layers, bytes]`, of which each layer has
    /// [`SparseClaim::layer_bytes`](crate::SparseClaim::layer_bytes). Empty without.
    pub masks: &'a [u8],
    /// `[vocab]`, where the next token is an output.
    pub logits: Option<&'a [f32]>,
}

/// Digests of one position and the rows to keep. Faults are noted here and reported when the record is pushed.
#[derive(Debug, Clone)]
pub struct PositionRecord {
    pub(crate) plan: RecordPlan,
    pub(crate) position: u32,
    /// The first fault; the rest is incomplete then.
    pub(crate) fault: Option<BuildError>,
    /// One a hidden state, in order.
    pub(crate) state_digests: Vec<Digest>,
    /// One a layer, in order; none without the stream `linears`.
    pub(crate) linear_digests: Vec<Digest>,
    pub(crate) logits_digest: Option<Digest>,
    /// As in the input.
    pub(crate) masks: Vec<u8>,
    /// Encoded rows of the plan's hidden states, in its order.
    pub(crate) states: Vec<Vec<u8>>,
    /// Encoded outputs of the plan's layers, in its order, all products one after another.
    pub(crate) linears: Vec<Vec<u8>>,
    /// (output token, encoded row), if the plan keeps it.
    pub(crate) logits: Option<(u32, Vec<u8>)>,
}

impl PositionRecord {
    /// Rounds and hashes everything in `input`, and keeps what the builder's plan says.
    pub fn compute(plan: &RecordPlan, position: u32, input: PositionInput<'_>) -> Self {
        let mut record = Self {
            plan: plan.clone(),
            position,
            fault: None,
            state_digests: Vec::with_capacity(input.states.len()),
            linear_digests: Vec::with_capacity(input.linears.len()),
            logits_digest: None,
            masks: Vec::new(),
            states: Vec::with_capacity(plan.0.states.len()),
            linears: Vec::with_capacity(plan.0.linears.len()),
            logits: None,
        };
        record.fault = record.fill(&plan.0, input).err();
        record
    }

    fn fill(&mut self, plan: &Plan, input: PositionInput<'_>) -> Result<(), BuildError> {
        self.take_states(plan, input.states)?;
        match plan.linear_dtype {
            LinearDtype::Values(dtype) => {
                self.no_linears(input.sums.len())?;
                self.take_linears(plan, input.linears, |row, bytes| {
                    dtype.encode_onto(row, bytes);
                })?;
            }
            LinearDtype::Sums(dtype) => {
                self.no_linears(input.linears.len())?;
                self.sums_fit(plan, dtype, input.sums)?;
                self.take_linears(plan, input.sums, |row, bytes| {
                    dtype.encode_onto(row, bytes);
                })?;
            }
        }
        self.take_masks(plan, input.masks)?;
        self.take_logits(plan, input.logits)
    }

    fn take_states(&mut self, plan: &Plan, states: &[&[f32]]) -> Result<(), BuildError> {
        let position = self.position as usize;
        let (got, want) = (states.len(), plan.layers + 1);
        if got != want {
            return Err(BuildError::StateCount {
                position,
                got,
                want,
            });
        }
        for (index, (layer, row)) in (0..).zip(states.iter().enumerate()) {
            let (got, want) = (row.len(), plan.hidden);
            if got != want {
                return Err(BuildError::StateWidth {
                    layer,
                    position,
                    got,
                    want,
                });
            }
            let bytes = plan.state_dtype.encode(row);
            if let Some(channel) = plan.state_dtype.first_non_finite(&bytes) {
                return Err(BuildError::NonFiniteState {
                    layer,
                    position,
                    channel,
                });
            }
            self.state_digests.push(Digest::of(&bytes));
            if plan.states.binary_search(&index).is_ok() {
                self.states.push(bytes);
            }
        }
        Ok(())
    }

    /// Refuses outputs of the kind that the trace does not hold.
    fn no_linears(&self, got: usize) -> Result<(), BuildError> {
        match got {
            0 => Ok(()),
            _ => Err(BuildError::LinearCount {
                position: self.position as usize,
                got,
                want: 0,
            }),
        }
    }

    /// Refuses sums that the file's type does not hold.
    fn sums_fit(
        &self,
        plan: &Plan,
        dtype: SumDtype,
        sums: &[Vec<&[i64]>],
    ) -> Result<(), BuildError> {
        let products = plan.products.as_deref().unwrap_or_default();
        for (layer, rows) in sums.iter().enumerate() {
            for (product, row) in products.iter().zip(rows) {
                if let Some(channel) = dtype.first_too_large(row) {
                    return Err(BuildError::NonFiniteLinear {
                        layer,
                        product: product.name,
                        position: self.position as usize,
                        channel,
                    });
                }
            }
        }
        Ok(())
    }

    fn take_linears<T>(
        &mut self,
        plan: &Plan,
        linears: &[Vec<&[T]>],
        encode: impl Fn(&[T], &mut Vec<u8>),
    ) -> Result<(), BuildError> {
        let (got, want) = (
            linears.len(),
            plan.products.as_ref().map_or(0, |_| plan.layers),
        );
        if got != want {
            return Err(BuildError::LinearCount {
                position: self.position as usize,
                got,
                want,
            });
        }
        let mut bytes = Vec::new();
        for (index, (layer, rows)) in (0..).zip(linears.iter().enumerate()) {
            bytes.clear();
            self.encode_layer(plan, layer, rows, &encode, &mut bytes)?;
            self.linear_digests.push(Digest::of(&bytes));
            if plan.linears.binary_search(&index).is_ok() {
                self.linears.push(std::mem::take(&mut bytes));
            }
        }
        Ok(())
    }

    /// Appends all rows of one layer to `bytes`, in the products' order.
    fn encode_layer<T>(
        &self,
        plan: &Plan,
        layer: usize,
        rows: &[&[T]],
        encode: &impl Fn(&[T], &mut Vec<u8>),
        bytes: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        let (position, dtype) = (self.position as usize, plan.linear_dtype);
        let products = plan.products.as_deref().unwrap_or_default();
        let (got, want) = (rows.len(), products.len());
        if got != want {
            return Err(BuildError::ProductCount {
                layer,
                position,
                got,
                want,
            });
        }
        let channels: usize = rows.iter().map(|row| row.len()).sum();
        bytes.reserve_exact(channels * dtype.bytes());
        for (product, row) in products.iter().zip(rows) {
            let (got, want) = (row.len(), product.width as usize);
            if got != want {
                return Err(BuildError::LinearWidth {
                    layer,
                    product: product.name,
                    position,
                    got,
                    want,
                });
            }
            let start = bytes.len();
            encode(row, bytes);
            let encoded = bytes.get(start..).unwrap_or_default();
            if let Some(channel) = dtype.first_non_finite(encoded) {
                return Err(BuildError::NonFiniteLinear {
                    layer,
                    product: product.name,
                    position,
                    channel,
                });
            }
        }
        Ok(())
    }

    fn take_masks(&mut self, plan: &Plan, masks: &[u8]) -> Result<(), BuildError> {
        let position = self.position as usize;
        let sparse = plan.sparse.as_ref();
        let (got, want) = (
            masks.len(),
            sparse.map_or(0, |claim| plan.layers.saturating_mul(claim.layer_bytes())),
        );
        if got != want {
            return Err(BuildError::MaskBytes {
                position,
                got,
                want,
            });
        }
        if let Some((layer, mask)) = sparse.and_then(|claim| claim.first_stray(masks)) {
            return Err(BuildError::StrayMaskBit {
                position,
                layer,
                mask,
            });
        }
        self.masks = masks.to_vec();
        Ok(())
    }

    fn take_logits(&mut self, plan: &Plan, logits: Option<&[f32]>) -> Result<(), BuildError> {
        let position = self.position as usize;
        // Of output token i, counted from 0, at position n_prompt - 1 + i.
        let output = position.saturating_add(1).checked_sub(plan.n_prompt);
        let (row, output) = match (logits, output) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(BuildError::MissingLogits { position }),
            (Some(_), None) => return Err(BuildError::UnexpectedLogits { position }),
            (Some(row), Some(output)) => (row, output as u32), // at most `position`
        };
        let (got, want) = (row.len(), plan.vocab);
        if got != want {
            return Err(BuildError::LogitsWidth {
                position,
                got,
                want,
            });
        }
        if let Some(token) = row.iter().position(|x| !x.is_finite()) {
            return Err(BuildError::NonFiniteLogits { position, token });
        }
        let bytes = commit::LOGITS_DTYPE.encode(row);
        self.logits_digest = Some(Digest::of(&bytes));
        if plan.logits.has(output) {
            self.logits = Some((output, bytes));
        }
        Ok(())
    }
}
