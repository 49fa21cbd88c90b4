//! A file that appears whole under its name, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A temporary file beside its destination. Dropping it unfinished removes it.
pub struct AtomicFile {
    destination: PathBuf,
    partial: PathBuf,
    file: Option<File>,
}

impl AtomicFile {
    /// Makes the temporary file, so that a folder that cannot be written to is found out before the work is done.
    pub fn create(destination: &Path) -> anyhow::Result<Self> {
        Self::open(destination, false)
    }

    /// The same for a secret: only its owner may read it, where the system knows owners.
    pub fn create_private(destination: &Path) -> anyhow::Result<Self> {
        Self::open(destination, true)
    }

    fn open(destination: &Path, private: bool) -> anyhow::Result<Self> {
        match fs::symlink_metadata(destination) {
            Ok(found) if found.is_symlink() => {
                // Renaming would replace the link; write to what it points at.
                let target =
                    fs::canonicalize(destination).with_context(|| cannot_write(destination))?;
                return Self::open(&target, private);
            }
            Ok(found) if found.is_dir() => bail!(
                "this is a folder, want a file name: {}",
                destination.display()
            ),
            Ok(found) if !found.is_file() => bail!("not a regular file: {}", destination.display()),
            _ => {}
        }
        let Some(name) = destination.file_name() else {
            bail!("not a file name: {}", destination.display());
        };
        for attempt in 0..100 {
            let mut partial_name = name.to_owned();
            partial_name.push(format!(".{}-{attempt}.part", std::process::id()));
            let partial = destination.with_file_name(partial_name);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            if private {
                use std::os::unix::fs::OpenOptionsExt as _;
                options.mode(0o600);
            }
            #[cfg(not(unix))]
            let _ = private;
            match options.open(&partial) {
                Ok(file) => {
                    return Ok(Self {
                        destination: destination.to_owned(),
                        partial,
                        file: Some(file),
                    });
                }
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(err).with_context(|| cannot_write(destination)),
            }
        }
        bail!("too many unfinished files beside {}", destination.display())
    }

    /// Writes, syncs and renames.
    pub fn finish(
        mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let mut file = BufWriter::with_capacity(1 << 20, file);
        write(&mut file)
            .and_then(|()| file.into_inner().map_err(io::IntoInnerError::into_error))
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.partial, &self.destination))
            .with_context(|| cannot_write(&self.destination))?;
        sync_folder(&self.destination);
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        drop(self.file.take()); // Windows removes no open file
        // After the rename there is nothing here; before it, what cannot be removed at least lacks the final name.
        drop(fs::remove_file(&self.partial));
    }
}

/// Makes the rename survive a power cut, where folders can be synced.
fn sync_folder(file: &Path) {
    let folder = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if let Ok(folder) = File::open(folder) {
        drop(folder.sync_all());
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
