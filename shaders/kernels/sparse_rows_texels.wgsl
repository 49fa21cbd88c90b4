// Products with an MLP's selected neurons and their activation, weights from storage textures: for llvmpipe, which makes a load from a
// storage buffer of scalar loads, one a lane and word behind tests of mask and bound, and one from a storage texture of a vector load a
// lane. The lanes of a subgroup make the same rows, so each loads one of 8 activations and hands it to the others, as in
// matmul_subgroup. Only where subgroups are exactly 8 wide; the self-test shows whether they really are.
//
// Formula    as sparse_rows
// Shapes     include/sparse_rows_bindings.wgsl, with weights by texels of eight columns (TEXELS), k a multiple of 8; one invocation makes
//            ROWS rows (a tile) of NEURONS neurons
// Bindings   include/sparse_rows_bindings.wgsl
// Dispatch   workgroup 8, one subgroup; x over ceil(longest list / (8 NEURONS)), y over tiles: indirectly (sparse_grid), or with n for
//            the list
// Order      as sparse_rows: the same bits
// Twin       engine/src/kernels/sparse/rows.rs
#include "sparse_rows_bindings"

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let count = count_of(group.y);
    // The same for the whole subgroup. A lane beyond the list makes its last neuron once more: what a lane hands out needs them all.
    if (group.x * ${NEURONS*8}u >= count) { return; }
    let e0 = (group.x * 8u + lane) * ${NEURONS}u;
    let row0 = group.y * ${ROWS}u;
    let list0 = group.y * params.n;
#for I 0 ROWS
    let x${I} = (params.x_row + min(row0 + ${I}u, params.rows - 1u)) * params.k + lane;
#endfor
#for J 0 NEURONS
    let slot${J} = slot_of(list0 + min(e0 + ${J}u, count - 1u));
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
        for (var k = k0; k < k1; k = k + 8u) {
#for I 0 ROWS
            let s${I} = x[x${I} + k];
#for C 0 8
            let s${I}_${C} = subgroupBroadcast(s${I}, ${C}u);
#endfor
#endfor
#for J 0 NEURONS
            let wu${J} = textureLoad(w, vec2<u32>(k >> 3u, slot${J}));
            let w${J}_0 = first4(wu${J});
            let w${J}_1 = last4(wu${J});
#if GATED
            let gu${J} = textureLoad(g, vec2<u32>(k >> 3u, slot${J}));
            let g${J}_0 = first4(gu${J});
            let g${J}_1 = last4(gu${J});
#endif
#for I 0 ROWS
#for Q 0 2
#for C 0 4
            up${I}_${J} = madd(up${I}_${J}, s${I}_${Q*4+C}, w${J}_${Q}[${C}]);
#if GATED
            gate${I}_${J} = madd(gate${I}_${J}, s${I}_${Q*4+C}, g${J}_${Q}[${C}]);
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
