//! Synthetic checkpoints: the exact shape, size and type of a real model, with weights from a seed. Their text is noise; their
//! arithmetic costs what the real model's costs, and their activations stay in a sane range.
//!
//! A weight is drawn by its index alone, so blocks are made in parallel and the file does not depend on how many. One 64-bit mix
//! (splitmix64) gives four 16-bit numbers whose sum, centred and scaled, stands for a normal variable: standard deviation as asked,
//! excess kurtosis -0.3, nothing beyond 3.47 deviations. Matrices have deviation 0.9 / sqrt(columns), biases 0.02, norms are
//! uniform in 1 ± 0.1.
mod shapes;

pub use shapes::Shape;

use crate::names::Wanted;
use crate::partial::Partial;
use crate::{Dtype, ModelError, config_json};
use assay_trace::Digest;
use half::f16;
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The most bytes of tensors in one file.
pub const MAX_SHARD_BYTES: u64 = 4 << 30;
/// Elements made at a time by one thread.
const BLOCK: u64 = 1 << 18;
/// Blocks in memory at once.
const BLOCKS_AT_ONCE: u64 = 16;

/// Writes a checkpoint of this shape to the new folder `dir`. It appears whole or not at all; an existing `dir` is left alone.
pub fn write(shape: &Shape, dtype: Dtype, seed: u64, dir: &Path) -> Result<(), ModelError> {
    write_with_progress(shape, dtype, seed, dir, &mut |_, _| {})
}

/// Like [`write()`]; `progress` hears bytes done and bytes in all.
pub fn write_with_progress(
    shape: &Shape,
    dtype: Dtype,
    seed: u64,
    dir: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), ModelError> {
    if !dtype.is_float() {
        return Err(ModelError::Unsupported {
            key: "stored type".to_owned(),
            got: dtype.as_str().to_owned(),
            supported: "`f32`, `f16`, `bf16` in a synthetic checkpoint".to_owned(),
        });
    }
    let create =
        |path: &Path| -> io::Result<Box<dyn Write>> { Ok(Box::new(File::create_new(path)?)) };
    Synth {
        shape,
        dtype,
        seed,
        max_shard_bytes: MAX_SHARD_BYTES,
    }
    .write(dir, &create, progress)
}

type Create<'a> = &'a dyn Fn(&Path) -> io::Result<Box<dyn Write>>;

struct Synth<'a> {
    shape: &'a Shape,
    dtype: Dtype,
    seed: u64,
    max_shard_bytes: u64,
}

impl Synth<'_> {
    fn write(
        &self,
        dir: &Path,
        create: Create,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ModelError> {
        if dir.exists() {
            return Err(ModelError::Exists {
                path: dir.to_owned(),
            });
        }
        let shards = self.plan();
        let total = shards
            .iter()
            .flatten()
            .map(|tensor| self.bytes(tensor))
            .sum();
        let failed = |what: &'static str, path: &Path, err: io::Error| match err.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ModelError::DiskFull {
                wanted: total,
                path: dir.to_owned(),
            },
            _ => ModelError::io(what, path, err),
        };
        let partial =
            Partial::beside(dir).map_err(|err| failed("create a folder beside", dir, err))?;
        let file_name = |index: usize| match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        let write_small = |name: &str, text: &str| {
            let path = partial.path.join(name);
            create(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|err| failed("write", &path, err))
        };
        write_small(
            "config.json",
            &config_json::to_json(&self.shape.config, self.dtype)?,
        )?;
        let (mut done, mut weight_map) = (0, serde_json::Map::new());
        for (index, tensors) in shards.iter().enumerate() {
            let path = partial.path.join(file_name(index));
            let mut wrote = |bytes| {
                done += bytes;
                progress(done, total);
            };
            create(&path)
                .and_then(|file| self.write_shard(tensors, file, &mut wrote))
                .map_err(|err| failed("write", &path, err))?;
            weight_map.extend(
                tensors
                    .iter()
                    .map(|tensor| (tensor.name.clone(), file_name(index).into())),
            );
        }
        if shards.len() > 1 {
            let index = serde_json::json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
            write_small("model.safetensors.index.json", &index.to_string())?;
        }
        partial
            .become_final(dir)
            .map_err(|err| failed("rename the finished folder to", dir, err))
    }

    /// Tensors in forward order, cut into files.
    fn plan(&self) -> Vec<Vec<Wanted>> {
        let mut shards: Vec<Vec<Wanted>> = vec![Vec::new()];
        let mut in_last = 0;
        for tensor in self.shape.tensors() {
            let bytes = self.bytes(&tensor);
            match shards.last_mut() {
                Some(last) if last.is_empty() || in_last + bytes <= self.max_shard_bytes => {
                    last.push(tensor);
                    in_last += bytes;
                }
                _ => {
                    shards.push(vec![tensor]);
                    in_last = bytes;
                }
            }
        }
        shards
    }

    fn bytes(&self, tensor: &Wanted) -> u64 {
        elements(tensor) * self.dtype.row_bytes(1) as u64
    }

    fn write_shard(
        &self,
        tensors: &[Wanted],
        file: Box<dyn Write>,
        wrote: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        header.insert(
            "__metadata__".to_owned(),
            serde_json::json!({ "format": "pt" }),
        );
        for tensor in tensors {
            let begin = end;
            end += self.bytes(tensor);
            let dtype = self.dtype.safetensors_name();
            let entry = serde_json::json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [begin, end] });
            header.insert(tensor.name.clone(), entry);
        }
        let mut header = serde_json::Value::Object(header).to_string();
        header.extend(std::iter::repeat_n(
            ' ',
            header.len().next_multiple_of(8) - header.len(),
        ));
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for tensor in tensors {
            self.write_tensor(tensor, &mut file, wrote)?;
        }
        file.flush()
    }

    fn write_tensor(
        &self,
        tensor: &Wanted,
        file: &mut dyn Write,
        wrote: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let draw = Draw::new(tensor, self.seed);
        let n_elements = elements(tensor);
        let n_blocks = n_elements.div_ceil(BLOCK);
        for first in (0..n_blocks).step_by(BLOCKS_AT_ONCE as usize) {
            let blocks = first..n_blocks.min(first + BLOCKS_AT_ONCE);
            let block = |block: u64| {
                draw.block(
                    block * BLOCK..n_elements.min((block + 1) * BLOCK),
                    self.dtype,
                )
            };
            for bytes in blocks.into_par_iter().map(block).collect::<Vec<_>>() {
                file.write_all(&bytes)?;
                wrote(bytes.len() as u64);
            }
        }
        Ok(())
    }
}

fn elements(tensor: &Wanted) -> u64 {
    tensor.shape.iter().map(|dim| *dim as u64).product()
}

/// How the elements of one tensor are drawn.
struct Draw {
    key: u64,
    mean: f32,
    scale: f32,
    /// A norm is uniform; everything else is near normal.
    uniform: bool,
}

impl Draw {
    fn new(tensor: &Wanted, seed: u64) -> Self {
        /// Deviation of the sum of four 16-bit numbers: 65536 / sqrt(3).
        const DEVIATION: f32 = 37_837.227;
        let Digest(digest) = Digest::of(&[&seed.to_le_bytes(), tensor.name.as_bytes()].concat());
        let mut key = [0; 8];
        key.copy_from_slice(&digest[..8]);
        let uniform = tensor.shape.len() == 1 && tensor.name.ends_with("weight");
        let deviation = match tensor.shape.as_slice() {
            [_, cols] => 0.9 / (*cols as f32).sqrt(),
            _ => 0.02,
        };
        let (mean, scale) = if uniform {
            (1.0, 0.1 / 32_768.0)
        } else {
            (0.0, deviation / DEVIATION)
        };
        Self {
            key: u64::from_le_bytes(key),
            mean,
            scale,
            uniform,
        }
    }

    fn element(&self, index: u64) -> f32 {
        let mixed = splitmix64(
            self.key
                .wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        );
        let lane = |lane: u32| (mixed >> (16 * lane)) as u16 as i32;
        let centred = if self.uniform {
            lane(0) - 32_768
        } else {
            lane(0) + lane(1) + lane(2) + lane(3) - 131_070
        };
        self.mean + centred as f32 * self.scale
    }

    fn block(&self, range: std::ops::Range<u64>, dtype: Dtype) -> Vec<u8> {
        match dtype {
            Dtype::F16 => self.encoded(range, |value| f16::from_f32(value).to_le_bytes()),
            Dtype::BF16 => self.encoded(range, |value| bf16_bits(value).to_le_bytes()),
            _ => self.encoded(range, f32::to_le_bytes),
        }
    }

    fn encoded<const N: usize>(
        &self,
        range: std::ops::Range<u64>,
        encode: impl Fn(f32) -> [u8; N],
    ) -> Vec<u8> {
        let mut bytes = vec![0; (range.end - range.start) as usize * N];
        for (slot, index) in bytes.as_chunks_mut().0.iter_mut().zip(range) {
            *slot = encode(self.element(index));
        }
        bytes
    }
}

/// A finite f32 rounded to bf16, ties to even; without the NaN branch of the `half` crate, which costs most of a block's time.
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

fn splitmix64(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[path = "synth_tests.rs"]
mod tests;
