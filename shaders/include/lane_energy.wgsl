// Sum of squares of a row by a workgroup of 64: lane i adds the squares of columns i, i + 64, ... ascending; then the tree.
// Needs the binding `x`. Twin: lane_energy in engine/src/kernels/mod.rs.
#include "lane_tree"

fn lane_energy(base: u32, n: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var c = lane; c < n; c = c + 64u) {
        let v = x[base + c];
        sum = madd(sum, v, v);
    }
    return lane_tree(sum, lane);
}
