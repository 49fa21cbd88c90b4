//! Pictures of every state, for eyes: `SHOTS=/tmp/shots-ui cargo test -p assay-ui shots -- --ignored`.

use std::path::Path;

use assay_ui::{Input, Settings, Start, ThemeChoice};
use assay_work::message::{Failure, Job, LiveNews, News, Source, Stage};
use egui_kittest::kittest::Queryable;

use crate::asks;
use crate::audits::dropped;
use crate::prover::Lie;
use crate::raster;
use crate::rig::{NARROW, Rig, WIDE};

fn shoot(rig: &Rig, size: (f32, f32), name: &str) {
    let folder = std::env::var("SHOTS").unwrap_or_else(|_| "/tmp/shots-ui".to_owned());
    std::fs::create_dir_all(&folder).unwrap();
    let image = raster::draw(
        &rig.harness.ctx,
        rig.harness.output(),
        &rig.textures,
        size,
        1.0,
    );
    raster::write(&image, &Path::new(&folder).join(format!("{name}.png")));
}

/// Everything with a key.
fn audits(
    rig: &dyn Fn() -> Rig,
    tall: &dyn Fn(&mut Rig, &str),
    name: &dyn Fn(&str) -> String,
    size: (f32, f32),
) {
    let mut one = rig();
    dropped(&mut one, "audited.bin", "locked.SECRET.assay-key");
    shoot(&one, size, &name("a-locked"));
    tall(&mut one, "a-locked");
    one.harness.get_by_label("Passphrase of the key").focus();
    one.harness.run();
    one.harness
        .get_by_label("Passphrase of the key")
        .type_text("wrong");
    one.harness.run();
    one.harness.key_press(egui::Key::Enter);
    one.harness.run();
    one.work();
    tall(&mut one, "a-wrong");
    dropped(&mut one, "audited.bin", "demo.SECRET.assay-key");
    shoot(&one, size, &name("a-key"));
    tall(&mut one, "a-key");
    one.command("verify");
    let id = one.last(|job| matches!(job, Job::Verify { .. }));
    one.news(
        id,
        News::Progress {
            stage: Stage::Prefill,
            done: 4,
            total: 9,
        },
    );
    shoot(&one, size, &name("a-running"));
    for (what, trace) in [
        ("a-accept", "audited.bin"),
        ("a-off", "audited-off.bin"),
        ("a-drawn", "audited-drawn.bin"),
        ("a-none", "honest.bin"),
    ] {
        let mut one = rig();
        dropped(&mut one, trace, "demo.SECRET.assay-key");
        if what == "a-none" || what == "a-drawn" {
            tall(&mut one, &format!("{what}-claims"));
        }
        one.command("verify");
        one.work();
        shoot(&one, size, &name(what));
        tall(&mut one, what);
        if one.harness.state_mut().command("show-audit") {
            one.harness.run();
            shoot(&one, size, &name(&format!("{what}-audit")));
            tall(&mut one, &format!("{what}-audit"));
        }
    }
    let mut one = rig();
    dropped(&mut one, "audited.bin", "demo.SECRET.assay-key");
    one.command("prove");
    shoot(&one, size, &name("a-prove"));
    one.command("verify");
    one.work();
    one.command("show-evidence");
    tall(&mut one, "a-evidence");
}

/// The Ask page and what comes of it.
#[test]
#[ignore = "writes pictures, for eyes"]
fn ask_shots() {
    for (theme, choice) in [("dark", ThemeChoice::Dark), ("light", ThemeChoice::Light)] {
        for (width, size, all) in [("wide", WIDE, 1400.0), ("narrow", NARROW, 2400.0)] {
            let settings = Settings {
                theme: choice,
                ..Settings::default()
            };
            let both = |rig: &mut Rig, what: &str| {
                shoot(rig, size, &format!("{theme}-{width}-{what}"));
                let all = (size.0, all);
                rig.harness.set_size(all.into());
                rig.harness.run();
                shoot(rig, all, &format!("{theme}-{width}-{what}-all"));
                rig.harness.set_size(size.into());
                rig.harness.run();
            };
            let mut one = asks::linked(size, settings.clone());
            both(&mut one, "l-empty");
            let id = asks::running(&mut one);
            let stage = |stage, done, total| News::Progress { stage, done, total };
            for news in [
                stage(Stage::Connect, 0, 0),
                News::Live(LiveNews::Prover {
                    producer: "assay 0.1.0".to_owned(),
                    adapter: "NVIDIA GeForce RTX 4090".to_owned(),
                    rule: None,
                }),
                News::Text {
                    text: " to be: that is the question".to_owned(),
                },
                stage(Stage::Answer, 20, 64),
            ] {
                one.news(id, news);
            }
            both(&mut one, "l-running");
            for (what, lie) in [
                ("l-accept", Lie::None),
                ("l-reject", Lie::OtherRun),
                ("l-error", Lie::Unreachable),
            ] {
                let mut one = asks::linked(size, settings.clone());
                asks::asked(&mut one, lie);
                both(&mut one, what);
            }
        }
    }
}

#[test]
#[ignore = "writes pictures, for eyes"]
fn shots() {
    let only = std::env::var("ONLY").unwrap_or_default();
    for (theme, choice) in [("dark", ThemeChoice::Dark), ("light", ThemeChoice::Light)] {
        for (width, size) in [("wide", WIDE), ("narrow", NARROW)] {
            if !format!("{theme}-{width}").contains(&only) {
                continue;
            }
            let settings = Settings {
                theme: choice,
                ..Settings::default()
            };
            let rig = || {
                let mut rig = Rig::with(size, settings.clone(), Start::default());
                rig.work();
                rig
            };
            let tall = |theme_rig: &mut Rig, name: &str| {
                // The whole page, however far it scrolls.
                let all = (size.0, if width == "wide" { 2000.0 } else { 3200.0 });
                theme_rig.harness.set_size(all.into());
                theme_rig.harness.run();
                shoot(theme_rig, all, &format!("{theme}-{width}-{name}-all"));
                theme_rig.harness.set_size(size.into());
                theme_rig.harness.run();
            };
            let name = |what: &str| format!("{theme}-{width}-{what}");
            let mut one = rig();
            shoot(&one, size, &name("1-start"));
            one.tell(Input::Dragging(2));
            shoot(&one, size, &name("1-drop"));
            let mut one = rig();
            one.tell(Input::Chosen(vec![(
                "honest.bin".to_owned(),
                Source::Path("honest.bin".to_owned()),
            )]));
            one.work();
            shoot(&one, size, &name("2-claims"));
            tall(&mut one, "2-claims");
            one.harness.set_size((size.0, 1800.0).into());
            one.harness.run();
            one.harness.get_by_label("What did you ask for?").click();
            one.harness.run();
            one.harness.get_by_label("Compare the sampler").click();
            one.harness.run();
            shoot(&one, (size.0, 1800.0), &name("2-expect-all"));
            let mut one = rig();
            let id = one.running(Stage::Hash, 3_000_000, 7_000_000);
            one.news(
                id,
                News::Progress {
                    stage: Stage::Prefill,
                    done: 20,
                    total: 45,
                },
            );
            shoot(&one, size, &name("3-running"));
            for (what, command) in [
                ("4-accept", "verify-sample"),
                ("5-swapped", "verify-swapped"),
                ("6-flipped", "verify-flipped"),
            ] {
                let mut one = rig();
                one.command(command);
                one.work();
                shoot(&one, size, &name(what));
                tall(&mut one, what);
                if what == "6-flipped" {
                    continue;
                }
                if what == "5-swapped" {
                    one.command("next-problem");
                }
                for (tab, command) in [
                    ("tokens", "show-tokens"),
                    ("figures", "show-figures"),
                    ("evidence", "show-evidence"),
                ] {
                    one.command(command);
                    one.work();
                    shoot(&one, size, &name(&format!("{what}-{tab}")));
                    tall(&mut one, &format!("{what}-{tab}"));
                }
            }
            let mut one = rig();
            one.tell(Input::Chosen(vec![(
                "uncovered.bin".to_owned(),
                Source::Path("uncovered.bin".to_owned()),
            )]));
            one.work();
            one.command("verify");
            one.work();
            shoot(&one, size, &name("7-inconclusive"));
            audits(&rig, &tall, &name, size);
            let mut one = rig();
            let id = one.running(Stage::Hash, 1, 2);
            let failure = Failure::new(
                "out-of-memory",
                "the device has no room for 3.2 GiB of weights",
            )
            .with_next("Close other programs that use the GPU, or choose another device.");
            one.news(id, News::Done(Err(failure)));
            shoot(&one, size, &name("8-error"));
            let mut one = rig();
            one.command("prove");
            one.command("run-prove");
            one.work();
            shoot(&one, size, &name("9-prove"));
            for dialog in ["palette", "help", "about", "devices", "storage"] {
                let mut one = rig();
                one.command(dialog);
                one.work();
                shoot(&one, size, &name(&format!("d-{dialog}")));
            }
        }
    }
}

/// A study's sheet, and a trace of a model that skips.
#[test]
#[ignore = "writes pictures, for eyes"]
fn study_shots() {
    for (theme, choice) in [("dark", ThemeChoice::Dark), ("light", ThemeChoice::Light)] {
        for (width, size, all) in [("wide", WIDE, 2000.0), ("narrow", NARROW, 2600.0)] {
            let settings = Settings {
                theme: choice,
                ..Settings::default()
            };
            for file in ["sheet.json", "skipping.bin"] {
                let mut one = Rig::with(size, settings.clone(), Start::default());
                one.work();
                one.tell(Input::Chosen(vec![(
                    file.to_owned(),
                    Source::Path(file.to_owned()),
                )]));
                one.work();
                let name = format!("{theme}-{width}-s-{}", file.split('.').next().unwrap());
                shoot(&one, size, &name);
                let all = (size.0, all);
                one.harness.set_size(all.into());
                one.harness.run();
                shoot(&one, all, &format!("{name}-all"));
            }
        }
    }
}
