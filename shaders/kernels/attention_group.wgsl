// Causal grouped-query attention, one workgroup a query and head: the portable kernel for real GPUs.
//
// Formula    y[r, h] = sum_j softmax_j(q[r, h] . k[j, g] * scale) v[j, g], j <= pos0 + r, g = h's kv head
// Shapes     include/attention_bindings.wgsl; head_dim at most 256
// Bindings   include/attention_bindings.wgsl
// Dispatch   workgroup 64; x over heads, y over rows; lane j scores position j of a chunk, then the
//            lanes share out the columns of v
// Order      chunks of 64 positions, ascending inside and over chunks (include/attention_bindings.wgsl)
// Twin       engine/src/kernels/attention.rs
#include "attention_bindings"

var<workgroup> sh_q: array<f32, ${HEAD_DIM}>;
var<workgroup> sh_s: array<f32, 64>;
var<workgroup> sh_p: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let head = group.x;
    let q_base = row * params.heads * D + head * D;
    let kv_stride = params.kv_heads * D;
    let kv_base = (head / (params.heads / params.kv_heads)) * D;
    let visible = params.pos0 + row + 1u;

    for (var d = lane; d < D; d = d + 64u) { sh_q[d] = q[q_base + d]; }
    workgroupBarrier();
#for L 0 LANE_COLUMNS
    var out${L} = 0.0;
#endfor
    var top = LOWEST;
    var sum = 0.0;
    for (var j0 = 0u; j0 < visible; j0 = j0 + CHUNK) {
        let count = min(CHUNK, visible - j0);
        if (lane < count) {
            let at = (j0 + lane) * kv_stride + kv_base;
            var s = 0.0;
            for (var d = 0u; d < D; d = d + 1u) { s = madd(s, sh_q[d], k_cache[at + d]); }
            sh_s[lane] = opq(s * params.scale);
        }
        workgroupBarrier();
        var chunk_top = LOWEST;
        for (var j = 0u; j < count; j = j + 1u) { chunk_top = max(chunk_top, sh_s[j]); }
        if (lane < count) { sh_p[lane] = exp_(opq(sh_s[lane] - chunk_top)); }
        workgroupBarrier();
        var chunk_sum = 0.0;
        for (var j = 0u; j < count; j = j + 1u) { chunk_sum = opq(chunk_sum + sh_p[j]); }
        let new_top = max(top, chunk_top);
        let keep = exp_(opq(top - new_top));
        let take = exp_(opq(chunk_top - new_top));
        sum = opq(opq(sum * keep) + opq(chunk_sum * take));
#for L 0 LANE_COLUMNS
        {
            let d = lane + ${L*64}u;
            if (d < D) {
                var o = 0.0;
                for (var j = 0u; j < count; j = j + 1u) {
                    o = madd(o, sh_p[j], v_cache[(j0 + j) * kv_stride + kv_base + d]);
                }
                out${L} = opq(opq(out${L} * keep) + opq(o * take));
            }
        }
#endfor
        top = new_top;
        workgroupBarrier();
    }
    let r = recip_(sum);
#for L 0 LANE_COLUMNS
    if (lane + ${L*64}u < D) { y[q_base + lane + ${L*64}u] = rnd(opq(out${L} * r)); }
#endfor
}
