//! Traces of llama2-rs as scripts see them: written, verified, explained, proven step by step. A small seeded model, so that nothing
//! skips; the seed program's own traces where they are.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use assay_llama2rs::synth::{self, Shape};
use assay_llama2rs::{Entry, Trace};
use assay_tests::{adapters, data};
use serde_json::Value;
use tempfile::TempDir;

const SAMPLED: [&str; 6] = ["--temperature", "0.8", "--top-p", "0.9", "--seed", "42"];

fn assay(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.env_remove("NO_COLOR").args(args);
    command.output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_code(output: &Output, want: i32) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(code(output), want, "{out}{err}");
    assert!(!err.contains("panicked"), "{err}");
}

/// A folder with a model, its tokenizer, and a trace of each kind; made once.
struct Made(TempDir);

impl Made {
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn trace(&self, name: &str) -> Trace {
        Trace::parse(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn prove(&self, name: &str, sampler: &[&str]) -> Output {
        let (model, trace) = (self.path("m.bin"), self.path(name));
        let args = [
            "llama2-rs",
            "prove",
            "--model",
            &model,
            "--trace",
            &trace,
            "-n",
            "24",
            "--prompt",
            "Once upon a time",
        ];
        assay(&[&args, sampler].concat())
    }

    fn verify(&self, trace: &str, args: &[&str]) -> Output {
        assay(&[&["--verify", trace, "--model", &self.path("m.bin")], args].concat())
    }
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Made(tempfile::tempdir().unwrap());
        made.write("m.bin", &synth::checkpoint(Shape::SMALL, 1));
        made.write("tokenizer.bin", &synth::tokenizer());
        assert_code(&made.prove("greedy.trace", &[]), 0);
        assert_code(&made.prove("sampled.trace", &SAMPLED), 0);
        made
    })
}

fn report(output: &Output) -> Value {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let text = include_str!("../../docs/llama2-rs.schema.json");
        jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
    });
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems: Vec<String> = schema.iter_errors(&report).map(|p| p.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}");
    report
}

fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap()
}

#[test]
fn two_runs_write_the_same_bytes() {
    let made = made();
    for (name, sampler) in [("greedy.trace", &[][..]), ("sampled.trace", &SAMPLED)] {
        let again = made.prove("again.trace", sampler);
        assert_code(&again, 0);
        assert!(
            text(&again.stderr).contains("root"),
            "{}",
            text(&again.stderr)
        );
        let [first, second] =
            [name, "again.trace"].map(|name| std::fs::read(made.path(name)).unwrap());
        assert_eq!(first, second, "{name}");
    }
    assert_ne!(
        made.trace("greedy.trace").root,
        made.trace("sampled.trace").root
    );
}

#[test]
fn honest_traces_are_accepted() {
    let made = made();
    let (greedy, sampled) = (made.path("greedy.trace"), made.path("sampled.trace"));
    let human = made.verify(&greedy, &[]);
    assert_code(&human, 0);
    let shown = text(&human.stdout);
    assert!(shown.starts_with("✓ ACCEPT  exact\n"), "{shown}");
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    assert!(shown.contains("Not covered by this verdict"), "{shown}");
    assert_eq!(text(&human.stderr), "");

    let kept = made.path("report.json");
    let json = made.verify(
        &sampled,
        &[&SAMPLED[..], &["--json", "--report", &kept]].concat(),
    );
    assert_code(&json, 0);
    let report = report(&json);
    assert_eq!(report["verdict"], "accept");
    assert_eq!(
        report["agreement"]["hashes_equal"],
        report["agreement"]["positions_total"]
    );
    assert_eq!(report["adapter"], Value::Null);
    assert_eq!(std::fs::read(&kept).unwrap(), json.stdout);

    // What both sides agreed on, in two digests.
    let (root, claim) = (
        report["trace"]["root"].as_str().unwrap(),
        report["claim"].as_str().unwrap(),
    );
    let both = ["--expect-root", root, "--expect-claim", claim];
    assert_code(&made.verify(&sampled, &[&SAMPLED[..], &both].concat()), 0);
    assert_code(&made.verify(&greedy, &both), 1);
    let other_seed = [&both[..], &["--temperature", "0.8", "--seed", "43"]].concat();
    assert_code(&made.verify(&sampled, &other_seed), 1);
    // The expected prompt and sampler have their usual names too.
    let usual = [
        "--expect-temperature",
        "0.8",
        "--expect-top-p",
        "0.9",
        "--expect-seed",
        "42",
        "--expect-prompt",
        "Once upon a time",
    ];
    assert_code(&made.verify(&sampled, &usual), 0);
    // A shorter prompt makes choices of tokens that were given: no sampler took them.
    let shorter = ["--expect-prompt", "Once upon", "--temperature", "0"];
    assert_code(&made.verify(&greedy, &shorter), 1);
    assert_code(
        &made.verify(&greedy, &["--expect-prompt", "An upon a time"]),
        1,
    );
    // The sampler unknown, a sampled trace can't be told; nor is it accepted.
    let unknown = made.verify(&sampled, &["--json"]);
    assert_code(&unknown, 3);
    assert_eq!(
        check(&self::report(&unknown), "tokens")["code"],
        "sampler-unknown"
    );
}

/// What a liar does to a trace.
type Bend<'a> = &'a dyn Fn(&mut Trace);

#[test]
fn what_was_changed_is_named() {
    let made = made();
    let honest = made.trace("greedy.trace");
    let cases: [(&str, Bend<'_>, bool, &str, &str, u64); 5] = [
        (
            "token",
            &|t| t.entries[15].token ^= 1,
            false,
            "leaf",
            "token",
            15,
        ),
        (
            "token-sealed",
            &|t| t.entries[15].token ^= 1,
            true,
            "token",
            "token",
            15,
        ),
        (
            "hash-sealed",
            &|t| t.entries[9].logits.0[0] ^= 1,
            true,
            "logits-hash",
            "ok",
            9,
        ),
        ("leaf", &|t| t.leaves[3].0[0] ^= 1, false, "leaf", "ok", 3),
        (
            "position-sealed",
            &|t| t.entries[4].position = 5,
            true,
            "position",
            "ok",
            4,
        ),
    ];
    for (name, bend, seal, decisive, tokens, at) in cases {
        let mut trace = honest.clone();
        bend(&mut trace);
        if seal {
            trace = Trace::seal(trace.metadata, trace.entries);
        }
        let path = made.write(&format!("{name}.bent"), &trace.to_bytes());
        let output = made.verify(&path, &["--json", "--temperature", "0"]);
        assert_code(&output, 1);
        let report = report(&output);
        let failed = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["outcome"] == "fail")
            .unwrap();
        assert_eq!(
            (failed["code"].as_str(), failed["position"].as_u64()),
            (Some(decisive), Some(at)),
            "{name}"
        );
        assert_ne!(failed["expected"], failed["got"], "{name}");
        assert_eq!(check(&report, "tokens")["code"], tokens, "{name}");
        let human = made.verify(&path, &["--temperature", "0"]);
        assert_code(&human, 1);
        let shown = text(&human.stdout);
        assert!(
            shown.starts_with(&format!("✗ REJECT  {decisive}\n")),
            "{name}: {shown}"
        );
        for part in [
            format!("position  {at}"),
            " expected".to_owned(),
            " got".to_owned(),
        ] {
            assert!(shown.contains(&part), "{name}: {part:?} is not in {shown}");
        }
    }
}

#[test]
fn one_step_is_judged_with_its_proof() {
    let made = made();
    let mut trace = made.trace("greedy.trace");
    trace.entries[20].logits.0[5] ^= 1;
    let trace = Trace::seal(trace.metadata, trace.entries);
    let path = made.write("late.bent", &trace.to_bytes());
    let early = made.verify(
        &path,
        &["--json", "--iteration", "19", "--temperature", "0"],
    );
    assert_code(&early, 0);
    let report = report(&early);
    assert_eq!(
        (
            check(&report, "proof")["outcome"].as_str(),
            &report["iteration"]
        ),
        (Some("pass"), &Value::from(19))
    );
    assert_eq!(report["agreement"]["positions"], 20);
    assert_code(
        &made.verify(&path, &["--iteration", "20", "--temperature", "0"]),
        1,
    );
    assert_code(
        &made.verify(&path, &["--iteration", "24", "--temperature", "0"]),
        1,
    );
    // A root from elsewhere is what a proof must lead to.
    let root = made.trace("greedy.trace").root.unwrap().to_string();
    assert_code(
        &made.verify(
            &path,
            &[
                "--iteration",
                "19",
                "--temperature",
                "0",
                "--expect-root",
                &root,
            ],
        ),
        1,
    );
}

#[test]
fn proofs_stand_alone() {
    let made = made();
    let (trace, proof) = (made.path("greedy.trace"), made.path("step.json"));
    let root = made.trace("greedy.trace").root.unwrap().to_string();
    assert_code(
        &assay(&[
            "llama2-rs",
            "proof",
            &trace,
            "--iteration",
            "17",
            "--out",
            &proof,
        ]),
        0,
    );
    let held = assay(&[
        "llama2-rs",
        "check",
        &proof,
        "--root",
        &root,
        "--iterations",
        "24",
    ]);
    assert_code(&held, 0);
    assert!(
        text(&held.stdout).starts_with("✓ ACCEPT"),
        "{}",
        text(&held.stdout)
    );
    let json = assay(&["llama2-rs", "check", &proof, "--root", &root, "--json"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (report["iteration"].as_u64(), report["verdict"].as_str()),
        (Some(17), Some("accept"))
    );
    assert_eq!(
        report["token"],
        made.trace("greedy.trace").entries[17].token
    );

    assert_code(
        &assay(&[
            "llama2-rs",
            "check",
            &proof,
            "--root",
            &root,
            "--iterations",
            "25",
        ]),
        1,
    );
    assert_code(
        &assay(&["llama2-rs", "check", &proof, "--root", &"0".repeat(64)]),
        1,
    );
    let honest = std::fs::read_to_string(&proof).unwrap();
    for (from, to) in [
        ("\"iteration\": 17", "\"iteration\": 16"),
        ("\"token\": ", "\"token\": 1"),
        ("{", "["),
        ("\"version\": 1", "\"version\": 9"),
    ] {
        assert!(honest.contains(from), "{from}");
        let bent = made.write("bent.json", honest.replacen(from, to, 1).as_bytes());
        assert_code(&assay(&["llama2-rs", "check", &bent, "--root", &root]), 1);
    }
    // The program's own form: 48 + 33 siblings + 32.
    let bytes = made.path("step.bincode");
    assert_code(
        &assay(&[
            "llama2-rs",
            "proof",
            &trace,
            "--iteration",
            "17",
            "--out",
            &bytes,
            "--bincode",
        ]),
        0,
    );
    assert_eq!((std::fs::read(&bytes).unwrap().len() - 80) % 33, 0);

    let mut broken = made.trace("greedy.trace");
    broken.leaves[2].0[0] ^= 1;
    let broken = made.write("broken.bent", &broken.to_bytes());
    assert_code(
        &assay(&[
            "llama2-rs",
            "proof",
            &broken,
            "--iteration",
            "17",
            "--out",
            &proof,
        ]),
        1,
    );
    assert_code(
        &assay(&[
            "llama2-rs",
            "proof",
            &trace,
            "--iteration",
            "24",
            "--out",
            &proof,
        ]),
        2,
    );
}

#[test]
fn the_table_is_safe() {
    let made = made();
    let table = assay(&["explain", &made.path("greedy.trace")]);
    assert_code(&table, 0);
    let shown = text(&table.stdout);
    assert!(shown.starts_with("UNVERIFIED"), "{shown}");
    assert_eq!(
        shown.lines().filter(|line| line.contains("✓ ")).count(),
        24,
        "{shown}"
    );
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );

    let mut trace = made.trace("greedy.trace");
    trace.metadata.prompt = "\u{1b}[2J\u{202e}ACCEPT".to_owned();
    trace.metadata.model_path = "é".repeat(300);
    let hostile =
        |entry: &mut Entry| entry.text = Some("é\u{301}\n\u{1b}[31m✓ ACCEPT é\u{200b}".repeat(20));
    trace.entries.iter_mut().for_each(hostile);
    trace.entries[7].token ^= 1;
    let path = made.write("hostile.trace", &trace.to_bytes());
    let table = assay(&["explain", &path]);
    assert_code(&table, 0);
    let shown = text(&table.stdout);
    assert!(
        shown
            .chars()
            .all(|c| c == '\n' || !c.is_control() && !"\u{202e}\u{200b}".contains(c)),
        "{shown}"
    );
    assert_eq!(
        shown.lines().filter(|line| line.contains("✗ ")).count(),
        1,
        "{shown}"
    );
    let json = assay(&["explain", &path, "--json"]);
    let explanation: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(explanation["holds_together"], false);
    assert_eq!(explanation["iterations"][7]["proof_holds"], false);
    assert_code(&made.verify(&path, &[]), 1);
}

#[test]
fn hostile_files_are_rejections() {
    let made = made();
    let honest = std::fs::read(made.path("greedy.trace")).unwrap();
    let whole_head = 8 + 5 + 8 + 16 + 8 + 8;
    for end in [
        whole_head,
        whole_head + 30,
        honest.len() / 2,
        honest.len() - 1,
    ] {
        let path = made.write("cut.bent", &honest[..end]);
        let output = made.verify(&path, &["--json"]);
        assert_code(&output, 1);
        assert_eq!(report(&output)["checks"][0]["code"], "structure");
        assert_code(&assay(&["explain", &path]), 1);
    }
    let mut huge = honest.clone();
    huge[whole_head - 8..whole_head].fill(0xff);
    let path = made.write("huge.bent", &huge);
    assert_code(&made.verify(&path, &["--quiet"]), 1);
    // Not even the head of one: Assay's own reader says what it is not.
    let path = made.write("garbage.bent", b"no trace");
    assert_code(&made.verify(&path, &["--quiet"]), 1);
}

#[test]
fn flags_that_mean_nothing_are_refused() {
    let made = made();
    let trace = made.path("greedy.trace");
    for flags in [
        &["--nonce", &"ab".repeat(32)][..],
        &["--csv", "x.csv"],
        &["--layers", "3"],
        &["-n", "4"],
    ] {
        let output = made.verify(&trace, flags);
        assert_code(&output, 2);
        assert!(
            text(&output.stderr).contains(flags[0]),
            "{}",
            text(&output.stderr)
        );
    }
    assert_code(&made.verify(&trace, &["--temperature", "0.8"]), 2);
    assert_code(
        &made.verify(&trace, &["--temperature", "0.8", "--seed", "0"]),
        2,
    );
    // The demo model is none that llama2-rs runs.
    let demo = assay(&["--verify", &trace]);
    assert_code(&demo, 2);
    assert!(
        text(&demo.stderr).contains("--model"),
        "{}",
        text(&demo.stderr)
    );
    // And Assay's own traces have no iterations.
    let own = made.path("own.bin");
    let prove = [
        "prove",
        "--adapter",
        "cpu",
        "--prompt",
        "ROMEO:",
        "-n",
        "2",
        "--trace",
        &own,
    ];
    assert_code(&assay(&prove), 0);
    let refused = assay(&["--verify", &own, "--adapter", "cpu", "--iteration", "1"]);
    assert_code(&refused, 2);
    assert!(
        text(&refused.stderr).contains("--iteration"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn stdin_is_a_file() {
    let made = made();
    let mut child = Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(["--verify", "-", "--model", &made.path("m.bin"), "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = std::fs::read(made.path("greedy.trace")).unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// An adapter's distance is told, and is no part of the verdict.
#[test]
fn an_adapter_is_compared_and_decides_nothing() {
    let made = made();
    let trace = made.path("greedy.trace");
    for info in adapters::all() {
        let name = info.name.split(' ').next().unwrap();
        let output = made.verify(&trace, &["--json", "--adapter", name]);
        assert_code(&output, 0);
        let report = report(&output);
        for run in report["adapter"]["runs"].as_array().unwrap() {
            println!("{name}: {run}");
            let worst = run["rel_l2_max"].as_f64().unwrap();
            assert!(worst < 1e-4, "{name}: {run}");
            assert_eq!(run["positions"], 24);
        }
        // Making kernels takes an adapter some seconds, so people's form is looked at once.
        if name == "llvmpipe" {
            let human = made.verify(&trace, &["--adapter", name]);
            let shown = text(&human.stdout);
            assert!(shown.contains("no part of the verdict"), "{shown}");
            assert!(
                shown.lines().all(|line| line.chars().count() <= 80),
                "{shown}"
            );
        }
    }
}

/// What the seed program wrote, through the command line. Bit for bit on the platform that wrote it only.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
#[test]
fn the_seeds_own_traces_are_accepted() {
    let (Some(folder), Some(model)) = (
        data::shared("llama2-rs-traces"),
        data::shared("stories260K/stories260K.bin"),
    ) else {
        return;
    };
    let path = |folder: &Path, name: &str| -> PathBuf { folder.join(name) };
    for (name, sampler) in [
        ("977305a-greedy.trace", &[][..]),
        ("977305a-sampled.trace", &SAMPLED),
        ("5b6eb95-greedy.trace", &[]),
        ("5b6eb95-sampled.trace", &SAMPLED),
    ] {
        let file = path(&folder, name);
        let head = [
            "--verify",
            file.to_str().unwrap(),
            "--model",
            model.to_str().unwrap(),
            "--json",
        ];
        let output = assay(&[&head, sampler].concat());
        assert_code(&output, 0);
        let report = report(&output);
        assert_eq!(
            (&report["verdict"], &report["agreement"]["hashes_equal"]),
            (&Value::from("accept"), &Value::from(60))
        );
    }
}
