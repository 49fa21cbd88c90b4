//! Compiles the module. Getting the standard library for wasm is the part that differs between machines.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::{self, cargo};
use crate::setup;

const TARGET: &str = "wasm32-unknown-unknown";
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Where rustup cannot reach its server it would try for minutes.
const RUSTUP_MAY_TAKE: Duration = Duration::from_secs(30);

/// Compiles it below `folder` and returns the file. It will say that it was made from `commit`.
pub fn module(folder: &Path, commit: Option<&str>) -> Result<PathBuf> {
    let way = Way::find()?;
    println!("web: compiling for {TARGET} with {}", way.name());
    let mut build = way.cargo();
    build.args([
        "build",
        "--quiet",
        "-p",
        "assay-web",
        "--lib",
        "--profile",
        "web",
    ]);
    build.args(["--target", TARGET, "--target-dir"]).arg(folder);
    // Flags for this machine's processor mean nothing there, and would only make every crate build anew.
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
    ] {
        build.env_remove(name);
    }
    build.env_remove("ASSAY_COMMIT");
    build.envs(commit.map(|commit| ("ASSAY_COMMIT", commit)));
    command::run(&mut build)?;
    Ok(folder.join(TARGET).join("web/assay_web.wasm"))
}

/// How the standard library for wasm is got.
enum Way {
    /// It is part of the toolchain.
    Toolchain,
    /// Debian's cargo builds it from source.
    Debian {
        /// Debian has no linker for wasm under the name that its rustc looks for.
        linker: PathBuf,
    },
}

impl Way {
    /// The first that works; `ASSAY_WASM=rustup` or `debian` allows only one.
    fn find() -> Result<Self> {
        let only = std::env::var("ASSAY_WASM").unwrap_or_default();
        let (rustup, debian) = match only.as_str() {
            "" => (true, true),
            "rustup" => (true, false),
            "debian" => (false, true),
            other => bail!("ASSAY_WASM is {other:?}; want rustup or debian"),
        };
        if rustup && (toolchain_has_it() || rustup_adds_it()) {
            return Ok(Self::Toolchain);
        }
        if debian && let Some(way) = Self::debian()? {
            return Ok(way);
        }
        bail!(
            "no standard library for {TARGET}: run `rustup target add {TARGET}`, or on Debian install {}",
            PACKAGES.join(", ")
        )
    }

    fn debian() -> Result<Option<Self>> {
        if !cfg!(target_os = "linux") {
            return Ok(None);
        }
        if !debian_has_it() {
            setup::install(&PACKAGES, "");
        }
        if !debian_has_it() {
            return Ok(None);
        }
        let linker =
            linker().context("no rust-lld: install rustup's toolchain, or Debian's package lld")?;
        Ok(Some(Self::Debian { linker }))
    }

    fn name(&self) -> String {
        match self {
            Self::Toolchain => format!("the toolchain's own {TARGET}"),
            Self::Debian { linker } => {
                format!(
                    "Debian's cargo, its standard library from source, linker {}",
                    linker.display()
                )
            }
        }
    }

    fn cargo(&self) -> Command {
        match self {
            Self::Toolchain => cargo(&[]),
            Self::Debian { linker } => {
                let mut cargo = Command::new("/usr/bin/cargo");
                cargo
                    .current_dir(command::root())
                    .arg("-Zbuild-std=std,panic_abort")
                    .env("RUSTC", "/usr/bin/rustc")
                    // It allows -Z on a stable compiler.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                    // cargo set it to the libraries of the toolchain that built this program.
                    .env_remove("LD_LIBRARY_PATH");
                cargo
            }
        }
    }
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    let out = Command::new(rustc)
        .args(["--print", "sysroot"])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| PathBuf::from(path.trim()))
}

fn toolchain_has_it() -> bool {
    sysroot("rustc").is_some_and(|sysroot| {
        let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
        library.read_dir().is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
            })
        })
    })
}

fn rustup_adds_it() -> bool {
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET]).stdin(Stdio::null());
    let Ok(mut child) = add.spawn() else {
        return false;
    };
    let deadline = Instant::now() + RUSTUP_MAY_TAKE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success() && toolchain_has_it(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            _ => {
                println!("web: rustup does not reach its server");
                drop(child.kill());
                drop(child.wait());
                return false;
            }
        }
    }
}

fn debian_has_it() -> bool {
    let source = |sysroot: PathBuf| {
        sysroot
            .join("lib/rustlib/src/rust/library/std/Cargo.toml")
            .is_file()
    };
    Path::new("/usr/bin/cargo").is_file() && sysroot("/usr/bin/rustc").is_some_and(source)
}

/// A linker for wasm: the toolchain's, or Debian's `lld`.
fn linker() -> Option<PathBuf> {
    let of_toolchain = || {
        let rustlib = sysroot("rustc")?.join("lib/rustlib");
        let hosts = rustlib.read_dir().ok()?.flatten();
        hosts
            .map(|host| host.path().join("bin/rust-lld"))
            .find(|lld| lld.is_file())
    };
    let of_debian = || {
        let folders = ["/usr/bin"].map(PathBuf::from).into_iter().chain(
            // Each version of LLVM has its own folder; any will do.
            Path::new("/usr/lib")
                .read_dir()
                .ok()?
                .flatten()
                .map(|entry| entry.path().join("bin")),
        );
        folders
            .map(|folder| folder.join("wasm-ld"))
            .find(|lld| lld.is_file())
    };
    of_toolchain().or_else(of_debian).or_else(|| {
        setup::install(&["lld"], "");
        of_debian()
    })
}
