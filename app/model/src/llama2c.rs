//! llama2.c checkpoints of version 0: seven `i32`, then f32 tensors in a fixed order, all layers of a kind together.
//!
//! The tensors get the names that Hugging Face would give them. They are *not* interchangeable with that format: rotary pairs are
//! neighbours here, which the config says and the model root binds.
use crate::files::Folder;
use crate::names::{LLAMA_LAYER, LM_HEAD, Names, layer_shape};
use crate::tokenizer::MAX_TOKENIZER_BYTES;
use crate::{
    ByteSource, Dtype, Family, LayerRole, Model, ModelConfig, ModelError, Role, Rope, RopeLayout,
    RopeScaling, TensorRef, Tokenizer,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const USUAL_TOKENIZER: &str = "tokenizer.bin";
const HEADER_BYTES: u64 = 28;
/// `ak42`, with which later versions begin.
const MAGIC: i32 = 0x616b_3432;
const FIELDS: [&str; 7] = [
    "dim",
    "hidden_dim",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "vocab_size",
    "seq_len",
];

/// Reads a checkpoint whose bytes are at hand.
pub(crate) fn parse(
    source: Arc<dyn ByteSource>,
    tokenizer: Option<Tokenizer>,
) -> Result<Model, ModelError> {
    let Header { config, seq_len } = Header::read(&*source)?;
    let tensors = layout(&config, seq_len, source.len())?;
    Model::new(config, Vec::new(), tokenizer, vec![source], tensors)
}

/// Whether a file is such a checkpoint, told from its header and its length.
pub(crate) fn check(source: &dyn ByteSource) -> Result<(), ModelError> {
    let Header { config, seq_len } = Header::read(source)?;
    layout(&config, seq_len, source.len()).map(drop)
}

struct Header {
    config: ModelConfig,
    seq_len: usize,
}

impl Header {
    fn read(source: &dyn ByteSource) -> Result<Self, ModelError> {
        let mut fields = [0i32; 7];
        let header_bytes = source.len().min(HEADER_BYTES) as usize;
        let header = source.read(0, header_bytes)?;
        for (field, bytes) in fields.iter_mut().zip(header.as_chunks().0) {
            *field = i32::from_le_bytes(*bytes);
        }
        if fields[0] == MAGIC {
            return Err(ModelError::Llama2cVersion { version: fields[1] });
        }
        if source.len() < HEADER_BYTES {
            return Err(ModelError::Llama2cBytes {
                got: source.len(),
                want: HEADER_BYTES,
            });
        }
        // A negative vocabulary says that the output projection is stored on its own.
        let tied_embeddings = fields[5] > 0;
        let mut sizes = [0; 7];
        for ((size, field), got) in sizes.iter_mut().zip(FIELDS).zip(fields) {
            let magnitude = if field == "vocab_size" {
                got.checked_abs()
            } else {
                Some(got)
            };
            *size = match magnitude {
                Some(positive @ 1..) => positive as usize,
                _ => return Err(ModelError::Llama2cField { field, got }),
            };
        }
        let [
            hidden,
            intermediate,
            layers,
            heads,
            kv_heads,
            vocab,
            seq_len,
        ] = sizes;
        if !hidden.is_multiple_of(heads) {
            return Err(ModelError::HeadDimUnknown { hidden, heads });
        }
        let config = ModelConfig {
            family: Family::Llama,
            hidden,
            intermediate,
            layers,
            heads,
            kv_heads,
            head_dim: hidden / heads,
            vocab,
            context: seq_len,
            norm_eps: 1e-5,
            rope: Some(Rope {
                theta: 10_000.0,
                scaling: RopeScaling::None,
                layout: RopeLayout::Interleaved,
            }),
            tied_embeddings,
            attention_bias: false,
            mlp_bias: false,
            // llama2.c stops at BOS, which it was trained to put between texts; SentencePiece's EOS ends one too.
            eos: [1, 2]
                .into_iter()
                .filter(|id| (*id as usize) < vocab)
                .collect(),
            bos: (vocab > 1).then_some(1),
        };
        config.check()?;
        Ok(Self { config, seq_len })
    }
}

/// Where each tensor lies. The order of the kinds is the format's; all layers of a kind follow one another.
fn layout(
    config: &ModelConfig,
    seq_len: usize,
    file_bytes: u64,
) -> Result<BTreeMap<Role, TensorRef>, ModelError> {
    use LayerRole::*;
    let mut at = HEADER_BYTES;
    // No overflow: `ModelConfig::check` bounds each size, so that a tensor has under 2^40 bytes and there are under 2^14 of them.
    let mut next = |name: &str, shape: Vec<usize>| {
        let bytes = shape.iter().map(|dim| *dim as u64).product::<u64>() * 4;
        let tensor = TensorRef::single(name.to_owned(), Dtype::F32, shape, (0, at, bytes));
        at += bytes;
        tensor
    };
    let names = Names::of(config.family);
    let mut tensors = BTreeMap::new();
    let embedding_shape = vec![config.vocab, config.hidden];
    let embedding = next(&names.embedding(), embedding_shape.clone());
    for wanted in [AttnNorm, Q, K, V, O, MlpNorm, Gate, Down, Up] {
        for (role, suffix) in LLAMA_LAYER.into_iter().filter(|(role, _)| *role == wanted) {
            for layer in 0..config.layers {
                if let Some(shape) = layer_shape(config, role) {
                    tensors.insert(
                        Role::Layer(layer, role),
                        next(&names.in_layer(layer, suffix), shape),
                    );
                }
            }
        }
    }
    tensors.insert(
        Role::FinalNorm,
        next(&names.final_norm(), vec![config.hidden]),
    );
    // Cosines and sines, which everyone computes anew.
    next("freq_cis", vec![seq_len, config.head_dim]);
    let head = if config.tied_embeddings {
        embedding.clone()
    } else {
        next(LM_HEAD, embedding_shape)
    };
    tensors.insert(Role::Embedding, embedding);
    tensors.insert(Role::LmHead, head);
    if at != file_bytes {
        return Err(ModelError::Llama2cBytes {
            got: file_bytes,
            want: at,
        });
    }
    Ok(tensors)
}

/// Opens a `.bin` file with the tokenizer given, or with the one that lies beside it.
pub(crate) fn open(
    folder: &dyn Folder,
    name: &str,
    tokenizer: Option<Tokenizer>,
) -> Result<Model, ModelError> {
    let source = folder.open(name)?;
    let Header { config, seq_len } = Header::read(&*source)?;
    let tensors = layout(&config, seq_len, source.len())?;
    let mut notes = Vec::new();
    let tokenizer = match tokenizer {
        Some(tokenizer) => Some(tokenizer),
        None => beside(folder, config.vocab)?,
    };
    if tokenizer.is_none() {
        notes.push(format!(
            "no tokenizer of {} pieces lies beside the model; prompts must be given as ids",
            config.vocab
        ));
    }
    Model::new(config, notes, tokenizer, vec![source], tensors)
}

/// `tokenizer.bin` beside the model, or else the one `tok*.bin` whose pieces are as many as the model's.
fn beside(folder: &dyn Folder, vocab: usize) -> Result<Option<Tokenizer>, ModelError> {
    let read = |name: &str| {
        let bytes = folder.read(name, MAX_TOKENIZER_BYTES)?;
        Tokenizer::from_llama2c(&bytes)
    };
    if folder.has(USUAL_TOKENIZER) {
        return read(USUAL_TOKENIZER).map(Some);
    }
    let mut fitting = Vec::new();
    for name in folder.names()? {
        // A file that only happens to be called so is none of ours.
        if is_tokenizer_name(&name)
            && let Ok(tokenizer) = read(&name)
            && tokenizer.vocab_size() == vocab
        {
            fitting.push(tokenizer);
        }
    }
    match fitting.len() {
        0 | 1 => Ok(fitting.pop()),
        got => Err(ModelError::TokenizerChoice {
            got,
            vocab,
            path: folder.path(),
        }),
    }
}

/// Whether a file is called as the tokenizers of this format are: `tokenizer.bin`, `tok512.bin`.
pub(crate) fn is_tokenizer_name(name: &str) -> bool {
    name.starts_with("tok") && name.ends_with(".bin")
}

#[cfg(test)]
#[path = "llama2c_tests.rs"]
mod tests;
