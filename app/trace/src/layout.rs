//! Which tensors a manifest calls for, and where each lies. The one place that knows names, dtypes and shapes.

use crate::{Digest, Manifest};

/// One tensor of the file, placed.
pub(crate) struct Tensor {
    pub name: String,
    pub kind: Kind,
    /// safetensors' word.
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    /// First byte and end, counted from the end of the header.
    pub offsets: [u64; 2],
}

/// What a tensor holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Commitment,
    LogitsDigests,
    StateDigests,
    /// The hidden states of one layer index.
    States(u32),
    Tokens,
}

/// Every tensor of the file, in file order, without gaps.
///
/// A validated manifest keeps every tensor at or below 2^38 bytes and their sum below 2^49, so nothing saturates;
/// with any other manifest the saturated end equals no file's length.
pub(crate) fn tensors(manifest: &Manifest) -> Vec<Tensor> {
    let positions = manifest.positions() as u64;
    let digest = Digest::LEN as u64;
    let states = |&layer: &u32| {
        let shape = vec![positions, u64::from(manifest.model.hidden)];
        (
            Kind::States(layer),
            manifest.state_dtype.tensor_dtype(),
            shape,
        )
    };
    let mut list = vec![
        (Kind::Commitment, "U8", vec![digest]),
        (
            Kind::LogitsDigests,
            "U8",
            vec![u64::from(manifest.output.tokens), digest],
        ),
        (
            Kind::StateDigests,
            "U8",
            vec![positions, manifest.state_rows() as u64, digest],
        ),
        (Kind::Tokens, "U32", vec![positions + 1]),
    ];
    list.extend(manifest.opened.iter().map(states));
    let mut tensors: Vec<Tensor> = list
        .into_iter()
        .map(|(kind, dtype, shape)| Tensor {
            name: name(kind),
            kind,
            dtype,
            shape,
            offsets: [0; 2],
        })
        .collect();
    tensors.sort_by(|a, b| (rank(a.dtype), &a.name).cmp(&(rank(b.dtype), &b.name)));
    let mut end = 0_u64;
    for tensor in &mut tensors {
        let start = end;
        let bytes = tensor
            .shape
            .iter()
            .fold(element_bytes(tensor.dtype), |n, &dim| n.saturating_mul(dim));
        end = start.saturating_add(bytes);
        tensor.offsets = [start, end];
    }
    tensors
}

fn name(kind: Kind) -> String {
    match kind {
        Kind::Commitment => "commitment".into(),
        Kind::LogitsDigests => "digests.logits".into(),
        Kind::StateDigests => "digests.states".into(),
        Kind::States(layer) => format!("states.{layer:05}"),
        Kind::Tokens => "tokens".into(),
    }
}

/// safetensors sorts by its list of dtypes backwards, then by name; these are the five that a trace can have.
fn rank(dtype: &str) -> u8 {
    match dtype {
        "F32" => 0,
        "U32" => 1,
        "BF16" => 2,
        "F16" => 3,
        _ => 4, // U8
    }
}

fn element_bytes(dtype: &str) -> u64 {
    match dtype {
        "F32" | "U32" => 4,
        "BF16" | "F16" => 2,
        _ => 1, // U8
    }
}
