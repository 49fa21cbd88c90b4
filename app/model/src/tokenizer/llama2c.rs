//! llama2.c's `tokenizer.bin`: a SentencePiece vocabulary with scores, merged greedily, best score first.
//!
//! The file is a `u32` (longest piece) and then, to its end, pieces of `f32` score, `i32` length and bytes. Ids 1 and 2 begin and
//! end a text; byte b has the piece `<0xBB>` with id b + 3.
use super::pieces::{Token, of_bytes};
use crate::ModelError;
use crate::config::most;
use assay_trace::Digest;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

const BOS: u32 = 1;
const EOS: u32 = 2;
const BYTE_OFFSET: u32 = 3;
/// The smallest vocabulary: three special pieces and all bytes.
const LEAST_PIECES: usize = 259;
/// llama2.c takes the best of all scores above this one.
const LEAST_SCORE: f32 = -1e10;

/// A llama2.c tokenizer.
pub struct Llama2cTokenizer {
    pieces: Vec<Vec<u8>>,
    scores: Vec<f32>,
    ids: HashMap<Vec<u8>, u32>,
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
        Ok(Self {
            pieces,
            scores,
            ids,
            space,
            digest: Digest::of(bytes),
        })
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut symbols = Vec::new();
        if !text.is_empty() {
            symbols.push(self.space);
        }
        for char in text.chars() {
            let mut buffer = [0; 4];
            let utf8 = char.encode_utf8(&mut buffer).as_bytes();
            match self.ids.get(utf8) {
                Some(id) => symbols.push(*id),
                None => symbols.extend(utf8.iter().map(|byte| u32::from(*byte) + BYTE_OFFSET)),
            }
        }
        let mut ids = vec![BOS];
        ids.extend(Merger::new(self, symbols).run());
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
                BOS | EOS => Token::Special(String::from_utf8_lossy(self.piece(*id)).trim().into()),
                _ => Token::Bytes(bytes),
            }
        });
        of_bytes(tokens)
    }

    fn piece(&self, id: u32) -> &[u8] {
        let piece = self.pieces.get(id as usize);
        piece.map(Vec::as_slice).unwrap_or_default()
    }

    /// The bytes of a text that `id` stands for after `previous`.
    fn append_bytes(&self, id: u32, previous: Option<u32>, bytes: &mut Vec<u8>) {
        let piece = self.piece(id);
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

    /// The piece that two neighbours form, with its score, if the vocabulary has it.
    fn merged(&self, left: u32, right: u32) -> Option<(u32, f32)> {
        let joined = [
            self.pieces.get(left as usize)?.as_slice(),
            self.pieces.get(right as usize)?.as_slice(),
        ]
        .concat();
        let id = *self.ids.get(&joined)?;
        let score = *self.scores.get(id as usize)?;
        (score > LEAST_SCORE).then_some((id, score))
    }
}

/// The byte that a piece like `<0x0A>` stands for.
pub(super) fn byte_piece(piece: &[u8]) -> Option<u8> {
    let digits = piece.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// Merges the best-scored pair of neighbours, the leftmost of equals, until none forms a piece: llama2.c's loop with a heap in place
/// of its scan over all pairs, so that long texts do not cost their square.
struct Merger<'a> {
    tokenizer: &'a Llama2cTokenizer,
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Candidate>,
}

#[derive(Clone, Copy)]
struct Symbol {
    /// `None` once merged into its left neighbour.
    id: Option<u32>,
    left: Option<usize>,
    right: Option<usize>,
}

struct Candidate {
    score: f32,
    /// Indices and ids of both sides; stale if the ids are no longer there.
    at: (usize, usize),
    ids: (u32, u32),
    merged: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // 0 and -0 are equal to llama2.c, so they must be here; NaN was refused.
        let key = |candidate: &Self| candidate.score + 0.0;
        key(self)
            .total_cmp(&key(other))
            .then(Reverse(self.at).cmp(&Reverse(other.at)))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl<'a> Merger<'a> {
    fn new(tokenizer: &'a Llama2cTokenizer, ids: Vec<u32>) -> Self {
        let last = ids.len().saturating_sub(1);
        let link = |(at, id)| Symbol {
            id: Some(id),
            left: if at == 0 { None } else { Some(at - 1) },
            right: (at < last).then_some(at + 1),
        };
        let symbols = ids.into_iter().enumerate().map(link).collect();
        let mut merger = Self {
            tokenizer,
            symbols,
            heap: BinaryHeap::new(),
        };
        for at in 0..merger.symbols.len() {
            merger.consider(Some(at));
        }
        merger
    }

    fn run(mut self) -> impl Iterator<Item = u32> + use<> {
        while let Some(Candidate {
            at: (left, right),
            ids: (left_id, right_id),
            merged,
            ..
        }) = self.heap.pop()
        {
            if self.symbols[left].id != Some(left_id) || self.symbols[right].id != Some(right_id) {
                continue;
            }
            let after = self.symbols[right].right;
            self.symbols[right].id = None;
            self.symbols[left] = Symbol {
                id: Some(merged),
                right: after,
                ..self.symbols[left]
            };
            if let Some(after) = after {
                self.symbols[after].left = Some(left);
            }
            self.consider(self.symbols[left].left);
            self.consider(Some(left));
        }
        self.symbols.into_iter().filter_map(|symbol| symbol.id)
    }

    /// Offers the pair that begins at `left`, if there is one that forms a piece.
    fn consider(&mut self, left: Option<usize>) {
        let Some(left) = left else { return };
        let Some(right) = self.symbols[left].right else {
            return;
        };
        let (Some(left_id), Some(right_id)) = (self.symbols[left].id, self.symbols[right].id)
        else {
            return;
        };
        if let Some((merged, score)) = self.tokenizer.merged(left_id, right_id) {
            self.heap.push(Candidate {
                score,
                at: (left, right),
                ids: (left_id, right_id),
                merged,
            });
        }
    }
}

#[cfg(test)]
#[path = "llama2c_tests.rs"]
mod tests;
