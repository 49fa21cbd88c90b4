//! The tokenizer that metadata describes, where text surely becomes the ids that it should; why not, in words, where that is not sure.
use super::header::TOKENIZER;
use super::metadata::{Metadata, shown};
use crate::tokenizer::{PieceKind, SentencePieceTokenizer, Vocabulary};
use crate::{ModelError, Tokenizer};
use assay_trace::Digest;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// Keys besides those of special ids. Any other could change what ids a text has.
const KNOWN: [&str; 9] = [
    "add_bos_token",
    "add_eos_token",
    "add_space_prefix",
    "merges",
    "model",
    "pre",
    "scores",
    "tokens",
    "token_type",
];
/// Llama 3's pattern: contractions, words, numbers of up to three digits, punctuation, line feeds, spaces.
pub(crate) const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen2's: the same, but numbers of one digit.
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) fn tokenizer(metadata: &Metadata, digest: Digest) -> Result<Tokenizer, String> {
    let unknown = metadata.under(TOKENIZER).find(|(key, _)| {
        let harmless = *key == "token_type_count" || key.ends_with("_token_id");
        !harmless && !KNOWN.contains(key)
    });
    if let Some((key, _)) = unknown {
        let key = shown(key);
        return Err(format!("{key} of `tokenizer.ggml` is not known"));
    }
    match metadata.text("tokenizer.ggml.model").map_err(said)? {
        None => Err("it has none".to_owned()),
        Some("gpt2") => {
            let json = byte_level(&Parts::read(metadata)?, metadata)?;
            Tokenizer::from_made_json(json.to_string().as_bytes(), digest).map_err(said)
        }
        Some("llama") => sentence_piece(Parts::read(metadata)?, metadata, digest),
        Some(other) => Err(format!("`tokenizer.ggml.model` is {}", shown(other))),
    }
}

/// What both kinds have.
struct Parts {
    tokens: Vec<String>,
    kinds: Vec<PieceKind>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: Option<bool>,
    add_eos: Option<bool>,
    space_prefix: Option<bool>,
}

impl Parts {
    fn read(metadata: &Metadata) -> Result<Self, String> {
        let texts = metadata.texts("tokenizer.ggml.tokens").map_err(said)?;
        let texts = texts.ok_or("`tokenizer.ggml.tokens` is missing")?;
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).map_err(|err| err.to_string());
        let tokens: Vec<String> = texts.iter().map(text).collect::<Result<_, _>>()?;
        let distinct: HashSet<&String> = tokens.iter().collect();
        if distinct.len() < tokens.len() {
            return Err("two of its tokens are the same".to_owned());
        }
        let kinds = match metadata
            .integers("tokenizer.ggml.token_type")
            .map_err(said)?
        {
            Some(kinds) => kinds.iter().map(|kind| piece_kind(*kind)).collect(),
            None => Ok(vec![PieceKind::Normal; tokens.len()]),
        }?;
        if kinds.len() != tokens.len() {
            return Err(format!(
                "{} tokens have {} types",
                tokens.len(),
                kinds.len()
            ));
        }
        let id = |name: &str| {
            let id = metadata.size(&format!("{TOKENIZER}{name}")).map_err(said)?;
            let id = id.filter(|id| *id < tokens.len());
            Ok::<_, String>(id.and_then(|id| u32::try_from(id).ok()))
        };
        let flag = |name: &str| metadata.flag(&format!("{TOKENIZER}{name}")).map_err(said);
        Ok(Self {
            bos: id("bos_token_id")?,
            eos: id("eos_token_id")?,
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            space_prefix: flag("add_space_prefix")?,
            tokens,
            kinds,
        })
    }

    /// The ids before and after a text; `add_bos` stands for an absent flag.
    fn around(&self, add_bos: bool) -> Result<(Option<u32>, Option<u32>), String> {
        let around = |add: bool, id: Option<u32>, name| match (add, id) {
            (false, _) => Ok(None),
            (true, Some(id)) => Ok(Some(id)),
            (true, None) => Err(format!("`{TOKENIZER}{name}` is missing, and to be added")),
        };
        Ok((
            around(self.add_bos.unwrap_or(add_bos), self.bos, "bos_token_id")?,
            around(self.add_eos.unwrap_or(false), self.eos, "eos_token_id")?,
        ))
    }
}

fn piece_kind(number: i32) -> Result<PieceKind, String> {
    Ok(match number {
        1 => PieceKind::Normal,
        2 => PieceKind::Unknown,
        3 => PieceKind::Control,
        4 => PieceKind::UserDefined,
        5 => PieceKind::Unused,
        6 => PieceKind::Byte,
        _ => return Err(format!("a token is of type {number}")),
    })
}

fn sentence_piece(
    mut parts: Parts,
    metadata: &Metadata,
    digest: Digest,
) -> Result<Tokenizer, String> {
    let scores = metadata.floats("tokenizer.ggml.scores");
    let scores = scores.map_err(said)?;
    let scores = scores.ok_or("`tokenizer.ggml.scores` is missing")?;
    if scores.len() != parts.tokens.len() {
        return Err(format!(
            "{} tokens have {} scores",
            parts.tokens.len(),
            scores.len()
        ));
    }
    // llama.cpp's ids where the file gives none.
    let fits = |id: u32| ((id as usize) < parts.tokens.len()).then_some(id);
    parts.bos = parts.bos.or(fits(1));
    parts.eos = parts.eos.or(fits(2));
    let (bos, eos) = parts.around(true)?;
    let vocabulary = Vocabulary {
        bos,
        eos,
        space_prefix: parts.space_prefix.unwrap_or(true),
        pieces: parts.tokens,
        scores: scores.to_vec(),
        kinds: parts.kinds,
        digest,
    };
    SentencePieceTokenizer::new(vocabulary).map(Tokenizer::SentencePiece)
}

/// How a kind of byte-level BPE splits text before it merges.
struct Splitting {
    steps: Value,
    /// What is done to text before.
    normalizer: Value,
    /// Whether a word that is a token is taken whole.
    ignore_merges: bool,
    /// Whether a text begins with an id where the file does not say.
    add_bos: bool,
}

impl Splitting {
    /// The steps that Hugging Face publishes for the models that llama.cpp gives this name.
    fn named(pre: Option<&str>) -> Result<Self, String> {
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let sequence = |first: Value, second: Value| json!({"type": "Sequence", "pretokenizers": [first, second]});
        let split = |pattern: &str| {
            let words = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            sequence(words, bytes(false))
        };
        let mut normalizer = Value::Null;
        let (steps, of_llama_3) = match pre {
            Some("gpt-2") => (bytes(true), false),
            Some("llama-bpe" | "llama-v3" | "llama3") => (split(LLAMA_3), true),
            Some("qwen2") => {
                // llama.cpp leaves this out; text that it changes is rare, and the model was trained on text without.
                normalizer = json!({"type": "NFC"});
                (split(QWEN_2), false)
            }
            Some("smollm") => {
                let digits = json!({"type": "Digits", "individual_digits": true});
                (sequence(digits, bytes(true)), false)
            }
            Some(other) => {
                let other = shown(other);
                return Err(format!("how {other} splits text is not known"));
            }
            None => return Err("it does not say how text is split".to_owned()),
        };
        Ok(Self {
            steps,
            normalizer,
            ignore_merges: of_llama_3,
            add_bos: of_llama_3,
        })
    }
}

/// A `tokenizer.json` of byte-level BPE.
fn byte_level(parts: &Parts, metadata: &Metadata) -> Result<Value, String> {
    if parts.space_prefix == Some(true) {
        return Err("`tokenizer.ggml.add_space_prefix` is true".to_owned());
    }
    let Splitting {
        steps,
        normalizer,
        ignore_merges,
        add_bos,
    } = Splitting::named(metadata.text("tokenizer.ggml.pre").map_err(said)?)?;
    let merges = metadata.texts("tokenizer.ggml.merges").map_err(said)?;
    let merges = merges.ok_or("`tokenizer.ggml.merges` is missing")?;
    let merge = |merge: &[u8]| {
        let merge = std::str::from_utf8(merge).ok()?;
        let (left, right) = merge.split_once(' ')?;
        Some(json!([left, right]))
    };
    let merges: Option<Vec<Value>> = merges.iter().map(merge).collect();
    let merges = merges.ok_or("a merge is not two tokens")?;

    let (mut vocab, mut added) = (Map::new(), Vec::new());
    for ((id, token), kind) in (0u32..).zip(&parts.tokens).zip(&parts.kinds) {
        let special = match kind {
            PieceKind::Byte => return Err(format!("token {id} of byte-level BPE is a byte")),
            PieceKind::Unknown | PieceKind::Control => Some(true),
            PieceKind::UserDefined => Some(false),
            PieceKind::Normal | PieceKind::Unused => None,
        };
        if let Some(special) = special {
            added.push(json!({"id": id, "content": token, "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false}));
        }
        vocab.insert(token.clone(), id.into());
    }
    Ok(json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": steps,
        "post_processor": post_processor(parts, parts.around(add_bos)?),
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": vocab, "merges": merges},
    }))
}

/// Puts ids before and after a text.
fn post_processor(parts: &Parts, (before, after): (Option<u32>, Option<u32>)) -> Value {
    let token = |id: u32| parts.tokens.get(id as usize).cloned().unwrap_or_default();
    let step = |id: u32| json!({"SpecialToken": {"id": token(id), "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let steps: Vec<Value> = [before.map(step), Some(text), after.map(step)]
        .into_iter()
        .flatten()
        .collect();
    let named = |id: u32| {
        let name = token(id);
        let ids = json!({"id": name, "ids": [id], "tokens": [name]});
        (name, ids)
    };
    let special: Map<String, Value> = before.into_iter().chain(after).map(named).collect();
    json!({"type": "TemplateProcessing", "single": steps, "pair": steps, "special_tokens": special})
}

fn said(err: ModelError) -> String {
    err.to_string()
}

#[cfg(test)]
#[path = "vocabulary_tests.rs"]
mod tests;
