//! Reading rows of any stored type in row form.
use super::blocks;
use super::gather::{Int4, Int4Layout, int8_row};
use crate::weights::Form;
use crate::{Model, ModelError, TensorRef};
use std::borrow::Cow;
use std::ops::Range;

/// A tensor's rows in row form. Floats are lent from where they lie; what lies across rows is read once, as stored.
pub struct Rows<'a> {
    model: &'a Model,
    tensor: &'a TensorRef,
    /// Whole parts, of forms that need all of them for one row.
    whole: Vec<Cow<'a, [u8]>>,
    prefix: Vec<u8>,
}

impl Model {
    /// The rows of `tensor`, in row form.
    ///
    /// # Errors
    /// What reading reports.
    pub fn rows<'a>(&'a self, tensor: &'a TensorRef) -> Result<Rows<'a>, ModelError> {
        let read = |part: usize| {
            let bytes = tensor.parts.get(part).map_or(0, |part| part.bytes);
            let len = usize::try_from(bytes).unwrap_or(usize::MAX);
            self.read_part(tensor, part, 0, len)
        };
        let mut whole = Vec::new();
        let mut prefix = Vec::new();
        if let Form::Int4 { order, .. } = &tensor.form {
            whole = (0..3).map(read).collect::<Result<_, _>>()?;
            if let Some(order) = order {
                prefix.extend(order.iter().flat_map(|group| group.to_le_bytes()));
                prefix.resize(tensor.dtype.prefix_bytes(tensor.cols()), 0);
            }
        }
        Ok(Rows {
            model: self,
            tensor,
            whole,
            prefix,
        })
    }
}

impl Rows<'_> {
    /// What stands before the rows of every buffer.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Some rows, without the prefix.
    ///
    /// # Errors
    /// [`ModelError::RangeOutside`], [`ModelError::ScaleNotFinite`], and what reading reports.
    pub fn read(&self, rows: Range<usize>) -> Result<Cow<'_, [u8]>, ModelError> {
        let tensor = self.tensor;
        if rows.start > rows.end || rows.end > tensor.rows() {
            return Err(ModelError::RangeOutside {
                name: tensor.name.clone(),
                begin: rows.start as u64,
                end: rows.end as u64,
                most: tensor.rows() as u64,
            });
        }
        let (n, k) = (rows.len(), tensor.cols());
        let part = |part: usize, row_bytes: u64| {
            // On a 32-bit machine a matrix may be larger than the address space; then the range is refused as any other too long.
            let len = usize::try_from(n as u64 * row_bytes).unwrap_or(usize::MAX);
            self.model
                .read_part(tensor, part, rows.start as u64 * row_bytes, len)
        };
        let dtype = tensor.dtype;
        let mut out = Vec::new();
        // Rows of row form are never much longer than stored ones, whose bytes are there: no hostile shape reaches this.
        let mut gather = |row: &mut dyn FnMut(usize, &mut Vec<u8>) -> bool| {
            out.reserve(n * dtype.row_bytes(k));
            for index in 0..n {
                if !row(index, &mut out) {
                    return Err(ModelError::ScaleNotFinite {
                        name: tensor.name.clone(),
                        row: rows.start + index,
                    });
                }
            }
            Ok(())
        };
        match &tensor.form {
            Form::Rows => {
                let Some(block) = blocks::stored_block_bytes(dtype) else {
                    return part(0, dtype.row_bytes(k) as u64);
                };
                let stored_row = k / dtype.block() * block;
                let stored = part(0, stored_row as u64)?;
                gather(&mut |index, out| {
                    let row = &stored[index * stored_row..(index + 1) * stored_row];
                    blocks::pack(dtype, row, out)
                })?;
            }
            Form::Int8 { scales, group } => {
                let unit = match dtype.block() {
                    1 => k,
                    unit => unit,
                };
                let quants = part(0, k as u64)?;
                let scale_of = |row: usize, col: usize| ((row * k + col) / (*group).max(1)) as u64;
                let size = scales.bytes() as u64;
                let first = scale_of(rows.start, 0);
                let end = match n {
                    0 => first,
                    _ => scale_of(rows.end - 1, k - 1) + 1,
                };
                let len = ((end - first) * size) as usize;
                let values = self.model.read_part(tensor, 1, first * size, len)?;
                gather(&mut |index, out| {
                    let row = &quants[index * k..(index + 1) * k];
                    let scale = |col| (scale_of(rows.start + index, col) - first) as usize;
                    int8_row(row, unit, |col| scales.read(&values, scale(col)), out)
                })?;
            }
            Form::Int4 {
                layout,
                groups,
                group,
                order,
            } => {
                let [quants, zeros, scales] = &self.whole[..] else {
                    return Err(ModelError::ForeignTensor {
                        name: tensor.name.clone(),
                    });
                };
                let matrix = Int4 {
                    layout: *layout,
                    n: tensor.rows(),
                    k,
                    groups: *groups,
                    group: order.is_none().then_some(*group),
                    quants,
                    zeros,
                    scales,
                };
                gather(&mut |index, out| matrix.row(rows.start + index, out))?;
            }
        }
        Ok(out.into())
    }

    /// Some rows after the prefix: a matrix of its own, as kernels and [`Dtype::decode_row`](crate::Dtype::decode_row) take it.
    ///
    /// # Errors
    /// As [`Rows::read`].
    pub fn matrix(&self, rows: Range<usize>) -> Result<Cow<'_, [u8]>, ModelError> {
        let rows = self.read(rows)?;
        match self.prefix.is_empty() {
            true => Ok(rows),
            false => Ok([&self.prefix[..], &rows].concat().into()),
        }
    }
}

impl Int4Layout {
    /// The axes of the tensor of quants, `[lines, words]`, for a matrix `[n, k]`.
    pub fn quants_shape(self, n: usize, k: usize) -> [usize; 2] {
        match self {
            Self::Gptq { .. } => [k / 8, n],
            Self::Awq => [k, n / 8],
        }
    }
}
