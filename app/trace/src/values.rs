//! The last part of structure: ids that the vocabulary has, numbers that are numbers, and no bit without a meaning.

use crate::commit::LOGITS_DTYPE;
use crate::{Trace, TraceError};

impl Trace<'_> {
    pub(crate) fn check_values(&self) -> Result<(), TraceError> {
        self.check_tokens()?;
        self.check_states()?;
        self.check_linears()?;
        self.check_logits()?;
        self.check_masks()
    }

    fn check_tokens(&self) -> Result<(), TraceError> {
        let vocab = self.manifest.model.vocab;
        let mut ids = self.tokens().iter().copied().enumerate();
        match ids.find(|&(_, id)| id >= vocab) {
            Some((index, got)) => Err(TraceError::TokenRange { index, got, vocab }),
            None => Ok(()),
        }
    }

    fn check_states(&self) -> Result<(), TraceError> {
        let hidden = self.manifest.model.hidden as usize; // at least 1
        for (&layer, section) in &self.states {
            if let Some(element) = self.manifest.state_dtype.first_non_finite(section) {
                return Err(TraceError::NonFinite {
                    layer,
                    position: element / hidden,
                    channel: element % hidden,
                });
            }
        }
        Ok(())
    }

    fn check_linears(&self) -> Result<(), TraceError> {
        let dtype = self.manifest.linear_dtype();
        for (&(layer, product), section) in &self.linears {
            if let Some(element) = dtype.first_non_finite(section) {
                let width = section.len() / dtype.bytes() / self.positions();
                return Err(TraceError::NonFiniteLinear {
                    layer,
                    product,
                    position: element / width,
                    channel: element % width,
                });
            }
        }
        Ok(())
    }

    fn check_logits(&self) -> Result<(), TraceError> {
        let vocab = self.manifest.model.vocab as usize; // at least 1
        let Some(element) = LOGITS_DTYPE.first_non_finite(self.logits) else {
            return Ok(());
        };
        let open = self.linears().map_or(&[][..], |claim| &claim.logits);
        Err(TraceError::NonFiniteLogits {
            output: open.get(element / vocab).copied().unwrap_or_default(),
            token: element % vocab,
        })
    }

    fn check_masks(&self) -> Result<(), TraceError> {
        let layers = self.manifest.model.layers as usize; // at least 1
        match self
            .sparse()
            .and_then(|claim| claim.first_stray(self.masks))
        {
            Some((row, mask)) => Err(TraceError::StrayMaskBit {
                position: row / layers,
                layer: row % layers,
                mask,
            }),
            None => Ok(()),
        }
    }
}
