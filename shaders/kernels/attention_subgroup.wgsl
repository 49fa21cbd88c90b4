// Causal grouped-query attention whose keys and values are shared out in subgroups of 8: for llvmpipe, where loads are what costs, and one
// from a storage texture is a vector load a lane, without a branch. Lanes are queries that share a key head; each loads four of 32 columns
// of a position and hands them to the others (of what is left of a head, of 8).
// Only where subgroups are exactly 8 wide; the self-test shows whether they really are.
//
// Formula    y[r, h] = sum_j softmax_j(q[r, h] . k[j, g] * scale) v[j, g], j <= pos0 + r, g = h's kv head
// Shapes     include/attention_bindings.wgsl; head_dim a multiple of 8, at most 128 (a head is unrolled into registers); an invocation is
//            one query of a key head, counted through rows, and inside a row through the heads that share it
// Bindings   include/attention_bindings.wgsl
// Dispatch   workgroup 8, one subgroup; x over ceil(rows * heads / kv_heads / 8), y over kv_heads
// Order      chunks of 64 positions, ascending inside and over chunks (include/attention_bindings.wgsl), STEP positions an iteration. A
//            subgroup goes as far as its last query sees: what another one does not see has weight 0, and a chunk of which it sees
//            nothing leaves it alone
// Twin       engine/src/kernels/attention.rs
#include "attention_bindings"
#include "kept_sums"

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let share = params.heads / params.kv_heads;
    let queries = params.rows * share;
    let first = group.x * 8u;
    // The same for the whole subgroup.
    let most = params.pos0 + (min(first + 8u, queries) - 1u) / share + 1u;
    // Texels of a position, and the lane's of the first 32 columns and of eight.
    let kv_texels = params.kv_heads * ${EIGHTHS*2}u;
    let lane32 = group.y * ${EIGHTHS*2}u + lane;
    let lane8 = group.y * ${EIGHTHS*2}u + (lane & 1u);
    let query = min(first + lane, queries - 1u);
    let visible = params.pos0 + query / share + 1u;
    let q_base = ((query / share) * params.heads + group.y * share + query % share) * D;

    var p: array<f32, 64>;
#for I 0 HEAD_DIM
    let q${I} = q[q_base + ${I}u];
    var out${I} = 0.0;
#endfor
    var top = LOWEST;
    var sum = 0.0;
    for (var j0 = 0u; j0 < most; j0 = j0 + CHUNK) {
        let count = min(CHUNK, most - j0);
        var chunk_top = LOWEST;
        for (var j = 0u; j < count; j = j + ${STEP}u) {
#for J 0 STEP
            let at${J} = cache_at(j0 + min(j + ${J}u, count - 1u), kv_texels);
            var s${J} = 0.0;
#endfor
#for B 0 BLOCKS
            {
#for J 0 STEP
                let own${J} = four(k_cache, at${J}, lane32 + ${B*8}u);
#endfor
#for L 0 8
#for C 0 4
#for J 0 STEP
                s${J} = add_product(s${J}, q${B*32+L*4+C}, subgroupBroadcast(own${J}[${C}], ${L}u));
#endfor
#endfor
#endfor
            }
#endfor
#for B BLOCKS*4 EIGHTHS
            {
#for J 0 STEP
                let own${J} = four(k_cache, at${J}, lane8 + ${B*2}u);
#endfor
#for L 0 2
#for C 0 4
#for J 0 STEP
                s${J} = add_product(s${J}, q${B*8+L*4+C}, subgroupBroadcast(own${J}[${C}], ${L}u));
#endfor
#endfor
#endfor
            }
#endfor
#for J 0 STEP
            s${J} = select(LOWEST, opq(s${J} * params.scale), j0 + j + ${J}u < visible);
            p[j + ${J}u] = s${J};
            chunk_top = max(chunk_top, s${J});
#endfor
        }
        var chunk_sum = 0.0;
#for I 0 HEAD_DIM
        var chunk${I} = 0.0;
#endfor
        for (var j = 0u; j < count; j = j + ${STEP}u) {
#for J 0 STEP
            let at${J} = cache_at(j0 + min(j + ${J}u, count - 1u), kv_texels);
            let e${J} = select(0.0, exp_(opq(p[j + ${J}u] - chunk_top)), j0 + j + ${J}u < visible);
            chunk_sum = opq(chunk_sum + e${J});
#endfor
#for B 0 BLOCKS
            {
#for J 0 STEP
                let own${J} = four(v_cache, at${J}, lane32 + ${B*8}u);
#for L 0 8
#for C 0 4
                chunk${B*32+L*4+C} = add_product(chunk${B*32+L*4+C}, e${J}, subgroupBroadcast(own${J}[${C}], ${L}u));
#endfor
#endfor
#endfor
            }
#endfor
#for B BLOCKS*4 EIGHTHS
            {
#for J 0 STEP
                let own${J} = four(v_cache, at${J}, lane8 + ${B*2}u);
#for L 0 2
#for C 0 4
                chunk${B*8+L*4+C} = add_product(chunk${B*8+L*4+C}, e${J}, subgroupBroadcast(own${J}[${C}], ${L}u));
#endfor
#endfor
#endfor
            }
#endfor
        }
        let sees = j0 < visible;
        let new_top = max(top, chunk_top);
        let keep = exp_(opq(top - new_top));
        let take = exp_(opq(chunk_top - new_top));
        sum = select(sum, opq(opq(sum * keep) + opq(chunk_sum * take)), sees);
#for I 0 HEAD_DIM
        out${I} = select(out${I}, opq(opq(out${I} * keep) + opq(chunk${I} * take)), sees);
#endfor
        top = new_top;
    }
    if (first + lane < queries) {
        let r = recip_(sum);
#for I 0 HEAD_DIM
        y[q_base + ${I}u] = rnd(opq(out${I} * r));
#endfor
    }
}
