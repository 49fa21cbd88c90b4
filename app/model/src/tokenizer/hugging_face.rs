//! A `tokenizer.json`, run by the `tokenizers` crate and watched: text that it silently loses is an error here.
use super::pieces::{Token, byte_piece, bytes_of_byte_level, of_bytes, of_run};
use crate::ModelError;
use assay_trace::Digest;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A Hugging Face tokenizer.
pub struct HuggingFaceTokenizer {
    inner: tokenizers::Tokenizer,
    reversible: Reversible,
    decoding: Decoding,
    /// Ids without text of their own, and their names. The crate knows them too, but overlooks those that its normalizer changes.
    special: HashMap<u32, String>,
    pub(super) vocab_size: usize,
    pub(super) digest: Digest,
}

/// Whether decoding must give back the text that was encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reversible {
    /// Byte-level: every byte survives.
    Yes,
    /// Byte-level, but a space may be put before the text.
    ButForASpace,
    /// Some normalizer may have changed the text.
    No,
}

/// How the text of a token depends on its neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Decoding {
    /// Tokens are bytes, and the text is all of them as UTF-8.
    Bytes,
    /// Tokens are text, but a run of tokens like `<0x0A>` is bytes.
    TextAndBytes,
    /// Tokens are text.
    Text,
}

impl HuggingFaceTokenizer {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ModelError> {
        let outline: Outline =
            serde_json::from_slice(bytes).map_err(|err| ModelError::TokenizerFile {
                cause: err.to_string(),
            })?;
        if let Some(dropout) = outline.model.dropout.filter(|dropout| *dropout != 0.0) {
            return Err(ModelError::TokenizerDropout { dropout });
        }
        let fail = |cause| ModelError::TokenizerFile { cause };
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(fail)?;
        // A prompt must not be cut or padded behind the user's back.
        inner
            .with_truncation(None)
            .map_err(|err| fail(err.to_string()))?;
        inner.with_padding(None);
        let largest = inner.get_vocab(true).into_values().max();
        let added = inner.get_added_tokens_decoder();
        let special = added
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (id, token.content))
            .collect();
        Ok(Self {
            inner,
            reversible: outline.reversible(),
            decoding: outline.decoding(),
            special,
            vocab_size: largest.map_or(0, |id| id as usize + 1),
            digest: Digest::of(bytes),
        })
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = guarded(|| self.inner.encode_fast(text, true))
            .map_err(|cause| ModelError::Encode { cause })?;
        let ids = encoding.get_ids();
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
            return Err(ModelError::Encode {
                cause: format!("the tokenizer gave id {id}, beyond its vocabulary"),
            });
        }
        if self.reversible != Reversible::No {
            // The crate turns an error of its regular expressions into the end of their matches, so what came out is decoded
            // again. That finds lost text; a rest that was kept, but not split as the pattern asks, it cannot find.
            let added = encoding.get_special_tokens_mask();
            let of_text: Vec<u32> = ids
                .iter()
                .zip(added)
                .filter(|(_, added)| **added == 0)
                .map(|(id, _)| *id)
                .collect();
            let decoded = guarded(|| self.inner.decode(&of_text, false))
                .map_err(|cause| ModelError::Encode { cause })?;
            self.check_round_trip(text, &decoded)?;
        }
        Ok(ids.to_vec())
    }

    fn check_round_trip(&self, text: &str, decoded: &str) -> Result<(), ModelError> {
        let without_space = decoded
            .strip_prefix(' ')
            .filter(|_| self.reversible == Reversible::ButForASpace);
        if decoded == text || without_space == Some(text) {
            return Ok(());
        }
        let decoded = without_space
            .filter(|_| !text.starts_with(' '))
            .unwrap_or(decoded);
        let at = text
            .bytes()
            .zip(decoded.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        Err(ModelError::RoundTrip {
            at,
            bytes: text.len(),
        })
    }

    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let ids: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|id| !self.special.contains_key(id))
            .collect();
        guarded(|| self.inner.decode(&ids, false)).unwrap_or_else(|_| {
            // The decoder gave up; the pieces themselves still tell something.
            ids.iter()
                .filter_map(|id| self.inner.id_to_token(*id))
                .collect()
        })
    }

    pub(super) fn pieces(&self, ids: &[u32]) -> Vec<String> {
        if self.decoding == Decoding::Bytes {
            return of_bytes(ids.iter().map(|id| match self.special.get(id) {
                Some(name) => Token::Special(name.clone()),
                None => Token::Bytes(bytes_of_byte_level(
                    self.inner.id_to_token(*id).unwrap_or_default(),
                )),
            }));
        }
        let mut pieces = vec![String::new(); ids.len()];
        // Position and id of all that decoding takes notice of; with them the byte, if the token is one.
        let mut seen = Vec::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            if let Some(name) = self.special.get(id) {
                pieces[at].clone_from(name);
            } else if let Some(token) = self.inner.id_to_token(*id) {
                let byte = byte_piece(token.as_bytes());
                let byte = byte.filter(|_| self.decoding == Decoding::TextAndBytes);
                seen.push((at, *id, byte));
            }
        }
        // The text of a token (or of a run of bytes) is what it adds to the token before it: that is all of the neighbourhood that
        // a decoder of these kinds looks at, and the window stays small.
        let decode = |tokens: &[(usize, u32, Option<u8>)]| {
            self.decode(&tokens.iter().map(|(_, id, _)| *id).collect::<Vec<_>>())
        };
        let mut from = 0;
        while from < seen.len() {
            let run = seen[from..].iter().map_while(|(_, _, byte)| *byte);
            let bytes: Vec<u8> = run.collect();
            let end = from + bytes.len().max(1);
            let context = from.saturating_sub(1);
            let before = decode(&seen[context..from]);
            let whole = decode(&seen[context..end]);
            let text = match whole.strip_prefix(&before) {
                Some(text) => text.to_owned(),
                None => decode(&seen[from..end]),
            };
            for ((at, _, _), piece) in seen[from..end].iter().zip(of_run(text, &bytes)) {
                pieces[*at] = piece;
            }
            from = end;
        }
        pieces
    }
}

/// Runs the crate's code, of which not every panic on a strange file is known, and turns a panic into an error. Nobody is told
/// of the panic itself: it is no fault of the program's.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    #[cfg(panic = "unwind")]
    quiet::install();
    let before = quiet::GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    quiet::GUARDED.set(before);
    match result {
        Ok(result) => result.map_err(|err| err.to_string()),
        Err(_) => Err("the tokenizer library failed on it".to_owned()),
    }
}

/// A panic hook that says nothing of panics that are caught here, and leaves all others to the hook before it.
mod quiet {
    use std::cell::Cell;

    thread_local! {
        pub static GUARDED: Cell<bool> = const { Cell::new(false) };
    }

    #[cfg(panic = "unwind")]
    pub fn install() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if !GUARDED.get() {
                    before(info);
                }
            }));
        });
    }
}

/// The parts of the file that decide how far it can be trusted.
#[derive(serde::Deserialize)]
struct Outline {
    model: OutlineModel,
    #[serde(default)]
    normalizer: serde_json::Value,
    #[serde(default)]
    pre_tokenizer: serde_json::Value,
    #[serde(default)]
    decoder: serde_json::Value,
}

#[derive(serde::Deserialize)]
struct OutlineModel {
    dropout: Option<f64>,
}

impl Outline {
    fn decoding(&self) -> Decoding {
        let steps = match self.decoder["decoders"].as_array() {
            Some(steps) => steps.as_slice(),
            None => std::slice::from_ref(&self.decoder),
        };
        let has = |kind: &str| steps.iter().any(|step| step["type"] == kind);
        match steps {
            [only] if only["type"] == "ByteLevel" => Decoding::Bytes,
            _ if has("ByteFallback") => Decoding::TextAndBytes,
            _ => Decoding::Text,
        }
    }

    fn reversible(&self) -> Reversible {
        let is_byte_level = |part: &serde_json::Value| part["type"] == "ByteLevel";
        let steps = match self.pre_tokenizer["pretokenizers"].as_array() {
            Some(steps) => steps.as_slice(),
            None => std::slice::from_ref(&self.pre_tokenizer),
        };
        let Some(step) = steps.iter().find(|step| is_byte_level(step)) else {
            return Reversible::No;
        };
        if !self.normalizer.is_null() || !is_byte_level(&self.decoder) {
            return Reversible::No;
        }
        // The crate's default, where the key is absent, is to add the space.
        match step["add_prefix_space"] == false {
            true => Reversible::Yes,
            false => Reversible::ButForASpace,
        }
    }
}

#[cfg(test)]
#[path = "hugging_face_tests.rs"]
mod tests;
