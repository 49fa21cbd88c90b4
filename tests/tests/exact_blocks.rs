//! Products in fixed point beyond Q8_0: every stored type, mixed files, what does not fit, and how near the numbers are.

use assay_engine::{ActivationType, Device, Engine, EngineError, Numerics, Quiet};
use assay_key::{KeyMaker, KeyOptions, Seed};
use assay_model::quantize::{Target, write_folder};
use assay_model::{Dtype, LayerRole, Model};
use assay_prove::{Open, ProveError, prove};
use assay_tests::adapters;
use assay_tests::data::shared;
use assay_tests::exact::{BLOCKS, Case, asked, judged_with, make_key, outcome, request};
use assay_tests::logits::{distance, logits};
use assay_tests::prover::{self, prove_rounding, root};
use assay_trace::{ActivationsClaim, Linear, Trace, reroot};
use assay_verify::{Outcome, Verdict};

const MODE: ActivationType = ActivationType::Blocks;

static Q4_0: Case = Case::new(MODE, Target::Q4_0);
static INT4: Case = Case::new(MODE, Target::Int4Gptq { group: 64 });

/// Proved on every device with the same root, verified and audited on every device, and found with one unit of one sum changed.
fn holds(model: &Model) {
    let key = make_key(model, MODE);
    let prove_on = |device: &Device| {
        let request = request(Some(Open::All));
        prove_rounding(device, model, root(model), &request, Numerics::Strict, MODE)
    };
    let honest = prove_on(&Device::Cpu);
    let parsed = Trace::parse(&honest).expect("it parses");
    for (name, device) in adapters::devices() {
        let trace = prove_on(&device);
        let here = Trace::parse(&trace).expect("it parses");
        assert_eq!(here.manifest().root, parsed.manifest().root, "{name}");
        let report = prover::verify(&device, model, &honest, &asked(MODE));
        assert_eq!(
            report.verdict,
            Verdict::Accept,
            "{name}: {}",
            report.summary
        );
        assert_eq!(outcome(&report, "strict"), "Pass ok");
        let report = judged_with(&key, &device, &honest, &asked(MODE));
        assert_eq!(
            report.verdict,
            Verdict::Accept,
            "{name}: {}",
            report.summary
        );
        assert_eq!(outcome(&report, "linear-layers"), "Pass ok");
    }
    let layers = model.config().layers as u32;
    for (i, linear) in (0..).zip(Linear::ALL) {
        let trace = reroot(&honest, |t| {
            t.sums.get_mut(&(i % layers, linear)).expect("open")[i as usize] += 1;
        });
        let trace = trace.expect("it seals");
        let report = judged_with(&key, &Device::Cpu, &trace, &asked(MODE));
        let failed = report.checks.iter().find(|c| c.outcome == Outcome::Fail);
        assert_eq!(failed.expect("a failed check").code, "exact-product");
    }
}

#[test]
fn four_bits_hold_in_blocks_and_in_groups() {
    holds(Q4_0.model());
    holds(INT4.model());
}

/// llama.cpp's own mixture: Q5_0, Q8_0, Q4_K and Q6_K in one file.
#[test]
fn a_mixed_file_of_llama_cpps_holds() {
    let Some(folder) = shared("gguf-reference/demo-llama-q4_k_m") else {
        return;
    };
    let model = Model::open(&folder.join("model.gguf")).expect("it opens");
    let mut types: Vec<&str> = (0..model.config().layers)
        .flat_map(|l| LayerRole::LINEARS.map(|role| model.layer(l, role)))
        .flatten()
        .map(|tensor| tensor.dtype.as_str())
        .collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types, ["q4_k", "q5_0", "q6_k", "q8_0"]);
    holds(&model);
}

/// Rounding inputs to 8 bits moves logits by half a percent or so; a wrong scale, or a sum that was cut, by all of them.
#[test]
fn numbers_are_near_those_of_floats() {
    for (name, case) in [("q8_0", &BLOCKS), ("q4_0", &Q4_0), ("int4", &INT4)] {
        let ids = request(None).prompt;
        let float = logits(&Device::Cpu, case.model(), &ids, ActivationType::Float);
        let fixed = logits(&Device::Cpu, case.model(), &ids, MODE);
        let off = distance(&fixed, &float);
        println!("{name}: {off:.2e} from floats");
        assert!((1e-5..2e-2).contains(&off), "{name}: {off}");
    }
}

/// A copy of the Q8_0 model whose layer 1 multiplies by the largest scales that there are.
fn overflowing() -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = Model::demo().expect("the demo model");
    let path = folder.path().join("model.gguf");
    let mut file = std::fs::File::create_new(&path).expect("a file");
    assay_model::quantize::write_gguf(&demo, Target::Q8_0, None, &mut file, &mut |_, _| {})
        .expect("it is written");
    let model = Model::open(&path).expect("it opens");
    let tensor = model.layer(1, LayerRole::Down).expect("the matrix");
    let stored = model.read(tensor, 0, tensor.bytes as usize);
    let stored = stored.expect("it reads").into_owned();
    let mut bytes = std::fs::read(&path).expect("it reads");
    let mut found = bytes.windows(stored.len()).enumerate();
    let at = found
        .find(|(_, window)| *window == stored)
        .expect("it is there")
        .0;
    for block in bytes[at..at + stored.len()].chunks_mut(34) {
        block[..2].copy_from_slice(&0x7BFF_u16.to_le_bytes());
    }
    std::fs::write(&path, bytes).expect("it writes");
    (folder, Model::open(&path).expect("it opens"))
}

/// A sum that 64 bits do not hold is an error of the prover's, with sums in the trace and without; never a number.
#[test]
fn sums_that_do_not_fit_are_errors() {
    let (_folder, model) = overflowing();
    for (name, device) in adapters::devices() {
        for open in [None, Some(Open::All)] {
            let request = request(open);
            let capacity = request.capacity(model.config());
            let (strict, mut quiet) = (Numerics::Strict, Quiet);
            let engine =
                Engine::load_rounding(&device, &model, capacity, strict, MODE, None, &mut quiet);
            let mut engine = pollster::block_on(engine).expect("the model loads");
            let proved = prove(&mut engine, &model, root(&model), &request, &mut quiet);
            let error = pollster::block_on(proved).expect_err("it does not fit");
            println!("{name}: {error}");
            let is_typed = matches!(
                error,
                ProveError::Engine(EngineError::NonFinite { .. }) | ProveError::Build(_)
            );
            assert!(is_typed, "{name}: {error:?}");
        }
    }
}

#[test]
fn types_that_are_no_fixed_point_are_refused_by_name() {
    // Groups of 8, and a scale a row.
    let folder = tempfile::tempdir().expect("a folder");
    let demo = Model::demo().expect("the demo model");
    for (name, target, stored) in [
        ("int4", Target::Int4Gptq { group: 16 }, "stored as int4"),
        ("int8", Target::Int8, "stored as int8"),
    ] {
        let path = folder.path().join(name);
        write_folder(&demo, target, &path, &[], &mut |_, _| {}).expect("it is written");
        let model = Model::open(&path).expect("it opens");
        let error = MODE.check(&model).expect_err("no fixed point").to_string();
        assert!(
            error.contains(stored) && error.contains("q_proj"),
            "{error}"
        );
        let options = KeyOptions {
            activations: Some(ActivationsClaim::Blocks),
            ..KeyOptions::default()
        };
        let seed = Seed::from_os().expect("randomness");
        let error = KeyMaker::new(&model, root(&model), seed, &options).expect_err("likewise");
        assert_eq!(error.code(), "stored-type");
    }
    assert!(!Dtype::Int4Ordered { groups: 6 }.is_fixed_point(192));
}
