//! Which of some files are a checkpoint: those of a folder on disk, or those that a user dropped or chose in a browser.
//!
//! What a file is follows from its name and, for a `.bin`, from its header. No weight is read to find out.
use crate::huggingface::folder::{CONFIG, is_weights};
use crate::{ByteSource, Model, ModelError, Tokenizer, gguf, huggingface, llama2c};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How many names an error lists.
const MAX_LISTED: usize = 8;

/// A file as a browser hands it over.
#[derive(Clone)]
pub struct NamedSource {
    /// Its name, perhaps with the folders that it lies in: `Llama-3.2-1B/config.json`.
    pub path: String,
    /// Its bytes.
    pub source: Arc<dyn ByteSource>,
}

/// The files of one folder by name; none is opened before it is asked for.
pub(crate) trait Folder {
    /// The folder, for errors.
    fn path(&self) -> PathBuf;

    /// All names, sorted.
    fn names(&self) -> Result<Vec<String>, ModelError>;

    /// Whether there is a file of this name.
    fn has(&self, name: &str) -> bool;

    /// A file's bytes, read when they are asked for.
    fn open(&self, name: &str) -> Result<Arc<dyn ByteSource>, ModelError>;

    /// A small file, whole; larger than `most` is refused before it is read.
    fn read(&self, name: &str, most: usize) -> Result<Vec<u8>, ModelError> {
        let source = self.open(name)?;
        let got = source.len();
        if got > most as u64 {
            return Err(ModelError::FileTooLarge {
                got,
                most: most as u64,
                path: self.path().join(name),
            });
        }
        Ok(source.read(0, got as usize)?.into_owned())
    }
}

/// A checkpoint that a folder seems to hold; its name within the folder.
enum Candidate {
    HuggingFace,
    Gguf(String),
    Llama2c(String),
}

impl Candidate {
    /// `tokenizer` stands in for the checkpoint's own.
    fn open(self, folder: &dyn Folder, tokenizer: Option<Tokenizer>) -> Result<Model, ModelError> {
        match self {
            Self::HuggingFace => huggingface::folder::open(folder, tokenizer),
            Self::Gguf(name) => gguf::open(folder, &name, tokenizer),
            Self::Llama2c(name) => llama2c::open(folder, &name, tokenizer),
        }
    }

    fn path(&self, folder: &dyn Folder) -> PathBuf {
        folder.path().join(match self {
            Self::HuggingFace => CONFIG,
            Self::Gguf(name) | Self::Llama2c(name) => name,
        })
    }
}

fn candidates(folder: &dyn Folder) -> Result<Vec<Candidate>, ModelError> {
    let mut found = Vec::new();
    let names = folder.names()?;
    if folder.has(CONFIG) && names.iter().any(|name| is_weights(name)) {
        found.push(Candidate::HuggingFace);
    }
    for name in names {
        let is_llama2c = |source: Arc<dyn ByteSource>| llama2c::check(&*source).is_ok();
        if name.ends_with(".gguf") {
            found.push(Candidate::Gguf(name));
        } else if name.ends_with(".bin") && folder.open(&name).is_ok_and(is_llama2c) {
            found.push(Candidate::Llama2c(name));
        }
    }
    Ok(found)
}

/// Opens the one checkpoint among `files`.
pub(crate) fn open(files: Vec<NamedSource>) -> Result<Model, ModelError> {
    let folders = Listed::group(files);
    let mut found = Vec::new();
    for folder in &folders {
        found.extend(
            candidates(folder)?
                .into_iter()
                .map(|candidate| (folder, candidate)),
        );
    }
    if found.len() > 1 {
        let paths = found
            .iter()
            .map(|(folder, candidate)| candidate.path(*folder));
        return Err(several(paths));
    }
    match found.pop() {
        Some((folder, candidate)) => candidate.open(folder, None),
        None => Err(why_none(&folders)),
    }
}

/// Why nothing was found: what is wrong with the one file or folder that was meant, or else what there is.
fn why_none(folders: &[Listed]) -> ModelError {
    for folder in folders {
        if folder.has(CONFIG)
            && let Err(err) = huggingface::folder::open(folder, None)
            && !matches!(err, ModelError::NoCheckpoint { .. })
        {
            return err;
        }
    }
    let meant = folders.iter().flat_map(|folder| &folder.files);
    let mut meant =
        meant.filter(|(name, _)| name.ends_with(".bin") && !llama2c::is_tokenizer_name(name));
    if let (Some((_, source)), None) = (meant.next(), meant.next())
        && let Err(err) = llama2c::check(&**source)
    {
        return err;
    }
    let paths = folders.iter().flat_map(|folder| {
        folder
            .files
            .iter()
            .map(|(name, _)| folder.path().join(name))
    });
    ModelError::NothingToOpen {
        found: listed(paths),
    }
}

fn several(paths: impl Iterator<Item = PathBuf>) -> ModelError {
    ModelError::SeveralCheckpoints {
        found: listed(paths),
    }
}

fn listed(paths: impl Iterator<Item = PathBuf>) -> String {
    let mut names: Vec<String> = paths.map(|path| format!("`{}`", path.display())).collect();
    let rest = names.len().saturating_sub(MAX_LISTED);
    names.truncate(MAX_LISTED);
    match (names.len(), rest) {
        (0, _) => "nothing".to_owned(),
        (_, 0) => names.join(", "),
        _ => format!("{} and {rest} more", names.join(", ")),
    }
}

/// The files of one folder of a list, sorted by name.
struct Listed {
    folder: String,
    files: Vec<(String, Arc<dyn ByteSource>)>,
}

impl Listed {
    /// By folder, without hidden files and what lies in hidden folders (`.git`, `.cache`).
    fn group(files: Vec<NamedSource>) -> Vec<Self> {
        let mut folders = BTreeMap::<String, Vec<_>>::new();
        for NamedSource { path, source } in files {
            let parts = path
                .split('/')
                .filter(|part| !part.is_empty() && *part != ".");
            let parts: Vec<&str> = parts.collect();
            if parts.iter().any(|part| part.starts_with('.')) {
                continue;
            }
            if let Some((name, folder)) = parts.split_last() {
                let files = folders.entry(folder.join("/")).or_default();
                files.push(((*name).to_owned(), source));
            }
        }
        let group = |(folder, mut files): (String, Vec<(String, _)>)| {
            files.sort_by(|(a, _), (b, _)| a.cmp(b));
            Self { folder, files }
        };
        folders.into_iter().map(group).collect()
    }
}

impl Folder for Listed {
    fn path(&self) -> PathBuf {
        PathBuf::from(&self.folder)
    }

    fn names(&self) -> Result<Vec<String>, ModelError> {
        Ok(self.files.iter().map(|(name, _)| name.clone()).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|(known, _)| known == name)
    }

    fn open(&self, name: &str) -> Result<Arc<dyn ByteSource>, ModelError> {
        let mut found = self.files.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, source)), None) => Ok(source.clone()),
            (Some(_), Some(_)) => Err(ModelError::FileTwice {
                name: name.to_owned(),
            }),
            (None, _) => Err(ModelError::FileMissing {
                name: name.to_owned(),
            }),
        }
    }
}

#[cfg(feature = "native")]
pub(crate) use disk::{Disk, open_folder};

#[cfg(feature = "native")]
mod disk {
    use super::{Folder, candidates, several};
    use crate::huggingface::folder::CONFIG;
    use crate::{ByteSource, MappedFile, Model, ModelError, Tokenizer, huggingface};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    /// Opens a folder: as a Hugging Face one if it has a config, or else the one checkpoint that lies in it.
    pub(crate) fn open_folder(
        dir: &Path,
        tokenizer: Option<Tokenizer>,
    ) -> Result<Model, ModelError> {
        let folder = Disk(dir);
        if folder.has(CONFIG) {
            return huggingface::folder::open(&folder, tokenizer);
        }
        let mut found = candidates(&folder)?;
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => only.open(&folder, tokenizer),
            (None, _) => Err(ModelError::NoCheckpoint {
                path: dir.to_owned(),
            }),
            (Some(last), false) => Err(several(
                found
                    .iter()
                    .chain([&last])
                    .map(|candidate| candidate.path(&folder)),
            )),
        }
    }

    /// A folder on disk.
    pub(crate) struct Disk<'a>(pub &'a Path);

    impl Folder for Disk<'_> {
        fn path(&self) -> PathBuf {
            self.0.to_owned()
        }

        /// Names that are no UTF-8 are none that a checkpoint has.
        fn names(&self) -> Result<Vec<String>, ModelError> {
            // The folder of a relative file name.
            let dir = if self.0.as_os_str().is_empty() {
                Path::new(".")
            } else {
                self.0
            };
            let failed = |err| ModelError::io("list", dir, err);
            let mut names = Vec::new();
            for entry in std::fs::read_dir(dir).map_err(failed)? {
                names.extend(entry.map_err(failed)?.file_name().into_string().ok());
            }
            names.sort();
            Ok(names)
        }

        fn has(&self, name: &str) -> bool {
            self.0.join(name).exists()
        }

        fn open(&self, name: &str) -> Result<Arc<dyn ByteSource>, ModelError> {
            Ok(Arc::new(MappedFile::open(&self.0.join(name))?))
        }

        fn read(&self, name: &str, most: usize) -> Result<Vec<u8>, ModelError> {
            crate::model::read_capped(&self.0.join(name), most)
        }
    }
}

#[cfg(all(test, feature = "native", feature = "demo"))]
#[path = "files_tests.rs"]
mod tests;
