//! What comes from npm: wasm-opt, and the browser tests' driver. Their exact versions are in `tests/browser`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::command::{self, root};
use crate::setup;

/// The oldest Node.js that everything in `tests/browser` runs on.
const OLDEST: u32 = 20;

/// The folder of `package.json`.
pub fn folder() -> PathBuf {
    root().join("tests/browser")
}

/// wasm-opt, installed if need be; Node.js itself too if `install` is set.
pub fn wasm_opt(install: bool) -> Result<PathBuf> {
    let modules = modules(install)?;
    let program = modules.join(".bin/wasm-opt");
    ensure!(program.exists(), "{} is missing", program.display());
    Ok(program)
}

/// The folder `node_modules` as the lock file wants it.
pub fn modules(install: bool) -> Result<PathBuf> {
    if version().is_none() && install && cfg!(target_os = "linux") {
        setup::install(&["nodejs", "npm"], "install Node.js and npm");
    }
    let version = version().context("Node.js is not here")?;
    ensure!(
        version >= OLDEST,
        "Node.js {version} is too old, want {OLDEST}"
    );
    let folder = folder();
    let modules = folder.join("node_modules");
    if !is_current(&folder) {
        println!("web: npm ci in tests/browser");
        let mut install = Command::new("npm");
        install
            .args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ])
            .current_dir(&folder);
        command::run(&mut install)?;
        std::fs::copy(folder.join("package-lock.json"), stamp(&folder))
            .context("cannot write into node_modules")?;
    }
    Ok(modules)
}

/// The lock file that was installed last; npm deletes the folder before it installs, and this with it.
fn stamp(folder: &Path) -> PathBuf {
    folder.join("node_modules/.assay-lock.json")
}

fn is_current(folder: &Path) -> bool {
    let wanted = std::fs::read(folder.join("package-lock.json"));
    let there = std::fs::read(stamp(folder));
    matches!((wanted, there), (Ok(wanted), Ok(there)) if wanted == there)
}

fn version() -> Option<u32> {
    let out = Command::new("node")
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    major(&String::from_utf8(out.stdout).ok()?)
}

fn major(version: &str) -> Option<u32> {
    version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("20"), None);
    }
}
