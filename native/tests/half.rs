//! Provers in half precision, as scripts see them.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(args).current_dir(folder).output().unwrap()
}

#[test]
fn a_prover_in_half_precision_is_accepted_and_the_report_says_how_it_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let prove = |extra: &[&str]| {
        let args = [
            "prove",
            "--adapter",
            "cpu",
            "--prompt",
            "To be",
            "-n",
            "6",
            "--trace",
            "trace.bin",
        ];
        run(folder.path(), &[&args[..], extra].concat())
    };
    let proved = prove(&["--compute", "bf16"]);
    assert_eq!(proved.status.code(), Some(0));
    let verified = run(
        folder.path(),
        &["--verify", "trace.bin", "--adapter", "cpu", "--json"],
    );
    assert_eq!(verified.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(report["verdict"], "accept");
    assert_eq!(report["statistics"]["distance_unit"], "emulated");
    // The prover emulates as the verifier does, so its last state is one unit away, to the last bit.
    let layers = report["statistics"]["per_layer"].as_array().unwrap();
    let last = layers.last().unwrap()["rel_l2_max"].as_f64().unwrap();
    assert!((last - 1.0).abs() < 1e-6, "{last}");
    let left = report["coverage"]["not_covered"].to_string();
    assert!(left.contains("int8 KV"), "{left}");

    // Whoever paid for f32 says so, and is not content with less.
    for (asked, exit) in [("bf16", 0), ("f32", 1), ("f16", 1), ("fp8", 2)] {
        let args = [
            "--verify",
            "trace.bin",
            "--adapter",
            "cpu",
            "--expect-compute",
            asked,
        ];
        let verified = run(folder.path(), &args);
        let shown = String::from_utf8_lossy(&verified.stdout);
        assert_eq!(verified.status.code(), Some(exit), "{asked}: {shown}");
        assert_eq!(
            shown.starts_with("✗ REJECT  precision-mismatch\n"),
            exit == 1,
            "{shown}"
        );
    }

    for (extra, part) in [
        (&["--compute", "fp8"][..], "want f32, bf16 or f16"),
        (
            &["--compute", "bf16", "--open", "all"],
            "linear outputs in emulated half precision",
        ),
    ] {
        let refused = prove(extra);
        let shown = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{shown}");
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn suspects_are_named_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let base = ["--adapter", "cpu"];
    let made = [
        "prove",
        "--compute",
        "bf16",
        "--prompt",
        "To be, or not to be",
        "-n",
        "20",
        "--trace",
        "trace.bin",
    ];
    let proved = run(folder.path(), &[&made[..], &base].concat());
    assert_eq!(proved.status.code(), Some(0));
    let verify = |extra: &[&str]| {
        let args = ["--verify", "trace.bin"];
        run(folder.path(), &[&args[..], &base, extra].concat())
    };
    let named = ["--suspect", "round:q8_0", "--suspect", "kv:int4"];
    let verified = verify(&named);
    let shown = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(0), "{shown}");
    assert!(shown.contains("\n✓ suspects "), "{shown}");
    assert!(shown.contains("round:q8_0 "), "{shown}");
    let verified = verify(&[&named[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let schema = serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap();
    let valid = jsonschema::validate(&schema, &report);
    assert!(valid.is_ok(), "{valid:?}");
    let leans = report["statistics"]["suspects"].as_array().unwrap();
    assert_eq!(leans.len(), 2, "{leans:?}");
    for lean in leans {
        assert!(lean["lean"].as_f64().unwrap().abs() < 0.15, "{lean}");
        assert!(lean["distance"].as_f64().unwrap() > 1e-3, "{lean}");
    }

    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/model/demo-llama");
    let same = verify(&["--suspect", demo.to_str().unwrap()]);
    let shown = String::from_utf8_lossy(&same.stdout);
    assert_eq!(same.status.code(), Some(3), "{shown}");
    assert!(shown.contains("suspect-same"), "{shown}");
    for (wrong, part) in [
        ("round:int9", "want round:q8_0, round:int8"),
        ("kv:exact", "kv:int4 or a path"),
        ("/nowhere/at/all", "cannot suspect \"/nowhere/at/all\""),
    ] {
        let refused = verify(&["--suspect", wrong]);
        let shown = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{shown}");
        assert!(shown.contains(part), "{shown}");
    }
}
