//! `assay experiment`, `calibrate` and `noise` as scripts see them, on `--adapter cpu` with the demo model.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn assay(args: &[&str], out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(["--adapter", "cpu"])
        .args(args)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    shown.into_owned()
}

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

const SMALL: [&str; 8] = [
    "--trials",
    "2",
    "--verifiers",
    "2",
    "-n",
    "10",
    "--verifier-adapter",
    "cpu",
];

fn experiment(name: &str, extra: &[&str], out: &Path) -> Output {
    assay(&[&["experiment", name], &SMALL[..], extra].concat(), out)
}

#[test]
fn an_experiment_runs_is_resumed_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    succeeds(&experiment("exp3", &[], out));
    let trial = out.join("exp3/trial-001.json");
    let first = json(&trial);
    assert_eq!(first["proven"]["num_tokens_generated"], 10);
    assert_eq!(first["verifications"].as_array().unwrap().len(), 2);
    let pairs = first["verifications"][0]["per_layer"].as_object().unwrap();
    // Nine of ten generated tokens entered the model; hidden states 0 and 8.
    assert_eq!(pairs.len(), 18);
    assert_eq!(pairs["token_0_layer_0"]["verdict"], "ACCEPT");
    assert_eq!(pairs["token_0_layer_0"]["Pe"], 0.0);
    let deep = &pairs["token_3_layer_8"];
    assert!(
        deep["rel_l2"].as_f64().unwrap() > 1e-3,
        "int4 is far away: {deep}"
    );
    assert_eq!(first["verifications"][0]["own"]["verdict"], "reject");
    let [honest, claimed] = ["true_root", "claimed_root"].map(|key| &first["proven"][key]);
    assert_ne!(honest, claimed);

    let summary = &json(&out.join("summary.json"))[0];
    let a = &summary["aggregate"];
    assert_eq!((&a["trials"], &a["verifications"]), (&2.into(), &4.into()));
    assert_eq!(a["own"]["reject"], 4);
    assert_eq!(summary["readings"]["own_caught"], 1.0);
    let (with, without) = (
        &a["avg_accept_rate"],
        &a["avg_accept_rate_without_embedding"],
    );
    // Half of all pairs are embeddings, which always match.
    assert!((with.as_f64().unwrap() - 0.5 - without.as_f64().unwrap() / 2.0).abs() < 1e-9);
    let html = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    assert!(html.contains("<svg") && !html.contains("<script") && !html.contains("NaN"));
    assert!(
        !html.contains("http://")
            || html.matches("http://").count()
                == html.matches("http://www.w3.org/2000/svg").count()
    );

    // A trial that is there is kept; one that is gone or broken is made again, from its trace.
    let kept = out.join("exp3/trial-000.json");
    let written = std::fs::metadata(&kept).unwrap().modified().unwrap();
    std::fs::write(&trial, b"{ half a file").unwrap();
    let shown = succeeds(&experiment("exp3", &[], out));
    assert!(shown.contains("1 trials were there"), "{shown}");
    assert_eq!(
        std::fs::metadata(&kept).unwrap().modified().unwrap(),
        written
    );
    let again = json(&trial);
    assert_eq!(
        again["verifications"][0]["per_layer"],
        first["verifications"][0]["per_layer"]
    );
    assert_eq!(again["proven"], first["proven"]);
}

#[test]
fn two_steps_with_a_folder_between_machines() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let missing = experiment("exp2", &["--step", "verify"], out);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("--step prove"));
    succeeds(&experiment("exp2", &["--step", "prove"], out));
    assert!(!out.join("summary.json").exists());
    let meta = json(&out.join("exp2/trial-000_metadata.json"));
    let trace = out
        .join("exp2")
        .join(meta["hidden_states_file"].as_str().unwrap());
    succeeds(&experiment("exp2", &["--step", "verify"], out));
    let a = &json(&out.join("summary.json"))[0]["aggregate"];
    assert_eq!(
        (&a["own"]["accept"], &a["avg_accept_rate"]),
        (&4.into(), &1.0.into())
    );
    // A trace that changed on its way is no trace of this prover's.
    let mut bytes = std::fs::read(&trace).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&trace, bytes).unwrap();
    let changed = experiment("exp2", &["--step", "verify"], out);
    assert_eq!(changed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&changed.stderr).contains("not the file"));
}

#[test]
fn a_calibrated_profile_is_used_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let profile = out.join("mine.json");
    let shown = profile.to_str().unwrap();
    // Several prompts: a limit from one trace is no limit for another.
    let args = [
        "calibrate",
        "--experiment",
        "exp6",
        "--trials",
        "2",
        "--verifiers",
        "1",
        "-n",
        "8",
        "--verifier-adapter",
        "cpu",
        "--id",
        "mine",
        "--apply",
        shown,
    ];
    let made = assay(&args, out);
    succeeds(&made);
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(
        text.contains("RECOMMENDED THRESHOLDS FOR EXP6_ONE_TO_MANY"),
        "{text}"
    );
    let analysis = json(&out.join("exp6_one_to_many_threshold_optimization.json"));
    assert!(analysis["analysis"]["Pe"]["count"].as_u64().unwrap() > 0);
    assert!(analysis["by_layer_and_position"]["layer_8/tokens_0-15"]["rel_l2"]["p99"].is_number());
    assert!(out.join("exp6_one_to_many_distribution.svg").exists());
    let trace = out.join("exp6/trial-000_hidden_states.trace");
    let report = Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(["--adapter", "cpu", "--json", "--profile", shown, "--verify"])
        .arg(&trace)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["verdict"], "accept", "{report}");
    assert_eq!(report["profile"]["id"], "mine (mine.json)");
}

#[test]
fn noise_writes_the_logs_of_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("logs");
    let text = folder.path().join("text.jsonl");
    let long =
        "ROMEO: But soft, what light through yonder window breaks? It is the east. ".repeat(110);
    let line = serde_json::json!({ "text": long }).to_string();
    std::fs::write(
        &text,
        format!("{line}\n\n{{\"text\": \"short\"}}\n{line}\n"),
    )
    .unwrap();
    let text = text.to_str().unwrap();
    let made = assay(
        &[
            "noise", "--text", text, "--limit", "4", "--scales", "0,1e-3", "--json",
        ],
        &out,
    );
    succeeds(&made);
    let summary: Value = serde_json::from_slice(&made.stdout).unwrap();
    let [plain, noisy] = [&summary["levels"][0], &summary["levels"][1]];
    assert_eq!(plain["tokens"], 4 * 511);
    let ppl = plain["perplexity"].as_f64().unwrap();
    assert!((1.0..2048.0).contains(&ppl), "{ppl}");
    assert!((noisy["perplexity"].as_f64().unwrap() / ppl - 1.0).abs() < 0.05);
    // gate: 768 columns or so at 1e-3 are far above the seed's threshold of 1e-5; q gets no noise.
    let loss = |level: &Value, i: usize| level["losses"][i][1].as_f64().unwrap();
    assert!(loss(noisy, 6) > 1e-5 && loss(plain, 6) < 1e-8);
    assert!(loss(noisy, 0) < 1e-6);
    for ending in [".log", "-loss.log", "-loss.svg"] {
        assert!(
            out.join(format!("ppl-llama-noise-1e-3-limit-4{ending}"))
                .exists(),
            "{ending}"
        );
    }
}

#[test]
fn detection_measures_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let args = [
        "experiment",
        "detection",
        "--verifier-adapter",
        "cpu",
        "--honest",
        "8",
        "--runs",
        "1",
        "--tokens",
        "8",
    ];
    succeeds(&assay(&args, out));
    let table = json(&out.join("detection/detection.json"));
    // What is there is not run again, and gives the same table.
    let shown = succeeds(&assay(&args, out));
    assert!(shown.contains("58 runs were there"), "{shown}");
    assert_eq!(json(&out.join("detection/detection.json")), table);
    let class = &table["classes"][0];
    assert_eq!(
        (&class["calibration_runs"], &class["held_out_runs"]),
        (&4.into(), &4.into())
    );
    assert_eq!(class["own_false_rejects"], serde_json::json!([0, 0]));
    let cheats = class["cheats"].as_array().unwrap();
    assert_eq!(cheats.len(), 21);
    let int8 = cheats.iter().find(|row| row["cheat"] == "int8").unwrap();
    assert_eq!(int8["own"], serde_json::json!([1, 0]));
    let l2 = int8["found"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["statistic"] == "relative L2")
        .unwrap();
    assert_eq!(l2["true_positives"], serde_json::json!([1.0, 1.0]));
    assert!(
        std::fs::read_to_string(out.join("detection/detection.md"))
            .unwrap()
            .contains("| int8 |")
    );
    // In bf16 int8 weights are found by naming them, and honest runs lean nowhere.
    let half = &table["classes"][1];
    assert_eq!(half["own_false_rejects"], serde_json::json!([0, 0]));
    let suspects = half["suspicions"].as_array().unwrap();
    assert_eq!(suspects.len(), 7);
    for suspect in suspects {
        assert_eq!(suspect["honest"]["rejected"]["k"], 0, "{suspect}");
        assert_eq!(suspect["honest"]["rejected"]["n"], 8, "{suspect}");
    }
    let int8 = suspects.iter().find(|s| s["suspect"] == "int8").unwrap();
    assert_eq!(int8["guilty"]["rejected"]["k"], 1, "{int8}");
    assert_eq!(int8["true_positives"], serde_json::json!([1.0, 1.0]));
    assert_eq!(class["suspicions"], serde_json::json!([]));
    let html = std::fs::read_to_string(out.join("detection/detection.html")).unwrap();
    assert!(html.contains("<svg") && !html.contains("NaN"));
}
