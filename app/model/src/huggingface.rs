//! A Hugging Face checkpoint: one or more safetensors files whose tensors must be exactly those that the config asks for.
pub(crate) mod folder;
mod quantised;

use crate::config_json::Quantization;
use crate::names::{self, LM_HEAD, Names, Wanted};
use crate::safetensors_file::{Entry, read_header};
use crate::{
    ByteSource, Dtype, Model, ModelConfig, ModelError, Role, TensorRef, Tokenizer, config_json,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most files that a checkpoint may be split into.
pub(crate) const MAX_SHARDS: usize = 1024;
/// How many ignored tensors a note lists by name.
const MAX_LISTED: usize = 8;

/// One file: its name in errors, and its bytes.
pub(crate) struct Shard {
    pub label: String,
    pub source: Arc<dyn ByteSource>,
}

/// Builds a model from parts that are already open.
pub(crate) fn assemble(
    config_json: &[u8],
    generation_config: Option<&[u8]>,
    shards: Vec<Shard>,
    weight_map: Option<&BTreeMap<String, String>>,
    tokenizer: Option<Tokenizer>,
) -> Result<Model, ModelError> {
    let config_json::Parsed {
        config,
        mut notes,
        quantization,
    } = config_json::parse(config_json, generation_config)?;
    if shards.len() > MAX_SHARDS {
        return Err(ModelError::TooManyShards {
            got: shards.len(),
            most: MAX_SHARDS,
        });
    }
    let mut stored = Stored {
        entries: BTreeMap::new(),
        shards: &shards,
        quantization,
    };
    for (index, shard) in shards.iter().enumerate() {
        stored.add(index, read_header(&*shard.source, &shard.label)?)?;
    }
    if let Some(weight_map) = weight_map {
        stored.agrees_with(weight_map)?;
    }
    let tensors = stored.take_all(&config, &mut notes)?;
    let sources = shards.into_iter().map(|shard| shard.source).collect();
    Model::new(config, notes, tokenizer, sources, tensors)
}

/// Every tensor of every shard that no role has claimed yet.
struct Stored<'a> {
    entries: BTreeMap<String, (usize, Entry)>,
    shards: &'a [Shard],
    quantization: Option<Quantization>,
}

impl Stored<'_> {
    fn add(&mut self, index: usize, entries: BTreeMap<String, Entry>) -> Result<(), ModelError> {
        for (name, entry) in entries {
            if let Some((first, _)) = self.entries.get(&name) {
                let (first, second) = (self.label(*first), self.label(index));
                return Err(ModelError::TensorTwice {
                    name,
                    first,
                    second,
                });
            }
            self.entries.insert(name, (index, entry));
        }
        Ok(())
    }

    fn label(&self, index: usize) -> String {
        self.shards
            .get(index)
            .map(|shard| shard.label.clone())
            .unwrap_or_default()
    }

    fn agrees_with(&self, weight_map: &BTreeMap<String, String>) -> Result<(), ModelError> {
        for (name, shard) in weight_map {
            let found = self.entries.get(name).map(|(index, _)| self.label(*index));
            if found.as_ref() != Some(shard) {
                return Err(ModelError::ShardLacks {
                    name: name.clone(),
                    shard: shard.clone(),
                });
            }
        }
        Ok(())
    }

    fn take_all(
        &mut self,
        config: &ModelConfig,
        notes: &mut Vec<String>,
    ) -> Result<BTreeMap<Role, TensorRef>, ModelError> {
        let names = Names::in_checkpoint(config.family, self.entries.keys());
        let mut tensors = self.take_embeddings(config, &names, notes)?;
        for Wanted { role, name, shape } in names::wanted_but_embeddings(config, &names) {
            let tensor = match self.take_quantised(&name, &shape)? {
                Some(tensor) => tensor,
                None => self.take(&name, &shape)?,
            };
            tensors.insert(role, tensor);
        }
        if let Some((name, why)) = self
            .entries
            .keys()
            .find_map(|name| Some((name, names::contradiction(config, &names, name)?)))
        {
            return Err(ModelError::TensorUnexpected {
                name: name.clone(),
                why: why.to_owned(),
            });
        }
        self.note_ignored(notes);
        Ok(tensors)
    }

    /// The embedding and, in an untied model, the output projection. A tied model may store its one matrix under either name, or
    /// the same bytes under both.
    fn take_embeddings(
        &mut self,
        config: &ModelConfig,
        names: &Names,
        notes: &mut Vec<String>,
    ) -> Result<BTreeMap<Role, TensorRef>, ModelError> {
        let shape = [config.vocab, config.hidden];
        let embedding_name = names.embedding();
        let has = |name: &str| self.entries.contains_key(name);
        let (has_embedding, has_head) = (has(&embedding_name), has(LM_HEAD));
        if !config.tied_embeddings {
            let embedding = self.take(&embedding_name, &shape)?;
            return Ok([
                (Role::Embedding, embedding),
                (Role::LmHead, self.take(LM_HEAD, &shape)?),
            ]
            .into());
        }
        let shared = match (has_embedding, has_head) {
            (true, true) => {
                let (embedding, head) = (
                    self.take(&embedding_name, &shape)?,
                    self.take(LM_HEAD, &shape)?,
                );
                self.same_bytes(&embedding, &head)?;
                notes.push(format!(
                    "`{LM_HEAD}` repeats `{embedding_name}` byte for byte and is not counted"
                ));
                embedding
            }
            (false, true) => {
                notes.push(format!("the tied embedding is stored as `{LM_HEAD}`"));
                self.take(LM_HEAD, &shape)?
            }
            _ => self.take(&embedding_name, &shape)?,
        };
        Ok([(Role::Embedding, shared.clone()), (Role::LmHead, shared)].into())
    }

    fn take(&mut self, name: &str, want: &[usize]) -> Result<TensorRef, ModelError> {
        let Some((source, entry)) = self.entries.remove(name) else {
            return Err(ModelError::TensorMissing {
                name: name.to_owned(),
            });
        };
        let name = name.to_owned();
        let Entry {
            dtype,
            shape: got,
            offset,
            bytes,
        } = entry;
        let Some(dtype) = Dtype::from_safetensors_name(&dtype) else {
            return Err(ModelError::TensorDtype {
                name,
                got: dtype,
                file: self.label(source),
            });
        };
        if !got.iter().copied().eq(want.iter().map(|dim| *dim as u64)) {
            return Err(ModelError::TensorShape {
                name,
                got,
                want: want.to_vec(),
                file: self.label(source),
            });
        }
        Ok(TensorRef::single(
            name,
            dtype,
            want.to_vec(),
            (source, offset, bytes),
        ))
    }

    fn same_bytes(&self, first: &TensorRef, second: &TensorRef) -> Result<(), ModelError> {
        const STEP: u64 = 1 << 20;
        let differ = |at| ModelError::TiedDiffer {
            first: first.name.clone(),
            second: second.name.clone(),
            at,
        };
        if first.dtype != second.dtype {
            return Err(differ(0));
        }
        let source = |tensor: &TensorRef| {
            let part = tensor.parts.first();
            let shard = part.and_then(|part| self.shards.get(part.source));
            shard
                .zip(part)
                .map(|(shard, part)| (shard.source.clone(), part.offset))
                .ok_or_else(|| ModelError::ForeignTensor {
                    name: tensor.name.clone(),
                })
        };
        let ((first_source, first_at), (second_source, second_at)) =
            (source(first)?, source(second)?);
        for at in (0..first.bytes).step_by(STEP as usize) {
            let len = STEP.min(first.bytes - at) as usize;
            let (a, b) = (
                first_source.read(first_at + at, len)?,
                second_source.read(second_at + at, len)?,
            );
            if let Some(within) = a.iter().zip(b.iter()).position(|(a, b)| a != b) {
                return Err(differ(at + within as u64));
            }
            first_source.release(first_at + at, len as u64);
            second_source.release(second_at + at, len as u64);
        }
        Ok(())
    }

    fn note_ignored(&self, notes: &mut Vec<String>) {
        let ignored: Vec<_> = self
            .entries
            .keys()
            .filter(|name| !names::is_derived_buffer(name))
            .collect();
        if ignored.is_empty() {
            return;
        }
        let listed: Vec<_> = ignored
            .iter()
            .take(MAX_LISTED)
            .map(|name| format!("`{name}`"))
            .collect();
        let rest = if ignored.len() > MAX_LISTED {
            ", …"
        } else {
            ""
        };
        notes.push(format!(
            "{} unknown tensors were ignored: {}{rest}",
            ignored.len(),
            listed.join(", ")
        ));
    }
}

#[cfg(test)]
#[path = "huggingface_tests.rs"]
mod tests;
