//! Forged masks are consistent, as every forgery is: they pass structure and commitment.

use assay_trace::{
    EditableTrace, ForgeError, Keep, Linear, MaskName, SparseRule, Trace, TraceSpec, reroot,
};

use crate::sample::{
    active, audited_spec, build, example, sparse, sparse_audited_spec, sparse_example, sparse_spec,
    spec,
};

fn holds(file: &[u8]) -> bool {
    Trace::parse(file).is_ok_and(|trace| trace.check_commitment().is_ok())
}

#[test]
fn any_bit_can_be_forged() {
    let honest = sparse_example().to_bytes();
    let was = Trace::parse(&honest).unwrap();
    for (position, layer, name, unit) in [
        (0, 0, MaskName::Input, 0),
        (3, 1, MaskName::Input, 2),
        (2, 0, MaskName::Neurons, 9),
        (3, 1, MaskName::Neurons, 8),
    ] {
        let before = active(position, layer as usize, name, unit as usize);
        let forged = reroot(&honest, |trace| {
            let old = trace.set_mask_bit(position, layer, name, unit, !before);
            assert_eq!(old, Some(before));
            let new = trace.set_mask_bit(position, layer, name, unit, !before);
            assert_eq!(new, Some(!before));
        });
        let forged = forged.unwrap();
        assert!(holds(&forged));
        let is = Trace::parse(&forged).unwrap();
        assert_ne!(is.manifest().root, was.manifest().root);
        let ones = |rows: &[u8]| rows.iter().map(|byte| byte.count_ones()).sum::<u32>();
        for l in 0..2 {
            for p in 0..4 {
                let (a, b) = (was.masks(p, l).unwrap(), is.masks(p, l).unwrap());
                let differing: Vec<u8> = a.iter().zip(b).map(|(a, b)| a ^ b).collect();
                assert_eq!(ones(&differing), u32::from((p, l) == (position, layer)));
            }
        }
    }
    reroot(&honest, |trace| {
        for (position, layer, name, unit) in [
            (4, 0, MaskName::Input, 0),
            (0, 2, MaskName::Input, 0),
            (0, 0, MaskName::Input, 8),
            (0, 0, MaskName::Neurons, 16),
            (usize::MAX, 1, MaskName::Neurons, 0),
            (0, u32::MAX, MaskName::Neurons, u32::MAX),
        ] {
            assert_eq!(trace.set_mask_bit(position, layer, name, unit, true), None);
        }
        trace.remove_masks();
        assert_eq!(trace.set_mask_bit(0, 0, MaskName::Neurons, 0, true), None);
    })
    .unwrap();
}

#[test]
fn streams_can_be_hidden_one_by_one() {
    let both = build(sparse_audited_spec(Keep::Everything), &[3, 0, 4]).to_bytes();
    let opened = |mut spec: TraceSpec| {
        spec.opened = vec![0, 1, 2];
        build(spec, &[3, 0, 4]).to_bytes()
    };
    let no_masks = reroot(&both, EditableTrace::remove_masks).unwrap();
    assert_eq!(no_masks, opened(audited_spec(Keep::Everything)));
    let no_linears = reroot(&both, EditableTrace::remove_linears).unwrap();
    assert_eq!(no_linears, opened(sparse_spec()));
    for first in [no_masks, no_linears] {
        let neither = reroot(&first, |trace| {
            trace.remove_linears();
            trace.remove_masks();
        });
        assert_eq!(neither.unwrap(), opened(spec()));
    }
}

/// A dense run that says it was sparse: anyone can seal that.
#[test]
fn masks_can_be_made_up() {
    let sparse_claim = sparse(None, 12, SparseRule::TopK { keep: 12 });
    let forged = reroot(&example().to_bytes(), |trace| {
        trace.manifest.streams.insert(1, "masks".into());
        trace.manifest.sparse = Some(sparse_claim.clone());
        trace.masks = [0xff, 0x0f].repeat(4 * 2);
    });
    let forged = forged.unwrap();
    assert!(holds(&forged));
    let trace = Trace::parse(&forged).unwrap();
    assert_eq!(trace.masks(3, 1), Some(&[0xff, 0x0f][..]));
}

#[test]
fn truncation_of_a_sparse_run_equals_a_shorter_one() {
    for spec in [sparse_spec(), sparse_audited_spec(Keep::Everything)] {
        let file = build(spec.clone(), &[3, 0, 4]).to_bytes();
        let shorter = reroot(&file, |trace| trace.truncate_output(1)).unwrap();
        assert_eq!(shorter, build(spec, &[3]).to_bytes());
    }
}

#[test]
fn mask_arrays_must_fit() {
    let error = |file: &[u8], edit: fn(&mut EditableTrace)| match reroot(file, edit) {
        Err(ForgeError::Length { array, got, want }) => (array, got, want),
        other => panic!("{other:?}"),
    };
    let file = sparse_example().to_bytes();
    let expect = |got, want| ("masks", got, want);
    assert_eq!(error(&file, |t| t.masks.truncate(23)), expect(23, 24));
    assert_eq!(error(&file, |t| t.manifest.sparse = None), expect(24, 0));
    assert_eq!(
        error(&example().to_bytes(), |t| t.masks.push(0)),
        expect(1, 0)
    );
    assert_eq!(
        error(&file, |t| t.manifest.sparse.as_mut().unwrap().masks[1]
            .width = u32::MAX),
        expect(24, 8 * (1 + (1 << 29)))
    );
}

/// Masks of one run and linear outputs of another: consistent, as any forgery.
#[test]
fn masks_can_be_spliced() {
    let both = build(sparse_audited_spec(Keep::Everything), &[3, 0, 4]).to_bytes();
    let spliced = reroot(&both, |trace| {
        trace.masks.rotate_left(6); // by one position
        trace.linears.get_mut(&(0, Linear::Down)).unwrap()[0] += 1.0;
    });
    let spliced = spliced.unwrap();
    assert!(holds(&spliced));
    let (was, is) = (
        Trace::parse(&both).unwrap(),
        Trace::parse(&spliced).unwrap(),
    );
    assert_eq!(is.position_masks(0), was.position_masks(1));
}
