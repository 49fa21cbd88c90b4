//! The Ask page: what is typed, sent, shown while it goes on, and made of what comes back.

use assay_ui::{Input, ModelSource, Settings, Source, Start, ThemeChoice};
use assay_work::message::{
    AskPrompt, Failure, Job, JobId, LiveNews, News, Secret, Stage, ToWorker,
};
use egui_kittest::kittest::{NodeT, Queryable};
use serde_json::Value;

use crate::prover::{Lie, TOKEN};
use crate::rig::{NARROW, Rig, WIDE};
use crate::screens::fits;

const PROVER: &str = "http://127.0.0.1:8737";

/// The page with an address in it, as a link leads there.
pub fn linked(size: (f32, f32), settings: Settings) -> Rig {
    let start = Start {
        prover: Some(PROVER.to_owned()),
        ..Start::default()
    };
    let mut rig = Rig::with(size, settings, start);
    rig.work();
    rig
}

fn rig() -> Rig {
    linked(WIDE, Settings::default())
}

/// The verdict on a prover that lies there, or does not.
pub fn asked(rig: &mut Rig, lie: Lie) {
    rig.lie(lie);
    rig.command("run-ask");
    rig.work();
}

/// A request that is on its way.
pub fn running(rig: &mut Rig) -> JobId {
    rig.command("run-ask");
    rig.last(|job| matches!(job, Job::Ask { .. }))
}

fn type_into(rig: &mut Rig, label: &str, text: &str) {
    rig.harness.get_by_label(label).focus();
    rig.harness.run();
    rig.harness.get_by_label(label).type_text(text);
    rig.harness.run();
}

fn has_label(rig: &Rig, start: &str) -> bool {
    rig.harness
        .query_all_by(|node| {
            let text = node.label().or(node.value());
            text.is_some_and(|text| text.starts_with(start))
        })
        .next()
        .is_some()
}

#[test]
fn it_is_one_of_three_ways_and_says_what_it_is() {
    let mut rig = Rig::new();
    rig.work();
    assert!(has_label(&rig, "No trace at hand?"));
    rig.harness.get_by_label("Ask a live prover").click();
    rig.harness.run();
    assert_eq!(rig.json()["page"], "ask");
    for label in [
        "Ask a live prover",
        "What happens",
        "It answers",
        "It commits",
        "You draw",
        "It opens, you check",
        "Address of the prover",
        "Token (if it wants one)",
        "Prompt",
        "Most tokens",
        "Layers to open",
        "Logits to open",
        "Ask and verify",
    ] {
        assert!(has_label(&rig, label), "{label}");
    }
    assert!(has_label(&rig, "A live prover is a server that runs"));
    // Without an address nothing is sent.
    rig.harness.set_size((1280.0, 1400.0).into());
    rig.harness.run();
    rig.harness.get_by_label("Ask and verify").click();
    rig.harness.run();
    assert!(rig.jobs().is_empty());
    assert!(has_label(&rig, "a prover’s address is needed"));
    type_into(&mut rig, "Address of the prover", "ftp://host");
    assert!(has_label(&rig, "this is no prover’s address: want http://"));
}

#[test]
fn a_link_fills_it_in_and_sends_nothing() {
    let mut rig = rig();
    let state = rig.json();
    assert_eq!(
        (&state["page"], &state["prover"], &state["phase"]),
        (&"ask".into(), &PROVER.into(), &"idle".into())
    );
    assert!(rig.jobs().is_empty(), "only the user sends");
    // Ctrl+Enter does what the button does.
    rig.harness
        .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    rig.harness.run();
    let jobs = rig.jobs();
    let Some((
        _,
        Job::Ask {
            prover, request, ..
        },
    )) = jobs.last()
    else {
        panic!("{jobs:?}")
    };
    assert_eq!(prover.address, PROVER);
    assert_eq!(prover.token, None);
    assert_eq!(request.prompt, AskPrompt::Text("To be, or not".to_owned()));
}

#[test]
fn an_honest_prover_is_accepted() {
    let mut rig = rig();
    asked(&mut rig, Lie::None);
    let state = rig.json();
    assert_eq!(
        (&state["phase"], &state["verdict"], &state["page"]),
        (&"done".into(), &"accept".into(), &"verify".into()),
        "{state}"
    );
    rig.harness.get_by_label("ACCEPTED");
    rig.harness
        .get_by_label("the answer of 127.0.0.1:8737 against demo model");
    assert!(has_label(&rig, "Live: the prover had committed"));
    assert!(has_label(&rig, "Fresh: it holds the nonce"));
    assert!(!state["live"]["text"].as_str().unwrap().is_empty());
    let said = rig.log.borrow().said.clone();
    for words in [
        "Asking the prover",
        "Connect",
        "Take the answer",
        "Take the receipt",
        "ACCEPTED",
    ] {
        assert!(
            said.iter().any(|(text, _)| text.starts_with(words)),
            "{words}: {said:?}"
        );
    }
    // Its hashes can be looked at, its receipt is shown, and it can be saved.
    rig.command("show-evidence");
    assert!(has_label(&rig, "Receipt, from before the draw"));
    rig.command("show-tokens");
    rig.command("next-token");
    rig.work();
    assert!(has_label(&rig, "Hashes at this position"));
    rig.command("show-overview");
    rig.harness.get_by_label("Save the trace…").click();
    rig.harness.run();
    rig.work();
    let (name, _, bytes) = rig.log.borrow().saved.last().cloned().unwrap();
    assert_eq!(name, "trace.bin");
    let trace = assay_trace::Trace::parse(&bytes).unwrap();
    let receipt = trace.manifest().receipt().unwrap().commitment();
    assert_eq!(state["live"]["receipt"], receipt.to_string());
    rig.command("save-report");
    assert_eq!(rig.log.borrow().saved.last().unwrap().0, "live.report.json");
    // As a file it would show less: there is nothing to verify again but by asking.
    assert!(!rig.harness.state_mut().command("verify"));
    rig.harness.get_by_label("Ask again…").click();
    rig.harness.run();
    assert_eq!(rig.json()["page"], "ask");
    assert_eq!(rig.harness.state().settings().prover, PROVER);
}

#[test]
fn liars_are_rejected_with_their_code_and_evidence() {
    for (lie, code, has_evidence) in [
        (Lie::OtherRun, "live-changed", true),
        (Lie::SwappedToken, "live-tokens", false),
        (Lie::Withhold, "live-withheld", false),
    ] {
        let mut rig = rig();
        asked(&mut rig, lie);
        let state = rig.json();
        assert_eq!(
            (&state["verdict"], &state["code"]),
            (&"reject".into(), &code.into())
        );
        rig.harness.get_by_label("REJECTED");
        rig.harness.get_by_label(code);
        assert_eq!(rig.harness.state_mut().command("save-trace"), has_evidence);
        assert_eq!(
            state["trace"],
            Value::Null,
            "evidence is no trace to go on with"
        );
        assert_eq!(has_label(&rig, "Save the trace…"), has_evidence);
    }
}

#[test]
fn trouble_is_an_error_with_a_next_step_and_can_be_tried_again() {
    for (lie, code, next) in [
        (
            Lie::Unreachable,
            "live-unreachable",
            "ask somebody who is there",
        ),
        (Lie::Refuse, "live-refused", "it committed to nothing"),
        (Lie::CutOpening, "live-cut", "the prover knew by then"),
    ] {
        let mut rig = rig();
        asked(&mut rig, lie);
        let state = rig.json();
        assert_eq!(
            (&state["phase"], &state["error"]["code"], &state["page"]),
            (&"error".into(), &code.into(), &"ask".into())
        );
        assert_eq!(state["verdict"], Value::Null);
        rig.harness.get_by_label("ERROR");
        assert!(has_label(&rig, next), "{lie:?}");
        assert!(has_label(&rig, "This is no verdict"));
        rig.lie(Lie::None);
        rig.harness.get_by_label("Try again").click();
        rig.harness.run();
        rig.work();
        assert_eq!(rig.json()["verdict"], "accept", "after {lie:?}");
    }
}

#[test]
fn what_goes_on_is_shown_and_can_be_stopped() {
    let mut rig = rig();
    let id = running(&mut rig);
    rig.harness.get_by_label("Connect: to come");
    rig.news(
        id,
        News::Progress {
            stage: Stage::Connect,
            done: 0,
            total: 0,
        },
    );
    rig.harness.get_by_label("Connect: running");
    let hostile = "evil\u{202e}\u{1b}[31m".to_owned() + &"x".repeat(5000);
    let news = LiveNews::Prover {
        producer: hostile.clone(),
        adapter: hostile.clone(),
        rule: Some(hostile.clone()),
    };
    rig.news(id, News::Live(news));
    rig.news(
        id,
        News::Progress {
            stage: Stage::Answer,
            done: 3,
            total: 64,
        },
    );
    rig.news(id, News::Text { text: hostile });
    rig.news(
        id,
        News::Progress {
            stage: Stage::Receipt,
            done: 1,
            total: 1,
        },
    );
    let digest = "ab".repeat(32);
    rig.news(id, News::Live(LiveNews::Receipt { digest }));
    let challenge = LiveNews::Challenge {
        layers: vec![1, 5],
        states: Vec::new(),
        logits: 3,
    };
    rig.news(id, News::Live(challenge));
    rig.news(
        id,
        News::Progress {
            stage: Stage::Opening,
            done: 1,
            total: 9,
        },
    );
    for label in [
        "Take the answer: done",
        "Take the receipt: done",
        "Challenge: done",
        "Take the opening: running",
        "Run it again: to come",
        "abababab…abababab",
        "layers 1, 5; logits of 3 tokens",
        "by the rule evil",
    ] {
        assert!(has_label(&rig, label), "{label}");
    }
    for node in rig.harness.root().children_recursive() {
        let access = node.accesskit_node();
        let text = access.value().or(access.label()).unwrap_or_default();
        assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text}");
    }
    rig.harness.key_press(egui::Key::Escape);
    rig.harness.run();
    assert!(rig.log.borrow().sent.contains(&ToWorker::Cancel { id }));
    rig.news(id, News::Done(Err(Failure::cancelled())));
    let state = rig.json();
    assert_eq!(
        (&state["phase"], &state["error"], &state["page"]),
        (&"idle".into(), &Value::Null, &"ask".into())
    );
    // Late news of it mean nothing.
    rig.news(
        id,
        News::Text {
            text: "late".to_owned(),
        },
    );
    assert_ne!(rig.json()["live"]["text"], "late");
    asked(&mut rig, Lie::None);
    assert_eq!(rig.json()["verdict"], "accept");
}

#[test]
fn a_key_is_opened_here_and_asks_by_ids() {
    let mut rig = rig();
    let key = "demo.SECRET.assay-key";
    rig.tell(Input::Chosen(vec![(
        key.to_owned(),
        Source::Path(key.to_owned()),
    )]));
    rig.work();
    assert_eq!(rig.json()["page"], "ask", "a key is no reason to leave");
    assert!(has_label(&rig, "Held against the key demo.SECRET"));
    rig.harness.set_size((1280.0, 1400.0).into());
    rig.harness.run();
    rig.harness.get_by_label("Ask and verify").click();
    rig.harness.run();
    assert!(rig.jobs().is_empty(), "a key has no words to send");
    assert!(has_label(&rig, "a prompt is needed: token ids"));
    type_into(&mut rig, "Prompt, token ids", "256, 75, 73");
    rig.command("run-ask");
    assert!(has_label(&rig, "Audit the layers: to come"));
    rig.work();
    let state = rig.json();
    assert_eq!(state["verdict"], "accept", "{state}");
    let report: Value = serde_json::from_str(rig.harness.state().report_json().unwrap()).unwrap();
    assert_eq!(report["method"], "audit");
    rig.harness
        .get_by_label("the answer of 127.0.0.1:8737 against the key demo.SECRET.assay-key");
    // One who knows the key is found out as well.
    rig.command("edit");
    asked(&mut rig, Lie::FewerLayers);
    assert_eq!(rig.json()["code"], "live-opening");
}

#[test]
fn a_locked_key_asks_for_its_passphrase_here() {
    let mut rig = rig();
    let key = "locked.SECRET.assay-key";
    rig.tell(Input::Chosen(vec![(
        key.to_owned(),
        Source::Path(key.to_owned()),
    )]));
    rig.work();
    let state = rig.json();
    assert_eq!(
        (&state["page"], &state["locked"]),
        (&"ask".into(), &"shut".into())
    );
    assert!(!rig.harness.state_mut().command("run-ask"));
    let field = rig.harness.get_by_label("Passphrase of the key");
    field.type_text(crate::keys::PASSPHRASE);
    rig.harness.run();
    rig.harness.key_press(egui::Key::Enter);
    rig.harness.run();
    rig.work();
    let state = rig.json();
    assert_eq!(
        (&state["page"], &state["locked"]),
        (&"ask".into(), &Value::Null)
    );
    assert!(rig.harness.state_mut().command("run-ask"));
}

#[test]
fn a_token_is_sent_and_kept_nowhere() {
    let mut rig = rig();
    asked(&mut rig, Lie::WantsToken);
    assert_eq!(rig.json()["error"]["code"], "live-refused");
    type_into(&mut rig, "Token (if it wants one)", TOKEN);
    rig.command("run-ask");
    let sent = rig.log.borrow().sent.clone();
    assert!(!format!("{sent:?}").contains("horse"));
    let is_sent = |message: &ToWorker| {
        let ToWorker::Start {
            job: Job::Ask { prover, .. },
            ..
        } = message
        else {
            return false;
        };
        prover.token == Some(Secret::new(TOKEN.to_owned()))
    };
    assert!(sent.iter().any(is_sent));
    rig.work();
    assert_eq!(rig.json()["verdict"], "accept");
    let kept = serde_json::to_string(rig.harness.state().settings()).unwrap();
    assert!(!kept.contains("horse") && !rig.json().to_string().contains("horse"));
    let shown = rig.harness.root().children_recursive().any(|node| {
        let access = node.accesskit_node();
        access.value().is_some_and(|text| text.contains("horse"))
    });
    assert!(!shown);
}

#[test]
fn all_of_it_can_be_reached_on_both_screens() {
    for size in [WIDE, NARROW] {
        let mut rig = linked(size, Settings::default());
        fits(&rig, size, "ask");
        let id = running(&mut rig);
        rig.news(
            id,
            News::Progress {
                stage: Stage::Answer,
                done: 1,
                total: 9,
            },
        );
        fits(&rig, size, "asking");
        rig.news(
            id,
            News::Done(Err(Failure::new("live-cut", "cut").with_next("again"))),
        );
        fits(&rig, size, "not asked");
        asked(&mut rig, Lie::None);
        fits(&rig, size, "asked");
        if size == NARROW {
            rig.command("edit");
            for label in ["Ask and verify", "Address of the prover", "Open key…"] {
                let rect = rig.harness.get_by_label(label).rect();
                assert!(rect.height() >= 38.0, "{label}: {rect}");
            }
        }
    }
}

#[test]
fn what_the_platform_cannot_do_is_said() {
    let mut rig = Rig::new();
    rig.work();
    rig.tell(Input::Notice(
        "this desktop has no file dialog\u{1b}[2J".to_owned(),
    ));
    assert!(has_label(&rig, "this desktop has no file dialog"));
    assert!(!rig.json()["toast"].as_str().unwrap().contains('\u{1b}'));
    let said = rig.log.borrow().said.clone();
    assert!(
        said.iter()
            .any(|(text, now)| text.starts_with("this desktop") && *now)
    );
}

/// From the very start, not from the first frame on.
#[test]
fn the_theme_is_known_before_anything_is_drawn() {
    for (choice, system, want) in [
        (ThemeChoice::Light, None, "light"),
        (ThemeChoice::Dark, Some(egui::Theme::Light), "dark"),
        (ThemeChoice::System, Some(egui::Theme::Light), "light"),
        (ThemeChoice::System, Some(egui::Theme::Dark), "dark"),
        (ThemeChoice::System, None, "dark"),
    ] {
        let settings = Settings {
            theme: choice,
            ..Settings::default()
        };
        let state = crate::rig::state_at_start(settings, system);
        assert_eq!(state["theme"], want, "{choice:?} {system:?}");
    }
}

#[test]
fn another_model_stays_where_it_was_opened() {
    let mut rig = rig();
    rig.command("demo-model");
    rig.work();
    assert_eq!(rig.json()["page"], "ask");
    // A trace belongs to the other page.
    let trace = (
        "honest.bin".to_owned(),
        Source::Path("honest.bin".to_owned()),
    );
    rig.tell(Input::Chosen(vec![trace]));
    rig.work();
    let state = rig.json();
    assert_eq!(
        (&state["page"], &state["trace"]),
        (&"verify".into(), &"honest.bin".into())
    );
    assert_eq!(ModelSource::Demo.name(), state["model"].as_str().unwrap());
}

#[test]
fn a_prover_that_skips_is_accepted_where_it_may() {
    let mut rig = linked((WIDE.0, 1400.0), Settings::default());
    asked(&mut rig, Lie::Skips);
    let state = rig.json();
    assert_eq!(
        (&state["verdict"], &state["code"]),
        (&"reject".into(), &"sparsity".into())
    );
    rig.harness.get_by_label("Ask again…").click();
    rig.harness.run();
    assert!(has_label(&rig, "by the rule topk, 256 of 512 neurons"));
    assert!(has_label(&rig, "hidden states 0, "));
    rig.harness
        .get_by_label("It may skip neurons, by the rule that it names")
        .click();
    rig.harness.run();
    assert!(has_label(&rig, "A model that skips neurons is another"));
    rig.command("run-ask");
    rig.work();
    assert_eq!(rig.json()["verdict"], "accept", "{}", rig.json());
}
