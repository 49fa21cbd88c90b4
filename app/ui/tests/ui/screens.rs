//! What can be seen and reached: narrow screens, names for screen readers, the palette, hostile words.

use assay_ui::{Input, Settings, Start};
use assay_work::message::{Claims, Job, ModelFacts, News, Outcome, Source, Stage};
use egui_kittest::kittest::{NodeT, Queryable};

use crate::rig::{NARROW, Rig, WIDE};

/// Every state, at a size. The harness itself panics where an input has no name or a glyph is missing.
fn visit(size: (f32, f32)) {
    let rig = || {
        let mut rig = Rig::with(size, Settings::default(), Start::default());
        rig.work();
        rig
    };
    let mut one = rig();
    for dialog in ["palette", "help", "about", "devices", "storage"] {
        one.command(dialog);
        one.work();
        fits(&one, size, dialog);
        one.command("cancel");
        assert_eq!(one.json()["dialog"], serde_json::Value::Null);
    }
    one.command("prove");
    fits(&one, size, "prove");
    let mut one = rig();
    fits(&one, size, "start");
    one.running(Stage::Load, 5, 9);
    fits(&one, size, "running");
    for command in ["verify-sample", "verify-swapped", "verify-flipped"] {
        let mut one = rig();
        one.command(command);
        one.work();
        fits(&one, size, command);
        for tab in [
            "show-tokens",
            "show-figures",
            "show-evidence",
            "show-overview",
        ] {
            if one.harness.state_mut().command(tab) {
                one.harness.run();
                one.work();
                fits(&one, size, tab);
            }
        }
    }
}

/// Nothing that can be pressed lies outside the window to the left or right.
pub fn fits(rig: &Rig, size: (f32, f32), what: &str) {
    let window = egui::Rect::from_min_size(egui::Pos2::ZERO, size.into());
    for node in rig.harness.root().children_recursive() {
        let access = node.accesskit_node();
        if access.role() == egui::Role::Button && !access.is_hidden() {
            let rect = node.rect();
            let inside = rect.min.x >= window.min.x - 1.0 && rect.max.x <= window.max.x + 1.0;
            assert!(inside, "{what}: {:?} at {rect}", access.label());
        }
    }
}

#[test]
fn all_can_be_reached_on_a_wide_screen() {
    visit(WIDE);
}

#[test]
fn all_can_be_reached_on_a_narrow_screen() {
    visit(NARROW);
}

#[test]
fn what_is_touched_is_large_enough() {
    let mut rig = Rig::with(NARROW, Settings::default(), Start::default());
    rig.work();
    for label in [
        "Verify the sample trace",
        "Open trace…",
        "Open model…",
        "Menu",
        "Open",
        "Export",
    ] {
        let rect = rig.harness.get_by_label(label).rect();
        assert!(
            rect.height() >= 40.0 && rect.width() >= 40.0,
            "{label}: {rect}"
        );
    }
}

#[test]
fn the_palette_finds_and_runs() {
    let mut rig = Rig::new();
    rig.work();
    rig.harness
        .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::K);
    rig.harness.run();
    assert_eq!(rig.json()["dialog"], "palette");
    rig.harness
        .get_by_label("Find a command")
        .type_text("swapped");
    rig.harness.run();
    rig.harness.key_press(egui::Key::Enter);
    rig.harness.run();
    assert_eq!(rig.json()["dialog"], serde_json::Value::Null);
    rig.work();
    assert_eq!(rig.json()["verdict"], "reject");
}

#[test]
fn keys_do_what_help_says() {
    let mut rig = Rig::new();
    rig.work();
    rig.harness.key_press(egui::Key::Questionmark);
    rig.harness.run();
    assert_eq!(rig.json()["dialog"], "help");
    rig.harness.key_press(egui::Key::Escape);
    rig.harness.run();
    rig.harness
        .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::O);
    rig.harness.run();
    assert_eq!(rig.log.borrow().picks, [assay_ui::Pick::Files]);
    rig.harness
        .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Plus);
    rig.harness.run();
    assert!(rig.harness.state().settings().zoom > 1.0);
}

#[test]
fn the_keyboard_reaches_the_main_button() {
    let mut rig = Rig::new();
    rig.work();
    for _ in 0..24 {
        rig.harness.key_press(egui::Key::Tab);
        rig.harness.run();
        if rig
            .harness
            .get_by_label("Verify the sample trace")
            .is_focused()
        {
            rig.harness.key_press(egui::Key::Enter);
            rig.harness.run();
            assert_eq!(rig.json()["phase"], "working");
            return;
        }
    }
    panic!("Tab never came to the main button");
}

#[test]
fn hostile_words_are_shown_escaped() {
    let hostile = "evil\u{202e}\u{200b}\u{1b}[31m あ \u{301}".to_owned() + &"x".repeat(5000);
    let mut rig = Rig::new();
    rig.work();
    let source = Source::Path("honest.bin".to_owned());
    rig.tell(Input::Chosen(vec![("honest.bin".to_owned(), source)]));
    rig.work();
    let manifest = rig.json()["claims"]["manifest"].clone();
    let mut lying = manifest;
    for field in ["adapter", "producer"] {
        lying[field] = hostile.clone().into();
    }
    rig.tell(Input::Chosen(vec![(
        hostile.clone(),
        Source::Path("honest.bin".to_owned()),
    )]));
    let sort = rig.last(|job| matches!(job, Job::Sort { .. }));
    let sorted = Outcome::Sorted {
        traces: vec![Source::Picked {
            handle: 1,
            name: hostile.clone(),
            bytes: 9,
        }],
        model: None,
        sheets: Vec::new(),
        ignored: vec![hostile.clone()],
    };
    rig.news(sort, News::Done(Ok(Box::new(sorted))));
    let inspect = rig.last(|job| matches!(job, Job::Inspect { .. }));
    let claims = Claims {
        name: hostile.clone(),
        bytes: 9,
        sha256: hostile.clone(),
        manifest: Some(lying.to_string()),
        fault: Some((hostile.clone(), hostile.clone())),
    };
    rig.news(
        inspect,
        News::Done(Ok(Box::new(Outcome::Inspected(claims)))),
    );
    for node in rig.harness.root().children_recursive() {
        let access = node.accesskit_node();
        let Some(text) = access.value().or(access.label()) else {
            continue;
        };
        assert!(
            !text.contains(['\u{202e}', '\u{200b}', '\u{1b}', '\u{301}', 'あ']),
            "{text}"
        );
        assert!(
            text.chars().count() < 3000,
            "{} characters",
            text.chars().count()
        );
    }
    // A model is no friend either.
    let facts = ModelFacts {
        name: hostile.clone(),
        family: hostile.clone(),
        dtype: hostile.clone(),
        parameters: 1,
        bytes: 2,
        layers: 3,
        hidden: 4,
        vocab: 5,
        context: 6,
        has_tokenizer: false,
        notes: vec![hostile; 50],
        root: None,
        key: None,
    };
    rig.command("demo-model");
    let open = rig.last(|job| matches!(job, Job::OpenModel { .. }));
    rig.news(open, News::Done(Ok(Box::new(Outcome::Model(facts)))));
    assert_eq!(rig.json()["phase"], "idle");
}
