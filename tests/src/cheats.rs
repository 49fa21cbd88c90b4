//! Altered copies of a demo model: what a cheating prover runs in place of the model that it claims.

use std::path::Path;
use std::sync::Arc;

use assay_model::Model;
use half::bf16;
use safetensors::SafeTensors;

/// What is done to the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cheat {
    /// Nothing: the honest copy.
    None,
    /// Symmetric int8, one scale a row: the finest common quantisation.
    Int8,
    /// Symmetric int4, one scale for 32 weights.
    Int4,
    /// Float8 (e4m3), one scale a row.
    Fp8,
    /// Every weight moved by up to 1 %, as a light fine-tune moves them.
    FineTune,
    /// All matrices permuted: a model of the same shape that has nothing in common with the claimed one.
    Other,
    /// This layer adds nothing to the residual stream.
    SkipLayer(usize),
}

impl Cheat {
    /// Its name in a profile.
    pub fn name(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Int8 => "int8".to_owned(),
            Self::Int4 => "int4".to_owned(),
            Self::Fp8 => "fp8".to_owned(),
            Self::FineTune => "fine_tune_1_percent".to_owned(),
            Self::Other => "other_model".to_owned(),
            Self::SkipLayer(_) => "layer_skip".to_owned(),
        }
    }
}

/// The demo model's folder in this repository.
pub fn demo_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/model/demo-llama")
}

/// A copy of the demo model with `cheat` done to it.
pub fn demo(cheat: Cheat) -> Model {
    altered(&demo_folder(), cheat)
}

/// A copy of the model in `folder` (one file of bf16 weights, and a tokenizer) with `cheat` done to it.
pub fn altered(folder: &Path, cheat: Cheat) -> Model {
    let read = |name: &str| std::fs::read(folder.join(name)).expect("the model's file is there");
    let mut weights = read("model.safetensors");
    alter(&mut weights, cheat);
    Model::from_memory(
        &read("config.json"),
        Some(&read("generation_config.json")),
        vec![Arc::new(weights)],
        Some(&read("tokenizer.json")),
    )
    .expect("the altered model still loads")
}

fn alter(file: &mut [u8], cheat: Cheat) {
    let copy = file.to_vec();
    let (header, metadata) = SafeTensors::read_metadata(&copy).expect("the demo model parses");
    for (name, info) in metadata.tensors() {
        let is_matrix = info.shape.len() == 2;
        // A bias is altered only where a layer is skipped.
        let (rows, cols) = match info.shape[..] {
            [rows, cols] => (rows, cols),
            _ if matches!(cheat, Cheat::SkipLayer(_)) => (1, info.shape[0]),
            _ => continue,
        };
        let span = 8 + header + info.data_offsets.0..8 + header + info.data_offsets.1;
        let mut values: Vec<f32> = copy[span.clone()]
            .chunks_exact(2)
            .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect();
        match cheat {
            Cheat::None => {}
            Cheat::Int8 => values
                .chunks_exact_mut(cols)
                .for_each(|row| round_to(row, 127.0)),
            Cheat::Int4 => values
                .chunks_exact_mut(32)
                .for_each(|group| round_to(group, 7.0)),
            Cheat::Fp8 => values.chunks_exact_mut(cols).for_each(round_to_fp8),
            Cheat::FineTune => {
                for (i, v) in values.iter_mut().enumerate() {
                    *v *= 1.0 + 0.01 * (i as f32 * 12.9898).sin();
                }
            }
            Cheat::Other => values.rotate_left(rows / 2 * cols + cols / 3),
            Cheat::SkipLayer(layer) => {
                let ends = ["o_proj", "down_proj", "out_proj", "fc2"];
                let of_layer = name.contains(&format!("layers.{layer}."));
                if of_layer && ends.iter().any(|end| name.contains(end)) {
                    values.fill(0.0);
                } else if !is_matrix {
                    continue;
                }
            }
        }
        for (b, v) in file[span].chunks_exact_mut(2).zip(values) {
            b.copy_from_slice(&bf16::from_f32(v).to_le_bytes());
        }
    }
}

fn round_to(group: &mut [f32], steps: f32) {
    let largest = group.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let scale = largest / steps;
    if scale > 0.0 {
        group
            .iter_mut()
            .for_each(|v| *v = (*v / scale).round() * scale);
    }
}

/// e4m3: four exponent bits, three of mantissa, largest 448.
fn round_to_fp8(row: &mut [f32]) {
    let largest = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let scale = largest / 448.0;
    if scale == 0.0 {
        return;
    }
    for v in row {
        let x = *v / scale;
        let exponent = x.abs().max(1e-30).log2().floor().max(-6.0);
        let step = (exponent - 3.0).exp2();
        *v = (x / step).round() * step * scale;
    }
}
