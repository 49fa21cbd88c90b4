//! The manifest's `sparse`: one text for each claim, and every rule with its own error.

use assay_trace::limits::MAX_PRODUCT_WIDTH;
use assay_trace::{Decimal, Digest, Manifest, MaskName, SparseClaim, SparseRule, TraceError};

use crate::sample::{example, sparse_example, teal};

/// The error of the sparse example's manifest after `edit`.
fn manifest_error(edit: impl FnOnce(&mut Manifest)) -> TraceError {
    let mut manifest = sparse_example().manifest().clone();
    edit(&mut manifest);
    Manifest::parse(&manifest.canonical_json()).unwrap_err()
}

fn claim_error(edit: impl FnOnce(&mut SparseClaim)) -> TraceError {
    manifest_error(|m| edit(m.sparse.as_mut().unwrap()))
}

/// The error of this rule with the mask `neurons` of width 10 alone.
fn rule_error(rule: SparseRule) -> TraceError {
    claim_error(|claim| {
        claim.masks.remove(0);
        claim.rule = rule;
    })
}

fn thresholds(count: usize) -> Vec<Decimal> {
    vec![Decimal::ONE; count]
}

#[test]
fn the_field_goes_with_its_stream() {
    let wrong = |present| TraceError::StreamField {
        field: "sparse",
        stream: "masks",
        present,
    };
    assert_eq!(manifest_error(|m| m.sparse = None), wrong(false));
    assert_eq!(manifest_error(|m| drop(m.streams.remove(1))), wrong(true));
    for streams in [
        &["logits", "states", "masks"][..],
        &["masks", "logits", "states"],
        &["logits", "masks"],
        &["masks"],
        &["logits", "masks", "masks", "states"],
        &["logits", "linears", "masks", "states"],
        &["logits", "masks", "states", "zebras"],
    ] {
        let error = manifest_error(|m| m.streams = streams.iter().map(|s| s.to_string()).collect());
        assert!(matches!(error, TraceError::Streams { .. }), "{error}");
    }
    // Absent is the only spelling of absent.
    let text = example().manifest().canonical_json();
    let null = text.replace("\"state_dtype\":", "\"sparse\":null,\"state_dtype\":");
    assert_ne!(null, text);
    assert!(matches!(
        Manifest::parse(&null),
        Err(TraceError::ManifestNotCanonical { .. })
    ));
}

#[test]
fn masks_have_rules() {
    let unsorted = TraceError::NotAscending {
        field: "sparse.masks",
        index: 1,
    };
    assert_eq!(claim_error(|c| c.masks.swap(0, 1)), unsorted);
    assert_eq!(claim_error(|c| c.masks.insert(1, c.masks[0])), unsorted);
    let missing = |mask| TraceError::MissingMask { mask };
    assert_eq!(
        claim_error(|c| c.masks.retain(|mask| mask.name != MaskName::Input)),
        missing(MaskName::Input)
    );
    assert_eq!(
        claim_error(|c| c.masks.truncate(1)),
        missing(MaskName::Neurons)
    );
    assert_eq!(claim_error(|c| c.masks.clear()), missing(MaskName::Neurons));
    for (index, width) in [
        (0, 0),
        (1, 0),
        (0, MAX_PRODUCT_WIDTH + 1),
        (1, MAX_PRODUCT_WIDTH + 1),
        (1, u32::MAX),
    ] {
        assert_eq!(
            claim_error(|c| c.masks[index].width = width),
            TraceError::Range {
                field: "sparse.masks.width",
                got: width.into(),
                min: 1,
                max: MAX_PRODUCT_WIDTH.into()
            }
        );
    }
}

#[test]
fn rules_have_rules() {
    let digest = Digest::of(b"a file");
    for rule in [
        SparseRule::Given { digest },
        SparseRule::TopK { keep: 1 },
        SparseRule::Predicted { digest, keep: 1 },
        SparseRule::Cats {
            thresholds: thresholds(2),
        },
    ] {
        let (mask, kind) = (MaskName::Input, rule.kind());
        let error = TraceError::UnexpectedMask { mask, rule: kind };
        assert_eq!(claim_error(|claim| claim.rule = rule.clone()), error);
    }
    for keep in [11, u32::MAX] {
        let range = TraceError::Range {
            field: "sparse.rule.keep",
            got: keep.into(),
            min: 0,
            max: 10,
        };
        assert_eq!(rule_error(SparseRule::TopK { keep }), range);
        assert_eq!(rule_error(SparseRule::Predicted { digest, keep }), range);
    }
    for got in [0, 1, 3, 5000] {
        let count = |field| TraceError::ThresholdCount {
            field,
            got,
            want: 2,
        };
        let list = thresholds(got);
        assert_eq!(
            rule_error(SparseRule::Cats {
                thresholds: list.clone()
            }),
            count("sparse.rule.thresholds")
        );
        for (input, neurons, field) in [
            (list.clone(), thresholds(2), "sparse.rule.input"),
            (thresholds(2), list, "sparse.rule.neurons"),
        ] {
            let rule = SparseRule::Teal { input, neurons };
            assert_eq!(claim_error(|claim| claim.rule = rule), count(field));
        }
    }
}

/// One text for each claim: the keys sorted, the tag among them.
#[test]
fn rules_have_one_spelling() {
    let digest = Digest::of(b"a file");
    let zeros = "\"thresholds\":[\"1\",\"1\"]";
    for (rule, text) in [
        (
            SparseRule::Given { digest },
            format!(r#"{{"digest":"{digest}","kind":"given"}}"#),
        ),
        (
            SparseRule::TopK { keep: 0 },
            r#"{"keep":0,"kind":"topk"}"#.into(),
        ),
        (
            SparseRule::Cats {
                thresholds: thresholds(2),
            },
            format!(r#"{{"kind":"cats",{zeros}}}"#),
        ),
        (
            SparseRule::Predicted { digest, keep: 10 },
            format!(r#"{{"digest":"{digest}","keep":10,"kind":"predicted"}}"#),
        ),
    ] {
        let mut manifest = sparse_example().manifest().clone();
        let claim = manifest.sparse.as_mut().unwrap();
        claim.masks.remove(0);
        claim.rule = rule;
        let json = manifest.canonical_json();
        let field = format!(
            r#""sparse":{{"masks":[{{"name":"neurons","width":10}}],"rule":{text}}},"state_dtype""#
        );
        assert!(json.contains(&field), "{json}");
        assert_eq!(Manifest::parse(&json).unwrap(), manifest);
    }
    let json = sparse_example().manifest().canonical_json();
    let rule = r#""rule":{"input":["0.25","0.5"],"kind":"teal","neurons":["0","1.125"]}"#;
    assert!(json.contains(rule), "{json}");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value.to_string(), json); // serde_json's own map is sorted

    for (from, to) in [
        (
            r#""input":["0.25","0.5"],"kind":"teal""#,
            r#""kind":"teal","input":["0.25","0.5"]"#,
        ),
        (r#"["0.25","0.5"]"#, r#"["0.25", "0.5"]"#),
        (r#""kind":"teal""#, r#""keep":null,"kind":"teal""#),
        (
            r#"{"name":"input","width":3}"#,
            r#"{"width":3,"name":"input"}"#,
        ),
        (r#""kind":"teal""#, r#""kind":"\u0074eal""#),
    ] {
        let error = Manifest::parse(&json.replacen(from, to, 1)).unwrap_err();
        assert!(json.contains(from));
        assert!(
            matches!(error, TraceError::ManifestNotCanonical { .. }),
            "{to}: {error}"
        );
    }
}

#[test]
fn other_spellings_do_not_decode() {
    let json = sparse_example().manifest().canonical_json();
    for (from, to) in [
        (r#""kind":"teal""#, r#""kind":"magic""#),
        (r#""kind":"teal""#, r#""kind":"Teal""#),
        (r#""kind":"teal""#, r#""kind":"topk""#),
        (r#""kind":"teal""#, r#""kind":"cats""#),
        (r#""kind":"teal""#, r#""kind":"given""#),
        (r#""kind":"teal""#, r#""kind":"predicted""#),
        (r#""kind":"teal""#, r#""kind":null"#),
        (r#""kind":"teal""#, r#""keep":1,"kind":"teal""#),
        (r#""kind":"teal""#, r#""kind":"teal","kind":"teal""#),
        (r#""kind":"teal""#, r#""kind":"teal","mood":1"#),
        (r#""kind":"teal","#, ""),
        (r#","neurons":["0","1.125"]"#, ""),
        (r#""0.25""#, r#""-0.25""#),
        (r#""0.25""#, r#""-0""#),
        (r#""0.25""#, r#""+0.25""#),
        (r#""0.25""#, "0.25"),
        (r#""0.25""#, r#""0.250""#),
        (r#""0.25""#, r#""1000000""#),
        (r#""0.25""#, r#""0.0000000001""#),
        (r#""0.25""#, r#""NaN""#),
        (r#""0.25""#, r#""1e3""#),
        (r#""0.25""#, "null"),
        (r#""name":"input""#, r#""name":"output""#),
        (r#""name":"input""#, r#""name":"Input""#),
        (r#""name":"input","width":3"#, r#""name":"input""#),
        (r#""width":10"#, r#""width":-10"#),
        (r#""width":10"#, r#""width":10.0"#),
        (r#""width":10"#, r#""width":4294967296"#),
        (r#""width":10"#, r#""width":10,"x":1"#),
        (r#""sparse":{"#, r#""sparse":{"dense":1,"#),
        (r#""sparse":{"#, r#""sparse":[{"#),
    ] {
        assert!(json.contains(from), "{from}");
        let error = Manifest::parse(&json.replacen(from, to, 1)).unwrap_err();
        assert!(
            matches!(error, TraceError::ManifestJson { .. }),
            "{to}: {error}"
        );
    }
}

/// Half a million thresholds fit a header's cap; they are counted, not believed.
#[test]
fn endless_thresholds_are_refused() {
    let error = claim_error(|claim| {
        claim.rule = SparseRule::Teal {
            input: thresholds(500_000),
            neurons: thresholds(2),
        };
    });
    assert!(
        matches!(error, TraceError::ThresholdCount { got: 500_000, .. }),
        "{error}"
    );
    assert_eq!(
        sparse_example().manifest().sparse.as_ref().unwrap().rule,
        teal()
    );
}
