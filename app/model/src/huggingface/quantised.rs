//! Matrices that are several tensors: GPTQ's and AWQ's `qweight`, `qzeros`, `scales` (and `g_idx`), and 8-bit `weight` with
//! `weight_scale`.
use super::Stored;
use crate::config_json::Quantization;
use crate::packed::{Int4Layout, ScaleType};
use crate::safetensors_file::Entry;
use crate::weights::{Element, Form, Part};
use crate::{Dtype, ModelError, TensorRef};

impl Stored<'_> {
    /// The matrix `name`, whose name ends in `.weight`, if it is quantised.
    pub(super) fn take_quantised(
        &mut self,
        name: &str,
        want: &[usize],
    ) -> Result<Option<TensorRef>, ModelError> {
        let (Some(quantization), [n, k]) = (self.quantization, want) else {
            return Ok(None);
        };
        let Some(stem) = name.strip_suffix(".weight") else {
            return Ok(None);
        };
        let matrix = Matrix {
            name,
            stem,
            n: *n,
            k: *k,
        };
        let has = |suffix: &str| self.entries.contains_key(&format!("{stem}{suffix}"));
        Ok(match quantization {
            Quantization::Gptq { group, offset } if has(".qweight") => {
                Some(self.int4(&matrix, Int4Layout::Gptq { offset }, group)?)
            }
            Quantization::Awq { group } if has(".qweight") => {
                Some(self.int4(&matrix, Int4Layout::Awq, group)?)
            }
            Quantization::Int8 if has(".weight_scale") => Some(self.int8(&matrix)?),
            _ => None,
        })
    }

    fn int4(
        &mut self,
        matrix: &Matrix<'_>,
        layout: Int4Layout,
        group: usize,
    ) -> Result<TensorRef, ModelError> {
        let Matrix { n, k, .. } = *matrix;
        for (what, got) in [("the number of rows", n), ("the number of columns", k)] {
            if !got.is_multiple_of(8) {
                return Err(matrix.wrong(what, got, "a multiple of 8"));
            }
        }
        let group = match group {
            0 => k,
            group => group.min(k),
        };
        let groups = k.div_ceil(group);
        let lines = layout.quants_shape(n, k);
        let quants = self.part(matrix, ".qweight", &[Element::I32], &lines)?;
        let zeros = self.part(matrix, ".qzeros", &[Element::I32], &[groups, n / 8])?;
        let scales = self.part(matrix, ".scales", &[Element::F16], &[groups, n])?;
        let mut parts = vec![quants, zeros, scales];
        let mut order = None;
        if self.entries.contains_key(&format!("{}.g_idx", matrix.stem)) {
            let part = self.part(matrix, ".g_idx", &[Element::I32], &[k])?;
            let table = self.groups_of_columns(matrix, &part, groups)?;
            let in_order = |(col, of): (usize, &u16)| usize::from(*of) == col / group;
            if !table.iter().enumerate().all(in_order) {
                order = Some(table);
            }
            parts.push(part);
        }
        let dtype = match order {
            Some(_) => Dtype::Int4Ordered {
                groups: groups as u32,
            },
            None => Dtype::Int4 {
                group: group as u32,
            },
        };
        let form = Form::Int4 {
            layout,
            groups,
            group,
            order,
        };
        Ok(matrix.of(dtype, parts, form))
    }

    /// Which group each column is of, checked.
    fn groups_of_columns(
        &self,
        matrix: &Matrix<'_>,
        part: &Part,
        groups: usize,
    ) -> Result<Vec<u16>, ModelError> {
        let Some(shard) = self.shards.get(part.source) else {
            return Err(ModelError::ForeignTensor {
                name: part.name.clone(),
            });
        };
        // As long as a row, whose length the config has checked.
        let bytes = shard.source.read(part.offset, part.bytes as usize)?;
        let words = bytes.as_chunks().0.iter();
        words
            .map(|word| {
                let got = i32::from_le_bytes(*word);
                let fits = u16::try_from(got)
                    .ok()
                    .filter(|of| usize::from(*of) < groups);
                let want = format!("0 to {}", groups - 1);
                fits.ok_or_else(|| matrix.wrong("an entry of `g_idx`", got, &want))
            })
            .collect()
    }

    fn int8(&mut self, matrix: &Matrix<'_>) -> Result<TensorRef, ModelError> {
        const SCALES: [Element; 3] = [Element::F32, Element::F16, Element::BF16];
        let Matrix { n, k, .. } = *matrix;
        let quants = self.part(matrix, ".weight", &[Element::I8], &[n, k])?;
        let entry = self.entries.get(&format!("{}.weight_scale", matrix.stem));
        let shape = entry
            .map(|(_, entry)| entry.shape.clone())
            .unwrap_or_default();
        let shape: Vec<usize> = shape
            .iter()
            .map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX))
            .collect();
        // A scale a row, or one for each of several groups of a row.
        let groups = match shape[..] {
            [rows] if rows == n => 1,
            [rows, groups] if rows == n => groups,
            _ => {
                return Err(matrix.wrong(
                    "the shape of the scales",
                    format!("{shape:?}"),
                    &format!("[{n}, 1]"),
                ));
            }
        };
        if groups == 0 || !k.is_multiple_of(groups) || groups > 1 && !(k / groups).is_multiple_of(4)
        {
            let want = format!("a divisor of {k} that leaves groups of whole fours");
            return Err(matrix.wrong("the number of scales a row", groups, &want));
        }
        let scales = self.part(matrix, ".weight_scale", &SCALES, &shape)?;
        let kind = match scales.element {
            Element::F16 => ScaleType::F16,
            Element::BF16 => ScaleType::BF16,
            _ => ScaleType::F32,
        };
        let group = match groups {
            1 => 0,
            groups => (k / groups) as u32,
        };
        let form = Form::Int8 {
            scales: kind,
            group: k / groups,
        };
        Ok(matrix.of(Dtype::Int8 { group }, vec![quants, scales], form))
    }

    /// One tensor, of one of these types and of exactly this shape.
    fn part(
        &mut self,
        matrix: &Matrix<'_>,
        suffix: &str,
        elements: &[Element],
        want: &[usize],
    ) -> Result<Part, ModelError> {
        let name = format!("{}{suffix}", matrix.stem);
        let Some((source, entry)) = self.entries.remove(&name) else {
            return Err(ModelError::TensorMissing { name });
        };
        let Entry {
            dtype,
            shape,
            offset,
            bytes,
        } = entry;
        let Some(element) = elements.iter().find(|e| e.safetensors_name() == dtype) else {
            return Err(ModelError::TensorDtype {
                name,
                got: dtype,
                file: self.label(source),
            });
        };
        if !shape.iter().copied().eq(want.iter().map(|dim| *dim as u64)) {
            return Err(ModelError::TensorShape {
                name,
                got: shape,
                want: want.to_vec(),
                file: self.label(source),
            });
        }
        Ok(Part {
            name,
            element: *element,
            shape: want.to_vec(),
            source,
            offset,
            bytes,
        })
    }
}

struct Matrix<'a> {
    name: &'a str,
    stem: &'a str,
    n: usize,
    k: usize,
}

impl Matrix<'_> {
    fn of(&self, dtype: Dtype, parts: Vec<Part>, form: Form) -> TensorRef {
        TensorRef::several(
            self.name.to_owned(),
            dtype,
            vec![self.n, self.k],
            parts,
            form,
        )
    }

    fn wrong(&self, what: &'static str, got: impl ToString, want: &str) -> ModelError {
        ModelError::Quantised {
            name: self.name.to_owned(),
            what,
            got: got.to_string(),
            want: want.to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "quantised_tests.rs"]
mod tests;
