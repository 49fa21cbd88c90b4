//! Keys and values on a device: where they are for all positions, and how a chunk's get there.
//!
//! Where attention reads them from textures (`attention_subgroup`), a chunk's keys and values are written to rows of their own first, and a
//! step puts those into the textures.

use crate::gpu::Memory;
use crate::kernels::{attention, kv_write};
use crate::plan::{Draft, Work};
use crate::{EngineError, Gpu, Numerics, Rounding};
use assay_model::ModelConfig;

/// What makes layers' caches, all alike.
pub(crate) struct KvCaches {
    capacity: usize,
    /// A chunk's keys and values, [chunk, kv_dim] each, where caches are textures.
    rows: Option<[wgpu::Buffer; 2]>,
}

/// Keys and values of one layer, for all positions.
pub(crate) struct KvCache {
    /// Two buffers, [capacity, kv_dim], or two textures with 2^fold positions in a row of texels.
    caches: [Memory; 2],
    fold: u32,
    /// Where kernels write a chunk's, [capacity or chunk, kv_dim]: the caches if they are buffers, else what all layers share.
    written: [wgpu::Buffer; 2],
}

/// The row that kernels write the keys and values of a chunk's first token to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstRow {
    /// That of its position: they write the cache.
    Position,
    /// The first.
    Zero,
}

impl FirstRow {
    pub fn at(self, pos0: u32) -> u32 {
        match self {
            Self::Position => pos0,
            Self::Zero => 0,
        }
    }
}

impl KvCaches {
    /// For `capacity` positions, of which up to `chunk` come at once.
    pub async fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        capacity: usize,
        chunk: usize,
    ) -> Result<Self, EngineError> {
        let kernel = attention::choose(gpu.info.variants.attention, config.head_dim);
        let rows = match kernel.is_texels() {
            true => {
                let bytes = (chunk * config.kv_dim() * 4) as u64;
                let keys = gpu.storage("a chunk's keys", bytes).await?;
                Some([keys, gpu.storage("a chunk's values", bytes).await?])
            }
            false => None,
        };
        Ok(Self { capacity, rows })
    }

    /// One layer's.
    pub async fn layer(&self, gpu: &Gpu, config: &ModelConfig) -> Result<KvCache, EngineError> {
        let row_bytes = config.kv_dim() * 4;
        let Some(rows) = &self.rows else {
            let bytes = (self.capacity * row_bytes) as u64;
            let keys = gpu.storage("key cache", bytes).await?;
            let written = [keys, gpu.storage("value cache", bytes).await?];
            return Ok(KvCache {
                caches: written.clone().map(Memory::Buffer),
                fold: 0,
                written,
            });
        };
        let fold = kv_write::fold(self.capacity, gpu.most_texels());
        let (height, width) = (self.capacity.div_ceil(1 << fold), row_bytes << fold);
        let keys = gpu.texels("key cache", height, width).await?;
        let caches = [keys, gpu.texels("value cache", height, width).await?];
        Ok(KvCache {
            caches: caches.map(Memory::Texels),
            fold,
            written: rows.clone(),
        })
    }
}

impl KvCache {
    /// Where kernels write a chunk's keys and values.
    pub fn written(&self) -> [&wgpu::Buffer; 2] {
        self.written.each_ref()
    }

    /// And from which row on.
    pub fn first_row(&self) -> FirstRow {
        match self.is_texels() {
            true => FirstRow::Zero,
            false => FirstRow::Position,
        }
    }

    fn is_texels(&self) -> bool {
        self.caches.iter().all(Memory::is_texels)
    }

    /// The step that puts a chunk's keys and values from `rows` into textures, if the caches are that.
    pub fn put_in_texels<'a>(
        &'a self,
        [k, v]: [&'a wgpu::Buffer; 2],
        config: &ModelConfig,
    ) -> Option<Draft<'a>> {
        if !self.is_texels() {
            return None;
        }
        let work = Work::KvToTexels {
            width: config.kv_dim() as u32,
            fold: self.fold,
        };
        let [keys, values] = self.caches.each_ref().map(Memory::bound);
        let bound = vec![(1, k.into()), (2, v.into()), (3, keys), (4, values)];
        Some(Draft::new(kv_write::texels_key(), bound, work))
    }

    /// Attention of the chunk's queries `q`.
    pub fn attention<'a>(
        &'a self,
        gpu: &Gpu,
        config: &ModelConfig,
        (numerics, rounding): (Numerics, Rounding),
        q: &'a wgpu::Buffer,
        y: &'a wgpu::Buffer,
    ) -> Draft<'a> {
        let kernel = attention::choose(gpu.info.variants.attention, config.head_dim);
        let [keys, values] = self.caches.each_ref().map(Memory::bound);
        let work = Work::Attention {
            kernel,
            heads: config.heads as u32,
            kv_heads: config.kv_heads as u32,
            head_dim: config.head_dim as u32,
            fold: self.fold,
        };
        let key = attention::key(kernel, config.head_dim, numerics, rounding);
        let bound = vec![(1, q.into()), (2, keys), (3, values), (4, y.into())];
        Draft::new(key, bound, work)
    }
}
