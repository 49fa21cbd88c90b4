//! TOPLOC proofs through the command line: made of a trace, verified by another run, and refused in every way that the package would not.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::process::{Command, Output};
use std::sync::OnceLock;

use assay_tests::data;
use serde_json::Value;
use tempfile::TempDir;

fn assay(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command
        .env_remove("NO_COLOR")
        .args(["--adapter", "cpu"])
        .args(args);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_code(output: &Output, want: i32) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(want), "{out}{err}");
    assert!(!err.contains("panicked"), "{err}");
}

struct Made(TempDir);

impl Made {
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn write(&self, name: &str, value: &Value) -> String {
        let path = self.path(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    }

    fn verify(&self, proofs: &str) -> (i32, Value) {
        let output = assay(&[
            "toploc",
            "verify",
            proofs,
            "--trace",
            &self.path("t.bin"),
            "--json",
        ]);
        assert!(!text(&output.stderr).contains("panicked"));
        let report = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), report)
    }
}

/// A trace of 40 tokens (two decode chunks), and proofs of its states.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Made(tempfile::tempdir().unwrap());
        let (trace, other) = (made.path("t.bin"), made.path("u.bin"));
        let sampler = ["--temperature", "0.8", "--seed", "7", "-n", "40", "--trace"];
        assert_code(
            &assay(
                &[
                    &["prove", "--prompt", "ROMEO:"],
                    &sampler[..],
                    &[trace.as_str()],
                ]
                .concat(),
            ),
            0,
        );
        assert_code(
            &assay(
                &[
                    &["prove", "--prompt", "JULIET: but"],
                    &sampler[..],
                    &[other.as_str()],
                ]
                .concat(),
            ),
            0,
        );
        for (trace, proofs) in [(&trace, "p.json"), (&other, "q.json")] {
            assert_code(
                &assay(&[
                    "toploc",
                    "prove",
                    "--trace",
                    trace,
                    "--out",
                    &made.path(proofs),
                ]),
                0,
            );
        }
        made
    })
}

#[test]
fn a_traces_proofs_are_within_the_thresholds() {
    let made = made();
    let proofs = made.json("p.json");
    assert_eq!(
        (proofs["top"].as_u64(), proofs["batch"].as_u64()),
        (Some(128), Some(32))
    );
    assert_eq!(proofs["proofs"].as_array().unwrap().len(), 3);
    let (code, report) = made.verify(&made.path("p.json"));
    assert_eq!((code, &report["verdict"]), (0, &Value::from("accept")));
    for chunk in report["chunks"].as_array().unwrap() {
        assert_eq!(
            (chunk["within_signed"].as_bool(), chunk["modulus"].as_u64()),
            (Some(true), Some(65497))
        );
        assert!(
            chunk["exponent_mismatches"].as_u64().unwrap() <= 2,
            "{chunk}"
        );
    }
    assert_eq!(report["thresholds"]["exponent_mismatches"], 38);
    assert!(
        report["thresholds"]["source"]
            .as_str()
            .unwrap()
            .contains("not measured here")
    );

    let human = assay(&[
        "toploc",
        "verify",
        &made.path("p.json"),
        "--trace",
        &made.path("t.bin"),
    ]);
    assert_code(&human, 0);
    let shown = text(&human.stdout);
    assert!(
        shown.starts_with("✓ ACCEPT  by TOPLOC's thresholds\n"),
        "{shown}"
    );
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    // The package's own form says the same.
    let bare = made.path("bare.json");
    assert_code(
        &assay(&[
            "toploc",
            "prove",
            "--trace",
            &made.path("t.bin"),
            "--out",
            &bare,
            "--bare",
        ]),
        0,
    );
    assert_eq!(made.verify(&bare).0, 0);
}

#[test]
fn other_runs_signs_moduli_and_counts_are_rejections() {
    let made = made();
    let (code, report) = made.verify(&made.path("q.json"));
    assert_eq!((code, &report["code"]), (1, &Value::from("prompt")));
    let (honest, mut other) = (made.json("p.json"), made.json("q.json"));
    other["prompt_rows"] = honest["prompt_rows"].clone();
    let (code, report) = made.verify(&made.write("other.json", &other));
    assert_eq!((code, &report["code"]), (1, &Value::from("threshold")));

    let bent = |name: &str, bend: &dyn Fn(&mut Vec<Value>)| {
        let mut file = honest.clone();
        bend(file["proofs"].as_array_mut().unwrap());
        made.verify(&made.write(name, &file))
    };
    let (code, report) = bent("short.json", &|proofs| proofs.truncate(2));
    assert_eq!((code, &report["code"]), (1, &Value::from("count")));
    let (code, report) = bent("none.json", &|proofs| proofs.clear());
    assert_eq!((code, &report["code"]), (1, &Value::from("structure")));
    let (code, report) = bent("null.json", &|proofs| {
        proofs[1] = Value::from("A".repeat(344));
    });
    assert_eq!((code, &report["code"]), (1, &Value::from("structure")));
    // Modulus 65496 instead of 65497: the first two bytes, 0xffd9, are "/9" and a bit of "k".
    let (code, report) = bent("modulus.json", &|proofs| {
        let text = proofs[1].as_str().unwrap();
        assert!(text.starts_with("/9"));
        let third = match text.as_bytes()[2] {
            b @ b'k'..=b'n' => (b - 4) as char,
            b => panic!("{b}"),
        };
        proofs[1] = Value::from(format!("/9{third}{}", &text[3..]));
    });
    assert_eq!(
        (code, &report["code"]),
        (1, &Value::from("modulus")),
        "{report}"
    );
    let garbage = made.path("garbage.json");
    std::fs::write(&garbage, b"\xff{").unwrap();
    assert_eq!(made.verify(&garbage).0, 1);
}

#[test]
fn usage_is_checked() {
    let made = made();
    let proofs = made.path("p.json");
    for args in [
        &["toploc", "verify", &proofs][..],
        &["toploc", "verify", &proofs, "--prompt-ids", "1,2"],
        &[
            "toploc",
            "verify",
            &proofs,
            "--prompt-ids",
            "1,99999",
            "--output-ids",
            "3,4",
        ],
        &[
            "toploc",
            "verify",
            "no-such-file",
            "--trace",
            &made.path("t.bin"),
        ],
        &[
            "toploc",
            "verify",
            &proofs,
            "--activations",
            &proofs,
            "--prompt-rows",
            "3",
        ],
        &[
            "toploc",
            "prove",
            "--trace",
            &made.path("t.bin"),
            "--out",
            "/no/such/folder/x",
        ],
    ] {
        assert_code(&assay(args), 2);
    }
}

/// What the package proved in bf16 on torch, held against this engine in f32.
#[test]
fn the_packages_proofs_hold_against_own_activations_and_its_own() {
    let Some(folder) = data::shared("toploc") else {
        return;
    };
    let json: Value =
        serde_json::from_slice(&std::fs::read(folder.join("demo-llama-toploc.json")).unwrap())
            .unwrap();
    let tensors = folder.join("demo-llama-toploc.safetensors");
    let made = Made(tempfile::tempdir().unwrap());
    let ids = |ids: &Value| {
        let ids: Vec<String> = ids
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        ids.join(",")
    };
    for (index, case) in json["cases"].as_array().unwrap().iter().enumerate() {
        let proofs = made.write("p.json", &case["proofs_base64"]);
        let (prompt, generated) = (ids(&case["prompt_ids"]), ids(&case["output_ids"]));
        let run = assay(&[
            "toploc",
            "verify",
            &proofs,
            "--json",
            "--prompt-ids",
            &prompt,
            "--output-ids",
            &generated,
        ]);
        assert_code(&run, 0);
        let report: Value = serde_json::from_slice(&run.stdout).unwrap();
        let mismatches: Vec<&Value> = report["chunks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["exponent_mismatches"])
            .collect();
        println!("case {index}, own run: {mismatches:?} of 128 exponents differ");
        let (rows, name) = (
            case["prompt_ids"].as_array().unwrap().len().to_string(),
            format!("case{index}.activations"),
        );
        let stored = [
            "--activations",
            tensors.to_str().unwrap(),
            "--tensor",
            &name,
            "--prompt-rows",
            &rows,
        ];
        let same = assay(&[&["toploc", "verify", &proofs, "--json"], &stored[..]].concat());
        assert_code(&same, 0);
        let report: Value = serde_json::from_slice(&same.stdout).unwrap();
        assert!(
            report["chunks"]
                .as_array()
                .unwrap()
                .iter()
                .all(|c| c["exponent_mismatches"] == 0 && c["mantissa_mean"] == 0.0)
        );
    }
}
