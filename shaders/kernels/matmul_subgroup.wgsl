// Matrix product, register tile whose activations are shared out in subgroups of 8: for llvmpipe, where loads cost more than arithmetic
// (each lane's is a scalar load of its own, behind a test of the lane's mask). The lanes of a subgroup make the same rows, so each loads
// one of 8 activations and hands it to the others. Only where subgroups are exactly 8 wide; the self-test shows whether they really are.
// Weights are different in every lane. With TEXELS they come from a storage texture, of which llvmpipe makes a vector load a lane.
//
// Formula    y[r, n0 + c] = sum_k x[r, k] * w[c, k]  (+ bias[n0 + c]) (+ residual[r, n0 + c])
//            with GATED: silu(gate) * up, gate the product with w's first n rows, up that with the n behind them
// Shapes     x [m, k] f32, w [n, k] stored type, y [m, stride] f32; one invocation makes TILE_M x TILE_N
//            sums, of TILE_M x COLUMNS outputs: COLUMNS is TILE_N, or half of it with GATED
// Bindings   include/matmul_bindings.wgsl, with x by scalars (X_SCALAR); with TEXELS w is a texture of floats, a row of texels a row
// Dispatch   workgroup 64, eight subgroups; x over ceil(n / (8 COLUMNS)), y over ceil(m / (8 TILE_M)); with ONE_ROW (m is 1) workgroup 8,
//            one subgroup, so that few columns still keep all processors busy: x over ceil(n / (8 COLUMNS))
// Order      segments of 256 over k: ascending inside, segments ascending; f32 throughout
// Twin       engine/src/kernels/matmul.rs
#include "matmul_bindings"

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
#for I 0 TILE_M
    let r${I} = min(row0 + ${I}u, params.m - 1u);
#endfor
#for J 0 COLUMNS
    let b${J} = w_of(col0 + ${J}u);
#if GATED
    let b${J+COLUMNS} = up_of(col0 + ${J}u);
#endif
#endfor
    for (var k0 = 0u; k0 < params.k; k0 = k0 + SEGMENT) {
        let k1 = min(k0 + SEGMENT, params.k);
#for I 0 TILE_M
#for J 0 TILE_N
        var a${I}_${J} = 0.0;
#endfor
#endfor
        for (var k = k0; k < k1; k = k + 8u) {
#for I 0 TILE_M
            let s${I} = x_at(r${I}, k + lane);
#for C 0 8
            let s${I}_${C} = subgroupBroadcast(s${I}, ${C}u);
#endfor
#endfor
            // Beyond the last column x is zero, and any weight will do that is one.
            let k4 = min(k + 4u, (params.k - 1u) & 0xFFFFFFFCu);
#for J 0 TILE_N
            let w${J} = w8(b${J}, k, k4);
#endfor
#for J 0 TILE_N
#for I 0 TILE_M
#for C 0 4
            a${I}_${J} = madd(a${I}_${J}, s${I}_${C}, w${J}.a[${C}]);
#endfor
#for C 0 4
            a${I}_${J} = madd(a${I}_${J}, s${I}_${C+4}, w${J}.b[${C}]);
#endfor
#endfor
#endfor
        }
        let first = k0 == 0u;
        let last = k1 == params.k;
#for I 0 TILE_M
        if (row0 + ${I}u < params.m) {
#for J 0 COLUMNS
#if GATED
            if (col0 + ${J}u < params.n) { add_gated(row0 + ${I}u, col0 + ${J}u, a${I}_${J}, a${I}_${J+COLUMNS}, first, last); }
#else
            if (col0 + ${J}u < params.n) { add_segment(row0 + ${I}u, col0 + ${J}u, a${I}_${J}, first, last); }
#endif
#endfor
        }
#endfor
    }
}
