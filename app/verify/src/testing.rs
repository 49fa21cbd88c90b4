//! Made-up traces and profiles for unit tests.

use std::collections::BTreeMap;

use assay_engine::philox;
use assay_model::Model;
use assay_trace::{
    Compute, Digest, Manifest, ModelClaim, NumericsClaim, NumericsClass, Sampler, StateDtype,
    StopReason, Trace, TraceBuilder, TraceSpec,
};

use crate::profile::{DepthLimit, Honest, Limits, NearestCheat, Profile, Provenance, Scope, Tried};

pub const LAYERS: u32 = 4;
pub const HIDDEN: usize = 64;

/// `n` fixed numbers in plus or minus half of `spread`.
pub fn noise(seed: u64, n: usize, spread: f32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (philox::uniform(seed, 77, i) as f32 - 0.5) * spread)
        .collect()
}

/// The hidden state of the made-up model.
pub fn state(layer: u32, position: usize, token: u32) -> Vec<f32> {
    let seed = if layer == 0 {
        u64::from(token)
    } else {
        1000 * u64::from(layer) + position as u64
    };
    noise(seed, HIDDEN, 2.0 + layer as f32)
}

/// A well-formed trace of the made-up model, layers 0, 1 and 4 opened. Logits are for the emitted tokens, in order.
pub fn trace_of(
    tokens: &[u32],
    n_prompt: usize,
    vocab: u32,
    sampler: Sampler,
    logits: &[Vec<f32>],
) -> Vec<u8> {
    let spec = TraceSpec {
        linears: None,
        adapter: "test".into(),
        eos: vec![vocab - 1],
        ignore_eos: true,
        model: ModelClaim {
            dtype: "bf16".into(),
            family: "llama".into(),
            hidden: HIDDEN as u32,
            layers: LAYERS,
            parameters: 1000,
            root: Digest::of(b"model"),
            vocab,
        },
        nonce: None,
        numerics: NumericsClaim {
            activations: None,
            class: NumericsClass::Fast,
            compute: Compute::F32,
        },
        opened: vec![0, 1, LAYERS],
        producer: "test".into(),
        prompt: tokens[..n_prompt].to_vec(),
        sampler,
        sparse: None,
        state_dtype: StateDtype::F32,
        tokenizer: None,
    };
    let mut builder = TraceBuilder::new(spec).unwrap();
    for (position, &token) in tokens[..tokens.len() - 1].iter().enumerate() {
        let rows: Vec<Vec<f32>> = (0..=LAYERS)
            .map(|layer| state(layer, position, token))
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let row = (position + 1)
            .checked_sub(n_prompt)
            .map(|index| logits[index].as_slice());
        builder.push(token, &rows, row).unwrap();
    }
    builder
        .finish(*tokens.last().unwrap(), StopReason::Length)
        .unwrap()
        .to_bytes()
}

/// The manifest of such a trace.
pub fn manifest() -> Manifest {
    let bytes = trace_of(&[1, 2, 3, 4], 3, 50, Sampler::Greedy, &[vec![0.0; 50]]);
    Trace::parse(&bytes).unwrap().manifest().clone()
}

/// A manifest that claims the demo model truly.
pub fn demo_manifest(model: &Model) -> Manifest {
    let config = model.config();
    let mut manifest = manifest();
    manifest.model.family = config.family.as_str().into();
    manifest.model.dtype = model.dtype().into();
    manifest.model.hidden = config.hidden as u32;
    manifest.model.layers = config.layers as u32;
    manifest.model.vocab = config.vocab as u32;
    manifest.model.parameters = model.parameters();
    manifest.eos = config.eos.clone();
    manifest.tokenizer = model.tokenizer().map(assay_model::Tokenizer::digest);
    manifest
}

/// A made-up profile with one hidden-state limit and one logit tolerance.
pub fn profile(rel_l2: f64, tau: f64) -> Profile {
    Profile {
        id: "made-up".into(),
        scope: Scope {
            families: vec!["llama".into()],
            weight_dtypes: vec!["bf16".into(), "f32".into()],
            state_dtypes: vec![StateDtype::F32],
            compute: vec![Compute::F32],
            numerics: vec![NumericsClass::Fast, NumericsClass::Strict],
            device_types: Vec::new(),
            max_layers: 32,
            max_hidden: 4096,
            max_positions: 4096,
        },
        provenance: Provenance {
            date: "2026-01-01".into(),
            command: "none: a test".into(),
            models: vec!["made-up".into()],
            adapters: vec!["a -> b".into()],
            traces: 100,
            rows: 10_000,
        },
        limits: Limits {
            unit: crate::profile::Unit::Norm,
            headroom: 8.0,
            rel_l2: vec![DepthLimit {
                to_layer: 32,
                rel_l2,
                measured_max: rel_l2 / 8.0,
                rows: 10_000,
                log10_mean: (rel_l2 / 40.0).log10(),
                log10_sd_between: 0.05,
                log10_sd_within: 0.1,
                inflation: 1.0,
            }],
            tau_abs: tau,
            tau_rel: 0.0,
        },
        honest: Honest {
            traces: 100,
            false_rejects: 0,
            tokens: 10_000,
            replay_mismatches: 10,
        },
        null_forgery: BTreeMap::from([(
            "zero".to_owned(),
            Tried {
                accepted: 0,
                of: 100,
            },
        )]),
        hides: Vec::new(),
        nearest_cheat: Some(NearestCheat {
            name: "int8".into(),
            times_limit: 12.0,
        }),
    }
}
