//! Secret projections of a stored matrix on a GPU: WᵀR straight from the stored form, one shard of rows at a time.

use crate::engine::Quiet;
use crate::gpu::floats;
use crate::kernels::matmul::SEGMENT;
use crate::kernels::project as kernel;
use crate::plan::{Draft, Rows, Stage, Submit, Work};
use crate::{EngineError, Gpu, Numerics};
use assay_model::{Model, TensorRef};

/// Bytes of a matrix that are on the device at a time.
const SHARD_BYTES: u64 = 64 << 20;

/// `r` times the matrix `tensor` [n, k]: [projections, k], for `r` [projections, n]. Sums are f32 in the canonical order, whatever
/// the adapter.
///
/// # Errors
/// What the device or the checkpoint reports.
pub async fn project(
    gpu: &Gpu,
    model: &Model,
    tensor: &TensorRef,
    r: &[f32],
) -> Result<Vec<f32>, EngineError> {
    let (n, k) = crate::forward::matrix_shape(tensor)?;
    let projections = r.len() / n.max(1);
    let row_bytes = tensor.dtype.row_bytes(k) as u64;
    let stored = model.rows(tensor)?;
    let prefix = stored.prefix().len() as u64;
    let fit = SHARD_BYTES.min(gpu.info.max_binding) / row_bytes.max(1);
    // Shards begin at a multiple of a segment, so that they change no order of addition.
    let step = ((fit as usize) / SEGMENT * SEGMENT).max(SEGMENT);
    if step as u64 * row_bytes > gpu.info.max_binding {
        return Err(EngineError::LimitTooSmall {
            what: format!("{SEGMENT} rows of `{}` in one binding", tensor.name),
            need: step as u64 * row_bytes,
            have: gpu.info.max_binding,
        });
    }
    let rows_of_r = gpu
        .storage_with("projections", bytemuck::cast_slice(r))
        .await?;
    let bytes = (projections * k * 4) as u64;
    let v = gpu.storage("projected weights", bytes).await?;
    let w = gpu
        .storage("weights", prefix + step.min(n) as u64 * row_bytes)
        .await?;
    for first in (0..n).step_by(step) {
        let rows = step.min(n - first);
        let piece = stored.matrix(first..first + rows)?;
        gpu.write(&w, 0, &piece);
        drop(piece);
        model.release(tensor);
        let work = Work::Project {
            rows: rows as u32,
            k: k as u32,
            n: n as u32,
            first: first as u32,
            projections: projections as u32,
        };
        let key = kernel::key(tensor.dtype, k, first == 0, Numerics::Strict);
        let draft = Draft::new(key, vec![(1, &rows_of_r), (2, &w), (3, &v)], work);
        let stage = Stage::new(gpu, vec![draft]).await?;
        let span = Rows {
            count: 1,
            pos0: 0,
            head_row: 0,
        };
        stage.set_params(gpu, span);
        let mut submit = Submit::new(gpu);
        submit.stage(&stage, span, &mut Quiet).await?;
        submit.flush(true).await?;
    }
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
    let staging = gpu.buffer("read-back", bytes, usage).await?;
    let mut submit = Submit::new(gpu);
    submit.copy(&v, &staging, 0, bytes);
    submit.send();
    let data = gpu.read(&staging, bytes).await?;
    Ok(floats(&data).collect())
}
