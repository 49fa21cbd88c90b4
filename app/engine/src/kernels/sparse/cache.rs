//! Weights of the active neurons only, on the device, following masks that change a little at a time.
//!
//! A cache holds one row a neuron of a few matrices that run over neurons (gate, up, and down transposed), in `capacity` *slots* each. An
//! update finds which neurons come and which go, and puts each that comes into the slot of one that goes, both ascending (the pairing of
//! NimbleEdge's sparse_transformers); so only the rows that come are moved. The list that the kernels read is sorted by neuron whatever
//! slots the neurons have, so results do not depend on the masks before: the seed's, whose order is that of its slots, do.

use std::borrow::Cow;

use crate::kernels::matmul::SEGMENT;
use crate::{EngineError, Gpu};

/// Bytes that one round of an update stages, unless a single row is longer. Where the device is a CPU, what is staged should still be in
/// the processor's cache when it is copied on; elsewhere rounds cost more than memory.
fn staging_bytes(gpu: &Gpu) -> u64 {
    if gpu.info.software { 1 << 20 } else { 16 << 20 }
}

/// What can be wrong with a cache or an update.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The mask has more active neurons than the cache has slots. The cache stays as it was.
    #[error("{active} neurons are active, the cache has {capacity} slots")]
    Capacity {
        /// Active neurons.
        active: u32,
        /// Slots.
        capacity: u32,
    },
    /// The mask is not made of rows of ceil(n / 32) words.
    #[error("a mask of {got} words is not made of rows of {row}")]
    Mask {
        /// Words there are.
        got: usize,
        /// Words of a row.
        row: usize,
    },
    /// Copies between buffers are of whole words, so a row's bytes must be a multiple of 4 (and not 0).
    #[error("rows of {0} bytes cannot be copied")]
    RowBytes(u64),
    /// The source gave a row of another length.
    #[error("matrix {matrix}: row {neuron} has {got} bytes, not {want}")]
    Row {
        /// Matrix.
        matrix: usize,
        /// Neuron.
        neuron: u32,
        /// Bytes that it has.
        got: usize,
        /// Bytes that it must have.
        want: usize,
    },
    /// The device or the source failed. What the cache held is forgotten.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Where rows come from: matrices whose rows are neurons, in stored form.
pub trait RowSource {
    /// Row `neuron` of `matrix`, borrowed where it lies in memory.
    fn row(&self, matrix: usize, neuron: u32) -> Result<Cow<'_, [u8]>, EngineError>;
}

/// Matrices in host memory, each [n, width] row major in stored form.
#[derive(Debug, Clone)]
pub struct HostRows<'a> {
    matrices: Vec<(&'a [u8], usize)>,
}

impl<'a> HostRows<'a> {
    /// Matrices as bytes, each with the bytes of its row.
    pub fn new(matrices: Vec<(&'a [u8], usize)>) -> Self {
        Self { matrices }
    }
}

impl RowSource for HostRows<'_> {
    fn row(&self, matrix: usize, neuron: u32) -> Result<Cow<'_, [u8]>, EngineError> {
        let find = || {
            let (bytes, row) = self.matrices.get(matrix)?;
            let at = (neuron as usize).checked_mul(*row)?;
            bytes.get(at..at.checked_add(*row)?)
        };
        let outside = || EngineError::Sparsity(format!("matrix {matrix} has no row {neuron}"));
        find().map(Cow::Borrowed).ok_or_else(outside)
    }
}

/// What an update did, in neurons. Each that was added had one row of every matrix uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Neurons that came.
    pub added: u32,
    /// Neurons that went.
    pub removed: u32,
    /// Neurons that stayed where they were.
    pub kept: u32,
}

/// One matrix's slots.
struct Resident {
    buffer: wgpu::Buffer,
    row_bytes: u64,
}

/// A neuron that comes, and where to.
#[derive(Clone, Copy)]
struct Arrival {
    slot: u32,
    neuron: u32,
}

/// The cache of one layer.
pub struct WeightCache {
    n: u32,
    capacity: u32,
    matrices: Vec<Resident>,
    /// Slot of each neuron, if it has one.
    slots: Vec<Option<u32>>,
    /// Slots without a neuron, descending, so that the lowest is taken first.
    free: Vec<u32>,
    /// Active neurons, ascending.
    neurons: Vec<u32>,
    /// Pairs (neuron, slot), as kernels with `slots` read them.
    list: wgpu::Buffer,
    /// The list's segments.
    starts: wgpu::Buffer,
    staging: wgpu::Buffer,
    /// Rows of all matrices that the staging buffer holds.
    staged_rows: usize,
}

impl WeightCache {
    /// An empty cache of `capacity` slots (at most `n` are of use) for `n` neurons of matrices whose rows have so many bytes.
    pub async fn new(
        gpu: &Gpu,
        n: u32,
        capacity: u32,
        row_bytes: &[u64],
    ) -> Result<Self, CacheError> {
        use wgpu::BufferUsages as U;
        let capacity = capacity.min(n);
        let mut matrices = Vec::with_capacity(row_bytes.len());
        let mut all_rows = 0u64;
        for bytes in row_bytes.iter().copied() {
            let whole = bytes > 0 && bytes.is_multiple_of(4);
            let size = bytes.checked_mul(u64::from(capacity)).filter(|_| whole);
            let size = size.ok_or(CacheError::RowBytes(bytes))?;
            matrices.push(Resident {
                buffer: gpu.storage("active neurons' weights", size).await?,
                row_bytes: bytes,
            });
            all_rows = all_rows
                .checked_add(bytes)
                .ok_or(CacheError::RowBytes(bytes))?;
        }
        let most = u64::from(capacity.max(1));
        let staged_rows = (staging_bytes(gpu) / all_rows.max(1)).clamp(1, most);
        let staging = gpu
            .buffer(
                "active neurons' staging",
                staged_rows * all_rows,
                U::MAP_WRITE | U::COPY_SRC,
            )
            .await?;
        let mut cache = Self {
            n,
            capacity,
            matrices,
            slots: vec![None; n as usize],
            free: Vec::new(),
            neurons: Vec::new(),
            list: gpu
                .storage("active neurons", u64::from(capacity) * 8)
                .await?,
            starts: gpu
                .storage(
                    "active neurons' segments",
                    (u64::from(n.div_ceil(SEGMENT as u32)) + 1) * 4,
                )
                .await?,
            staging,
            staged_rows: staged_rows as usize,
        };
        cache.clear();
        cache.write_list(gpu);
        Ok(cache)
    }

    /// Slots.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The active neurons, ascending.
    pub fn neurons(&self) -> &[u32] {
        &self.neurons
    }

    /// Where a neuron's rows lie, if it is active.
    pub fn slot(&self, neuron: u32) -> Option<u32> {
        self.slots.get(neuron as usize).copied().flatten()
    }

    /// The rows of a matrix: [capacity, width], stored type. Binding 2 or 3 of kernels with `slots`.
    pub fn weights(&self, matrix: usize) -> Option<&wgpu::Buffer> {
        self.matrices.get(matrix).map(|m| &m.buffer)
    }

    /// Pairs (neuron, slot), one list: for masks of at most one tile of rows. Binding 6 of kernels with `slots`.
    pub fn list(&self) -> &wgpu::Buffer {
        &self.list
    }

    /// The list's segments. Binding 7.
    pub fn starts(&self) -> &wgpu::Buffer {
        &self.starts
    }

    /// Makes the neurons active that are set in any row of `mask`, u32 [rows, ceil(n / 32)], and uploads the rows that are new.
    /// Kernels that are submitted afterwards see them.
    pub async fn update(
        &mut self,
        gpu: &Gpu,
        mask: &[u32],
        source: &dyn RowSource,
    ) -> Result<Moved, CacheError> {
        let neurons = self.active(mask)?;
        let (arrivals, moved) = self.pair(neurons);
        let mut uploaded = Ok(());
        for round in arrivals.chunks(self.staged_rows) {
            uploaded = self.upload(gpu, round, source).await;
            if uploaded.is_err() {
                break;
            }
        }
        if uploaded.is_err() {
            // Some slots may hold rows of neurons that they are not assigned to.
            self.clear();
        }
        self.write_list(gpu);
        uploaded.map(|()| moved)
    }

    /// The union of the mask's rows.
    fn active(&self, mask: &[u32]) -> Result<Vec<u32>, CacheError> {
        let row = self.n.div_ceil(32) as usize;
        if mask.is_empty() || row == 0 || !mask.len().is_multiple_of(row) {
            return Err(CacheError::Mask {
                got: mask.len(),
                row,
            });
        }
        let mut neurons = Vec::new();
        for word in 0..row {
            let mut bits = mask
                .iter()
                .skip(word)
                .step_by(row)
                .fold(0, |all, w| all | w);
            while bits != 0 {
                let j = word as u32 * 32 + bits.trailing_zeros();
                if j < self.n {
                    neurons.push(j);
                }
                bits &= bits - 1;
            }
        }
        let active = neurons.len() as u32;
        if active > self.capacity {
            return Err(CacheError::Capacity {
                active,
                capacity: self.capacity,
            });
        }
        Ok(neurons)
    }

    /// Assigns slots: the i-th neuron that comes takes the slot of the i-th that goes, then the lowest free ones. Arrivals ascend by slot.
    fn pair(&mut self, neurons: Vec<u32>) -> (Vec<Arrival>, Moved) {
        let mut stays = vec![false; self.slots.len()];
        let mut added = Vec::new();
        for j in &neurons {
            stays[*j as usize] = true;
            if self.slots[*j as usize].is_none() {
                added.push(*j);
            }
        }
        let left = self.neurons.iter().filter(|j| !stays[**j as usize]);
        let mut vacated: Vec<u32> = left
            .filter_map(|j| self.slots[*j as usize].take())
            .collect();
        let moved = Moved {
            added: added.len() as u32,
            removed: vacated.len() as u32,
            kept: (neurons.len() - added.len()) as u32,
        };
        let surplus = vacated.split_off(vacated.len().min(added.len()));
        // There are enough slots: not more neurons are active than there are.
        while vacated.len() < added.len()
            && let Some(slot) = self.free.pop()
        {
            vacated.push(slot);
        }
        self.free.extend(surplus);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        let mut arrivals = Vec::with_capacity(added.len());
        for (neuron, slot) in added.into_iter().zip(vacated) {
            self.slots[neuron as usize] = Some(slot);
            arrivals.push(Arrival { slot, neuron });
        }
        self.neurons = neurons;
        arrivals.sort_unstable_by_key(|a| a.slot);
        (arrivals, moved)
    }

    /// Moves one round of rows: into the staging buffer, in the order of their slots, then to the slots.
    async fn upload(
        &self,
        gpu: &Gpu,
        arrivals: &[Arrival],
        source: &dyn RowSource,
    ) -> Result<(), CacheError> {
        self.map(gpu).await?;
        let staged = self.stage(arrivals, source);
        self.staging.unmap();
        staged?;
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for matrix in &self.matrices {
            // Neighbouring slots are one copy.
            for run in arrivals.chunk_by(|a, b| a.slot + 1 == b.slot) {
                let to = u64::from(run[0].slot) * matrix.row_bytes;
                let bytes = run.len() as u64 * matrix.row_bytes;
                encoder.copy_buffer_to_buffer(&self.staging, at, &matrix.buffer, to, bytes);
                at += bytes;
            }
        }
        gpu.queue.submit([encoder.finish()]);
        gpu.check()?;
        Ok(())
    }

    /// Makes the staging buffer writable, once the copies before are done.
    async fn map(&self, gpu: &Gpu) -> Result<(), EngineError> {
        let (send, receive) = flume::bounded(1);
        let done = move |result| {
            let _sent = send.send(result);
        };
        self.staging.slice(..).map_async(wgpu::MapMode::Write, done);
        gpu.settle().await?;
        match receive.recv_async().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(err)) => Err(EngineError::Device(err.to_string())),
            Err(err) => Err(EngineError::DeviceLost(err.to_string())),
        }
    }

    /// Copies the rows from their source: all of the first matrix, then all of the next.
    fn stage(&self, arrivals: &[Arrival], source: &dyn RowSource) -> Result<(), CacheError> {
        let range = self.staging.slice(..).get_mapped_range_mut();
        let mut range = range.map_err(|err| EngineError::Device(err.to_string()))?;
        let mut left = range.slice(..);
        for (m, matrix) in self.matrices.iter().enumerate() {
            for neuron in arrivals.iter().map(|a| a.neuron) {
                let row = source.row(m, neuron)?;
                let want = matrix.row_bytes as usize;
                match left.split_off(..want) {
                    Some(mut to) if row.len() == want => to.copy_from_slice(&row),
                    _ => {
                        return Err(CacheError::Row {
                            matrix: m,
                            neuron,
                            got: row.len(),
                            want,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Forgets all neurons.
    fn clear(&mut self) {
        self.slots.fill(None);
        self.neurons.clear();
        self.free = (0..self.capacity).rev().collect();
    }

    /// Writes the list and its segments.
    fn write_list(&self, gpu: &Gpu) {
        let pairs: Vec<u32> = self
            .neurons
            .iter()
            .filter_map(|j| Some([*j, self.slot(*j)?]))
            .flatten()
            .collect();
        let segments = self.n.div_ceil(SEGMENT as u32);
        let starts: Vec<u32> = (0..=segments)
            .map(|s| self.neurons.partition_point(|j| *j / (SEGMENT as u32) < s) as u32)
            .collect();
        gpu.write(&self.list, 0, bytemuck::cast_slice(&pairs));
        gpu.write(&self.starts, 0, bytemuck::cast_slice(&starts));
    }
}
