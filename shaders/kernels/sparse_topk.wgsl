// The k largest entries of each row as a mask: an exact selection by radix.
//
// Formula    bit j of row r is set for the k entries of largest |v[r, j]|, with SIGNED of largest v[r, j]; ties go to the lower
//            index; all bits where k >= n
// Shapes     v f32 [rows, n], no NaN; bits u32 [rows, words], least significant bit first, words = ceil(n / 32); bits beyond n are 0
// Bindings   0 params, 1 v, 2 bits
// Dispatch   workgroup 64, one a row; x over rows
// Order      integers: floats as keys that order alike; four passes from the highest digit of 8 bits count the keys that agree so
//            far and find the digit of the k-th; then ties ascend by a prefix sum over words. Counts do not depend on order
// Twin       engine/src/kernels/sparse/topk.rs
struct Params {
    zero: u32,   // always 0
    rows: u32,   // rows
    n: u32,      // columns of v
    words: u32,  // words of a row of bits
    k: u32,      // entries to select
    v_row: u32,  // first row of v
    unused0: u32,
    unused1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read_write> bits: array<u32>;

var<workgroup> sh_counts: array<atomic<u32>, 256>;  // keys by digit
var<workgroup> sh_digit: u32;                       // the digit of the k-th largest key
var<workgroup> sh_above: u32;                       // keys with a larger digit

#include "sparse_prefix"

// A key that orders as the value does; both zeros have one.
fn key_of(x: f32) -> u32 {
    let u = bitcast<u32>(x);
#if SIGNED
    let nonzero = select(0u, u, (u & 0x7FFFFFFFu) != 0u);
    return nonzero ^ select(0x80000000u, 0xFFFFFFFFu, nonzero >= 0x80000000u);
#else
    return u & 0x7FFFFFFFu;
#endif
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = (params.v_row + group.x) * params.n;
    // Without entries to find, the search below finds any key; what is set is then decided by k alone.
    var wanted = clamp(params.k, 1u, params.n);  // rank of the k-th largest key, from 1, among the keys with its known digits
    var prefix = 0u;                             // these digits
    var known = 0u;                              // a mask of them
#for DIGIT 0 4
    {
        let shift = ${24-DIGIT*8}u;
        for (var d = lane; d < 256u; d = d + 64u) { atomicStore(&sh_counts[d], 0u); }
        workgroupBarrier();
        for (var i = lane; i < params.n; i = i + 64u) {
            let key = key_of(v[base + i]);
            if (((key ^ prefix) & known) == 0u) { atomicAdd(&sh_counts[(key >> shift) & 255u], 1u); }
        }
        workgroupBarrier();
        // Lane i has the digits 255 - 4 i down to 252 - 4 i; the k-th key has the digit at which the count from above reaches it.
        let top = 255u - 4u * lane;
        let c0 = atomicLoad(&sh_counts[top]);
        let c1 = atomicLoad(&sh_counts[top - 1u]);
        let c2 = atomicLoad(&sh_counts[top - 2u]);
        let c3 = atomicLoad(&sh_counts[top - 3u]);
        let before = prefix_sum(c0 + c1 + c2 + c3, lane) - (c0 + c1 + c2 + c3);
        if (before < wanted && wanted <= before + c0) {
            sh_digit = top;
            sh_above = before;
        }
        if (before + c0 < wanted && wanted <= before + c0 + c1) {
            sh_digit = top - 1u;
            sh_above = before + c0;
        }
        if (before + c0 + c1 < wanted && wanted <= before + c0 + c1 + c2) {
            sh_digit = top - 2u;
            sh_above = before + c0 + c1;
        }
        if (before + c0 + c1 + c2 < wanted && wanted <= before + c0 + c1 + c2 + c3) {
            sh_digit = top - 3u;
            sh_above = before + c0 + c1 + c2;
        }
        workgroupBarrier();
        prefix = prefix | (sh_digit << shift);
        known = known | (255u << shift);
        wanted = wanted - sh_above;
        workgroupBarrier();
    }
#endfor
    // All keys above the prefix are set, and the first `wanted` that equal it.
    var ties_before = 0u;
    for (var word0 = 0u; word0 < params.words; word0 = word0 + 64u) {
        let word = word0 + lane;
        let first = word * 32u;
        var above = 0u;
        var equal = 0u;
        if (word < params.words) {
            let count = min(32u, params.n - first);
            for (var i = 0u; i < count; i = i + 1u) {
                let key = key_of(v[base + first + i]);
                above = above | (select(0u, 1u, key > prefix) << i);
                equal = equal | (select(0u, 1u, key == prefix) << i);
            }
        }
        let ties = countOneBits(equal);
        let rank = ties_before + prefix_sum(ties, lane) - ties;
        // Of this word's ties the lowest that are still wanted.
        var left = select(0u, wanted - rank, rank < wanted);
        for (; equal != 0u && left > 0u; left = left - 1u) {
            above = above | (equal & (~equal + 1u));
            equal = equal & (equal - 1u);
        }
        if (word < params.words) { bits[group.x * params.words + word] = select(above, 0u, params.k == 0u); }
        ties_before = ties_before + sh_prefix[63];
        workgroupBarrier();
    }
}
