// Loads of stored weights as f32 from the binding `w`. A kernel asks where a row begins, `w_row(row, cols)`, and then for columns of it:
// `w4(base, k)` four from column k on, a multiple of four, `w1(base, k)` one, and `w8(base, k, k4)` eight from column k on, a multiple of
// eight, of which the last four are those from k4 on: k + 4, or any in the row where those are beyond it. One loader a stored type:
//   floats      W_F32, W_F16, W_BF16: rows as stored. With VEC every row starts at a multiple of four elements and `w4` is one load.
//   quantised   W_Q8_0, W_Q4_0, W_Q5_0, W_Q4_K, W_Q6_K, W_INT8, W_INT4, W_INT4_ORDERED (include/weights_*.wgsl): rows of whole words in
//               row form (model/src/packed.rs), a scale before what it scales; nothing is decoded before it is used. What `w4` loads
//               beyond the last column of a row is never used, because x is zero there.
//   textures    TEXELS: floats whose rows are whole texels (include/weights_texels.wgsl), without w4 of halves; quantised types in texel
//               form (include/weights_units.wgsl), without w4.
// Needs include/numerics.wgsl.
#include "weights_halves"
struct Eight {
    a: vec4<f32>,
    b: vec4<f32>,
}
#if TEXELS
#if W_PACKED
#include "weights_units"
#else
#include "weights_texels"
#endif
#else
#if W_PACKED
#include "weights_packed"
#else
fn w8(base: u32, k: u32, k4: u32) -> Eight { return Eight(w4(base, k), w4(base, k4)); }
fn w_row(row: u32, cols: u32) -> u32 { return row * cols; }
#if W_F32
#if VEC
fn w4(base: u32, k: u32) -> vec4<f32> { return w[(base + k) >> 2u]; }
fn w1(base: u32, k: u32) -> f32 { return w[(base + k) >> 2u][(base + k) & 3u]; }
#else
fn w1(base: u32, k: u32) -> f32 { return w[base + k]; }
fn w4(base: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(w1(base, k), w1(base, k + 1u), w1(base, k + 2u), w1(base, k + 3u));
}
#endif
#else
#if VEC
fn w4(base: u32, k: u32) -> vec4<f32> {
    let u = w[(base + k) >> 2u];
    return vec4<f32>(low16(u.x), high16(u.x), low16(u.y), high16(u.y));
}
fn w1(base: u32, k: u32) -> f32 {
    let i = base + k;
    let u = w[i >> 2u][(i >> 1u) & 1u];
    return select(low16(u), high16(u), (i & 1u) == 1u);
}
#else
fn w1(base: u32, k: u32) -> f32 {
    let i = base + k;
    let u = w[i >> 1u];
    return select(low16(u), high16(u), (i & 1u) == 1u);
}
fn w4(base: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(w1(base, k), w1(base, k + 1u), w1(base, k + 2u), w1(base, k + 3u));
}
#endif
#endif
#endif
#endif
