//! `assay tamper`: a dishonest copy of a trace, to see it rejected. For demonstrations and tests.
//!
//! `--flip-byte` damages a file, as a network would. `--swap-token` lies: it changes one emitted token and seals the
//! trace again, so that every hash agrees and only the model itself can tell.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use assay_trace::reroot;

use crate::atomic_file::AtomicFile;
use crate::exit::Exit;
use crate::output::Output;
use crate::{text, trace_file};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Trace to copy
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Replace this emitted token, counted from 0 [default: the last], and seal the trace again
    #[arg(long, value_name = "INDEX", num_args = 0..=1, require_equals = true)]
    swap_token: Option<Option<usize>>,

    /// Invert the bits of this byte, counted from 0 [default: the middle]
    #[arg(long, value_name = "OFFSET", num_args = 0..=1, require_equals = true, conflicts_with = "swap_token",
          required_unless_present = "swap_token")]
    flip_byte: Option<Option<usize>>,

    /// Where to write the copy
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Writes the copy and says what is false in it.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let bytes = trace_file::read(&args.file)?;
    let (bytes, done) = match (args.swap_token, args.flip_byte) {
        (Some(index), _) => swap_token(&bytes, index)?,
        (None, Some(offset)) => flip_byte(bytes, offset)?,
        (None, None) => bail!("nothing to change\ngive --swap-token or --flip-byte"),
    };
    AtomicFile::create(&args.out)?.finish(|file| file.write_all(&bytes))?;
    output.note(done);
    Ok(Exit::Ok)
}

fn flip_byte(mut bytes: Vec<u8>, offset: Option<usize>) -> anyhow::Result<(Vec<u8>, String)> {
    let (offset, len) = (offset.unwrap_or(bytes.len() / 2), bytes.len());
    let byte = bytes
        .get_mut(offset)
        .with_context(|| format!("no byte {offset} in a file of {len}"))?;
    *byte = !*byte;
    Ok((
        bytes,
        format!(
            "inverted byte {} of {}",
            text::grouped(offset as u64),
            text::grouped(len as u64)
        ),
    ))
}

fn swap_token(bytes: &[u8], index: Option<usize>) -> anyhow::Result<(Vec<u8>, String)> {
    let mut done = String::new();
    let mut problem = None;
    let forged = reroot(bytes, |trace| {
        let (prompt, vocab) = (
            trace.manifest.prompt.tokens as usize,
            trace.manifest.model.vocab,
        );
        let n_output = trace.tokens.len() - prompt;
        let index = index.unwrap_or(n_output - 1);
        match trace.tokens.get_mut(prompt.saturating_add(index)) {
            None => problem = Some(format!("no output token {index}: the trace has {n_output}")),
            Some(_) if vocab < 2 => problem = Some("the vocabulary has one token only".to_owned()),
            Some(token) => {
                let honest = *token;
                *token = (honest + 1) % vocab;
                done = format!(
                    "output token {index} was {honest}, is now {token}; the trace is sealed again"
                );
            }
        }
    })?;
    ensure!(problem.is_none(), problem.unwrap_or_default());
    Ok((forged, done))
}
