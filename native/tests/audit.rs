//! Keys and audits as scripts see them. Everything runs on `--adapter cpu` with the demo model, so that these tests never skip.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

fn run(args: &[&str], files: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(["--adapter", "cpu"]).args(args);
    for (flag, path) in files {
        command.arg(flag).arg(path);
    }
    command.output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn fails(output: &Output, part: &str) {
    let shown = text(&output.stderr);
    assert_eq!(code(output), 2, "{shown}");
    assert!(shown.contains(part), "{part:?} is not in: {shown}");
    assert!(!shown.contains("panicked"), "{shown}");
    assert_eq!(text(&output.stdout), "", "an error leaves stdout empty");
}

/// A folder with a key, and traces opened in several ways.
struct Made {
    folder: TempDir,
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn audit(&self, trace: &str, args: &[&str]) -> Output {
        let (trace, key) = (self.path(trace), self.path("demo.SECRET.assay-key"));
        run(args, &[("--verify", &trace), ("--key", &key)])
    }
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Made {
            folder: tempfile::tempdir().unwrap(),
        };
        let key = made.path("demo.SECRET.assay-key");
        let keygen = run(&["keygen"], &[("--out", &key)]);
        assert_eq!(code(&keygen), 0, "{}", text(&keygen.stderr));
        for (name, open) in [
            ("all.bin", "all"),
            ("drawn.bin", "count=3,logits=4"),
            ("chosen.bin", "layers=1,5"),
        ] {
            let prove = ["prove", "--prompt", "ROMEO:", "-n", "8", "--open", open];
            let proved = run(&prove, &[("--trace", &made.path(name))]);
            assert_eq!(code(&proved), 0, "{}", text(&proved.stderr));
        }
        let prove = ["prove", "--prompt", "ROMEO:", "-n", "4"];
        let proved = run(&prove, &[("--trace", &made.path("plain.bin"))]);
        assert_eq!(code(&proved), 0, "{}", text(&proved.stderr));
        made
    })
}

#[test]
fn keys_are_secret_files() {
    let made = made();
    let path = made.path("demo.SECRET.assay-key");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner may read a key");
    }
    let head = std::fs::read(&path).unwrap();
    assert!(String::from_utf8_lossy(&head[..4000]).contains("SECRET"));
    // Another name is allowed, with a word of warning; two keys of one model have nothing in common.
    let other = made.path("other.key");
    let keygen = run(&["keygen", "--json"], &[("--out", &other)]);
    assert_eq!(code(&keygen), 0, "{}", text(&keygen.stderr));
    assert!(text(&keygen.stderr).contains("SECRET"));
    let summary: Value = serde_json::from_slice(&keygen.stdout).unwrap();
    assert_eq!(summary["bytes"], std::fs::metadata(&other).unwrap().len());
    assert_eq!(
        (&summary["projections"], &summary["layers"]),
        (&16.into(), &8.into())
    );
    assert_ne!(std::fs::read(&other).unwrap(), head);
}

#[test]
fn verdicts_and_exit_codes() {
    let made = made();
    for (trace, want, word) in [
        ("all.bin", 0, "ACCEPT"),
        ("drawn.bin", 0, "ACCEPT"),
        ("chosen.bin", 3, "prover-chose"),
        ("plain.bin", 3, "no-openings"),
    ] {
        let output = made.audit(trace, &[]);
        assert_eq!(code(&output), want, "{trace}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains(word), "{trace}");
    }
    let output = made.audit("drawn.bin", &["--json", "--expect-prompt-ids", "0,836,27"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap();
    assert!(
        jsonschema::validator_for(&schema)
            .unwrap()
            .is_valid(&report)
    );
    assert_eq!(
        (&report["method"], &report["audit"]["challenge"]),
        (&"audit".into(), &"offline".into())
    );
    assert_eq!(report["audit"]["layers"].as_array().unwrap().len(), 3);
    let wrong = made.audit("drawn.bin", &["--expect-prompt-ids", "1,2"]);
    assert_eq!(code(&wrong), 1);
    assert!(text(&wrong.stdout).contains("prompt-mismatch"));
    // The same trace is accepted with the weights.
    let replayed = run(&["--quiet"], &[("--verify", &made.path("drawn.bin"))]);
    assert_eq!(code(&replayed), 0, "{}", text(&replayed.stderr));
}

#[test]
fn a_key_of_another_model_rejects() {
    let made = made();
    let model = made.path("tiny");
    let synth = run(&["synth", "--shape", "tiny"], &[("--out", &model)]);
    assert_eq!(code(&synth), 0, "{}", text(&synth.stderr));
    let key = made.path("tiny.SECRET.assay-key");
    let keygen = run(&["keygen"], &[("--model", &model), ("--out", &key)]);
    assert_eq!(code(&keygen), 0, "{}", text(&keygen.stderr));
    let output = run(&[], &[("--verify", &made.path("all.bin")), ("--key", &key)]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stdout).contains("model-root"));
}

#[test]
fn encrypted_keys_want_their_passphrase() {
    let made = made();
    let (key, right, wrong) = (
        made.path("sealed.SECRET.assay-key"),
        made.path("right"),
        made.path("wrong"),
    );
    std::fs::write(&right, "correct horse\n").unwrap();
    std::fs::write(&wrong, "battery staple\n").unwrap();
    let keygen = run(
        &["keygen"],
        &[("--out", &key), ("--passphrase-file", &right)],
    );
    assert_eq!(code(&keygen), 0, "{}", text(&keygen.stderr));
    let trace = made.path("drawn.bin");
    let with = |passphrase: Option<&Path>| {
        let mut files = vec![("--verify", trace.as_path()), ("--key", key.as_path())];
        files.extend(passphrase.map(|file| ("--passphrase-file", file)));
        run(&["--quiet"], &files)
    };
    assert_eq!(code(&with(Some(&right))), 0);
    fails(&with(Some(&wrong)), "passphrase");
    fails(&with(None), "--passphrase-file");
}

#[test]
fn what_is_no_key_is_named() {
    let made = made();
    let trace = made.path("all.bin");
    let key = |path: &Path| run(&[], &[("--verify", &trace), ("--key", path)]);
    fails(&key(&made.path("nowhere")), "cannot read the key");
    fails(&key(&trace), "not a verifier key");
    let damaged = made.path("damaged");
    let mut bytes = std::fs::read(made.path("demo.SECRET.assay-key")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    fails(&key(&damaged), "not a usable key");
    let both = run(
        &["--expect-prompt", "ROMEO:"],
        &[
            ("--verify", &trace),
            ("--key", &made.path("demo.SECRET.assay-key")),
        ],
    );
    fails(&both, "--expect-prompt-ids");
    let bad = run(
        &["prove", "--prompt", "x", "--open", "some"],
        &[("--trace", &damaged)],
    );
    assert_eq!(code(&bad), 2);
    assert!(
        text(&bad.stderr).contains("layers=1,5,9"),
        "{}",
        text(&bad.stderr)
    );
    let beyond = run(
        &["prove", "--prompt", "x", "-n", "1", "--open", "layers=99"],
        &[("--trace", &made.path("beyond.bin"))],
    );
    assert_eq!(code(&beyond), 2, "{}", text(&beyond.stderr));
    assert!(!made.path("beyond.bin").exists());
}

#[test]
fn eval_checks_a_run_as_it_goes() {
    let made = made();
    let svg = made.path("stages.svg");
    let output = run(&["eval", "-n", "3", "--json"], &[("--timeline", &svg)]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["verified"], true);
    assert_eq!(summary["prompts"].as_array().unwrap().len(), 3);
    let modes = summary["prompts"][0]["ms"].as_array().unwrap();
    let modes: Vec<_> = modes.iter().map(|pair| pair[0].as_str().unwrap()).collect();
    assert_eq!(modes, ["origin", "sync", "async"]);
    assert_eq!(summary["streams"].as_array().unwrap().len(), 8);
    assert!(std::fs::read_to_string(svg).unwrap().contains("<svg"));
    let shown = run(&["eval", "-n", "2", "--mode", "sync"], &[]);
    assert_eq!(code(&shown), 0, "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("every step is what the model gives"));
}
