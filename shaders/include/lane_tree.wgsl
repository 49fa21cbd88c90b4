// Sum over a workgroup of 64 in a fixed tree of strides 32 .. 1; every lane gets it. Between two calls goes a workgroupBarrier.
// Twin: lane_tree in engine/src/kernels/mod.rs.
var<workgroup> sh_sum: array<f32, 64>;

fn lane_tree(sum: f32, lane: u32) -> f32 {
    sh_sum[lane] = sum;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) { sh_sum[lane] = opq(sh_sum[lane] + sh_sum[lane + stride]); }
        workgroupBarrier();
    }
    return sh_sum[0];
}
