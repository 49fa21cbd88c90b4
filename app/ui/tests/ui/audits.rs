//! Verification with a key: what is dropped, asked, shown and kept to oneself.

use assay_ui::{Input, ModelSource, Settings, Source, Start};
use assay_work::message::{Failure, Job, News, ToWorker};
use egui_kittest::kittest::{NodeT, Queryable};
use serde_json::Value;

use crate::keys::PASSPHRASE;
use crate::rig::{NARROW, Rig, WIDE};

fn path(name: &str) -> (String, Source) {
    (name.to_owned(), Source::Path(name.to_owned()))
}

/// A trace and a key, dropped together.
pub fn dropped(rig: &mut Rig, trace: &str, key: &str) {
    rig.tell(Input::Chosen(vec![path(trace), path(key)]));
    rig.work();
}

fn audited(trace: &str, key: &str) -> Rig {
    let mut rig = Rig::new();
    rig.work();
    dropped(&mut rig, trace, key);
    rig.command("verify");
    rig.work();
    rig
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
fn a_trace_and_a_key_are_dropped_and_accepted() {
    let mut rig = Rig::new();
    rig.work();
    assert!(has_label(&rig, "No room for the weights?"));
    dropped(&mut rig, "audited.bin", "demo.SECRET.assay-key");
    let state = rig.json();
    assert_eq!(
        (&state["phase"], &state["model"], &state["locked"]),
        (
            &"idle".into(),
            &"demo.SECRET.assay-key".into(),
            &Value::Null
        )
    );
    assert_eq!(state["key"]["projections"], 16);
    rig.harness
        .get_by_label("Verifier key: llama, 8 layers, 16 projections; needs no weights.");
    rig.harness
        .get_by_label("It was made from the model that the trace names.");
    rig.harness
        .get_by_label("open: all 8 layers, logits of all 40 tokens");
    assert!(has_label(&rig, "A secret:"));
    rig.command("verify");
    assert_eq!(rig.json()["job"], "audit");
    rig.harness.get_by_label("Auditing audited.bin");
    rig.harness.get_by_label("Audit the layers: to come");
    rig.work();
    let state = rig.json();
    assert_eq!(
        (&state["phase"], &state["verdict"], &state["code"]),
        (&"done".into(), &"accept".into(), &Value::Null)
    );
    rig.harness.get_by_label("ACCEPTED");
    rig.harness
        .get_by_label("audited.bin against the key demo.SECRET.assay-key");
    let report: Value = serde_json::from_str(rig.harness.state().report_json().unwrap()).unwrap();
    assert_eq!(report["method"], "audit");
    assert!(has_label(&rig, "All 8 layers at all 45 positions"));
    assert!(has_label(&rig, "Attention, norms and activations"));
    assert!(has_label(&rig, "All 40 emitted tokens"));
    rig.harness
        .get_by_label("Your key was made from the weights that the trace names, by their hash.");
}

#[test]
fn the_audit_is_told_stream_by_stream() {
    let mut rig = audited("audited.bin", "demo.SECRET.assay-key");
    rig.harness.key_press(egui::Key::Num5);
    rig.harness.run();
    assert_eq!(rig.json()["tab"], "audit");
    rig.harness.set_size((1280.0, 2400.0).into());
    rig.harness.run();
    for (stream, words) in [
        (
            "Q, queries: projected, 360 rows, within its limits",
            "certified bound",
        ),
        (
            "down, out of the MLP: projected, 360 rows",
            "recomputed element",
        ),
        (
            "logits, scores of all tokens: projected, 40 rows",
            "energy of a row",
        ),
        ("QK, attention’s scores: recomputed, 360 rows", ""),
    ] {
        let found = rig
            .harness
            .query_all_by(|node| node.label().is_some_and(|label| label.starts_with(stream)))
            .next()
            .unwrap_or_else(|| panic!("{stream}"));
        let label = found.accesskit_node().label().unwrap();
        assert!(label.contains(words), "{label}");
    }
    for heading in ["Streams", "Tests", "Openings"] {
        rig.harness.get_by_label(heading);
    }
    rig.harness
        .get_by_label("Everything is open: every layer, and the logits of every emitted token.");
    rig.harness
        .get_by_label("No layer was left out, so a cheat in any of them was looked at.");
    // There is nothing to draw by position, and the tabs say so.
    for tab in ["Text and states", "Distributions"] {
        let node = rig.harness.get_by_label(tab);
        assert!(node.accesskit_node().is_disabled(), "{tab}");
    }
    assert!(!rig.harness.state_mut().command("show-tokens"));
    assert!(has_label(&rig, "An audit runs no model"));
    rig.command("show-evidence");
    rig.harness.get_by_label("Key, its public id");
}

#[test]
fn a_replay_has_no_audit() {
    let mut rig = Rig::new();
    rig.command("verify-sample");
    rig.work();
    assert!(rig.harness.query_by_label("Audit").is_none());
    assert!(!rig.harness.state_mut().command("show-audit"));
}

#[test]
fn liars_are_rejected_with_their_code() {
    for (trace, code) in [
        ("audited-swapped.bin", "token-margin"),
        ("audited-off.bin", "linear-bound"),
    ] {
        let rig = audited(trace, "demo.SECRET.assay-key");
        let state = rig.json();
        assert_eq!(state["verdict"], "reject", "{trace}");
        assert_eq!(
            state["code"],
            code,
            "{}",
            rig.harness.state().report_json().unwrap()
        );
        rig.harness.get_by_label("REJECTED");
    }
    let rig = audited("audited.bin", "other.SECRET.assay-key");
    assert_eq!(rig.json()["code"], "model-root");
    // Nothing was audited, so there is nothing to show of it.
    let tab = rig.harness.get_by_label("Audit");
    assert!(tab.accesskit_node().is_disabled());
}

#[test]
fn what_was_drawn_leaves_something_out() {
    let mut rig = audited("audited-drawn.bin", "demo.SECRET.assay-key");
    assert_eq!(rig.json()["verdict"], "accept");
    rig.command("show-audit");
    rig.harness.set_size((1280.0, 2400.0).into());
    rig.harness.run();
    assert!(has_label(
        &rig,
        "What is open was drawn from the trace’s own root."
    ));
    assert!(has_label(
        &rig,
        "A prover that cheats in 1 of 8 layers is missed with a chance of 62.5 %"
    ));
    assert!(has_label(
        &rig,
        "A prover that cheats in all 8 layers is always seen at work."
    ));
}

#[test]
fn a_trace_without_openings_says_so_beforehand() {
    let mut rig = Rig::new();
    rig.work();
    dropped(&mut rig, "honest.bin", "demo.SECRET.assay-key");
    rig.harness
        .get_by_label("nothing is open: only the model can verify it");
    assert!(has_label(&rig, "The trace has nothing open for a key."));
    rig.command("verify");
    rig.work();
    let state = rig.json();
    assert_eq!(
        (&state["verdict"], &state["code"]),
        (&"inconclusive".into(), &"no-openings".into())
    );
}

#[test]
fn an_encrypted_key_asks_for_its_passphrase() {
    let mut rig = Rig::new();
    rig.work();
    dropped(&mut rig, "audited.bin", "locked.SECRET.assay-key");
    let state = rig.json();
    assert_eq!(
        (&state["phase"], &state["locked"], &state["error"]),
        (&"idle".into(), &"shut".into(), &Value::Null)
    );
    assert!(!rig.harness.state_mut().command("verify"), "not yet");
    let field = rig.harness.get_by_label("Passphrase of the key");
    assert!(field.is_focused(), "one can type at once");
    let said = rig.log.borrow().said.clone();
    assert!(
        said.iter()
            .any(|(text, assertive)| text.contains("needs its passphrase") && *assertive),
        "{said:?}"
    );
    // A wrong one is a word beside the field, and no error.
    type_passphrase(&mut rig, "wrong");
    rig.harness.get_by_label("Unlock").click();
    rig.harness.run();
    rig.harness.get_by_label("Trying it…");
    rig.work();
    assert_eq!(rig.json()["locked"], "wrong");
    rig.harness
        .get_by_label("This is not the passphrase. Type it again.");
    // What is typed shows nowhere: not to a screen reader, not in the state, not in a job's words.
    type_passphrase(&mut rig, PASSPHRASE);
    for node in rig.harness.root().children_recursive() {
        let access = node.accesskit_node();
        for text in [access.value(), access.label()].into_iter().flatten() {
            assert!(!text.contains("horse"), "{text}");
        }
    }
    assert!(!rig.json().to_string().contains("horse"));
    rig.harness.key_press(egui::Key::Enter);
    rig.harness.run();
    let sent = format!("{:?}", rig.log.borrow().sent);
    assert!(
        sent.contains("Secret(..)") && !sent.contains("horse"),
        "{sent}"
    );
    rig.work();
    let state = rig.json();
    assert_eq!(
        (&state["locked"], &state["key"]["encrypted"]),
        (&Value::Null, &true.into())
    );
    // It is sent once.
    rig.command("verify");
    let jobs = rig.log.borrow().sent.clone();
    let Some(ToWorker::Start {
        job: Job::Verify { model, .. },
        ..
    }) = jobs.last()
    else {
        panic!("{jobs:?}")
    };
    assert!(matches!(
        model,
        ModelSource::Key {
            passphrase: None,
            ..
        }
    ));
    rig.work();
    assert_eq!(rig.json()["verdict"], "accept");
    let kept = serde_json::to_string(rig.harness.state().settings()).unwrap();
    assert!(
        !kept.contains("assay-key") && !kept.contains("horse"),
        "{kept}"
    );
    assert!(rig.log.borrow().links.is_empty());
}

fn type_passphrase(rig: &mut Rig, text: &str) {
    rig.harness.get_by_label("Passphrase of the key").focus();
    rig.harness.run();
    rig.harness
        .get_by_label("Passphrase of the key")
        .type_text(text);
    rig.harness.run();
}

#[test]
fn a_passphrase_that_is_pasted_and_sent_at_once_is_not_lost() {
    let mut rig = Rig::new();
    rig.work();
    dropped(&mut rig, "audited.bin", "locked.SECRET.assay-key");
    rig.harness.event(egui::Event::Text(PASSPHRASE.to_owned()));
    rig.harness.key_press(egui::Key::Enter);
    rig.harness.run();
    rig.work();
    assert_eq!(rig.json()["locked"], Value::Null);
    assert_eq!(rig.json()["key"]["encrypted"], true);
}

#[test]
fn a_worker_that_died_has_forgotten_the_key() {
    let mut rig = Rig::new();
    rig.work();
    dropped(&mut rig, "audited.bin", "locked.SECRET.assay-key");
    type_passphrase(&mut rig, PASSPHRASE);
    rig.harness.get_by_label("Unlock").click();
    rig.harness.run();
    rig.work();
    rig.command("verify");
    let id = rig.last(|job| matches!(job, Job::Verify { .. }));
    let failure = Failure::new(Failure::KEY_ENCRYPTED, "the key is encrypted");
    rig.news(id, News::Done(Err(failure)));
    let state = rig.json();
    assert_eq!(
        (&state["phase"], &state["locked"]),
        (&"idle".into(), &"shut".into())
    );
    rig.harness.get_by_label("Passphrase of the key");
}

#[test]
fn a_start_with_a_key_judges_also_after_a_passphrase() {
    let start = |key: &str| Start {
        trace: Some(Source::Path("audited.bin".to_owned())),
        model: Some(ModelSource::key(Source::Path(key.to_owned()))),
        ..Start::default()
    };
    let mut rig = Rig::with(WIDE, Settings::default(), start("demo.SECRET.assay-key"));
    rig.work();
    assert_eq!(rig.json()["verdict"], "accept");
    let mut rig = Rig::with(WIDE, Settings::default(), start("locked.SECRET.assay-key"));
    rig.work();
    assert_eq!(rig.json()["locked"], "shut");
    type_passphrase(&mut rig, PASSPHRASE);
    rig.harness.key_press(egui::Key::Enter);
    rig.harness.run();
    rig.work();
    assert_eq!(rig.json()["verdict"], "accept");
    let mut rig = Rig::with(WIDE, Settings::default(), start("audited.bin"));
    rig.work();
    assert_eq!(rig.json()["error"]["code"], "not-a-key");
}

#[test]
fn a_key_proves_nothing_and_compares_no_prompt() {
    let mut rig = Rig::new();
    rig.work();
    dropped(&mut rig, "audited.bin", "demo.SECRET.assay-key");
    rig.command("prove");
    assert!(!rig.harness.state_mut().command("run-prove"));
    rig.harness
        .get_by_label("A key has no weights: open a model to generate with.");
    rig.command("demo-model");
    rig.work();
    assert!(rig.json()["key"].is_null());

    let mut rig = Rig::new();
    rig.work();
    dropped(&mut rig, "audited.bin", "demo.SECRET.assay-key");
    rig.harness.get_by_label("What did you ask for?").click();
    rig.harness.run();
    rig.harness.get_by_label("Prompt that you sent").focus();
    rig.harness.run();
    rig.harness
        .get_by_label("Prompt that you sent")
        .type_text("To be");
    rig.harness.run();
    rig.command("verify");
    assert!(rig.jobs().is_empty());
    assert!(has_label(&rig, "a key has no tokenizer"));
}

#[test]
fn exports_of_an_audit() {
    let mut rig = audited("audited.bin", "demo.SECRET.assay-key");
    for command in ["save-report", "save-statement", "save-csv"] {
        rig.command(command);
    }
    let saved = std::mem::take(&mut rig.log.borrow_mut().saved);
    let report: Value = serde_json::from_slice(&saved[0].2).unwrap();
    assert_eq!(report["method"], "audit");
    let statement: Value = serde_json::from_slice(&saved[1].2).unwrap();
    let properties = statement["predicate"]["properties"].to_string();
    assert!(
        properties.contains("ASSAY_CHECK_LINEAR_LAYERS"),
        "{properties}"
    );
    assert!(
        !properties.contains("ASSAY_CHECK_HIDDEN_STATES"),
        "{properties}"
    );
    let csv = String::from_utf8(saved[2].2.clone()).unwrap();
    let lines: Vec<&str> = csv.split("\r\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 1 + 10);
    assert!(lines[0].starts_with("stream,how,rows,relative_error"));
    for line in &lines {
        assert_eq!(line.split(',').count(), 11, "{line}");
    }
    assert_eq!(lines[4], "QK,recomputed,360,,,,,,,,");
}

#[test]
fn all_of_an_audit_can_be_reached() {
    for size in [WIDE, NARROW] {
        let mut rig = Rig::with(size, Settings::default(), Start::default());
        rig.work();
        dropped(&mut rig, "audited.bin", "locked.SECRET.assay-key");
        crate::screens::fits(&rig, size, "locked");
        dropped(&mut rig, "audited.bin", "demo.SECRET.assay-key");
        crate::screens::fits(&rig, size, "key");
        rig.command("verify");
        rig.work();
        for tab in ["show-audit", "show-evidence", "show-overview"] {
            rig.command(tab);
            crate::screens::fits(&rig, size, tab);
        }
    }
}
