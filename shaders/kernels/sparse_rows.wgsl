// Products with an MLP's selected neurons and their activation, register tile without workgroup memory: for adapters that are CPUs,
// and for any adapter as the simplest statement.
//
// Formula    with u = sum_k x[r, k] * w[j, k] (+ bias[j]), g the same of the gate's weights, for each neuron j of the row's tile:
//            GATED y[r, j] = silu(g) * u; WITH_GATE y[r, j] = silu(gate[r, j]) * u; otherwise y[r, j] = max(u, 0)
// Shapes     include/sparse_rows_bindings.wgsl; a neuron is written at its own column, so nothing is compacted; the columns of
//            other neurons are left alone; one invocation makes ROWS rows (a tile) of NEURONS neurons, and reads 4 QUADS
//            columns a turn: 2 with WIDE, else 1
// Bindings   include/sparse_rows_bindings.wgsl
// Dispatch   workgroup LANES; x over ceil(longest list / (LANES NEURONS)), y over tiles: indirectly (sparse_grid), or with n for the list
// Order      as in matmul_tile: segments of 256 over k, ascending inside, segments ascending, bias; then SiLU and one product:
//            the bits of the dense kernels, whatever the mask
// Twin       engine/src/kernels/sparse/rows.rs
#include "sparse_rows_bindings"

@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = count_of(group.y);
    let e0 = (group.x * ${LANES}u + lane) * ${NEURONS}u;
    if (e0 >= count) { return; }
    let row0 = group.y * ${ROWS}u;
    let list0 = group.y * params.n;
#for I 0 ROWS
    let r${I} = min(row0 + ${I}u, params.rows - 1u);
#endfor
#for J 0 NEURONS
    let b${J} = slot_of(list0 + min(e0 + ${J}u, count - 1u)) * params.k;
#endfor
#for I 0 ROWS
#for J 0 NEURONS
    var ups${I}_${J} = 0.0;
    var gates${I}_${J} = 0.0;
#endfor
#endfor
    for (var k0 = 0u; k0 < params.k; k0 = k0 + SEGMENT) {
        let k1 = min(k0 + SEGMENT, params.k);
#for I 0 ROWS
#for J 0 NEURONS
        var up${I}_${J} = 0.0;
        var gate${I}_${J} = 0.0;
#endfor
#endfor
        for (var k = k0; k < k1; k = k + ${QUADS*4}u) {
#for J 0 NEURONS
#if WIDE
            let wu${J} = w[(b${J} + k) >> 3u];
            let w${J}_0 = first4(wu${J});
            let w${J}_1 = last4(wu${J});
#if GATED
            let gu${J} = g[(b${J} + k) >> 3u];
            let g${J}_0 = first4(gu${J});
            let g${J}_1 = last4(gu${J});
#endif
#else
#for Q 0 QUADS
            let w${J}_${Q} = w4(b${J}, k + ${Q*4}u);
#if GATED
            let g${J}_${Q} = gate4(b${J} + k + ${Q*4}u);
#endif
#endfor
#endif
#endfor
#for Q 0 QUADS
#for I 0 ROWS
            let x${I}_${Q} = x4(r${I}, k + ${Q*4}u);
#for C 0 4
#for J 0 NEURONS
            up${I}_${J} = madd(up${I}_${J}, x${I}_${Q}[${C}], w${J}_${Q}[${C}]);
#if GATED
            gate${I}_${J} = madd(gate${I}_${J}, x${I}_${Q}[${C}], g${J}_${Q}[${C}]);
#endif
#endfor
#endfor
#endfor
#endfor
        }
#for I 0 ROWS
#for J 0 NEURONS
        ups${I}_${J} = opq(ups${I}_${J} + up${I}_${J});
        gates${I}_${J} = opq(gates${I}_${J} + gate${I}_${J});
#endfor
#endfor
    }
#for J 0 NEURONS
    if (e0 + ${J}u < count) {
        let j${J} = neuron_of(list0 + e0 + ${J}u);
#for I 0 ROWS
        if (row0 + ${I}u < params.rows) { finish(row0 + ${I}u, j${J}, gates${I}_${J}, ups${I}_${J}); }
#endfor
    }
#endfor
}
