//! One step alone: what went in, what came out, and the path to a root that the reader has from elsewhere.
//!
//! The program's own proof has a leaf and a root, both the prover's: it holds whatever they are. Here the file has the step instead of its
//! leaf and no root at all, and the sides of the path follow from index and count instead of being told, so that a proof is either
//! of this step, at this index, or of nothing.

use std::str::FromStr as _;

use assay_trace::Digest;
use serde::{Deserialize, Serialize};

use crate::error::ProofError;
use crate::hash::leaf_hash;
use crate::limits::{MAX_PROOF_BYTES, MAX_STEPS};
use crate::read::Trace;
use crate::tree::{self, Proof, sides};

const FORMAT: &str = "assay-llama2-rs-proof";
const VERSION: u32 = 1;

/// A step with its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepProof {
    /// Which step; also its position.
    pub index: u64,
    /// Steps of the whole trace. A root does not bind it: where it matters, it must come with the root.
    pub count: u64,
    /// The token that went in.
    pub token: i32,
    /// SHA-256 of all logits.
    pub logits: Digest,
    /// Siblings from the leaf upwards.
    pub siblings: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u32,
    iteration: u64,
    iterations: u64,
    token: i32,
    logits_hash: String,
    siblings: Vec<String>,
}

impl StepProof {
    /// The proof of a step of a trace; `None` unless it has that step and its entry says so.
    pub fn of(trace: &Trace, index: usize) -> Option<Self> {
        let entry = trace.entries.get(index)?;
        if usize::try_from(entry.position) != Ok(index) {
            return None;
        }
        let leaves: Vec<Digest> = trace.entries.iter().map(|entry| entry.leaf()).collect();
        let proof = tree::proof(&leaves, index)?;
        Some(Self {
            index: index as u64,
            count: leaves.len() as u64,
            token: entry.token,
            logits: entry.logits,
            siblings: proof.siblings.into_iter().map(|(hash, _)| hash).collect(),
        })
    }

    /// The root that it leads to; `None` if the path does not have the shape that index and count ask for.
    pub fn root(&self) -> Option<Digest> {
        self.as_stored().map(|proof| proof.root)
    }

    /// The same as the program stores it.
    pub fn as_stored(&self) -> Option<Proof> {
        let position = i32::try_from(self.index).ok()?;
        let sides = sides(self.index, self.count);
        if self.index >= self.count || sides.len() != self.siblings.len() {
            return None;
        }
        let mut proof = Proof {
            leaf_index: self.index,
            leaf_hash: leaf_hash(position, self.token, &self.logits),
            siblings: self.siblings.iter().copied().zip(sides).collect(),
            root: Digest::ZERO,
        };
        proof.root = proof.computed_root();
        Some(proof)
    }

    /// The file: one JSON object.
    pub fn to_json(&self) -> String {
        let file = File {
            format: FORMAT.to_owned(),
            version: VERSION,
            iteration: self.index,
            iterations: self.count,
            token: self.token,
            logits_hash: self.logits.to_string(),
            siblings: self.siblings.iter().map(Digest::to_string).collect(),
        };
        serde_json::to_string_pretty(&file).unwrap_or_default() // integers and strings always have a JSON form
    }

    /// Reads it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        let (got, most) = (bytes.len(), MAX_PROOF_BYTES);
        if got > most {
            return Err(ProofError::TooLarge { got, most });
        }
        // What serde says may hold the file's own words.
        let json = |err: &dyn std::fmt::Display| {
            let words = err.to_string();
            ProofError::Json(
                words
                    .chars()
                    .take(200)
                    .flat_map(char::escape_debug)
                    .collect(),
            )
        };
        let file: File = serde_json::from_slice(bytes).map_err(|err| json(&err))?;
        if file.format != FORMAT {
            let (got, want) = (file.format.chars().take(64).collect(), FORMAT);
            return Err(ProofError::Format { got, want });
        }
        if file.version != VERSION {
            let (got, want) = (file.version, VERSION);
            return Err(ProofError::Version { got, want });
        }
        let (index, count, most) = (file.iteration, file.iterations, MAX_STEPS as u64);
        if count == 0 || count > most {
            return Err(ProofError::Count { got: count, most });
        }
        if index >= count {
            return Err(ProofError::Index { got: index, count });
        }
        let digest = |hex: &String| Digest::from_str(hex).map_err(|err| json(&err));
        Ok(Self {
            index,
            count,
            token: file.token,
            logits: digest(&file.logits_hash)?,
            siblings: file.siblings.iter().map(digest).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
