//! A config from metadata. Keys of the architecture are on a list: one that is not could change the numbers, and is refused by name.
use super::metadata::{Metadata, shown};
use crate::{Family, ModelConfig, ModelError, Rope, RopeLayout, RopeScaling};

/// Architectures by what their keys begin with. llama.cpp calls a Mistral `llama` too.
fn family(metadata: &Metadata) -> Result<Family, ModelError> {
    match metadata.text("general.architecture")? {
        Some("llama") => Ok(Family::Llama),
        Some("qwen2") => Ok(Family::Qwen2),
        Some(other) => Err(unsupported(
            "general.architecture",
            shown(other),
            "`llama`, `qwen2`",
        )),
        None => Err(ModelError::GgufMissing {
            key: "general.architecture".to_owned(),
        }),
    }
}

/// A key of the architecture.
struct Keys(Family);

impl Keys {
    fn of(&self, name: &str) -> String {
        format!("{}.{name}", self.0.as_str())
    }
}

/// What is read below, or does not touch the numbers of a dense model.
const KNOWN: [&str; 22] = [
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "tensor_data_layout",
    "vocab_size",
];

/// What the table of tensors tells about a model.
pub(super) struct Hints {
    /// Rows of the embedding, if it has any.
    pub vocab: Option<usize>,
    pub tied_embeddings: bool,
    pub attention_bias: bool,
    pub mlp_bias: bool,
}

/// Reads the config; the scaling of rotary positions is only what metadata says of it.
pub(super) fn read(
    metadata: &Metadata,
    hints: &Hints,
    notes: &mut Vec<String>,
) -> Result<ModelConfig, ModelError> {
    let family = family(metadata)?;
    let keys = Keys(family);
    refuse_what_changes_numbers(metadata, &keys)?;
    let hidden = metadata.required_size(&keys.of("embedding_length"))?;
    let heads = metadata.required_size(&keys.of("attention.head_count"))?;
    let head_dim = match metadata.size(&keys.of("attention.key_length"))? {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(ModelError::HeadDimUnknown { hidden, heads }),
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        let key = keys.of(key);
        if let Some(got) = metadata.size(&key)?
            && got != head_dim
        {
            return Err(unsupported(
                &key,
                got,
                &format!("{head_dim}, as a head has"),
            ));
        }
    }
    let vocab = match metadata.size(&keys.of("vocab_size"))? {
        Some(vocab) => Some(vocab),
        None => match metadata.texts("tokenizer.ggml.tokens")? {
            Some(tokens) => Some(tokens.len()),
            None => hints.vocab,
        },
    };
    let vocab = vocab.ok_or_else(|| ModelError::GgufMissing {
        key: keys.of("vocab_size"),
    })?;
    let config = ModelConfig {
        family,
        hidden,
        intermediate: metadata.required_size(&keys.of("feed_forward_length"))?,
        layers: metadata.required_size(&keys.of("block_count"))?,
        heads,
        kv_heads: metadata
            .size(&keys.of("attention.head_count_kv"))?
            .unwrap_or(heads),
        head_dim,
        vocab,
        context: context(metadata, &keys, notes)?,
        norm_eps: metadata.required_number(&keys.of("attention.layer_norm_rms_epsilon"))? as f32,
        rope: Some(Rope {
            theta: metadata
                .number(&keys.of("rope.freq_base"))?
                .unwrap_or(10_000.0),
            scaling: scaling(metadata, &keys)?,
            // Of a Llama the converter reorders the rows of q and k so that the two of a pair are neighbours.
            layout: match family {
                Family::Llama => RopeLayout::Interleaved,
                _ => RopeLayout::RotateHalf,
            },
        }),
        tied_embeddings: hints.tied_embeddings,
        attention_bias: hints.attention_bias || family == Family::Qwen2,
        mlp_bias: hints.mlp_bias,
        eos: eos(metadata, vocab, notes)?,
        bos: id(metadata, "bos_token_id", vocab, notes)?.or(default_id(metadata, 1, vocab)?),
    };
    config.check()?;
    Ok(config)
}

fn refuse_what_changes_numbers(metadata: &Metadata, keys: &Keys) -> Result<(), ModelError> {
    if let Some(count) = metadata.size("split.count")?
        && count > 1
    {
        return Err(unsupported("split.count", count, "a model in one file"));
    }
    if let Some((key, value)) = metadata
        .under(&keys.of(""))
        .find(|(key, _)| !KNOWN.contains(key))
    {
        return Err(unsupported(&keys.of(key), value, "models without this key"));
    }
    for key in ["expert_count", "expert_used_count"] {
        let key = keys.of(key);
        if let Some(count) = metadata.size(&key)?
            && count > 0
        {
            return Err(unsupported(&key, count, "dense models"));
        }
    }
    if metadata.flag(&keys.of("attention.causal"))? == Some(false) {
        return Err(unsupported(&keys.of("attention.causal"), false, "true"));
    }
    match metadata.text(&keys.of("tensor_data_layout"))? {
        None | Some("Meta AI original pth") => Ok(()),
        Some(other) => Err(unsupported(
            &keys.of("tensor_data_layout"),
            shown(other),
            "`Meta AI original pth`",
        )),
    }
}

/// As in Hugging Face configs: within the first window, attending to the window and to all is the same.
fn context(metadata: &Metadata, keys: &Keys, notes: &mut Vec<String>) -> Result<usize, ModelError> {
    let context = metadata.required_size(&keys.of("context_length"))?;
    match metadata.size(&keys.of("attention.sliding_window"))? {
        Some(window) if window > 0 && window < context => {
            notes.push(format!("context cut from {context} to the sliding window of {window} positions, within which results are equal"));
            Ok(window)
        }
        _ => Ok(context),
    }
}

/// A factor without a type is a linear one, as in llama.cpp.
fn scaling(metadata: &Metadata, keys: &Keys) -> Result<RopeScaling, ModelError> {
    let kind = metadata.text(&keys.of("rope.scaling.type"))?;
    let factor = match metadata.number(&keys.of("rope.scaling.factor"))? {
        Some(factor) => Some(factor),
        None => metadata.number(&keys.of("rope.scale_linear"))?,
    };
    match (kind, factor) {
        (Some("none"), _) => Ok(RopeScaling::None),
        (None | Some("linear"), None | Some(0.0 | 1.0)) => Ok(RopeScaling::None),
        (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
        (Some(other), _) => Err(unsupported(
            &keys.of("rope.scaling.type"),
            shown(other),
            "`none`, `linear`, and Llama 3's in `rope_freqs.weight`",
        )),
    }
}

/// The end of a sequence, of a turn and of a message, each once.
fn eos(metadata: &Metadata, vocab: usize, notes: &mut Vec<String>) -> Result<Vec<u32>, ModelError> {
    let mut eos = Vec::new();
    eos.extend(id(metadata, "eos_token_id", vocab, notes)?.or(default_id(metadata, 2, vocab)?));
    eos.extend(id(metadata, "eot_token_id", vocab, notes)?);
    eos.extend(id(metadata, "eom_token_id", vocab, notes)?);
    eos.sort_unstable();
    eos.dedup();
    Ok(eos)
}

/// A special id; -1 means that there is none, and one that the model cannot emit is left out with a note.
fn id(
    metadata: &Metadata,
    name: &str,
    vocab: usize,
    notes: &mut Vec<String>,
) -> Result<Option<u32>, ModelError> {
    let key = format!("tokenizer.ggml.{name}");
    let Some(id) = metadata.size(&key)? else {
        return Ok(None);
    };
    if id < vocab {
        return Ok(u32::try_from(id).ok());
    }
    if id != u32::MAX as usize {
        notes.push(format!(
            "`{key}` {id} is outside the vocabulary of {vocab} and was left out"
        ));
    }
    Ok(None)
}

/// What llama.cpp takes for an id of a SentencePiece vocabulary that the file does not give.
fn default_id(metadata: &Metadata, id: u32, vocab: usize) -> Result<Option<u32>, ModelError> {
    let fits = metadata.text("tokenizer.ggml.model")? == Some("llama") && (id as usize) < vocab;
    Ok(fits.then_some(id))
}

fn unsupported(key: &str, got: impl ToString, supported: &str) -> ModelError {
    ModelError::Unsupported {
        key: key.to_owned(),
        got: got.to_string(),
        supported: supported.to_owned(),
    }
}
