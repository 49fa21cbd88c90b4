//! Compute pipelines by key: kernel name and defines. Compiled once for each device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use assay_shaders::{Defines, expand};

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
}

#[derive(Default)]
pub(crate) struct Pipelines(Mutex<HashMap<PipelineKey, Arc<Kernel>>>);

impl Gpu {
    /// The kernel for `key`, compiled on first use.
    pub async fn kernel(&self, key: &PipelineKey) -> Result<Arc<Kernel>, EngineError> {
        let poisoned = || EngineError::Device("the pipeline cache is poisoned".to_owned());
        if let Some(found) = self.pipelines.0.lock().map_err(|_err| poisoned())?.get(key) {
            return Ok(Arc::clone(found));
        }
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
        let (pipeline, layout) = self.validated(&label, make).await?;
        let kernel = Arc::new(Kernel {
            pipeline,
            layout,
            label,
        });
        self.pipelines
            .0
            .lock()
            .map_err(|_err| poisoned())?
            .insert(key.clone(), Arc::clone(&kernel));
        Ok(kernel)
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
