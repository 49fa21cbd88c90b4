// Bindings and epilogue of the products with an MLP's selected neurons (sparse_rows, sparse_rows_lanes, sparse_rows_texels).
//   0 params  uniform
//   1 x       f32 [.., k]       activations; rows x_row .. x_row + rows
//   2 w       any [n, k]        the weights of `up`, stored type, a neuron a row; with SLOTS [capacity, k], a slot a row; with TEXELS a
//                               texture [n, k / 8] of eight 16-bit weights a texel
//   3 g       any               the weights of the gate, like w: GATED
//   4 gate    f32 [rows, n]     the gate's values, made densely: WITH_GATE
//   5 bias    f32 [n]           of `up`; with GATED [2, n], the gate's first: BIAS
//   6 list, 7 starts            include/sparse_list.wgsl
//   8 y       f32 [rows, n]     written only at the neurons of the row's tile
struct Params {
    zero: u32,      // always 0, unknown to the compiler
    rows: u32,      // rows of y
    n: u32,         // neurons, columns of y
    k: u32,         // columns of x and w
    segments: u32,  // segments of 256 neurons
    x_row: u32,     // first row of x
    unused0: u32,
    unused1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
#if TEXELS
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
#include "weights_binding"
@group(0) @binding(3) var g: texture_storage_2d<rgba32uint, read>;
#else
#if VEC
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#endif
#if WIDE
// Eight 16-bit weights a load, where rows start at multiples of eight: llvmpipe loads lane by lane, and most of what a load costs there
// does not depend on its width. Of include/weights.wgsl only first4 and last4 are for it: w4 and w1 count in another width.
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> g: array<vec4<u32>>;
#else
#include "weights_binding"
#if W_F32
#if VEC
@group(0) @binding(3) var<storage, read> g: array<vec4<f32>>;
#else
@group(0) @binding(3) var<storage, read> g: array<f32>;
#endif
#else
#if VEC
@group(0) @binding(3) var<storage, read> g: array<vec2<u32>>;
#else
@group(0) @binding(3) var<storage, read> g: array<u32>;
#endif
#endif
#endif
#endif
@group(0) @binding(4) var<storage, read> gate: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

#include "sparse_list"
#include "numerics"
#if TEXELS
#include "weights_halves"
#else
#include "weights"

// Four weights of the gate from element i on; include/weights.wgsl has the same for w.
#if WIDE
#else
#if VEC
#if W_F32
fn gate4(i: u32) -> vec4<f32> { return g[i >> 2u]; }
#else
fn gate4(i: u32) -> vec4<f32> {
    let u = g[i >> 2u];
    return vec4<f32>(low16(u.x), high16(u.x), low16(u.y), high16(u.y));
}
#endif
#else
#if W_F32
fn gate1(i: u32) -> f32 { return g[i]; }
#else
fn gate1(i: u32) -> f32 {
    let u = g[i >> 1u];
    return select(low16(u), high16(u), (i & 1u) == 1u);
}
#endif
fn gate4(i: u32) -> vec4<f32> { return vec4<f32>(gate1(i), gate1(i + 1u), gate1(i + 2u), gate1(i + 3u)); }
#endif
#endif

// Four activations of a row of x from column k on; zero beyond the row, so that a ragged tail adds nothing.
fn x4(row: u32, k: u32) -> vec4<f32> {
    let i = (params.x_row + row) * params.k + k;
#if VEC
    return x[i >> 2u];
#else
    let last = params.k - 1u;
    return vec4<f32>(
        x[i],
        select(0.0, x[i + 1u], k + 1u <= last),
        select(0.0, x[i + 2u], k + 2u <= last),
        select(0.0, x[i + 3u], k + 3u <= last),
    );
#endif
}
#endif

// The neuron's value from its sums: of the gate (0 without GATED) and of `up`.
fn finish(row: u32, neuron: u32, gate_sum: f32, up_sum: f32) {
    var up = up_sum;
    let at = row * params.n + neuron;
#if GATED
    var gated = gate_sum;
#if BIAS
    gated = opq(gated + bias[neuron]);
    up = opq(up + bias[params.n + neuron]);
#endif
    y[at] = opq(silu_(gated) * up);
#else
#if BIAS
    up = opq(up + bias[neuron]);
#endif
#if WITH_GATE
    y[at] = opq(silu_(gate[at]) * up);
#else
    y[at] = select(0.0, up, up > 0.0);
#endif
#endif
}
