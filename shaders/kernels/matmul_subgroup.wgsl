// Matrix product, register tile whose activations are shared out in subgroups of 8: for llvmpipe, where loads cost more than arithmetic
// (each lane's is a scalar load of its own, behind a test of the lane's mask). The lanes of a subgroup make the same rows, so each loads
// one of 8 activations and hands it to the others. Only where subgroups are exactly 8 wide; the self-test shows whether they really are.
// Weights are different in every lane. With TEXELS they come from a storage texture, of which llvmpipe makes a vector load a lane; of one
// row and quantised weights (BY_UNITS) 32 columns are one iteration, where it pays to keep what they share. With X_TEXELS so do the
// activations of eight rows (TILE_M is 8), of which each lane loads one.
//
// Formula    y[r, n0 + c] = sum_k x[r, k] * w[c, k]  (+ bias[n0 + c]) (+ residual[r, n0 + c])
//            with GATED: silu(gate) * up, gate the product with w's first n rows, up that with the n behind them
// Shapes     x [m, k] f32, w [n, k] stored type, y [m, stride] f32; one invocation makes TILE_M x TILE_N
//            sums, of TILE_M x COLUMNS outputs: COLUMNS is TILE_N, or half of it with GATED
// Bindings   include/matmul_bindings.wgsl, with x by scalars (X_SCALAR); with TEXELS w is a texture, a row of texels a row, and x with X_TEXELS
// Dispatch   workgroup 64, eight subgroups; x over ceil(n / (8 COLUMNS)), y over ceil(m / (8 TILE_M)); with ONE_ROW (m is 1) workgroup 8,
//            one subgroup, so that few columns still keep all processors busy: x over ceil(n / (8 COLUMNS))
// Order      segments of 256 over k: ascending inside, segments ascending; f32 throughout
// Twin       engine/src/kernels/matmul.rs
#include "matmul_bindings"

#if TEXELS
#include "kept_sums"
#else
fn add_product(acc: f32, a: f32, b: f32) -> f32 { return madd(acc, a, b); }
#endif

#if ONE_ROW
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let col0 = (group.x * 8u + lane) * ${COLUMNS}u;
    let row0 = 0u;
#else
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let col0 = (group.x * 8u + lane) * ${COLUMNS}u;
    let row0 = (group.y * 8u + subgroup) * ${TILE_M}u;
    // The same for a whole subgroup.
    if (row0 >= params.m) { return; }
#endif
#if X_TEXELS
    // The row whose activations this lane loads for the others.
    let own = min(row0 + lane, params.m - 1u);
#else
#for I 0 TILE_M
    let r${I} = min(row0 + ${I}u, params.m - 1u);
#endfor
#endif
#for J 0 COLUMNS
    let b${J} = w_of(col0 + ${J}u);
#if GATED
    let b${J+COLUMNS} = up_of(col0 + ${J}u);
#endif
#endfor
#for I 0 TILE_M
#for J 0 TILE_N
    var t${I}_${J} = 0.0;
#endfor
#endfor
    for (var k0 = 0u; k0 < params.k; k0 = k0 + SEGMENT) {
        let k1 = min(k0 + SEGMENT, params.k);
#for I 0 TILE_M
#for J 0 TILE_N
        var a${I}_${J} = 0.0;
#endfor
#endfor
#if BY_UNITS
        // Of one row, quantised: what 32 columns share is loaded once.
        for (var unit = k0; unit < k1; unit = unit + 32u) {
#for J 0 TILE_N
            let scales${J} = scales_of(b${J}, unit);
            let q${J}_0 = quants_of(b${J}, unit);
            let q${J}_8 = q${J}_0;
#if BYTES
            let q${J}_16 = quants_of(b${J}, unit + 16u);
#else
            let q${J}_16 = q${J}_0;
#endif
            let q${J}_24 = q${J}_16;
#endfor
#for O 0 4
            {
                let k = unit + ${O*8}u;
#for J 0 TILE_N
                let v${J} = eight_of(scales${J}, q${J}_${O*8}, ${O*8}u);
#endfor
#include "matmul_eight"
            }
#endfor
        }
#else
        for (var k = k0; k < k1; k = k + 8u) {
            // Beyond the last column x is zero, and any weight will do that is one.
            let k4 = min(k + 4u, (params.k - 1u) & 0xFFFFFFFCu);
#for J 0 TILE_N
            let v${J} = w8(b${J}, k, k4);
#endfor
#include "matmul_eight"
        }
#endif
#for I 0 TILE_M
#for J 0 TILE_N
        t${I}_${J} = chained(t${I}_${J}, a${I}_${J}, k0 == 0u);
#endfor
#endfor
    }
#include "matmul_end"
}
