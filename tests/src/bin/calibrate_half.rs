//! Measures the profiles of provers in half precision and writes them to app/verify/profiles.
//!
//! `calibrate_half DATE (bf16 | f16) [FOLDER] [--large]`, `... --cheats` to try only cheats, on the profile that is there, or `... --suspects` to
//! print how all of them lean towards quantised copies (docs/detection.md), or `... --write-models DIR` to write the models in f16 that torch is to run.
//! Honest provers are the plain CPU pass, with its gated product rounded twice and
//! once and with sums in four rounded parts, and whatever stands in FOLDER: traces by others, `MODEL--*.bin`, such as those that provers/transformers/tests/calibration.sh
//! makes with torch. Each is verified on every device of this machine. Cheats are tried on the demo model. Prints, beside what `calibrate`
//! prints, the mean distance of each honest implementation and cheat, which says how far apart they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use assay_engine::sampler::SamplerSpec;
use assay_engine::{CacheFormat, Device, Numerics, Quiet, Rounding};
use assay_experiment::alter::Weights;
use assay_experiment::plain::{Alter, Plain};
use assay_model::rounded::Format;
use assay_model::{Dtype, Model, synth};
use assay_prove::Request;
use assay_tests::cheats::{self, Cheat};
use assay_tests::profiles::keep;
use assay_tests::{adapters, data, prover};
use assay_trace::Trace;
use assay_verify::Suspect;
use assay_verify::calibrate::{Case, Kind, Plan, measure, try_cheats};
use assay_verify::suspects::{Finding, Lean, Ran};

/// A model, its name, and the lengths (prompt, output) that are proven on it.
type Measured = (String, Model, Vec<(usize, usize)>);

/// A trace, its model's index, and what it is.
struct Made {
    bytes: Vec<u8>,
    model: usize,
    kind: Kind,
    /// What made it.
    by: String,
}

fn main() {
    let mut args = std::env::args().skip(1).collect::<Vec<_>>();
    const USAGE: &str = "usage: calibrate_half DATE (bf16 | f16) [FOLDER] [--large] [--cheats | --suspects | --write-models DIR]";
    let mut has = |flag: &str| match args.iter().position(|a| a == flag) {
        Some(at) => args.remove(at) == flag,
        None => false,
    };
    let (large, only_cheats, suspects) = (has("--large"), has("--cheats"), has("--suspects"));
    let (date, word) = match &args[..] {
        [date, word, ..] => (date.clone(), word.clone()),
        _ => panic!("{USAGE}"),
    };
    let rounding = match word.as_str() {
        "bf16" => Rounding::Bf16,
        "f16" => Rounding::F16,
        _ => panic!("{USAGE}"),
    };
    if let Some(at) = args.iter().position(|a| a == "--write-models") {
        let to = args.get(at + 1).expect(USAGE);
        std::fs::create_dir_all(to).expect("a folder");
        let written = models(rounding, Path::new(to), large);
        return eprintln!("{} models in {to}", written.len());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let models = models(rounding, folder.path(), large);
    let mut made = Vec::new();
    for (m, (name, model, lengths)) in models.iter().enumerate() {
        if !only_cheats {
            eprintln!("{name}");
            let asked = lengths.iter().enumerate();
            let asked = asked.map(|(l, length)| {
                std::array::from_fn(|way| request(model, *length, WAYS.len() * l + way))
            });
            let mut asked: Vec<[Request; WAYS.len()]> = asked.collect();
            if m == 0 {
                asked.extend(of_text(model));
            }
            plain_traces(&mut made, m, model, &asked, rounding);
        }
    }
    if let Some(folder) = args.get(2) {
        others(&mut made, &models, rounding, Path::new(folder));
    }
    dishonest(&mut made, &models[0].1, rounding);
    let devices = adapters::devices();
    if suspects {
        return lean(&made, &models, &devices);
    }
    let cases: Vec<Case> = made
        .iter()
        .enumerate()
        .flat_map(|(i, one)| {
            // A large model takes minutes a run.
            let all = devices.iter().map(|(_, device)| device);
            let some = all.skip(if one.model < 4 { 0 } else { i % 2 });
            let most = if one.model < 4 { devices.len() } else { 1 };
            some.take(most)
                .map(|device| (one, device))
                .collect::<Vec<_>>()
        })
        .map(|(one, verifier)| Case {
            trace: &one.bytes,
            model: &models[one.model].1,
            model_name: &models[one.model].0,
            verifier,
            prover: needs_logits(one).then_some(verifier),
            kind: one.kind.clone(),
        })
        .collect();
    let may_hide = ["int8", "fine_tune_1_percent", "int8 KV", "fp8 KV"].map(str::to_owned);
    if only_cheats {
        let id = format!("{word}-2026-11");
        let mut known = assay_tests::profiles::kept().into_iter();
        let mut profile = known.find(|p| p.id == id).expect("a profile of that name");
        let (numerics, mut quiet) = (Numerics::Fast, Quiet);
        let tried = try_cheats(&mut profile, &cases, &may_hide, numerics, &mut quiet);
        pollster::block_on(tried).expect("it measures");
        apart(&made, &models, &devices[0].1);
        return keep(profile);
    }
    let plan = Plan {
        id: format!("{word}-2026-11"),
        command: format!("cargo run -p assay-tests --bin calibrate_half -- DATE {word} FOLDER"),
        date,
        headroom: HEADROOM,
        logit_headroom: LOGIT_HEADROOM,
        hides: may_hide.to_vec(),
        numerics: Numerics::Fast,
    };
    eprintln!("measuring {} cases", cases.len());
    let profile = pollster::block_on(measure(&cases, &plan, &mut Quiet)).expect("it measures");
    for (limit, name) in profile
        .limits
        .rel_l2
        .iter()
        .zip(["first", "next"].iter().cycle())
    {
        eprintln!("{name} bucket, to layer {}: {limit:?}", limit.to_layer);
    }
    apart(&made, &models, &devices[0].1);
    keep(profile);
}

/// Single rows of hidden states have a long tail: of 94,000 rows behind the first layer that `assay experiment detection --honest 2000` made of real
/// text, nine were beyond 1.5 times what was the largest here, and one at 1.7 times it. Whatever is a cheat by single rows is ten times as far.
const HEADROOM: f64 = 3.0;

/// Half precision leaves less room than f32: what differs between devices is what they round, which is measured, and hardly what they add
/// in another order.
const LOGIT_HEADROOM: f64 = 1.5;

/// Traces of real text on the demo model; prompt and output.
const OF_TEXT: usize = 8;
const LENGTHS_OF_TEXT: (usize, usize) = (200, 40);

/// The plain pass has no device that makes its logits again; the emulation does.
fn needs_logits(one: &Made) -> bool {
    one.by.starts_with("plain")
}

fn models(rounding: Rounding, folder: &Path, large: bool) -> Vec<Measured> {
    let of_demo = vec![(12, 40), (40, 24), (200, 40), (440, 71)];
    let of_others = || vec![(20, 24), (60, 30)];
    let mut models = Vec::new();
    let dtype = match rounding {
        Rounding::F16 => Dtype::F16,
        _ => Dtype::BF16,
    };
    let shared = [
        "llama3-gqa-bf16",
        "mistral-bf16",
        "qwen2-bias-bf16",
        "llama-odd-shapes-f16",
    ];
    let shared = &shared[..if dtype == Dtype::F16 { 4 } else { 3 }];
    let demo = match dtype {
        Dtype::F16 => data::demo_in_f16(folder),
        _ => Model::demo().expect("the demo model"),
    };
    models.push(("demo-llama".to_owned(), demo, of_demo));
    for name in shared {
        if let Some(path) = data::shared(&format!("hf-reference/{name}")) {
            let model = match dtype {
                Dtype::F16 if name.ends_with("-bf16") => data::in_f16(&path, &folder.join(name)),
                _ => Model::open(&path).expect("it loads"),
            };
            let mut lengths = of_others();
            if name.starts_with("llama3") {
                lengths.push((1960, 60));
            }
            models.push(((*name).to_owned(), model, lengths));
        }
    }
    let mut shapes = vec![("tiny", vec![(20, 24), (90, 30)])];
    if large {
        shapes.push(("llama-3.2-1b", vec![(24, 6)]));
    }
    for (name, lengths) in shapes {
        let Some(shape) = synth::Shape::named(name) else {
            continue;
        };
        let path = folder.join(name);
        synth::write(&shape, dtype, 1, &path).expect("it is written");
        let model = Model::open(&path).expect("it loads");
        models.push((format!("{name} (synthetic)"), model, lengths));
    }
    models
}

fn request(model: &Model, (n_prompt, max_tokens): (usize, usize), turn: usize) -> Request {
    let vocab = model.config().vocab as u32;
    let sampler = match turn % 2 {
        0 => SamplerSpec::Greedy,
        _ => SamplerSpec::Gumbel {
            seed: 5 + turn as u64,
            temperature: 0.9,
            top_k: 50,
            top_p: 0.9,
        },
    };
    Request {
        prompt: (0..n_prompt as u32)
            .map(|i| (i * 37 + 11 * turn as u32 + 3) % vocab)
            .collect(),
        max_tokens,
        sampler,
        ignore_eos: true,
        nonce: None,
        opened: Some((0..=model.config().layers as u32).collect()),
        audit: None,
    }
}

/// The plain pass's ways: name, whether the gated product is rounded once, and parts of sums.
const WAYS: [(&str, bool, usize); 3] = [
    ("unfused", false, 0),
    ("fused", true, 0),
    ("split", true, 4),
];

/// Requests with pieces of tinyshakespeare as prompts, where it is at hand.
fn of_text(model: &Model) -> Vec<[Request; WAYS.len()]> {
    let Some(path) = data::shared("text/tinyshakespeare.txt") else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(path).expect("a text");
    let tokenizer = model.tokenizer().expect("the demo model has one");
    let (prompt, max_tokens) = LENGTHS_OF_TEXT;
    let pieces: Vec<&str> = text.split("\n\n").collect();
    // A stretch of paragraphs at each of some places.
    let stretches = pieces.chunks_exact(pieces.len() / OF_TEXT);
    let stretches = stretches.map(|stretch| {
        let stretch = &stretch[..stretch.len().min(40)];
        let mut ids = tokenizer.encode(&stretch.join("\n\n")).expect("ids");
        ids.truncate(prompt);
        ids
    });
    let ids: Vec<Vec<u32>> = stretches.filter(|ids| ids.len() == prompt).collect();
    ids.iter()
        .enumerate()
        .map(|(i, prompt)| {
            std::array::from_fn(|way| Request {
                prompt: prompt.clone(),
                ..request(model, (1, max_tokens), i + way)
            })
        })
        .collect()
}

fn plain_traces(
    made: &mut Vec<Made>,
    index: usize,
    model: &Model,
    asked: &[[Request; WAYS.len()]],
    rounding: Rounding,
) {
    let plain = Plain::load(model).expect("a model that it runs");
    let root = prover::root(model);
    for requests in asked {
        for ((way, is_fused, splits), request) in WAYS.into_iter().zip(requests) {
            let alter = Alter {
                rounding,
                is_fused,
                splits,
                ..Alter::default()
            };
            made.push(Made {
                bytes: prover::prove_plain(&plain, model, root, request, alter),
                model: index,
                kind: Kind::Honest,
                by: format!("plain, {way}"),
            });
        }
    }
}

fn others(made: &mut Vec<Made>, models: &[Measured], rounding: Rounding, folder: &Path) {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of traces")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((name, by)) = file.split_once("--") else {
            continue;
        };
        let Some(model) = models.iter().position(|(known, _, _)| known == name) else {
            continue;
        };
        let bytes = std::fs::read(&path).expect("it reads");
        let trace = Trace::parse(&bytes).expect("a trace");
        if assay_verify::emulated::rounding(&trace) != rounding {
            continue;
        }
        made.push(Made {
            bytes,
            model,
            kind: Kind::Honest,
            by: by
                .trim_end_matches(".bin")
                .trim_end_matches(|c: char| !c.is_alphabetic())
                .to_owned(),
        });
    }
}

fn dishonest(made: &mut Vec<Made>, honest: &Model, rounding: Rounding) {
    let root = prover::root(honest);
    let kv = [
        ("int8 KV", CacheFormat::Int8),
        ("fp8 KV", CacheFormat::Fp8),
        ("int4 KV", CacheFormat::Int4),
    ];
    // The embedding stays, as is usual: another one is seen at hidden state 0.
    let weights = [
        ("int8", Weights::Int8),
        ("fp8", Weights::Fp8),
        ("int4", Weights::Int4),
        ("fine_tune_1_percent", Weights::FineTune),
        ("layer_skip", Weights::Skip(3)),
    ];
    let mut push = |plain: &Plain, name: String, cache: CacheFormat| {
        for turn in 0..2 {
            let alter = Alter {
                rounding,
                cache,
                ..Alter::default()
            };
            let request = request(honest, (64, 24), turn);
            made.push(Made {
                bytes: prover::prove_plain(plain, honest, root, &request, alter),
                model: 0,
                kind: Kind::Cheat(name.clone()),
                by: name.clone(),
            });
        }
    };
    for (name, weights) in weights {
        let altered = weights.of(honest).expect("a copy");
        let plain = Plain::load(&altered).expect("a model that it runs");
        push(&plain, name.to_owned(), CacheFormat::Exact);
    }
    let other = cheats::demo(Cheat::Other);
    let plain = Plain::load(&other).expect("a model that it runs");
    push(&plain, Cheat::Other.name(), CacheFormat::Exact);
    let plain = Plain::load(honest).expect("a model that it runs");
    for (name, kv) in kv {
        push(&plain, name.to_owned(), kv);
    }
}

/// Longest trace whose leans are measured.
const MOST_POSITIONS: usize = 600;

impl Made {
    fn positions(&self) -> usize {
        Trace::parse(&self.bytes).map_or(0, |trace| trace.positions())
    }
}

/// How far each implementation and cheat leans towards quantised copies of what it claims.
fn lean(made: &[Made], models: &[Measured], devices: &[(String, Device)]) {
    let mut leans: BTreeMap<(String, String), Vec<Lean>> = BTreeMap::new();
    for (index, (name, model, _)) in models.iter().enumerate() {
        let altered = |name: &str, model: Model| Suspect {
            name: name.to_owned(),
            ran: Ran::Model(Arc::new(model)),
        };
        let mut suspects: Vec<Suspect> = Format::ALL
            .into_iter()
            .map(|format| altered(format.name(), model.rounded(format).expect("a copy")))
            .collect();
        let tuned = Weights::FineTune.of(model).expect("a copy");
        suspects.push(altered("fine-tune", tuned));
        suspects.extend(CacheFormat::ALL.map(|format| Suspect {
            name: format!("{} KV", format.name()),
            ran: Ran::Cache(format),
        }));
        let options = assay_verify::Options {
            suspects,
            ..assay_verify::Options::default()
        };
        // Nine runs of a long one take an hour on a software adapter.
        let of_model = made
            .iter()
            .filter(|one| one.model == index && one.positions() <= MOST_POSITIONS);
        for (turn, one) in of_model.enumerate() {
            let (_, device) = &devices[turn % devices.len()];
            let mut quiet = Quiet;
            let report = assay_verify::verify(&one.bytes, model, device, &options, &mut quiet);
            let report = pollster::block_on(report).expect("it verifies");
            eprintln!("{name}, {}: {:?}", one.by, report.verdict);
            for lean in report.statistics.suspects {
                let by = match one.kind {
                    Kind::Honest => format!("honest: {}", one.by),
                    _ => one.by.clone(),
                };
                leans.entry((by, lean.name.clone())).or_default().push(lean);
            }
        }
    }
    println!(
        "| prover | suspect | traces | lean, from | to | largest error | in errors, at most | apart | match | leaning | clear | neither |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for ((by, suspect), all) in leans {
        let of = |value: fn(&Lean) -> f64| {
            all.iter()
                .map(value)
                .fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)))
        };
        let ((least, largest), (_, error), (_, apart)) =
            (of(|l| l.lean), of(|l| l.error), of(|l| l.distance));
        let found = |finding: Finding| all.iter().filter(|l| l.finding() == finding).count();
        let [matching, leaning, clear] =
            [Finding::Match, Finding::Leaning, Finding::Clear].map(found);
        let (_, errors) = of(|l| l.lean / l.error);
        println!(
            "| {by} | {suspect} | {} | {least:+.2} | {largest:+.2} | {error:.3} | {errors:+.1} | {apart:.1e} | {matching} | {leaning} | {clear} | {} |",
            all.len(),
            all.len() - matching - leaning - clear
        );
    }
}

/// What the distances of each implementation and cheat come to on the demo model.
fn apart(made: &[Made], models: &[Measured], device: &Device) {
    let mut names: Vec<&str> = Vec::new();
    for one in made {
        if !names.contains(&one.by.as_str()) {
            names.push(&one.by);
        }
    }
    println!("| prover | traces | rows | mean, decades | least row | largest row |");
    println!("|---|---|---|---|---|---|");
    for name in names {
        let mut all = Vec::new();
        let of = made.iter().filter(|one| one.by == name && one.model < 4);
        let mut traces = 0;
        for one in of {
            traces += 1;
            let mut quiet = Quiet;
            let distances = assay_verify::calibrate::distances(
                &one.bytes,
                &models[one.model].1,
                device,
                Numerics::Fast,
                &mut quiet,
            );
            let distances = pollster::block_on(distances).expect("it runs");
            all.extend(distances.into_values().flatten());
        }
        let mean = all.iter().map(|d: &f64| d.max(1e-9).log10()).sum::<f64>() / all.len() as f64;
        let (least, largest) = all
            .iter()
            .fold((f64::MAX, 0.0f64), |(a, b), d| (a.min(*d), b.max(*d)));
        println!(
            "| {name} | {traces} | {} | {mean:+.3} | {least:.2} | {largest:.2} |",
            all.len()
        );
    }
}
