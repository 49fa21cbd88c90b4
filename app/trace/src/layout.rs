//! Which tensors a manifest calls for, and where each lies. The one place that knows names, dtypes and shapes.

use crate::{Digest, Linear, LinearsClaim, Manifest};

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
    LinearDigests,
    LogitsDigests,
    StateDigests,
    /// What one product of one layer put out.
    Linears(u32, Linear),
    /// The open rows of logits.
    Logits,
    /// All masks of a sparse prover.
    Masks,
    /// The hidden states of one layer index.
    States(u32),
    Tokens,
}

/// Every tensor of the file, in file order, without gaps.
///
/// A validated manifest keeps every tensor at or below 2^48 bytes and their sum below 2^57, so nothing saturates;
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
    if let Some(claim) = &manifest.linears {
        list.extend(linears(manifest, claim));
    }
    if let Some(claim) = &manifest.sparse {
        let (layers, bytes) = (manifest.model.layers, claim.layer_bytes());
        let shape = vec![positions, u64::from(layers), bytes as u64];
        list.push((Kind::Masks, "U8", shape));
    }
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
    tensors.sort_unstable_by(|a, b| (rank(a.dtype), &a.name).cmp(&(rank(b.dtype), &b.name)));
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

/// The tensors of the stream `linears`.
fn linears(
    manifest: &Manifest,
    claim: &LinearsClaim,
) -> impl Iterator<Item = (Kind, &'static str, Vec<u64>)> {
    let positions = manifest.positions() as u64;
    let layers = u64::from(manifest.model.layers);
    let dtype = manifest.linear_dtype().tensor_dtype();
    let digests = vec![positions, layers, Digest::LEN as u64];
    let open = claim.layers.iter().flat_map(move |&layer| {
        claim.products.iter().map(move |product| {
            let shape = vec![positions, u64::from(product.width)];
            (Kind::Linears(layer, product.name), dtype, shape)
        })
    });
    let rows = claim.logits.len() as u64;
    let logits = (rows > 0).then(|| {
        let shape = vec![rows, u64::from(manifest.model.vocab)];
        (Kind::Logits, "F32", shape)
    });
    std::iter::once((Kind::LinearDigests, "U8", digests))
        .chain(open)
        .chain(logits)
}

fn name(kind: Kind) -> String {
    match kind {
        Kind::Commitment => "commitment".into(),
        Kind::LinearDigests => "digests.linears".into(),
        Kind::LogitsDigests => "digests.logits".into(),
        Kind::StateDigests => "digests.states".into(),
        Kind::Linears(layer, product) => format!("linears.{layer:05}.{product}"),
        Kind::Logits => "logits".into(),
        Kind::Masks => "masks".into(),
        Kind::States(layer) => format!("states.{layer:05}"),
        Kind::Tokens => "tokens".into(),
    }
}

/// safetensors sorts by its list of dtypes backwards, then by name; these are the seven that a trace can have.
fn rank(dtype: &str) -> u8 {
    match dtype {
        "I64" => 0,
        "F32" => 1,
        "U32" => 2,
        "I32" => 3,
        "BF16" => 4,
        "F16" => 5,
        _ => 6, // U8
    }
}

fn element_bytes(dtype: &str) -> u64 {
    match dtype {
        "I64" => 8,
        "F32" | "U32" | "I32" => 4,
        "BF16" | "F16" => 2,
        _ => 1, // U8
    }
}
