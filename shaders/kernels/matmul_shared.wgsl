// Matrix product, 64 x 64 tile in workgroup memory: the portable kernel for real GPUs (16 KiB of
// workgroup memory, 64 invocations, no subgroups, no f16). With STAGE_F16, f16 weights lie there as f16: half the bytes, and exact.
//
// Formula    y[r, n0 + c] = sum_k x[r, k] * w[c, k]  (+ bias[n0 + c]) (+ residual[r, n0 + c])
//            with GATED: silu(gate) * up, gate the product with w's first n rows, up that with the n behind them
// Shapes     x [m, k] f32, w [n, k] stored type, y [m, stride] f32; a workgroup makes 64 x 64 outputs,
//            an invocation 8 x 8 of them (rows lid.y + 8 i, columns lid.x + 8 j); with GATED 64 x 32 and 8 x 4,
//            of as many sums
// Bindings   include/matmul_bindings.wgsl; with GATED also 6: part f32 [m, stride], scratch
// Dispatch   workgroup (8, 8); x over ceil(n / 64), or n / 32 with GATED, y over ceil(m / 64)
// Order      segments of 256 over k: ascending inside, segments ascending; f32 throughout
// Twin       engine/src/kernels/matmul.rs
#if STAGE_F16
enable f16;
#endif
#include "matmul_bindings"

const STEP: u32 = 16u;
var<workgroup> sh_x: array<f32, 1024>;  // [STEP][64]
#if STAGE_F16
var<workgroup> sh_w: array<f16, 1024>;  // [STEP][64]
#else
var<workgroup> sh_w: array<f32, 1024>;  // [STEP][64]
#endif

// 64 sums are what registers of every GPU hold; those of the segments before wait in y, gate's, too, and up's in `part`.
fn add_segment(row: u32, col: u32, sum: f32, first: bool, last: bool) {
    let at = row * params.stride + params.n0 + col;
    var total = sum;
    if (!first) { total = opq(y[at] + sum); }
    if (last) { end(row, col, total); } else { y[at] = total; }
}
#if GATED
@group(0) @binding(6) var<storage, read_write> part: array<f32>;
fn add_gated(row: u32, col: u32, gate_sum: f32, up_sum: f32, first: bool, last: bool) {
    let at = row * params.stride + params.n0 + col;
    var gate = gate_sum;
    var up = up_sum;
    if (!first) {
        gate = opq(y[at] + gate);
        up = opq(part[at] + up);
    }
    if (last) {
        end_gated(row, col, gate, up);
    } else {
        y[at] = gate;
        part[at] = up;
    }
}
#endif

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = group.y * 64u;
#if GATED
    let col0 = group.x * 32u;
#else
    let col0 = group.x * 64u;
#endif
    // Each invocation stages one row of either tile: 16 values in four loads.
    let stage_row = min(row0 + lane, params.m - 1u);
#if GATED
    let stage_col = select(up_of(col0 + (lane & 31u)), w_of(col0 + lane), lane < 32u);
#else
    let stage_col = w_of(col0 + lane);
#endif
    for (var k0 = 0u; k0 < params.k; k0 = k0 + SEGMENT) {
        let k1 = min(k0 + SEGMENT, params.k);
#for I 0 8
#for J 0 8
        var a${I}_${J} = 0.0;
#endfor
#endfor
        for (var k = k0; k < k1; k = k + STEP) {
            for (var s = 0u; s < STEP; s = s + 4u) {
                var vx = vec4<f32>(0.0);
                var vw = vec4<f32>(0.0);
                if (k + s < k1) {
                    vx = x4(stage_row, k + s);
                    vw = w4(stage_col, k + s);
                }
#for C 0 4
                sh_x[(s + ${C}u) * 64u + lane] = vx[${C}];
#if STAGE_F16
                sh_w[(s + ${C}u) * 64u + lane] = f16(vw[${C}]);
#else
                sh_w[(s + ${C}u) * 64u + lane] = vw[${C}];
#endif
#endfor
            }
            workgroupBarrier();
            for (var s = 0u; s < STEP; s = s + 1u) {
#for J 0 8
                let wv${J} = f32(sh_w[s * 64u + lid.x + ${J*8}u]);
#endfor
#for I 0 8
                let xv${I} = sh_x[s * 64u + lid.y + ${I*8}u];
#for J 0 8
                a${I}_${J} = madd(a${I}_${J}, xv${I}, wv${J});
#endfor
#endfor
            }
            workgroupBarrier();
        }
        let first = k0 == 0u;
        let last = k1 == params.k;
#for I 0 8
        if (row0 + lid.y + ${I*8}u < params.m) {
#if GATED
#for J 0 4
            if (col0 + lid.x + ${J*8}u < params.n) {
                add_gated(row0 + lid.y + ${I*8}u, col0 + lid.x + ${J*8}u, a${I}_${J}, a${I}_${J+4}, first, last);
            }
#endfor
#else
#for J 0 8
            if (col0 + lid.x + ${J*8}u < params.n) {
                add_segment(row0 + lid.y + ${I*8}u, col0 + lid.x + ${J*8}u, a${I}_${J}, first, last);
            }
#endfor
#endif
        }
#endfor
    }
}
