//! Text to ids and back, by one of three tokenizers.
mod hugging_face;
mod llama2c;
mod pieces;
mod scored;
mod sentence_piece;
mod utf8;

pub use hugging_face::HuggingFaceTokenizer;
pub use llama2c::Llama2cTokenizer;
pub use sentence_piece::SentencePieceTokenizer;
pub(crate) use sentence_piece::{PieceKind, Vocabulary};

use crate::ModelError;
use assay_trace::Digest;

/// The largest tokenizer file that is read; the largest in use has under 40 MB.
pub(crate) const MAX_TOKENIZER_BYTES: usize = 128 << 20;

/// A model's tokenizer.
pub enum Tokenizer {
    /// A Hugging Face `tokenizer.json`.
    HuggingFace(Box<HuggingFaceTokenizer>),
    /// A llama2.c `tokenizer.bin`.
    Llama2c(Llama2cTokenizer),
    /// A SentencePiece vocabulary in a GGUF file.
    SentencePiece(SentencePieceTokenizer),
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ModelError> {
        check_size(bytes)?;
        HuggingFaceTokenizer::parse(bytes).map(|tokenizer| Self::HuggingFace(Box::new(tokenizer)))
    }

    /// Reads a `tokenizer.json` that was made from something else, whose digest stands in.
    pub(crate) fn from_made_json(bytes: &[u8], digest: Digest) -> Result<Self, ModelError> {
        check_size(bytes)?;
        let mut tokenizer = HuggingFaceTokenizer::parse(bytes)?;
        tokenizer.digest = digest;
        Ok(Self::HuggingFace(Box::new(tokenizer)))
    }

    /// Reads a llama2.c `tokenizer.bin`.
    pub fn from_llama2c(bytes: &[u8]) -> Result<Self, ModelError> {
        check_size(bytes)?;
        Llama2cTokenizer::parse(bytes).map(Self::Llama2c)
    }

    /// Reads either kind, told apart by the extension: `.bin` is llama2.c's.
    #[cfg(feature = "native")]
    pub fn open(path: &std::path::Path) -> Result<Self, ModelError> {
        let bytes = crate::model::read_capped(path, MAX_TOKENIZER_BYTES)?;
        match path.extension().is_some_and(|extension| extension == "bin") {
            true => Self::from_llama2c(&bytes),
            false => Self::from_json(&bytes),
        }
    }

    /// Ids of `text`, with the special ids that the tokenizer puts around a text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        match self {
            Self::HuggingFace(tokenizer) => tokenizer.encode(text),
            Self::Llama2c(tokenizer) => Ok(tokenizer.encode(text)),
            Self::SentencePiece(tokenizer) => Ok(tokenizer.encode(text)),
        }
    }

    /// Text of `ids`, without special ids; bytes that are not UTF-8 show as U+FFFD. Ids outside the vocabulary have no text.
    pub fn decode(&self, ids: &[u32]) -> String {
        match self {
            Self::HuggingFace(tokenizer) => tokenizer.decode(ids),
            Self::Llama2c(tokenizer) => tokenizer.decode(ids),
            Self::SentencePiece(tokenizer) => tokenizer.decode(ids),
        }
    }

    /// The text of each of `ids`, so that all of them together read as the text does. A character that takes several tokens appears
    /// at its last one, and the others get an empty string. A special id gets its name, like `<s>`, where [`Tokenizer::decode`] has
    /// nothing.
    pub fn pieces(&self, ids: &[u32]) -> Vec<String> {
        match self {
            Self::HuggingFace(tokenizer) => tokenizer.pieces(ids),
            Self::Llama2c(tokenizer) => tokenizer.pieces(ids),
            Self::SentencePiece(tokenizer) => tokenizer.pieces(ids),
        }
    }

    /// SHA-256 of the file that the tokenizer was read from. Of a GGUF file, SHA-256 over the SHA-256 of each `tokenizer.ggml.*`
    /// entry, as the bytes of key, type and value stand there.
    pub fn digest(&self) -> Digest {
        match self {
            Self::HuggingFace(tokenizer) => tokenizer.digest,
            Self::Llama2c(tokenizer) => tokenizer.digest,
            Self::SentencePiece(tokenizer) => tokenizer.digest,
        }
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::HuggingFace(tokenizer) => tokenizer.vocab_size,
            Self::Llama2c(tokenizer) => tokenizer.vocab_size(),
            Self::SentencePiece(tokenizer) => tokenizer.vocab_size(),
        }
    }

    /// Refuses a tokenizer that could produce ids without an embedding. (A model may have more rows than its tokenizer has ids.)
    pub fn check_vocab(&self, model_vocab: usize) -> Result<(), ModelError> {
        let got = self.vocab_size();
        let too_few = matches!(self, Self::Llama2c(_)) && got != model_vocab;
        if got > model_vocab || too_few {
            return Err(ModelError::TokenizerVocab {
                got,
                want: model_vocab,
            });
        }
        Ok(())
    }
}

fn check_size(bytes: &[u8]) -> Result<(), ModelError> {
    if bytes.len() <= MAX_TOKENIZER_BYTES {
        return Ok(());
    }
    let (got, most) = (bytes.len() as u64, MAX_TOKENIZER_BYTES as u64);
    Err(ModelError::FileTooLarge {
        got,
        most,
        path: "tokenizer".into(),
    })
}
