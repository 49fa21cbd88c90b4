//! `webtool VERB`: the parts of `cargo xtask web` that need libraries. Called by it, not by people.
#![deny(clippy::unwrap_used)]

mod assemble;
mod digest;
mod files;
mod glue;
mod page;
mod serve;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
webtool VERB

  glue MODULE.wasm DIR [names]     write DIR/assay.js and DIR/assay.wasm from what cargo built; with the names of functions
  assemble ROOT GLUE DIR VERSION   write the folder to deploy: the page of workspace ROOT, the module of folder GLUE
  serve DIR [PORT]                 serve DIR on 127.0.0.1, at PORT or the next free one";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("webtool: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["glue", module, folder] => glue::make(Path::new(module), Path::new(folder), false),
        ["glue", module, folder, "names"] => glue::make(Path::new(module), Path::new(folder), true),
        ["assemble", root, glue, folder, version] => {
            assemble::run(Path::new(root), Path::new(glue), Path::new(folder), version)
        }
        ["serve", folder] => serve::run(Path::new(folder), serve::FIRST_PORT),
        ["serve", folder, port] => serve::run(Path::new(folder), port.parse()?),
        ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("no such call\n{HELP}"),
    }
}
