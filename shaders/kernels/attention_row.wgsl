// Causal grouped-query attention, one invocation a query and head, no workgroup memory: for adapters
// that are CPUs.
//
// Formula    y[r, h] = sum_j softmax_j(q[r, h] . k[j, g] * scale) v[j, g], j <= pos0 + r, g = h's kv head
// Shapes     include/attention_bindings.wgsl; head_dim at most 128 (a head is unrolled into registers)
// Bindings   include/attention_bindings.wgsl
// Dispatch   workgroup 64; x over ceil(rows * heads / 64)
// Order      chunks of 64 positions, ascending inside and over chunks (include/attention_bindings.wgsl)
// Twin       engine/src/kernels/attention.rs
//
// Loops run over positions only: llvmpipe silently stops an invocation after 65535 loop iterations in
// all, which a loop over head_dim inside one over positions reaches at 512 positions.
#include "attention_bindings"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.rows * params.heads) { return; }
    let row = id.x % params.rows;
    let head = id.x / params.rows;
    let q_base = row * params.heads * D + head * D;
    let kv_stride = params.kv_heads * D;
    let kv_base = (head / (params.heads / params.kv_heads)) * D;
    let visible = params.pos0 + row + 1u;

    var p: array<f32, 64>;
#for I 0 HEAD_DIM
    let q${I} = q[q_base + ${I}u];
    var out${I} = 0.0;
#endfor
    var top = LOWEST;
    var sum = 0.0;
    for (var j0 = 0u; j0 < visible; j0 = j0 + CHUNK) {
        let count = min(CHUNK, visible - j0);
        var chunk_top = LOWEST;
        for (var j = 0u; j < count; j = j + 1u) {
            let at = (j0 + j) * kv_stride + kv_base;
            var s = 0.0;
#for I 0 HEAD_DIM
            s = madd(s, q${I}, k_cache[at + ${I}u]);
#endfor
            s = opq(s * params.scale);
            p[j] = s;
            chunk_top = max(chunk_top, s);
        }
        var chunk_sum = 0.0;
#for I 0 HEAD_DIM
        var chunk${I} = 0.0;
#endfor
        for (var j = 0u; j < count; j = j + 1u) {
            let at = (j0 + j) * kv_stride + kv_base;
            let e = exp_(opq(p[j] - chunk_top));
            chunk_sum = opq(chunk_sum + e);
#for I 0 HEAD_DIM
            chunk${I} = madd(chunk${I}, e, v_cache[at + ${I}u]);
#endfor
        }
        let new_top = max(top, chunk_top);
        let keep = exp_(opq(top - new_top));
        let take = exp_(opq(chunk_top - new_top));
        sum = opq(opq(sum * keep) + opq(chunk_sum * take));
#for I 0 HEAD_DIM
        out${I} = opq(opq(out${I} * keep) + opq(chunk${I} * take));
#endfor
        top = new_top;
    }
    let r = recip_(sum);
#for I 0 HEAD_DIM
    y[q_base + ${I}u] = rnd(opq(out${I} * r));
#endfor
}
