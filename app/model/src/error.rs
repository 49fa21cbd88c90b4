//! Why a checkpoint was refused: one variant a cause, names in backticks, both numbers, paths last.
use std::path::PathBuf;

/// Everything that can be wrong with a checkpoint, a tokenizer or a request for their bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum ModelError {
    // Files
    #[error("cannot {what}: {source}: {path}", path = path.display())]
    Io {
        what: &'static str,
        source: std::io::Error,
        path: PathBuf,
    },
    #[error("disk is full, {wanted} bytes were wanted in all: {path}", path = path.display())]
    DiskFull { wanted: u64, path: PathBuf },
    #[error("already exists: {path}", path = path.display())]
    Exists { path: PathBuf },
    #[error("not a regular file: {path}", path = path.display())]
    NotAFile { path: PathBuf },
    #[error("file is too large: got {got} bytes, want at most {most}: {path}", path = path.display())]
    FileTooLarge { got: u64, most: u64, path: PathBuf },
    #[error(
        "no checkpoint here: want a folder with `config.json` and `model.safetensors` (or its index), a `.gguf`, or a llama2.c `.bin`: {path}",
        path = path.display()
    )]
    NoCheckpoint { path: PathBuf },
    #[error("{found} cannot be read, want safetensors, a `.gguf` or a llama2.c `.bin`: {path}", path = path.display())]
    UnsupportedFormat { found: &'static str, path: PathBuf },
    #[error("{got} safetensors files, but no `model.safetensors.index.json` that says what is in which: {path}", path = path.display())]
    IndexMissing { got: usize, path: PathBuf },
    #[error("`{name}` is not among the files")]
    FileMissing { name: String },
    #[error("`{name}` is among the files twice")]
    FileTwice { name: String },
    #[error(
        "no checkpoint among the files: got {found}, want `config.json` and `model.safetensors` (or its index and shards), a `.gguf`, or a llama2.c `.bin`"
    )]
    NothingToOpen { found: String },
    #[error("more than one checkpoint: got {found}, want one")]
    SeveralCheckpoints { found: String },

    // Configs
    #[error("{file} is not valid JSON: {source}")]
    Json {
        file: &'static str,
        source: serde_json::Error,
    },
    #[error("`{key}` is missing from `config.json`")]
    ConfigMissing { key: String },
    #[error("`{key}` in `config.json`: got {got}, want {want}")]
    ConfigValue {
        key: String,
        got: String,
        want: String,
    },
    #[error("`{key}` is {got}, which is not supported; supported: {supported}")]
    Unsupported {
        key: String,
        got: String,
        supported: String,
    },
    #[error(
        "`config.json` contradicts itself: `{first}` is {first_value} but `{second}` is {second_value}"
    )]
    ConfigConflict {
        first: String,
        first_value: String,
        second: String,
        second_value: String,
    },
    #[error("`{key}` is out of range: got {got}, want {least} to {most}")]
    ConfigRange {
        key: &'static str,
        got: u64,
        least: u64,
        most: u64,
    },
    #[error(
        "`num_attention_heads` is not a multiple of `num_key_value_heads`: got {heads} and {kv_heads}"
    )]
    HeadGroups { heads: usize, kv_heads: usize },
    #[error("`head_dim` must be even: got {head_dim}")]
    OddHeadDim { head_dim: usize },
    #[error(
        "`hidden_size` is not a multiple of `num_attention_heads` and `head_dim` is not given: got {hidden} and {heads}"
    )]
    HeadDimUnknown { hidden: usize, heads: usize },

    // Safetensors
    #[error("file is too short: got {got} bytes, want {want}: {file}")]
    Truncated { got: u64, want: u64, file: String },
    #[error("header is too large: got {got} bytes, want at most {most}: {file}")]
    HeaderTooLarge { got: u64, most: u64, file: String },
    #[error("safetensors header is malformed: {cause}: {file}")]
    Header { cause: String, file: String },
    #[error("tensor `{name}` appears twice in one header: {file}")]
    DuplicateName { name: String, file: String },
    #[error("tensor `{name}` has too many dimensions: got {got}, want at most {most}: {file}")]
    Rank {
        name: String,
        got: usize,
        most: usize,
        file: String,
    },
    #[error("size of tensor `{name}` overflows: shape {shape:?}: {file}")]
    ShapeOverflow {
        name: String,
        shape: Vec<u64>,
        file: String,
    },
    #[error(
        "offsets of tensor `{name}` lie outside the data: got {begin} to {end}, want at most {data_bytes}: {file}"
    )]
    OffsetsOutside {
        name: String,
        begin: u64,
        end: u64,
        data_bytes: u64,
        file: String,
    },
    #[error(
        "offsets of tensor `{name}` do not fit its shape: got {got} bytes, want {want}: {file}"
    )]
    TensorBytes {
        name: String,
        got: u64,
        want: u64,
        file: String,
    },
    #[error("tensors `{first}` and `{second}` overlap: {file}")]
    Overlap {
        first: String,
        second: String,
        file: String,
    },
    #[error("bytes {begin} to {end} of the data belong to no tensor: {file}")]
    Hole { begin: u64, end: u64, file: String },
    #[error("more shards than any model needs: got {got}, want at most {most}")]
    TooManyShards { got: usize, most: usize },
    #[error("`weight_map` names a shard outside the folder: {got:?}")]
    ShardPath { got: String },
    #[error("`weight_map` puts tensor `{name}` in {shard}, which does not hold it")]
    ShardLacks { name: String, shard: String },

    // GGUF
    #[error("not a GGUF file: {file}")]
    GgufMagic { file: String },
    #[error("GGUF of version {got} is not supported; supported: 2 and 3, little-endian: {file}")]
    GgufVersion { got: u32, file: String },
    #[error("too many {what}: got {got}, want at most {most}")]
    GgufCount {
        what: &'static str,
        got: u64,
        most: u64,
    },
    #[error("{what} is too long: got {got} bytes, want at most {most}, at byte {at}")]
    GgufLength {
        what: &'static str,
        got: u64,
        most: u64,
        at: u64,
    },
    #[error("{what} is not UTF-8, at byte {at}")]
    GgufText { what: &'static str, at: u64 },
    #[error("`{key}` has a value of unknown type {got}")]
    GgufValueType { key: String, got: u32 },
    #[error("`{key}` appears twice in the metadata")]
    GgufKeyTwice { key: String },
    #[error("`{key}` is missing from the metadata")]
    GgufMissing { key: String },
    #[error("`{key}` in the metadata: got {got}, want {want}")]
    GgufValue {
        key: String,
        got: String,
        want: &'static str,
    },
    #[error("`general.alignment` is {got}, want a power of two from 8 to {most}")]
    GgufAlignment { got: u64, most: u64 },
    #[error("offset of tensor `{name}` is {got}, want a multiple of {alignment}: {file}")]
    GgufOffset {
        name: String,
        got: u64,
        alignment: u64,
        file: String,
    },
    #[error(
        "rows of tensor `{name}` have {got} elements, want a multiple of {block} for {kind}: {file}"
    )]
    GgufBlock {
        name: String,
        kind: &'static str,
        got: u64,
        block: u64,
        file: String,
    },
    #[error(
        "`rope_freqs.weight` has factors, up to {longest}, that are not those of Llama 3's scaling with turns of 1 and 4"
    )]
    RopeFactors { longest: f64 },

    // Tensors
    #[error("tensor `{name}` is missing")]
    TensorMissing { name: String },
    #[error("tensor `{name}` is there, but the config says that the model has none such ({why})")]
    TensorUnexpected { name: String, why: String },
    #[error("tensor `{name}` has the wrong shape: got {got:?}, want {want:?}: {file}")]
    TensorShape {
        name: String,
        got: Vec<u64>,
        want: Vec<usize>,
        file: String,
    },
    #[error(
        "tensor `{name}` has an unsupported type: got {got}, and docs/formats.md lists what is read: {file}"
    )]
    TensorDtype {
        name: String,
        got: String,
        file: String,
    },
    #[error("quantised matrix `{name}`: {what} is {got}, want {want}")]
    Quantised {
        name: String,
        what: &'static str,
        got: String,
        want: String,
    },
    #[error(
        "cannot quantise row {row} of tensor `{name}`: a weight is no finite number, or beyond f16"
    )]
    CannotQuantise { name: String, row: usize },
    #[error("a scale in row {row} of tensor `{name}` is not a finite number")]
    ScaleNotFinite { name: String, row: usize },
    #[error("tensor `{name}` is in two files: {first}, {second}")]
    TensorTwice {
        name: String,
        first: String,
        second: String,
    },
    #[error(
        "embeddings are tied, but `{first}` and `{second}` are both stored and differ at byte {at}"
    )]
    TiedDiffer {
        first: String,
        second: String,
        at: u64,
    },
    #[error("tensor `{name}` is not from this model")]
    ForeignTensor { name: String },
    #[error("range lies outside tensor `{name}`: got {begin} to {end}, want at most {most}")]
    RangeOutside {
        name: String,
        begin: u64,
        end: u64,
        most: u64,
    },
    #[error("model root is not finished: got {done} bytes, want {total}")]
    RootUnfinished { done: u64, total: u64 },
    #[error("range lies outside the file: got {begin} to {end}, want at most {most}")]
    ReadOutside { begin: u64, end: u64, most: u64 },

    // llama2.c
    #[error("llama2.c file of version {version} is not supported; supported: versions 0, 1 and 2")]
    Llama2cVersion { version: i32 },
    #[error("llama2.c header: `{field}` is {got}, want a positive number")]
    Llama2cField { field: &'static str, got: i32 },
    #[error("llama2.c file has the wrong size for its header: got {got} bytes, want {want}")]
    Llama2cBytes { got: u64, want: u64 },
    #[error("{got} tokenizers of {vocab} pieces beside the model, want one (give the tokenizer's path): {path}", path = path.display())]
    TokenizerChoice {
        got: usize,
        vocab: usize,
        path: PathBuf,
    },

    // Tokenizers
    #[error("tokenizer cannot be loaded: {cause}")]
    TokenizerFile { cause: String },
    #[error("tokenizer file ends in the middle of piece {piece}: got {got} bytes, want {want}")]
    TokenizerTruncated { piece: usize, got: u64, want: u64 },
    #[error("tokenizer has too many pieces: want at most {most}")]
    TokenizerTooManyPieces { most: usize },
    #[error("score of piece {piece} is not a number")]
    TokenizerScore { piece: usize },
    #[error("tokenizer lacks {what}")]
    TokenizerLacks { what: &'static str },
    #[error("tokenizer draws at random: `dropout` is {dropout}, want none")]
    TokenizerDropout { dropout: f64 },
    #[error("wrong tokenizer: its ids need a vocabulary of {got}, the model has {want}")]
    TokenizerVocab { got: usize, want: usize },
    #[error("text cannot be encoded: {cause}")]
    Encode { cause: String },
    #[error("text does not survive encoding: first difference at byte {at} of {bytes}")]
    RoundTrip { at: usize, bytes: usize },
}

impl ModelError {
    #[cfg(feature = "native")]
    pub(crate) fn io(what: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io {
            what,
            source,
            path: path.to_owned(),
        }
    }
}
