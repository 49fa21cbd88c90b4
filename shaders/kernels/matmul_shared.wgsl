// Matrix product, 64 x 64 tile in workgroup memory: the portable kernel for real GPUs (16 KiB of
// workgroup memory, 64 invocations, no subgroups, no f16).
//
// Formula    y[r, n0 + c] = sum_k x[r, k] * w[c, k]  (+ bias[n0 + c]) (+ residual[r, n0 + c])
// Shapes     x [m, k] f32, w [n, k] stored type, y [m, stride] f32; a workgroup makes 64 x 64 outputs,
//            an invocation 8 x 8 of them (rows lid.y + 8 i, columns lid.x + 8 j)
// Bindings   include/matmul_bindings.wgsl
// Dispatch   workgroup (8, 8); x over ceil(n / 64), y over ceil(m / 64)
// Order      segments of 256 over k: ascending inside, segments ascending; f32 throughout
// Twin       engine/src/kernels/matmul.rs
#include "matmul_bindings"

const STEP: u32 = 16u;
var<workgroup> sh_x: array<f32, 1024>;  // [STEP][64]
var<workgroup> sh_w: array<f32, 1024>;  // [STEP][64]

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = group.y * 64u;
    let col0 = group.x * 64u;
    // Each invocation stages one row of either tile: 16 values in four loads.
    let stage_row = min(row0 + lane, params.m - 1u);
    let stage_col = w_row(min(col0 + lane, params.n - 1u), params.k);
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
                sh_w[(s + ${C}u) * 64u + lane] = vw[${C}];
#endfor
            }
            workgroupBarrier();
            for (var s = 0u; s < STEP; s = s + 1u) {
#for J 0 8
                let wv${J} = sh_w[s * 64u + lid.x + ${J*8}u];
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
#for J 0 8
            if (col0 + lid.x + ${J*8}u < params.n) {
                add_segment(row0 + lid.y + ${I*8}u, col0 + lid.x + ${J*8}u, a${I}_${J}, first, last);
            }
#endfor
        }
#endfor
    }
}
