//! The command line as scripts see it: exit codes, streams, files. Everything runs on `--adapter cpu` with the demo model,
//! so that these tests never skip.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

fn assay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.env_remove("NO_COLOR");
    command
}

fn run(args: &[&str]) -> Output {
    assay().args(args).output().unwrap()
}

/// On the CPU, with a path at the end.
fn verify(trace: &Path, args: &[&str]) -> Output {
    let mut command = assay();
    command
        .args(["--adapter", "cpu"])
        .args(args)
        .arg("--verify")
        .arg(trace);
    command.output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, want: i32, part: &str) {
    let shown = text(&output.stderr);
    assert_eq!(code(output), want, "{shown}");
    assert!(shown.contains(part), "{part:?} is not in: {shown}");
    assert!(!shown.contains("panicked"), "{shown}");
    assert_eq!(text(&output.stdout), "", "an error leaves stdout empty");
}

/// A folder with an honest trace, made once: sampled, so that it has a seed.
fn honest() -> &'static Path {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.bin");
        let made = prove(&path, &["--temperature", "0.8", "--seed", "7", "-n", "12"]);
        assert_eq!(code(&made), 0, "{}", text(&made.stderr));
        (folder, path)
    });
    path
}

fn prove(trace: &Path, args: &[&str]) -> Output {
    let mut command = assay();
    command
        .args(["prove", "--adapter", "cpu", "--prompt", "ROMEO:"])
        .args(args)
        .arg("--trace")
        .arg(trace);
    command.output().unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn help_states_the_contract() {
    let help = run(&["--help"]);
    assert_eq!(code(&help), 0);
    let shown = text(&help.stdout);
    for part in [
        "--verify <FILE>",
        "--adapter",
        "--no-color",
        "prove",
        "explain",
        "Exit codes:",
        "130  interrupted",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    for verb in [
        "prove", "verify", "explain", "window", "adapters", "logits", "synth", "tamper",
    ] {
        assert_eq!(code(&run(&[verb, "--help"])), 0, "{verb}");
    }
}

#[test]
fn usage_errors_are_exit_code_2() {
    assert_fails(&run(&["--threads", "1"]), 2, "nothing to do");
    assert_fails(
        &run(&["--verify", "x", "adapters"]),
        2,
        "not for use with another verb",
    );
    assert_fails(&run(&["--json"]), 2, "--verify");
    assert_fails(&run(&["--verify"]), 2, "value is required");
    assert_fails(&run(&["frobnicate"]), 2, "unrecognized");
    assert_fails(
        &run(&["--verify", "x", "--nonce", "abc"]),
        2,
        "want 64 hex digits (32 bytes), got 3",
    );
    assert_fails(
        &run(&["--threads", "0", "adapters"]),
        2,
        "0 is not in 1..=1024",
    );
}

/// Where there is a display, `assay` alone opens the window; only X11 and Wayland let a test take it away.
#[cfg(target_os = "linux")]
#[test]
fn a_window_needs_a_display() {
    for args in [&[][..], &["--no-color"], &["window"], &["window", "x.bin"]] {
        let mut command = assay();
        let output = command
            .args(args)
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .output()
            .unwrap();
        assert_fails(&output, 2, "there is no display to open a window on");
        assert_fails(&output, 2, "assay --verify trace.bin");
    }
}

#[test]
fn honest_trace_is_accepted() {
    let output = verify(honest(), &[]);
    let shown = text(&output.stdout);
    assert_eq!(code(&output), 0, "{shown}{}", text(&output.stderr));
    assert!(shown.starts_with("✓ ACCEPT\n"), "{shown}");
    for part in [
        "hidden-states",
        "Not covered",
        "freshness",
        "cpu (Assay's own CPU kernels)",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    assert_eq!(
        text(&output.stderr),
        "",
        "nothing to say on stderr where that is no terminal"
    );
    // The verb is the same thing.
    let verb = assay()
        .args(["verify", "--adapter", "cpu"])
        .arg(honest())
        .output()
        .unwrap();
    assert_eq!(code(&verb), 0, "{}", text(&verb.stderr));
}

#[test]
fn json_report_fits_its_schema_and_the_report_file() {
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let report_path = folder.path().join("report.json");
    let (nonce, swapped) = ("ab".repeat(32), folder.path().join("swapped.bin"));
    let tampered = assay()
        .arg("tamper")
        .arg(honest())
        .args(["--swap-token", "--out"])
        .arg(&swapped)
        .output()
        .unwrap();
    assert_eq!(code(&tampered), 0, "{}", text(&tampered.stderr));
    let garbage = folder.path().join("garbage.bin");
    std::fs::write(&garbage, b"no trace").unwrap();

    let cases: [(&Path, &[&str], i32, &str); 4] = [
        (honest(), &[], 0, "accept"),
        (&swapped, &[], 1, "reject"),
        (honest(), &["--nonce", &nonce], 1, "reject"),
        (&garbage, &[], 1, "reject"),
    ];
    for (trace, args, want, verdict) in cases {
        let report_args = ["--json", "--report", report_path.to_str().unwrap()];
        let output = verify(trace, &[&report_args, args].concat());
        assert_eq!(
            code(&output),
            want,
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let problems: Vec<String> = schema
            .iter_errors(&report)
            .map(|problem| problem.to_string())
            .collect();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(report["verdict"], verdict);
        assert_eq!(
            std::fs::read(&report_path).unwrap(),
            output.stdout,
            "the file has the same bytes"
        );
    }
    assert!(
        files(folder.path())
            .iter()
            .all(|name| !name.ends_with(".part"))
    );
}

/// Fields of each line of a CSV file (RFC 4180).
fn csv_lines(text: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut chars, mut quoted) = (text.chars().peekable(), false);
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => line.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                line.push(std::mem::take(&mut field));
                lines.push(std::mem::take(&mut line));
            }
            c => field.push(c),
        }
    }
    assert!(!quoted && line.is_empty() && field.is_empty(), "{text}");
    lines
}

#[test]
fn figures_are_written_as_csv() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figures.csv");
    let shown = path.to_str().unwrap();
    let output = verify(honest(), &["--csv", shown]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let csv = std::fs::read_to_string(&path).unwrap();
    let lines = csv_lines(&csv);
    let (head, rows) = lines.split_first().unwrap();
    for name in ["kind", "position", "layer", "token", "rel_l2", "margin"] {
        assert!(head.iter().any(|field| field == name), "{name}: {head:?}");
    }
    assert!(rows.iter().all(|row| row.len() == head.len()), "{csv}");
    let column = |name: &str| head.iter().position(|field| field == name).unwrap();
    let of_kind = |kind: &str| -> Vec<&Vec<String>> {
        let rows = rows.iter().filter(|row| row[column("kind")] == kind);
        rows.collect()
    };
    // Two opened layers at 14 positions; 12 tokens judged.
    let (states, tokens) = (of_kind("state"), of_kind("token"));
    assert_eq!(states.len(), 2 * 14, "{csv}");
    assert_eq!(states.len() + tokens.len(), rows.len(), "{csv}");
    let judged = tokens
        .iter()
        .filter(|row| !row[column("margin")].is_empty());
    assert_eq!(judged.count(), 12, "{csv}");
    for row in states {
        // Layer 0 is the embedding, which is looked up: it has no distance to allow for.
        let number = |name: &str| row[column(name)].parse::<f64>().ok();
        let limit = number("rel_l2_limit");
        assert_eq!(limit.is_none(), row[column("layer")] == "0", "{row:?}");
        let got = number("rel_l2").unwrap();
        assert!((0.0..=limit.unwrap_or(0.0)).contains(&got), "{row:?}");
    }
    // A trace that cannot be read has no figures, but the file is there and has its head.
    let garbage = folder.path().join("garbage.bin");
    std::fs::write(&garbage, b"no trace").unwrap();
    assert_eq!(code(&verify(&garbage, &["--csv", shown])), 1);
    let csv = std::fs::read_to_string(&path).unwrap();
    assert_eq!(csv_lines(&csv), lines[..1], "{csv}");
}

#[test]
fn statements_say_what_passed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statement.json");
    let statement = |trace: &Path, args: &[&str], want: i32| -> (Value, Value) {
        let args = [&["--json", "--statement", path.to_str().unwrap()], args].concat();
        let output = verify(trace, &args);
        assert_eq!(code(&output), want, "{}", text(&output.stderr));
        let statement = serde_json::from_slice(&std::fs::read(&path).unwrap());
        let report = serde_json::from_slice(&output.stdout);
        (statement.unwrap(), report.unwrap())
    };
    let garbage = folder.path().join("garbage.bin");
    std::fs::write(&garbage, b"no trace").unwrap();
    let wrong_nonce = ["--nonce", &"ab".repeat(32)];
    // The check that failed, if any.
    let cases: [(&Path, &[&str], Option<&str>); 3] = [
        (honest(), &[], None),
        (honest(), &wrong_nonce, Some("nonce")),
        (&garbage, &[], Some("structure")),
    ];
    for (trace, args, failed) in cases {
        let (exit, verdict) = if failed.is_none() {
            (0, "accept")
        } else {
            (1, "reject")
        };
        let (statement, report) = statement(trace, args, exit);
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(
            statement["predicateType"],
            "https://in-toto.io/attestation/svr/v0.2"
        );
        assert_eq!(
            statement["subject"][0]["digest"]["sha256"],
            report["trace"]["sha256"]
        );
        let predicate = &statement["predicate"];
        assert_eq!(predicate["assay"]["verdict"], verdict);
        assert_eq!(predicate["assay"]["failed"], Value::from_iter(failed));
        let time = predicate["timeCreated"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
        let properties: Vec<&str> = predicate["properties"]
            .as_array()
            .unwrap()
            .iter()
            .map(|property| property.as_str().unwrap())
            .collect();
        if verdict == "accept" {
            let checks = report["checks"].as_array().unwrap();
            let passed = checks.iter().filter(|check| check["outcome"] == "pass");
            assert_eq!(properties[0], "ASSAY_TRACE_ACCEPTED");
            assert_eq!(properties.len(), 1 + passed.count());
        } else {
            assert_eq!(
                properties, [""; 0],
                "a policy must find nothing that passed"
            );
        }
    }
}

/// Told before the work: the trace is not even there.
#[test]
fn files_that_cannot_be_written_are_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("missing").join("out");
    for flag in ["--report", "--csv", "--statement"] {
        let output = verify(
            Path::new("no/such/trace.bin"),
            &[flag, blocked.to_str().unwrap()],
        );
        assert_fails(&output, 2, "cannot write");
        let output = verify(honest(), &[flag, folder.path().to_str().unwrap()]);
        assert_fails(&output, 2, "this is a folder");
        // And nothing is left of a file that could be written, where the work then failed.
        let free = folder.path().join("out");
        let output = verify(
            Path::new("no/such/trace.bin"),
            &[flag, free.to_str().unwrap()],
        );
        assert_fails(&output, 2, "cannot read the trace");
    }
    assert_eq!(files(folder.path()), Vec::<String>::new());
    assert_fails(&run(&["--csv", "x"]), 2, "--verify");
    assert_fails(&run(&["--statement", "x"]), 2, "--verify");
}

#[test]
fn rejections_name_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let tampered = |args: &[&str], name: &str| {
        let path = folder.path().join(name);
        let output = assay()
            .arg("tamper")
            .arg(honest())
            .args(args)
            .arg("--out")
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        path
    };
    let cases = [
        (
            tampered(&["--swap-token"], "swapped"),
            vec![],
            "token-margin",
        ),
        (
            tampered(&["--flip-byte"], "flipped"),
            vec![],
            "state-digest",
        ),
        (
            honest().to_owned(),
            vec![
                "--nonce",
                "0123456789abcdef0123456789abcdef0123456789ABCDEF0123456789ABCDEF",
            ],
            "nonce",
        ),
        (
            honest().to_owned(),
            vec!["--expect-prompt", "JULIET:"],
            "prompt-mismatch",
        ),
        (
            honest().to_owned(),
            vec!["--expect-prompt-ids", "0"],
            "prompt-mismatch",
        ),
        (
            honest().to_owned(),
            vec!["--expect-temperature", "0"],
            "sampler-mismatch",
        ),
        (
            honest().to_owned(),
            vec!["--expect-temperature", "0.8", "--expect-seed", "8"],
            "sampler-mismatch",
        ),
        (
            honest().to_owned(),
            vec!["--expect-compute", "bf16"],
            "precision-mismatch",
        ),
    ];
    for (path, args, reason) in cases {
        let output = verify(&path, &args);
        let shown = text(&output.stdout);
        assert_eq!(
            code(&output),
            1,
            "{reason}: {shown}{}",
            text(&output.stderr)
        );
        assert!(
            shown.starts_with(&format!("✗ REJECT  {reason}\n")),
            "{reason}: {shown}"
        );
    }
    let right = [
        "--expect-prompt",
        "ROMEO:",
        "--expect-temperature",
        "0.8",
        "--expect-seed",
        "7",
        "--expect-compute",
        "f32",
    ];
    let output = verify(honest(), &right);
    assert_eq!(
        code(&output),
        0,
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert_fails(
        &verify(honest(), &["--expect-temperature", "0.8"]),
        2,
        "--expect-seed",
    );
}

#[test]
fn malformed_traces_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.bin");
    let bytes = std::fs::read(honest()).unwrap();
    let cases: [&[u8]; 5] = [
        b"",
        b"not a trace at all",
        &bytes[..bytes.len() - 1],
        &bytes[..7],
        &[0xff; 64],
    ];
    for case in cases {
        std::fs::write(&path, case).unwrap();
        let output = verify(&path, &[]);
        let shown = text(&output.stdout);
        assert_eq!(code(&output), 1, "{shown}{}", text(&output.stderr));
        assert!(shown.starts_with("✗ REJECT  structure\n"), "{shown}");
        let explained = assay().arg("explain").arg(&path).output().unwrap();
        assert_fails(&explained, 1, "structure: ");
    }
    // No adapter is needed to tell that a file is no trace.
    let output = assay()
        .args(["--adapter", "no such adapter", "--verify"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
}

#[test]
fn a_sparse_file_above_the_cap_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.bin");
    std::fs::File::create(&path)
        .unwrap()
        .set_len((16 << 30) + 1)
        .unwrap();
    assert_fails(&verify(&path, &[]), 1, "structure: file is too large");
}

#[test]
fn missing_files_are_exit_code_2() {
    assert_fails(
        &verify(Path::new("no/such/trace.bin"), &[]),
        2,
        "cannot read the trace no/such/trace.bin",
    );
    assert_fails(&verify(Path::new("."), &[]), 2, "this is a folder");
    assert_fails(
        &verify(honest(), &["--model", "no/such/model"]),
        2,
        "check the path",
    );
    assert_fails(
        &verify(honest(), &["--report", "no/such/folder/report.json"]),
        2,
        "cannot write",
    );
    let no_adapter = assay()
        .args(["--adapter", "no such adapter", "--verify"])
        .arg(honest())
        .output()
        .unwrap();
    assert_fails(&no_adapter, 2, "no adapter matches `no such adapter`");
}

#[test]
fn stdin_is_read() {
    let output = assay()
        .args(["--adapter", "cpu", "--verify", "-", "--quiet"])
        .stdin(std::fs::File::open(honest()).unwrap())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        ("", ""),
        "--quiet prints nothing"
    );
    let empty = assay()
        .args(["--verify", "-", "--quiet"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(code(&empty), 1);
}

#[test]
fn a_closed_stdout_keeps_the_verdict() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = assay();
    command
        .args(["--adapter", "cpu", "--verify"])
        .arg(honest())
        .args(["--nonce", &"00".repeat(32)]);
    let status = command.stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_an_error() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = assay();
    command
        .args(["--adapter", "cpu", "--json", "--verify"])
        .arg(honest());
    let output = command.stdout(full).output().unwrap();
    assert_fails(&output, 2, "cannot write to stdout");
}

#[test]
fn prove_json_has_what_scripts_need() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.bin");
    let nonce = "0f".repeat(32);
    let args = [
        "--temperature",
        "0.9",
        "--top-k",
        "40",
        "--top-p",
        "0.95",
        "-n",
        "5",
        "--nonce",
        &nonce,
        "--json",
    ];
    let output = prove(&trace, &args);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["token_ids"].as_array().unwrap().len(), 5);
    assert_eq!(made["prompt_ids"], serde_json::json!([0, 836, 27]));
    assert_eq!(made["nonce"], nonce);
    assert_eq!(
        made["trace_bytes"],
        std::fs::metadata(&trace).unwrap().len()
    );
    assert_eq!(made["root"].as_str().unwrap().len(), 64);
    assert!(made["text"].is_string() && made["tokens_per_s"].as_f64().unwrap() > 0.0);
    assert!(made["trace_overhead_percent"].as_f64().unwrap() >= 0.0);
    // The seed was drawn, told, and is enough to do it again.
    let seed = made["seed"].as_str().unwrap();
    let again = prove(&trace, &[&args[..], &["--seed", seed]].concat());
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["root"], made["root"]);
    let output = verify(&trace, &["--nonce", &nonce]);
    assert_eq!(code(&output), 0, "{}", text(&output.stdout));
    assert_eq!(files(folder.path()), ["trace.bin"]);
}

#[test]
fn prove_prints_the_text_on_stdout_and_the_rest_on_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let output = prove(&folder.path().join("trace.bin"), &["-n", "4"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "\nI'll be\n");
    for part in ["greedy", "4 after a prompt of 3", "trace.bin", "root"] {
        assert!(
            text(&output.stderr).contains(part),
            "{part} is not in: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn wrong_prompts_and_samplers_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.bin");
    let with = |args: &[&str]| {
        let mut command = assay();
        command
            .args(["prove", "--adapter", "cpu", "--trace"])
            .arg(&trace)
            .args(args);
        command.output().unwrap()
    };
    let long = vec!["1"; 513].join(",");
    assert_fails(
        &with(&["--prompt-ids", "0,2048"]),
        2,
        "prompt id 2048 is beyond",
    );
    assert_fails(&with(&["--prompt-ids", ""]), 2, "the prompt is empty");
    assert_fails(&with(&["--prompt-ids", "1,x"]), 2, "not a token id: \"x\"");
    assert_fails(&with(&["--prompt-ids", "1,-2"]), 2, "not a token id");
    assert_fails(
        &with(&["--prompt-ids", &long]),
        2,
        "too long: got 513 tokens, the model's context has 512",
    );
    assert_fails(
        &with(&["--prompt", "a", "--prompt-ids", "1"]),
        2,
        "cannot be used with",
    );
    assert_fails(&with(&[]), 2, "--prompt");
    assert_fails(&with(&["--prompt", "a", "-n", "0"]), 2, "0 is not in 1..");
    assert_fails(
        &with(&["--prompt", "a", "--temperature", "-1"]),
        2,
        "temperature is out of range",
    );
    assert_fails(
        &with(&["--prompt", "a", "--temperature", "NaN"]),
        2,
        "temperature is out of range",
    );
    assert_fails(
        &with(&["--prompt", "a", "--temperature", "1", "--top-p", "0"]),
        2,
        "top-p is out of range",
    );
    assert_fails(&with(&["--prompt", "a", "--tokenizer", "x"]), 2, "--model");
    assert_eq!(
        files(folder.path()),
        Vec::<String>::new(),
        "nothing is left behind"
    );
}

#[test]
fn a_model_without_a_tokenizer_takes_ids_only() {
    let folder = tempfile::tempdir().unwrap();
    let (model, trace) = (folder.path().join("tiny"), folder.path().join("trace.bin"));
    let made = assay()
        .args(["synth", "--shape", "tiny", "--out"])
        .arg(&model)
        .output()
        .unwrap();
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let prove = |prompt: &[&str]| {
        let mut command = assay();
        command
            .args(["prove", "--adapter", "cpu", "-n", "3", "--model"])
            .arg(&model)
            .arg("--trace")
            .arg(&trace);
        command.args(prompt).output().unwrap()
    };
    assert_fails(&prove(&["--prompt", "text"]), 2, "no tokenizer");
    let output = prove(&["--prompt-ids", "1,5,9"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout).trim().split(',').count(),
        3,
        "ids stand for text"
    );
    // Another model's trace is told apart before anything is run.
    let output = verify(&trace, &[]);
    assert_eq!(code(&output), 1);
    assert!(
        text(&output.stdout).starts_with("✗ REJECT  model-root\n"),
        "{}",
        text(&output.stdout)
    );
    let again = assay()
        .args(["synth", "--shape", "tiny", "--out"])
        .arg(&model)
        .output()
        .unwrap();
    assert_fails(&again, 2, "already exists");
    assert_fails(
        &run(&["synth", "--shape", "gpt-5", "--out", "x"]),
        2,
        "known: llama-3.2-1b",
    );
}

#[test]
fn a_trace_that_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("missing").join("trace.bin");
    assert_fails(&prove(&blocked, &["-n", "2"]), 2, "cannot write");
    assert_fails(&prove(folder.path(), &["-n", "2"]), 2, "this is a folder");
    #[cfg(unix)]
    assert_fails(
        &prove(Path::new("/dev/null"), &["-n", "2"]),
        2,
        "not a regular file",
    );
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

/// `ulimit -f` fails a write in the middle, as a full disk does; `trap` makes it an error instead of a signal.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_and_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.bin");
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$0\" prove --adapter cpu --prompt ROMEO: -n 12 --trace \"$1\"";
    let limited = || {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, env!("CARGO_BIN_EXE_assay")])
            .arg(&trace)
            .output()
            .unwrap()
    };
    let output = limited();
    assert_fails(&output, 2, "cannot write");
    assert!(
        text(&output.stderr).contains("the trace was not kept"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(files(folder.path()), Vec::<String>::new());
    std::fs::write(&trace, b"old").unwrap();
    assert_fails(&limited(), 2, "cannot write");
    assert_eq!(files(folder.path()), ["trace.bin"]);
    assert_eq!(std::fs::read(&trace).unwrap(), b"old");
}

#[cfg(unix)]
#[test]
fn a_trace_is_written_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (
        folder.path().join("target.bin"),
        folder.path().join("link.bin"),
    );
    std::fs::write(&target, b"old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert_eq!(code(&prove(&link, &["-n", "2"])), 0);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(code(&verify(&target, &[])), 0);
}

/// Waits for the temporary file, so that the interrupt arrives in the middle of the work.
#[cfg(unix)]
#[test]
fn an_interrupt_removes_the_unfinished_trace() {
    use std::time::{Duration, Instant};
    let folder = tempfile::tempdir().unwrap();
    let mut command = assay();
    command.args([
        "prove",
        "--adapter",
        "cpu",
        "--prompt",
        "ROMEO:",
        "-n",
        "500",
        "--ignore-eos",
        "--trace",
    ]);
    let mut child = command
        .arg(folder.path().join("trace.bin"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while files(folder.path()).is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no temporary file appeared"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "interrupted\n");
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[test]
fn explain_shows_claims_as_claims() {
    let output = assay().arg("explain").arg(honest()).output().unwrap();
    let shown = text(&output.stdout);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    for part in [
        "UNVERIFIED",
        "temperature 0.8, seed 7",
        "\"ROMEO\"",
        "all hashes in the file agree",
        "(not run)",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    let json = assay()
        .arg("explain")
        .arg(honest())
        .arg("--json")
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["positions"].as_array().unwrap().len(), 14);
    assert_eq!(json["positions"][1]["text"], "ROMEO");
    assert_eq!(json["prover_says"]["sampler"]["seed"], "7");
    assert_eq!(json["hash_problem"], Value::Null);
}

#[test]
fn explain_tells_of_broken_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let flipped = folder.path().join("flipped.bin");
    let made = assay()
        .arg("tamper")
        .arg(honest())
        .args(["--flip-byte", "--out"])
        .arg(&flipped)
        .output()
        .unwrap();
    assert_eq!(code(&made), 0);
    let output = assay().arg("explain").arg(&flipped).output().unwrap();
    assert!(
        text(&output.stdout).contains("broken: "),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn colour_only_where_it_is_wanted() {
    for args in [vec![], vec!["--no-color"]] {
        let output = verify(honest(), &args);
        assert!(
            !text(&output.stdout).contains('\u{1b}'),
            "stdout is no terminal here"
        );
    }
    // On a terminal (util-linux's `script` makes one), and there with each way to turn it off.
    let on_a_terminal = |prefix: &str, flag: &str| {
        let line = format!(
            "{prefix} '{}' {flag} --adapter cpu --verify '{}'",
            env!("CARGO_BIN_EXE_assay"),
            honest().display()
        );
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| output.stdout)
    };
    let Some(coloured) = on_a_terminal("", "") else {
        println!("skipped in part: no `script` on this machine");
        return;
    };
    assert!(
        text(&coloured).contains("\u{1b}[1;32m✓ ACCEPT\u{1b}[0m"),
        "{}",
        text(&coloured)
    );
    for (prefix, flag) in [("NO_COLOR=1", ""), ("TERM=dumb", ""), ("", "--no-color")] {
        let plain = on_a_terminal(prefix, flag).unwrap();
        assert!(
            !text(&plain).contains("\u{1b}[1"),
            "{prefix} {flag}: {}",
            text(&plain)
        );
    }
}

#[test]
fn a_strict_trace_is_compared_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strict.bin");
    let made = prove(&path, &["--numerics", "strict", "-n", "5", "--json"]);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let summary: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(summary["numerics"], "strict");

    let shown = verify(&path, &[]);
    assert_eq!(code(&shown), 0, "{}", text(&shown.stdout));
    let words: Vec<&str> = text(&shown.stdout).split_whitespace().collect();
    assert!(
        words
            .join(" ")
            .contains("strict numerics, compared bit for bit")
    );
    let json = verify(&path, &["--json"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["numerics"]["comparison"], "exact");
    let checks = report["checks"].as_array().unwrap();
    let strict = checks.iter().find(|check| check["id"] == "strict").unwrap();
    assert_eq!(strict["outcome"], "pass", "{strict}");

    assert_fails(&prove(&path, &["--numerics", "exact"]), 2, "--numerics");
}

#[test]
fn strict_bits_are_digested_by_the_self_test() {
    let output = run(&["adapters", "--adapter", "cpu", "--self-test"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("the same bits as everywhere"), "{shown}");
    let output = run(&["adapters", "--adapter", "cpu", "--self-test", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let strict = &json["adapters"][0]["self_test"]["strict"];
    assert_eq!(strict["digest"], strict["expected"]);
    assert!(shown.contains(strict["digest"].as_str().unwrap()));
}

#[test]
fn adapters_are_listed() {
    let output = run(&["adapters", "--adapter", "cpu"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("Assay's own CPU kernels"));
    let output = run(&["adapters", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let adapters = json["adapters"].as_array().unwrap();
    assert_eq!(adapters.last().unwrap()["name"], "cpu");
    assert!(
        adapters
            .iter()
            .all(|adapter| adapter["max_binding"].is_u64() && adapter["variants"].is_object())
    );
}

/// Against the demo model's own reference, which was computed in f64 by other code.
#[test]
fn logits_are_exported_in_transformers_terms() {
    let reference: Value =
        serde_json::from_str(include_str!("../../app/model/demo-llama/reference.json")).unwrap();
    let case = &reference["cases"][0];
    let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(case[key].clone()).unwrap() };
    let ids: Vec<String> = case["prompt_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let mut command = assay();
    command
        .args([
            "logits",
            "--adapter",
            "cpu",
            "--prompt-ids",
            &ids.join(","),
            "--out",
        ])
        .arg(&path);
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));

    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str, shape: &[usize]| -> Vec<f64> {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.shape(), shape);
        let values = tensor
            .data()
            .chunks_exact(4)
            .map(|value| f32::from_le_bytes(value.try_into().unwrap()));
        values.map(f64::from).collect()
    };
    let (n, hidden) = (ids.len(), 192);
    let logits = tensor("logits", &[n, 2048]);
    let states = tensor("hidden_states", &[9, n, hidden]);
    for (got, want) in logits[(n - 1) * 2048..]
        .iter()
        .zip(numbers("last_position_logits_first16"))
    {
        assert!((got - want).abs() < 1e-4, "got {got}, want {want}");
    }
    // The reference has the last state before the final norm and after it; the export has it after.
    let mut norms = numbers("last_position_hidden_l2");
    assert_eq!(norms.len(), 10);
    norms.remove(8);
    for (layer, want) in norms.into_iter().enumerate() {
        let start = (layer * n + n - 1) * hidden;
        let got = states[start..start + hidden]
            .iter()
            .map(|x| x * x)
            .sum::<f64>()
            .sqrt();
        assert!(
            (got / want - 1.0).abs() < 2e-5,
            "state {layer}: got {got}, want {want}"
        );
    }
}
