// Sum of selected rows, each times a factor: the down product of a sparse MLP, whose transposed weights have a row a neuron; or a
// product whose inputs are sparse. One chain of segments an invocation, without workgroup memory.
//
// Formula    y[r, c] = sum_j a[r, j] * w[j, c]  (+ bias[c]) (+ residual[r, c]), j over the neurons whose bit is set in row r
// Shapes     include/sparse_sum_bindings.wgsl; one invocation makes 4 QUADS columns of ROWS rows (a tile): a CPU's lane that takes more
//            of a row at once waits less for memory
// Bindings   include/sparse_sum_bindings.wgsl
// Dispatch   workgroup LANES; x over ceil(d / (4 QUADS LANES)), y over tiles
// Order      neurons in segments of 256 *of their index*, ascending inside, segments ascending, bias, residual: the bits of the
//            dense product with masked activations (include/sparse_list.wgsl says why)
// Twin       engine/src/kernels/sparse/sum.rs
#include "sparse_sum_bindings"

@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let c = (group.x * ${LANES}u + lane) * ${QUADS*4}u;
    if (c >= params.d) { return; }
    let row0 = group.y * ${ROWS}u;
    let list0 = group.y * params.n;
    let starts0 = group.y * (params.segments + 1u);
#for I 0 ROWS
    let r${I} = min(row0 + ${I}u, params.rows - 1u);
#for Q 0 QUADS
    var total${I}_${Q} = vec4<f32>(0.0);
#endfor
#endfor
    for (var s = 0u; s < params.segments; s = s + 1u) {
        let end = starts[starts0 + s + 1u];
#for I 0 ROWS
#for Q 0 QUADS
        var sum${I}_${Q} = vec4<f32>(0.0);
#endfor
#endfor
        for (var e = starts[starts0 + s]; e < end; e = e + 1u) {
            let j = neuron_of(list0 + e);
            let at = slot_of(list0 + e) * params.d + c;
#if WIDE
#for H 0 HALF_QUADS
            let u${H} = w[(at >> 3u) + ${H}u];
            let w${H*2} = first4(u${H});
            let w${H*2+1} = last4(u${H});
#endfor
#else
#for Q 0 QUADS
            let w${Q} = columns(at + ${Q*4}u, c + ${Q*4}u);
#endfor
#endif
#for I 0 ROWS
            let f${I} = factor(r${I}, j);
#for Q 0 QUADS
#for C 0 4
            sum${I}_${Q}[${C}] = madd(sum${I}_${Q}[${C}], f${I}, w${Q}[${C}]);
#endfor
#endfor
#endfor
        }
#for I 0 ROWS
#for Q 0 QUADS
#for C 0 4
        total${I}_${Q}[${C}] = opq(total${I}_${Q}[${C}] + sum${I}_${Q}[${C}]);
#endfor
#endfor
#endfor
    }
#for I 0 ROWS
#for Q 0 QUADS
    if (row0 + ${I}u < params.rows) { finish(row0 + ${I}u, c + ${Q*4}u, total${I}_${Q}); }
#endfor
#endfor
}
