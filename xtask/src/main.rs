//! `cargo xtask VERB`: set up, test, demonstrate and measure. What the README and `.ci/run` call; it has no dependencies
//! to speak of, so that it starts in seconds on a fresh machine.
#![deny(clippy::unwrap_used)]

mod adapters;
mod bench;
mod command;
mod demo;
mod fuzz;
mod lint;
mod setup;
mod test;
mod web;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask VERB

  demo                      prove on one adapter, verify on another, see tampered traces rejected
  test                      set up, format, clippy, all tests
  setup                     install what demo and tests need, or say what to install
  lint                      format and clippy
  web                       build the page and serve it on this machine
  web --release DIR         write the folder to deploy; --build DIR writes it even where there is no wasm-opt
  bench [ADAPTER] [--peers] measure speed and memory; --peers adds burn, web-rwkv and onnxruntime-web
  fuzz [TARGET] [SECONDS]   run fuzz targets, 30 seconds each (needs cargo-fuzz)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let result = match args.first().map(String::as_str) {
        Some("demo") if rest.is_empty() => demo::run(),
        Some("test") if rest.is_empty() => test::run(),
        Some("setup") if rest.is_empty() => setup::run(setup::Wanted::Tests).map(drop),
        Some("lint") if rest.is_empty() => lint::run(),
        Some("web") => web::run(rest),
        Some("bench") => bench::run(rest),
        Some("fuzz") if rest.len() <= 2 => fuzz::run(rest),
        Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("xtask: {err:#}");
            ExitCode::FAILURE
        }
    }
}
