//! The tensor `masks` as an attacker writes it: each fault has its error, and no claim sizes an allocation.

use assay_trace::limits::{MAX_FILE_BYTES, MAX_LAYERS, MAX_PRODUCT_WIDTH, MAX_TOKENS};
use assay_trace::{
    Challenge, EditableTrace, MaskClaim, MaskName, SparseClaim, SparseRule, Trace, TraceError,
    reroot,
};

use crate::sample::{
    example, join, opening, replace_in_header, sparse_audited_run, sparse_example,
};

fn parse_error(file: &[u8]) -> TraceError {
    Trace::parse(file).map(drop).unwrap_err()
}

#[test]
fn the_tensor_goes_with_the_claim() {
    let file = sparse_example().to_bytes();
    let missing = replace_in_header(&file, "\"masks\":{\"dtype", "\"masksz\":{\"dtype");
    let name = || "masks".into();
    assert_eq!(
        parse_error(&missing),
        TraceError::MissingTensor { name: name() }
    );
    let entry = r#"[196,580]},"masks":{"dtype":"U8","shape":[4,2,3],"data_offsets":[580,604]}}"#;
    let extra = replace_in_header(&example().to_bytes(), "[196,580]}}", entry);
    assert_eq!(
        parse_error(&extra),
        TraceError::ExtraTensor { name: name() }
    );
    for (from, to) in [
        ("\"shape\":[4,2,3]", "\"shape\":[4,3,2]"),
        ("\"shape\":[4,2,3]", "\"shape\":[24]"),
        ("\"shape\":[4,2,3]", "\"shape\":[4,2,13]"),
    ] {
        let error = parse_error(&replace_in_header(&file, from, to));
        assert!(matches!(error, TraceError::TensorShape { .. }), "{error}");
    }
    let bools = replace_in_header(
        &file,
        "\"masks\":{\"dtype\":\"U8\"",
        "\"masks\":{\"dtype\":\"BOOL\"",
    );
    assert!(matches!(
        parse_error(&bools),
        TraceError::TensorDtype { .. }
    ));
    // The claim's own widths, changed where no byte of the tensor is: the shape follows the claim.
    let wider = replace_in_header(&file, "\\\"width\\\":10}", "\\\"width\\\":17}");
    assert!(matches!(
        parse_error(&wider),
        TraceError::TensorShape { .. }
    ));
    assert!(matches!(
        parse_error(&[file.as_slice(), &[0]].concat()),
        TraceError::DataLength { .. }
    ));
}

/// Offset of the tensor `masks` in a file.
fn masks_at(file: &[u8]) -> std::ops::Range<usize> {
    let parsed = safetensors::SafeTensors::deserialize(file).unwrap();
    let data = parsed.tensor("masks").unwrap().data();
    let start = data.as_ptr() as usize - file.as_ptr() as usize;
    start..start + data.len()
}

/// Every bit of every mask: those of units change the root, the others are no trace.
#[test]
fn no_bit_is_free() {
    let opened = sparse_audited_run().open(&opening(Challenge::Chosen, &[0], &[1]));
    for file in [sparse_example().to_bytes(), opened.unwrap().to_bytes()] {
        let mut counts = [0, 0];
        for at in masks_at(&file) {
            for bit in 0..8 {
                let mut file = file.clone();
                file[at] ^= 1 << bit;
                match Trace::parse(&file) {
                    Ok(trace) => {
                        let error = trace.check_commitment().unwrap_err();
                        assert_eq!(error.code(), "merkle-root");
                        counts[0] += 1;
                    }
                    Err(error) => {
                        assert!(matches!(error, TraceError::StrayMaskBit { .. }), "{error}");
                        assert_eq!(error.code(), "structure");
                        counts[1] += 1;
                    }
                }
            }
        }
        assert_eq!(counts, [4 * 2 * 13, 4 * 2 * 11]);
    }
}

/// Two positions, or two layers, change places.
#[test]
fn masks_stay_where_they_are() {
    let honest = sparse_example().to_bytes();
    let start = masks_at(&honest).start;
    for (a, b) in (0..8).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let mut file = honest.clone();
        for i in 0..3 {
            file.swap(start + 3 * a + i, start + 3 * b + i);
        }
        assert!(file != honest, "rows {a} and {b} are the same");
        let error = Trace::parse(&file).unwrap().check_commitment().unwrap_err();
        assert_eq!(error.code(), "merkle-root");
    }
}

#[test]
fn sealed_stray_bits_are_refused_by_name() {
    for (position, layer, mask, index) in [
        (0, 0, MaskName::Input, 3),
        (2, 1, MaskName::Neurons, 10),
        (3, 1, MaskName::Input, 7),
        (3, 0, MaskName::Neurons, 15),
    ] {
        let file = reroot(&sparse_example().to_bytes(), |trace| {
            let old = trace.set_mask_bit(position, layer, mask, index, true);
            assert_eq!(old, Some(false));
        });
        let layer = layer as usize;
        assert_eq!(
            parse_error(&file.unwrap()),
            TraceError::StrayMaskBit {
                position,
                layer,
                mask
            }
        );
    }
}

/// A claim without its stream, or with another rule than its masks allow, sealed with all hashes right.
#[test]
fn sealed_contradictions_are_refused() {
    let forged = |edit: fn(&mut EditableTrace)| {
        parse_error(&reroot(&sparse_example().to_bytes(), edit).unwrap())
    };
    let error = forged(|trace| drop(trace.manifest.streams.remove(1)));
    assert!(matches!(error, TraceError::StreamField { .. }), "{error}");
    let error = forged(|trace| {
        trace.manifest.sparse = None;
        trace.masks.clear();
    });
    assert!(matches!(error, TraceError::StreamField { .. }), "{error}");
    let error = forged(|trace| {
        trace.manifest.sparse.as_mut().unwrap().rule = SparseRule::TopK { keep: 1 };
    });
    assert!(
        matches!(error, TraceError::UnexpectedMask { .. }),
        "{error}"
    );
}

/// Every count at its cap, honestly laid out, over no data: 256 TiB of masks, refused by the file's length.
#[test]
fn huge_claims_allocate_nothing() {
    let mut manifest = sparse_example().manifest().clone();
    manifest.model.layers = MAX_LAYERS;
    manifest.opened.clear();
    (manifest.prompt.tokens, manifest.output.tokens) = (1, MAX_TOKENS - 1);
    let width = MAX_PRODUCT_WIDTH;
    manifest.sparse = Some(SparseClaim {
        masks: [MaskName::Input, MaskName::Neurons]
            .map(|name| MaskClaim { name, width })
            .to_vec(),
        rule: SparseRule::Teal {
            input: vec!["999999.999999999".parse().unwrap(); MAX_LAYERS as usize],
            neurons: vec!["0.000000001".parse().unwrap(); MAX_LAYERS as usize],
        },
    });
    let positions = u64::from(MAX_TOKENS) - 1;
    let (layers, bytes) = (u64::from(MAX_LAYERS), 2 * u64::from(width / 8));
    let tensors: [(&str, &str, &[u64], u64); 5] = [
        ("tokens", "U32", &[positions + 1], 4),
        ("commitment", "U8", &[32], 1),
        ("digests.logits", "U8", &[positions, 32], 1),
        ("digests.states", "U8", &[positions, layers + 1, 32], 1),
        ("masks", "U8", &[positions, layers, bytes], 1),
    ];
    let text = serde_json::to_string(&manifest.canonical_json()).unwrap();
    let mut header = format!(r#"{{"__metadata__":{{"assay":{text}}}"#);
    let mut end = 0;
    for (name, dtype, shape, element) in tensors {
        let start = end;
        end += shape.iter().product::<u64>() * element;
        header += &format!(
            r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        )
        .replace(", ", ",");
    }
    header.push('}');
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    assert!(end > 1 << 47, "{end}");
    let file = join(&header, &[]);
    assert_eq!(
        parse_error(&file),
        TraceError::DataLength { got: 0, want: end }
    );
    let got = MAX_FILE_BYTES - file.len() as u64;
    assert_eq!(
        Trace::check_head(&file, MAX_FILE_BYTES),
        Err(TraceError::DataLength { got, want: end })
    );
}
