//! llama2.c checkpoints, tensors in a fixed order without names, all layers of a kind together.
//!
//! - version 0: seven `i32`, then f32 tensors, among them a table of cosines and sines that everyone computes anew.
//! - version 1: `ak42`, the version, the seven, a byte that says whether the output projection is the embedding, zeros up to byte 256;
//!   all norms, then all matrices, f32.
//! - version 2: the same with an `i32` more, the size of a group; norms f32, and each matrix as `i8` quants followed by f32 scales, one
//!   for each group of consecutive quants, whatever rows they are of (`runq.c`'s Q8_0, which is not ggml's).
//!
//! The tensors get the names that Hugging Face would give them. They are *not* interchangeable with that format: rotary pairs are
//! neighbours here, which the config says and the model root binds.
use crate::files::Folder;
use crate::names::{LLAMA_LAYER, LM_HEAD, Names, layer_shape};
use crate::packed::ScaleType;
use crate::tokenizer::MAX_TOKENIZER_BYTES;
use crate::weights::{Element, Form, Part};
use crate::{
    ByteSource, Dtype, Family, LayerRole, Model, ModelConfig, ModelError, Role, Rope, RopeLayout,
    RopeScaling, TensorRef, Tokenizer,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const USUAL_TOKENIZER: &str = "tokenizer.bin";
/// Of version 0; later ones have [`LATER_HEADER_BYTES`].
const HEADER_BYTES: u64 = 28;
const LATER_HEADER_BYTES: u64 = 256;
/// `ak42`, with which later versions begin.
const MAGIC: i32 = 0x616b_3432;

/// What differs between versions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V0,
    V1,
    /// The size of a group.
    V2(usize),
}
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
    let header = Header::read(&*source)?;
    let tensors = layout(&header, source.len())?;
    Model::new(header.config, Vec::new(), tokenizer, vec![source], tensors)
}

/// Whether a file is such a checkpoint, told from its header and its length.
pub(crate) fn check(source: &dyn ByteSource) -> Result<(), ModelError> {
    layout(&Header::read(source)?, source.len()).map(drop)
}

struct Header {
    config: ModelConfig,
    seq_len: usize,
    version: Version,
}

impl Header {
    fn read(source: &dyn ByteSource) -> Result<Self, ModelError> {
        let read = |most: u64| source.read(0, source.len().min(most) as usize);
        let mut begin = read(HEADER_BYTES)?;
        if begin.starts_with(&MAGIC.to_le_bytes()) {
            begin = read(LATER_HEADER_BYTES)?;
        }
        let mut words = begin
            .as_chunks()
            .0
            .iter()
            .map(|word| i32::from_le_bytes(*word));
        let too_short = |want| ModelError::Llama2cBytes {
            got: source.len(),
            want,
        };
        let is_later = words.clone().next() == Some(MAGIC);
        let number = match is_later {
            true => words.by_ref().nth(1).unwrap_or(0),
            false => 0,
        };
        if is_later && !matches!(number, 1 | 2) {
            return Err(ModelError::Llama2cVersion { version: number });
        }
        let header_bytes = if is_later {
            LATER_HEADER_BYTES
        } else {
            HEADER_BYTES
        };
        if source.len() < header_bytes {
            return Err(too_short(header_bytes));
        }
        let mut fields = [0i32; 7];
        for (field, word) in fields.iter_mut().zip(words) {
            *field = word;
        }
        // A byte and perhaps a word after the seven.
        let shared = begin.get(36).copied().unwrap_or(0);
        let word = begin.get(37..41).and_then(|word| word.try_into().ok());
        let group = i32::from_le_bytes(word.unwrap_or_default());
        let version = match number {
            0 => Version::V0,
            1 => Version::V1,
            _ if group > 0 => Version::V2(group as usize),
            _ => {
                return Err(ModelError::Llama2cField {
                    field: "group_size",
                    got: group,
                });
            }
        };
        if is_later && shared > 1 {
            return Err(ModelError::Llama2cField {
                field: "shared_classifier",
                got: shared.into(),
            });
        }
        // In version 0 a negative vocabulary says that the output projection is stored on its own.
        let tied_embeddings = match version {
            Version::V0 => fields[5] > 0,
            _ => shared == 1,
        };
        let mut sizes = [0; 7];
        for ((size, field), got) in sizes.iter_mut().zip(FIELDS).zip(fields) {
            let magnitude = if field == "vocab_size" && version == Version::V0 {
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
        Ok(Self {
            config,
            seq_len,
            version,
        })
    }
}

/// Places a tensor of this name and shape after those before it.
type Next<'a> = dyn FnMut(&str, Vec<usize>) -> Result<TensorRef, ModelError> + 'a;

/// Where each tensor lies. The order of the kinds is the format's; all layers of a kind follow one another.
fn layout(header: &Header, file_bytes: u64) -> Result<BTreeMap<Role, TensorRef>, ModelError> {
    use LayerRole::*;
    let Header {
        config,
        seq_len,
        version,
    } = header;
    let mut at = match version {
        Version::V0 => HEADER_BYTES,
        _ => LATER_HEADER_BYTES,
    };
    // No overflow: `ModelConfig::check` bounds each size, so that a tensor has under 2^40 bytes and there are under 2^14 of them.
    let mut next = |name: &str, shape: Vec<usize>| {
        let elements = shape.iter().map(|dim| *dim as u64).product::<u64>();
        if let (Version::V2(group), [n, k]) = (version, &shape[..]) {
            return quantised(name, (*n, *k), *group, &mut at);
        }
        let tensor = TensorRef::single(name.to_owned(), Dtype::F32, shape, (0, at, 4 * elements));
        at += tensor.bytes;
        Ok(tensor)
    };
    let names = Names::of(config.family);
    let mut tensors = BTreeMap::new();
    let layers = |tensors: &mut BTreeMap<_, _>, kinds: &[LayerRole], next: &mut Next<'_>| {
        for wanted in kinds {
            for (role, suffix) in LLAMA_LAYER.into_iter().filter(|(role, _)| role == wanted) {
                for layer in 0..config.layers {
                    if let Some(shape) = layer_shape(config, role) {
                        let tensor = next(&names.in_layer(layer, suffix), shape)?;
                        tensors.insert(Role::Layer(layer, role), tensor);
                    }
                }
            }
        }
        Ok::<_, ModelError>(())
    };
    let embedding_shape = vec![config.vocab, config.hidden];
    let embedding;
    match version {
        Version::V0 => {
            embedding = next(&names.embedding(), embedding_shape.clone())?;
            let kinds = [AttnNorm, Q, K, V, O, MlpNorm, Gate, Down, Up];
            layers(&mut tensors, &kinds, &mut next)?;
            let norm = next(&names.final_norm(), vec![config.hidden])?;
            tensors.insert(Role::FinalNorm, norm);
            // Cosines and sines, which everyone computes anew.
            next("freq_cis", vec![*seq_len, config.head_dim])?;
        }
        Version::V1 | Version::V2(_) => {
            layers(&mut tensors, &[AttnNorm, MlpNorm], &mut next)?;
            let norm = next(&names.final_norm(), vec![config.hidden])?;
            tensors.insert(Role::FinalNorm, norm);
            embedding = next(&names.embedding(), embedding_shape.clone())?;
            layers(&mut tensors, &[Q, K, V, O, Gate, Down, Up], &mut next)?;
        }
    }
    let head = if config.tied_embeddings {
        embedding.clone()
    } else {
        next(LM_HEAD, embedding_shape)?
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

/// A matrix of version 2: quants, then a scale for each group of them. A row form's group lies within a row, so where a file's does not,
/// it becomes several.
fn quantised(
    name: &str,
    (n, k): (usize, usize),
    group: usize,
    at: &mut u64,
) -> Result<TensorRef, ModelError> {
    let elements = n as u64 * k as u64;
    let within = gcd(group, k);
    if !within.is_multiple_of(4) || !elements.is_multiple_of(group as u64) {
        return Err(ModelError::Quantised {
            name: name.to_owned(),
            what: "the size of a group",
            got: group.to_string(),
            want: format!(
                "a divisor of its {elements} elements that shares a multiple of 4 with rows of {k}"
            ),
        });
    }
    let mut part = |name: String, element, shape: Vec<usize>, bytes| {
        let offset = *at;
        *at += bytes;
        Part {
            name,
            element,
            shape,
            source: 0,
            offset,
            bytes,
        }
    };
    let scales = elements / group as u64;
    let parts = vec![
        part(name.to_owned(), Element::I8, vec![n, k], elements),
        part(
            format!("{name}_scale"),
            Element::F32,
            vec![scales as usize],
            4 * scales,
        ),
    ];
    let dtype = Dtype::Int8 {
        group: within as u32,
    };
    let form = Form::Int8 {
        scales: ScaleType::F32,
        group,
    };
    Ok(TensorRef::several(
        name.to_owned(),
        dtype,
        vec![n, k],
        parts,
        form,
    ))
}

fn gcd(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

/// Opens a `.bin` file with the tokenizer given, or with the one that lies beside it.
pub(crate) fn open(
    folder: &dyn Folder,
    name: &str,
    tokenizer: Option<Tokenizer>,
) -> Result<Model, ModelError> {
    let source = folder.open(name)?;
    let header = Header::read(&*source)?;
    let tensors = layout(&header, source.len())?;
    let mut notes = Vec::new();
    let tokenizer = match tokenizer {
        Some(tokenizer) => Some(tokenizer),
        None => beside(folder, header.config.vocab)?,
    };
    if tokenizer.is_none() {
        notes.push(format!(
            "no tokenizer of {} pieces lies beside the model; prompts must be given as ids",
            header.config.vocab
        ));
    }
    Model::new(header.config, notes, tokenizer, vec![source], tensors)
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
