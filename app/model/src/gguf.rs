//! GGUF files of the architecture `llama`, versions 2 and 3, with weights in F32, F16, BF16, Q8_0, Q4_0, Q5_0, Q4_K or Q6_K,
//! in any mixture.
//!
//! llama.cpp's converter reorders the rows of q and k so that rotary pairs are neighbours. The config says so, the model root binds
//! it, and the bytes stay as they are stored: the same weights have another root here than in a Hugging Face folder.
mod config;
mod cursor;
mod header;
mod kinds;
mod metadata;
mod rope_freqs;
mod vocabulary;

use crate::files::Folder;
use crate::names::layer_shape;
use crate::{
    ByteSource, LayerRole, Model, ModelConfig, ModelError, Role, RopeScaling, TensorRef, Tokenizer,
};
#[cfg(feature = "native")]
pub(crate) use vocabulary::LLAMA_3;

use config::Hints;
use header::{Entry, Header};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const EMBEDDING: &str = "token_embd.weight";
pub(crate) const LM_HEAD: &str = "output.weight";
pub(crate) const FINAL_NORM: &str = "output_norm.weight";

/// Opens a file; `tokenizer` stands in for the one that it describes.
pub(crate) fn open(
    folder: &dyn Folder,
    name: &str,
    tokenizer: Option<Tokenizer>,
) -> Result<Model, ModelError> {
    parse(folder.open(name)?, name, tokenizer)
}

/// Reads a checkpoint whose bytes are at hand; `file` names it in errors.
pub(crate) fn parse(
    source: Arc<dyn ByteSource>,
    file: &str,
    tokenizer: Option<Tokenizer>,
) -> Result<Model, ModelError> {
    let Header {
        metadata,
        tensors: entries,
        tokenizer_digest,
    } = header::read(&*source, file)?;
    let mut stored = Stored { entries, file };
    let mut notes = Vec::new();
    let mut config = config::read(&metadata, &stored.hints(), &mut notes)?;
    if let Some(rope) = &mut config.rope
        && let Some(factors) = stored.take_rope_factors(&*source, config.head_dim)?
    {
        if rope.scaling != RopeScaling::None {
            return Err(ModelError::TensorUnexpected {
                name: rope_freqs::NAME.to_owned(),
                why: "`llama.rope.scaling` is linear".to_owned(),
            });
        }
        rope.scaling = rope_freqs::scaling(&factors, rope, config.head_dim)?;
        config.check()?;
    }
    let tensors = stored.take_all(&config)?;
    let tokenizer = match tokenizer {
        Some(tokenizer) => Some(tokenizer),
        None => match vocabulary::tokenizer(&metadata, tokenizer_digest) {
            Ok(tokenizer) => Some(tokenizer),
            Err(cause) => {
                notes.push(format!(
                    "the file's tokenizer was left out: {cause}; prompts must be given as ids"
                ));
                None
            }
        },
    };
    Model::new(config, notes, tokenizer, vec![source], tensors)
}

/// A tensor's name in the layer that it belongs to.
fn suffix(role: LayerRole) -> &'static str {
    match role {
        LayerRole::AttnNorm => "attn_norm.weight",
        LayerRole::AttnNormBias => "attn_norm.bias",
        LayerRole::Q => "attn_q.weight",
        LayerRole::K => "attn_k.weight",
        LayerRole::V => "attn_v.weight",
        LayerRole::O => "attn_output.weight",
        LayerRole::QBias => "attn_q.bias",
        LayerRole::KBias => "attn_k.bias",
        LayerRole::VBias => "attn_v.bias",
        LayerRole::OBias => "attn_output.bias",
        LayerRole::MlpNorm => "ffn_norm.weight",
        LayerRole::MlpNormBias => "ffn_norm.bias",
        LayerRole::Gate => "ffn_gate.weight",
        LayerRole::Up => "ffn_up.weight",
        LayerRole::Down => "ffn_down.weight",
        LayerRole::GateBias => "ffn_gate.bias",
        LayerRole::UpBias => "ffn_up.bias",
        LayerRole::DownBias => "ffn_down.bias",
    }
}

pub(crate) fn layer_name(layer: usize, role: LayerRole) -> String {
    format!("blk.{layer}.{}", suffix(role))
}

/// Every tensor that no role has claimed yet.
struct Stored<'a> {
    entries: BTreeMap<String, Entry>,
    file: &'a str,
}

impl Stored<'_> {
    /// What metadata leaves to the tensors. A bias in any other layer than the first is claimed by no role, and refused.
    fn hints(&self) -> Hints {
        use LayerRole::*;
        let any = |roles: &[LayerRole]| {
            roles
                .iter()
                .any(|role| self.entries.contains_key(&layer_name(0, *role)))
        };
        let rows = |entry: &Entry| usize::try_from(*entry.shape.first()?).ok();
        Hints {
            vocab: self.entries.get(EMBEDDING).and_then(rows),
            tied_embeddings: !self.entries.contains_key(LM_HEAD),
            attention_bias: any(&[QBias, KBias, VBias, OBias]),
            mlp_bias: any(&[GateBias, UpBias, DownBias]),
        }
    }

    fn take_rope_factors(
        &mut self,
        source: &dyn ByteSource,
        head_dim: usize,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        if !self.entries.contains_key(rope_freqs::NAME) {
            return Ok(None);
        }
        let tensor = self.take(rope_freqs::NAME, vec![head_dim / 2])?;
        if !tensor.dtype.is_float() {
            return Err(ModelError::TensorDtype {
                name: tensor.name,
                got: tensor.dtype.as_str().to_owned(),
                file: self.file.to_owned(),
            });
        }
        // As small as the head, whose size the config has checked.
        let (offset, bytes) = (tensor.parts[0].offset, tensor.bytes);
        let bytes = source.read(offset, bytes as usize)?;
        let mut factors = Vec::new();
        tensor.dtype.decode(&bytes, &mut factors);
        Ok(Some(factors))
    }

    fn take_all(&mut self, config: &ModelConfig) -> Result<BTreeMap<Role, TensorRef>, ModelError> {
        let matrix = vec![config.vocab, config.hidden];
        let embedding = self.take(EMBEDDING, matrix.clone())?;
        let head = match config.tied_embeddings {
            true => embedding.clone(),
            false => self.take(LM_HEAD, matrix)?,
        };
        let mut tensors: BTreeMap<_, _> =
            [(Role::Embedding, embedding), (Role::LmHead, head)].into();
        for layer in 0..config.layers {
            for (role, _) in crate::names::LLAMA_LAYER {
                if let Some(shape) = layer_shape(config, role) {
                    let tensor = self.take(&layer_name(layer, role), shape)?;
                    tensors.insert(Role::Layer(layer, role), tensor);
                }
            }
        }
        tensors.insert(Role::FinalNorm, self.take(FINAL_NORM, vec![config.hidden])?);
        // Whatever is left would be part of another computation: norms of heads, experts, biases of single layers.
        match self.entries.keys().next() {
            Some(name) => Err(ModelError::TensorUnexpected {
                name: name.clone(),
                why: "no dense Llama of these sizes has it".to_owned(),
            }),
            None => Ok(tensors),
        }
    }

    fn take(&mut self, name: &str, want: Vec<usize>) -> Result<TensorRef, ModelError> {
        let name = name.to_owned();
        let Some(entry) = self.entries.remove(&name) else {
            return Err(ModelError::TensorMissing { name });
        };
        let Entry {
            kind,
            shape: got,
            offset,
            bytes,
        } = entry;
        let Some(dtype) = kind.dtype() else {
            return Err(ModelError::TensorDtype {
                name,
                got: kind.name.to_owned(),
                file: self.file.to_owned(),
            });
        };
        if !got.iter().copied().eq(want.iter().map(|dim| *dim as u64)) {
            return Err(ModelError::TensorShape {
                name,
                got,
                want,
                file: self.file.to_owned(),
            });
        }
        Ok(TensorRef::single(name, dtype, want, (0, offset, bytes)))
    }
}

#[cfg(test)]
#[path = "../tests/common/gguf.rs"]
mod maker;

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
