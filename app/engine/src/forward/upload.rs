//! Weights into GPU buffers and textures: streamed in pieces, in their stored type and row form, split where a binding is too small.

use super::matrix_shape;
use crate::engine::{Monitor, Phase};
use crate::gpu::{Bound, Memory};
use crate::kernels::matmul;
use crate::{EngineError, Gpu};
use assay_model::{Dtype, Model, Rows, TensorRef};
use std::ops::Range;

/// Bytes read from the checkpoint and queued at a time.
const PIECE_BYTES: u64 = 4 << 20;

/// Bytes after which a mapped tensor's pages are let go.
const RELEASE_BYTES: u64 = 16 << 20;

/// Rows `first .. first + rows` of a matrix, in one buffer or texture.
pub(crate) struct Shard {
    pub weights: Memory,
    pub first: usize,
    pub rows: usize,
    /// Where they begin in it, rows: other matrices may lie before them.
    pub row0: usize,
}

/// A stored matrix [n, k] in one or more shards, with its bias.
pub(crate) struct GpuMatrix {
    pub dtype: Dtype,
    pub n: usize,
    pub k: usize,
    /// All of them buffers, or all of them textures.
    pub shards: Vec<Shard>,
    pub bias: Option<wgpu::Buffer>,
    /// Where its products are of integers.
    pub sums: Option<Sums>,
}

/// What the integer sums of a matrix's products become numbers by.
pub(crate) enum Sums {
    /// One scale a row, f32 [n].
    Scaled(wgpu::Buffer),
    /// They are numbers already, in units of 2^-48.
    Fixed,
}

impl GpuMatrix {
    /// A matrix in one shard, without a bias.
    pub fn whole(dtype: Dtype, n: usize, k: usize, weights: Memory) -> Self {
        let shard = Shard {
            weights,
            first: 0,
            rows: n,
            row0: 0,
        };
        Self::of(dtype, n, k, vec![shard])
    }

    /// A matrix of these shards, without a bias.
    fn of(dtype: Dtype, n: usize, k: usize, shards: Vec<Shard>) -> Self {
        Self {
            dtype,
            n,
            k,
            shards,
            bias: None,
            sums: None,
        }
    }

    /// Whether it lies in textures.
    pub fn is_texels(&self) -> bool {
        self.shards.iter().all(|shard| shard.weights.is_texels())
    }

    /// Bytes of so many rows.
    pub fn bytes(&self, rows: usize) -> u64 {
        (rows * self.dtype.row_bytes_in(self.k, self.is_texels())) as u64
    }

    /// Refuses a matrix that one binding is too small for, of a product whose kernels know no shards.
    pub fn in_one_binding(self, gpu: &Gpu, what: &str) -> Result<Self, EngineError> {
        if self.shards.len() == 1 {
            return Ok(self);
        }
        Err(EngineError::LimitTooSmall {
            what: format!("{what} in one binding"),
            need: self.bytes(self.n),
            have: gpu.info.max_binding,
        })
    }

    /// The one binding of a matrix that is [`in_one_binding`](Self::in_one_binding).
    pub fn only(&self) -> Bound<'_> {
        self.shards[0].weights.bound()
    }
}

/// Streams a model's tensors to a device and reports how far it is.
pub(crate) struct Uploader<'a> {
    pub gpu: &'a Gpu,
    pub model: &'a Model,
    pub monitor: &'a mut dyn Monitor,
    pub done: u64,
    pub total: u64,
    pub pending: u64,
}

impl Uploader<'_> {
    /// Uploads a matrix to where its products like it best.
    pub async fn matrix(
        &mut self,
        weight: &TensorRef,
        bias: Option<&TensorRef>,
    ) -> Result<GpuMatrix, EngineError> {
        let in_texels = self.takes_texels(weight)?;
        self.laid(weight, bias, in_texels).await
    }

    fn takes_texels(&self, weight: &TensorRef) -> Result<bool, EngineError> {
        let (_, k) = matrix_shape(weight)?;
        Ok(matmul::takes_texels(self.gpu, weight.dtype, k))
    }

    /// Uploads a matrix to buffers or textures, split into equal shards that each fit one. That a row can be texels is the caller's to know.
    pub async fn laid(
        &mut self,
        weight: &TensorRef,
        bias: Option<&TensorRef>,
        in_texels: bool,
    ) -> Result<GpuMatrix, EngineError> {
        let (n, k) = matrix_shape(weight)?;
        let stored = self.model.rows(weight)?;
        let prefix = stored.prefix().len();
        let row_bytes = weight.dtype.row_bytes_in(k, in_texels);
        let fit = self.fit(weight, prefix, in_texels)?;
        let shard_rows = n.div_ceil(n.div_ceil(fit)).next_multiple_of(8).min(fit);
        let mut shards = Vec::new();
        for first in (0..n).step_by(shard_rows) {
            let rows = shard_rows.min(n - first);
            let room = self.room(&weight.name, prefix, (rows, row_bytes), in_texels);
            let weights = room.await?;
            self.stream(weight, &stored, first..first + rows, (&weights, 0))
                .await?;
            shards.push(Shard {
                weights,
                first,
                rows,
                row0: 0,
            });
        }
        let mut matrix = GpuMatrix::of(weight.dtype, n, k, shards);
        matrix.bias = self.bias(bias).await?;
        Ok(matrix)
    }

    /// Most bytes of one buffer; of a texture, too, so that shards are of one size.
    fn most_bytes(&self) -> u64 {
        // Buffers are rounded up to 16 bytes, so a shard must leave that room.
        self.gpu.info.max_binding.min(self.gpu.info.max_buffer) & !15
    }

    /// Most rows of one shard.
    fn fit(
        &self,
        weight: &TensorRef,
        prefix: usize,
        in_texels: bool,
    ) -> Result<usize, EngineError> {
        let row_bytes = weight.dtype.row_bytes_in(weight.cols(), in_texels) as u64;
        let mut fit = (self.most_bytes().saturating_sub(prefix as u64) / row_bytes) as usize;
        if in_texels {
            fit = fit.min(self.gpu.most_texels());
        }
        // A shard starts at a multiple of 8 rows, so that it starts on a whole word whatever the type.
        let fit = fit / 8 * 8;
        match fit {
            0 => Err(EngineError::LimitTooSmall {
                what: format!("8 rows of `{}` in one binding", weight.name),
                need: 8 * row_bytes,
                have: self.gpu.info.max_binding,
            }),
            _ => Ok(fit),
        }
    }

    /// Memory for rows of so many bytes; in a buffer, with what stands before them.
    async fn room(
        &self,
        what: &str,
        prefix: usize,
        (rows, row_bytes): (usize, usize),
        in_texels: bool,
    ) -> Result<Memory, EngineError> {
        Ok(match in_texels {
            true => Memory::Texels(self.gpu.texels(what, rows, row_bytes).await?),
            false => {
                let bytes = prefix + rows * row_bytes;
                Memory::Buffer(self.gpu.storage(what, bytes as u64).await?)
            }
        })
    }

    /// Uploads a matrix of 8-bit integers for products of integers: as [`laid`](Self::laid) in buffers, and its rows' scales beside it.
    pub async fn integers(
        &mut self,
        weight: &TensorRef,
        bias: Option<&TensorRef>,
    ) -> Result<GpuMatrix, EngineError> {
        // Before the matrix, whose pages are let go once it is on the device.
        let scales = row_scales(self.model, weight)?;
        let mut matrix = self.laid(weight, bias, false).await?;
        let buffer = self
            .gpu
            .storage_with(&weight.name, bytemuck::cast_slice(&scales))
            .await?;
        matrix.sums = Some(Sums::Scaled(buffer));
        Ok(matrix)
    }

    /// Uploads a matrix of blocks of integers for products in fixed point.
    pub async fn fixed(
        &mut self,
        weight: &TensorRef,
        bias: Option<&TensorRef>,
    ) -> Result<GpuMatrix, EngineError> {
        let mut matrix = self.laid(weight, bias, false).await?;
        matrix.sums = Some(Sums::Fixed);
        Ok(matrix)
    }

    /// Uploads matrices that take one input. Where their rows can follow one another in one buffer or texture they do, and the first of
    /// what comes back is all of them as one matrix; the others are the single ones, in the same memory.
    pub async fn together<const N: usize>(
        &mut self,
        parts: [(&TensorRef, Option<&TensorRef>); N],
    ) -> Result<(Option<GpuMatrix>, [GpuMatrix; N]), EngineError> {
        let mut single = Vec::with_capacity(N);
        let whole = if self.can_lie_together(&parts)? {
            let rows = parts.iter().map(|(weight, _)| weight.rows()).sum();
            let (dtype, k) = (parts[0].0.dtype, parts[0].0.cols());
            let in_texels = self.takes_texels(parts[0].0)?;
            let size = (rows, dtype.row_bytes_in(k, in_texels));
            let weights = self
                .room("weights of one input", 0, size, in_texels)
                .await?;
            let mut row0 = 0;
            for (weight, bias) in parts {
                let n = weight.rows();
                let stored = self.model.rows(weight)?;
                self.stream(weight, &stored, 0..n, (&weights, row0)).await?;
                let mut part = GpuMatrix::whole(dtype, n, k, weights.clone());
                part.shards[0].row0 = row0;
                part.bias = self.bias(bias).await?;
                single.push(part);
                row0 += n;
            }
            let mut whole = GpuMatrix::whole(dtype, rows, k, weights);
            whole.bias = self.biases(&parts).await?;
            Some(whole)
        } else {
            for (weight, bias) in parts {
                single.push(self.matrix(weight, bias).await?);
            }
            None
        };
        let single = single
            .try_into()
            .map_err(|_| EngineError::Device("as many matrices as were asked for".to_owned()))?;
        Ok((whole, single))
    }

    /// Whether rows of one type and length, with nothing before them, start at whole words of one binding; and all have a bias, or none.
    fn can_lie_together(
        &self,
        parts: &[(&TensorRef, Option<&TensorRef>)],
    ) -> Result<bool, EngineError> {
        let Some((first, first_bias)) = parts.first() else {
            return Ok(false);
        };
        let in_texels = self.takes_texels(first)?;
        let (mut rows, mut bytes) = (0, 0);
        for (weight, bias) in parts {
            let alike = weight.dtype == first.dtype
                && matrix_shape(weight)?.1 == matrix_shape(first)?.1
                && weight.dtype.prefix_bytes(weight.cols()) == 0
                && bias.is_some() == first_bias.is_some();
            if !alike || bytes % 4 != 0 {
                return Ok(false);
            }
            rows += weight.rows();
            let row_bytes = weight.dtype.row_bytes_in(weight.cols(), in_texels);
            bytes += weight.rows() as u64 * row_bytes as u64;
        }
        let is_one = !in_texels || rows <= self.gpu.most_texels();
        Ok(is_one && bytes <= self.most_bytes())
    }

    /// Biases one after another.
    async fn biases(
        &self,
        parts: &[(&TensorRef, Option<&TensorRef>)],
    ) -> Result<Option<wgpu::Buffer>, EngineError> {
        let mut all = Vec::new();
        for bias in parts.iter().filter_map(|(_, bias)| *bias) {
            all.extend(self.model.read_f32(bias)?);
        }
        match all.is_empty() {
            true => Ok(None),
            false => {
                let bytes = bytemuck::cast_slice(&all);
                Ok(Some(
                    self.gpu.storage_with("biases of one input", bytes).await?,
                ))
            }
        }
    }

    /// Uploads a matrix [n, k] as [k, n], so that a column is a row: what a product skips is then contiguous. It passes through host
    /// memory whole. With `in_texels` it becomes a texture; whether it fits is the caller's to know.
    pub async fn transposed(
        &mut self,
        weight: &TensorRef,
        bias: Option<&TensorRef>,
        in_texels: bool,
    ) -> Result<GpuMatrix, EngineError> {
        let (n, k) = matrix_shape(weight)?;
        let Some(size) = weight.dtype.element_bytes() else {
            return Err(EngineError::Unsupported(format!(
                "sparse products with `{}` stored as {}: what is skipped would not be contiguous",
                weight.name,
                weight.dtype.as_str()
            )));
        };
        let stored = self.model.read(weight, 0, weight.bytes as usize)?;
        let turned = match size {
            2 => transpose::<2>(&stored, n, k),
            _ => transpose::<4>(&stored, n, k),
        };
        drop(stored);
        self.model.release(weight);
        let row_bytes = n * size;
        let weights = self
            .room(&weight.name, 0, (k, row_bytes), in_texels)
            .await?;
        let step = rows_of_piece(row_bytes);
        for (i, piece) in turned.chunks(step * row_bytes).enumerate() {
            self.put(&weights, (0, i * step, row_bytes), piece);
            self.advance(piece.len() as u64).await?;
        }
        let mut matrix = GpuMatrix::whole(weight.dtype, k, n, weights);
        matrix.bias = self.bias(bias).await?;
        Ok(matrix)
    }

    async fn bias(
        &mut self,
        bias: Option<&TensorRef>,
    ) -> Result<Option<wgpu::Buffer>, EngineError> {
        match bias {
            Some(bias) => self.vector(bias).await.map(Some),
            None => Ok(None),
        }
    }

    /// Uploads a norm weight or a bias as f32.
    pub async fn vector(&mut self, tensor: &TensorRef) -> Result<wgpu::Buffer, EngineError> {
        let values = self.model.read_f32(tensor)?;
        let buffer = self
            .gpu
            .storage_with(&tensor.name, bytemuck::cast_slice(&values))
            .await?;
        self.advance(tensor.bytes).await?;
        Ok(buffer)
    }

    /// Whole rows at a time, so many that each piece starts at a whole word; they begin at row `row0` of `to`.
    async fn stream(
        &mut self,
        tensor: &TensorRef,
        stored: &Rows<'_>,
        rows: Range<usize>,
        (to, row0): (&Memory, usize),
    ) -> Result<(), EngineError> {
        let row_bytes = tensor.dtype.row_bytes_in(tensor.cols(), to.is_texels());
        let step = rows_of_piece(row_bytes);
        let prefix = stored.prefix();
        if let Memory::Buffer(to) = to {
            self.gpu.write(to, 0, prefix);
        }
        let has_units = to.is_texels() && tensor.dtype.texel_form().is_some();
        let mut units = Vec::new();
        let mut unreleased = 0;
        for first in rows.clone().step_by(step) {
            let piece = stored.read(first..rows.end.min(first + step))?;
            let len = piece.len() as u64;
            let row = row0 + first - rows.start;
            let laid = match has_units {
                true => {
                    units.clear();
                    tensor.dtype.texel_rows(&piece, tensor.cols(), &mut units);
                    &units
                }
                false => &*piece,
            };
            self.put(to, (prefix.len(), row, row_bytes), laid);
            drop(piece);
            unreleased += len;
            self.advance(len).await?;
            // Pages that were read stay resident until they are let go: else a mapped checkpoint lies in
            // host memory once more, beside the driver's copy.
            if unreleased >= RELEASE_BYTES || first + step >= rows.end {
                self.model.release(tensor);
                unreleased = 0;
            }
        }
        Ok(())
    }

    /// Queues whole rows, from row `row` on, which come behind `prefix` bytes in a buffer.
    fn put(&self, to: &Memory, (prefix, row, row_bytes): (usize, usize, usize), rows: &[u8]) {
        match to {
            Memory::Texels(to) => self.gpu.write_texels(to, row, rows),
            Memory::Buffer(to) => self.gpu.write(to, (prefix + row * row_bytes) as u64, rows),
        }
    }

    async fn advance(&mut self, bytes: u64) -> Result<(), EngineError> {
        self.done += bytes;
        self.pending += bytes;
        self.gpu.flush_uploads(&mut self.pending, false).await?;
        self.monitor
            .progress(Phase::Load, self.done.min(self.total), self.total)
    }
}

/// How many rows are read and queued at a time: so many that they end with a whole word.
fn rows_of_piece(row_bytes: usize) -> usize {
    (PIECE_BYTES as usize / row_bytes.max(1))
        .max(1)
        .next_multiple_of(8)
}

/// The scales of a matrix of 8-bit integers with one scale a row: what stands before each row in row form.
pub(crate) fn row_scales(model: &Model, weight: &TensorRef) -> Result<Vec<f32>, EngineError> {
    let (n, k) = matrix_shape(weight)?;
    let (rows, row_bytes) = (model.rows(weight)?, weight.dtype.row_bytes(k));
    let step = (PIECE_BYTES as usize / row_bytes.max(1)).max(1);
    let mut scales = Vec::with_capacity(n);
    for first in (0..n).step_by(step) {
        let piece = rows.read(first..n.min(first + step))?;
        let heads = piece.chunks_exact(row_bytes);
        scales.extend(heads.map(|row| f32::from_le_bytes([row[0], row[1], row[2], row[3]])));
    }
    Ok(scales)
}

/// [n, k] elements of `SIZE` bytes to [k, n], in blocks that stay in a cache.
fn transpose<const SIZE: usize>(stored: &[u8], n: usize, k: usize) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut turned = vec![0; stored.len()];
    for i0 in (0..n).step_by(BLOCK) {
        for j0 in (0..k).step_by(BLOCK) {
            for j in j0..(j0 + BLOCK).min(k) {
                for i in i0..(i0 + BLOCK).min(n) {
                    let (from, to) = ((i * k + j) * SIZE, (j * n + i) * SIZE);
                    turned[to..to + SIZE].copy_from_slice(&stored[from..from + SIZE]);
                }
            }
        }
    }
    turned
}
