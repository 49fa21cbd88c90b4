// How many workgroups the longest list needs: arguments of an indirect dispatch.
//
// Formula    args = [ceil(max_t count_t / per_group), tiles, 1, max_t count_t], count_t = starts[t, segments]
// Shapes     starts u32 [tiles, segments + 1]; args u32 [4]: three for the dispatch, the fourth for statistics
// Bindings   0 params, 1 starts, 2 args
// Dispatch   workgroup 64, one
// Order      integers: lane i sees tiles i, i + 64, ...; then a tree of strides 32 .. 1
// Twin       engine/src/kernels/sparse/grid.rs
struct Params {
    zero: u32,       // always 0
    tiles: u32,      // tiles of rows
    segments: u32,   // segments of 256 neurons
    per_group: u32,  // entries that a workgroup of the dispatch takes
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read_write> args: array<u32>;

var<workgroup> sh_most: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var most = 0u;
    for (var t = lane; t < params.tiles; t = t + 64u) {
        most = max(most, starts[(t + 1u) * (params.segments + 1u) - 1u]);
    }
    sh_most[lane] = most;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) { sh_most[lane] = max(sh_most[lane], sh_most[lane + stride]); }
        workgroupBarrier();
    }
    if (lane == 0u) {
        args[0] = (sh_most[0] + params.per_group - 1u) / params.per_group;
        args[1] = params.tiles;
        args[2] = 1u;
        args[3] = sh_most[0];
    }
}
