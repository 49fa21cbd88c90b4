// Lists the set bits of a mask: the active neurons of each tile of rows.
//
// Formula    a neuron is in a tile's list when its bit is set in any of the tile's rows; lists ascend
// Shapes     bits u32 [rows, words], least significant bit first, words = ceil(n / 32); list u32 [tiles, n], of which only the
//            first starts[tile, segments] are written; starts u32 [tiles, segments + 1], segments = ceil(n / 256):
//            starts[t, s] entries lie below neuron 256 s
// Bindings   0 params, 1 bits, 2 list, 3 starts
// Dispatch   workgroup 64, one a tile of ROWS rows (the last one may have fewer); x over tiles
// Order      integers: words in blocks of 64, an inclusive prefix sum in steps of 1 .. 32, blocks ascending
// Twin       engine/src/kernels/sparse/index.rs
struct Params {
    zero: u32,      // always 0
    rows: u32,      // rows of bits
    n: u32,         // neurons
    words: u32,     // words of a row
    segments: u32,  // segments of 256 neurons
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> bits: array<u32>;
@group(0) @binding(2) var<storage, read_write> list: array<u32>;
@group(0) @binding(3) var<storage, read_write> starts: array<u32>;

#include "sparse_prefix"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.x * ${ROWS}u;
    let out = group.x * params.n;
    let first = group.x * (params.segments + 1u);
    var before = 0u;  // entries of the blocks before
    for (var word0 = 0u; word0 < params.words; word0 = word0 + 64u) {
        let word = word0 + lane;
        var left = 0u;
        if (word < params.words) {
#for R 0 ROWS
            if (row0 + ${R}u < params.rows) { left = left | bits[(row0 + ${R}u) * params.words + word]; }
#endfor
            // A neuron beyond the last one would be read outside of the weights.
            let width = params.n - word * 32u;
            if (width < 32u) { left = left & ((1u << width) - 1u); }
        }
        let count = countOneBits(left);
        var at = before + prefix_sum(count, lane) - count;
        // A segment is eight words.
        if (word < params.words && (word & 7u) == 0u) { starts[first + (word >> 3u)] = at; }
        // The list is written a bit at a time; the loop ends after 32.
        for (; left != 0u; left = left & (left - 1u)) {
            list[out + at] = word * 32u + firstTrailingBit(left);
            at = at + 1u;
        }
        before = before + sh_prefix[63];
        workgroupBarrier();
    }
    if (lane == 0u) { starts[first + params.segments] = before; }
}
