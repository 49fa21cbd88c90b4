//! Reading a dataset through mapped files.

use std::path::{Path, PathBuf};

use assay_model::{ByteSource, MappedFile};
use assay_trace::Digest;
use rayon::prelude::*;

use super::facts::MAX_JSON_BYTES;
use super::{DATASET, DatasetFacts, Part, ROWS, RowId, Stream, progress};
use crate::{Stored, StudyError, files};

/// A dataset that was opened for reading. Rows that a writer appends later are not seen.
pub struct Dataset {
    folder: PathBuf,
    facts: DatasetFacts,
    digest: Digest,
    rows: u64,
    ids: MappedFile,
}

impl Dataset {
    /// Opens the dataset in `folder` and checks the length of every file against the recorded rows. What a killed chunk left behind
    /// is not seen.
    ///
    /// # Errors
    /// No dataset, facts out of their limits, a record that does not fit, files that are missing or too short.
    pub fn open(folder: &Path) -> Result<Self, StudyError> {
        let bytes = files::read_small(&folder.join(DATASET), MAX_JSON_BYTES)?;
        let facts = DatasetFacts::from_json(&bytes)?;
        let digest = Digest::of(&bytes);
        let rows = progress::read(folder, &digest, facts.tokens)?;
        let ids = map(folder, ROWS, rows * RowId::BYTES as u64)?;
        for &layer in &facts.layers {
            for stream in Stream::ALL {
                let name = stream.file(layer);
                let path = folder.join(&name);
                let found =
                    std::fs::metadata(&path).map_err(|err| StudyError::io("open", &path, err))?;
                if !found.is_file() {
                    return Err(StudyError::NotAFile { path });
                }
                long_enough(name, found.len(), rows * facts.row_bytes(stream))?;
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            facts,
            digest,
            rows,
            ids,
        })
    }

    /// Opens it only if it was made with the model `root`.
    ///
    /// # Errors
    /// As [`Dataset::open`]; another model.
    pub fn open_for(folder: &Path, root: &Digest) -> Result<Self, StudyError> {
        let dataset = Self::open(folder)?;
        if dataset.facts.root != *root {
            return Err(StudyError::OtherModel {
                got: dataset.facts.root,
                want: *root,
            });
        }
        Ok(dataset)
    }

    /// What it holds.
    pub fn facts(&self) -> &DatasetFacts {
        &self.facts
    }

    /// SHA-256 of `dataset.json`. It names the request, not the numbers: with rounding of its own, another machine collects others.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Complete rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether all tokens that were wanted are there.
    pub fn is_complete(&self) -> bool {
        self.rows == self.facts.tokens
    }

    /// What `row` is about.
    ///
    /// # Errors
    /// No such row.
    pub fn id(&self, row: u64) -> Result<RowId, StudyError> {
        let outside = || StudyError::NoSuchRow {
            row,
            rows: self.rows,
        };
        if row >= self.rows {
            return Err(outside());
        }
        let bytes = self.ids.read(row * RowId::BYTES as u64, RowId::BYTES)?;
        RowId::decode(&bytes).ok_or_else(outside)
    }

    /// The rows of a part, ascending. At most 2^24.
    ///
    /// # Errors
    /// No rows in this part.
    pub fn rows_of(&self, part: Part) -> Result<Vec<u32>, StudyError> {
        let mut rows = Vec::new();
        let mut block: Option<(u32, Vec<Part>)> = None;
        for row in 0..self.rows {
            let document = self.id(row)?.document;
            let index = document / self.facts.split.block;
            let parts = match &mut block {
                Some((known, parts)) if *known == index => parts,
                other => &mut other.insert((index, self.facts.split.block(index))).1,
            };
            if parts.get((document % self.facts.split.block) as usize) == Some(&part) {
                // Rows are fewer than 2^24: facts were checked.
                rows.push(row as u32);
            }
        }
        if rows.is_empty() {
            return Err(StudyError::NoRows { part: part.name() });
        }
        Ok(rows)
    }

    /// A layer's matrix.
    ///
    /// # Errors
    /// A layer that was not collected; a file that became shorter.
    pub fn matrix(&self, stream: Stream, layer: u32) -> Result<Matrix, StudyError> {
        if self.facts.layers.binary_search(&layer).is_err() {
            return Err(StudyError::NoSuchLayer { layer });
        }
        let name = stream.file(layer);
        let map = map(
            &self.folder,
            &name,
            self.rows * self.facts.row_bytes(stream),
        )?;
        Ok(Matrix {
            map,
            rows: self.rows,
            columns: self.facts.columns(stream),
            dtype: self.facts.dtype,
            name,
        })
    }
}

/// One matrix of a dataset, `[rows, columns]`, in a mapped file.
pub struct Matrix {
    map: MappedFile,
    rows: u64,
    columns: usize,
    dtype: Stored,
    name: String,
}

impl Matrix {
    /// Rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Reads `rows`, in this order, to `out`, which becomes `[rows.len(), columns]`.
    ///
    /// # Errors
    /// No such row; a value that is not finite.
    pub fn gather(&self, rows: &[u32], out: &mut Vec<f32>) -> Result<(), StudyError> {
        // What was in `out` is overwritten; only new room has to be cleared.
        out.resize(rows.len() * self.columns, 0.0);
        out.par_chunks_exact_mut(self.columns)
            .zip(rows.par_iter())
            .try_for_each(|(out, &row)| self.read_row(row, out))
    }

    fn read_row(&self, row: u32, out: &mut [f32]) -> Result<(), StudyError> {
        if u64::from(row) >= self.rows {
            return Err(StudyError::NoSuchRow {
                row: row.into(),
                rows: self.rows,
            });
        }
        let len = self.columns * self.dtype.bytes();
        let bytes = self.map.read(u64::from(row) * len as u64, len)?;
        self.dtype
            .decode(&bytes, out)
            .map_err(|column| StudyError::Number {
                what: format!("{} row {row}", self.name),
                index: column,
                got: out.get(column).copied().unwrap_or(f32::NAN),
            })
    }
}

fn map(folder: &Path, name: &str, want: u64) -> Result<MappedFile, StudyError> {
    let file = MappedFile::open(&folder.join(name))?;
    long_enough(name.to_owned(), file.len(), want)?;
    Ok(file)
}

fn long_enough(file: String, got: u64, want: u64) -> Result<(), StudyError> {
    if got < want {
        return Err(StudyError::Truncated { file, got, want });
    }
    Ok(())
}
