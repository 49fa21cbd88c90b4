// Matrix product, register tile without workgroup memory: for adapters that are CPUs, where it is twice
// as fast as a shared tile, and for any adapter as the simplest statement of the product.
//
// Formula    y[r, n0 + c] = sum_k x[r, k] * w[c, k]  (+ bias[n0 + c]) (+ residual[r, n0 + c])
//            with GATED: silu(gate) * up, gate the product with w's first n rows, up that with the n behind them
// Shapes     x [m, k] f32, w [n, k] stored type, y [m, stride] f32; one invocation makes TILE_M x TILE_N
//            sums, of TILE_M x COLUMNS outputs: COLUMNS is TILE_N, or half of it with GATED
// Bindings   include/matmul_bindings.wgsl
// Dispatch   workgroup (8, 8); x over ceil(n / (8 COLUMNS)), y over ceil(m / (8 TILE_M))
// Order      segments of 256 over k: ascending inside, segments ascending; f32 throughout
// Twin       engine/src/kernels/matmul.rs
#include "matmul_bindings"

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row0 = id.y * ${TILE_M}u;
    let col0 = id.x * ${COLUMNS}u;
    if (row0 >= params.m || col0 >= params.n) { return; }
#for I 0 TILE_M
    let r${I} = min(row0 + ${I}u, params.m - 1u);
#endfor
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
        for (var k = k0; k < k1; k = k + 4u) {
#for J 0 TILE_N
            let wv${J} = w4(b${J}, k);
#endfor
#for I 0 TILE_M
            let xv${I} = x4(r${I}, k);
#for C 0 4
#for J 0 TILE_N
            a${I}_${J} = madd(a${I}_${J}, xv${I}[${C}], wv${J}[${C}]);
#endfor
#endfor
#endfor
        }
#for I 0 TILE_M
#for J 0 TILE_N
        t${I}_${J} = chained(t${I}_${J}, a${I}_${J}, k0 == 0u);
#endfor
#endfor
    }
#include "matmul_end"
}
