//! Measures the calibration profile that ships with Assay and writes it to app/verify/profiles.
//!
//! Honest traces go both ways between every two devices of this machine (adapters and the CPU twins), over
//! the demo model, trained and random models of ../shared/data where they are, and a synthetic model of
//! Llama-3.2-1B's shape with `--large`; or, with `--quantised`, over quantised checkpoints and Qwen2. One small model runs at 2020 positions. Cheats are tried on the demo model.

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Numerics, Quiet};
use assay_model::quantize::{Target, write_folder, write_gguf};
use assay_model::{Dtype, Model, synth};
use assay_prove::Request;
use assay_tests::cheats::{self, Cheat};
use assay_tests::profiles::keep;
use assay_tests::{adapters, data, prover};
use assay_verify::calibrate::{Case, Kind, Plan, measure};

/// A model, its name, and the lengths (prompt, output) that are proven on it.
type Measured = (String, Model, Vec<(usize, usize)>);

fn main() {
    let mut args = std::env::args().skip(1);
    const USAGE: &str = "usage: calibrate DATE [--large | --opt | --quantised]";
    let date = args.next().expect(USAGE);
    let (large, opt, quantised) = match args.next().as_deref() {
        None => (false, false, false),
        Some("--large") => (true, false, false),
        Some("--opt") => (false, true, false),
        Some("--quantised") => (false, false, true),
        Some(_) => panic!("{USAGE}"),
    };
    let devices = adapters::devices();
    let mut pairs = Vec::new();
    for (i, (_, p)) in devices.iter().enumerate() {
        for (j, (_, v)) in devices.iter().enumerate() {
            if i != j {
                pairs.push((p.clone(), v.clone()));
            }
        }
    }
    let opt_folder = opt.then(data::demo_opt);
    let (demo_name, demo) = match &opt_folder {
        Some(folder) => ("demo-opt", Model::open(folder).expect("it loads")),
        None => ("demo-llama", Model::demo().expect("the demo model")),
    };
    let mut models: Vec<Measured> = vec![(
        demo_name.to_owned(),
        demo,
        vec![(12, 40), (40, 24), (200, 40), (440, 71)],
    )];
    let of_opt: &[(&str, &str)] = &[("opt-f32 (random)", "hf-reference/opt-f32")];
    let of_llama: &[(&str, &str)] = &[
        ("stories260K", "stories260K/stories260K.bin"),
        ("TinyStories-656K", "tinystories-656k"),
        ("llama-mha-f32 (random)", "hf-reference/llama-mha-f32"),
        ("llama3-gqa-bf16 (random)", "hf-reference/llama3-gqa-bf16"),
        (
            "llama-odd-shapes-f16 (random)",
            "hf-reference/llama-odd-shapes-f16",
        ),
        ("mistral-bf16 (random)", "hf-reference/mistral-bf16"),
    ];
    for (name, path) in if opt { of_opt } else { of_llama } {
        if let Some(path) = data::shared(path) {
            let model = Model::open(&path).expect("it loads");
            let mut lengths = vec![(20, 24), (60, 30)];
            if name.starts_with("llama3") {
                lengths.push((1960, 60));
            }
            models.push(((*name).to_owned(), model, lengths));
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    if quantised {
        models = quantised_models(folder.path());
    }
    if opt {
        // Other depths and widths than the demo's, and weights that nobody trained.
        for (name, lengths) in [
            ("tiny-opt", vec![(20, 24), (90, 30)]),
            ("opt-125m", vec![(24, 6)]),
        ] {
            let shape = synth::Shape::named(name).expect("the shape");
            let path = folder.path().join(name);
            synth::write(&shape, Dtype::BF16, 1, &path).expect("it is written");
            let model = Model::open(&path).expect("it loads");
            models.push((format!("{name} (synthetic)"), model, lengths));
        }
    }
    if large {
        let shape = synth::Shape::named("llama-3.2-1b").expect("the shape");
        let path = folder.path().join("1b");
        synth::write(&shape, Dtype::BF16, 1, &path).expect("it is written");
        models.push((
            "llama-3.2-1b (synthetic)".to_owned(),
            Model::open(&path).expect("it loads"),
            vec![(24, 6)],
        ));
    }

    let mut traces = Vec::new();
    for (m, (name, model, lengths)) in models.iter().enumerate() {
        let root = prover::root(model);
        for (l, (n_prompt, n_output)) in lengths.iter().enumerate() {
            let specs = [
                SamplerSpec::Greedy,
                SamplerSpec::Gumbel {
                    seed: 5 + l as u64,
                    temperature: 0.9,
                    top_k: 50,
                    top_p: 0.9,
                },
            ];
            for (p, (prove_on, verify_on)) in pairs.iter().enumerate() {
                let is_cpu = |d: &Device| matches!(d, Device::Cpu);
                if name.contains("1b") && (is_cpu(prove_on) || is_cpu(verify_on)) {
                    continue;
                }
                let vocab = model.config().vocab as u32;
                let prompt = (0..*n_prompt as u32)
                    .map(|i| (i * 37 + 11 * p as u32 + 3) % vocab)
                    .collect();
                let request = Request {
                    prompt,
                    max_tokens: *n_output,
                    sampler: specs[p % 2],
                    ignore_eos: true,
                    nonce: None,
                    opened: Some((0..=model.config().layers as u32).collect()),
                    audit: None,
                };
                eprintln!(
                    "{name}: {n_prompt} + {n_output} on {}",
                    prove_on.info().name
                );
                let bytes = prover::prove_as(prove_on, model, root, &request);
                traces.push((bytes, m, p, Kind::Honest));
            }
        }
    }
    let honest_root = prover::root(&models[0].1);
    for cheat in [
        Cheat::Int8,
        Cheat::Int4,
        Cheat::Fp8,
        Cheat::FineTune,
        Cheat::Other,
        Cheat::SkipLayer(3),
    ] {
        let model = match &opt_folder {
            Some(folder) => cheats::altered(folder, cheat),
            None => cheats::demo(cheat),
        };
        for (p, (prove_on, _)) in pairs.iter().enumerate() {
            let prompt = (0..64u32)
                .map(|i| (i * 53 + 29 * p as u32) % 2048)
                .collect();
            let request = Request {
                prompt,
                max_tokens: 24,
                sampler: prover::SAMPLED,
                ignore_eos: true,
                nonce: None,
                opened: None,
                audit: None,
            };
            let bytes = prover::prove_as(prove_on, &model, honest_root, &request);
            traces.push((bytes, 0, p, Kind::Cheat(cheat.name())));
        }
    }
    let cases: Vec<Case> = traces
        .iter()
        .map(|(bytes, m, p, kind)| Case {
            trace: bytes,
            model: &models[*m].1,
            model_name: &models[*m].0,
            verifier: &pairs[*p].1,
            prover: (*kind == Kind::Honest).then_some(&pairs[*p].0),
            kind: kind.clone(),
        })
        .collect();
    let plan = Plan {
        id: match (opt, quantised) {
            (true, _) => "opt-f32-2026-11",
            (_, true) => "quantised-f32-2026-11",
            _ => "f32-2026-11",
        }
        .to_owned(),
        command: "cargo run -p assay-tests --bin calibrate".to_owned()
            + match (large, opt) {
                (true, _) => " -- DATE --large",
                (_, true) => " -- DATE --opt",
                _ if quantised => " -- DATE --quantised",
                _ => " -- DATE",
            },
        date,
        headroom: 8.0,
        logit_headroom: 8.0,
        hides: Vec::new(),
        numerics: Numerics::Fast,
    };
    eprintln!("measuring {} traces", cases.len());
    let profile = pollster::block_on(measure(&cases, &plan, &mut Quiet)).expect("it measures");
    keep(profile);
}

/// Every stored type that is read, and Qwen2 beside Llama; the first is one of the demo model, on which cheats are tried.
fn quantised_models(folder: &std::path::Path) -> Vec<Measured> {
    let of_demo = || vec![(12, 40), (200, 40), (440, 71)];
    let of_others = || vec![(20, 24), (60, 30)];
    let demo = Model::demo().expect("the demo model");
    let mut models = Vec::new();
    let mut copy = |name: &str, original: &Model, target: Target, lengths| {
        let path = folder.join(format!("{name}.gguf"));
        if matches!(target, Target::Q8_0 | Target::Q4_0) {
            let mut file = std::fs::File::create_new(&path).expect("a file");
            write_gguf(original, target, None, &mut file, &mut |_, _| {}).expect("it is written");
        } else {
            write_folder(original, target, &path, &[], &mut |_, _| {}).expect("it is written");
        }
        let name = format!("{name} (rounded to nearest)");
        models.push((name, Model::open(&path).expect("it loads"), lengths));
    };
    copy("demo-llama-q8_0", &demo, Target::Q8_0, of_demo());
    copy("demo-llama-int8", &demo, Target::Int8, of_demo());
    copy("demo-llama-q4_0", &demo, Target::Q4_0, of_others());
    copy(
        "demo-llama-int4",
        &demo,
        Target::Int4Gptq { group: 64 },
        of_others(),
    );
    let qwen2 = data::shared("hf-reference/qwen2-bias-bf16");
    if let Some(path) = &qwen2 {
        let original = Model::open(path).expect("it loads");
        copy("qwen2-q8_0", &original, Target::Q8_0, of_others());
        copy("qwen2-q4_0", &original, Target::Q4_0, of_others());
        copy("qwen2-int8", &original, Target::Int8, of_others());
        copy(
            "qwen2-int4",
            &original,
            Target::Int4Gptq { group: 64 },
            of_others(),
        );
    }
    for (name, path) in [
        ("qwen2-bias-bf16 (random)", "hf-reference/qwen2-bias-bf16"),
        ("llama-gptq-int4 (random)", "hf-reference/llama-gptq-int4"),
        ("llama-awq-int4 (random)", "hf-reference/llama-awq-int4"),
        ("stories260K-q8", "stories260K/stories260K-q8.bin"),
        (
            "demo-llama-q4_k_m",
            "gguf-reference/demo-llama-q4_k_m/model.gguf",
        ),
        (
            "demo-llama-q6_k",
            "gguf-reference/demo-llama-q6_k/model.gguf",
        ),
        (
            "rand256-q6_k (random)",
            "gguf-reference/rand256-q6_k/model.gguf",
        ),
    ] {
        if let Some(path) = data::shared(path) {
            models.push((
                name.to_owned(),
                Model::open(&path).expect("it loads"),
                of_others(),
            ));
        }
    }
    models
}
