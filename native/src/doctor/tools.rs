//! What the page needs: a standard library for wasm to build it, a browser to open it. Verifying needs neither.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::item::Item;

const TARGET: &str = "wasm32-unknown-unknown";
/// Programs that open a page, those with WebGPU first.
const BROWSERS: [&str; 9] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "brave-browser",
    "chrome",
    "firefox",
    "firefox-esr",
];
/// Where browsers lie that are in no PATH.
const ELSEWHERE: [&str; 5] = [
    "/Applications/Google Chrome.app",
    "/Applications/Chromium.app",
    "/Applications/Firefox.app",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
];

/// Looks.
pub fn look() -> Vec<Item> {
    vec![wasm(), browser()]
}

/// The same two ways as `cargo xtask web` goes.
fn wasm() -> Item {
    let rustup = toolchain_has_it();
    let debian = debian_has_it();
    let first = match rustup {
        true => "the toolchain has its standard library",
        false => "the toolchain has no standard library for it",
    };
    let second = match (debian, rustup) {
        (true, _) => "Debian's cargo can build it from source",
        (false, true) => "Debian's way, to build it from source, is not there, and not needed",
        (false, false) => "nor is there Debian's way, to build it from source",
    };
    if rustup || debian {
        return Item::ok(TARGET, first).line(second);
    }
    Item::warning(
        TARGET,
        first,
        format!("only for building the page: rustup target add {TARGET}, or on Debian: apt-get install rustc-web cargo-web rust-web-src"),
    )
    .line(second)
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    let out = Command::new(rustc)
        .args(["--print", "sysroot"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| PathBuf::from(path.trim()))
}

fn toolchain_has_it() -> bool {
    let std_of = |sysroot: PathBuf| {
        let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
        let mut files = library.read_dir().into_iter().flatten().flatten();
        files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
    };
    sysroot("rustc").is_some_and(std_of)
}

fn debian_has_it() -> bool {
    let source = |sysroot: PathBuf| {
        let manifest = sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml");
        manifest.is_file()
    };
    cfg!(target_os = "linux")
        && Path::new("/usr/bin/cargo").is_file()
        && sysroot("/usr/bin/rustc").is_some_and(source)
}

fn browser() -> Item {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = BROWSERS.iter().find_map(|name| find(name, &path));
    let found = in_path.or_else(|| {
        ELSEWHERE
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
    });
    match found {
        Some(path) if path.to_string_lossy().to_lowercase().contains("firefox") => Item::warning(
            "browser",
            path.display().to_string(),
            "the page needs WebGPU, which not every Firefox has; Chrome, Edge and Chromium do",
        ),
        Some(path) => Item::ok("browser", path.display().to_string()),
        None => Item::warning(
            "browser",
            "none found",
            "only for the page: install one with WebGPU, on Debian: apt-get install chromium",
        ),
    }
}

fn find(name: &str, path: &OsString) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().as_os_str().to_owned();
        assert_eq!(find("chromium", &path), None);
        std::fs::write(folder.path().join("chromium"), "").expect("it writes");
        assert_eq!(
            find("chromium", &path),
            Some(folder.path().join("chromium"))
        );
    }
}
