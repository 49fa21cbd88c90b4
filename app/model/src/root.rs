//! The model root: an RFC 6962 Merkle root over the config and every weight, so that one tensor can be proven alone.
//!
//! Leaf 0 is `"assay/config/v1\0"` and the canonical config. Then one leaf a tensor, sorted by name, a tied matrix once:
//! `"assay/tensor/v1\0"`, `u32` name length, name, `u8` type (f32 0, f16 1, bf16 2, i8 3, i32 4, ggml's quantised types
//! 64 and ggml's number: Q4_0 66, Q5_0 70, Q8_0 72, Q4_K 76, Q6_K 78), `u32` rank, `u64` dimensions, and the 32 bytes
//! of the root over the tensor's stored bytes in chunks of 1 MiB. Integers are little-endian. A tensor here is one of the file's: a
//! quantised matrix may be several (quants, zeros, scales), each with its own leaf. The order is that of the names'
//! bytes, whatever the tensors are for: learned positions, norm biases and linear biases stand among the rest. The special ids, the
//! context's length and the tokenizer are not part of it: they do not change what the weights compute. (Where positions are learned,
//! the context's length is bound by the shape of their table.)
use crate::weights::Part;
use crate::{Model, ModelError, TensorRef};
use assay_trace::Digest;
use assay_trace::merkle::{leaf_hash, root as merkle_root};

/// Bytes of a tensor under one leaf of its own tree.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Chunks hashed in one step; also the most that are resident at once.
const BATCH_CHUNKS: usize = 64;
const CONFIG_DOMAIN: &[u8] = b"assay/config/v1\0";
const TENSOR_DOMAIN: &[u8] = b"assay/tensor/v1\0";

impl Model {
    /// Reads every weight and returns the model root; `progress` hears bytes done and bytes in all.
    ///
    /// Equal roots mean equal configs and equal weights, in name, type, shape and every bit. They do not mean that the weights are
    /// any good, nor that the checkpoint is the one that somebody meant.
    pub fn root(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Digest, ModelError> {
        let mut hasher = self.root_hasher();
        while hasher.done() < hasher.total() {
            hasher.step()?;
            progress(hasher.done(), hasher.total());
        }
        hasher.finish()
    }

    /// The same in steps, for whoever must do other things between them: hear of a cancel, say.
    pub fn root_hasher(&self) -> RootHasher<'_> {
        let config = [CONFIG_DOMAIN, self.config_canonical_json().as_bytes()].concat();
        RootHasher {
            model: self,
            parts: self.parts(),
            leaves: vec![leaf_hash(&config)],
            chunks: Vec::new(),
            done: 0,
            total: self.bytes(),
        }
    }

    /// Every tensor of the files, by name.
    fn parts(&self) -> Vec<(&TensorRef, usize)> {
        let tensors = self.tensors().into_iter();
        let mut parts: Vec<_> = tensors
            .flat_map(|tensor| (0..tensor.parts.len()).map(move |part| (tensor, part)))
            .collect();
        parts.sort_by(|(a, i), (b, j)| a.parts[*i].name.cmp(&b.parts[*j].name));
        parts
    }

    fn chunk_hashes(
        &self,
        (tensor, part): (&TensorRef, usize),
        chunks: std::ops::Range<usize>,
    ) -> Result<Vec<Digest>, ModelError> {
        let bytes = tensor.parts[part].bytes;
        let hash = |chunk: usize| {
            let begin = chunk as u64 * CHUNK_BYTES as u64;
            let len = (bytes - begin).min(CHUNK_BYTES as u64) as usize;
            Ok(leaf_hash(&self.read_part(tensor, part, begin, len)?))
        };
        #[cfg(feature = "native")]
        {
            use rayon::prelude::*;
            chunks.into_par_iter().map(hash).collect()
        }
        #[cfg(not(feature = "native"))]
        chunks.map(hash).collect()
    }
}

/// A model root on its way: [`RootHasher::step`] until that says true, then [`RootHasher::finish`].
pub struct RootHasher<'a> {
    model: &'a Model,
    /// Each with the number of one of its parts.
    parts: Vec<(&'a TensorRef, usize)>,
    /// The config's and those of the tensors that are done.
    leaves: Vec<Digest>,
    /// Those of the tensor at hand, in its own tree.
    chunks: Vec<Digest>,
    done: u64,
    total: u64,
}

impl RootHasher<'_> {
    /// Hashes the next 64 MiB, or what is left of a tensor, and releases the pages behind it. True when everything is hashed. A step
    /// that failed changed nothing and may be tried again.
    pub fn step(&mut self) -> Result<bool, ModelError> {
        let Some((tensor, index)) = self.parts.get(self.leaves.len() - 1).copied() else {
            return Ok(true);
        };
        let part = &tensor.parts[index];
        let n_chunks =
            usize::try_from(part.bytes.div_ceil(CHUNK_BYTES as u64)).unwrap_or(usize::MAX);
        let first = self.chunks.len();
        let begin = first as u64 * CHUNK_BYTES as u64;
        let len = (part.bytes - begin).min((BATCH_CHUNKS * CHUNK_BYTES) as u64);
        let batch = first..n_chunks.min(first + BATCH_CHUNKS);
        self.chunks
            .extend(self.model.chunk_hashes((tensor, index), batch)?);
        self.model.release_range(part, begin, len);
        self.done += len;
        if self.chunks.len() == n_chunks {
            // Dimensions are positive, so there is a chunk.
            let bytes_root = merkle_root(&self.chunks).unwrap_or(Digest([0; 32]));
            self.leaves.push(leaf_hash(&tensor_leaf(part, &bytes_root)));
            self.chunks.clear();
        }
        Ok(self.leaves.len() > self.parts.len())
    }

    /// Bytes hashed so far.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Bytes of all weights; a tied matrix counts once.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The model root, once every step was done.
    pub fn finish(self) -> Result<Digest, ModelError> {
        let Self {
            parts,
            leaves,
            done,
            total,
            ..
        } = self;
        if leaves.len() <= parts.len() {
            return Err(ModelError::RootUnfinished { done, total });
        }
        // There is a leaf for the config, so the tree is not empty.
        Ok(merkle_root(&leaves).unwrap_or(Digest([0; 32])))
    }
}

fn tensor_leaf(part: &Part, bytes_root: &Digest) -> Vec<u8> {
    let Part {
        name,
        element,
        shape,
        source: _,
        offset: _,
        bytes: _,
    } = part;
    let mut leaf = TENSOR_DOMAIN.to_vec();
    leaf.extend((name.len() as u32).to_le_bytes());
    leaf.extend(name.as_bytes());
    leaf.push(element.code());
    leaf.extend((shape.len() as u32).to_le_bytes());
    for dim in shape {
        leaf.extend((*dim as u64).to_le_bytes());
    }
    leaf.extend(bytes_root.0);
    leaf
}

#[cfg(all(test, feature = "native"))]
#[path = "root_tests.rs"]
mod tests;
