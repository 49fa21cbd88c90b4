//! What `assay tune` found, in a file of the user's: one choice an adapter.
//!
//! Losing it costs speed and nothing else, so whatever is wrong with it is said by `assay tune --show` and is no error elsewhere. It is read
//! as hostile: its size is capped, and an adapter takes only kernels that are among its candidates.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use assay_engine::gpu::Tuning;
use serde::{Deserialize, Serialize};

use crate::atomic_file::AtomicFile;

/// Largest file that is read, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Most choices that are kept; the oldest go.
const MAX_TUNINGS: usize = 64;
const SCHEMA: u32 = 1;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema_version: u32,
    /// Of this program: another version may have other kernels, so what an older one measured says nothing.
    program: String,
    tunings: Vec<Tuning>,
}

/// Where it lies, if this system has such a place.
pub fn path() -> Option<PathBuf> {
    eframe::storage_dir(crate::window::APP_ID).map(|folder| folder.join("tune.json"))
}

/// What was found on this machine, by this version; nothing where there is no file, or one that cannot be used.
pub fn tunings() -> Vec<Tuning> {
    let read = path().map(|path| read(&path));
    read.and_then(Result::ok).unwrap_or_default()
}

/// The same, with what is wrong.
///
/// # Errors
/// Too large, unreadable, or not of this form. No file, and a file of another version, are empty.
pub fn read(path: &Path) -> anyhow::Result<Vec<Tuning>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{} is larger than {MAX_BYTES} bytes", path.display());
    }
    parse(&bytes).with_context(|| format!("no choices of kernels in {}", path.display()))
}

fn parse(bytes: &[u8]) -> anyhow::Result<Vec<Tuning>> {
    let file: File = serde_json::from_slice(bytes)?;
    if file.schema_version != SCHEMA {
        bail!("schema version {}, want {SCHEMA}", file.schema_version);
    }
    if file.tunings.len() > MAX_TUNINGS {
        bail!("{} choices, at most {MAX_TUNINGS}", file.tunings.len());
    }
    match file.program == env!("CARGO_PKG_VERSION") {
        true => Ok(file.tunings),
        false => Ok(Vec::new()),
    }
}

/// Writes it, or removes it if nothing is left.
///
/// # Errors
/// Of the file system.
pub fn write(path: &Path, mut tunings: Vec<Tuning>) -> anyhow::Result<()> {
    if tunings.is_empty() {
        return match fs::remove_file(path) {
            Err(err) if err.kind() != ErrorKind::NotFound => {
                Err(err).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        };
    }
    let over = tunings.len().saturating_sub(MAX_TUNINGS);
    tunings.drain(..over);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(&File {
        schema_version: SCHEMA,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        tunings,
    })?;
    AtomicFile::create(path)?.finish(|file| writeln!(file, "{text}"))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]
mod tests {
    use super::*;
    use assay_engine::AdapterInfo;
    use assay_engine::gpu::Choice;

    fn tuning(name: &str) -> Tuning {
        let info = AdapterInfo {
            name: name.to_owned(),
            ..AdapterInfo::cpu()
        };
        Tuning::new(&info, Choice::of(&info))
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/tune.json");
        assert_eq!(read(&path).unwrap(), []);
        let both = vec![tuning("a"), tuning("b")];
        write(&path, both.clone()).unwrap();
        assert_eq!(read(&path).unwrap(), both);
        let many = (0..100).map(|i| tuning(&i.to_string())).collect();
        write(&path, many).unwrap();
        let kept = read(&path).unwrap();
        assert_eq!((kept.len(), kept[0].name.as_str()), (64, "36"));
        write(&path, Vec::new()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_from_anybody_is_refused_or_empty_but_never_taken_blindly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tune.json");
        write(&path, vec![tuning("a")]).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
        assert!(
            parse(good.replace(&version, "\"0.0.0\"").as_bytes())
                .unwrap()
                .is_empty()
        );
        for (from, to) in [
            ("\"schema_version\": 1", "\"schema_version\": 2"),
            ("\"tunings\"", "\"others\""),
            ("\"rate\"", "\"speed\""),
            ("\"tile\"", "\"trial\""),
            ("\"m\": 8", "\"m\": 800"),
            ("\"m\": 8", "\"m\": -8"),
            ("\"name\": \"a\"", "\"name\": 1"),
            ("{", "["),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(parse(bad.as_bytes()).is_err(), "{to}");
        }
        fs::write(&path, vec![b' '; MAX_BYTES as usize + 1]).unwrap();
        assert!(read(&path).is_err());
    }
}
