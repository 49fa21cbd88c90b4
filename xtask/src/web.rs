//! The page: builds the module, makes its glue, shrinks it, and assembles the folder to deploy or serves it on this machine.
//! What needs libraries is done by `xtask/webtool`, and wasm-opt comes from npm, so that xtask itself stays free of both.

mod compile;
mod node;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command::{self, cargo, root};

/// How wasm-opt optimises: what is left after gzip is least with this; higher levels make only the module itself smaller.
const LEVEL: &str = "-O1";
/// Functions that are much alike lie side by side then, as gzip likes it: 4 % less than in the linker's order.
const ORDER: &str = "--reorder-functions-by-name";

/// `cargo xtask web` with these arguments.
pub fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            let folder = target_folder()?.join("web/site");
            build(&folder, Shrink::IfPossible)?;
            // Until interrupted, which ends the server and us alike.
            command::run(webtool()?.arg("serve").arg(&folder))
        }
        ["--release", folder] => build(&absolute(folder)?, Shrink::Always),
        ["--build", folder] => build(&absolute(folder)?, Shrink::IfPossible),
        _ => bail!("want `cargo xtask web`, or with --release DIR or --build DIR"),
    }
}

/// Whether the module goes through wasm-opt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shrink {
    /// Or there is no deployable folder.
    Always,
    /// Where Node.js is.
    IfPossible,
    /// As it comes from the compiler.
    Never,
}

/// The page for tests, and npm's packages for them. Not shrunk: that takes longer than the tests.
pub fn for_tests() -> Result<(PathBuf, PathBuf)> {
    let folder = target_folder()?.join("web/test-site");
    build(&folder, Shrink::Never)?;
    Ok((folder, node::modules(true)?))
}

/// npm's packages for programs that drive a browser.
pub fn browser_packages() -> Result<PathBuf> {
    node::modules(true)
}

/// The program that assembled it, for tests that do so with a stub in the module's place.
pub fn webtool_program() -> Result<PathBuf> {
    let name = format!("debug/webtool{}", std::env::consts::EXE_SUFFIX);
    Ok(target_folder()?.join("webtool").join(name))
}

fn build(folder: &Path, shrink: Shrink) -> Result<()> {
    let target = target_folder()?;
    let commit = if shrink == Shrink::Always {
        commit()
    } else {
        None
    };
    let module = compile::module(&target.join("wasm"), commit.as_deref())?;
    let glue = target.join("web/glue");
    let wasm_opt = match shrink {
        Shrink::Never => None,
        _ => match node::wasm_opt(shrink == Shrink::Always) {
            Ok(wasm_opt) => Some(wasm_opt),
            Err(err) if shrink == Shrink::IfPossible => {
                println!("web: without wasm-opt: {err:#}");
                None
            }
            Err(err) => return Err(err.context("a release needs wasm-opt")),
        },
    };
    println!("web: glue");
    let mut make = webtool()?;
    make.arg("glue").arg(&module).arg(&glue);
    // wasm-opt orders functions by their names, and drops these.
    command::run(make.args(wasm_opt.as_ref().map(|_| "names")))?;
    if let Some(wasm_opt) = wasm_opt {
        let made = glue.join("assay.wasm");
        shrunk(&wasm_opt, &made, &target.join(format!("web/shrunk{LEVEL}")))?;
    }
    command::run(
        webtool()?
            .arg("assemble")
            .args([&root(), &glue, folder])
            .arg(env!("CARGO_PKG_VERSION")),
    )
}

/// The commit, for a release's about box; a build for this machine would be made anew with each one.
fn commit() -> Option<String> {
    let mut describe = Command::new("git");
    describe
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .current_dir(root())
        .stdin(Stdio::null());
    let out = describe.output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned())
}

/// Replaces `module` by what wasm-opt makes of it. That takes a minute, so the last result is kept with what it came from.
fn shrunk(wasm_opt: &Path, module: &Path, keep: &Path) -> Result<()> {
    let (before, after) = (keep.join("before.wasm"), keep.join("after.wasm"));
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let input = read(module)?;
    if !(after.is_file() && read(&before).is_ok_and(|known| known == input)) {
        println!("web: wasm-opt");
        std::fs::create_dir_all(keep)
            .with_context(|| format!("cannot create {}", keep.display()))?;
        // The order matters: whatever interrupts this, `before` never stands beside another's `after`.
        drop(std::fs::remove_file(&before));
        let mut optimise = Command::new(wasm_opt);
        // The module itself says which features of WebAssembly it may use. With `--all-features` it would use some that no
        // browser knows.
        optimise.args([LEVEL, ORDER, "-o"]).arg(&after).arg(module);
        command::run(&mut optimise)?;
        std::fs::write(&before, &input)
            .with_context(|| format!("cannot write {}", before.display()))?;
    }
    std::fs::copy(&after, module).with_context(|| format!("cannot write {}", module.display()))?;
    Ok(())
}

/// The program beside this one that has libraries, ready for its verb.
fn webtool() -> Result<Command> {
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--manifest-path",
        "xtask/webtool/Cargo.toml",
    ]);
    command
        .env("CARGO_TARGET_DIR", target_folder()?.join("webtool"))
        .arg("--");
    Ok(command)
}

/// The workspace's target folder, wherever it is: this program lies in it.
fn target_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let target = own.parent().and_then(Path::parent);
    Ok(target
        .context("this program is in no target folder")?
        .to_owned())
}

fn absolute(folder: &str) -> Result<PathBuf> {
    std::path::absolute(folder).with_context(|| format!("no path: {folder:?}"))
}
