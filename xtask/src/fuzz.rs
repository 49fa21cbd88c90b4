//! Runs fuzz targets through cargo-fuzz, where it is installed. The tests have a short run of the same targets that needs
//! neither it nor a nightly compiler.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::{self, root};

/// `fuzz [TARGET] [SECONDS]`; all targets if none is named.
pub fn run(args: &[String]) -> Result<()> {
    let (target, seconds) = match args {
        [] => (None, "30"),
        [one] if one.parse::<u32>().is_ok() => (None, one.as_str()),
        [target] => (Some(target.as_str()), "30"),
        [target, seconds, ..] => (Some(target.as_str()), seconds.as_str()),
    };
    ensure!(
        seconds.parse::<u32>().is_ok(),
        "not a number of seconds: `{seconds}`"
    );
    ensure!(
        command::succeeds(Command::new("cargo").args(["fuzz", "--version"])),
        "cargo-fuzz is not installed; with a nightly compiler, `cargo install cargo-fuzz` does it"
    );
    let folder = folder().context("no fuzz folder in this workspace")?;
    let targets = match target {
        Some(target) => vec![target.to_owned()],
        None => list(&folder)?,
    };
    for target in targets {
        let mut fuzz = Command::new("cargo");
        fuzz.args(["+nightly", "fuzz", "run", "--fuzz-dir"])
            .arg(&folder)
            .arg(&target)
            .arg("--");
        fuzz.arg(format!("-max_total_time={seconds}"))
            .current_dir(root());
        println!("$ {}", command::shown(&fuzz));
        command::run(&mut fuzz)?;
    }
    Ok(())
}

fn folder() -> Option<PathBuf> {
    ["fuzz", "tests/fuzz"]
        .iter()
        .map(|folder| root().join(folder))
        .find(|folder| folder.join("Cargo.toml").is_file())
}

fn list(folder: &PathBuf) -> Result<Vec<String>> {
    let out = Command::new("cargo")
        .args(["fuzz", "list", "--fuzz-dir"])
        .arg(folder)
        .current_dir(root())
        .output()
        .context("cannot list fuzz targets")?;
    Ok(String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}
