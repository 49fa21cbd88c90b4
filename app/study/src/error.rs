//! Everything that can be wrong with a dataset, a predictor, a training or a report: one variant a cause, paths last.

use std::path::PathBuf;

use assay_model::ModelError;
use assay_trace::Digest;

/// Why a study could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum StudyError {
    // Files
    #[error("cannot {what}: {source}: {path}", path = path.display())]
    Io {
        what: &'static str,
        source: std::io::Error,
        path: PathBuf,
    },
    #[error(transparent)]
    Source(#[from] ModelError),
    #[error("not a regular file: {path}", path = path.display())]
    NotAFile { path: PathBuf },
    #[error("file is too large: got {got} bytes, want at most {most}: {path}", path = path.display())]
    FileTooLarge { got: u64, most: u64, path: PathBuf },
    #[error("`{file}` is not what it should be: {source}")]
    Json {
        file: &'static str,
        source: serde_json::Error,
    },
    #[error("format of `{file}`: got {got}, want `{want}`")]
    Format {
        file: &'static str,
        got: String,
        want: &'static str,
    },
    #[error("version of `{file}`: got {got}, this program reads {want}")]
    Version {
        file: &'static str,
        got: u32,
        want: u32,
    },
    #[error("`{key}` in {place}: got {got}, want {want}")]
    Value {
        place: &'static str,
        key: &'static str,
        got: String,
        want: String,
    },

    // Datasets
    #[error("the folder has files, but no `dataset.json`: {path}", path = path.display())]
    NotADataset { path: PathBuf },
    #[error("another program is writing this dataset: {path}", path = path.display())]
    Locked { path: PathBuf },
    #[error("made with another model: got root {got}, want {want}")]
    OtherModel { got: Digest, want: Digest },
    #[error("made from another text: got {got}, want {want}")]
    OtherText { got: String, want: String },
    #[error("made with another `{what}`: got {got}, want {want}")]
    Differs {
        what: &'static str,
        got: String,
        want: String,
    },
    #[error("`progress.json` belongs to another `dataset.json`: got {got}, want {want}")]
    OtherProgress { got: Digest, want: Digest },
    #[error("`progress.json` records {got} rows, want at most {most}")]
    ProgressRows { got: u64, most: u64 },
    #[error("`{file}` is too short: got {got} bytes, want {want}")]
    Truncated { file: String, got: u64, want: u64 },
    #[error("`{file}` has {got} bytes, want {want}: somebody else writes to it")]
    Changed { file: String, got: u64, want: u64 },
    #[error("a chunk was begun and not ended")]
    ChunkOpen,
    #[error("no chunk was begun")]
    ChunkClosed,
    #[error("chunk has {got} rows, want 1 to {most}")]
    ChunkRows { got: u64, most: u64 },
    #[error("layer {layer} was already given for this chunk")]
    LayerTwice { layer: u32 },
    #[error("chunk is not complete: layer {layer} is missing")]
    LayerMissing { layer: u32 },
    #[error("layer {layer} is not part of this dataset")]
    NoSuchLayer { layer: u32 },
    #[error("`{what}` has {got} values, want {want}")]
    Length {
        what: &'static str,
        got: usize,
        want: usize,
    },
    #[error("`{what}` holds a value that it must not have at element {index}: {got}")]
    Number {
        what: String,
        index: usize,
        got: f32,
    },
    #[error("row {row} is outside, there are {rows}")]
    NoSuchRow { row: u64, rows: u64 },
    #[error("no rows in the {part} split: want more documents, or another split")]
    NoRows { part: &'static str },

    // Labels, predictors, training
    #[error("label {label} does not fit: {reason}")]
    Label { label: String, reason: &'static str },
    #[error("layer {layer} has no query `{query}`")]
    NoQuery { layer: u32, query: String },
    #[error("no predictor here: {path}", path = path.display())]
    NoPredictor { path: PathBuf },
    #[error("not a safetensors file: {source}")]
    Safetensors {
        source: safetensors::SafeTensorError,
    },
    #[error("a safetensors file, but not a predictor: no `assay-predictor` in its metadata")]
    NotAPredictor,
    #[error("metadata of the predictor is not canonical")]
    NotCanonical,
    #[error("file has {got} tensors, want {want}")]
    Tensors { got: usize, want: usize },
    #[error("tensor `{name}` is missing")]
    TensorMissing { name: String },
    #[error("tensor `{name}`: got {got}, want {want}")]
    Tensor {
        name: String,
        got: String,
        want: String,
    },
    #[error("predictor has digest {got}, want {want}")]
    OtherDigest { got: Digest, want: Digest },
    #[error("predictor has no layer {layer}")]
    NoPredictorLayer { layer: u32 },
    #[error("training of layer {layer} diverged in epoch {epoch}: no finite numbers any more")]
    Diverged { layer: u32, epoch: u32 },
    #[error("cancelled")]
    Cancelled,
    #[error("not enough memory for {bytes} bytes")]
    Memory { bytes: u64 },

    // Drift, reports
    #[error("drift needs {what}: got {got}, want {want}")]
    Drift {
        what: &'static str,
        got: u64,
        want: u64,
    },
    #[error("trainings do not belong together: `{what}` differs")]
    Mixed { what: &'static str },
    #[error("nothing to report: no {what}")]
    Empty { what: &'static str },
    #[error("cannot draw: {reason}")]
    Plot { reason: String },
}

impl StudyError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            what,
            source,
            path: path.into(),
        }
    }

    /// A value of a file or of options that is not allowed.
    pub(crate) fn value(
        place: &'static str,
        key: &'static str,
        got: impl ToString,
        want: impl Into<String>,
    ) -> Self {
        Self::Value {
            place,
            key,
            got: got.to_string(),
            want: want.into(),
        }
    }
}

/// Text from a file as an error may show it: printable ASCII, at most 40 characters.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = text
        .chars()
        .take(40)
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect();
    if text.chars().nth(40).is_some() {
        out.push_str("...");
    }
    format!("`{out}`")
}
