// Sum of selected rows, each times a factor, weights from a storage texture: for llvmpipe (sparse_rows_texels says why). Each lane of a
// subgroup looks up one of ENTRIES neurons and its factors and hands them to the others. Only where subgroups are exactly 8 wide.
//
// Formula    as sparse_sum
// Shapes     include/sparse_sum_bindings.wgsl, with weights by texels of eight columns (TEXELS), d a multiple of 8; a subgroup makes
//            8 SPAN texels side by side of ROWS rows (a tile), a lane each eighth of them; ENTRIES divides 8
// Bindings   include/sparse_sum_bindings.wgsl
// Dispatch   workgroup 8, one subgroup; x over ceil(d / (64 SPAN)), y over tiles
// Order      as sparse_sum: the same bits. Where a segment's list ends inside of ENTRIES, the rest has factors of 0, and 0 * w changes
//            nothing (include/sparse_list.wgsl says why)
// Twin       engine/src/kernels/sparse/sum.rs
#include "sparse_sum_bindings"
#include "kept_sums"

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let texel = group.x * ${SPAN*8}u + lane;
    let row0 = group.y * ${ROWS}u;
    let list0 = group.y * params.n;
    let starts0 = group.y * (params.segments + 1u);
    let entry = lane & ${ENTRIES-1}u;
#for I 0 ROWS
    let r${I} = min(row0 + ${I}u, params.rows - 1u);
#for Q 0 SPAN*2
    var total${I}_${Q} = vec4<f32>(0.0);
#endfor
#endfor
    for (var s = 0u; s < params.segments; s = s + 1u) {
        let end = starts[starts0 + s + 1u];
#for I 0 ROWS
#for Q 0 SPAN*2
        var sum${I}_${Q} = vec4<f32>(0.0);
#endfor
#endfor
        for (var e = starts[starts0 + s]; e < end; e = e + ${ENTRIES}u) {
            let at = list0 + min(e + entry, end - 1u);
            let j = neuron_of(at);
            let slot = slot_of(at);
#for I 0 ROWS
            let f${I} = select(0.0, factor(r${I}, j), e + entry < end);
#endfor
#for E 0 ENTRIES
            let slot${E} = subgroupBroadcast(slot, ${E}u);
#for I 0 ROWS
            let f${I}_${E} = subgroupBroadcast(f${I}, ${E}u);
#endfor
#for H 0 SPAN
            let u${E}_${H} = textureLoad(w, vec2<u32>(texel + ${H*8}u, slot${E}));
            let w${E}_${H*2} = first4(u${E}_${H});
            let w${E}_${H*2+1} = last4(u${E}_${H});
#endfor
#for I 0 ROWS
#for Q 0 SPAN*2
#for C 0 4
            sum${I}_${Q}[${C}] = add_product(sum${I}_${Q}[${C}], f${I}_${E}, w${E}_${Q}[${C}]);
#endfor
#endfor
#endfor
#endfor
        }
#for I 0 ROWS
#for Q 0 SPAN*2
#for C 0 4
        total${I}_${Q}[${C}] = opq(total${I}_${Q}[${C}] + sum${I}_${Q}[${C}]);
#endfor
#endfor
#endfor
    }
#for I 0 ROWS
    if (row0 + ${I}u < params.rows) {
#for H 0 SPAN
        finish(row0 + ${I}u, (texel + ${H*8}u) * 8u, total${I}_${H*2});
        finish(row0 + ${I}u, (texel + ${H*8}u) * 8u + 4u, total${I}_${H*2+1});
#endfor
    }
#endfor
}
