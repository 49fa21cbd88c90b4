//! The window as a user of a Linux desktop meets it: opened, looked at, dropped upon, asked for files, closed at any time.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod desktop;
mod x11;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assay_model::Dtype;
use assay_model::synth::{self, Shape};
use serde_json::{Value, json};

use desktop::{Desktop, group};

/// How long closing may take while a job runs.
const CLOSING: Duration = Duration::from_secs(60);

fn sample(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    text(&root.join("web/samples").join(name))
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn is_idle(state: &Value) -> bool {
    state["phase"] == "idle"
}

/// Whether the trace of this name was read.
fn has_read(state: &Value, name: &str) -> bool {
    state["trace"] == name && !state["claims"].is_null()
}

#[test]
fn it_opens_shows_something_and_closes() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let mut app = desktop.open(&[]);
    let state = app.wait(is_idle);
    assert_eq!(state["trace"], Value::Null);
    assert_eq!(state["error"], Value::Null);
    assert_eq!(state["model"], "demo model");
    let window = app.window();
    // A first frame may still be empty.
    app.until(|app| {
        let (width, height, pixels) = app.picture(window)?;
        assert_eq!((width, height), (1280, 800));
        let mut colors: Vec<&[u8]> = pixels.chunks_exact(4).collect();
        colors.sort_unstable();
        colors.dedup();
        // Text has soft edges: many shades.
        (colors.len() > 30).then_some(())
    });
    assert_eq!(app.close(), 0);
}

#[test]
fn a_trace_from_the_command_line_is_judged_as_in_the_terminal() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let cases = [
        ("honest.bin", "accept", Value::Null),
        ("swapped-token.bin", "reject", json!("token-margin")),
        ("flipped-byte.bin", "reject", json!("state-digest")),
    ];
    for (name, verdict, code) in cases {
        let saved = desktop.path(&format!("{name}.report.json"));
        desktop.dialog(&format!("echo '{}'", saved.display()));
        let mut app = desktop.open(&[&sample(name), "--command", "save-report"]);
        let state = app.wait(|state| !state["verdict"].is_null());
        assert_eq!(state["verdict"], verdict, "{name}: {state}");
        assert_eq!(state["code"], code, "{name}: {state}");
        app.until(|_| saved.exists().then_some(()));
        assert_eq!(app.close(), 0);

        let output = desktop
            .assay()
            .args(["--json", "--verify", &sample(name)])
            .output();
        let mut terminal: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        let mut window: Value = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
        for report in [&mut terminal, &mut window] {
            let times = report.as_object_mut().unwrap().remove("timings");
            assert!(times.is_some(), "{report}");
        }
        assert_eq!(terminal, window, "{name}");
    }
}

#[test]
fn a_trace_that_is_not_there_is_an_error_that_one_can_read() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let missing = text(&desktop.path("missing.bin"));
    let mut app = desktop.open(&[&missing]);
    let state = app.wait(|state| state["phase"] == "error");
    let message = state["error"]["message"].as_str().unwrap();
    assert!(message.contains("missing.bin"), "{message}");
    assert_eq!(app.close(), 0);
}

#[test]
fn dropped_files_are_opened() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    // A name that a drag source has to write in another way.
    let odd = desktop.path("an odd %41 näme.bin");
    fs::copy(sample("honest.bin"), &odd).unwrap();
    let mut app = desktop.open(&[]);
    app.wait(is_idle);
    let swapped = format!("file://{}\r\n", sample("swapped-token.bin"));
    assert!(!app.drag(&swapped, false), "left again, nothing is dropped");
    assert!(app.drag(&swapped, true));
    let state = app.wait(|state| has_read(state, "swapped-token.bin"));
    assert_eq!(state["error"], Value::Null);
    let encoded = text(&odd)
        .replace('%', "%25")
        .replace(' ', "%20")
        .replace('ä', "%C3%A4");
    assert!(app.drag(&format!("file://{encoded}\r\n"), true));
    app.wait(|state| has_read(state, "an odd %41 näme.bin"));
    assert_eq!(app.close(), 0);
}

/// The trace and the folder of its model in one drop.
#[test]
fn a_model_is_dropped_beside_its_trace() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let (model, trace) = tiny(&desktop);
    let mut app = desktop.open(&["--command", "verify"]);
    app.wait(is_idle);
    let uris = format!(
        "file://{}\r\nfile://{}\r\n",
        trace.display(),
        model.display()
    );
    assert!(app.drag(&uris, true));
    let state = app.wait(|state| has_read(state, "tiny.bin") && state["model"] == "tiny");
    assert_eq!(state["error"], Value::Null);
    assert_eq!(app.close(), 0);
}

/// A model's folder, and a trace of it.
fn tiny(desktop: &Desktop) -> (PathBuf, PathBuf) {
    let (model, trace) = (desktop.path("tiny"), desktop.path("tiny.bin"));
    let shape = Shape::named("tiny").unwrap();
    synth::write(&shape, Dtype::F32, 3, &model).unwrap();
    prove(desktop, &model, &trace, "1,5,9");
    (model, trace)
}

fn prove(desktop: &Desktop, model: &Path, trace: &Path, prompt: &str) {
    let mut command = desktop.assay();
    command.args(["prove", "-n", "2", "--ignore-eos", "--prompt-ids", prompt]);
    let output = command
        .arg("--model")
        .arg(model)
        .arg("--trace")
        .arg(trace)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_file_dialog_opens_what_it_names() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let asked = desktop.path("asked");
    let dialog = |answer: &str| format!("echo \"$@\" >> '{}'; {answer}", asked.display());
    let answer = |path: &str| dialog(&format!("echo '{path}'"));
    let lines = || {
        fs::read_to_string(&asked)
            .unwrap_or_default()
            .lines()
            .count()
    };

    desktop.dialog(&answer(&sample("honest.bin")));
    let mut app = desktop.open(&["--command", "open-files"]);
    app.wait(|state| has_read(state, "honest.bin"));
    assert_eq!(app.close(), 0);
    assert_eq!(lines(), 1);

    // Two files at once come with a bar between them.
    let (model, trace) = tiny(&desktop);
    desktop.dialog(&answer(&format!("{}|{}", trace.display(), model.display())));
    let mut app = desktop.open(&["--command", "open-files"]);
    app.wait(|state| has_read(state, "tiny.bin") && state["model"] == "tiny");
    assert_eq!(app.close(), 0);
    assert_eq!(lines(), 2);

    desktop.dialog(&answer(&text(&model)));
    let mut app = desktop.open(&["--command", "open-folder"]);
    app.wait(|state| state["model"] == "tiny");
    assert_eq!(app.close(), 0);
    assert!(fs::read_to_string(&asked).unwrap().contains("--directory"));

    // Closed without a choice: everything is as it was.
    desktop.dialog(&dialog("exit 1"));
    for command in ["open-files", "open-folder"] {
        let before = lines();
        let mut app = desktop.open(&[
            &sample("honest.bin"),
            "--command",
            "save-report",
            "--command",
            command,
        ]);
        app.until(|_| (lines() == before + 2).then_some(()));
        std::thread::sleep(Duration::from_secs(1));
        let state = app.state().unwrap();
        assert_eq!(state["trace"], "honest.bin", "{state}");
        assert_eq!(state["verdict"], "accept", "{state}");
        assert_eq!(state["error"], Value::Null, "{state}");
        assert_eq!(state["toast"], Value::Null, "{state}");
        assert_eq!(app.close(), 0);
    }
}

#[test]
fn saving_without_any_dialog_says_why_not() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    if Command::new("zenity").arg("--version").output().is_ok() {
        println!("skipped: this machine has zenity");
        return;
    }
    let mut app = desktop.open(&[&sample("honest.bin"), "--command", "save-report"]);
    let state = app.wait(|state| !state["toast"].is_null());
    let toast = state["toast"].as_str().unwrap();
    assert!(toast.contains("has no file dialog"), "{toast}");
    assert_eq!(app.close(), 0);
}

#[test]
fn closing_while_a_dialog_is_open() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let asked = desktop.path("asked");
    desktop.dialog(&format!("touch '{}'; exec sleep 60", asked.display()));
    let mut app = desktop.open(&["--command", "open-files"]);
    app.until(|_| asked.exists().then_some(()));
    assert_eq!(app.close_within(CLOSING), 0);
}

/// Seconds of work on two cores without a GPU.
#[test]
fn closing_during_a_job() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let (model, trace) = (desktop.path("large"), desktop.path("large.bin"));
    let mut config = Shape::named("llama-3.2-1b").unwrap().config;
    config.hidden = 768;
    config.intermediate = 3072;
    config.layers = 12;
    config.heads = 12;
    config.kv_heads = 4;
    config.vocab = 16_384;
    config.eos = vec![1];
    config.bos = Some(0);
    let shape = Shape::custom("large", config).unwrap();
    synth::write(&shape, Dtype::BF16, 1, &model).unwrap();
    let prompt: Vec<String> = (0..500)
        .map(|id| (id * 31 % 16_000 + 2).to_string())
        .collect();
    prove(&desktop, &model, &trace, &prompt.join(","));

    // In each stage: read and hash, upload, run.
    for stage in ["", "prefill"] {
        let mut app = desktop.open(&[&text(&trace), "--model", &text(&model)]);
        let state = app.wait(|state| {
            state["job"] == "verify" && (stage.is_empty() || state["stage"] == stage)
        });
        assert_eq!(state["verdict"], Value::Null);
        let id = app.id();
        assert_eq!(app.processes(), [id]);
        assert_eq!(app.close_within(CLOSING), 0);
        assert_eq!(group(id), [0; 0], "nothing of it runs on");
        let last = fs::read_to_string(desktop.path("state.json")).unwrap();
        let last: Value = serde_json::from_str(&last).unwrap();
        assert_eq!(
            last["phase"], "working",
            "it was closed in the middle: {last}"
        );
    }
}

#[test]
fn settings_are_kept() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    for (command, theme) in [("theme-light", "light"), ("theme-dark", "dark")] {
        let mut app = desktop.open(&["--command", command, "--command", "zoom-in"]);
        let zoom =
            app.wait(|state| state["theme"] == theme && state["zoom"] != 1.0)["zoom"].clone();
        assert_eq!(app.close(), 0);
        let mut app = desktop.open(&[]);
        let state = app.wait(is_idle);
        assert_eq!((&state["theme"], &state["zoom"]), (&json!(theme), &zoom));
        assert_eq!(app.close(), 0);
        let mut app = desktop.open(&["--command", "zoom-reset"]);
        app.wait(|state| state["zoom"] == 1.0);
        assert_eq!(app.close(), 0);
    }
    // A file that something else has broken costs the settings, not the start.
    let file = desktop.path("data/assay/app.ron");
    fs::write(&file, "no settings").unwrap();
    let mut app = desktop.open(&[]);
    app.wait(is_idle);
    drop(app);
}

#[test]
fn it_opens_beside_a_driver_that_knows_no_windows() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let Some(mut app) = desktop.open_with_all_drivers() else {
        println!("skipped: VK_DRIVER_FILES does not name two drivers");
        return;
    };
    let state = app.wait(is_idle);
    assert_eq!(state["error"], Value::Null);
}

#[test]
fn without_a_display_it_says_so() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let run = |command: &mut Command, parts: &[&str]| {
        let (code, shown) = refused(command);
        assert_eq!(code, Some(2), "{shown}");
        assert!(shown.starts_with("error: "), "{shown}");
        assert!(parts.iter().all(|part| shown.contains(part)), "{shown}");
        assert!(!shown.contains("panicked"), "{shown}");
    };
    let instead = "assay --verify trace.bin";
    let no_window = ["the window cannot be opened", instead];
    for args in [&[][..], &["window"], &["window", &sample("honest.bin")]] {
        run(
            desktop.assay().args(args).env_remove("DISPLAY"),
            &["there is no display", instead],
        );
    }
    // One that is named, but is not there; and nothing that could draw on it.
    run(
        desktop
            .assay()
            .env("VK_DRIVER_FILES", "/nowhere")
            .env("VK_ICD_FILENAMES", "/nowhere")
            .env("__EGL_VENDOR_LIBRARY_DIRS", "/nowhere"),
        &no_window,
    );
    run(desktop.assay().env("DISPLAY", ":65000"), &no_window);
    let state = desktop.path("no/such/folder/state.json");
    run(
        desktop.assay().args(["window", "--state"]).arg(state),
        &["cannot write"],
    );
}

/// The exit code and stderr of what should end by itself; it is ended where it does not.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), shown)
}

#[test]
fn experiments_run_in_the_window_and_are_kept() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let begun = Instant::now();
    let mut app = desktop.open(&["--command", "experiments", "--command", "run-experiment"]);
    let state = app.wait(|state| state["study"] == "Experiments" || !state["error"].is_null());
    assert_eq!(state["error"], Value::Null);
    assert_eq!(
        (&state["page"], &state["study"]),
        (&json!("study"), &json!("Experiments"))
    );
    assert_eq!(app.close(), 0);
    let first = begun.elapsed();
    let folder = desktop.path("data/assay/experiments");
    let folders: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(folders.len(), 1, "one model: {folders:?}");
    for name in [
        "summary.json",
        "report.html",
        "sheet.json",
        "exp2/trial-002-back.json",
    ] {
        assert!(folders[0].join(name).is_file(), "{name}");
    }
    // Trials that are there are not run again.
    let trial = folders[0].join("exp2/trial-000.json");
    let before = fs::metadata(&trial).unwrap().modified().unwrap();
    let mut app = desktop.open(&["--command", "experiments", "--command", "run-experiment"]);
    app.wait(|state| state["study"] == "Experiments");
    assert_eq!(app.close(), 0);
    assert_eq!(fs::metadata(&trial).unwrap().modified().unwrap(), before);
    println!("first run: {first:.1?}, both: {:.1?}", begun.elapsed());
}
