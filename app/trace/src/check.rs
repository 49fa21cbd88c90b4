//! Do the hashes of a trace hold together? The second check of a verifier, after structure.

use crate::{CommitmentError, Digest, Trace, prompt_digest};

impl Trace<'_> {
    /// Recomputes, in this order: the commitment from the manifest, the prompt's digest, the digest of every opened
    /// row, and the root over all positions.
    ///
    /// Success proves that every byte of the file is bound by [`commitment`](Trace::commitment). It proves nothing
    /// about where the values came from, and nothing about hidden states that are not opened.
    ///
    /// # Errors
    /// The first [`CommitmentError`].
    pub fn check_commitment(&self) -> Result<(), CommitmentError> {
        let manifest = self.manifest();
        let (got, want) = (manifest.commitment(), self.commitment());
        if got != want {
            return Err(CommitmentError::Commitment { got, want });
        }
        let (got, want) = (prompt_digest(self.prompt()), manifest.prompt.digest);
        if got != want {
            return Err(CommitmentError::PromptDigest { got, want });
        }
        for &layer in self.opened() {
            self.check_states(layer)?;
        }
        let (got, want) = (self.computed_root(), manifest.root);
        if got != want {
            return Err(CommitmentError::Root { got, want });
        }
        Ok(())
    }

    fn check_states(&self, layer: u32) -> Result<(), CommitmentError> {
        for position in 0..self.positions() {
            // An opened layer has every position; an absent row would hash to something that no digest equals.
            let got = Digest::of(self.raw_state_row(layer, position).unwrap_or_default());
            let want = self.state_digest(layer, position);
            if got != want {
                return Err(CommitmentError::StateDigest {
                    layer,
                    position,
                    got,
                    want,
                });
            }
        }
        Ok(())
    }
}
