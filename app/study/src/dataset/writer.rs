//! Appending to a dataset, a chunk of tokens at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use assay_trace::Digest;

use super::facts::MAX_JSON_BYTES;
use super::{DATASET, DatasetFacts, LOCK, PROGRESS, ROWS, RowId, Stream, progress};
use crate::{StudyError, files};

/// Most rows of a chunk.
pub const MAX_CHUNK_ROWS: usize = 1 << 16;

/// Values of one layer for the rows of a chunk, row-major, as many rows as the chunk has.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Which layer.
    pub layer: u32,
    /// `[rows, hidden]`: residual stream before the MLP's norm.
    pub mlp_x: &'a [f32],
    /// `[rows, intermediate]`: activations.
    pub mlp_y: &'a [f32],
    /// `[rows, hidden]`: residual stream before the attention's norm.
    pub att_x: &'a [f32],
    /// `[rows, heads]`: L2 norms of the heads' outputs, not negative.
    pub att_y: &'a [f32],
}

impl<'a> Rows<'a> {
    fn values(&self, stream: Stream) -> &'a [f32] {
        match stream {
            Stream::MlpX => self.mlp_x,
            Stream::MlpY => self.mlp_y,
            Stream::AttX => self.att_x,
            Stream::AttY => self.att_y,
        }
    }
}

/// Appends to a dataset's folder. One writer at a time: the folder's file `lock` is held until it is dropped.
///
/// A chunk is [`Writer::begin_chunk`], then [`Writer::append`] once for every collected layer, then [`Writer::end_chunk`]. Only then
/// do its rows count; what a killed or failed chunk left behind is cut off before the next one.
pub struct Writer {
    folder: PathBuf,
    facts: DatasetFacts,
    digest: Digest,
    rows: u64,
    chunk: Option<Chunk>,
    /// Files may be longer than `rows` says.
    dirty: bool,
    /// Held, not used.
    _lock: File,
}

struct Chunk {
    ids: Vec<RowId>,
    given: Vec<u32>,
}

impl Writer {
    /// Makes the folder a dataset of `facts`, or goes on with it where it is one already, cutting off what no recorded chunk covers.
    ///
    /// # Errors
    /// A folder of another model, text or shape; a folder with other things in it; files that are shorter than recorded; a second
    /// writer; facts out of their limits; the file system's errors.
    pub fn open(folder: &Path, facts: &DatasetFacts) -> Result<Self, StudyError> {
        let text = facts.to_json()?;
        let digest = Digest::of(text.as_bytes());
        fs::create_dir_all(folder).map_err(|err| StudyError::io("make folder", folder, err))?;
        let known = folder.join(DATASET);
        let exists = known
            .try_exists()
            .map_err(|err| StudyError::io("look for", &known, err))?;
        if !exists {
            refuse_strangers(folder)?;
        }
        let lock = lock(folder)?;
        // Again, now that nobody else can make it.
        let (digest, rows) = match known.try_exists() {
            Ok(true) => {
                let bytes = files::read_small(&known, MAX_JSON_BYTES)?;
                DatasetFacts::from_json(&bytes)?.must_be(facts)?;
                let digest = Digest::of(&bytes);
                (digest, progress::read(folder, &digest, facts.tokens)?)
            }
            Ok(false) => {
                // The progress first: a `dataset.json` without one would be a dataset whose rows nobody counts.
                progress::write(folder, &digest, 0)?;
                files::replace_with(&known, text.as_bytes())?;
                (digest, 0)
            }
            Err(err) => return Err(StudyError::io("look for", &known, err)),
        };
        let mut writer = Self {
            folder: folder.to_owned(),
            facts: facts.clone(),
            digest,
            rows,
            chunk: None,
            dirty: true,
            _lock: lock,
        };
        writer.cut()?;
        Ok(writer)
    }

    /// What is written.
    pub fn facts(&self) -> &DatasetFacts {
        &self.facts
    }

    /// SHA-256 of `dataset.json`.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Rows of all complete chunks: where a run that was killed goes on.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows that are still wanted.
    pub fn remaining(&self) -> u64 {
        self.facts.tokens - self.rows
    }

    /// Begins a chunk of `ids.len()` rows.
    ///
    /// # Errors
    /// A chunk is open; no rows, too many, or more than remain.
    pub fn begin_chunk(&mut self, ids: &[RowId]) -> Result<(), StudyError> {
        if self.chunk.is_some() {
            return Err(StudyError::ChunkOpen);
        }
        let most = self.remaining().min(MAX_CHUNK_ROWS as u64);
        let got = ids.len() as u64;
        if got == 0 || got > most {
            return Err(StudyError::ChunkRows { got, most });
        }
        self.cut()?;
        self.dirty = true;
        self.chunk = Some(Chunk {
            ids: ids.to_vec(),
            given: Vec::new(),
        });
        Ok(())
    }

    /// Appends one layer's values. After an error the chunk is gone: begin it again.
    ///
    /// # Errors
    /// No chunk; a layer that is not collected or was given before; wrong lengths; values that are not finite, too large for the
    /// stored type, or negative norms; the file system's errors.
    pub fn append(&mut self, rows: &Rows<'_>) -> Result<(), StudyError> {
        let mut chunk = self.chunk.take().ok_or(StudyError::ChunkClosed)?;
        if self.facts.layers.binary_search(&rows.layer).is_err() {
            return Err(StudyError::NoSuchLayer { layer: rows.layer });
        }
        if chunk.given.contains(&rows.layer) {
            return Err(StudyError::LayerTwice { layer: rows.layer });
        }
        for stream in Stream::ALL {
            let want = chunk.ids.len() * self.facts.columns(stream);
            let got = rows.values(stream).len();
            if got != want {
                return Err(StudyError::Length {
                    what: stream.name(),
                    got,
                    want,
                });
            }
        }
        if let Some(index) = rows.att_y.iter().position(|norm| *norm < 0.0) {
            return Err(number(Stream::AttY.file(rows.layer), rows.att_y, index));
        }
        for stream in Stream::ALL {
            self.append_matrix(stream, rows.layer, rows.values(stream))?;
        }
        chunk.given.push(rows.layer);
        self.chunk = Some(chunk);
        Ok(())
    }

    /// Ends the chunk: its rows count from now on, also after a crash. Gives the number of complete rows.
    ///
    /// # Errors
    /// No chunk, a layer that was not given, the file system's errors.
    pub fn end_chunk(&mut self) -> Result<u64, StudyError> {
        let chunk = self.chunk.take().ok_or(StudyError::ChunkClosed)?;
        let missing = self.facts.layers.iter().find(|l| !chunk.given.contains(l));
        if let Some(&layer) = missing {
            return Err(StudyError::LayerMissing { layer });
        }
        let mut bytes = Vec::with_capacity(chunk.ids.len() * RowId::BYTES);
        chunk.ids.iter().for_each(|id| id.encode(&mut bytes));
        let mut file = self.open_end(ROWS, RowId::BYTES as u64)?;
        let path = self.folder.join(ROWS);
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(|err| StudyError::io("write", path, err))?;
        // Every file's bytes are on the disk: only now may the record say so.
        let rows = self.rows + chunk.ids.len() as u64;
        progress::write(&self.folder, &self.digest, rows)?;
        self.rows = rows;
        self.dirty = false;
        Ok(rows)
    }

    fn append_matrix(&self, stream: Stream, layer: u32, values: &[f32]) -> Result<(), StudyError> {
        let name = stream.file(layer);
        let mut file = self.open_end(&name, self.facts.row_bytes(stream))?;
        let path = self.folder.join(&name);
        let mut bytes = Vec::new();
        for (piece, part) in values.chunks(PIECE).enumerate() {
            bytes.clear();
            self.facts
                .dtype
                .encode(part, &mut bytes)
                .map_err(|index| number(name.clone(), values, piece * PIECE + index))?;
            file.write_all(&bytes)
                .map_err(|err| StudyError::io("write", &path, err))?;
        }
        file.sync_data()
            .map_err(|err| StudyError::io("flush", &path, err))
    }

    /// The file at its end, which must be where the complete rows end.
    fn open_end(&self, name: &str, row_bytes: u64) -> Result<File, StudyError> {
        let path = self.folder.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(|err| StudyError::io("open", &path, err))?;
        let got = file
            .seek(SeekFrom::End(0))
            .map_err(|err| StudyError::io("seek in", &path, err))?;
        let want = self.rows * row_bytes;
        if got != want {
            return Err(StudyError::Changed {
                file: name.to_owned(),
                got,
                want,
            });
        }
        Ok(file)
    }

    /// Cuts every file to the complete rows, making those that are not there yet.
    fn cut(&mut self) -> Result<(), StudyError> {
        if !self.dirty {
            return Ok(());
        }
        self.cut_file(ROWS, RowId::BYTES as u64)?;
        for &layer in &self.facts.layers {
            for stream in Stream::ALL {
                self.cut_file(&stream.file(layer), self.facts.row_bytes(stream))?;
            }
        }
        self.dirty = false;
        Ok(())
    }

    fn cut_file(&self, name: &str, row_bytes: u64) -> Result<(), StudyError> {
        let path = self.folder.join(name);
        // A pipe of this name would block an open for ever.
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => return Err(StudyError::NotAFile { path }),
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                return Err(StudyError::io("look for", path, err));
            }
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|err| StudyError::io("open", &path, err))?;
        let got = file
            .metadata()
            .map_err(|err| StudyError::io("open", &path, err))?
            .len();
        let want = self.rows * row_bytes;
        if got < want {
            return Err(StudyError::Truncated {
                file: name.to_owned(),
                got,
                want,
            });
        }
        if got > want {
            file.set_len(want)
                .and_then(|()| file.sync_all())
                .map_err(|err| StudyError::io("cut", &path, err))?;
        }
        Ok(())
    }
}

/// Values that are encoded before they are written: 256 KiB of f32.
const PIECE: usize = 1 << 16;

fn number(what: String, values: &[f32], index: usize) -> StudyError {
    StudyError::Number {
        what,
        index,
        got: values.get(index).copied().unwrap_or(f32::NAN),
    }
}

fn lock(folder: &Path) -> Result<File, StudyError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|err| StudyError::io("open", &path, err))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StudyError::Locked {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(err)) => Err(StudyError::io("lock", path, err)),
    }
}

/// A folder without `dataset.json` may hold only what a killed first attempt leaves behind.
fn refuse_strangers(folder: &Path) -> Result<(), StudyError> {
    let entries = fs::read_dir(folder).map_err(|err| StudyError::io("list", folder, err))?;
    let ours = [PROGRESS, LOCK].map(|name| folder.join(name));
    let parts = [PROGRESS, DATASET].map(|name| files::beside(&folder.join(name)));
    for entry in entries {
        let path = entry
            .map_err(|err| StudyError::io("list", folder, err))?
            .path();
        if !ours.contains(&path) && !parts.contains(&path) && path != folder.join(DATASET) {
            return Err(StudyError::NotADataset {
                path: folder.to_owned(),
            });
        }
    }
    Ok(())
}
