//! Sparse models as scripts see them: proofs that skip, and the study of predictors from collecting to a sheet. Everything runs on
//! `--adapter cpu`, so that these tests never skip.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use assay_sheet::{Block, Sheet};
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
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn works(output: &Output) -> String {
    assert_eq!(code(output), 0, "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn fails(output: &Output, part: &str) {
    let shown = text(&output.stderr);
    assert_eq!(code(output), 2, "{shown}");
    assert!(shown.contains(part), "{part:?} is not in: {shown}");
    assert!(!shown.contains("panicked"), "{shown}");
}

fn verdict(args: &[&str], trace: &Path) -> (i32, String, Vec<String>) {
    let args = [&["--json"], args].concat();
    let output = run(&args, &[("--verify", trace)]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed = report["checks"].as_array().unwrap().iter();
    let failed = failed
        .filter(|check| check["outcome"] == "fail")
        .map(|check| check["code"].as_str().unwrap_or_default().to_owned());
    let word = report["verdict"].as_str().unwrap().to_owned();
    (code(&output), word, failed.collect())
}

/// Lines of a text that is no one's: enough documents for a split.
fn prose() -> String {
    let words = [
        "the king",
        "my lord",
        "good night",
        "a rose",
        "no more",
        "the crown",
        "sweet love",
        "to arms",
    ];
    let line = |i: usize| {
        let word = |j: usize| words[(i * 5 + j * 3 + i * j) % words.len()];
        format!(
            "{}, and {} with {};\n{} is {}.\n\n",
            word(0),
            word(1),
            word(2),
            word(3),
            word(4)
        )
    };
    (0..160).map(line).collect()
}

struct Made {
    folder: TempDir,
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A dataset of two layers, and predictors of them.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Made {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(made.path("text"), prose()).unwrap();
        let collect = [
            "sparse", "collect", "--tokens", "1200", "--window", "24", "--layers", "0,1",
        ];
        let files = [("--text", made.path("text")), ("--out", made.path("data"))];
        let files = files.each_ref().map(|(flag, path)| (*flag, path.as_path()));
        works(&run(&collect, &files));
        for seed in ["0", "1"] {
            let train = [
                "sparse", "train", "--rank", "8", "--epochs", "2", "--seed", seed,
            ];
            let out = made.path(&format!("{seed}.predictor"));
            let said = works(&run(
                &train,
                &[("--data", &made.path("data")), ("--out", &out)],
            ));
            assert!(said.contains("recall at true count"), "{said}");
        }
        made
    })
}

#[test]
fn a_proof_that_skips_is_accepted_by_its_own_rule_alone() {
    let made = made();
    let trace = made.path("skips.bin");
    let prove = [
        "prove", "--prompt", "ROMEO:", "-n", "6", "--sparse", "topk:50%",
    ];
    works(&run(&prove, &[("--trace", &trace)]));
    let accepted = (0, "accept".to_owned(), Vec::new());
    let rejected = (1, "reject".to_owned(), vec!["sparsity".to_owned()]);
    assert_eq!(verdict(&["--sparse", "topk:50%"], &trace), accepted);
    assert_eq!(verdict(&["--sparse", "topk:256"], &trace), accepted);
    assert_eq!(verdict(&[], &trace), rejected);
    assert_eq!(verdict(&["--sparse", "topk:40%"], &trace), rejected);
    assert_eq!(verdict(&["--sparse", "cats:0.1"], &trace), rejected);
    let explained = works(&run(&["explain", trace.to_str().unwrap()], &[]));
    assert!(explained.contains("topk"), "{explained}");
    // A dense trace is not what such a verifier asked for.
    let dense = made.path("dense.bin");
    works(&run(
        &["prove", "--prompt", "ROMEO:", "-n", "6"],
        &[("--trace", &dense)],
    ));
    assert_eq!(verdict(&["--sparse", "topk:50%"], &dense), rejected);
    for (rule, part) in [
        ("topk:101%", "want a share"),
        ("topk:9999", "the model's MLPs have 512"),
        ("relu", "for models with ReLU"),
        ("nothing", "want topk:30%"),
        ("cats:/no/such/file", "/no/such/file"),
    ] {
        let prove = ["prove", "--prompt", "ROMEO:", "-n", "1", "--sparse", rule];
        fails(&run(&prove, &[("--trace", &made.path("none.bin"))]), part);
    }
}

#[test]
fn predictors_are_trained_measured_and_used() {
    let made = made();
    let data = made.path("data");
    let eval = ["sparse", "eval", "--json"];
    let predictor = made.path("0.predictor");
    let said = works(&run(
        &eval,
        &[("--data", &data), ("--predictor", &predictor)],
    ));
    let layers: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(layers.as_array().unwrap().len(), 2);
    // Whoever predicts everything is exposed: all of recall, and the precision of the share that is active.
    for layer in layers.as_array().unwrap() {
        let everything = &layer["everything"];
        assert_eq!(everything["recall"], 1.0);
        let share = everything["true_fraction"].as_f64().unwrap();
        assert_eq!(everything["precision"].as_f64().unwrap(), share);
    }
    let out = made.path("report");
    let report = [
        "sparse",
        "report",
        "--predictor",
        predictor.to_str().unwrap(),
        made.path("1.predictor").to_str().unwrap(),
    ]
    .map(str::to_owned);
    let report = report.each_ref().map(String::as_str);
    works(&run(&report, &[("--data", &data), ("--out", &out)]));
    for name in ["report.json", "layers.csv", "layers.svg"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let sheet = Sheet::parse(&std::fs::read(out.join("sheet.json")).unwrap()).unwrap();
    let blocks = &sheet.sections[0].blocks;
    assert!(blocks.iter().any(|block| matches!(block, Block::Chart(_))));
    // Of one seed in another's place, and of a predictor that is used where it should not be.
    let twice = [predictor.to_str().unwrap(); 2];
    let report = [&["sparse", "report", "--predictor"], &twice[..]].concat();
    fails(&run(&report, &[("--data", &data), ("--out", &out)]), "seed");
    let missing = "predicted:/no/such/file:30%";
    let prove = [
        "prove", "--prompt", "ROMEO:", "-n", "1", "--sparse", missing,
    ];
    fails(
        &run(&prove, &[("--trace", &made.path("none.bin"))]),
        "/no/such/file",
    );
    // It knows two layers of eight: a run with it stops, where the seed went on with a random one.
    let some = format!("predicted:{}:30%", predictor.display());
    let prove = ["prove", "--prompt", "ROMEO:", "-n", "1", "--sparse", &some];
    fails(
        &run(&prove, &[("--trace", &made.path("none.bin"))]),
        "layer",
    );
}

#[test]
fn a_bench_writes_its_figures_and_a_sheet() {
    let made = made();
    let out = made.path("bench");
    let bench = [
        "sparse",
        "bench",
        "--tokens",
        "60",
        "--window",
        "20",
        "--sparsity",
        "50",
        "--decode",
        "2",
    ];
    works(&run(
        &bench,
        &[("--text", &made.path("text")), ("--out", &out)],
    ));
    let summary: Value =
        serde_json::from_slice(&std::fs::read(out.join("bench.json")).unwrap()).unwrap();
    let how = |i: usize| summary["points"][i]["how"].as_str().unwrap();
    assert_eq!([how(0), how(1)], ["dense", "oracle"]);
    assert!(summary["points"][0]["perplexity"].as_f64().unwrap() > 1.0);
    Sheet::parse(&std::fs::read(out.join("sheet.json")).unwrap()).unwrap();
    for name in ["bench.csv", "bench.svg"] {
        assert!(out.join(name).is_file(), "{name}");
    }
}

#[test]
fn a_dataset_is_taken_up_again_and_never_mixed() {
    let made = made();
    let collect = |tokens: &str| {
        let args = [
            "sparse", "collect", "--tokens", tokens, "--window", "24", "--layers", "0,1",
        ];
        run(
            &args,
            &[
                ("--text", &made.path("text")),
                ("--out", &made.path("data")),
            ],
        )
    };
    let before = std::fs::metadata(made.path("data").join("mlp_x_0"))
        .unwrap()
        .len();
    works(&collect("1200"));
    let after = std::fs::metadata(made.path("data").join("mlp_x_0"))
        .unwrap()
        .len();
    assert_eq!(before, after);
    fails(&collect("600"), "tokens");
}
