//! The stream `linears` in the file: every tensor, every value, and each fault with its error.

use assay_trace::{
    Challenge, CommitmentError, Digest, Keep, Linear, LinearsClaim, Manifest, ProductClaim,
    SparseRule, StateDtype, Trace, TraceError, reroot,
};

use crate::sample::{
    audited_example, audited_run, audited_spec, build, example, linear, logits, opening, products,
    replace_in_header, sparse, split,
};

/// A list of products without `gate`, as of a model whose MLP has none.
fn ungated() -> Vec<ProductClaim> {
    let gated = products().into_iter();
    gated.filter(|p| p.name != Linear::Gate).collect()
}

#[test]
fn every_tensor_and_value_is_there() {
    for (dtype, products) in [
        (StateDtype::F32, products()),
        (StateDtype::Bf16, products()),
        (StateDtype::F16, products()),
        (StateDtype::F32, ungated()),
        (StateDtype::Bf16, ungated()),
        (StateDtype::F16, ungated()),
    ] {
        let mut spec = audited_spec(Keep::Everything);
        spec.state_dtype = dtype;
        spec.linears.as_mut().unwrap().products = products.clone();
        let file = build(spec, &[3, 0, 4]).to_bytes();
        let trace = Trace::parse(&file).unwrap();
        trace.check_commitment().unwrap();
        let published = safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(published.len(), 4 + 3 + 2 + 2 * products.len());
        assert_eq!(
            published.tensor("digests.linears").unwrap().shape(),
            [4, 2, 32]
        );
        assert_eq!(published.tensor("logits").unwrap().shape(), [3, 5]);
        for layer in 0..2 {
            for product in &products {
                let width = product.width as usize;
                let tensor = format!("linears.{layer:05}.{}", product.name);
                let tensor = published.tensor(&tensor).unwrap();
                assert_eq!(tensor.shape(), [4, width]);
                assert_eq!(trace.raw_linears(layer, product.name), Some(tensor.data()));
                let rows = (0..4).map(|p| linear(p, layer as usize, product.name, width));
                let rows: Vec<Vec<f32>> = rows.collect();
                for (position, row) in rows.iter().enumerate() {
                    let got = trace.linear_row(layer, product.name, position);
                    assert_eq!(got.as_ref(), Some(row));
                }
                let all = trace.linear_values(layer, product.name).unwrap();
                assert_eq!(all, rows.concat());
            }
            for position in 0..4 {
                let rows = products.iter().flat_map(|p| {
                    dtype.encode(&linear(position, layer as usize, p.name, p.width as usize))
                });
                let want = Digest::of(&rows.collect::<Vec<u8>>());
                assert_eq!(trace.linear_digest(layer, position), want);
            }
        }
        for output in 0..3 {
            assert_eq!(trace.logits_row(output), Some(logits(output + 1, 5)));
        }
    }
}

#[test]
fn outside_what_is_open_is_nothing() {
    let run = audited_run();
    let file = run.open(&opening(Challenge::Chosen, &[1], &[2])).unwrap();
    let file = file.to_bytes();
    let trace = Trace::parse(&file).unwrap();
    assert_eq!(trace.linear_row(0, Linear::Q, 0), None);
    assert_eq!(trace.linear_row(2, Linear::Q, 0), None);
    assert_eq!(trace.linear_row(1, Linear::Q, 4), None);
    assert_eq!(trace.linear_row(1, Linear::Q, usize::MAX), None);
    assert_eq!(trace.linear_values(0, Linear::Q), None);
    assert_eq!(trace.linear_digest(2, 0), Digest::ZERO);
    assert_eq!(trace.linear_digest(0, 4), Digest::ZERO);
    assert_eq!(trace.linear_digest(u32::MAX, usize::MAX), Digest::ZERO);
    assert_ne!(trace.linear_digest(0, 3), Digest::ZERO);
    assert_eq!(trace.logits_row(0), Some(logits(3, 5)));
    assert_eq!(trace.logits_row(1), None);
    assert_eq!(trace.logits_row(usize::MAX), None);

    let file = example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    assert_eq!(trace.linears(), None);
    assert_eq!(trace.linear_digest(0, 0), Digest::ZERO);
    assert_eq!(trace.linear_row(0, Linear::Q, 0), None);
    assert_eq!(trace.logits_row(0), None);
}

/// The error of the audited example's manifest, with layer 0 and output token 1 open, after `edit`.
fn manifest_error(edit: impl FnOnce(&mut Manifest)) -> TraceError {
    let opening = opening(Challenge::Chosen, &[0], &[1]);
    let mut manifest = audited_run().open(&opening).unwrap().manifest().clone();
    edit(&mut manifest);
    Manifest::parse(&manifest.canonical_json()).unwrap_err()
}

fn claim_error(edit: impl FnOnce(&mut LinearsClaim)) -> TraceError {
    manifest_error(|m| edit(m.linears.as_mut().unwrap()))
}

#[test]
fn the_field_goes_with_its_stream() {
    let (field, stream) = ("linears", "linears");
    assert_eq!(
        manifest_error(|m| m.linears = None),
        TraceError::StreamField {
            field,
            stream,
            present: false
        }
    );
    assert_eq!(
        manifest_error(|m| drop(m.streams.remove(0))),
        TraceError::StreamField {
            field,
            stream,
            present: true
        }
    );
    for streams in [
        &["logits", "linears", "states"][..],
        &["linears", "states"],
        &["linears"],
        &["linears", "linears", "logits", "states"],
        &[],
    ] {
        let error = manifest_error(|m| m.streams = streams.iter().map(|s| s.to_string()).collect());
        assert!(matches!(error, TraceError::Streams { .. }), "{error}");
    }
    // Absent is the only spelling of absent.
    let text = example().manifest().canonical_json();
    let null = text.replace("\"model\":", "\"linears\":null,\"model\":");
    assert!(matches!(
        Manifest::parse(&null),
        Err(TraceError::ManifestNotCanonical { .. })
    ));
}

#[test]
fn products_have_rules() {
    let unsorted = |index| TraceError::NotAscending {
        field: "linears.products",
        index,
    };
    assert_eq!(claim_error(|c| c.products.swap(1, 2)), unsorted(2));
    assert_eq!(
        claim_error(|c| c.products.insert(3, c.products[3])),
        unsorted(4)
    );
    for product in Linear::ALL {
        if product != Linear::Gate {
            assert_eq!(
                claim_error(|c| c.products.retain(|p| p.name != product)),
                TraceError::MissingProduct { product }
            );
        }
    }
    assert_eq!(
        claim_error(|c| c.products.clear()),
        TraceError::MissingProduct { product: Linear::Q }
    );
    for width in [0, (1 << 20) + 1, u32::MAX] {
        assert_eq!(
            claim_error(|c| c.products[1].width = width),
            TraceError::Range {
                field: "linears.products.width",
                got: width.into(),
                min: 1,
                max: 1 << 20
            }
        );
    }
    for index in [3, 6] {
        let product = Linear::ALL[index];
        assert_eq!(
            claim_error(|c| c.products[index].width = 4),
            TraceError::ProductWidth {
                product,
                got: 4,
                want: 3
            }
        );
    }
}

#[test]
fn what_is_open_has_rules() {
    let ascending = |field| TraceError::NotAscending { field, index: 1 };
    let range = |field, got, max| TraceError::Range {
        field,
        got,
        min: 0,
        max,
    };
    assert_eq!(
        claim_error(|c| c.layers = vec![1, 0]),
        ascending("linears.layers")
    );
    assert_eq!(
        claim_error(|c| c.logits = vec![1, 1]),
        ascending("linears.logits")
    );
    assert_eq!(
        claim_error(|c| c.layers = vec![0, 2]),
        range("linears.layers", 2, 1)
    );
    assert_eq!(
        claim_error(|c| c.logits = vec![3]),
        range("linears.logits", 3, 2)
    );
    for state in [0, 1] {
        assert_eq!(
            manifest_error(|m| m.opened.retain(|&index| index != state)),
            TraceError::LayerWithoutState { layer: 0, state }
        );
    }
    assert_eq!(
        manifest_error(|m| m.opened = vec![0, 1]),
        TraceError::LogitsWithoutState { state: 2 }
    );
}

#[test]
fn other_spellings_do_not_decode() {
    let text = audited_example().manifest().canonical_json();
    let check = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Manifest::parse(&text.replacen(from, to, 1)).unwrap_err()
    };
    for (from, to) in [
        ("\"offline\"", "\"Offline\""),
        ("\"offline\"", "\"random\""),
        ("\"offline\"", "null"),
        ("{\"name\":\"q\"", "{\"name\":\"Q\""),
        ("{\"name\":\"q\"", "{\"name\":\"w\""),
        ("{\"name\":\"q\",\"width\":4}", "{\"name\":\"q\"}"),
        (
            "{\"name\":\"q\",\"width\":4}",
            "{\"name\":\"q\",\"width\":4,\"x\":1}",
        ),
        (
            "{\"name\":\"q\",\"width\":4}",
            "{\"name\":\"q\",\"width\":-4}",
        ),
        (
            "{\"name\":\"q\",\"width\":4}",
            "{\"name\":\"q\",\"width\":4294967296}",
        ),
        ("\"products\":", "\"product\":"),
        ("\"linears\":{", "\"linears\":{\"x\":1,"),
    ] {
        let error = check(from, to);
        assert!(matches!(error, TraceError::ManifestJson { .. }), "{error}");
    }
    let swapped = "{\"width\":4,\"name\":\"q\"}";
    let error = check("{\"name\":\"q\",\"width\":4}", swapped);
    assert!(
        matches!(error, TraceError::ManifestNotCanonical { .. }),
        "{error}"
    );
}

#[test]
fn keys_are_sorted() {
    let text = audited_example().manifest().canonical_json();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value.to_string(), text);
}

/// One open layer and one row of logits, in a dtype in which a digest is all that a flipped bit changes.
fn small() -> Vec<u8> {
    audited_example().to_bytes()
}

fn parse_error(file: &[u8]) -> TraceError {
    Trace::parse(file).map(drop).unwrap_err()
}

#[test]
fn every_tensor_is_called_for() {
    let file = small();
    let published = safetensors::SafeTensors::deserialize(&file).unwrap();
    assert_eq!(published.len(), 4 + 3 + 2 + 7); // all hidden states happen to be open
    for name in published.names() {
        let renamed = format!("\"{}z\"", &name[..name.len() - 1]);
        let missing = replace_in_header(
            &file,
            &format!("\"{name}\":{{\"dtype"),
            &format!("{renamed}:{{\"dtype"),
        );
        assert_eq!(
            parse_error(&missing),
            TraceError::MissingTensor {
                name: name.to_string()
            }
        );
    }
    let extra = r#","linears.00009.q":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"tokens""#;
    assert_eq!(
        parse_error(&replace_in_header(&file, ",\"tokens\"", extra)),
        TraceError::ExtraTensor {
            name: "linears.00009.q".into()
        }
    );
    let wide = replace_in_header(&file, "\"shape\":[1,5]", "\"shape\":[5,1]");
    assert!(matches!(parse_error(&wide), TraceError::TensorShape { .. }));
    let f16 = replace_in_header(&file, "\"dtype\":\"F32\"", "\"dtype\":\"F16\"");
    assert!(matches!(parse_error(&f16), TraceError::TensorDtype { .. }));
}

/// A trace without the stream must not carry its tensors, nor one with it be without.
#[test]
fn tensors_go_with_the_stream() {
    let file = small();
    let stripped = reroot(&file, assay_trace::EditableTrace::remove_linears).unwrap();
    let (header, _) = split(&stripped);
    assert!(!header.contains("linears"));
    let trace = Trace::parse(&stripped).unwrap();
    trace.check_commitment().unwrap();
    assert_eq!(trace.linears(), None);
    let entry = r#","digests.linears":{"dtype":"U8","shape":[4,2,32],"data_offsets":[0,0]},"digests.logits""#;
    assert_eq!(
        parse_error(&replace_in_header(&stripped, ",\"digests.logits\"", entry)),
        TraceError::ExtraTensor {
            name: "digests.linears".into()
        }
    );
}

#[test]
fn values_are_finite() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let all = build(audited_spec(Keep::Everything), &[3, 0, 4]).to_bytes();
        let file = reroot(&all, |trace| {
            trace.linears.get_mut(&(1, Linear::K)).unwrap()[5] = value;
        });
        assert_eq!(
            parse_error(&file.unwrap()),
            TraceError::NonFiniteLinear {
                layer: 1,
                product: Linear::K,
                position: 2,
                channel: 1
            }
        );
        let open = opening(Challenge::Chosen, &[], &[0, 2]);
        let file = audited_run().open(&open).unwrap().to_bytes();
        let file = reroot(&file, |trace| {
            trace.logits.get_mut(&2).unwrap()[3] = value;
        });
        assert_eq!(
            parse_error(&file.unwrap()),
            TraceError::NonFiniteLogits {
                output: 2,
                token: 3
            }
        );
    }
}

/// Most tensors that a file can have, and a hostile header of as many: both in no time.
#[test]
fn a_thousand_layers() {
    let mut spec = audited_spec(Keep::Everything);
    let thresholds = || vec!["999999.999999999".parse().unwrap(); 1024];
    let (input, neurons) = (thresholds(), thresholds());
    spec.sparse = Some(sparse(Some(1), 1, SparseRule::Teal { input, neurons }));
    (spec.model.hidden, spec.model.layers) = (1, 1024);
    spec.prompt = vec![1];
    for product in &mut spec.linears.as_mut().unwrap().products {
        product.width = 1;
    }
    let file = build(spec, &[3]).to_bytes();
    let (header, _) = split(&file);
    assert!(header.len() < 1 << 20, "{}", header.len());
    let trace = Trace::parse(&file).unwrap();
    trace.check_commitment().unwrap();
    let count = header.matches("\"dtype\"").count(); // the model's is escaped
    assert_eq!(count, assay_trace::limits::MAX_TENSORS);
}

#[test]
fn claims_that_no_data_backs_are_refused_by_the_head() {
    let file = small();
    let (header, _) = split(&file);
    let wide = header.replace(
        "{\\\"name\\\":\\\"gate\\\",\\\"width\\\":5}",
        "{\\\"name\\\":\\\"gate\\\",\\\"width\\\":1048576}",
    );
    assert_ne!(wide, header);
    let head = [&(wide.len() as u64).to_le_bytes(), wide.as_bytes()].concat();
    assert!(matches!(
        Trace::check_head(&head, 3 << 30),
        Err(TraceError::HeaderNotCanonical { .. } | TraceError::TensorShape { .. })
    ));
    let first = *file.first_chunk().unwrap();
    let head = Trace::head_bytes(first, file.len() as u64).unwrap();
    assert_eq!(Trace::check_head(&file[..head], file.len() as u64), Ok(()));
    assert!(matches!(
        Trace::check_head(&file[..head], file.len() as u64 + 4),
        Err(TraceError::DataLength { .. })
    ));
}

fn code(file: &[u8]) -> CommitmentError {
    Trace::parse(file).unwrap().check_commitment().unwrap_err()
}

/// A prover that cannot answer the challenge says another, or opens something else under its name.
#[test]
fn challenges_are_checked() {
    let all = build(audited_spec(Keep::Everything), &[3, 0, 4]).to_bytes();
    for (lie, list) in [
        (
            (|trace| trace.linears.retain(|&(layer, _), _| layer == 1))
                as fn(&mut assay_trace::EditableTrace),
            "layers",
        ),
        (|trace| drop(trace.logits.remove(&1)), "logits"),
    ] {
        let file = reroot(&all, lie).unwrap();
        let challenge = Challenge::All;
        assert_eq!(code(&file), CommitmentError::Challenge { challenge, list });
        assert_eq!(code(&file).code(), "challenge");
    }
    let drawn = audited_example();
    let drawn_layer = drawn.manifest().linears.as_ref().unwrap().layers[0];
    let file = reroot(&all, |trace| {
        trace.manifest.linears.as_mut().unwrap().challenge = Challenge::Offline;
        trace.linears.retain(|&(layer, _), _| layer != drawn_layer);
    });
    let (challenge, list) = (Challenge::Offline, "layers");
    assert_eq!(
        code(&file.unwrap()),
        CommitmentError::Challenge { challenge, list }
    );
}
