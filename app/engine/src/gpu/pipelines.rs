//! Compute pipelines by key: kernel name and defines. Compiled once for each device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use assay_shaders::{Defines, expand};

use super::device::Unconfirmed;
use super::{Bound, Gpu};
use crate::EngineError;

/// What selects a pipeline: the kernel's file name and its variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PipelineKey {
    /// Name of the file under `shaders/kernels`.
    pub kernel: &'static str,
    /// The variant.
    pub defines: Defines,
}

/// A compiled kernel and the layout of its one bind group.
pub struct Kernel {
    /// The pipeline.
    pub pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    label: String,
    key: PipelineKey,
}

impl Kernel {
    /// What it was compiled from.
    pub fn key(&self) -> &PipelineKey {
        &self.key
    }
}

#[derive(Default)]
pub(crate) struct Pipelines(Mutex<HashMap<PipelineKey, Arc<Kernel>>>);

impl Pipelines {
    fn get(&self, key: &PipelineKey) -> Result<Option<Arc<Kernel>>, EngineError> {
        Ok(self.0.lock().map_err(poisoned)?.get(key).cloned())
    }

    /// Keeps `kernel`, or what another thread kept under that key meanwhile.
    fn put(&self, key: PipelineKey, kernel: Arc<Kernel>) -> Result<Arc<Kernel>, EngineError> {
        let mut cache = self.0.lock().map_err(poisoned)?;
        Ok(Arc::clone(cache.entry(key).or_insert(kernel)))
    }
}

fn poisoned<T>(_err: PoisonError<T>) -> EngineError {
    EngineError::Device("the pipeline cache is poisoned".to_owned())
}

impl Gpu {
    /// The kernel for `key`, compiled on first use.
    pub async fn kernel(&self, key: &PipelineKey) -> Result<Arc<Kernel>, EngineError> {
        if let Some(found) = self.pipelines.get(key)? {
            return Ok(found);
        }
        let (kernel, asked) = self.compile(key)?;
        self.confirm(asked).await?;
        self.pipelines.put(key.clone(), kernel)
    }

    /// Compiles what is not compiled yet, with all processors: what a driver does for one pipeline it mostly does on one of them.
    #[cfg(all(feature = "parallel", not(target_arch = "wasm32")))]
    pub(crate) async fn compile_all(&self, keys: &[&PipelineKey]) -> Result<(), EngineError> {
        use rayon::prelude::*;
        let mut missing = Vec::new();
        for key in keys {
            if self.pipelines.get(key)?.is_none() && !missing.contains(key) {
                missing.push(*key);
            }
        }
        let compiled: Vec<_> = missing.par_iter().map(|key| self.compile(key)).collect();
        for (key, compiled) in missing.into_iter().zip(compiled) {
            let (kernel, asked) = compiled?;
            self.confirm(asked).await?;
            self.pipelines.put(key.clone(), kernel)?;
        }
        Ok(())
    }

    /// How many are compiled.
    pub fn compiled(&self) -> usize {
        self.pipelines.0.lock().map_or(0, |cache| cache.len())
    }

    fn compile(&self, key: &PipelineKey) -> Result<(Arc<Kernel>, Unconfirmed), EngineError> {
        let text = expand(key.kernel, &key.defines)?;
        let label = format!("{}[{}]", key.kernel, key.defines.label());
        let make = || {
            let module = self
                .device
                .create_shader_module(wgpu::ShaderModuleDescriptor {
                    label: Some(&label),
                    source: wgpu::ShaderSource::Wgsl(text.into()),
                });
            let pipeline = self
                .device
                .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(&label),
                    layout: None,
                    module: &module,
                    entry_point: Some("main"),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        // Every kernel writes its workgroup memory before it reads it.
                        zero_initialize_workgroup_memory: false,
                        ..Default::default()
                    },
                    cache: None,
                });
            let layout = pipeline.get_bind_group_layout(0);
            (pipeline, layout)
        };
        let ((pipeline, layout), asked) = self.validated(&label, make);
        let kernel = Arc::new(Kernel {
            pipeline,
            layout,
            label,
            key: key.clone(),
        });
        Ok((kernel, asked))
    }

    /// Binds a 32-byte slot of `params` at `slot` and the numbered storage buffers, or textures where a kernel reads those.
    pub fn bind<'a, B: Copy + Into<Bound<'a>>>(
        &self,
        kernel: &Kernel,
        params: &wgpu::Buffer,
        slot: u64,
        buffers: &[(u32, B)],
    ) -> wgpu::BindGroup {
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: params,
                offset: slot,
                size: wgpu::BufferSize::new(crate::kernels::PARAM_BYTES),
            }),
        }];
        entries.extend(buffers.iter().map(|(binding, bound)| {
            let bound: Bound<'a> = (*bound).into();
            wgpu::BindGroupEntry {
                binding: *binding,
                resource: bound.into(),
            }
        }));
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&kernel.label),
            layout: &kernel.layout,
            entries: &entries,
        })
    }
}
