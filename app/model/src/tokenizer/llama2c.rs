//! llama2.c's `tokenizer.bin`: a SentencePiece vocabulary with scores, merged greedily, best score first.
//!
//! The file is a `u32` (longest piece) and then, to its end, pieces of `f32` score, `i32` length and bytes. Ids 1 and 2 begin and
//! end a text; byte b has the piece `<0xBB>` with id b + 3.
use super::pieces::{Token, byte_piece, of_bytes};
use super::scored::Scored;
use crate::ModelError;
use crate::config::most;
use assay_trace::Digest;
use std::collections::HashMap;

const BOS: u32 = 1;
const EOS: u32 = 2;
const BYTE_OFFSET: u32 = 3;
/// The smallest vocabulary: three special pieces and all bytes.
const LEAST_PIECES: usize = 259;
/// llama2.c takes the best of all scores above this one.
const LEAST_SCORE: f32 = -1e10;

/// A llama2.c tokenizer.
pub struct Llama2cTokenizer {
    scored: Scored,
    /// Id of the space that llama2.c puts before a text.
    space: u32,
    pub(super) digest: Digest,
}

impl Llama2cTokenizer {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ModelError> {
        let (mut pieces, mut scores, mut ids) = (Vec::new(), Vec::new(), HashMap::new());
        let truncated = |piece, want: usize| ModelError::TokenizerTruncated {
            piece,
            got: bytes.len() as u64,
            want: want as u64,
        };
        let mut at = 4; // the longest piece's length, of use to C only
        if bytes.len() < at {
            return Err(truncated(0, at));
        }
        while at < bytes.len() {
            let piece = pieces.len();
            if piece == most::VOCAB {
                return Err(ModelError::TokenizerTooManyPieces { most: most::VOCAB });
            }
            let (score, len) = match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
                Some([s0, s1, s2, s3, len @ ..]) => (
                    f32::from_le_bytes([*s0, *s1, *s2, *s3]),
                    u32::from_le_bytes(*len),
                ),
                None => return Err(truncated(piece, at + 8)),
            };
            if score.is_nan() {
                return Err(ModelError::TokenizerScore { piece });
            }
            // A negative length is one beyond every file.
            let end = (at + 8).saturating_add(len as usize);
            let Some(text) = bytes.get(at + 8..end) else {
                return Err(truncated(piece, end));
            };
            ids.entry(text.to_vec()).or_insert(piece as u32);
            pieces.push(text.to_vec());
            scores.push(score);
            at = end;
        }
        if pieces.len() < LEAST_PIECES {
            return Err(ModelError::TokenizerLacks {
                what: "the 3 special pieces and 256 bytes that llama2.c counts on",
            });
        }
        let Some(space) = ids.get(b" ".as_slice()).copied() else {
            return Err(ModelError::TokenizerLacks {
                what: "a piece for the space",
            });
        };
        let scored = Scored {
            pieces,
            scores,
            ids,
            least_score: LEAST_SCORE,
        };
        Ok(Self {
            scored,
            space,
            digest: Digest::of(bytes),
        })
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.scored.pieces.len()
    }

    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut symbols = Vec::new();
        if !text.is_empty() {
            symbols.push(self.space);
        }
        for char in text.chars() {
            let mut buffer = [0; 4];
            let utf8 = char.encode_utf8(&mut buffer).as_bytes();
            match self.scored.ids.get(utf8) {
                Some(id) => symbols.push(*id),
                None => symbols.extend(utf8.iter().map(|byte| u32::from(*byte) + BYTE_OFFSET)),
            }
        }
        let mut ids = vec![BOS];
        ids.extend(self.scored.merge(symbols));
        ids
    }

    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        let mut previous = None;
        for id in ids {
            self.append_bytes(*id, previous, &mut bytes);
            previous = Some(*id);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn pieces(&self, ids: &[u32]) -> Vec<String> {
        let mut previous = None;
        let tokens = ids.iter().map(|id| {
            let mut bytes = Vec::new();
            self.append_bytes(*id, previous.replace(*id), &mut bytes);
            match *id {
                // The file puts line feeds around their names.
                BOS | EOS => Token::Special(
                    String::from_utf8_lossy(self.scored.piece(*id))
                        .trim()
                        .into(),
                ),
                _ => Token::Bytes(bytes),
            }
        });
        of_bytes(tokens)
    }

    /// The bytes of a text that `id` stands for after `previous`.
    fn append_bytes(&self, id: u32, previous: Option<u32>, bytes: &mut Vec<u8>) {
        let piece = self.scored.piece(id);
        match byte_piece(piece) {
            _ if id == BOS || id == EOS => {}
            Some(byte) => bytes.push(byte),
            // SentencePiece leaves out the space that it put before the text.
            None if previous == Some(BOS) => {
                bytes.extend(piece.strip_prefix(b" ").unwrap_or(piece));
            }
            None => bytes.extend(piece),
        }
    }
}

#[cfg(test)]
#[path = "llama2c_tests.rs"]
mod tests;
