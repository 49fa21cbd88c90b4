//! Bad input gets a clear error, and nothing is lost: a short deterministic run of every fuzz target, then each case that a
//! hostile trace, a hostile checkpoint or a failing machine makes, through the libraries or through the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Engine, EngineError, Gpu, GpuOptions, Numerics, Quiet, Want};
use assay_model::{ByteSource, Model, ModelError};
use assay_prove::{ProveError, Request};
use assay_tests::fuzz::mutate::{Random, mutate};
use assay_tests::fuzz::seeds::{llama2c_file, llama2c_tokenizer_file, seeds, small_spec};
use assay_tests::fuzz::{self, TARGETS, TINY_TENSORS, tiny_config, tiny_config_with, tiny_weights};
use assay_tests::prover::{prove_as, root, verify};
use assay_tests::{adapters, cheats};
use assay_trace::{
    BuildError, Digest, Sampler, StateDtype, Trace, TraceBuilder, TraceError, reroot,
};
use assay_verify::{Options, Report, Verdict, VerifyError};

// The short run.

const INPUTS: usize = 2000;
const MOST_TIME: Duration = Duration::from_secs(4);

/// How many inputs, for how long; `ASSAY_FUZZ_SECONDS` asks for a longer run of each target.
fn bounds() -> (usize, Duration) {
    match std::env::var("ASSAY_FUZZ_SECONDS").map(|text| text.parse()) {
        Ok(Ok(seconds)) => (usize::MAX, Duration::from_secs(seconds)),
        _ => (INPUTS, MOST_TIME),
    }
}

fn short_run(name: &str) {
    let (_, target) = TARGETS.iter().find(|(n, _)| *n == name).expect("a target");
    let seeds = seeds(name);
    for seed in &seeds {
        assert!(target(seed), "a seed of {name} is valid");
    }
    let mut random = Random(0x00A5_5A1D ^ name.len() as u64);
    let started = Instant::now();
    let (mut inputs, mut accepted) = (0, 0);
    let (most_inputs, most_time) = bounds();
    while inputs < most_inputs && started.elapsed() < most_time {
        let seed = &seeds[random.below(seeds.len())];
        let input = mutate(&mut random, seed, &seeds);
        let before = Instant::now();
        match std::panic::catch_unwind(|| target(&input)) {
            Ok(parsed) => accepted += usize::from(parsed),
            Err(_) => panic!("{name} panics on input {inputs}: {}", input.escape_ascii()),
        }
        let took = before.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "{name}: input {inputs} took {took:?}"
        );
        inputs += 1;
    }
    println!(
        "{name}: {inputs} inputs, {accepted} accepted, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    assert!(inputs >= 20, "{name} is too slow to say anything");
}

macro_rules! short_runs {
    ($($name:ident)*) => {
        mod short_run {
            $(#[test] fn $name() { super::short_run(stringify!($name)); })*
        }
        const SHORT_RUNS: &[&str] = &[$(stringify!($name)),*];
    };
}
short_runs!(trace manifest merkle_proof config safetensors_header shard_index llama2c llama2c_tokenizer tokenizer_json
    decimal profiles gguf verifier_key llama2rs_trace llama2rs_proof toploc);

/// No parser is forgotten: the functions, the short runs and the files in `fuzz/` are the same list.
#[test]
fn every_fuzz_target_has_a_file_and_a_short_run() {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, SHORT_RUNS);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("it reads");
    for name in names {
        let file = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs")));
        assert!(
            file.expect("the target's file")
                .contains(&format!("fuzz::{name}("))
        );
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}

/// The demo model's tokenizer, cut short and with bytes changed all over: files of real size.
#[test]
fn damaged_copies_of_a_real_tokenizer_do_not_panic() {
    let bytes = demo_tokenizer();
    assert!(fuzz::tokenizer_json(&bytes));
    let mut random = Random(17);
    for _ in 0..40 {
        fuzz::tokenizer_json(&bytes[..random.below(bytes.len())]);
        fuzz::tokenizer_json(&mutate(&mut random, &bytes, std::slice::from_ref(&bytes)));
    }
}

// What the cases share.

fn demo() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::demo().expect("the demo model"))
}

fn demo_tokenizer() -> Vec<u8> {
    std::fs::read(cheats::demo_folder().join("tokenizer.json")).expect("it is in the repository")
}

fn tiny(context: usize) -> Model {
    let sources: Vec<Arc<dyn ByteSource>> = vec![Arc::new(tiny_weights())];
    Model::from_memory(&tiny_config_with(context), None, sources, None).expect("it opens")
}

fn request(prompt: &[u32], max_tokens: usize) -> Request {
    Request {
        prompt: prompt.to_vec(),
        max_tokens,
        sampler: SamplerSpec::Greedy,
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit: None,
    }
}

/// An honest trace of the demo model.
fn honest() -> &'static [u8] {
    static TRACE: OnceLock<Vec<u8>> = OnceLock::new();
    TRACE.get_or_init(|| prove_as(&Device::Cpu, demo(), root(demo()), &request(&[0, 5, 9], 3)))
}

fn judge(trace: &[u8]) -> Report {
    verify(&Device::Cpu, demo(), trace, &Options::default())
}

#[track_caller]
fn assert_rejected(trace: &[u8], code: &str) {
    let report = judge(trace);
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    assert_eq!(report.failed_codes(), [code], "{}", report.summary);
}

fn try_verify(trace: &[u8], model: &Model, device: &Device) -> Result<Report, VerifyError> {
    pollster::block_on(assay_verify::verify(
        trace,
        model,
        device,
        &Options::default(),
        &mut Quiet,
    ))
}

fn load(device: &Device, model: &Model, capacity: usize) -> Result<Engine, EngineError> {
    pollster::block_on(Engine::load(
        device,
        model,
        capacity,
        Numerics::Fast,
        &mut Quiet,
    ))
}

/// Why there is no engine; without this, an engine would have to be printable.
fn load_error(device: &Device, model: &Model, capacity: usize) -> EngineError {
    match load(device, model, capacity) {
        Ok(_) => panic!("the model loaded"),
        Err(err) => err,
    }
}

/// A device of its own on every adapter.
fn own_gpus(max_binding: Option<u64>) -> Vec<Arc<Gpu>> {
    let all = adapters::all();
    if all.is_empty() {
        println!("skipped: no adapter on this machine");
    }
    all.iter()
        .map(|info| {
            let options = GpuOptions {
                adapter: Some(info.name.clone()),
                max_binding,
                ..GpuOptions::default()
            };
            Arc::new(pollster::block_on(Gpu::open(&options)).expect("a listed adapter opens"))
        })
        .collect()
}

/// The `assay` program, which `cargo test --workspace` has built beside this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("this test is a file");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("it is in target/PROFILE/deps");
    let program = profile.join(format!("assay{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "{} is missing: `cargo test --workspace` builds it",
        program.display()
    );
    program
}

fn assay(args: &[&str]) -> Output {
    let command = Command::new(program())
        .args(["--adapter", "cpu"])
        .args(args)
        .output();
    command.expect("the program starts")
}

/// Exit code 2 with `part` on stderr, nothing on stdout and no panic.
#[track_caller]
fn assert_told(output: &Output, part: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains(part), "{part:?} is not in: {told}");
    assert!(!told.contains("panicked"), "{told}");
    assert!(output.stdout.is_empty());
}

#[track_caller]
fn assert_empty(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder).expect("it lists").collect();
    assert!(left.is_empty(), "{left:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

// Traces.

#[test]
fn zero_tokens() {
    let config = demo().config();
    assert!(matches!(
        request(&[], 1).check(config),
        Err(ProveError::EmptyPrompt)
    ));
    assert!(matches!(
        request(&[1], 0).check(config),
        Err(ProveError::NoTokens)
    ));
    let none = TraceBuilder::new(small_spec(Sampler::Greedy, StateDtype::F32, vec![]));
    let is_range = |err: &TraceError, name: &str| matches!(err, TraceError::Range { field, got: 0, .. } if *field == name);
    assert!(
        matches!(&none, Err(BuildError::Structure(err)) if is_range(err, "prompt.tokens")),
        "{none:?}"
    );
    let no_output = reroot(honest(), |t| t.truncate_output(0)).expect("it seals");
    assert!(is_range(
        &Trace::parse(&no_output).unwrap_err(),
        "output.tokens"
    ));
    assert_rejected(&no_output, "structure");
    let no_prompt = reroot(honest(), |t| {
        let prompt = t.manifest.prompt.tokens as usize;
        t.manifest.prompt.tokens = 0;
        t.logits_digests.extend(vec![Digest::ZERO; prompt]);
    });
    let no_prompt = no_prompt.expect("it seals");
    assert!(is_range(
        &Trace::parse(&no_prompt).unwrap_err(),
        "prompt.tokens"
    ));
    assert_rejected(&no_prompt, "structure");
    assert_rejected(b"", "structure");

    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.bin");
    let prove = |ids: &str, n: &str| {
        assay(&[
            "prove",
            "--prompt-ids",
            ids,
            "-n",
            n,
            "--trace",
            text(&trace),
        ])
    };
    assert_told(&prove("", "1"), "the prompt is empty");
    assert_told(&prove("1", "0"), "0");
    assert_empty(folder.path());
}

#[test]
fn ids_beyond_the_vocabulary() {
    let vocab = demo().config().vocab as u32;
    for id in [vocab, u32::MAX] {
        let refused = request(&[1, id], 1).check(demo().config());
        assert!(matches!(refused, Err(ProveError::PromptId { id: got, .. }) if got == id));
        let mut engine = load(&Device::Cpu, demo(), 4).expect("it loads");
        let run = pollster::block_on(engine.run(&[1, id], &Want::default(), &mut Quiet));
        assert!(matches!(run, Err(EngineError::TokenId { id: got, .. }) if got == id));
        for at in [0, 2, 5] {
            let forged = reroot(honest(), |t| t.tokens[at] = id).expect("it seals");
            let err = Trace::parse(&forged).unwrap_err();
            assert!(
                matches!(err, TraceError::TokenRange { index, got, .. } if (index, got) == (at, id)),
                "{err}"
            );
            assert_rejected(&forged, "structure");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.bin");
    let ids = format!("1,{vocab}");
    let told = assay(&["prove", "--prompt-ids", &ids, "--trace", text(&trace)]);
    assert_told(&told, "beyond the model's vocabulary");
    assert_empty(folder.path());
}

#[test]
fn a_prompt_longer_than_the_context() {
    let context = demo().config().context;
    for len in [context, context + 1] {
        let refused = request(&vec![1; len], 1).check(demo().config());
        assert!(matches!(refused, Err(ProveError::PromptTooLong { got, .. }) if got == len));
    }
    assert!(
        request(&vec![1; context - 1], 1)
            .check(demo().config())
            .is_ok()
    );
    let too_long = load_error(&Device::Cpu, demo(), context + 1);
    assert!(
        matches!(too_long, EngineError::TooLong { .. }),
        "{too_long}"
    );
    // The context's length is no part of a model's identity, so a trace can be longer than the verifier's.
    let (long, short) = (tiny(16), tiny(8));
    let trace = prove_as(&Device::Cpu, &long, root(&long), &request(&[1; 9], 2));
    let report = verify(&Device::Cpu, &short, &trace, &Options::default());
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    assert_eq!(report.failed_codes(), ["context"]);

    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.bin");
    let ids = vec!["1"; context + 1].join(",");
    let told = assay(&["prove", "--prompt-ids", &ids, "--trace", text(&trace)]);
    assert_told(&told, "the prompt is too long");
    assert_empty(folder.path());
}

/// A declared length sizes no allocation: the answer comes at once, and in a process that could not allocate so much.
#[test]
fn a_gigabyte_header_in_a_hundred_bytes() {
    for length in [
        101,
        1 << 22,
        1 << 24,
        1 << 30,
        u64::from(u32::MAX),
        u64::MAX - 7,
        u64::MAX,
    ] {
        let mut file = [b' '; 100];
        file[..8].copy_from_slice(&length.to_le_bytes());
        file[8] = b'{';
        let begun = Instant::now();
        assert!(matches!(
            Trace::parse(&file),
            Err(TraceError::HeaderTooLarge { .. } | TraceError::HeaderPastEnd { .. })
        ));
        let source: Arc<dyn ByteSource> = Arc::new(file.to_vec());
        let model = Model::from_memory(&tiny_config(), None, vec![source], None);
        assert!(matches!(
            model,
            Err(ModelError::HeaderTooLarge { .. } | ModelError::Truncated { .. })
        ));
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    if cfg!(unix) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace.bin");
        let mut file = [b' '; 100];
        file[..8].copy_from_slice(&(1u64 << 30).to_le_bytes());
        std::fs::write(&path, file).expect("it writes");
        let output = limited(900_000, &["--threads", "1", "--verify", text(&path)]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        // The same claim by a tokenizer: a piece of two gigabytes.
        let mut pieces = llama2c_tokenizer_file(&[(" ", 0.0)]);
        pieces[8..12].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(!fuzz::llama2c_tokenizer(&pieces));
    }
}

#[test]
fn states_that_are_no_numbers() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let spec = small_spec(Sampler::Greedy, StateDtype::F32, vec![1]);
        let mut builder = TraceBuilder::new(spec).expect("a spec");
        let pushed = builder.push(
            1,
            &[&[0.0; 3], &[0.0, bad, 0.0], &[0.0; 3]],
            Some(&[0.0; 5]),
        );
        assert!(matches!(
            pushed,
            Err(BuildError::NonFiniteState {
                layer: 1,
                channel: 1,
                ..
            })
        ));
        let pushed = builder.push(
            1,
            &[[0.0; 3].as_slice(); 3],
            Some(&[0.0, 0.0, bad, 0.0, 0.0]),
        );
        assert!(matches!(
            pushed,
            Err(BuildError::NonFiniteLogits { token: 2, .. })
        ));
        let forged = reroot(honest(), |t| {
            t.states.values_mut().for_each(|rows| rows[1] = bad);
        });
        let forged = forged.expect("it seals");
        assert!(matches!(
            Trace::parse(&forged),
            Err(TraceError::NonFinite { channel: 1, .. })
        ));
        assert_rejected(&forged, "structure");
    }
}

/// A checkpoint whose weights are NaN computes nothing: no trace comes out of it, and no verdict on one that names it.
#[test]
fn weights_that_are_no_numbers() {
    let mut weights =
        std::fs::read(cheats::demo_folder().join("model.safetensors")).expect("reads");
    let end = weights.len();
    weights[end - 2..].copy_from_slice(&half::bf16::NAN.to_le_bytes());
    let config = std::fs::read(cheats::demo_folder().join("config.json")).expect("reads");
    let model = Model::from_memory(&config, None, vec![Arc::new(weights)], None).expect("opens");
    let claims_it = reroot(honest(), |t| {
        t.manifest.model.root = root(&model);
        t.manifest.tokenizer = None;
    });
    let claims_it = claims_it.expect("it seals");
    for (name, device) in adapters::devices() {
        let mut engine = load(&device, &model, 8).expect("it loads");
        let request = request(&[1, 2], 2);
        let mut quiet = Quiet;
        let proved = assay_prove::prove(&mut engine, &model, root(&model), &request, &mut quiet);
        let proved = pollster::block_on(proved);
        assert!(
            matches!(
                proved,
                Err(ProveError::Engine(EngineError::NonFinite { .. }))
            ),
            "{name}: {:?}",
            proved.err()
        );
        let judged = try_verify(&claims_it, &model, &device);
        assert!(
            matches!(
                judged,
                Err(VerifyError::Engine(EngineError::NonFinite { .. }))
            ),
            "{name}: {judged:?}"
        );
    }
}

#[test]
fn a_trace_of_another_model() {
    let forged = reroot(honest(), |t| t.manifest.model.root = Digest::of(b"other"));
    assert_rejected(&forged.expect("it seals"), "model-root");
    let other = tiny(16);
    let trace = prove_as(&Device::Cpu, &other, root(&other), &request(&[1, 2], 2));
    assert_rejected(&trace, "model-root");
}

/// The header of a trace, changed as text, with a length that fits.
fn with_header(trace: &[u8], edit: impl FnOnce(&str) -> String) -> Vec<u8> {
    let (length, rest) = trace.split_first_chunk().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = edit(str::from_utf8(header).expect("it is text"));
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}

#[test]
fn duplicate_and_missing_tensors_of_a_trace() {
    let entry = |header: &str| {
        let start = header.find(r#","tokens":"#).expect("the tensor");
        let end = start + header[start..].find('}').expect("its end") + 1;
        (start, end, header[start..end].to_owned())
    };
    let twice = with_header(honest(), |header| {
        let (_, end, tokens) = entry(header);
        format!("{}{tokens}{}", &header[..end], &header[end..])
    });
    let err = Trace::parse(&twice).unwrap_err();
    assert!(matches!(err, TraceError::DuplicateTensor { .. }), "{err}");
    let missing = with_header(honest(), |header| {
        let (start, end, _) = entry(header);
        format!("{}{}", &header[..start], &header[end..])
    });
    let err = Trace::parse(&missing).unwrap_err();
    assert!(matches!(err, TraceError::MissingTensor { .. }), "{err}");
    assert_rejected(&twice, "structure");
    assert_rejected(&missing, "structure");
}

// Checkpoints.

#[test]
fn duplicate_and_missing_tensors_of_a_checkpoint() {
    let open = |files: Vec<Vec<u8>>| {
        let sources = files
            .into_iter()
            .map(|file| Arc::new(file) as Arc<dyn ByteSource>)
            .collect();
        Model::from_memory(&tiny_config(), None, sources, None)
    };
    let twice = open(vec![tiny_weights(), tiny_weights()]).unwrap_err();
    assert!(matches!(twice, ModelError::TensorTwice { .. }), "{twice}");
    // Two entries of one name in one header: the second renamed in place, at equal length.
    let renamed = tiny_weights();
    let (from, to) = (b"mlp.gate_proj.weight", b"mlp.down_proj.weight");
    let at = renamed
        .windows(from.len())
        .position(|w| w == from)
        .expect("the name");
    let mut same = renamed.clone();
    same[at..at + to.len()].copy_from_slice(to);
    let same = open(vec![same]).unwrap_err();
    assert!(matches!(same, ModelError::DuplicateName { .. }), "{same}");
    for missing in 0..TINY_TENSORS.len() {
        let mut tensors = TINY_TENSORS.to_vec();
        let (name, _) = tensors.remove(missing);
        let err = open(vec![fuzz::weights(&tensors)]).unwrap_err();
        assert!(
            matches!(&err, ModelError::TensorMissing { name: got } if got == name),
            "{name}: {err}"
        );
    }
    assert!(open(vec![]).is_err());
}

/// A folder with the tiny checkpoint, some of it replaced.
fn checkpoint(weights: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), tiny_config()).expect("it writes");
    std::fs::write(folder.path().join("model.safetensors"), weights).expect("it writes");
    folder
}

#[test]
fn a_wrong_tokenizer() {
    let tokenizer = demo_tokenizer();
    let opened = Model::from_memory(
        &tiny_config(),
        None,
        vec![Arc::new(tiny_weights())],
        Some(&tokenizer),
    );
    assert!(matches!(
        opened,
        Err(ModelError::TokenizerVocab { got: 2048, want: 5 })
    ));
    let pieces = llama2c_tokenizer_file(&[(" ", 0.0)]);
    let opened = Model::from_llama2c(Arc::new(llama2c_file([4, 6, 2, 2, 1, 5, 3])), Some(&pieces));
    assert!(matches!(
        opened,
        Err(ModelError::TokenizerVocab { got: 260, want: 5 })
    ));

    let (model, out) = (
        checkpoint(&tiny_weights()),
        tempfile::tempdir().expect("a folder"),
    );
    let (tokenizer, trace) = (
        cheats::demo_folder().join("tokenizer.json"),
        out.path().join("t"),
    );
    let told = assay(&[
        "prove",
        "--model",
        text(model.path()),
        "--tokenizer",
        text(&tokenizer),
        "--prompt",
        "x",
        "--trace",
        text(&trace),
    ]);
    assert_told(&told, "wrong tokenizer");
    assert_empty(out.path());
}

/// This file makes the tokenizers crate panic, which the program turns into an error of its own words.
#[test]
fn a_tokenizer_that_breaks_its_library() {
    let file = String::from_utf8(seeds("tokenizer_json").remove(0)).expect("it is text");
    let broken = file.replace(
        r#""special_tokens":{"<|x|>":"#,
        r#""special_tokens":{"other":"#,
    );
    assert_ne!(file, broken);
    let out = tempfile::tempdir().expect("a folder");
    let (tokenizer, trace) = (
        out.path().join("tokenizer.json"),
        out.path().join("trace.bin"),
    );
    std::fs::write(&tokenizer, broken).expect("it writes");
    let told = assay(&[
        "prove",
        "--model",
        text(&cheats::demo_folder()),
        "--tokenizer",
        text(&tokenizer),
        "--prompt",
        "x",
        "--trace",
        text(&trace),
    ]);
    assert_told(&told, "the tokenizer library failed on it");
    assert!(!trace.exists());
}

#[test]
fn damaged_and_missing_checkpoints_are_told_by_the_program() {
    let out = tempfile::tempdir().expect("a folder");
    let trace = out.path().join("trace.bin");
    let prove = |model: &Path| {
        assay(&[
            "prove",
            "--model",
            text(model),
            "--prompt-ids",
            "1",
            "--trace",
            text(&trace),
        ])
    };
    let weights = tiny_weights();
    let cut = checkpoint(&weights[..weights.len() - 1]);
    assert_told(&prove(cut.path()), "model.safetensors");
    let few = checkpoint(&fuzz::weights(&TINY_TENSORS[1..]));
    assert_told(&prove(few.path()), "`model.embed_tokens.weight` is missing");
    assert_told(&prove(&out.path().join("none")), "none");
    assert_told(&assay(&["--verify", text(&trace)]), "trace.bin");
    assert_empty(out.path());
}

/// A name in a hostile checkpoint cannot move the cursor or begin a line of its own.
#[test]
fn names_from_a_checkpoint_are_shown_escaped() {
    let name = "model.layers.0.self_attn.q_proj.bias\u{1b}[2J\n✓ ACCEPT\u{202e}";
    let file = fuzz::weights(&[(name, &[4]), (name.trim_end_matches('\u{202e}'), &[4])]);
    let at = file.windows(3).position(|w| w == "\u{202e}".as_bytes());
    assert!(at.is_some());
    // Too large a shape for its bytes, so that the name is in the message.
    let file = with_header(&file, |header| header.replace("[4]", "[5]"));
    let model = checkpoint(&file);
    let out = tempfile::tempdir().expect("a folder");
    let trace = out.path().join("trace.bin");
    let told = assay(&[
        "prove",
        "--model",
        text(model.path()),
        "--prompt-ids",
        "1",
        "--trace",
        text(&trace),
    ]);
    assert_told(&told, "q_proj.bias");
    let told = String::from_utf8(told.stderr).expect("it is text");
    assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told:?}");
    assert_eq!(told.trim_end().lines().count(), 1, "{told:?}");
}

// The machine.

#[test]
fn no_adapter() {
    let options = GpuOptions {
        adapter: Some("no such adapter".into()),
        ..GpuOptions::default()
    };
    let Err(EngineError::NoAdapter { wanted, found }) = pollster::block_on(Gpu::open(&options))
    else {
        panic!("there is no such adapter");
    };
    assert_eq!(wanted, "no such adapter");
    for info in adapters::all() {
        assert!(
            found.contains(&info.name),
            "{} is not in: {found}",
            info.name
        );
    }
    assert!(!found.is_empty());

    let folder = tempfile::tempdir().expect("a folder");
    let (trace, copy) = (
        folder.path().join("trace.bin"),
        folder.path().join("copy.bin"),
    );
    std::fs::write(&trace, honest()).expect("it writes");
    let on = |args: &[&str]| {
        let args = [&["--adapter", "no such adapter"], args].concat();
        Command::new(program())
            .args(args)
            .output()
            .expect("the program starts")
    };
    assert_told(
        &on(&["--verify", text(&trace)]),
        "no adapter matches `no such adapter`",
    );
    let told = on(&["prove", "--prompt-ids", "1", "--trace", text(&copy)]);
    assert_told(&told, "no adapter matches `no such adapter`");
    std::fs::remove_file(&trace).expect("it is there");
    assert_empty(folder.path());
}

/// A limit that is too small is said so, with both numbers; it is never a verdict.
#[test]
fn too_small_limits() {
    for gpu in own_gpus(Some(4096)) {
        let device = Device::Gpu(gpu);
        let name = device.info().name;
        let err = load_error(&device, demo(), 8);
        assert!(
            matches!(err, EngineError::LimitTooSmall { need, have, .. } if need > have),
            "{name}: {err}"
        );
        let judged = try_verify(honest(), demo(), &device);
        assert!(
            matches!(
                judged,
                Err(VerifyError::Engine(EngineError::LimitTooSmall { .. }))
            ),
            "{name}: {judged:?}"
        );
    }
}

/// A device that is lost before or during the verifier's run: an error, never a verdict.
#[test]
fn a_lost_device() {
    for gpu in own_gpus(None) {
        let (name, device) = (gpu.info.name.clone(), Device::Gpu(Arc::clone(&gpu)));
        let report = try_verify(honest(), demo(), &device).expect("the device works");
        assert_eq!(
            report.verdict,
            Verdict::Accept,
            "{name}: {}",
            report.summary
        );
        let mut engine = load(&device, demo(), 8).expect("it loads");
        gpu.destroy();
        let run = pollster::block_on(engine.run(&[1, 2], &Want::default(), &mut Quiet));
        assert!(is_loss(&run), "{name}: {run:?}");
        let want = Want {
            logits_from: Some(0),
            ..Want::all_states(demo().config())
        };
        let run = pollster::block_on(engine.run(&[1, 2], &want, &mut Quiet));
        assert!(is_loss(&run), "{name}: {run:?}");
        let err = load_error(&device, demo(), 8);
        assert!(is_loss::<()>(&Err(err)), "{name}");
        let judged = try_verify(honest(), demo(), &device);
        assert!(
            matches!(judged, Err(VerifyError::Engine(_))),
            "{name}: {judged:?}"
        );
        println!(
            "{name}: {}",
            judged.err().map(|e| e.to_string()).unwrap_or_default()
        );
    }
    for gpu in own_gpus(None) {
        gpu.destroy();
        let name = gpu.info.name.clone();
        let judged = try_verify(honest(), demo(), &Device::Gpu(gpu));
        assert!(
            matches!(judged, Err(VerifyError::Engine(_))),
            "{name}: {judged:?}"
        );
    }
}

/// Lost in the middle of a run: between two chunks of a prefill.
#[test]
fn a_device_lost_on_the_way() {
    struct Unplugs(Arc<Gpu>);
    impl assay_engine::Monitor for Unplugs {
        fn progress(
            &mut self,
            phase: assay_engine::Phase,
            done: u64,
            _: u64,
        ) -> Result<(), EngineError> {
            if phase == assay_engine::Phase::Prefill && done == 0 {
                self.0.destroy();
            }
            Ok(())
        }
    }
    for gpu in own_gpus(None) {
        let (name, device) = (gpu.info.name.clone(), Device::Gpu(Arc::clone(&gpu)));
        let judged = pollster::block_on(assay_verify::verify(
            honest(),
            demo(),
            &device,
            &Options::default(),
            &mut Unplugs(gpu),
        ));
        assert!(
            matches!(judged, Err(VerifyError::Engine(_))),
            "{name}: {judged:?}"
        );
    }
}

fn is_loss<T>(run: &Result<T, EngineError>) -> bool {
    matches!(
        run,
        Err(EngineError::DeviceLost(_) | EngineError::Device(_))
    )
}

/// Runs the program with so many KiB of address space, for at most a minute.
fn limited(kib: u64, args: &[&str]) -> Output {
    let script = r#"ulimit -c 0; ulimit -v "$1" || exit 99; shift; exec timeout 60 "$@""#;
    let mut command = Command::new("bash");
    command
        .args(["-c", script, "bash", &kib.to_string()])
        .arg(program())
        .args(args);
    command.output().expect("bash starts")
}

/// Threads are started before the work, so that a lack of room for them is an error and no panic.
#[cfg(target_os = "linux")]
#[test]
fn no_room_for_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.bin");
    for threads in [&[][..], &["--threads", "64"]] {
        let prove = [
            "--adapter",
            "cpu",
            "prove",
            "--prompt-ids",
            "1",
            "--trace",
            text(&trace),
        ];
        let output = limited(27_000, &[threads, &prove[..]].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && !told.contains("panicked"),
            "{told}"
        );
        assert_empty(folder.path());
    }
}

/// Out of memory, at every depth from start-up to success. Assay's own words for it are "out of memory" and exit code 2, but
/// the allocator of Rust's collections aborts the process, and Mesa's and SwiftShader's drivers abort or crash it. What must
/// hold however it ends: no file under the final name unless all went well, and no verdict but the true one.
fn out_of_memory(adapter: &str, limits: &[u64]) {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("honest.bin");
    std::fs::write(&trace, honest()).expect("it writes");
    let (mut failed, mut went_well) = (0, 0);
    for &kib in limits {
        let made = folder.path().join(format!("made-{kib}.bin"));
        let common = ["--adapter", adapter, "--threads", "1"];
        let prove = [
            "prove",
            "--prompt-ids",
            "1,2,3",
            "-n",
            "2",
            "--trace",
            text(&made),
        ];
        let proved = limited(kib, &[&common[..], &prove].concat());
        assert_ne!(
            proved.status.code(),
            Some(124),
            "{adapter}, {kib} KiB: it hangs"
        );
        let told = String::from_utf8_lossy(&proved.stderr);
        let panics = adapter == "cpu" && told.contains("panicked");
        assert!(!panics, "{adapter}, {kib} KiB: {told}");
        if proved.status.success() {
            went_well += 1;
            let bytes = std::fs::read(&made).expect("the trace was written");
            assert!(Trace::parse(&bytes).is_ok_and(|t| t.check_commitment().is_ok()));
        } else {
            failed += 1;
            assert!(!made.exists(), "{adapter}, {kib} KiB: {told}");
            assert!(proved.stdout.is_empty());
        }
        let judged = limited(kib, &[&common[..], &["--verify", text(&trace)]].concat());
        let told = String::from_utf8_lossy(&judged.stderr);
        let panics = adapter == "cpu" && told.contains("panicked");
        assert!(!panics, "{adapter}, {kib} KiB: {told}");
        match judged.status.code() {
            Some(0) => {}
            Some(code @ (1 | 3 | 124)) => panic!("{adapter}, {kib} KiB: exit {code}: {told}"),
            _ => assert!(judged.stdout.is_empty()),
        }
        println!(
            "{adapter}, {kib} KiB: prove {}, verify {}",
            proved.status, judged.status
        );
    }
    assert!(failed > 0, "{adapter}: no limit was too small");
    println!("{adapter}: {failed} failed, {went_well} went well");
}

#[cfg(target_os = "linux")]
#[test]
fn out_of_memory_on_the_cpu() {
    out_of_memory(
        "cpu",
        &[
            12_000, 16_000, 20_000, 24_000, 32_000, 48_000, 64_000, 200_000,
        ],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn out_of_memory_on_an_adapter() {
    let software = ["llvmpipe", "SwiftShader"];
    for info in adapters::all() {
        // A GPU's driver reserves more address space than any limit here leaves.
        if software.iter().any(|name| info.name.contains(name)) {
            out_of_memory(&info.name, &[150_000, 300_000, 400_000, 560_000, 1_500_000]);
        }
    }
}
