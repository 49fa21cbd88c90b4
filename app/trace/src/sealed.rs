//! Between the run and the file: the root is fixed, what to open is not.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::body::Body;
use crate::{BuildError, Challenge, Digest, FinishedTrace, Keep, Manifest, challenge};

/// What to open. Lists may be in any order; what is named twice counts once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// Who picked `layers` and `logits`. Means nothing in a trace without the stream `linears`.
    pub challenge: Challenge,
    /// Hidden states, besides those that the layers and logits call for.
    pub states: Vec<u32>,
    /// Layers whose linear outputs to open.
    pub layers: Vec<u32>,
    /// Output tokens whose logits to open.
    pub logits: Vec<u32>,
}

/// A run that has ended, with everything that may be opened of it.
#[derive(Debug, Clone)]
pub struct SealedTrace {
    /// Its `opened` is the spec's, and no linear outputs are open.
    manifest: Manifest,
    body: Arc<Body>,
    /// `None` without the stream `linears`.
    keep: Option<Keep>,
}

impl SealedTrace {
    /// `manifest` has its prompt digest and root.
    pub(crate) fn new(manifest: Manifest, body: Body, keep: Option<Keep>) -> Self {
        Self {
            manifest,
            body: Arc::new(body),
            keep,
        }
    }

    /// Merkle root over the positions.
    pub fn root(&self) -> Digest {
        self.manifest.root
    }

    /// What to give a verifier before it says what to open: see [`Manifest::receipt`]. `None` with neither of the streams
    /// `linears` and `masks`.
    pub fn receipt(&self) -> Option<Manifest> {
        self.manifest.receipt()
    }

    /// Bytes held in memory until this and every trace opened from it are dropped.
    pub fn retained_bytes(&self) -> u64 {
        self.body.bytes()
    }

    /// Tokens emitted, at least 1.
    pub fn output_tokens(&self) -> u32 {
        self.manifest.output.tokens
    }

    /// Opens a part. May be called any number of times; nothing is copied.
    ///
    /// # Errors
    /// [`BuildError::Structure`] for an index outside the trace or a file that no reader takes,
    /// [`BuildError::NoLinears`], [`BuildError::NotKept`], and [`BuildError::Challenge`] for lists other than those
    /// that `all` or `offline` stand for.
    pub fn open(&self, opening: &Opening) -> Result<FinishedTrace, BuildError> {
        let set = |list: &[u32]| list.iter().copied().collect::<BTreeSet<u32>>();
        let (mut states, layers, logits) = (
            set(&opening.states),
            set(&opening.layers),
            set(&opening.logits),
        );
        let mut manifest = self.manifest.clone();
        let last = manifest.model.layers;
        let real_layers = layers.iter().filter(|&&layer| layer < last); // others are refused below by their own name
        states.extend(real_layers.flat_map(|&layer| [layer, layer + 1]));
        states.extend((!logits.is_empty()).then_some(last));
        manifest.opened = states.into_iter().collect();
        if let Some(claim) = &mut manifest.linears {
            claim.challenge = opening.challenge;
            claim.layers = layers.into_iter().collect();
            claim.logits = logits.into_iter().collect();
        } else if !layers.is_empty() || !logits.is_empty() {
            return Err(BuildError::NoLinears);
        }
        manifest.validate()?;
        self.check_kept(&manifest)?;
        if let Some(claim) = &manifest.linears
            && let Some(list) = challenge::first_difference(&manifest, claim)
        {
            let challenge = claim.challenge;
            return Err(BuildError::Challenge { challenge, list });
        }
        let finished = FinishedTrace::new(manifest, self.body.clone());
        finished.check_size()?;
        Ok(finished)
    }

    /// What the spec said: its hidden states, and everything that it kept of linear outputs and logits.
    pub(crate) fn planned(&self) -> Opening {
        let (all_layers, all_logits) = (0..self.manifest.model.layers, 0..self.output_tokens());
        let (layers, logits): (Vec<u32>, Vec<u32>) = match &self.keep {
            None => (Vec::new(), Vec::new()),
            Some(Keep::Everything) => (all_layers.clone().collect(), all_logits.clone().collect()),
            Some(Keep::Only { layers, logits }) => {
                let generated = logits.iter().filter(|output| all_logits.contains(output));
                (layers.clone(), generated.copied().collect())
            }
        };
        let all = layers.iter().copied().eq(all_layers) && logits.iter().copied().eq(all_logits);
        Opening {
            challenge: if all {
                Challenge::All
            } else {
                Challenge::Chosen
            },
            states: self.manifest.opened.clone(),
            layers,
            logits,
        }
    }

    fn check_kept(&self, manifest: &Manifest) -> Result<(), BuildError> {
        let check = |what, list: &[u32], has: &dyn Fn(&u32) -> bool| match list
            .iter()
            .copied()
            .find(|index| !has(index))
        {
            Some(index) => Err(BuildError::NotKept { what, index }),
            None => Ok(()),
        };
        if let Some(claim) = &manifest.linears {
            check("layer", &claim.layers, &|layer| {
                self.body.linears.contains_key(layer)
            })?;
            check("output token", &claim.logits, &|output| {
                self.body.logits.contains_key(output)
            })?;
        }
        check("hidden state", &manifest.opened, &|index| {
            self.body.states.contains_key(index)
        })
    }
}
