// Sum of squares of a row by a workgroup of 64: lane i adds the squares of columns i, i + 64, ... ascending; then a tree of strides
// 32 .. 1. Needs the binding `x`. Twin: lane_energy in engine/src/kernels/mod.rs.
var<workgroup> sh_sum: array<f32, 64>;

fn lane_energy(base: u32, n: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var c = lane; c < n; c = c + 64u) {
        let v = x[base + c];
        sum = madd(sum, v, v);
    }
    sh_sum[lane] = sum;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) { sh_sum[lane] = opq(sh_sum[lane] + sh_sum[lane + stride]); }
        workgroupBarrier();
    }
    return sh_sum[0];
}
