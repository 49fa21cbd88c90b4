//! What goes in comes out, and the published safetensors crate writes the very same bytes.

use std::collections::HashMap;

use assay_trace::{
    Decimal, Digest, Keep, Leaf, Linear, LinearsSpec, ProductClaim, Sampler, SparseClaim,
    SparseRule, StateDtype, Trace, TraceSpec,
};
use proptest::prelude::*;
use safetensors::SafeTensors;

use crate::sample::{audited_example, build, example, linear, logits, mask, sparse, spec, state};

#[test]
fn example_reads_back() {
    let finished = example();
    let file = finished.to_bytes();
    assert_eq!(file.len() as u64, finished.len());
    let trace = Trace::parse(&file).unwrap();
    trace.check_commitment().unwrap();
    assert_eq!(trace.manifest(), finished.manifest());
    assert_eq!(trace.commitment(), finished.commitment());
    assert_eq!(trace.manifest().root, finished.root());
    assert_eq!(trace.tokens(), [1, 2, 3, 0, 4]);
    assert_eq!(
        (trace.prompt(), trace.output()),
        (&[1, 2][..], &[3, 0, 4][..])
    );
    assert_eq!(trace.positions(), 4);
    assert_eq!(trace.opened(), [0, 2]);
    assert_eq!(trace.file_digest(), Digest::of(&file));
    for position in 0..4 {
        assert_eq!(trace.state_row(2, position).unwrap(), state(position, 2, 3));
        for layer in 0..=2 {
            let row = StateDtype::Bf16.encode(&state(position, layer, 3));
            assert_eq!(trace.state_digest(layer as u32, position), Digest::of(&row));
        }
        let want =
            (position >= 1).then(|| Digest::of(&StateDtype::F32.encode(&logits(position, 5))));
        assert_eq!(trace.logits_digest(position), want);
    }
    assert_eq!(trace.states(0).unwrap().len(), 4 * 3);
    assert_eq!(trace.leaves().len(), 4);
}

#[test]
fn outside_the_trace_is_nothing() {
    let file = example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    assert_eq!(trace.state_digest(3, 0), Digest::ZERO);
    assert_eq!(trace.state_digest(0, 4), Digest::ZERO);
    assert_eq!(trace.state_digest(u32::MAX, usize::MAX), Digest::ZERO);
    assert_eq!(trace.logits_digest(4), None);
    assert_eq!(trace.logits_digest(usize::MAX), None);
    assert_eq!(trace.state_row(1, 0), None);
    assert_eq!(trace.states(1), None);
    assert_eq!(trace.raw_state_row(0, usize::MAX), None);
}

#[test]
fn leaf_layout_is_the_documented_one() {
    let file = example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    let states: Vec<u8> = (0..=2)
        .flat_map(|layer| trace.state_digest(layer, 0).0)
        .collect();
    let leaf = Leaf {
        position: 0,
        token: 1,
        next: None,
        logits: None,
        states: &states,
        linears: None,
        masks: None,
    };
    let mut want = b"assay/position/v1\0".to_vec();
    want.extend([0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    want.extend([0; 32]);
    want.extend(&states);
    assert_eq!(leaf.preimage(), want);
    assert_eq!(assay_trace::merkle::leaf_hash(&want), trace.leaves()[0]);
}

#[test]
fn leaf_with_linears_is_the_documented_one() {
    let file = audited_example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    let mut want = b"assay/position/v2\0".to_vec();
    want.extend([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    want.extend(trace.logits_digest(1).unwrap().0);
    (0..=2).for_each(|layer| want.extend(trace.state_digest(layer, 1).0));
    (0..2).for_each(|layer| want.extend(trace.linear_digest(layer, 1).0));
    assert_eq!(want.len(), 62 + 32 * 3 + 32 * 2);
    assert_eq!(assay_trace::merkle::leaf_hash(&want), trace.leaves()[1]);
}

/// The file as the published crate writes the same tensors and metadata.
pub fn published(file: &[u8]) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(file).unwrap();
    let metadata: HashMap<String, String> = header.metadata().clone().unwrap();
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["assay"]);
    safetensors::serialize(
        SafeTensors::deserialize(file).unwrap().tensors(),
        Some(metadata),
    )
    .unwrap()
}

/// Products of any width, with or without `gate`, of which some layers' and some rows of logits are kept.
fn any_linears(hidden: u32, layers: u32) -> impl Strategy<Value = Option<LinearsSpec>> {
    let layers = proptest::collection::btree_set(0..layers, 0..=layers as usize);
    let logits = proptest::collection::btree_set(0_u32..8, 0..6);
    let keep = prop_oneof![
        Just(Keep::Everything),
        (layers, logits).prop_map(|(layers, logits)| Keep::Only {
            layers: layers.into_iter().collect(),
            logits: logits.into_iter().collect(),
        })
    ];
    let spec = (any::<[u8; 7]>(), any::<bool>(), keep).prop_map(move |(widths, gate, keep)| {
        let products = Linear::ALL.into_iter().zip(widths);
        let products = products.filter(|(name, _)| gate || *name != Linear::Gate);
        let width = |name, width: u8| match name {
            Linear::O | Linear::Down => hidden,
            _ => 1 + u32::from(width) % 20,
        };
        LinearsSpec {
            products: products
                .map(|(name, w)| ProductClaim {
                    name,
                    width: width(name, w),
                })
                .collect(),
            keep,
        }
    });
    proptest::option::of(spec)
}

/// Masks of any width under any rule.
fn any_sparse(layers: u32) -> impl Strategy<Value = Option<SparseClaim>> {
    let thresholds = move || {
        let nanos = proptest::collection::vec(0_u64..1_000_000_000_000_000, layers as usize);
        nanos.prop_map(|nanos| {
            let decimal = |nanos: u64| Decimal::from_f64(nanos as f64 / 1e9).unwrap();
            nanos.into_iter().map(decimal).collect::<Vec<_>>()
        })
    };
    let digest = || any::<[u8; 32]>().prop_map(Digest);
    let width = || 1_u32..40;
    let keep = move || width().prop_flat_map(|width| (Just(width), 0..=width));
    let claim = prop_oneof![
        (width(), digest()).prop_map(|(w, digest)| sparse(None, w, SparseRule::Given { digest })),
        keep().prop_map(|(w, keep)| sparse(None, w, SparseRule::TopK { keep })),
        (width(), thresholds()).prop_map(|(w, thresholds)| sparse(
            None,
            w,
            SparseRule::Cats { thresholds }
        )),
        (width(), width(), thresholds(), thresholds()).prop_map(|(i, n, input, neurons)| {
            sparse(Some(i), n, SparseRule::Teal { input, neurons })
        }),
        (keep(), digest()).prop_map(|((w, keep), digest)| {
            sparse(None, w, SparseRule::Predicted { digest, keep })
        }),
    ];
    proptest::option::of(claim)
}

fn any_spec() -> impl Strategy<Value = (TraceSpec, Vec<u32>)> {
    let dtype = prop_oneof![
        Just(StateDtype::Bf16),
        Just(StateDtype::F16),
        Just(StateDtype::F32)
    ];
    let sampler = prop_oneof![
        Just(Sampler::Greedy),
        (
            any::<u64>(),
            1_u32..5_000_000,
            any::<u32>(),
            1_u32..1_000_000
        )
            .prop_map(|(seed, t, top_k, p)| {
                Sampler::Gumbel {
                    seed,
                    temperature: Decimal::from_f64(f64::from(t) / 1e6).unwrap(),
                    top_k,
                    top_p: Decimal::from_f64(f64::from(p) / 1e6).unwrap(),
                }
            }),
    ];
    let sizes = (1_u32..12, 1_u32..9, 1_u32..40);
    let texts = (
        "[ -~]{0,40}",
        "[a-z0-9_-]{1,16}",
        any::<Option<[u8; 32]>>(),
        any::<bool>(),
    );
    (sizes, dtype, sampler, texts).prop_flat_map(
        |((hidden, layers, vocab), state_dtype, sampler, texts)| {
            let ids = move |n: usize| proptest::collection::vec(0..vocab, 1..n);
            let opened = proptest::collection::btree_set(0..=layers, 0..=layers as usize + 1);
            let linears = any_linears(hidden, layers);
            let parts = (ids(7), ids(7), opened, linears, any_sparse(layers));
            parts.prop_map(move |(prompt, output, opened, linears, sparse)| {
                let (adapter, family, nonce, ignore_eos) = texts.clone();
                let mut spec = TraceSpec {
                    adapter,
                    ignore_eos,
                    linears,
                    sampler,
                    sparse,
                    state_dtype,
                    prompt,
                    ..spec()
                };
                spec.eos = vec![vocab - 1];
                spec.nonce = nonce.map(Digest);
                spec.opened = opened.into_iter().collect();
                spec.model.family = family;
                (spec.model.hidden, spec.model.layers, spec.model.vocab) = (hidden, layers, vocab);
                (spec, output)
            })
        },
    )
}

proptest! {
    #[test]
    fn any_trace_reads_back_and_is_what_the_published_crate_writes((spec, output) in any_spec()) {
        let finished = build(spec.clone(), &output);
        let file = finished.to_bytes();
        prop_assert_eq!(file.len() as u64, finished.len());
        prop_assert_eq!(&published(&file), &file);
        let trace = Trace::parse(&file).unwrap();
        prop_assert_eq!(trace.check_commitment(), Ok(()));
        prop_assert_eq!(trace.manifest(), finished.manifest());
        prop_assert_eq!(trace.prompt(), spec.prompt.as_slice());
        prop_assert_eq!(trace.output(), output.as_slice());
        for &layer in &spec.opened {
            for position in 0..trace.positions() {
                let want = state(position, layer as usize, spec.model.hidden as usize);
                prop_assert_eq!(trace.state_row(layer, position), Some(want));
            }
        }
        if let Some(claim) = trace.linears() {
            for (i, &output) in claim.logits.iter().enumerate() {
                let position = spec.prompt.len() - 1 + output as usize;
                let want = logits(position, spec.model.vocab as usize);
                prop_assert_eq!(trace.logits_row(i), Some(want));
            }
            for (&layer, product) in claim.layers.iter().flat_map(|l| claim.products.iter().map(move |p| (l, p))) {
                for position in 0..trace.positions() {
                    let want = linear(position, layer as usize, product.name, product.width as usize);
                    prop_assert_eq!(trace.linear_row(layer, product.name, position), Some(want));
                }
            }
        }
        prop_assert_eq!(trace.sparse(), spec.sparse.as_ref());
        for claim in trace.sparse().iter().flat_map(|claim| &claim.masks) {
            for layer in 0..spec.model.layers {
                let rows = (0..trace.positions()).flat_map(|p| mask(p, layer as usize, claim));
                let want: Vec<u8> = rows.collect();
                prop_assert_eq!(trace.layer_masks(layer, claim.name), Some(want));
            }
        }
        prop_assert_eq!(assay_trace::reroot(&file, |_| {}).unwrap(), file);
    }
}
