//! Small files, read with a limit and replaced as a whole.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::StudyError;

/// The bytes of a small regular file.
///
/// # Errors
/// Not a regular file, larger than `most`, unreadable.
pub(crate) fn read_small(path: &Path, most: u64) -> Result<Vec<u8>, StudyError> {
    let metadata = fs::metadata(path).map_err(|err| StudyError::io("open", path, err))?;
    if !metadata.is_file() {
        return Err(StudyError::NotAFile {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(|err| StudyError::io("open", path, err))?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|err| StudyError::io("read", path, err))?;
    if bytes.len() as u64 > most {
        return Err(StudyError::FileTooLarge {
            got: metadata.len().max(bytes.len() as u64),
            most,
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// Replaces `path` by what `write` puts into a file beside it: a reader sees the old file or the new one, also after a crash.
///
/// # Errors
/// Those of the file system, and `write`'s.
pub(crate) fn replace<T>(
    path: &Path,
    write: impl FnOnce(&mut File, &Path) -> Result<T, StudyError>,
) -> Result<T, StudyError> {
    let beside = beside(path);
    let mut file = File::create(&beside).map_err(|err| StudyError::io("create", &beside, err))?;
    let done = write(&mut file, &beside).and_then(|out| {
        file.sync_all()
            .map_err(|err| StudyError::io("flush", &beside, err))?;
        fs::rename(&beside, path).map_err(|err| StudyError::io("rename", path, err))?;
        Ok(out)
    });
    match done {
        Ok(out) => {
            sync_folder(path.parent())?;
            Ok(out)
        }
        Err(err) => {
            // The error that is reported is the first one; what is left behind is overwritten by the next attempt.
            let _ = fs::remove_file(&beside);
            Err(err)
        }
    }
}

/// [`replace`] with bytes that are already there.
pub(crate) fn replace_with(path: &Path, bytes: &[u8]) -> Result<(), StudyError> {
    replace(path, |file, beside| {
        file.write_all(bytes)
            .map_err(|err| StudyError::io("write", beside, err))
    })
}

/// The name under which [`replace`] writes.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// A rename lasts only once its folder is written.
fn sync_folder(folder: Option<&Path>) -> Result<(), StudyError> {
    let Some(folder) = folder.filter(|folder| cfg!(unix) && !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|err| StudyError::io("flush", folder, err))
}
