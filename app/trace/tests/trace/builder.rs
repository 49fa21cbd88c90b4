//! The builder: rounding, streaming, and a refusal for everything that a reader would refuse.

use assay_trace::{
    BuildError, Digest, Keep, PositionInput, PositionRecord, StateDtype, StopReason, Trace,
    TraceBuilder, TraceError,
};

use crate::sample::{
    Position, audited_example, audited_run, audited_spec, build, logits, spec, state,
};

fn rows(position: usize) -> Vec<Vec<f32>> {
    (0..3).map(|layer| state(position, layer, 3)).collect()
}

fn slices(rows: &[Vec<f32>]) -> Vec<&[f32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// The error of pushing token 1 at position 0 with these rows and no logits.
fn push_error(rows: &[Vec<f32>]) -> BuildError {
    TraceBuilder::new(spec())
        .unwrap()
        .push(1, &slices(rows), None)
        .unwrap_err()
}

/// A builder whose prompt is complete but for its last position.
fn at_last_prompt_position() -> TraceBuilder {
    let mut builder = TraceBuilder::new(spec()).unwrap();
    builder.push(1, &slices(&rows(0)), None).unwrap();
    builder
}

#[test]
fn records_made_elsewhere_give_the_same_file() {
    for spec in [spec(), audited_spec(Keep::Everything)] {
        let mut builder = TraceBuilder::new(spec.clone()).unwrap();
        let plan = builder.plan();
        let records: Vec<PositionRecord> = std::thread::scope(|scope| {
            let compute = |position: usize| {
                let (plan, spec) = (&plan, &spec);
                scope.spawn(move || {
                    Position::of(spec, position)
                        .with(|input| PositionRecord::compute(plan, position as u32, input))
                })
            };
            let threads: Vec<_> = (0..4).map(compute).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for (token, record) in [1, 2, 3, 0].into_iter().zip(records) {
            builder.push_record(token, record).unwrap();
        }
        assert_eq!(builder.positions(), 4);
        let want = build(spec, &[3, 0, 4]).to_bytes();
        assert_eq!(builder.finish(4, StopReason::Eos).unwrap().to_bytes(), want);
    }
}

#[test]
fn states_are_rounded_to_nearest_even_before_hashing() {
    // 1 + 2^-8 lies halfway between two bf16 values, and 1 + 3 * 2^-8 halfway between the next two.
    assert_eq!(
        StateDtype::Bf16.encode(&[1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0]),
        [0x80, 0x3f, 0x82, 0x3f]
    );
    assert_eq!(
        StateDtype::F16.encode(&[1.0 + 1.0 / 2048.0, -2.0]),
        [0x00, 0x3c, 0x00, 0xc0]
    );
    assert_eq!(StateDtype::F32.encode(&[1.0]), [0, 0, 0x80, 0x3f]);
    let mut builder = at_last_prompt_position();
    let mut rows = rows(1);
    rows[0] = vec![1.0 + 1.0 / 256.0; 3];
    builder
        .push(2, &slices(&rows), Some(&logits(1, 5)))
        .unwrap();
    let file = builder.finish(0, StopReason::Length).unwrap().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    assert_eq!(trace.state_row(0, 1).unwrap(), [1.0; 3]);
    assert_eq!(
        trace.state_digest(0, 1),
        Digest::of(&[0x80, 0x3f, 0x80, 0x3f, 0x80, 0x3f])
    );
    trace.check_commitment().unwrap();
}

#[test]
fn one_output_token_and_nothing_opened() {
    let mut spec = spec();
    (spec.prompt, spec.opened) = (vec![0], Vec::new());
    let file = build(spec, &[4]).to_bytes();
    let trace = Trace::parse(&file).unwrap();
    trace.check_commitment().unwrap();
    assert_eq!(trace.positions(), 1);
}

#[test]
fn bad_specs_are_refused() {
    let error = |edit: &dyn Fn(&mut assay_trace::TraceSpec)| {
        let mut spec = spec();
        edit(&mut spec);
        TraceBuilder::new(spec).unwrap_err()
    };
    let range = error(&|s| s.prompt.clear());
    assert!(
        matches!(
            range,
            BuildError::Structure(TraceError::Range {
                field: "prompt.tokens",
                ..
            })
        ),
        "{range}"
    );
    let token = error(&|s| s.prompt[1] = 5);
    assert_eq!(
        token,
        TraceError::TokenRange {
            index: 1,
            got: 5,
            vocab: 5
        }
        .into()
    );
    let opened = error(&|s| s.opened = vec![2, 0]);
    assert_eq!(
        opened,
        TraceError::NotAscending {
            field: "opened",
            index: 1
        }
        .into()
    );
}

#[test]
fn bad_rows_are_refused() {
    let good = rows(0);
    assert_eq!(
        push_error(&good[..2]),
        BuildError::StateCount {
            position: 0,
            got: 2,
            want: 3
        }
    );
    let mut wide = good.clone();
    wide[1].push(0.0);
    assert_eq!(
        push_error(&wide),
        BuildError::StateWidth {
            layer: 1,
            position: 0,
            got: 4,
            want: 3
        }
    );
    let mut infinite = good;
    infinite[1][2] = f32::MAX; // rounds up to infinity in bf16, although layer 1 is not opened
    assert_eq!(
        push_error(&infinite),
        BuildError::NonFiniteState {
            layer: 1,
            position: 0,
            channel: 2
        }
    );
}

#[test]
fn bad_tokens_are_refused() {
    let rows = rows(0);
    let mut builder = TraceBuilder::new(spec()).unwrap();
    let wrong = builder.push(2, &slices(&rows), None).unwrap_err();
    assert_eq!(
        wrong,
        BuildError::PromptToken {
            position: 0,
            got: 2,
            want: 1
        }
    );
    let outside = builder.push(5, &slices(&rows), None).unwrap_err();
    assert_eq!(
        outside,
        TraceError::TokenRange {
            index: 0,
            got: 5,
            vocab: 5
        }
        .into()
    );
}

#[test]
fn logits_stand_where_tokens_are_chosen() {
    let rows = rows(1);
    let mut first = TraceBuilder::new(spec()).unwrap();
    let early = first
        .push(1, &slices(&rows), Some(&logits(0, 5)))
        .unwrap_err();
    assert_eq!(early, BuildError::UnexpectedLogits { position: 0 });
    let mut builder = at_last_prompt_position();
    let push = |builder: &mut TraceBuilder, logits: Option<&[f32]>| {
        builder.push(2, &slices(&rows), logits)
    };
    assert_eq!(
        push(&mut builder, None),
        Err(BuildError::MissingLogits { position: 1 })
    );
    assert_eq!(
        push(&mut builder, Some(&[0.0; 4])),
        Err(BuildError::LogitsWidth {
            position: 1,
            got: 4,
            want: 5
        })
    );
    let nan = [0.0, 0.0, f32::NAN, 0.0, 0.0];
    assert_eq!(
        push(&mut builder, Some(&nan)),
        Err(BuildError::NonFiniteLogits {
            position: 1,
            token: 2
        })
    );
    assert_eq!(push(&mut builder, Some(&[0.0; 5])), Ok(())); // the refusals left it as it was
}

#[test]
fn foreign_records_are_refused() {
    let first = |spec: &assay_trace::TraceSpec, position: u32| {
        let plan = TraceBuilder::new(spec.clone()).unwrap().plan();
        Position::of(spec, 0).with(|input| PositionRecord::compute(&plan, position, input))
    };
    let mut others = vec![spec(), spec(), spec(), audited_spec(Keep::Everything)];
    others[0].state_dtype = StateDtype::F32;
    others[1].opened = vec![0, 1];
    others[2].prompt = vec![1, 2, 3];
    for other in others {
        let record = first(&other, 0);
        let error = TraceBuilder::new(spec())
            .unwrap()
            .push_record(1, record)
            .unwrap_err();
        assert_eq!(error, BuildError::RecordMismatch { position: 0 });
    }
    let mut builder = TraceBuilder::new(spec()).unwrap();
    let late = builder.push_record(1, first(&spec(), 1)).unwrap_err();
    assert_eq!(
        late,
        BuildError::RecordPosition {
            position: 0,
            got: 1
        }
    );
    builder.push_record(1, first(&spec(), 0)).unwrap(); // the refusal left it as it was
}

#[test]
fn any_position_number_is_safe() {
    let plan = TraceBuilder::new(spec()).unwrap().plan();
    for position in [0, 1, u32::MAX - 1, u32::MAX] {
        PositionRecord::compute(&plan, position, PositionInput::default());
        Position::of(&spec(), 1).with(|input| PositionRecord::compute(&plan, position, input));
    }
}

/// The error of pushing the audited example's first position after `edit`.
fn linear_error(edit: impl FnOnce(&mut Position)) -> BuildError {
    let spec = audited_spec(Keep::Everything);
    let mut position = Position::of(&spec, 0);
    edit(&mut position);
    let mut builder = TraceBuilder::new(spec).unwrap();
    position
        .with(|input| builder.push_position(1, input))
        .unwrap_err()
}

#[test]
fn bad_linear_outputs_are_refused() {
    assert_eq!(
        linear_error(|p| drop(p.linears.pop())),
        BuildError::LinearCount {
            position: 0,
            got: 1,
            want: 2
        }
    );
    assert_eq!(
        linear_error(|p| drop(p.linears[1].pop())),
        BuildError::ProductCount {
            layer: 1,
            position: 0,
            got: 6,
            want: 7
        }
    );
    assert_eq!(
        linear_error(|p| p.linears[1][5].push(0.0)),
        BuildError::LinearWidth {
            layer: 1,
            product: assay_trace::Linear::Up,
            position: 0,
            got: 6,
            want: 5
        }
    );
    assert_eq!(
        linear_error(|p| p.linears[0][1][1] = f32::MAX), // rounds up to infinity in bf16
        BuildError::NonFiniteLinear {
            layer: 0,
            product: assay_trace::Linear::K,
            position: 0,
            channel: 1
        }
    );
    let with = Position::of(&audited_spec(Keep::Everything), 0);
    let mut without = TraceBuilder::new(spec()).unwrap();
    assert_eq!(
        with.with(|input| without.push_position(1, input)),
        Err(BuildError::LinearCount {
            position: 0,
            got: 2,
            want: 0
        })
    );
    let mut builder = TraceBuilder::new(audited_spec(Keep::Everything)).unwrap();
    assert_eq!(
        builder.push(1, &slices(&rows(0)), None),
        Err(BuildError::LinearCount {
            position: 0,
            got: 0,
            want: 2
        })
    );
}

#[test]
fn bad_linears_in_a_spec_are_refused() {
    let error = |layers: &[u32], logits: &[u32]| {
        let (layers, logits) = (layers.to_vec(), logits.to_vec());
        TraceBuilder::new(audited_spec(Keep::Only { layers, logits })).unwrap_err()
    };
    let field = |field, max, got| {
        let (got, min) = (got, 0);
        TraceError::Range {
            field,
            got,
            min,
            max,
        }
        .into()
    };
    assert_eq!(error(&[2], &[]), field("linears.layers", 1, 2));
    assert_eq!(
        error(&[u32::MAX], &[]),
        field("linears.layers", 1, u32::MAX.into())
    );
    let ascending = |field| TraceError::NotAscending { field, index: 1 }.into();
    assert_eq!(error(&[1, 0], &[]), ascending("linears.layers"));
    assert_eq!(error(&[], &[3, 3]), ascending("linears.logits"));
    let mut spec = audited_spec(Keep::Everything);
    spec.linears.as_mut().unwrap().products.pop();
    assert_eq!(
        TraceBuilder::new(spec).unwrap_err(),
        TraceError::MissingProduct {
            product: assay_trace::Linear::Down
        }
        .into()
    );
}

/// A header is refused above its cap, so a builder must not make one.
#[test]
fn too_many_rows_of_logits_are_refused() {
    let mut spec = audited_spec(Keep::Everything);
    (spec.model.hidden, spec.model.layers, spec.model.vocab) = (1, 1, 1);
    (spec.prompt, spec.eos, spec.opened) = (vec![0], vec![], vec![]);
    for product in &mut spec.linears.as_mut().unwrap().products {
        product.width = 1;
    }
    let position = Position::of(&spec, 0);
    let mut builder = TraceBuilder::new(spec).unwrap();
    let plan = builder.plan();
    position.with(|input| {
        for at in 0..620_000 {
            let record = PositionRecord::compute(&plan, at, input);
            builder.push_record(0, record).unwrap();
        }
    });
    let sealed = builder.seal(0, StopReason::Length).unwrap();
    let rows = |count: u32| assay_trace::Opening {
        logits: (0..count).collect(),
        ..assay_trace::Opening::default()
    };
    let error = sealed.open(&rows(620_000)).unwrap_err();
    assert!(
        matches!(
            error,
            BuildError::Structure(TraceError::HeaderTooLarge { .. })
        ),
        "{error}"
    );
    let file = sealed.open(&rows(500_000)).unwrap().to_bytes();
    assert!(Trace::parse(&file).is_ok());
}

#[test]
fn a_sealed_run_says_what_it_holds() {
    let run = audited_run();
    assert_eq!(run.output_tokens(), 3);
    assert_eq!(run.root(), audited_example().root());
    let rows = 4 * (3 * 3 + 2 * 24) * 2 + 3 * 5 * 4; // states and linears in bf16, logits in f32
    let digests = 32 * (4 * 3 + 4 * 2 + 3);
    assert_eq!(run.retained_bytes(), rows + digests + 5 * 4);
}

#[test]
fn finish_needs_the_whole_prompt_and_a_real_token() {
    let error = at_last_prompt_position()
        .finish(0, StopReason::Length)
        .unwrap_err();
    assert_eq!(error, BuildError::Unfinished { got: 1, want: 2 });
    let mut builder = at_last_prompt_position();
    builder
        .push(2, &slices(&rows(1)), Some(&logits(1, 5)))
        .unwrap();
    let error = builder.finish(5, StopReason::Length).unwrap_err();
    assert_eq!(
        error,
        TraceError::TokenRange {
            index: 2,
            got: 5,
            vocab: 5
        }
        .into()
    );
}
