//! Format and clippy, as the tests ask for them.

use anyhow::Result;

use crate::command::{self, cargo, stage};

/// Both.
pub fn run() -> Result<()> {
    stage("format", || {
        command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
        let webtool = "xtask/webtool/Cargo.toml";
        command::run(&mut cargo(&["fmt", "--manifest-path", webtool, "--check"]))
    })?;
    stage("clippy", || {
        command::run(&mut cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })
}
