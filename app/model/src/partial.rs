//! A folder that appears whole under its name, or not at all.
use std::io;
use std::path::{Path, PathBuf};

/// A folder under construction; removed unless it becomes final.
pub(crate) struct Partial {
    pub path: PathBuf,
}

impl Partial {
    pub fn beside(dir: &Path) -> io::Result<Self> {
        let name = dir
            .file_name()
            .ok_or(io::ErrorKind::InvalidInput)?
            .to_string_lossy();
        let path = dir.with_file_name(format!(".{name}.partial-{}", std::process::id()));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }

    pub fn become_final(self, dir: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, dir)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing here; before it, what cannot be removed is at least not under the final name.
        drop(std::fs::remove_dir_all(&self.path));
    }
}
