//! The embedded kernel texts.

/// Names of all kernels: those of a layer in the order in which it runs them, then those of audits.
pub const KERNELS: &[&str] = &[
    "embed",
    "rmsnorm",
    "matmul_tile",
    "matmul_shared",
    "matvec",
    "rope_kv",
    "attention_row",
    "attention_group",
    "silu_mul",
    "add",
    "row_energy",
    "freivalds_residual",
    "project_weights",
    "matmul_i8",
];

/// The raw text of a kernel, or of an include named `include/NAME`.
pub fn source(name: &str) -> Option<&'static str> {
    Some(match name {
        "embed" => include_str!("../kernels/embed.wgsl"),
        "rmsnorm" => include_str!("../kernels/rmsnorm.wgsl"),
        "matmul_tile" => include_str!("../kernels/matmul_tile.wgsl"),
        "matmul_shared" => include_str!("../kernels/matmul_shared.wgsl"),
        "matvec" => include_str!("../kernels/matvec.wgsl"),
        "rope_kv" => include_str!("../kernels/rope_kv.wgsl"),
        "attention_row" => include_str!("../kernels/attention_row.wgsl"),
        "attention_group" => include_str!("../kernels/attention_group.wgsl"),
        "silu_mul" => include_str!("../kernels/silu_mul.wgsl"),
        "add" => include_str!("../kernels/add.wgsl"),
        "row_energy" => include_str!("../kernels/row_energy.wgsl"),
        "freivalds_residual" => include_str!("../kernels/freivalds_residual.wgsl"),
        "project_weights" => include_str!("../kernels/project_weights.wgsl"),
        "matmul_i8" => include_str!("../kernels/matmul_i8.wgsl"),
        "include/numerics" => include_str!("../include/numerics.wgsl"),
        "include/lane_energy" => include_str!("../include/lane_energy.wgsl"),
        "include/weights_binding" => include_str!("../include/weights_binding.wgsl"),
        "include/rounding" => include_str!("../include/rounding.wgsl"),
        "include/weights" => include_str!("../include/weights.wgsl"),
        "include/matmul_bindings" => include_str!("../include/matmul_bindings.wgsl"),
        "include/attention_bindings" => include_str!("../include/attention_bindings.wgsl"),
        _ => return None,
    })
}
