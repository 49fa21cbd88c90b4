//! Reads a trace as untrusted bytes: from a file or a pipe, whole, under the format's cap.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use assay_trace::TraceError;
use assay_trace::limits::MAX_FILE_BYTES;

use crate::errors::Malformed;

/// Whether this names stdin.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The bytes. More than the format's cap is malformed, and of a file not even read.
///
/// They are copied, not mapped: a mapped file could change between the check of its hashes and the comparison.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if is_stdin(path) {
        let bytes = capped(io::stdin().lock(), 0).context("cannot read the trace from stdin")?;
        refuse_too_large(bytes.len() as u64)?;
        return Ok(bytes);
    }
    let cannot_read = || format!("cannot read the trace {}", path.display());
    let file = File::open(path).with_context(cannot_read)?;
    let metadata = file.metadata().with_context(cannot_read)?;
    if metadata.is_dir() {
        bail!("this is a folder, want a trace file: {}", path.display());
    }
    refuse_too_large(metadata.len())?;
    let bytes = capped(file, metadata.len()).with_context(cannot_read)?;
    refuse_too_large(bytes.len() as u64)?;
    Ok(bytes)
}

fn refuse_too_large(got: u64) -> Result<(), Malformed> {
    let max = MAX_FILE_BYTES;
    if got > max {
        Err(Malformed(TraceError::FileTooLarge { got, max }))
    } else {
        Ok(())
    }
}

fn capped(source: impl Read, expected: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let expected = usize::try_from(expected).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(expected)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
