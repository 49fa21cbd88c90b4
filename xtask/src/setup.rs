//! Installs what is missing where the platform's package manager lets it, else says in a line what to install. Where
//! everything is there it touches no network; where something optional is missing it goes on without.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::adapters::Adapters;
use crate::command;

/// What the setup is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Something to compute on.
    Demo,
    /// Two different software implementations.
    Tests,
}

/// Installs, and returns the drivers that are there afterwards.
pub fn run(wanted: Wanted) -> Result<Adapters> {
    let adapters = Adapters::find();
    if !cfg!(target_os = "linux") {
        // Metal and DX12 come with the system, as does the WARP rasteriser on Windows.
        return Ok(adapters);
    }
    let packages = missing(wanted, &adapters);
    if packages.is_empty() {
        return Ok(adapters);
    }
    install(
        &packages,
        "install your distribution's Vulkan loader and Mesa's Vulkan drivers (llvmpipe); tests also use\n\
         setup: Chromium's SwiftShader and Xvfb where there are such.",
    );
    Ok(Adapters::find())
}

/// Installs Debian's `packages`, or says what to install: `elsewhere` on a system that has other packages, if there is
/// anything to say. Whoever asked looks again for what it needs.
pub fn install(packages: &[&str], elsewhere: &str) {
    if !Path::new("/usr/bin/apt-get").exists() {
        println!("setup: not found: {}", packages.join(", "));
        if !elsewhere.is_empty() {
            println!("setup: {elsewhere}");
        }
        println!("setup: Going on with what is there.");
        return;
    }
    let Some(prefix) = privilege() else {
        println!(
            "setup: not installed: {}\n\
             setup: no root and no sudo without a password here; for all of it run\n\
             setup:   sudo apt-get install -y --no-install-recommends {}\n\
             setup: Going on with what is there.",
            packages.join(", "),
            packages.join(" ")
        );
        return;
    };
    apt_install(prefix, packages);
}

/// Debian's names of what is not there.
fn missing(wanted: Wanted, adapters: &Adapters) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if !has_loader() {
        packages.push("libvulkan1");
    }
    // A demonstration runs on any driver; the tests want this one.
    if !adapters.llvmpipe() && (wanted == Wanted::Tests || !adapters.any()) {
        packages.push("mesa-vulkan-drivers");
    }
    if !adapters.swiftshader() && wanted == Wanted::Tests {
        packages.push("chromium");
    }
    // The window's tests open it on a display that nobody looks at.
    if !is_in_path("Xvfb") && wanted == Wanted::Tests {
        packages.push("xvfb");
    }
    packages
}

fn is_in_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

fn has_loader() -> bool {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/lib64",
    ];
    folders
        .iter()
        .any(|folder| Path::new(folder).join("libvulkan.so.1").exists())
        || std::env::var_os("LD_LIBRARY_PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join("libvulkan.so.1").exists())
        })
}

/// What to put before `apt-get`; none if this user may not install.
fn privilege() -> Option<&'static [&'static str]> {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    if is_root {
        return Some(&[]);
    }
    command::succeeds(Command::new("sudo").args(["-n", "true"])).then_some(&["sudo", "-n"])
}

/// Installs one package after another, so that one that fails costs only itself.
fn apt_install(prefix: &[&str], packages: &[&str]) {
    let apt_get = |args: &[&str]| {
        let mut words = prefix.iter().chain(&["apt-get"]).chain(args);
        let mut command = Command::new(words.next().unwrap_or(&"apt-get"));
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let mut updated = false;
    for package in packages {
        let mut install = apt_get(&["install", "-y", "-qq", "--no-install-recommends", package]);
        println!("setup: {}", command::shown(&install));
        let mut done = command::succeeds(&mut install);
        if !done && !updated {
            // A fresh image knows of no packages yet.
            updated = true;
            drop(command::run(&mut apt_get(&["update", "-qq"])));
            done = command::run(&mut install).is_ok();
        }
        if !done {
            println!("setup: {package} could not be installed. Going on without it.");
        }
    }
}
