// Secret projections of a stored weight matrix: what a verifier key holds in its place.
//
// Formula    v[j, c] = sum_o r[j, o] * w[o, c], continued over shards of w's rows: o0 is the shard's first, FIRST the first shard
// Shapes     r f32 [projections, n], w stored type [rows, k] (rows o0 .. o0 + rows of a matrix [n, k]), v f32 [projections, k]
// Bindings   0 params, 1 r, 2 w, 3 v
// Dispatch   workgroup 64; x over ceil(ceil(k / 4) / 64), y over ceil(projections / PROJECTIONS): an invocation makes four columns
//            of PROJECTIONS projections, so that a weight is decoded once for all of them
// Order      o in segments of 256, ascending inside, segments ascending; a shard starts at a multiple of 256, so shards change nothing
// Twin       engine/src/kernels/project.rs
struct Params {
    zero: u32,         // always 0, unknown to the compiler
    rows: u32,         // rows of w in this shard
    k: u32,            // columns of w
    n: u32,            // elements between rows of r
    o0: u32,           // first column of r
    projections: u32,  // rows of r and v
    unused0: u32,
    unused1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
#include "weights_binding"
@group(0) @binding(3) var<storage, read_write> v: array<f32>;

const SEGMENT: u32 = 256u;

#include "numerics"
#include "weights"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x * 4u;
    let j0 = id.y * ${PROJECTIONS}u;
    if (c >= params.k || j0 >= params.projections) { return; }
    let last = params.k - 1u;
#for J 0 PROJECTIONS
    let r${J} = min(j0 + ${J}u, params.projections - 1u) * params.n + params.o0;
    var total${J} = vec4<f32>(0.0);
#if FIRST
#else
#for C 0 4
    if (c + ${C}u < params.k) { total${J}[${C}] = v[min(j0 + ${J}u, params.projections - 1u) * params.k + c + ${C}u]; }
#endfor
#endif
#endfor
    for (var s = 0u; s < params.rows; s = s + SEGMENT) {
        let end = min(s + SEGMENT, params.rows);
#for J 0 PROJECTIONS
        var sum${J} = vec4<f32>(0.0);
#endfor
        for (var o = s; o < end; o = o + 1u) {
            let at = w_row(o, params.k);
#if VEC
            let wv = w4(at, c);
#else
            let wv = vec4<f32>(w1(at, c), w1(at, min(c + 1u, last)), w1(at, min(c + 2u, last)), w1(at, min(c + 3u, last)));
#endif
#for J 0 PROJECTIONS
            {
                let f = r[r${J} + o];
#for C 0 4
                sum${J}[${C}] = madd(sum${J}[${C}], f, wv[${C}]);
#endfor
            }
#endfor
        }
#for J 0 PROJECTIONS
#for C 0 4
#if FIRST
        total${J}[${C}] = select(opq(total${J}[${C}] + sum${J}[${C}]), sum${J}[${C}], s == 0u);
#else
        total${J}[${C}] = opq(total${J}[${C}] + sum${J}[${C}]);
#endif
#endfor
#endfor
    }
#for J 0 PROJECTIONS
    if (j0 + ${J}u < params.projections) {
        let row = (j0 + ${J}u) * params.k;
#for C 0 4
        if (c + ${C}u < params.k) { v[row + c + ${C}u] = total${J}[${C}]; }
#endfor
    }
#endfor
}
