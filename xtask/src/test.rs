//! Everything that must pass: format, clippy, all tests, on every implementation that this machine has, and the page in Chromium.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{self, cargo, stage};
use crate::setup::{self, Wanted};
use crate::{adapters, lint, web};

/// Runs all stages; the last lines are those of the browser's tests.
pub fn run() -> Result<()> {
    let mut found = adapters::Adapters::default();
    stage("setup", || {
        found = setup::run(Wanted::Tests)?;
        Ok(())
    })?;
    lint::run()?;

    let mut test = cargo(&["test", "--workspace"]);
    found.set(&mut test);
    if found.llvmpipe() && found.swiftshader() && !adapters::chosen_by_user() {
        // Tests that need an adapter skip themselves where there is none; here there are two, so a skip is a failure.
        test.env("ASSAY_REQUIRE_ADAPTERS", "llvmpipe,SwiftShader");
    } else {
        println!(
            "test: llvmpipe and SwiftShader are not both here, so tests between two adapters may be skipped"
        );
    }
    stage("tests", || command::run(&mut test))?;
    browser(&found)
}

/// The page in real Chromium, beside the program that `cargo test` has built.
fn browser(found: &adapters::Adapters) -> Result<()> {
    let mut page = None;
    stage("page", || {
        page = Some(web::for_tests()?);
        Ok(())
    })?;
    let Some((site, _modules)) = page else {
        return Ok(());
    };
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let program = own.with_file_name(format!("assay{}", std::env::consts::EXE_SUFFIX));
    // One after another: they share one GPU process, and on two cores time itself.
    let mut node = Command::new("node");
    node.args(["--test", "--test-concurrency=1"])
        .args(["app.test.mjs", "boot.test.mjs", "server.test.mjs"])
        .current_dir(command::root().join("tests/browser"))
        .env("ASSAY_SITE", site)
        .env("ASSAY_BIN", program)
        .env("ASSAY_WEBTOOL", web::webtool_program()?);
    found.set(&mut node);
    println!("== browser");
    command::run(&mut node)
}
