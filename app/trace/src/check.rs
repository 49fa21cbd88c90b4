//! Do the hashes of a trace hold together? The second check of a verifier, after structure.

use crate::{CommitmentError, Digest, LinearsClaim, Trace, challenge, prompt_digest};

impl Trace<'_> {
    /// Recomputes, in this order: the commitment from the manifest, the prompt's digest, the digests of every opened
    /// row (hidden states, linear outputs, logits), the root over all positions, and what the challenge would open.
    ///
    /// Success proves that every byte of the file is bound by [`commitment`](Trace::commitment). It proves nothing
    /// about where the values came from, and nothing about what is not opened.
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
            self.check_state_digests(layer)?;
        }
        if let Some(claim) = self.linears() {
            for &layer in &claim.layers {
                self.check_linear_digests(claim, layer)?;
            }
            self.check_logits_digests(claim)?;
        }
        let (got, want) = (self.computed_root(), manifest.root);
        if got != want {
            return Err(CommitmentError::Root { got, want });
        }
        self.check_challenge()
    }

    fn check_state_digests(&self, layer: u32) -> Result<(), CommitmentError> {
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

    fn check_linear_digests(
        &self,
        claim: &LinearsClaim,
        layer: u32,
    ) -> Result<(), CommitmentError> {
        for position in 0..self.positions() {
            let rows = claim.products.iter().map(|product| {
                self.raw_linear_row(layer, product.name, position)
                    .unwrap_or_default()
            });
            let got = Digest::of_parts(&rows.collect::<Vec<_>>());
            let want = self.linear_digest(layer, position);
            if got != want {
                return Err(CommitmentError::LinearDigest {
                    layer,
                    position,
                    got,
                    want,
                });
            }
        }
        Ok(())
    }

    fn check_logits_digests(&self, claim: &LinearsClaim) -> Result<(), CommitmentError> {
        for (i, &output) in claim.logits.iter().enumerate() {
            let got = Digest::of(self.raw_logits_row(i).unwrap_or_default());
            // The first output token was chosen at the prompt's last position.
            let position = self.prompt().len() + output as usize;
            let want = self
                .logits_digest(position.saturating_sub(1))
                .unwrap_or_default();
            if got != want {
                return Err(CommitmentError::LogitsDigest { output, got, want });
            }
        }
        Ok(())
    }

    fn check_challenge(&self) -> Result<(), CommitmentError> {
        let manifest = self.manifest();
        let claim = manifest.linears.as_ref();
        match claim.and_then(|claim| {
            Some((
                claim.challenge,
                challenge::first_difference(manifest, claim)?,
            ))
        }) {
            Some((challenge, list)) => Err(CommitmentError::Challenge { challenge, list }),
            None => Ok(()),
        }
    }
}
