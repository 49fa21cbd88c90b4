//! The small trace that most tests start from, and ways to take a file apart and rebuild it with wrong bytes.

use assay_trace::{
    Challenge, Compute, Digest, FinishedTrace, Keep, Linear, LinearsSpec, MaskClaim, MaskName,
    ModelClaim, NumericsClaim, NumericsClass, Opening, PositionInput, ProductClaim, Sampler,
    SealedTrace, SparseClaim, SparseRule, StateDtype, StopReason, TraceBuilder, TraceSpec,
    challenge,
};

/// Two layers, three channels, five words: the specification's worked example.
pub fn spec() -> TraceSpec {
    TraceSpec {
        adapter: "example adapter".into(),
        eos: vec![4],
        ignore_eos: false,
        linears: None,
        model: ModelClaim {
            dtype: "f32".into(),
            family: "llama".into(),
            hidden: 3,
            layers: 2,
            parameters: 1000,
            root: Digest::of(b"model"),
            vocab: 5,
        },
        nonce: None,
        numerics: NumericsClaim {
            activations: None,
            class: NumericsClass::Strict,
            compute: Compute::F32,
        },
        opened: vec![0, 2],
        producer: "assay example".into(),
        prompt: vec![1, 2],
        sampler: Sampler::Gumbel {
            seed: 7,
            temperature: "0.8".parse().unwrap(),
            top_k: 0,
            top_p: "0.95".parse().unwrap(),
        },
        sparse: None,
        state_dtype: StateDtype::Bf16,
        tokenizer: None,
    }
}

/// Channel `channel` of hidden state `layer` at `position`: position + layer / 4 - channel / 2, exact in every dtype.
pub fn state(position: usize, layer: usize, hidden: usize) -> Vec<f32> {
    (0..hidden)
        .map(|channel| position as f32 + layer as f32 / 4.0 - channel as f32 / 2.0)
        .collect()
}

/// Logit of `id` at `position`: id / 8 - position.
pub fn logits(position: usize, vocab: usize) -> Vec<f32> {
    (0..vocab)
        .map(|id| id as f32 / 8.0 - position as f32)
        .collect()
}

/// Channel of what product number n of q, k, v, o, gate, up, down put out: that of the state before it, plus n / 8.
pub fn linear(position: usize, layer: usize, product: Linear, width: usize) -> Vec<f32> {
    let n = Linear::ALL.iter().position(|name| *name == product);
    let values = state(position, layer, width).into_iter();
    values.map(|x| x + n.unwrap() as f32 / 8.0).collect()
}

/// The worked example's products, of different widths.
pub fn products() -> Vec<ProductClaim> {
    Linear::ALL
        .into_iter()
        .zip([4, 2, 2, 3, 5, 5, 3])
        .map(|(name, width)| ProductClaim { name, width })
        .collect()
}

/// The worked example's spec with the stream `linears`.
pub fn audited_spec(keep: Keep) -> TraceSpec {
    let products = products();
    TraceSpec {
        linears: Some(LinearsSpec { products, keep }),
        ..spec()
    }
}

/// Whether unit `unit` is active: four of eleven. Ten in a row tell all masks of the examples apart.
pub fn active(position: usize, layer: usize, mask: MaskName, unit: usize) -> bool {
    let m = [MaskName::Input, MaskName::Neurons]
        .iter()
        .position(|name| *name == mask);
    (position + 4 * layer + 2 * m.unwrap() + unit) % 11 < 4
}

/// One mask at one position, packed.
pub fn mask(position: usize, layer: usize, claim: &MaskClaim) -> Vec<u8> {
    let mut bytes = vec![0; claim.width.div_ceil(8) as usize];
    for unit in 0..claim.width as usize {
        bytes[unit / 8] |= u8::from(active(position, layer, claim.name, unit)) << (unit % 8);
    }
    bytes
}

/// A claim with these widths.
pub fn sparse(input: Option<u32>, neurons: u32, rule: SparseRule) -> SparseClaim {
    let masks = [(MaskName::Input, input), (MaskName::Neurons, Some(neurons))];
    SparseClaim {
        masks: masks
            .into_iter()
            .filter_map(|(name, width)| width.map(|width| MaskClaim { name, width }))
            .collect(),
        rule,
    }
}

/// A rule with thresholds for both masks of two layers.
pub fn teal() -> SparseRule {
    SparseRule::Teal {
        input: ["0.25", "0.5"].map(|text| text.parse().unwrap()).to_vec(),
        neurons: ["0", "1.125"].map(|text| text.parse().unwrap()).to_vec(),
    }
}

/// The worked example's spec with the stream `masks`.
pub fn sparse_spec() -> TraceSpec {
    TraceSpec {
        sparse: Some(sparse(Some(3), 10, teal())),
        ..spec()
    }
}

/// The same with the stream `linears` too.
pub fn sparse_audited_spec(keep: Keep) -> TraceSpec {
    TraceSpec {
        sparse: sparse_spec().sparse,
        ..audited_spec(keep)
    }
}

/// Everything that the formulas above give for one position.
pub struct Position {
    pub states: Vec<Vec<f32>>,
    pub linears: Vec<Vec<Vec<f32>>>,
    pub logits: Option<Vec<f32>>,
    pub masks: Vec<u8>,
}

impl Position {
    pub fn of(spec: &TraceSpec, position: usize) -> Self {
        let (hidden, vocab) = (spec.model.hidden as usize, spec.model.vocab as usize);
        let layers = spec.model.layers as usize;
        let outputs = |layer: usize, linears: &LinearsSpec| {
            let row = |p: &ProductClaim| linear(position, layer, p.name, p.width as usize);
            linears.products.iter().map(row).collect()
        };
        Self {
            states: (0..=layers).map(|l| state(position, l, hidden)).collect(),
            linears: spec
                .linears
                .iter()
                .flat_map(|linears| (0..layers).map(|layer| outputs(layer, linears)))
                .collect(),
            logits: (position + 1 >= spec.prompt.len()).then(|| logits(position, vocab)),
            masks: (0..layers)
                .flat_map(|layer| spec.sparse.iter().map(move |claim| (layer, claim)))
                .flat_map(|(layer, claim)| claim.masks.iter().map(move |claim| (layer, claim)))
                .flat_map(|(layer, claim)| mask(position, layer, claim))
                .collect(),
        }
    }

    /// Hands the rows to `use_it` as a builder wants them.
    pub fn with<T>(&self, use_it: impl FnOnce(PositionInput<'_>) -> T) -> T {
        let states: Vec<&[f32]> = self.states.iter().map(Vec::as_slice).collect();
        let linears: Vec<Vec<&[f32]>> = self
            .linears
            .iter()
            .map(|rows| rows.iter().map(Vec::as_slice).collect())
            .collect();
        use_it(PositionInput {
            states: &states,
            linears: &linears,
            sums: &[],
            logits: self.logits.as_deref(),
            masks: &self.masks,
        })
    }
}

/// Runs a builder over `spec`'s prompt and then `output` but for its last token, with the formulas above.
pub fn run(spec: TraceSpec, output: &[u32]) -> TraceBuilder {
    let (_, fed) = output.split_last().unwrap();
    let tokens: Vec<u32> = spec.prompt.iter().chain(fed).copied().collect();
    let mut builder = TraceBuilder::new(spec.clone()).unwrap();
    for (position, &token) in tokens.iter().enumerate() {
        Position::of(&spec, position)
            .with(|input| builder.push_position(token, input))
            .unwrap();
    }
    builder
}

/// A run, sealed and opened as the spec said.
pub fn build(spec: TraceSpec, output: &[u32]) -> FinishedTrace {
    let last = *output.last().unwrap();
    run(spec, output).finish(last, StopReason::Eos).unwrap()
}

/// The worked example: prompt 1 2, output 3 0 4.
pub fn example() -> FinishedTrace {
    build(spec(), &[3, 0, 4])
}

/// The second worked example before anything of it is opened.
pub fn audited_run() -> SealedTrace {
    let builder = run(audited_spec(Keep::Everything), &[3, 0, 4]);
    builder.seal(4, StopReason::Eos).unwrap()
}

/// The second worked example: one layer and one row of logits, drawn.
pub fn audited_example() -> FinishedTrace {
    let run = audited_run();
    let opening = Opening {
        challenge: Challenge::Offline,
        states: vec![0, 2],
        layers: challenge::draw_layers(run.root(), None, 1, 2),
        logits: challenge::draw_logits(run.root(), None, 1, 3),
    };
    run.open(&opening).unwrap()
}

/// The third worked example: sparse, without linear outputs.
pub fn sparse_example() -> FinishedTrace {
    build(sparse_spec(), &[3, 0, 4])
}

/// The third worked example with linear outputs, of which nothing is opened yet.
pub fn sparse_audited_run() -> SealedTrace {
    let builder = run(sparse_audited_spec(Keep::Everything), &[3, 0, 4]);
    builder.seal(4, StopReason::Eos).unwrap()
}

/// An opening with the hidden states of the example.
pub fn opening(challenge: Challenge, layers: &[u32], logits: &[u32]) -> Opening {
    Opening {
        challenge,
        states: vec![0, 2],
        layers: layers.to_vec(),
        logits: logits.to_vec(),
    }
}

/// Header text (padding included) and data of a file.
pub fn split(file: &[u8]) -> (String, Vec<u8>) {
    let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (
        String::from_utf8(file[8..8 + n].to_vec()).unwrap(),
        file[8 + n..].to_vec(),
    )
}

/// A file of a header text and data.
pub fn join(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

/// The example with one replacement in its header, which must occur.
pub fn with_header(from: &str, to: &str) -> Vec<u8> {
    replace_in_header(&example().to_bytes(), from, to)
}

/// `file` with one replacement in its header, which must occur.
pub fn replace_in_header(file: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (header, data) = split(file);
    assert!(header.contains(from), "`{from}` is not in {header}");
    join(&header.replacen(from, to, 1), &data)
}
