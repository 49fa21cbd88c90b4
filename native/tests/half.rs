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
