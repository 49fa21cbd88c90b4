//! Traces of products of integers: what they state, and sums in the file as the integers that they are.

use assay_trace::{
    ActivationsClaim, BuildError, Keep, Linear, Manifest, NumericsClass, PositionInput,
    SealedTrace, StateDtype, StopReason, Trace, TraceBuilder, TraceSpec, reroot,
};

use crate::sample::{Position, audited_spec, example, opening, products, replace_in_header, spec};
use crate::{python, round_trip};

/// Sums of a product at a position: of either sign, and some that no f32 holds.
fn sums(position: usize, layer: usize, product: Linear, width: usize) -> Vec<i64> {
    let n = Linear::ALL
        .iter()
        .position(|name| *name == product)
        .unwrap();
    let seed = (1 + position + 4 * layer + 8 * n) as i32;
    let sum =
        |channel: usize| (seed << 22).wrapping_mul(1 - 2 * (channel as i32 % 2)) + channel as i32;
    (0..width).map(sum).map(i64::from).collect()
}

fn integer_spec(state_dtype: StateDtype) -> TraceSpec {
    let mut spec = audited_spec(Keep::Everything);
    spec.state_dtype = state_dtype;
    spec.numerics.activations = Some(ActivationsClaim::Int8);
    spec.numerics.class = NumericsClass::Exact;
    spec
}

fn sealed(state_dtype: StateDtype) -> SealedTrace {
    let spec = integer_spec(state_dtype);
    let mut builder = TraceBuilder::new(spec.clone()).unwrap();
    for (position, token) in [1, 2, 3, 0].into_iter().enumerate() {
        let rows: Vec<Vec<Vec<i64>>> = (0..2)
            .map(|layer| {
                let of =
                    |p: &assay_trace::ProductClaim| sums(position, layer, p.name, p.width as usize);
                products().iter().map(of).collect()
            })
            .collect();
        let rows: Vec<Vec<&[i64]>> = rows
            .iter()
            .map(|layer| layer.iter().map(Vec::as_slice).collect())
            .collect();
        let position = Position::of(&spec, position);
        let taken = position.with(|input| {
            let input = PositionInput {
                linears: &[],
                sums: &rows,
                ..input
            };
            builder.push_position(token, input)
        });
        taken.unwrap();
    }
    builder.seal(4, StopReason::Eos).unwrap()
}

fn all(sealed: &SealedTrace) -> Vec<u8> {
    let opening = opening(assay_trace::Challenge::All, &[0, 1], &[0, 1, 2]);
    sealed.open(&opening).unwrap().to_bytes()
}

#[test]
fn sums_are_there_as_integers_whatever_states_are_stored_as() {
    for dtype in [StateDtype::F32, StateDtype::Bf16] {
        let file = all(&sealed(dtype));
        let trace = Trace::parse(&file).unwrap();
        trace.check_commitment().unwrap();
        assert!(trace.manifest().has_sums());
        let published = safetensors::SafeTensors::deserialize(&file).unwrap();
        for layer in 0..2 {
            for product in products() {
                let (name, width) = (product.name, product.width as usize);
                let tensor = published
                    .tensor(&format!("linears.{layer:05}.{name}"))
                    .unwrap();
                assert_eq!(tensor.dtype(), safetensors::Dtype::I32);
                assert_eq!(tensor.shape(), [4, width]);
                for position in 0..4 {
                    let want = sums(position, layer as usize, name, width);
                    assert_eq!(trace.linear_sums(layer, name, position), Some(want));
                    assert_eq!(trace.linear_row(layer, name, position), None);
                }
                assert_eq!(trace.linear_sums(layer, name, 4), None);
                assert_eq!(trace.linear_values(layer, name), None);
            }
        }
        // One byte form: that of the published crate.
        assert_eq!(round_trip::published(&file), file);
    }
}

#[test]
fn python_reads_them() {
    let file = all(&sealed(StateDtype::F32));
    let Some(output) = python::read("sums.trace", &file) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{err}");
    assert!(
        text.contains("exact, compute f32, inputs of products rounded: int8"),
        "{text}"
    );
    // One unit of one sum, hashes left as they were.
    let mut wrong = file.clone();
    let published = safetensors::SafeTensors::deserialize(&file).unwrap();
    let tensor = published.tensor("linears.00001.up").unwrap();
    let at = tensor.data().as_ptr() as usize - file.as_ptr() as usize;
    wrong[at] ^= 1;
    let output = python::read("sums-wrong.trace", &wrong).unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("linear-digest"));
    let ours = Trace::parse(&wrong)
        .unwrap()
        .check_commitment()
        .unwrap_err();
    assert_eq!(ours.code(), "linear-digest");
}

#[test]
fn statements_are_read_strictly() {
    let file = example().to_bytes();
    let manifest = Trace::parse(&file).unwrap().manifest().clone();
    assert_eq!(manifest.numerics.activations, None);
    assert!(!manifest.canonical_json().contains("activations"));
    for claim in [
        ActivationsClaim::Blocks,
        ActivationsClaim::Int8,
        ActivationsClaim::Ggml,
    ] {
        let mut stated = manifest.clone();
        stated.numerics.activations = Some(claim);
        let json = stated.canonical_json();
        assert!(json.contains(&format!(
            r#""numerics":{{"activations":"{}","class""#,
            claim.name()
        )));
        assert_eq!(Manifest::parse(&json).unwrap(), stated);
        assert_ne!(stated.commitment(), manifest.commitment());
    }
    let known = r#""numerics":{"class""#;
    for (unknown, python_too) in [
        (r#""numerics":{"activations":null,"class""#, true),
        (r#""numerics":{"activations":"float","class""#, true),
        (r#""numerics":{"activations":"int4","class""#, false),
        (r#""numerics":{"activation":"int8","class""#, false),
    ] {
        let json = manifest.canonical_json().replacen(known, unknown, 1);
        assert!(Manifest::parse(&json).is_err(), "{unknown}");
        let escape = |text: &str| text.replace('"', r#"\""#);
        let file = replace_in_header(&file, &escape(known), &escape(unknown));
        assert!(Trace::parse(&file).is_err(), "{unknown}");
        if python_too && let Some(output) = python::read("statement.trace", &file) {
            assert_eq!(output.status.code(), Some(1), "{unknown}");
        }
    }
}

#[test]
fn a_builder_takes_the_kind_that_the_spec_says() {
    let rows: Vec<Vec<i64>> = products()
        .iter()
        .map(|p| vec![1; p.width as usize])
        .collect();
    let layer: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
    let sums = [layer.clone(), layer];
    let push = |spec: TraceSpec, both: bool| {
        let mut builder = TraceBuilder::new(spec.clone()).unwrap();
        Position::of(&spec, 0).with(|input| {
            let input = PositionInput {
                linears: if both { input.linears } else { &[] },
                sums: &sums,
                ..input
            };
            builder.push_position(1, input)
        })
    };
    let count =
        |result: Result<(), BuildError>| matches!(result, Err(BuildError::LinearCount { .. }));
    assert!(push(integer_spec(StateDtype::F32), false).is_ok());
    assert!(count(push(integer_spec(StateDtype::F32), true)));
    assert!(count(push(audited_spec(Keep::Everything), true)));
    assert!(count(push(spec(), false)));
}

#[test]
fn a_forger_can_change_them_and_what_it_leaves_out_is_missed() {
    let file = all(&sealed(StateDtype::F32));
    let at = (1, Linear::K);
    let lie = reroot(&file, |t| t.sums.get_mut(&at).unwrap()[0] -= 1).unwrap();
    let trace = Trace::parse(&lie).unwrap();
    trace.check_commitment().unwrap();
    let honest = Trace::parse(&file).unwrap();
    let first = |t: &Trace<'_>| t.linear_sums(1, Linear::K, 0).unwrap()[0];
    assert_eq!(first(&trace), first(&honest) - 1);
    assert_ne!(trace.manifest().root, honest.manifest().root);
    assert!(reroot(&file, |t| drop(t.sums.remove(&at))).is_err());
    // Integers that are said to be floats are floats, and must then be numbers.
    let said = reroot(&file, |t| t.manifest.numerics.activations = None);
    assert!(said.is_err(), "there are no values to write");
}

/// A trace of one row of sums in fixed point.
fn fixed(sum: i64) -> Result<Vec<u8>, BuildError> {
    let mut spec = integer_spec(StateDtype::F32);
    spec.numerics.activations = Some(ActivationsClaim::Blocks);
    let mut builder = TraceBuilder::new(spec.clone())?;
    let rows: Vec<Vec<i64>> = products()
        .iter()
        .map(|p| vec![sum; p.width as usize])
        .collect();
    let layer: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
    let sums = [layer.clone(), layer];
    for (position, token) in [1, 2, 3, 0].into_iter().enumerate() {
        Position::of(&spec, position).with(|input| {
            let input = PositionInput {
                linears: &[],
                sums: &sums,
                ..input
            };
            builder.push_position(token, input)
        })?;
    }
    Ok(all(&builder.seal(4, StopReason::Eos)?))
}

#[test]
fn sums_in_fixed_point_have_64_bits() {
    for sum in [0, -1, i64::MAX, -i64::MAX, 1 << 40] {
        let file = fixed(sum).unwrap();
        let trace = Trace::parse(&file).unwrap();
        trace.check_commitment().unwrap();
        assert!(trace.manifest().has_sums());
        assert_eq!(trace.manifest().linear_bytes(), 8);
        let published = safetensors::SafeTensors::deserialize(&file).unwrap();
        let tensor = published.tensor("linears.00001.up").unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::I64);
        let width = tensor.shape()[1];
        assert_eq!(trace.linear_sums(1, Linear::Up, 3), Some(vec![sum; width]));
        assert_eq!(trace.linear_row(1, Linear::Up, 3), None);
        assert_eq!(round_trip::published(&file), file);
        if let Some(output) = python::read("fixed.trace", &file) {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}");
            assert!(
                text.contains("inputs of products rounded: blocks"),
                "{text}"
            );
        }
    }
}

/// The least number of 64 bits stands for a sum that does not fit: a builder refuses it, and a reader.
#[test]
fn a_sum_that_is_none_is_refused() {
    let refused = fixed(assay_trace::NO_SUM).unwrap_err();
    assert!(matches!(refused, BuildError::NonFiniteLinear { .. }));
    let lie = reroot(&fixed(5).unwrap(), |t| {
        t.sums.get_mut(&(1, Linear::K)).unwrap()[3] = assay_trace::NO_SUM;
    });
    let lie = lie.unwrap();
    let found = Trace::parse(&lie).unwrap_err();
    assert!(
        found.to_string().contains("output of `k` in layer 1"),
        "{found}"
    );
    if let Some(output) = python::read("no-sum.trace", &lie) {
        assert_eq!(output.status.code(), Some(1));
    }
    // Of 32 bits what does not fit is refused where it is made.
    let spec = integer_spec(StateDtype::F32);
    let rows: Vec<Vec<i64>> = products()
        .iter()
        .map(|p| vec![i64::from(i32::MAX) + 1; p.width as usize])
        .collect();
    let layer: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
    let sums = [layer.clone(), layer];
    let mut builder = TraceBuilder::new(spec.clone()).unwrap();
    let pushed = Position::of(&spec, 0).with(|input| {
        let input = PositionInput {
            linears: &[],
            sums: &sums,
            ..input
        };
        builder.push_position(1, input)
    });
    assert!(matches!(pushed, Err(BuildError::NonFiniteLinear { .. })));
}

#[test]
fn sums_of_another_type_are_refused() {
    let (narrow, wide) = (all(&sealed(StateDtype::F32)), fixed(7).unwrap());
    let word = |name: &str| format!(r#"\"activations\":\"{name}\""#);
    for (file, from, to) in [(&narrow, "int8", "blocks"), (&wide, "blocks", "int8")] {
        // Another claim over the same tensors, and other tensors under the same claim.
        let claimed = replace_in_header(file, &word(from), &word(to));
        assert!(Trace::parse(&claimed).is_err(), "{from} as {to}");
    }
    let narrowed = replace_in_header(&wide, r#""dtype":"I64""#, r#""dtype":"I32""#);
    assert!(Trace::parse(&narrowed).is_err());
    let widened = replace_in_header(&narrow, r#""dtype":"I32""#, r#""dtype":"I64""#);
    assert!(Trace::parse(&widened).is_err());
}
