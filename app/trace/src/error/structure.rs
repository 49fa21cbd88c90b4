//! The file is no trace: one variant a cause.

use crate::{Decimal, Linear, MaskName};

/// The file is not a well-formed trace. Nothing in it was believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Not even a header length.
    #[error("file is too short for a header length: got {got} bytes, want at least 8")]
    TooShort {
        /// File length.
        got: u64,
    },
    /// Above [`MAX_FILE_BYTES`](crate::limits::MAX_FILE_BYTES).
    #[error("file is too large: got {got} bytes, want at most {max}")]
    FileTooLarge {
        /// File length.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// Above [`MAX_HEADER_BYTES`](crate::limits::MAX_HEADER_BYTES).
    #[error("header is too large: got {got} bytes, want at most {max}")]
    HeaderTooLarge {
        /// Declared header length.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// The header would end after the file does.
    #[error("header does not fit the file: got {got} bytes, file has {have} after the length")]
    HeaderPastEnd {
        /// Declared header length.
        got: u64,
        /// Bytes that follow the length field.
        have: u64,
    },
    /// The header is not UTF-8.
    #[error("header is not UTF-8 at byte {offset}")]
    HeaderUtf8 {
        /// First bad byte of the header.
        offset: usize,
    },
    /// The header is not the JSON object that safetensors prescribes.
    #[error("header is not a safetensors header: {reason}")]
    HeaderJson {
        /// What the JSON reader said, escaped.
        reason: String,
    },
    /// The header says the right things in other bytes than the canonical ones.
    #[error("header is not canonical from byte {offset}")]
    HeaderNotCanonical {
        /// First byte of the header that differs.
        offset: usize,
    },
    /// The manifest's JSON does not have exactly the prescribed fields and types.
    #[error("manifest does not decode: {reason}")]
    ManifestJson {
        /// What the JSON reader said, escaped.
        reason: String,
    },
    /// The manifest says the right things in other bytes than the canonical ones.
    #[error("manifest is not canonical from byte {offset}")]
    ManifestNotCanonical {
        /// First byte of the manifest that differs.
        offset: usize,
    },
    /// Another format.
    #[error("format is `{got}`, want `assay-trace`")]
    Format {
        /// The manifest's format, escaped.
        got: String,
    },
    /// Another version.
    #[error("version is {got}, want {want}")]
    Version {
        /// The manifest's version.
        got: u32,
        /// The version that this crate reads.
        want: u32,
    },
    /// Other streams than version 1 has.
    #[error(
        "streams are `{got}`, want `logits,states`, maybe with `linears` and `masks` among them"
    )]
    Streams {
        /// The manifest's streams, joined and escaped.
        got: String,
    },
    /// The field of an optional stream is there without the stream, or the stream without its field.
    #[error("`{field}` and the stream `{stream}` go together, but only the {} is there", if *present { "field" } else { "stream" })]
    StreamField {
        /// Manifest field.
        field: &'static str,
        /// The stream that it describes.
        stream: &'static str,
        /// Whether the field is the one that is there.
        present: bool,
    },
    /// A linear product that every supported model has is not listed.
    #[error("`linears.products` has no `{product}`")]
    MissingProduct {
        /// Its name.
        product: Linear,
    },
    /// A linear product that ends in the residual stream has another width.
    #[error("product `{product}` has width {got}, want that of the residual stream, {want}")]
    ProductWidth {
        /// Its name.
        product: Linear,
        /// Its width in the manifest.
        got: u32,
        /// `model.hidden`
        want: u32,
    },
    /// A layer's linear outputs are open, but not both hidden states around it.
    #[error("the linear outputs of layer {layer} are open, but hidden state {state} is not")]
    LayerWithoutState {
        /// The layer.
        layer: u32,
        /// The hidden state that is missing.
        state: u32,
    },
    /// Logits are open, but not the hidden state that they come from.
    #[error("logits are open, but hidden state {state} is not")]
    LogitsWithoutState {
        /// The last hidden state.
        state: u32,
    },
    /// A mask that every sparse trace, or its rule, calls for is not listed.
    #[error("`sparse.masks` has no `{mask}`")]
    MissingMask {
        /// Its name.
        mask: MaskName,
    },
    /// A mask is listed that its rule does not decide.
    #[error("`sparse.masks` has `{mask}`, which does not go with the rule `{rule}`")]
    UnexpectedMask {
        /// Its name.
        mask: MaskName,
        /// The rule's kind.
        rule: &'static str,
    },
    /// A rule has not one threshold for each layer.
    #[error("`{field}` has {got} thresholds, want one for each of {want} layers")]
    ThresholdCount {
        /// Manifest field.
        field: &'static str,
        /// Thresholds listed.
        got: usize,
        /// `model.layers`
        want: u32,
    },
    /// A free text holds something other than printable ASCII.
    #[error("`{field}` is not printable ASCII at byte {offset}")]
    Text {
        /// Manifest field.
        field: &'static str,
        /// First bad byte.
        offset: usize,
    },
    /// A short word is empty, too long, or has other characters than `a-z0-9_-`.
    #[error("`{field}` is `{got}`, want 1 to 16 of a-z, 0-9, _ and -")]
    Word {
        /// Manifest field.
        field: &'static str,
        /// Its value, escaped.
        got: String,
    },
    /// A number (or a length) is outside its limits.
    #[error("`{field}` is out of range: got {got}, want {min} to {max}")]
    Range {
        /// Manifest field.
        field: &'static str,
        /// Its value.
        got: u64,
        /// Smallest legal value.
        min: u64,
        /// Largest legal value.
        max: u64,
    },
    /// A list is not strictly ascending.
    #[error("`{field}` is not strictly ascending at index {index}")]
    NotAscending {
        /// Manifest field.
        field: &'static str,
        /// Index of the first element that is not above its predecessor.
        index: usize,
    },
    /// A sampler that samples has no temperature.
    #[error("temperature is {got}, want above 0")]
    Temperature {
        /// The manifest's temperature.
        got: Decimal,
    },
    /// top-p is not a probability mass that leaves something.
    #[error("top_p is {got}, want above 0 and at most 1")]
    TopP {
        /// The manifest's top-p.
        got: Decimal,
    },
    /// A tensor that the manifest calls for is absent.
    #[error("tensor `{name}` is missing")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor that the manifest does not call for is present.
    #[error("tensor `{name}` does not belong here")]
    ExtraTensor {
        /// Its name, escaped.
        name: String,
    },
    /// A name appears twice.
    #[error("tensor `{name}` appears twice")]
    DuplicateTensor {
        /// Its name.
        name: String,
    },
    /// A tensor has the wrong element type.
    #[error("tensor `{name}` has dtype `{got}`, want `{want}`")]
    TensorDtype {
        /// Its name.
        name: String,
        /// The header's word, escaped.
        got: String,
        /// The right one.
        want: &'static str,
    },
    /// A tensor has the wrong shape.
    #[error("tensor `{name}` has {got_rank} dimensions or a wrong one, want {want:?}")]
    TensorShape {
        /// Its name.
        name: String,
        /// Number of dimensions in the header.
        got_rank: usize,
        /// The right shape.
        want: Vec<u64>,
    },
    /// A tensor does not begin where its predecessor ends, or has the wrong length.
    #[error("tensor `{name}` lies at bytes {got:?}, want {want:?}")]
    TensorOffsets {
        /// Its name.
        name: String,
        /// The header's first byte and end.
        got: [u64; 2],
        /// The right ones.
        want: [u64; 2],
    },
    /// The file ends before, or goes on after, its last tensor.
    #[error("tensor data is {got} bytes, want {want}")]
    DataLength {
        /// Bytes after the header.
        got: u64,
        /// Bytes that the manifest calls for.
        want: u64,
    },
    /// A token id that the vocabulary does not have.
    #[error("token {index} is {got}, want below {vocab}")]
    TokenRange {
        /// Index in `tokens`.
        index: usize,
        /// The id.
        got: u32,
        /// Vocabulary entries.
        vocab: u32,
    },
    /// A hidden state holds an infinity or a NaN.
    #[error("hidden state {layer} is not finite at position {position}, channel {channel}")]
    NonFinite {
        /// Index of the hidden state.
        layer: u32,
        /// Position.
        position: usize,
        /// Channel.
        channel: usize,
    },
    /// A linear output holds an infinity or a NaN.
    #[error(
        "output of `{product}` in layer {layer} is not finite, or a sum that its type does not hold, at position {position}, channel {channel}"
    )]
    NonFiniteLinear {
        /// Layer.
        layer: u32,
        /// The product.
        product: Linear,
        /// Position.
        position: usize,
        /// Channel.
        channel: usize,
    },
    /// A mask has a bit that stands for no unit.
    #[error("mask `{mask}` of layer {layer} at position {position} has a bit beyond its width")]
    StrayMaskBit {
        /// Position.
        position: usize,
        /// Layer.
        layer: usize,
        /// Which mask.
        mask: MaskName,
    },
    /// An open row of logits holds an infinity or a NaN.
    #[error("logits of output token {output} are not finite at id {token}")]
    NonFiniteLogits {
        /// Index of the output token.
        output: u32,
        /// Token id.
        token: usize,
    },
}

impl TraceError {
    /// The reason in a report.
    pub fn code(&self) -> &'static str {
        "structure"
    }
}
