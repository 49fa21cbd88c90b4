// Matrix product of one row: the decode step. Segments of k run in parallel and are added in order.
//
// Formula    y[0, n0 + c] = sum_k x[0, k] * w[c, k]  (+ bias[n0 + c]) (+ residual[0, n0 + c])
//            with GATED: silu(gate) * up, gate the product with w's first n rows, up that with the n behind them
// Shapes     x [1, k] f32, w [n, k] stored type, y [1, stride] f32; a workgroup makes 8 sums: 8 outputs, or 4 with GATED
// Bindings   include/matmul_bindings.wgsl
// Dispatch   workgroup (8, 8): lid.y is the sum, lid.x the segment (mod 8); x over ceil(n / 8), or n / 4 with GATED
// Order      segments of 256 over k: ascending inside, segments ascending; f32 throughout
// Twin       engine/src/kernels/matmul.rs (the same one: a row's bits do not depend on the batch)
#include "matmul_bindings"

var<workgroup> sh_sum: array<f32, 64>;  // [sum][segment of this round]

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
#if GATED
    let col = group.x * 4u + (lid.y & 3u);
    let base = select(up_of(col), w_of(col), lid.y < 4u);
    let is_output = lid.y < 4u && col < params.n;
#else
    let col = group.x * 8u + lid.y;
    let base = w_of(col);
    let is_output = col < params.n;
#endif
    let segments = (params.k + SEGMENT - 1u) / SEGMENT;
    var total = 0.0;
#if GATED
    var up_total = 0.0;
#endif
    for (var round = 0u; round < segments; round = round + 8u) {
        let k0 = (round + lid.x) * SEGMENT;
        let k1 = min(k0 + SEGMENT, params.k);
        var sum = 0.0;
        for (var k = k0; k < k1; k = k + 4u) {
            let vx = x4(0u, k);
            let vw = w4(base, k);
#for C 0 4
            sum = madd(sum, vx[${C}], vw[${C}]);
#endfor
        }
        sh_sum[lane] = sum;
        workgroupBarrier();
        if (lid.x == 0u) {
            let count = min(8u, segments - round);
            for (var s = 0u; s < count; s = s + 1u) {
                total = chained(total, sh_sum[lid.y * 8u + s], round + s == 0u);
#if GATED
                up_total = chained(up_total, sh_sum[((lid.y + 4u) & 7u) * 8u + s], round + s == 0u);
#endif
            }
        }
        workgroupBarrier();
    }
    if (lid.x == 0u && is_output) {
#if GATED
        end_gated(0u, col, total, up_total);
#else
        end(0u, col, total);
#endif
    }
}
