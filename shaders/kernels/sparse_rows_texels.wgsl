// Products with an MLP's selected neurons and their activation, weights from storage textures: for llvmpipe, which makes a load from a
// storage buffer of scalar loads, one a lane and word behind tests of mask and bound, and one from a storage texture of a vector load a
// lane. The lanes of a subgroup make the same rows, so each loads four of their activations, which share a test, and hands them to the
// others. Only where subgroups are exactly 8 wide; the self-test shows whether they really are.
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
#include "kept_sums"

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let count = count_of(group.y);
    // The same for the whole subgroup. A lane beyond the list makes its last neuron once more: what a lane hands out needs them all.
    if (group.x * ${NEURONS*8}u >= count) { return; }
    let e0 = (group.x * 8u + lane) * ${NEURONS}u;
    let row0 = group.y * ${ROWS}u;
    let list0 = group.y * params.n;
    // The row whose activations this lane loads for the others, by four columns.
    let own = min(row0 + (lane & ${ROWS-1}u), params.rows - 1u);
    let x_own = (params.x_row + own) * (params.k >> 2u);
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
#if ONE_ROW
        for (var unit = k0; unit < k1; unit = unit + 32u) {
            // Of 32 columns, of which those beyond the row are loaded in vain.
            let xs = x[x_own + min((unit >> 2u) + lane, (params.k >> 2u) - 1u)];
#for O 0 4
            if (unit + ${O*8}u < k1) {
                let k = unit + ${O*8}u;
#for C 0 4
                let s0_${C} = subgroupBroadcast(xs[${C}], ${O*2}u);
                let s0_${C+4} = subgroupBroadcast(xs[${C}], ${O*2+1}u);
#endfor
#include "sparse_eight"
            }
#endfor
        }
#else
        for (var k = k0; k < k1; k = k + 8u) {
#if EIGHT_ROWS
            let xa = x[x_own + (k >> 2u)];
            let xb = x[x_own + (k >> 2u) + 1u];
#for I 0 ROWS
#for C 0 4
            let s${I}_${C} = subgroupBroadcast(xa[${C}], ${I}u);
            let s${I}_${C+4} = subgroupBroadcast(xb[${C}], ${I}u);
#endfor
#endfor
#else
            // The first ROWS lanes have four columns, the next as many the other four.
            let xs = x[x_own + (k >> 2u) + ((lane / ${ROWS}u) & 1u)];
#for I 0 ROWS
#for C 0 4
            let s${I}_${C} = subgroupBroadcast(xs[${C}], ${I}u);
            let s${I}_${C+4} = subgroupBroadcast(xs[${C}], ${I+ROWS}u);
#endfor
#endfor
#endif
#include "sparse_eight"
        }
#endif
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
