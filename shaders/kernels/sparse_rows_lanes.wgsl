// Products with an MLP's selected neurons and their activation, segments of k in parallel lanes: the decode step on GPUs.
//
// Formula    as sparse_rows
// Shapes     include/sparse_rows_bindings.wgsl; a workgroup makes ROWS rows (a tile) of 8 neurons
// Bindings   include/sparse_rows_bindings.wgsl
// Dispatch   workgroup (8, 8): lid.y is the list's entry, lid.x the segment (mod 8); x over ceil(longest list / 8), y over tiles:
//            indirectly (sparse_grid), or with n for the list
// Order      as sparse_rows: the same bits
// Twin       engine/src/kernels/sparse/rows.rs
#include "sparse_rows_bindings"

var<workgroup> sh_up: array<f32, ${ROWS*64}>;    // [row][entry][segment of this round]
#if GATED
var<workgroup> sh_gate: array<f32, ${ROWS*64}>;
#endif

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let count = count_of(group.y);
    let entry = group.x * 8u + lid.y;
    let row0 = group.y * ${ROWS}u;
    // Lanes beyond the list, even where it is empty, read the matrix's first row and write nothing: a barrier needs them all.
    let listed = entry < count;
    let at = group.y * params.n + select(0u, entry, listed);
    let base = select(0u, slot_of(at), listed) * params.k;
#for I 0 ROWS
    let r${I} = min(row0 + ${I}u, params.rows - 1u);
    var u${I} = 0.0;
    var g${I} = 0.0;
#endfor
    let segments = (params.k + SEGMENT - 1u) / SEGMENT;
    for (var round = 0u; round < segments; round = round + 8u) {
        let k0 = (round + lid.x) * SEGMENT;
        let k1 = min(k0 + SEGMENT, params.k);
#for I 0 ROWS
        var su${I} = 0.0;
        var sg${I} = 0.0;
#endfor
        for (var k = k0; k < k1; k = k + 4u) {
            let wv = w4(base, k);
#if GATED
            let gv = gate4(base + k);
#endif
#for I 0 ROWS
            let xv${I} = x4(r${I}, k);
#for C 0 4
            su${I} = madd(su${I}, xv${I}[${C}], wv[${C}]);
#if GATED
            sg${I} = madd(sg${I}, xv${I}[${C}], gv[${C}]);
#endif
#endfor
#endfor
        }
#for I 0 ROWS
        sh_up[${I*64}u + lane] = su${I};
#if GATED
        sh_gate[${I*64}u + lane] = sg${I};
#endif
#endfor
        workgroupBarrier();
        if (lid.x == 0u) {
            let most = min(8u, segments - round);
            for (var s = 0u; s < most; s = s + 1u) {
#for I 0 ROWS
                u${I} = opq(u${I} + sh_up[${I*64}u + lane + s]);
#if GATED
                g${I} = opq(g${I} + sh_gate[${I*64}u + lane + s]);
#endif
#endfor
            }
        }
        workgroupBarrier();
    }
    if (lid.x == 0u && listed) {
        let neuron = neuron_of(at);
#for I 0 ROWS
        if (row0 + ${I}u < params.rows) { finish(row0 + ${I}u, neuron, g${I}, u${I}); }
#endfor
    }
}
