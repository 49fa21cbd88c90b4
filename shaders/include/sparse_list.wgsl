// The active neurons of a tile of rows: bindings 6 `list` and 7 `starts`, made by sparse_index. Needs params.n and params.segments.
//   list    u32 [tiles, n]              neurons, ascending; with SLOTS pairs (neuron, row of the weights) for weights that are a cache
//   starts  u32 [tiles, segments + 1]   entries below neuron 256 s; the last one is how many there are
//
// A sum over the list that is cut where the *neuron* passes a multiple of SEGMENT has the bits of the dense sum over masked
// values: there a neuron that is not active adds 0 * w, which changes nothing (a sum that starts at +0 is never -0), and a segment
// without an active neuron adds +0. This needs finite weights.
#if SLOTS
@group(0) @binding(6) var<storage, read> list: array<vec2<u32>>;
fn neuron_of(i: u32) -> u32 { return list[i].x; }
fn slot_of(i: u32) -> u32 { return list[i].y; }
#else
@group(0) @binding(6) var<storage, read> list: array<u32>;
fn neuron_of(i: u32) -> u32 { return list[i]; }
fn slot_of(i: u32) -> u32 { return list[i]; }
#endif
@group(0) @binding(7) var<storage, read> starts: array<u32>;

const SEGMENT: u32 = 256u;

fn count_of(tile: u32) -> u32 { return starts[(tile + 1u) * (params.segments + 1u) - 1u]; }
