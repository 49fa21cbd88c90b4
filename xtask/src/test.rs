//! Everything that must pass: format, clippy, all tests, on every implementation that this machine has.

use anyhow::Result;

use crate::command::{self, cargo, stage};
use crate::setup::{self, Wanted};
use crate::{adapters, lint};

/// Runs all stages; the last lines are those of `cargo test`.
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
    println!("== tests");
    command::run(&mut test)
}
