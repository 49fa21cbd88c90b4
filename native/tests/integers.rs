//! Products of integers as scripts see them: quantise, make a key, prove, audit. Everything runs on `--adapter cpu` with the demo model.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(args: &[&str], files: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(["--adapter", "cpu"]).args(args);
    for (flag, path) in files {
        command.arg(flag).arg(path);
    }
    command.output().unwrap()
}

#[track_caller]
fn exits(output: &Output, code: i32) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    let shown = String::from_utf8_lossy(err);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    assert!(!shown.contains("panicked"), "{shown}");
    format!("{}{shown}", String::from_utf8_lossy(out))
}

#[test]
fn from_a_float_model_to_an_exact_audit() {
    audited_exactly("int8", "int8", "int8");
    audited_exactly("blocks", "q8_0", "model.gguf");
    audited_exactly("blocks", "int4-gptq", "int4");
}

fn audited_exactly(activations: &str, stored: &str, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let [model, key, trace] =
        [name, "x.SECRET.assay-key", "trace.bin"].map(|name| folder.path().join(name));
    exits(&run(&["quantize", "--to", stored], &[("--out", &model)]), 0);
    let keygen = ["keygen", "--activations", activations, "--json"];
    let made = run(&keygen, &[("--model", &model), ("--out", &key)]);
    exits(&made, 0);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made["activations"], activations);

    let prove = [
        "prove",
        "--activations",
        activations,
        "--numerics",
        "strict",
    ];
    let what = ["--prompt", "ROMEO:", "-n", "6", "--open", "all", "--json"];
    let proved = run(
        &[&prove[..], &what].concat(),
        &[("--model", &model), ("--trace", &trace)],
    );
    exits(&proved, 0);
    let proved: Value = serde_json::from_slice(&proved.stdout).unwrap();
    let stated = (&proved["numerics"], &proved["activations"]);
    assert_eq!(stated, (&"exact".into(), &activations.into()));

    // The key says what was bought; a model does not.
    let audit = run(&["--json"], &[("--verify", &trace), ("--key", &key)]);
    exits(&audit, 0);
    let report: Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(report["audit"]["tiers"][0]["tier"], "exact");
    let float = run(&[], &[("--verify", &trace), ("--model", &model)]);
    assert!(exits(&float, 1).contains("activations"));
    let replay = ["--activations", activations];
    let replayed = run(&replay, &[("--verify", &trace), ("--model", &model)]);
    assert!(exits(&replayed, 0).contains("ACCEPT"));
    let explained = run(&["explain", trace.to_str().unwrap()], &[]);
    assert!(exits(&explained, 0).contains("8-bit integers"));

    // What cannot take such inputs says so, and leaves no file.
    let none = folder.path().join("none.bin");
    let floats = [
        "prove",
        "--activations",
        activations,
        "--prompt",
        "x",
        "-n",
        "2",
    ];
    let refused = run(&floats, &[("--trace", &none)]);
    assert!(exits(&refused, 2).contains("stored as bf16"));
    assert!(!none.exists());
    let unknown = run(
        &["prove", "--activations", "int4", "--prompt", "x"],
        &[("--trace", &none)],
    );
    assert!(exits(&unknown, 2).contains("float, int8, blocks or ggml"));
}
