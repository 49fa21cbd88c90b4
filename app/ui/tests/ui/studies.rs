//! What a study found, and a trace of a model that skips neurons.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use assay_engine::sampler::SamplerSpec;
use assay_engine::sparsity::SparseModel;
use assay_engine::{Device, Engine, Numerics, Quiet};
use assay_model::Model;
use assay_prove::Request;
use assay_sheet::{
    Across, Axis, Block, Cell, Chart, Flame, Frame, Mark, Series, Sheet, Style, Table,
};
use assay_trace::Digest;
use assay_ui::{Input, Settings, Source, Start};
use assay_work::message::{News, Stage, ToWorker};
use egui_kittest::kittest::Queryable;

use crate::rig::{NARROW, Rig};

/// A sheet of every kind of block, one that is none, and a trace of the demo model with half of its neurons skipped.
pub fn files() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let sheet = sheet()
            .to_json()
            .expect("it keeps to the rules")
            .into_bytes();
        let mut wide = String::from_utf8(sheet.clone()).expect("text");
        wide = wide.replacen("\"version\": 1", "\"version\": 2", 1);
        BTreeMap::from([
            ("sheet.json".to_owned(), sheet),
            ("later.json".to_owned(), wide.into_bytes()),
            ("skipping.bin".to_owned(), skipping()),
        ])
    })
}

pub fn sheet() -> Sheet {
    let series = |name: &str, style, by: f64| Series {
        name: name.to_owned(),
        style,
        points: (0..8)
            .map(|l| [f64::from(l), by / f64::from(l + 1)])
            .collect(),
        band: match style {
            Style::Line => (0..8)
                .map(|l| [by, by * 1.5].map(|end| 0.8 * end / f64::from(l + 1)))
                .collect(),
            _ => Vec::new(),
        },
    };
    let chart = |title: &str, y: Axis, all: Vec<Series>| {
        Block::Chart(Chart {
            title: title.to_owned(),
            x: Axis::linear("layer"),
            y,
            series: all,
            marks: vec![Mark {
                label: "the seed’s".to_owned(),
                axis: Across::Y,
                at: 0.95,
            }],
        })
    };
    let table = Table {
        caption: "Held-out documents".to_owned(),
        columns: ["layer", "recall", "finding"].map(str::to_owned).to_vec(),
        rows: (0..100)
            .map(|l| {
                vec![
                    Cell::from(f64::from(l)),
                    Cell::from(0.5),
                    Cell::from("better"),
                ]
            })
            .chain([vec![
                Cell::Nothing,
                Cell::from(1e-7),
                Cell::from("\u{202e}forged\n"),
            ]])
            .collect(),
    };
    Sheet::new(
        "llama MLP neurons",
        "At equal budgets the predictor finds more.",
    )
    .fact("adapter", "llvmpipe")
    .section(
        "What predictors find",
        vec![
            Block::Text("Recall alone is won by predicting everything.".to_owned()),
            chart(
                "Recall by layer",
                Axis::linear("recall"),
                vec![
                    series("predictor", Style::Line, 0.9),
                    series("static list", Style::Dots, 0.5),
                    series("count", Style::Bars, 0.2),
                ],
            ),
            chart(
                "The same on a log axis",
                Axis::log("recall"),
                vec![series("predictor", Style::Line, 0.9)],
            ),
            Block::Table(table),
            Block::Flame(flame()),
        ],
    )
}

/// Layers of a run and their kernels, one of which is forged.
fn flame() -> Flame {
    let frame = |name: &str, depth, start, length| Frame {
        name: name.to_owned(),
        depth,
        start,
        length,
    };
    Flame {
        title: "one token".to_owned(),
        unit: "ms".to_owned(),
        frames: vec![
            frame("one token", 0, 0.0, 8.0),
            frame("layer 0", 1, 0.0, 5.0),
            frame("matvec 8 x 8", 2, 0.0, 4.0),
            frame("\u{202e}forged\n", 2, 4.0, 1.0),
            frame("layer 1", 1, 5.0, 3.0),
            frame("matvec 8 x 8", 2, 5.0, 2.5),
        ],
    }
}

fn skipping() -> Vec<u8> {
    let model = Model::demo().expect("the demo model");
    let rule = Arc::new(SparseModel::top_k(model.config().intermediate as u32 / 2));
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let request = Request {
        prompt: tokenizer.encode("To be, or not").expect("it encodes"),
        max_tokens: 8,
        sampler: SamplerSpec::Greedy,
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit: None,
    };
    let root: Digest = model.root(&mut |_, _| {}).expect("a root");
    let proved = pollster::block_on(async {
        let capacity = request.capacity(model.config());
        let numerics = Numerics::Fast;
        let device = Device::Cpu;
        let engine =
            Engine::load_with(&device, &model, capacity, numerics, Some(rule), &mut Quiet).await;
        let mut engine = engine.expect("it loads");
        assay_prove::prove(&mut engine, &model, root, &request, &mut Quiet).await
    });
    proved.expect("it proves").trace.to_bytes()
}

fn chosen(name: &str) -> Input {
    Input::Chosen(vec![(name.to_owned(), Source::Path(name.to_owned()))])
}

#[test]
fn a_dropped_sheet_is_drawn() {
    for (size, start) in [
        (crate::rig::WIDE, Start::default()),
        (NARROW, Start::default()),
    ] {
        let mut rig = Rig::with(size, Settings::default(), start);
        rig.work();
        assert_eq!(rig.json()["study"], serde_json::Value::Null);
        rig.tell(chosen("sheet.json"));
        rig.work();
        let state = rig.json();
        assert_eq!(
            (&state["page"], &state["study"], &state["phase"]),
            (&"study".into(), &"llama MLP neurons".into(), &"idle".into())
        );
        rig.harness
            .get_by_label("At equal budgets the predictor finds more.");
        rig.harness.get_by_label("Recall by layer");
        rig.harness.get_by_label("static list");
        rig.harness
            .get_by_label("layer 0, recall 0.5, finding better");
        // What takes longest is said, not only drawn; and a click looks into a frame.
        let drawn = "Flame chart, one token: matvec 8 x 8 6.5 ms";
        rig.harness.get_by_label_contains(drawn).click();
        rig.harness.run();
        rig.harness.get_by_label_contains("click a frame");
        assert!(
            rig.log
                .borrow()
                .said
                .iter()
                .any(|(words, _)| words == "Study: llama MLP neurons")
        );
    }
}

#[test]
fn experiments_run_and_are_drawn_and_saved() {
    for size in [crate::rig::WIDE, NARROW] {
        let mut rig = Rig::with(size, Settings::default(), Start::default());
        rig.work();
        rig.command("experiments");
        assert_eq!(rig.json()["page"], "study");
        rig.command("run-experiment");
        let (id, job) = rig.jobs().pop().expect("a job");
        let trials = News::Progress {
            stage: Stage::Trials,
            done: 1,
            total: 6,
        };
        rig.news(id, trials);
        rig.harness.get_by_label("Run trials: running");
        rig.harness
            .get_by_label_contains("Finished trials are kept");
        let start = ToWorker::Start { id, job };
        rig.log.borrow_mut().sent.push(start);
        rig.work();
        let state = rig.json();
        assert_eq!(
            (&state["page"], &state["study"], &state["error"]),
            (
                &"study".into(),
                &"Experiments".into(),
                &serde_json::Value::Null
            )
        );
        let drawn = "accept rate (repo)";
        let mut all = rig.harness.query_all_by_label_contains(drawn);
        assert!(all.next().is_some());
        drop(all);
        rig.command("save-sheet");
        let saved = rig.log.borrow_mut().saved.pop().expect("a file");
        assert_eq!(
            (saved.0.as_str(), saved.1.as_str()),
            ("sheet.json", "application/json")
        );
        let read = Sheet::parse(&saved.2).expect("a sheet");
        assert_eq!(read.title, "Experiments");
        // What was asked for is there the next time.
        let settings = rig.harness.state().settings().clone();
        assert!(settings.experiments.is_some());
    }
}

#[test]
fn a_sheet_of_a_later_version_is_refused_in_words() {
    let mut rig = Rig::new();
    rig.work();
    rig.tell(chosen("later.json"));
    rig.work();
    let state = rig.json();
    assert_eq!(
        (&state["phase"], &state["error"]["code"]),
        (&"error".into(), &"not-a-sheet".into())
    );
    assert!(state["error"]["next"].is_string());
    // And the app is as usable as before.
    rig.command("verify-sample");
    rig.work();
    assert_eq!(rig.json()["verdict"], "accept");
}

#[test]
fn a_trace_that_skips_is_accepted_by_whoever_asked_for_it() {
    let mut rig = Rig::new();
    rig.work();
    rig.tell(chosen("skipping.bin"));
    rig.work();
    rig.harness.get_by_label_contains("the others were skipped");
    rig.command("verify");
    rig.work();
    let state = rig.json();
    assert_eq!(
        (&state["verdict"], &state["code"]),
        (&"reject".into(), &"sparsity".into())
    );
    rig.command("edit");
    rig.harness.get_by_label("What did you ask for?").click();
    rig.harness.run();
    let asked = "I asked for skipped neurons, by the rule that the trace names";
    rig.harness.get_by_label(asked).scroll_to_me();
    rig.harness.run();
    rig.harness.get_by_label(asked).click();
    rig.harness.run();
    rig.command("verify");
    rig.work();
    let report = rig.harness.state().report_json().unwrap().to_owned();
    assert_eq!(rig.json()["verdict"], "accept", "{report}");
    rig.harness
        .get_by_label_contains("Skipped neurons against the rule topk");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["statistics"]["masks"]["active_fraction"], 0.5);
}
