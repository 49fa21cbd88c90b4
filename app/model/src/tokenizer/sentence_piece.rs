//! A SentencePiece vocabulary that a GGUF file describes, used as llama.cpp uses it.
//!
//! Text is cut at the special pieces that stand in it. What is left between them gets a space in front, spaces become U+2581, and
//! characters are merged best score first; a character without a piece becomes its bytes.
use super::pieces::{Token, byte_piece, of_bytes};
use super::scored::Scored;
use assay_trace::Digest;
use std::collections::HashMap;

/// How a space is written in a piece.
const SPACE: &str = "\u{2581}";
/// The most special pieces that a text is searched for, one after another.
const MAX_SPECIAL: usize = 1 << 12;

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    /// Text.
    Normal,
    /// What stands for text that has no piece.
    Unknown,
    /// A mark that is no text.
    Control,
    /// Text that is never merged or cut.
    UserDefined,
    /// Nothing: a row that only fills the vocabulary.
    Unused,
    /// A byte.
    Byte,
}

/// All that such a tokenizer is made of.
pub(crate) struct Vocabulary {
    /// By id, each once.
    pub pieces: Vec<String>,
    /// By id.
    pub scores: Vec<f32>,
    /// By id.
    pub kinds: Vec<PieceKind>,
    /// Put before a text.
    pub bos: Option<u32>,
    /// Put after a text.
    pub eos: Option<u32>,
    /// Whether a space is put before a text.
    pub space_prefix: bool,
    pub digest: Digest,
}

/// A SentencePiece tokenizer.
pub struct SentencePieceTokenizer {
    scored: Scored,
    kinds: Vec<PieceKind>,
    /// Ids of the bytes.
    bytes: Vec<u32>,
    /// Special pieces and their ids, longest first.
    special: Vec<(String, u32)>,
    bos: Option<u32>,
    eos: Option<u32>,
    space_prefix: bool,
    pub(super) digest: Digest,
}

impl SentencePieceTokenizer {
    /// Refuses, in words, a vocabulary that this would not encode as SentencePiece does.
    pub(crate) fn new(vocabulary: Vocabulary) -> Result<Self, String> {
        use PieceKind::*;
        let Vocabulary {
            pieces,
            scores,
            kinds,
            bos,
            eos,
            space_prefix,
            digest,
        } = vocabulary;
        let (mut ids, mut special) = (HashMap::new(), Vec::new());
        let mut bytes: Vec<Option<u32>> = vec![None; 256];
        for ((id, piece), kind) in (0u32..).zip(&pieces).zip(&kinds) {
            match kind {
                Normal => drop(ids.insert(piece.as_bytes().to_vec(), id)),
                Unknown | Control | UserDefined if piece.is_empty() => {}
                // llama.cpp looks for it before spaces are written so, and SentencePiece after.
                UserDefined if piece.contains(SPACE) => {
                    return Err(format!("piece {id} is user-defined and has a space"));
                }
                Unknown | Control | UserDefined => special.push((piece.clone(), id)),
                Byte => match byte_piece(piece.as_bytes()) {
                    Some(byte) => bytes[usize::from(byte)] = Some(id),
                    None => return Err(format!("piece {id} is no byte")),
                },
                Unused => {}
            }
        }
        let bytes: Option<Vec<u32>> = bytes.into_iter().collect();
        let bytes = bytes.ok_or("a byte has no piece")?;
        if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
            return Err(format!("a score is {score}"));
        }
        if special.len() > MAX_SPECIAL {
            return Err(format!("{} of its pieces are special", special.len()));
        }
        let known = |text: &str| ids.contains_key(text.as_bytes());
        for ((id, piece), kind) in pieces.iter().enumerate().zip(&kinds) {
            let mut buffer = [0; 4];
            let mut chars = piece
                .chars()
                .map(|char| known(char.encode_utf8(&mut buffer)));
            // Merging starts from characters, so it would never get there.
            if *kind == Normal && !chars.all(|known| known) {
                return Err(format!("piece {id} has a character without a piece"));
            }
            // SentencePiece would form it and cut it again.
            let mut cuts = piece.char_indices().map(|(at, _)| piece.split_at(at));
            if *kind == Unused && cuts.any(|(left, right)| known(left) && known(right)) {
                return Err(format!("piece {id} is unused, but can be formed"));
            }
        }
        special.sort_unstable_by_key(|(piece, id)| (std::cmp::Reverse(piece.len()), *id));
        let scored = Scored {
            pieces: pieces.into_iter().map(String::into_bytes).collect(),
            scores,
            ids,
            least_score: f32::NEG_INFINITY,
        };
        Ok(Self {
            scored,
            kinds,
            bytes,
            special,
            bos,
            eos,
            space_prefix,
            digest,
        })
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.scored.pieces.len()
    }

    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids: Vec<u32> = self.bos.into_iter().collect();
        // As long as nothing but a special piece stands before it.
        let mut first = true;
        for part in self.cut(text) {
            match part {
                Part::Special(id) => {
                    ids.push(id);
                    first = true;
                }
                Part::Text(text) => {
                    ids.extend(self.scored.merge(self.symbols(text, first)));
                    first = false;
                }
            }
        }
        ids.extend(self.eos);
        ids
    }

    /// The text in parts, cut at the longest special pieces first.
    fn cut<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts = vec![Part::Text(text)];
        for (piece, id) in &self.special {
            if !text.contains(piece) {
                continue;
            }
            let cut = |part: Part<'a>| match part {
                Part::Special(id) => vec![Part::Special(id)],
                Part::Text(text) => {
                    let mut cut = Vec::new();
                    for between in text.split(piece.as_str()) {
                        cut.extend([Part::Text(between), Part::Special(*id)]);
                    }
                    cut.pop();
                    cut
                }
            };
            parts = parts.into_iter().flat_map(cut).collect();
        }
        parts.retain(|part| !matches!(part, Part::Text("")));
        parts
    }

    fn symbols(&self, text: &str, first: bool) -> Vec<u32> {
        let prefix = if first && self.space_prefix { " " } else { "" };
        let mut symbols = Vec::with_capacity(text.len() + 1);
        for char in prefix.chars().chain(text.chars()) {
            let mut buffer = [0; 4];
            let utf8 = match char {
                ' ' => SPACE.as_bytes(),
                _ => char.encode_utf8(&mut buffer).as_bytes(),
            };
            match self.scored.ids.get(utf8) {
                Some(id) => symbols.push(*id),
                None => symbols.extend(utf8.iter().map(|byte| self.bytes[usize::from(*byte)])),
            }
        }
        symbols
    }

    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let tokens = self.tokens(ids).filter_map(|token| match token {
            Token::Bytes(bytes) => Some(bytes),
            Token::Special(_) => None,
        });
        String::from_utf8_lossy(&tokens.flatten().collect::<Vec<u8>>()).into_owned()
    }

    pub(super) fn pieces(&self, ids: &[u32]) -> Vec<String> {
        of_bytes(self.tokens(ids))
    }

    fn tokens(&self, ids: &[u32]) -> impl Iterator<Item = Token> {
        use PieceKind::*;
        let mut previous = None;
        ids.iter().map(move |id| {
            let piece = self.scored.piece(*id);
            let text = String::from_utf8_lossy(piece);
            let first = previous.replace(*id) == self.bos && self.space_prefix;
            let kind = self.kinds.get(*id as usize).copied().unwrap_or(Unused);
            match kind {
                Control | Unknown => Token::Special(text.into_owned()),
                Unused => Token::Bytes(Vec::new()),
                UserDefined => Token::Bytes(piece.to_vec()),
                Byte => Token::Bytes(byte_piece(piece).into_iter().collect()),
                Normal => {
                    let text = text.replace(SPACE, " ");
                    // The space that encoding put before the text.
                    let text = text.strip_prefix(' ').filter(|_| first).unwrap_or(&text);
                    Token::Bytes(text.as_bytes().to_vec())
                }
            }
        })
    }
}

/// A part of a text.
enum Part<'a> {
    Text(&'a str),
    Special(u32),
}

#[cfg(test)]
#[path = "sentence_piece_tests.rs"]
mod tests;
