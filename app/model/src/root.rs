//! The model root: an RFC 6962 Merkle root over the config and every weight, so that one tensor can be proven alone.
//!
//! Leaf 0 is `"assay/config/v1\0"` and the canonical config. Then one leaf a tensor, sorted by name, a tied matrix once:
//! `"assay/tensor/v1\0"`, `u32` name length, name, `u8` type (f32 0, f16 1, bf16 2), `u32` rank, `u64` dimensions, and the 32 bytes
//! of the root over the tensor's stored bytes in chunks of 1 MiB. Integers are little-endian. The special ids, the context's length
//! and the tokenizer are not part of it: they do not change what the weights compute.
use crate::{Model, ModelError, TensorRef};
use assay_trace::Digest;
use assay_trace::merkle::{leaf_hash, root as merkle_root};

/// Bytes of a tensor under one leaf of its own tree.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Chunks hashed between two calls of the progress function; also the most that are resident at once.
const BATCH_CHUNKS: usize = 64;
const CONFIG_DOMAIN: &[u8] = b"assay/config/v1\0";
const TENSOR_DOMAIN: &[u8] = b"assay/tensor/v1\0";

impl Model {
    /// Reads every weight and returns the model root; `progress` hears bytes done and bytes in all.
    ///
    /// Equal roots mean equal configs and equal weights, in name, type, shape and every bit. They do not mean that the weights are
    /// any good, nor that the checkpoint is the one that somebody meant.
    pub fn root(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Digest, ModelError> {
        let total = self.bytes();
        let mut done = 0;
        let mut leaves = vec![leaf_hash(
            &[CONFIG_DOMAIN, self.config_canonical_json().as_bytes()].concat(),
        )];
        for tensor in self.tensors() {
            let bytes_root = self.bytes_root(tensor, &mut |bytes| {
                done += bytes;
                progress(done, total);
            })?;
            leaves.push(leaf_hash(&tensor_leaf(tensor, &bytes_root)));
        }
        // There is a leaf for the config, so the tree is not empty.
        Ok(merkle_root(&leaves).unwrap_or(Digest([0; 32])))
    }

    /// The root over one tensor's bytes, with the pages that it touched released behind it.
    fn bytes_root(
        &self,
        tensor: &TensorRef,
        hashed: &mut dyn FnMut(u64),
    ) -> Result<Digest, ModelError> {
        let n_chunks =
            usize::try_from(tensor.bytes.div_ceil(CHUNK_BYTES as u64)).unwrap_or(usize::MAX);
        let mut leaves = Vec::with_capacity(n_chunks);
        for first in (0..n_chunks).step_by(BATCH_CHUNKS) {
            let begin = first as u64 * CHUNK_BYTES as u64;
            let len = (tensor.bytes - begin).min((BATCH_CHUNKS * CHUNK_BYTES) as u64);
            leaves.extend(self.chunk_hashes(tensor, first..n_chunks.min(first + BATCH_CHUNKS))?);
            self.release_range(tensor, begin, len);
            hashed(len);
        }
        // Dimensions are positive, so there is a chunk.
        Ok(merkle_root(&leaves).unwrap_or(Digest([0; 32])))
    }

    fn chunk_hashes(
        &self,
        tensor: &TensorRef,
        chunks: std::ops::Range<usize>,
    ) -> Result<Vec<Digest>, ModelError> {
        let hash = |chunk: usize| {
            let begin = chunk as u64 * CHUNK_BYTES as u64;
            let len = (tensor.bytes - begin).min(CHUNK_BYTES as u64) as usize;
            Ok(leaf_hash(&self.read(tensor, begin, len)?))
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

fn tensor_leaf(tensor: &TensorRef, bytes_root: &Digest) -> Vec<u8> {
    let TensorRef {
        name,
        dtype,
        shape,
        source: _,
        offset: _,
        bytes: _,
    } = tensor;
    let mut leaf = TENSOR_DOMAIN.to_vec();
    leaf.extend((name.len() as u32).to_le_bytes());
    leaf.extend(name.as_bytes());
    leaf.push(dtype.code());
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
