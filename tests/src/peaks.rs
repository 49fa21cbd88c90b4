//! What an adapter can do at most: multiply-adds in registers, and bytes read from memory.

use assay_engine::gpu::{Bound, Gpu, TEXEL_BYTES};

use crate::timing::{median, submit};

/// Bytes that are read to measure bandwidth: more than caches hold.
const READ: usize = 256 << 20;

/// Floating point operations a second of independent chains of multiply-adds in every invocation: the most that any number of chains and of
/// steps an iteration gives. Few chains wait for one another, and many do not fit into registers; few steps hide behind what an iteration
/// costs (on llvmpipe a blend and a move for each variable that it changes), and many do not fit where decoded instructions are kept.
pub fn multiply_adds(gpu: &Gpu) -> f64 {
    let groups: u32 = if gpu.info.software { 64 } else { 4096 };
    let y = pollster::block_on(gpu.storage("peak", u64::from(groups) * 256)).expect("memory");
    let of = |chains: u32, steps: u32| {
        let each = |text: &dyn Fn(u32) -> String| (0..chains).map(text).collect::<String>();
        let iterations = 4096 / steps;
        let text = format!(
            "@group(0) @binding(1) var<storage, read_write> y: array<f32>;
             @compute @workgroup_size(64)
             fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
                 let b = f32(id.x) * 1e-9 + 0.999;
                 let c = f32(id.x) * 1e-9 + 0.001;
                 {}
                 for (var i = 0u; i < {iterations}u; i = i + 1u) {{ {} }}
                 y[id.x] = 0.0{};
             }}",
            each(&|i| format!("var a{i} = 0.{i};")),
            each(&|i| format!("a{i} = a{i} * b + c;")).repeat(steps as usize),
            each(&|i| format!(" + a{i}")),
        );
        let seconds = timed(gpu, &text, &[(1, (&y).into())], groups);
        f64::from(groups) * 64.0 * 4096.0 * f64::from(chains) * 2.0 / seconds
    };
    let all = [8, 16, 24].map(|chains| [1, 4, 8].map(|steps| of(chains, steps)));
    all.into_iter().flatten().fold(0.0, f64::max)
}

/// Bytes a second, read once in vectors of 16, from a buffer or, where that is faster, from a texture: what weights lie in.
pub fn bandwidth(gpu: &Gpu) -> f64 {
    let most = gpu.most_texels().min(4096);
    let bytes = READ
        .min(gpu.info.max_binding as usize)
        .min(most * most * TEXEL_BYTES);
    let texels = bytes / TEXEL_BYTES;
    // Neighbouring invocations read neighbouring texels, and each reads a row's worth.
    let width = most.min(texels / 64);
    let rows = texels / width;
    let text = |w: &str, load: &str| {
        format!(
            "@group(0) @binding(1) var<storage, read_write> y: array<u32>;
             @group(0) @binding(2) {w}
             @compute @workgroup_size(64)
             fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
                 var sum = vec4<u32>(0u);
                 for (var i = 0u; i < {width}u; i = i + 64u) {{
                     let column = i + (id.x & 63u);
                     let row = id.x >> 6u;
                     sum = sum ^ {load};
                 }}
                 y[id.x] = sum.x ^ sum.y ^ sum.z ^ sum.w;
             }}"
        )
    };
    let y = pollster::block_on(gpu.storage("sums", rows as u64 * 256)).expect("memory");
    let data = vec![0x3c_u8; rows * width * TEXEL_BYTES];
    let seconds = |text: &str, w: Bound<'_>| {
        let bindings = [(1, (&y).into()), (2, w)];
        timed(gpu, text, &bindings, rows as u32)
    };
    let of_buffer = {
        let w = pollster::block_on(gpu.storage_with("read", &data)).expect("memory");
        let text = text(
            "var<storage, read> w: array<vec4<u32>>;",
            &format!("w[row * {width}u + column]"),
        );
        seconds(&text, (&w).into())
    };
    let of_texture = if gpu.info.variants.reads_texels() {
        let row_bytes = width * TEXEL_BYTES;
        let w = pollster::block_on(gpu.texels_with("read", row_bytes, &data)).expect("memory");
        let text = text(
            "var w: texture_storage_2d<rgba32uint, read>;",
            "textureLoad(w, vec2<u32>(column, row))",
        );
        seconds(&text, (&w).into())
    } else {
        f64::MAX
    };
    data.len() as f64 / of_buffer.min(of_texture)
}

fn timed(gpu: &Gpu, text: &str, bindings: &[(u32, Bound<'_>)], groups: u32) -> f64 {
    let module = gpu
        .device
        .create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("peak"),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
    let pipeline = gpu
        .device
        .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("peak"),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
    let entries: Vec<_> = bindings
        .iter()
        .map(|(binding, bound)| wgpu::BindGroupEntry {
            binding: *binding,
            resource: (*bound).into(),
        })
        .collect();
    let bind = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    median(7, || submit(gpu, &pipeline, &bind, [groups, 1, 1], 1))
}
