//! The stream `masks`, from the builder through sealing and forging to the reader.

use assay_trace::{
    BuildError, Challenge, Digest, Keep, Leaf, MaskName, Opening, SparseRule, StopReason, Trace,
    TraceBuilder, TraceError, TraceSpec, merkle, reroot,
};

use crate::sample::{
    Position, active, audited_spec, build, example, mask, opening, run, sparse, sparse_audited_run,
    sparse_audited_spec, sparse_example, sparse_spec, spec, teal,
};

fn topk(keep: u32) -> SparseRule {
    SparseRule::TopK { keep }
}

/// The worked example's spec with the mask `neurons` alone.
fn neurons_spec(width: u32, rule: SparseRule) -> TraceSpec {
    TraceSpec {
        sparse: Some(sparse(None, width, rule)),
        ..spec()
    }
}

#[test]
fn every_bit_is_there() {
    let digest = Digest::of(b"a file");
    let thresholds = vec!["0.5".parse().unwrap(), "12.000000001".parse().unwrap()];
    for (input, neurons, rule) in [
        (Some(3), 10, teal()),
        (Some(8), 64, teal()),
        (Some(17), 1, teal()),
        (None, 1, topk(0)),
        (None, 7, topk(7)),
        (None, 8, SparseRule::Cats { thresholds }),
        (None, 9, SparseRule::Given { digest }),
        (None, 31, SparseRule::Predicted { digest, keep: 3 }),
    ] {
        let mut spec = spec();
        spec.sparse = Some(sparse(input, neurons, rule));
        let claim = spec.sparse.clone().unwrap();
        let bytes = input.map_or(0, |width| width.div_ceil(8)) + neurons.div_ceil(8);
        let bytes = bytes as usize;
        assert_eq!(claim.layer_bytes(), bytes);
        let file = build(spec, &[3, 0, 4]).to_bytes();
        let trace = Trace::parse(&file).unwrap();
        trace.check_commitment().unwrap();
        assert_eq!(trace.sparse(), Some(&claim));
        assert_eq!(trace.manifest().streams, ["logits", "masks", "states"]);
        let published = safetensors::SafeTensors::deserialize(&file).unwrap();
        let tensor = published.tensor("masks").unwrap();
        assert_eq!(tensor.shape(), [4, 2, bytes]);
        assert_eq!(published.len(), 4 + 2 + 1);
        let mut all = Vec::new();
        for position in 0..4 {
            let row: Vec<u8> = (0..2)
                .flat_map(|layer| trace.masks(position, layer).unwrap().to_vec())
                .collect();
            assert_eq!(trace.position_masks(position), Some(row.as_slice()));
            all.extend(row);
        }
        assert_eq!(all, tensor.data());
        for layer in 0..2 {
            for claim in &claim.masks {
                let rows = trace.layer_masks(layer, claim.name).unwrap();
                let want = (0..4).flat_map(|position| mask(position, layer as usize, claim));
                assert_eq!(rows, want.collect::<Vec<u8>>());
                for position in 0..4 {
                    for unit in 0..claim.width as usize {
                        let byte = rows[position * claim.bytes() + unit / 8];
                        let want = active(position, layer as usize, claim.name, unit);
                        assert_eq!(byte >> (unit % 8) & 1 == 1, want);
                    }
                }
            }
        }
        assert_eq!(reroot(&file, |_| {}).unwrap(), file);
    }
}

#[test]
fn outside_the_masks_is_nothing() {
    let file = sparse_example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    assert_eq!(trace.masks(0, 0).map(<[u8]>::len), Some(3));
    assert_eq!(trace.masks(0, 2), None);
    assert_eq!(trace.masks(4, 0), None);
    assert_eq!(trace.masks(usize::MAX, u32::MAX), None);
    assert_eq!(trace.position_masks(4), None);
    assert_eq!(trace.layer_masks(2, MaskName::Neurons), None);
    assert_eq!(trace.layer_masks(u32::MAX, MaskName::Input), None);

    let file = build(neurons_spec(10, topk(4)), &[3, 0, 4]).to_bytes();
    let trace = Trace::parse(&file).unwrap();
    assert_eq!(trace.layer_masks(0, MaskName::Input), None);
    assert_eq!(trace.layer_masks(0, MaskName::Neurons).unwrap().len(), 8);

    let file = example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    assert_eq!(trace.sparse(), None);
    assert_eq!(trace.position_masks(0), None);
    assert_eq!(trace.masks(0, 0), None);
    assert_eq!(trace.layer_masks(0, MaskName::Neurons), None);
}

/// The leaf byte by byte, with and without linear outputs: the flag tells them apart.
#[test]
fn leaf_with_masks_is_the_documented_one() {
    let audited = sparse_audited_run().open(&Opening::default()).unwrap();
    for (file, flags) in [(sparse_example(), 0), (audited, 1)] {
        let file = file.to_bytes();
        let trace = Trace::parse(&file).unwrap();
        let mut want = b"assay/position/v3\0".to_vec();
        want.extend([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        want.extend(trace.logits_digest(1).unwrap().0);
        want.push(flags);
        let masks: Vec<u8> = (0..2)
            .flat_map(|layer| {
                trace
                    .sparse()
                    .unwrap()
                    .masks
                    .iter()
                    .map(move |m| (layer, m))
            })
            .flat_map(|(layer, claim)| mask(1, layer, claim))
            .collect();
        want.extend(Digest::of(&masks).0);
        (0..=2).for_each(|layer| want.extend(trace.state_digest(layer, 1).0));
        if flags == 1 {
            (0..2).for_each(|layer| want.extend(trace.linear_digest(layer, 1).0));
        }
        assert_eq!(want.len(), 95 + 32 * 3 + 64 * usize::from(flags));
        assert_eq!(merkle::leaf_hash(&want), trace.leaves()[1]);
    }
}

/// No leaf of one set of streams is a leaf of another.
#[test]
fn each_set_of_streams_has_its_own_leaves() {
    let states = [7; 32 * 3];
    let linears = [8; 32 * 2];
    let leaf = |linears, masks| {
        let leaf = Leaf {
            position: 0,
            token: 1,
            next: None,
            logits: None,
            states: &states,
            linears,
            masks,
        };
        leaf.preimage()
    };
    let digest = Some(Digest([8; 32]));
    let leaves = [
        leaf(None, None),
        leaf(Some(&linears), None),
        leaf(None, digest),
        leaf(Some(&linears), digest),
    ];
    assert_eq!(leaves.each_ref().map(Vec::len), [158, 222, 191, 255]);
    for (i, a) in leaves.iter().enumerate() {
        for b in &leaves[..i] {
            assert!(!a.starts_with(b) && !b.starts_with(a));
        }
    }
}

/// The error of pushing the first position of `spec` after `edit`.
fn push_error(spec: TraceSpec, edit: impl FnOnce(&mut Vec<u8>)) -> BuildError {
    let mut position = Position::of(&spec, 0);
    edit(&mut position.masks);
    let mut builder = TraceBuilder::new(spec.clone()).unwrap();
    let error = position
        .with(|input| builder.push_position(1, input))
        .unwrap_err();
    let good = Position::of(&spec, 0);
    good.with(|input| builder.push_position(1, input)).unwrap(); // the refusal left it as it was
    error
}

#[test]
fn bad_masks_are_refused_where_they_come_in() {
    let bytes = |got, want| BuildError::MaskBytes {
        position: 0,
        got,
        want,
    };
    assert_eq!(push_error(sparse_spec(), |m| m.truncate(5)), bytes(5, 6));
    assert_eq!(push_error(sparse_spec(), |m| m.push(0)), bytes(7, 6));
    assert_eq!(push_error(sparse_spec(), Vec::clear), bytes(0, 6));
    assert_eq!(push_error(spec(), |m| m.push(0)), bytes(1, 0));
    let mut builder = TraceBuilder::new(sparse_spec()).unwrap();
    let states = Position::of(&sparse_spec(), 0).states;
    let states: Vec<&[f32]> = states.iter().map(Vec::as_slice).collect();
    assert_eq!(builder.push(1, &states, None), Err(bytes(0, 6)));

    // Layer by layer: input 3 bits of 8, neurons 10 bits of 16.
    for (at, bits, layer, mask) in [
        (0, 3..8, 0, MaskName::Input),
        (2, 2..8, 0, MaskName::Neurons),
        (3, 3..8, 1, MaskName::Input),
        (5, 2..8, 1, MaskName::Neurons),
    ] {
        for bit in bits {
            assert_eq!(
                push_error(sparse_spec(), |m| m[at] |= 1 << bit),
                BuildError::StrayMaskBit {
                    position: 0,
                    layer,
                    mask
                }
            );
        }
    }
}

#[test]
fn bad_claims_in_a_spec_are_refused() {
    assert_eq!(
        TraceBuilder::new(neurons_spec(5, topk(6))).unwrap_err(),
        TraceError::Range {
            field: "sparse.rule.keep",
            got: 6,
            min: 0,
            max: 5
        }
        .into()
    );
    assert_eq!(
        TraceBuilder::new(neurons_spec(5, teal())).unwrap_err(),
        TraceError::MissingMask {
            mask: MaskName::Input
        }
        .into()
    );
}

/// Whatever is opened, all masks are in the file, and the receipt keeps the claim.
#[test]
fn a_sealed_run_opens_with_all_masks() {
    let run = sparse_audited_run();
    let receipt = run.receipt().unwrap();
    assert_eq!(receipt.sparse, sparse_spec().sparse);
    assert_eq!(receipt.streams, ["linears", "logits", "masks", "states"]);
    let text = receipt.canonical_json();
    assert_eq!(assay_trace::Manifest::parse(&text).unwrap(), receipt);
    for opening in [
        Opening::default(),
        opening(Challenge::Interactive, &[1], &[]),
        opening(Challenge::Chosen, &[], &[2]),
        opening(Challenge::All, &[0, 1], &[0, 1, 2]),
    ] {
        let finished = run.open(&opening).unwrap();
        assert_eq!(finished.root(), run.root());
        let file = finished.to_bytes();
        assert_eq!(file.len() as u64, finished.len());
        let trace = Trace::parse(&file).unwrap();
        trace.check_commitment().unwrap();
        assert_eq!(trace.manifest().receipt().as_ref(), Some(&receipt));
        for layer in 0..2 {
            for claim in &trace.sparse().unwrap().masks {
                let want = (0..4).flat_map(|p| mask(p, layer as usize, claim));
                let want: Vec<u8> = want.collect();
                assert_eq!(trace.layer_masks(layer, claim.name), Some(want));
            }
        }
        assert_eq!(reroot(&file, |_| {}).unwrap(), file);
    }
    // Without linear outputs hidden states are all that can be opened, and the receipt says nothing of them.
    let bare = crate::sample::run(sparse_spec(), &[3, 0, 4]);
    let bare = bare.seal(4, StopReason::Eos).unwrap();
    let receipt = bare.receipt().unwrap();
    assert_eq!(receipt.sparse, sparse_spec().sparse);
    assert!(receipt.opened.is_empty() && receipt.linears.is_none());
    let text = receipt.canonical_json();
    assert_eq!(assay_trace::Manifest::parse(&text).unwrap(), receipt);
    assert_eq!(sparse_example().manifest().receipt(), Some(receipt));
    let dense = crate::sample::run(spec(), &[3, 0, 4]);
    let dense = dense.seal(4, StopReason::Eos).unwrap();
    assert_eq!(dense.receipt(), None, "neither of the two streams");
    let open = bare.open(&opening(Challenge::Chosen, &[], &[])).unwrap();
    assert_eq!(open.to_bytes(), sparse_example().to_bytes());
    let error = bare
        .open(&opening(Challenge::Chosen, &[0], &[]))
        .unwrap_err();
    assert_eq!(error, BuildError::NoLinears);
}

#[test]
fn masks_count_as_retained() {
    let seal = |spec| run(spec, &[3, 0, 4]).seal(4, StopReason::Eos).unwrap();
    let (sparse, dense) = (seal(sparse_spec()), seal(spec()));
    assert_eq!(sparse.retained_bytes() - dense.retained_bytes(), 4 * 2 * 3);
}

#[test]
fn masks_change_the_root() {
    let root = |spec| build(spec, &[3, 0, 4]).root();
    let keep = || Keep::Everything;
    let roots = [
        root(spec()),
        root(audited_spec(keep())),
        root(sparse_spec()),
        root(sparse_audited_spec(keep())),
        root(neurons_spec(10, topk(4))),
    ];
    for (i, a) in roots.iter().enumerate() {
        assert!(!roots[..i].contains(a));
    }
    // The rule is bound by the manifest alone: a leaf binds what was done, not why.
    let digest = Digest::of(b"a file");
    let given = build(neurons_spec(10, SparseRule::Given { digest }), &[3, 0, 4]);
    assert_eq!(given.root(), roots[4]);
    let topk = build(neurons_spec(10, topk(4)), &[3, 0, 4]);
    assert_ne!(given.commitment(), topk.commitment());
}

/// Records made with another claim, or on other threads, are told apart as all records are.
#[test]
fn records_know_their_claim() {
    let first = |spec: &TraceSpec| {
        let plan = TraceBuilder::new(spec.clone()).unwrap().plan();
        Position::of(spec, 0).with(|input| assay_trace::PositionRecord::compute(&plan, 0, input))
    };
    let mut builder = TraceBuilder::new(sparse_spec()).unwrap();
    for other in [
        spec(),
        sparse_audited_spec(Keep::Everything),
        neurons_spec(20, topk(4)),
    ] {
        assert_eq!(
            builder.push_record(1, first(&other)),
            Err(BuildError::RecordMismatch { position: 0 })
        );
    }
    builder.push_record(1, first(&sparse_spec())).unwrap();
}
