//! The small trace that most tests start from, and ways to take a file apart and rebuild it with wrong bytes.

use assay_trace::{
    Compute, Digest, FinishedTrace, ModelClaim, NumericsClaim, NumericsClass, Sampler, StateDtype,
    StopReason, TraceBuilder, TraceSpec,
};

/// Two layers, three channels, five words: the specification's worked example.
pub fn spec() -> TraceSpec {
    TraceSpec {
        adapter: "example adapter".into(),
        eos: vec![4],
        ignore_eos: false,
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

/// Runs a builder over `spec`'s prompt and then `output`, with the formulas above.
pub fn build(spec: TraceSpec, output: &[u32]) -> FinishedTrace {
    let (hidden, vocab) = (spec.model.hidden as usize, spec.model.vocab as usize);
    let (rows, n_prompt) = (spec.model.layers as usize + 1, spec.prompt.len());
    let (last, fed) = output.split_last().unwrap();
    let tokens: Vec<u32> = spec.prompt.iter().chain(fed).copied().collect();
    let mut builder = TraceBuilder::new(spec).unwrap();
    for (position, &token) in tokens.iter().enumerate() {
        let states: Vec<Vec<f32>> = (0..rows)
            .map(|layer| state(position, layer, hidden))
            .collect();
        let states: Vec<&[f32]> = states.iter().map(Vec::as_slice).collect();
        let logits = (position + 1 >= n_prompt).then(|| logits(position, vocab));
        builder.push(token, &states, logits.as_deref()).unwrap();
    }
    builder.finish(*last, StopReason::Eos).unwrap()
}

/// The worked example: prompt 1 2, output 3 0 4.
pub fn example() -> FinishedTrace {
    build(spec(), &[3, 0, 4])
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
    let (header, data) = split(&example().to_bytes());
    assert!(header.contains(from), "`{from}` is not in {header}");
    join(&header.replacen(from, to, 1), &data)
}
