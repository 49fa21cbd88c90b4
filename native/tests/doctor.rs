//! `assay doctor`: what it finds, in both forms, on a machine with adapters and on one without.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::process::{Command, Output};

use serde_json::Value;

/// Run where there is nothing to find.
fn doctor(args: &[&str], without_adapters: bool) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command
        .current_dir(folder.path())
        .env_remove("NO_COLOR")
        .arg("doctor")
        .args(args);
    command
        .env("HF_HUB_CACHE", folder.path())
        .env("XDG_RUNTIME_DIR", folder.path());
    if without_adapters {
        // No Vulkan driver, no OpenGL: what a bare server has.
        command
            .env("VK_DRIVER_FILES", "/nonexistent")
            .env("VK_ICD_FILENAMES", "/nonexistent");
        command
            .env("LIBGL_DRIVERS_PATH", "/nonexistent")
            .env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent");
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn items<'a>(findings: &'a Value, section: &str) -> &'a Vec<Value> {
    let sections = findings["sections"].as_array().unwrap();
    let found = sections.iter().find(|s| s["id"] == section).unwrap();
    found["items"].as_array().unwrap()
}

#[test]
fn every_problem_and_warning_has_a_next_step() {
    for without_adapters in [false, true] {
        let output = doctor(&["--json"], without_adapters);
        let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ready = findings["ready"].as_bool().unwrap();
        assert_eq!(
            output.status.code(),
            Some(i32::from(!ready)),
            "{}",
            text(&output.stderr)
        );
        let mut problems = 0;
        for section in ["adapters", "models", "host", "page"] {
            for item in items(&findings, section) {
                let bad = matches!(item["status"].as_str().unwrap(), "warning" | "problem");
                assert_eq!(bad, item["next_step"].is_string(), "{item}");
                problems += usize::from(item["status"] == "problem");
            }
        }
        assert_eq!(ready, problems == 0);
        assert_eq!(
            items(&findings, "models")[0]["status"],
            "ok",
            "the demo model"
        );
        if cfg!(target_os = "linux") && without_adapters {
            let adapters = items(&findings, "adapters");
            println!("without drivers: {adapters:?}");
        }
    }
}

/// The CPU's own kernels are always there, so `--adapter cpu` is always ready; with inference it proves and verifies.
#[test]
fn the_cpu_is_always_ready_and_really_computes() {
    let output = doctor(&["--adapter", "cpu", "--test-inference", "--json"], false);
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{findings}");
    let inference = items(&findings, "inference");
    assert_eq!(
        (inference.len(), &inference[0]["status"]),
        (1, &Value::from("ok"))
    );
    assert!(
        inference[0]["detail"][0]
            .as_str()
            .unwrap()
            .contains("accepted")
    );
}

#[test]
fn a_name_that_no_adapter_has_is_a_problem() {
    let output = doctor(&["--adapter", "no such adapter"], false);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("✗ NOT READY") && shown.contains("→ "),
        "{shown}"
    );
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
}
