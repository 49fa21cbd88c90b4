//! A key on its way: every weight is read once, in the order of the parts, in batches, straight into the file that it becomes.

use std::borrow::Cow;
use std::fmt;

use assay_model::{Dtype, Model, Role, TensorRef, Tokenizer};
use assay_trace::Digest;

use crate::facts::{Facts, Stored};
use crate::integers::Integers;
use crate::layout::{Kind, Layout, Places, copied};
use crate::normals::{choose, normals};
use crate::part::MATRICES;
use crate::probe::Probe;
use crate::seed::Purpose;
use crate::sketch::Sketcher;
use crate::sums::{Batch, Factors, Sums};
use crate::{KeyError, KeyOptions, Part, Seed, VerifierKey, header};

/// Bytes of weights read in one step. A browser copies them, and hears of a cancel only between steps.
const BATCH_BYTES: u64 = if cfg!(feature = "native") {
    64 << 20
} else {
    8 << 20
};
/// Rows in one step, however short: keeps the projections' share of a batch small.
const BATCH_ROWS: usize = 1 << 13;

/// A key on its way: [`KeyMaker::step`] (or [`KeyMaker::accept`]) until that says true, then [`KeyMaker::finish`].
///
/// It holds the file that the key becomes and, in f64, the sums of one matrix; the weights pass through.
pub struct KeyMaker<'a> {
    model: &'a Model,
    seed: Seed,
    facts: Facts,
    places: Places,
    /// The file: header, and what is known of the rest.
    bytes: Vec<u8>,
    total: u64,
    done: u64,
    /// Index of the matrix at hand; behind the last comes the embedding.
    at: usize,
    /// Rows of it that are done.
    row: usize,
    /// Its sums, once begun.
    sums: Option<Sums>,
    /// Those of a matrix of integers, once begun.
    integers: Option<Integers>,
    /// Its projection, if that came from elsewhere.
    probe: Option<Probe>,
    /// G, once needed.
    sketcher: Option<Sketcher>,
}

impl<'a> KeyMaker<'a> {
    /// Prepares a key for `model`, whose model root is `root`: the caller computed it, and the key repeats it unchecked.
    ///
    /// Reads norms and biases, but no matrix.
    ///
    /// # Errors
    /// [`KeyError::Options`] that do not fit the model, [`KeyError::Memory`] if there is not enough for the file,
    /// [`KeyError::NotFinite`] and [`KeyError::Model`] for small tensors.
    pub fn new(
        model: &'a Model,
        root: Digest,
        seed: Seed,
        options: &KeyOptions,
    ) -> Result<Self, KeyError> {
        let config = model.config();
        let layers = options.covered(config)?;
        let claim = options.activations;
        let layer = |layer: &u32| MATRICES.map(|role| Part::Layer(*layer, role));
        let parts: Vec<Part> = layers.iter().flat_map(layer).chain([Part::Head]).collect();
        let stored = parts
            .iter()
            .map(|part| {
                let tensor = tensor(model, part.role())?;
                let is_head = *part == Part::Head;
                Stored::of(tensor.dtype, tensor.cols(), claim, is_head)
            })
            .collect::<Result<_, KeyError>>()?;
        let mut facts = Facts::new(options, config.clone(), model.dtype(), layers, stored);
        facts.root = root;
        facts.parameters = model.parameters();
        facts.tokenizer = model.tokenizer().map(Tokenizer::digest);
        facts.check()?;

        let layout = Layout::new(&facts);
        let header = header::canonical(&facts, &layout);
        let len = header::file_bytes(&facts, &layout)?;
        let mut bytes = Vec::new();
        let reserved = usize::try_from(len).map(|len| bytes.try_reserve_exact(len));
        if !matches!(reserved, Ok(Ok(()))) {
            return Err(KeyError::Memory { bytes: len });
        }
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(&header);
        bytes.resize(len as usize, 0);

        let mut total = row_bytes_of_all(tensor(model, Role::Embedding)?);
        for part in &parts {
            total += row_bytes_of_all(tensor(model, part.role())?);
        }
        let mut maker = Self {
            model,
            seed,
            places: layout.places(8 + header.len()),
            facts,
            bytes,
            total,
            done: 0,
            at: 0,
            row: 0,
            sums: None,
            integers: None,
            probe: None,
            sketcher: None,
        };
        for tensor in &layout.tensors {
            if let Some(role) = copied(&maker.facts, tensor.kind) {
                maker.copy(role, tensor.kind)?;
            }
        }
        Ok(maker)
    }

    /// Bytes of weights to read. A tied matrix counts twice: as the head and as the embedding.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes read. Goes back only where a part begins anew: after an error at its end, or because [`KeyMaker::accept`] replaces it.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Bytes of the plain file that this becomes.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The matrix whose turn it is, `None` when all is done. The embedding is sketched as a part of the head.
    pub fn next_part(&self) -> Option<Part> {
        let last = self.facts.matrices() - 1;
        (self.at <= last + 1).then(|| self.facts.part(self.at.min(last)))?
    }

    /// R of a covered matrix, f32 `[K, n]`; empty for any other.
    pub fn projection(&self, part: Part) -> Vec<f32> {
        projection(&self.facts, &self.seed, part).unwrap_or_default()
    }

    /// Does the next 64 MiB of the next part (8 MiB in a browser) on the CPU; true when everything is done. A step that failed may be
    /// tried again: it changed nothing, or the part at hand begins anew.
    ///
    /// # Errors
    /// [`KeyError::Model`] if weights cannot be read, [`KeyError::NotFinite`] if they are not numbers.
    pub fn step(&mut self) -> Result<bool, KeyError> {
        if self.at < self.facts.matrices() {
            self.step_matrix()?;
        } else if self.at == self.facts.matrices() {
            self.step_embedding()?;
        }
        Ok(self.next_part().is_none())
    }

    /// Takes R·W of the next part, f32 `[K, k]`, from elsewhere, and does the rest of that part here. R is what
    /// [`KeyMaker::projection`] gives. It is tried with a random vector first; the key remembers that it came from elsewhere
    /// ([`VerifierKey::projected_elsewhere`]), since its rounding is not ours to vouch for.
    ///
    /// # Errors
    /// [`KeyError::PartOrder`] for any part but the next, [`KeyError::ProjectionLength`]; [`KeyError::ProjectionWrong`] if it is not
    /// R·W, after which the part begins anew; and those of [`KeyMaker::step`].
    pub fn accept(&mut self, part: Part, projected: Vec<f32>) -> Result<(), KeyError> {
        let want = self.next_part();
        if want != Some(part) {
            return Err(KeyError::PartOrder { got: part, want });
        }
        let (_, k) = part.shape(&self.facts.config).unwrap_or_default();
        let projections = self.facts.projections;
        if projected.len() != projections * k {
            let (got, want) = (projected.len(), projections * k);
            return Err(KeyError::ProjectionLength { part, got, want });
        }
        if self.facts.activations.is_some() && part != Part::Head {
            return Err(KeyError::ProjectionLength {
                part,
                got: projected.len(),
                want: 0,
            });
        }
        if self.at < self.facts.matrices() {
            self.restart()?;
            self.probe = Probe::new(&self.seed, part, projected, projections);
        }
        while self.next_part() == Some(part) {
            self.step()?;
        }
        Ok(())
    }

    /// The key, once every step was done.
    ///
    /// # Errors
    /// [`KeyError::Unfinished`] before.
    pub fn finish(self) -> Result<VerifierKey, KeyError> {
        let Self {
            mut bytes,
            places,
            seed,
            done,
            total,
            ..
        } = self;
        if done != total {
            return Err(KeyError::Unfinished { done, total });
        }
        places
            .get_mut(&mut bytes, Kind::Seed)?
            .copy_from_slice(seed.as_bytes());
        let covered = bytes.len() - Digest::LEN;
        let checksum = Digest::of(&bytes[..covered]);
        places
            .get_mut(&mut bytes, Kind::Checksum)?
            .copy_from_slice(&checksum.0);
        // What was made must pass what is read: one rule for both.
        VerifierKey::parse(bytes)
    }

    fn step_matrix(&mut self) -> Result<(), KeyError> {
        let (index, model) = (self.at, self.model);
        let part = self.part()?;
        let stream = self.seed.stream(part, Purpose::Projections);
        let (Some(stream), Some((n, k, stored))) = (stream, self.facts.matrix(index)) else {
            return Err(KeyError::Internal {
                what: "a part is no matrix",
            });
        };
        let tensor = tensor(model, part.role())?;
        if stored.is_integer() {
            return self.step_integers(part, tensor, n, k);
        }
        let Batched { rows, bytes, dtype } = read(model, tensor, self.row)?;
        let projections = self.facts.projections;
        let factors = Factors::new(&stream, projections, n, self.row, rows);
        let summed = if self.probe.is_some() { 0 } else { projections };
        let sums = self.sums.get_or_insert_with(|| Sums::new(k, summed));
        sums.add(&Batch {
            bytes: &bytes,
            dtype,
            factors: &factors,
            probe: self.probe.as_ref().map_or(&[], |probe| &probe.z),
        });
        if let Some(probe) = &mut self.probe {
            probe.add(&factors, &sums.dots());
        }
        self.row += rows;
        self.done += rows as u64 * tensor.row_bytes();
        drop(bytes);
        model.release(tensor);
        if self.row == n {
            let closed = self.close(part, tensor);
            if closed.is_err() {
                self.restart()?;
            }
            closed?;
            self.at += 1;
            self.row = 0;
            (self.sums, self.probe) = (None, None);
        }
        Ok(())
    }

    /// The next rows of a matrix of integers.
    fn step_integers(
        &mut self,
        part: Part,
        tensor: &TensorRef,
        n: usize,
        k: usize,
    ) -> Result<(), KeyError> {
        let (index, model, first) = (self.at, self.model, self.row);
        let rows = batch_rows(tensor).min(n - first);
        let read = model.rows(tensor)?;
        let bytes = read.read(first..first + rows)?;
        let integers = match &mut self.integers {
            Some(integers) => integers,
            none => {
                let stream = self.seed.stream(part, Purpose::Field);
                let stream = stream.ok_or(KeyError::Internal {
                    what: "a part is no matrix",
                })?;
                none.insert(Integers::new(tensor.dtype, &stream, n, k))
            }
        };
        let scales = integers.add(&bytes, first).ok_or(KeyError::NotFinite {
            what: part.to_string(),
        })?;
        if !scales.is_empty() {
            let all = self.places.get_mut(&mut self.bytes, Kind::Scales(index))?;
            write(&mut all[first * 4..], scales.into_iter());
        }
        drop(bytes);
        model.release(tensor);
        self.row += rows;
        self.done += rows as u64 * tensor.row_bytes();
        if self.row == n
            && let Some(integers) = self.integers.take()
        {
            let to = self.places.get_mut(&mut self.bytes, Kind::Exact(index))?;
            integers.finish(to);
            self.at += 1;
            self.row = 0;
        }
        Ok(())
    }

    /// Writes what the sums of a matrix have become.
    fn close(&mut self, part: Part, tensor: &TensorRef) -> Result<(), KeyError> {
        let index = self.at;
        let (Some(sums), Some((n, _, _))) = (&self.sums, self.facts.matrix(index)) else {
            return Err(KeyError::Internal {
                what: "a matrix has no sums",
            });
        };
        let not_finite = || KeyError::NotFinite {
            what: part.to_string(),
        };
        let frobenius = sums.frobenius();
        if !frobenius.is_finite() {
            return Err(not_finite());
        }
        let (places, bytes) = (&self.places, &mut self.bytes);
        let projected = places.get_mut(bytes, Kind::Projected(index))?;
        if let Some(probe) = &self.probe {
            probe.check(part, frobenius)?;
            write(projected, probe.projected.iter().copied());
            places.get_mut(bytes, Kind::Elsewhere)?[index] = 1;
        } else {
            let rows = 0..self.facts.projections;
            write(projected, rows.flat_map(|row| sums.projected(row)));
        }
        write(places.get_mut(bytes, Kind::Bound(index))?, sums.bound(n));
        let norms = places.get_mut(bytes, Kind::Frobenius)?;
        norms[index * 8..(index + 1) * 8].copy_from_slice(&frobenius.to_le_bytes());
        for kind in [Kind::Projected(index), Kind::Bound(index)] {
            let (floats, _) = places.get(bytes, kind).as_chunks();
            if !floats
                .iter()
                .all(|float| f32::from_le_bytes(*float).is_finite())
            {
                return Err(not_finite());
            }
        }
        let ids = row_ids(&self.facts, &self.seed, index);
        let kept = places.get_mut(bytes, Kind::Rows(index))?;
        let slots = kept.chunks_exact_mut((kept.len() / ids.len().max(1)).max(1));
        for (slot, id) in slots.zip(ids) {
            let row = read_rows(self.model, tensor, id as usize, 1)?;
            if row.bytes.len() != slot.len() {
                return Err(KeyError::Internal {
                    what: "a row has another length than its place",
                });
            }
            slot.copy_from_slice(&row.bytes);
        }
        Ok(())
    }

    fn step_embedding(&mut self) -> Result<(), KeyError> {
        let model = self.model;
        let tensor = tensor(model, Role::Embedding)?;
        let Batched { rows, bytes, dtype } = read(model, tensor, self.row)?;
        let (width, config) = (self.facts.sketch, &self.facts.config);
        if self.sketcher.is_none() {
            let stream = self.seed.stream(Part::Head, Purpose::Sketch);
            self.sketcher = stream.map(|stream| Sketcher::new(&stream, width, config.hidden));
        }
        let sketches = self
            .sketcher
            .as_ref()
            .map(|sketcher| sketcher.sketch(&bytes, dtype))
            .unwrap_or_default();
        if !sketches.iter().all(|number| number.is_finite()) {
            return Err(KeyError::NotFinite {
                what: "the embedding".to_owned(),
            });
        }
        let all = self.places.get_mut(&mut self.bytes, Kind::Sketch)?;
        write(&mut all[self.row * width * 4..], sketches.into_iter());
        self.row += rows;
        self.done += rows as u64 * tensor.row_bytes();
        drop(bytes);
        model.release(tensor);
        if self.row == config.vocab {
            self.at += 1;
            self.sketcher = None;
        }
        Ok(())
    }

    /// Forgets what was done of the matrix at hand.
    fn restart(&mut self) -> Result<(), KeyError> {
        let tensor = tensor(self.model, self.part()?.role())?;
        self.done -= self.row as u64 * tensor.row_bytes();
        self.row = 0;
        (self.sums, self.probe, self.integers) = (None, None, None);
        Ok(())
    }

    fn part(&self) -> Result<Part, KeyError> {
        self.facts.part(self.at).ok_or(KeyError::Internal {
            what: "a matrix has no part",
        })
    }

    /// Copies a norm or a bias.
    fn copy(&mut self, role: Role, kind: Kind) -> Result<(), KeyError> {
        let tensor = tensor(self.model, role)?;
        let values = self.model.read_f32(tensor)?;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(KeyError::NotFinite {
                what: tensor.name.clone(),
            });
        }
        write(
            self.places.get_mut(&mut self.bytes, kind)?,
            values.into_iter(),
        );
        Ok(())
    }
}

impl fmt::Debug for KeyMaker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaker")
            .field("done", &self.done)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// R of a covered matrix, `[K, n]`.
pub(crate) fn projection(facts: &Facts, seed: &Seed, part: Part) -> Option<Vec<f32>> {
    let (n, _, _) = facts.matrix(facts.index(part)?)?;
    let stream = seed.stream(part, Purpose::Projections)?;
    Some(normals(&stream, 0, facts.projections * n))
}

/// Which rows of a matrix a key has.
pub(crate) fn row_ids(facts: &Facts, seed: &Seed, index: usize) -> Vec<u32> {
    let stream = facts
        .part(index)
        .and_then(|part| seed.stream(part, Purpose::Rows));
    match (stream, facts.matrix(index)) {
        (Some(stream), Some((n, _, _))) => choose(&stream, n, facts.rows.min(n)),
        _ => Vec::new(),
    }
}

/// Rows of a matrix as floats.
struct Batched<'a> {
    rows: usize,
    bytes: Cow<'a, [u8]>,
    dtype: Dtype,
}

/// Rows that one step reads.
fn batch_rows(tensor: &TensorRef) -> usize {
    let most = (BATCH_BYTES / tensor.row_bytes().max(1)).max(1) as usize;
    most.min(BATCH_ROWS)
}

/// Bytes of all rows in row form.
fn row_bytes_of_all(tensor: &TensorRef) -> u64 {
    tensor.rows() as u64 * tensor.row_bytes()
}

/// The next rows of a matrix from `first`.
fn read<'a>(model: &'a Model, tensor: &TensorRef, first: usize) -> Result<Batched<'a>, KeyError> {
    let rows = batch_rows(tensor).min(tensor.rows() - first);
    read_rows(model, tensor, first, rows)
}

/// Some rows of a matrix: floats as they are stored, quantised ones decoded to f32.
fn read_rows<'a>(
    model: &'a Model,
    tensor: &TensorRef,
    first: usize,
    rows: usize,
) -> Result<Batched<'a>, KeyError> {
    let (dtype, row_bytes) = (tensor.dtype, tensor.row_bytes());
    if dtype.is_float() {
        let begin = first as u64 * row_bytes;
        let bytes = model.read(tensor, begin, rows * row_bytes as usize)?;
        return Ok(Batched { rows, bytes, dtype });
    }
    let matrix = model.rows(tensor)?;
    let matrix = matrix.matrix(first..first + rows)?;
    let mut values = Vec::with_capacity(rows * tensor.cols());
    for row in 0..rows {
        dtype.decode_row(&matrix, row, tensor.cols(), &mut values);
    }
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    Ok(Batched {
        rows,
        bytes: Cow::Owned(bytes.collect()),
        dtype: Dtype::F32,
    })
}

fn tensor(model: &Model, role: Role) -> Result<&TensorRef, KeyError> {
    model.tensor(role).ok_or_else(|| KeyError::Lacks {
        what: format!("{role:?}"),
    })
}

/// Writes floats as little-endian bytes, as many as there are or as fit.
fn write(out: &mut [u8], floats: impl Iterator<Item = f32>) {
    for (slot, float) in out.as_chunks_mut().0.iter_mut().zip(floats) {
        *slot = float.to_le_bytes();
    }
}
