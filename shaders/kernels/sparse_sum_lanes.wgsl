// Sum of selected rows, each times a factor, segments in parallel lanes: for GPUs, which a few thousand columns do not fill.
//
// Formula    as sparse_sum
// Shapes     include/sparse_sum_bindings.wgsl; a workgroup makes 32 columns of ROWS rows (a tile)
// Bindings   include/sparse_sum_bindings.wgsl
// Dispatch   workgroup (8, 8): lid.x is a quad of columns, lid.y the segment (mod 8); x over ceil(d / 32), y over tiles
// Order      as sparse_sum: the same bits
// Twin       engine/src/kernels/sparse/sum.rs
#include "sparse_sum_bindings"

var<workgroup> sh_sum: array<vec4<f32>, ${ROWS*64}>;  // [row][segment of this round][quad]

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = (group.x * 8u + lid.x) * 4u;
    // Lanes beyond the last column make the last quad once more and write nothing: a barrier needs them all.
    let c = min(own, (params.d - 1u) & 0xFFFFFFFCu);
    let row0 = group.y * ${ROWS}u;
    let list0 = group.y * params.n;
    let starts0 = group.y * (params.segments + 1u);
#for I 0 ROWS
    let r${I} = min(row0 + ${I}u, params.rows - 1u);
    var total${I} = vec4<f32>(0.0);
#endfor
    for (var round = 0u; round < params.segments; round = round + 8u) {
        let s = min(round + lid.y, params.segments - 1u);
        let end = starts[starts0 + s + 1u];
#for I 0 ROWS
        var sum${I} = vec4<f32>(0.0);
#endfor
        for (var e = starts[starts0 + s]; e < end; e = e + 1u) {
            let j = neuron_of(list0 + e);
            let wv = columns(slot_of(list0 + e) * params.d + c, c);
#for I 0 ROWS
            let f${I} = factor(r${I}, j);
#for C 0 4
            sum${I}[${C}] = madd(sum${I}[${C}], f${I}, wv[${C}]);
#endfor
#endfor
        }
#for I 0 ROWS
        sh_sum[${I*64}u + lane] = sum${I};
#endfor
        workgroupBarrier();
        if (lid.y == 0u) {
            let most = min(8u, params.segments - round);
            for (var i = 0u; i < most; i = i + 1u) {
#for I 0 ROWS
                let more${I} = sh_sum[${I*64}u + i * 8u + lid.x];
#for C 0 4
                total${I}[${C}] = opq(total${I}[${C}] + more${I}[${C}]);
#endfor
#endfor
            }
        }
        workgroupBarrier();
    }
    if (lid.y == 0u && own < params.d) {
#for I 0 ROWS
        if (row0 + ${I}u < params.rows) { finish(row0 + ${I}u, own, total${I}); }
#endfor
    }
}
