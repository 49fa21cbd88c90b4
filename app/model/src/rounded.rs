//! Weights as a cheaper format would hold them: rounded as that format rounds and decoded again, so that any device can run them.
//!
//! To the nearest, without calibration data. GPTQ and AWQ choose otherwise, and so are other models than these.

use half::f16;
use serde::{Deserialize, Serialize};

use crate::{Model, ModelError, Role, TensorRef};

/// Weights that share a scale in [`Format::Int4`], as AWQ and GPTQ checkpoints usually have; rows that are no multiple end in a shorter
/// group.
pub const INT4_GROUP: usize = 128;
/// Weights that share a scale in ggml's formats.
const GGML_BLOCK: usize = 32;

/// A format for the matrices of layers. Embedding and output projection stay, as is usual; norms and biases, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Symmetric 8 bits, one scale a row: the finest common quantisation.
    Int8,
    /// Asymmetric 4 bits with a zero point, one scale for [`INT4_GROUP`] weights.
    Int4,
    /// Float8 (e4m3), one scale a row.
    Fp8,
    /// ggml's Q8_0: symmetric 8 bits, an f16 scale for 32 weights.
    Q8_0,
    /// ggml's Q4_0: 4 bits from -8 to 7, an f16 scale for 32 weights.
    Q4_0,
}

impl Format {
    /// All of them, the finest first.
    pub const ALL: [Self; 5] = [Self::Q8_0, Self::Int8, Self::Fp8, Self::Q4_0, Self::Int4];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Fp8 => "fp8",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Rounds a tensor's `values` in place, if it is one that this format would hold.
    pub fn round(self, role: Role, tensor: &TensorRef, values: &mut [f32]) {
        let is_table = matches!(role, Role::Embedding | Role::LmHead | Role::Positions);
        if is_table || tensor.shape.len() != 2 {
            return;
        }
        let rows = values.chunks_mut(tensor.cols().max(1));
        match self {
            Self::Int8 => rows.for_each(|row| symmetric(row, 127.0)),
            Self::Fp8 => rows.for_each(to_fp8),
            Self::Int4 => rows
                .flat_map(|row| row.chunks_mut(INT4_GROUP))
                .for_each(to_int4),
            Self::Q8_0 => rows
                .flat_map(|row| row.chunks_mut(GGML_BLOCK))
                .for_each(to_q8_0),
            Self::Q4_0 => rows
                .flat_map(|row| row.chunks_mut(GGML_BLOCK))
                .for_each(to_q4_0),
        }
    }
}

impl Model {
    /// A copy whose layers' matrices are as `format` would hold them; see [`Model::altered`].
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn rounded(&self, format: Format) -> Result<Self, ModelError> {
        self.altered(|role, tensor, values| format.round(role, tensor, values))
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}

/// To multiples of a `steps`-th of the largest magnitude.
pub fn symmetric(group: &mut [f32], steps: f32) {
    let scale = largest(group) / steps;
    if scale > 0.0 {
        group
            .iter_mut()
            .for_each(|v| *v = (*v / scale).round() * scale);
    }
}

fn to_int4(group: &mut [f32]) {
    let (low, high) = group
        .iter()
        .fold((0.0_f32, 0.0_f32), |(l, h), v| (l.min(*v), h.max(*v)));
    let scale = (high - low) / 15.0;
    if scale > 0.0 {
        let zero = (-low / scale).round();
        group.iter_mut().for_each(|v| {
            *v = ((*v / scale + zero).round().clamp(0.0, 15.0) - zero) * scale;
        });
    }
}

/// e4m3: four exponent bits, three of mantissa, largest 448.
fn to_fp8(row: &mut [f32]) {
    let scale = largest(row) / 448.0;
    if scale > 0.0 {
        row.iter_mut().for_each(|v| *v = fp8(*v / scale) * scale);
    }
}

/// The nearest number of e4m3; beyond the largest, that.
pub fn fp8(x: f32) -> f32 {
    let exponent = x.abs().max(1e-30).log2().floor().max(-6.0);
    let step = (exponent - 3.0).exp2();
    ((x / step).round_ties_even() * step).clamp(-448.0, 448.0)
}

fn to_q8_0(block: &mut [f32]) {
    let d = largest(block) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let stored = f16::from_f32(d).to_f32();
    block
        .iter_mut()
        .for_each(|v| *v = (*v * inverse).round() * stored);
}

fn to_q4_0(block: &mut [f32]) {
    let extreme = block
        .iter()
        .fold(0.0_f32, |e, v| if v.abs() > e.abs() { *v } else { e });
    let d = extreme / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let stored = f16::from_f32(d).to_f32();
    block
        .iter_mut()
        .for_each(|v| *v = ((*v * inverse + 8.5).floor().min(15.0) - 8.0) * stored);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_hold_what_they_can_hold() {
        for exact in [0.0, 1.0, -1.125, 448.0, 0.001_953_125, 240.0] {
            assert_eq!(fp8(exact), exact);
        }
        assert_eq!((fp8(500.0), fp8(1.06), fp8(17.0)), (448.0, 1.0, 16.0));
        let mut row = [1.0, -0.5, 0.25, 0.0];
        symmetric(&mut row, 127.0);
        assert!((row[1] + 0.5).abs() < 0.5 / 127.0 && row[0] == 1.0);
        let mut group: Vec<f32> = (0..16).map(|i| i as f32 - 7.0).collect();
        let before = group.clone();
        to_int4(&mut group);
        assert_eq!(group, before, "sixteen levels hold sixteen values");
        let mut block: Vec<f32> = (0..32).map(|i| (i % 16) as f32 - 8.0).collect();
        let before = block.clone();
        to_q4_0(&mut block);
        assert_eq!(block, before, "-8 to 7 is what Q4_0 has");
        to_int4(&mut [0.0; 4]);
        to_q4_0(&mut [0.0; 4]);
        to_q8_0(&mut [0.0; 4]);
    }

    #[cfg(all(feature = "demo", feature = "native"))]
    #[test]
    fn ggmls_formats_are_those_of_quantised_copies() {
        use crate::quantize::{Target, write_gguf};

        let model = Model::demo().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (format, target) in [(Format::Q8_0, Target::Q8_0), (Format::Q4_0, Target::Q4_0)] {
            let path = folder.path().join(format!("{}.gguf", format.name()));
            let mut file = std::fs::File::create_new(&path).unwrap();
            write_gguf(&model, target, None, &mut file, &mut |_, _| {}).unwrap();
            let copy = Model::open(&path).unwrap();
            let rounded = model.rounded(format).unwrap();
            let mut matrices = 0;
            for (role, tensor) in &rounded.tensors {
                let is_table = matches!(role, Role::Embedding | Role::LmHead);
                if is_table || tensor.shape.len() != 2 {
                    continue;
                }
                // A GGUF file has q and k in another order of rows; the others stand as they are.
                let of_copy = copy.tensors.get(role).unwrap();
                let (a, b) = (rounded.read_f32(tensor), copy.read_f32(of_copy));
                let (mut a, mut b) = (a.unwrap(), b.unwrap());
                let name = &tensor.name;
                if name.contains("q_proj") || name.contains("k_proj") {
                    a.sort_by(f32::total_cmp);
                    b.sort_by(f32::total_cmp);
                }
                assert!(a == b, "{name} as {}", format.name());
                matrices += 1;
            }
            assert_eq!(matrices, 7 * model.config().layers);
        }
    }
}
