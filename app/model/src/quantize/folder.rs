//! A Hugging Face folder with 8-bit or 4-bit matrices in its layers.
use super::round::{self, ZERO};
use super::{Target, check, each_row};
use crate::partial::Partial;
use crate::{Dtype, Model, ModelError, Role, TensorRef, config_json};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes the new folder `dir`, whole or not at all; `files` go into it as they are. `progress` hears bytes of the original that are done,
/// and all of them.
///
/// # Errors
/// Of an original that is no float checkpoint in Hugging Face's order, whose rows do not fit, or that cannot be read or written.
pub fn write_folder(
    model: &Model,
    target: Target,
    dir: &Path,
    files: &[(String, Vec<u8>)],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), ModelError> {
    check(model)?;
    if dir.exists() {
        return Err(ModelError::Exists {
            path: dir.to_owned(),
        });
    }
    let entries = plan(model, target)?;
    let (header, total) = (header(&entries), model.bytes());
    let partial =
        Partial::beside(dir).map_err(|err| ModelError::io("create a folder beside", dir, err))?;
    let config = config(model, target)?;
    let small = [("config.json".to_owned(), config.into_bytes())];
    for (name, bytes) in small.iter().chain(files) {
        let path = partial.path.join(name);
        std::fs::write(&path, bytes).map_err(|err| ModelError::io("write", &path, err))?;
    }
    let path = partial.path.join("model.safetensors");
    let failed = |err: io::Error| ModelError::io("write", &path, err);
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(&path).map_err(failed)?);
    file.write_all(&header).map_err(failed)?;
    let mut done = 0;
    for entry in &entries {
        entry.write(model, &mut |bytes| file.write_all(bytes).map_err(failed))?;
        done += entry.of_original;
        progress(done, total);
    }
    file.flush().map_err(failed)?;
    drop(file);
    partial
        .become_final(dir)
        .map_err(|err| ModelError::io("rename the finished folder to", dir, err))
}

/// One tensor to write.
struct Entry<'a> {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: u64,
    from: &'a TensorRef,
    what: What,
    /// Bytes of the original that are done with it.
    of_original: u64,
}

#[derive(Clone, Copy)]
enum What {
    Copy,
    Int8,
    Int8Scales,
    Int4 { group: usize },
    Int4Zeros,
    Int4Scales { group: usize },
    Groups { group: usize },
}

fn plan(model: &Model, target: Target) -> Result<Vec<Entry<'_>>, ModelError> {
    let matrices: Vec<&TensorRef> = (0..model.config().layers)
        .flat_map(|layer| crate::LayerRole::LINEARS.map(|role| Role::Layer(layer, role)))
        .filter_map(|role| model.tensor(role))
        .collect();
    let mut entries = Vec::new();
    for from in model.tensors() {
        let (n, k) = (from.rows(), from.cols());
        let mut add = |name: String, dtype, shape: Vec<usize>, size: usize, what| {
            let bytes = shape.iter().map(|dim| *dim as u64).product::<u64>() * size as u64;
            let of_original = match what {
                What::Copy | What::Int8 | What::Int4 { .. } => from.bytes,
                _ => 0,
            };
            entries.push(Entry {
                name,
                dtype,
                shape,
                bytes,
                from,
                what,
                of_original,
            });
        };
        let stem = from.name.strip_suffix(".weight").unwrap_or(&from.name);
        match target {
            _ if !matrices.contains(&from) => {
                let size = from.dtype.row_bytes(1);
                let dtype = from.dtype.safetensors_name();
                add(
                    from.name.clone(),
                    dtype,
                    from.shape.clone(),
                    size,
                    What::Copy,
                );
            }
            Target::Int4Gptq { group } => {
                let fits = group > 0 && group.is_multiple_of(8) && k.is_multiple_of(group);
                if !fits || !n.is_multiple_of(8) {
                    return Err(ModelError::Quantised {
                        name: from.name.clone(),
                        what: "the size of a group",
                        got: group.to_string(),
                        want: format!(
                            "a multiple of 8 that divides its {k} columns, and rows ({n}) in eights"
                        ),
                    });
                }
                let groups = k / group;
                add(
                    format!("{stem}.qweight"),
                    "I32",
                    vec![k / 8, n],
                    4,
                    What::Int4 { group },
                );
                add(
                    format!("{stem}.qzeros"),
                    "I32",
                    vec![groups, n / 8],
                    4,
                    What::Int4Zeros,
                );
                add(
                    format!("{stem}.scales"),
                    "F16",
                    vec![groups, n],
                    2,
                    What::Int4Scales { group },
                );
                add(
                    format!("{stem}.g_idx"),
                    "I32",
                    vec![k],
                    4,
                    What::Groups { group },
                );
            }
            _ => {
                add(from.name.clone(), "I8", vec![n, k], 1, What::Int8);
                add(
                    format!("{}_scale", from.name),
                    "F32",
                    vec![n, 1],
                    4,
                    What::Int8Scales,
                );
            }
        }
    }
    Ok(entries)
}

fn header(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut map, mut end) = (Map::new(), 0);
    map.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    for entry in entries {
        let begin = end;
        end += entry.bytes;
        let value =
            json!({ "dtype": entry.dtype, "shape": entry.shape, "data_offsets": [begin, end] });
        map.insert(entry.name.clone(), value);
    }
    let mut text = Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), ModelError>;

impl Entry<'_> {
    fn write(&self, model: &Model, sink: Sink<'_>) -> Result<(), ModelError> {
        let (n, k) = (self.from.rows(), self.from.cols());
        match self.what {
            What::Copy => {
                const STEP: u64 = 1 << 20;
                for at in (0..self.from.bytes).step_by(STEP as usize) {
                    let len = STEP.min(self.from.bytes - at) as usize;
                    sink(&model.read(self.from, at, len)?)?;
                }
                Ok(())
            }
            What::Int8 => each_row(model, self.from, |_, row| {
                let mut quants = Vec::with_capacity(row.len());
                round::int8(row, &mut quants);
                sink(&quants)
            }),
            What::Int8Scales => each_row(model, self.from, |_, row| {
                let scale = round::int8(row, &mut Vec::with_capacity(row.len()));
                sink(&scale.to_le_bytes())
            }),
            What::Int4 { group } => {
                // Words of eight columns, across rows.
                let mut words = vec![0u32; k / 8 * n];
                each_row(model, self.from, |r, row| {
                    for (g, values) in row.chunks_exact(group).enumerate() {
                        let (_, quants) = round::int4(values);
                        for (i, q) in quants.enumerate() {
                            let column = g * group + i;
                            words[column / 8 * n + r] |= q << (4 * (column % 8));
                        }
                    }
                    Ok(())
                })?;
                words.chunks(1 << 16).try_for_each(|words| {
                    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    sink(&bytes)
                })
            }
            // Stored less one.
            What::Int4Zeros => sink(&vec![((ZERO - 1) * 0x11) as u8; self.bytes as usize]),
            What::Int4Scales { group } => {
                let mut scales = vec![half::f16::ZERO; k / group * n];
                each_row(model, self.from, |r, row| {
                    for (g, values) in row.chunks_exact(group).enumerate() {
                        scales[g * n + r] = round::int4(values).0;
                    }
                    Ok(())
                })?;
                let bytes: Vec<u8> = scales
                    .iter()
                    .flat_map(|scale| scale.to_le_bytes())
                    .collect();
                sink(&bytes)
            }
            What::Groups { group } => {
                let groups = (0..k).flat_map(|column| ((column / group) as u32).to_le_bytes());
                sink(&groups.collect::<Vec<u8>>())
            }
        }
    }
}

fn config(model: &Model, target: Target) -> Result<String, ModelError> {
    let dtype = model
        .tensor(Role::FinalNorm)
        .map_or(Dtype::F16, |norm| norm.dtype);
    let text = config_json::to_json(model.config(), dtype)?;
    let json_error = |source| ModelError::Json {
        file: "`config.json`",
        source,
    };
    let mut config: Value = serde_json::from_str(&text).map_err(json_error)?;
    config["quantization_config"] = match target {
        Target::Int4Gptq { group } => json!({
            "quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": false, "sym": true, "checkpoint_format": "gptq",
        }),
        _ => json!({
            "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed", "ignore": ["lm_head"],
            "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false},
                "input_activations": null, "output_activations": null,
            }},
        }),
    };
    serde_json::to_string_pretty(&config).map_err(json_error)
}
