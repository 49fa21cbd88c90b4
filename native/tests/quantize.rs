//! `assay quantize` as scripts see it, and what the verifier says of runs of its copies. On `--adapter cpu`, so that nothing skips.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn assay(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn quantize(to: &str, out: &Path, more: &[&str]) -> Output {
    let out = out.to_str().unwrap();
    assay(&[&["quantize", "--to", to, "--out", out], more].concat())
}

#[test]
fn a_copy_proves_and_verifies_as_itself_and_not_as_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (to, name) in [("int8", "int8"), ("q4_0", "copy.gguf")] {
        let copy = path(name);
        let made = quantize(to, &copy, &["--json"]);
        assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
        let summary: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(
            (&summary["to"], &summary["rounding"]),
            (&to.into(), &"nearest".into())
        );
        assert!(summary["bytes"].as_u64() < summary["original_bytes"].as_u64());
        let (copy, trace) = (copy.to_str().unwrap(), path(&format!("{to}.bin")));
        let trace = trace.to_str().unwrap();
        let device = ["--adapter", "cpu"];
        let proved = assay(
            &[
                &device[..],
                &[
                    "prove", "--model", copy, "--prompt", "ROMEO:", "-n", "6", "--trace", trace,
                ],
            ]
            .concat(),
        );
        assert_eq!(proved.status.code(), Some(0), "{}", text(&proved.stderr));
        let own = assay(&[&device[..], &["--verify", trace, "--model", copy]].concat());
        assert_eq!(own.status.code(), Some(0), "{}", text(&own.stdout));
        let original = assay(&[&device[..], &["--verify", trace, "--json"]].concat());
        assert_eq!(
            original.status.code(),
            Some(1),
            "{}",
            text(&original.stdout)
        );
        let report: Value = serde_json::from_slice(&original.stdout).unwrap();
        let failed = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|check| check["outcome"] == "fail" && check["code"].is_string());
        assert!(failed, "{report}");
    }
    // Nothing is overwritten, and nothing is left where nothing was made.
    let again = quantize("int8", &path("int8"), &[]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    let of_copy = quantize(
        "q8_0",
        &path("x.gguf"),
        &["--model", path("int8").to_str().unwrap()],
    );
    assert_eq!(of_copy.status.code(), Some(2));
    assert!(
        text(&of_copy.stderr).contains("int8"),
        "{}",
        text(&of_copy.stderr)
    );
    let group = quantize("int4-gptq", &path("y"), &["--group", "100"]);
    assert_eq!(group.status.code(), Some(2), "{}", text(&group.stderr));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 4, "{left:?}");
}
