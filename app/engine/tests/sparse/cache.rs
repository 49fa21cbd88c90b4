//! The cache of active neurons' weights against a fresh one, over random walks of masks.

use std::borrow::Cow;

use assay_engine::kernels::matmul::{Epilogue, Stored};
use assay_engine::kernels::sparse::cache::{CacheError, HostRows, Moved, RowSource, WeightCache};
use assay_engine::kernels::sparse::rows::{Gate, Mode};
use assay_engine::kernels::sparse::{Mask, Path, Tile, index, rows, sum};
use assay_engine::{EngineError, Gpu, Numerics};
use assay_model::Dtype;

use crate::support::{
    Chain, Launch, Seeded, UNTOUCHED, agree, buffer_of, on_every_gpu, store, transposed,
};

const N: usize = 300;
const K: usize = 24;
const D: usize = 20;
const DTYPE: Dtype = Dtype::BF16;

/// One layer's weights in host memory.
struct Layer {
    gate: Vec<u8>,
    up: Vec<u8>,
    /// [N, D]: down transposed.
    down: Vec<u8>,
    x: Vec<f32>,
}

impl Layer {
    fn new(seed: u64) -> Self {
        let mut seeded = Seeded(seed);
        let mut of = |n: usize, k: usize| store(DTYPE, &seeded.floats(n * k));
        let (gate, up, down) = (of(N, K), of(N, K), of(D, N));
        let down = transposed(stored(&down, D, N));
        let x = seeded.floats(K);
        Self { gate, up, down, x }
    }

    fn host(&self) -> HostRows<'_> {
        let (k, d) = (DTYPE.row_bytes(K), DTYPE.row_bytes(D));
        HostRows::new(vec![
            (&self.gate[..], k),
            (&self.up[..], k),
            (&self.down[..], d),
        ])
    }
}

fn stored(bytes: &[u8], n: usize, k: usize) -> Stored<'_> {
    let dtype = DTYPE;
    Stored { dtype, bytes, n, k }
}

fn mask() -> Mask {
    Mask {
        rows: 1,
        n: N as u32,
        tile: Tile::One,
    }
}

fn empty(gpu: &Gpu, capacity: u32) -> WeightCache {
    let (k, d) = ((DTYPE.row_bytes(K)) as u64, (DTYPE.row_bytes(D)) as u64);
    pollster::block_on(WeightCache::new(gpu, N as u32, capacity, &[k, k, d])).expect("memory")
}

fn update(gpu: &Gpu, cache: &mut WeightCache, bits: &[u32], layer: &Layer) -> Moved {
    pollster::block_on(cache.update(gpu, bits, &layer.host())).expect("it fits")
}

/// The sparse MLP over the cache's rows.
fn run(gpu: &Gpu, cache: &WeightCache, layer: &Layer) -> Vec<u32> {
    let (path, tile, dtype, slots) = (Path::of(&gpu.info.variants), Tile::One, DTYPE, true);
    let of_rows = rows::Variant {
        path,
        tile,
        mode: Mode::Gated,
        dtype,
        bias: false,
        slots,
    };
    let of_sum = sum::Variant {
        path,
        tile,
        dtype,
        epilogue: Epilogue::default(),
        slots,
    };
    let (x, a) = (buffer_of(gpu, &layer.x), buffer_of(gpu, &[UNTOUCHED; N]));
    let y = buffer_of(gpu, &[UNTOUCHED; D]);
    let of = |matrix| cache.weights(matrix).expect("there are three");
    let mut chain = Chain::new(gpu);
    let (params, groups) = rows::dispatch(of_rows, mask(), K as u32, 0);
    let bound = [
        (1, &x),
        (2, of(1)),
        (3, of(0)),
        (6, cache.list()),
        (7, cache.starts()),
        (8, &a),
    ];
    let key = rows::key(of_rows, K, Numerics::Strict);
    chain.step(&key, params, Launch::Grid(groups), &bound);
    let (params, groups) = sum::dispatch(path, mask(), D as u32, 0);
    let bound = [
        (1, &a),
        (2, of(2)),
        (6, cache.list()),
        (7, cache.starts()),
        (8, &y),
    ];
    let key = sum::key(of_sum, D, Numerics::Strict);
    chain.step(&key, params, Launch::Grid(groups), &bound);
    chain.run(&[&y]).remove(0)
}

/// The twins, which know no slots.
fn twins(layer: &Layer, bits: &[u32]) -> Vec<f32> {
    let mut list = vec![0; N];
    let mut starts = vec![0; mask().segments() as usize + 1];
    index::cpu(mask(), bits, &mut list, &mut starts);
    let (mut a, mut y) = (vec![UNTOUCHED; N], vec![UNTOUCHED; D]);
    let (gate, up) = (
        Gate::Weights(stored(&layer.gate, N, K)),
        stored(&layer.up, N, K),
    );
    rows::cpu(mask(), &layer.x, gate, up, None, &list, &starts, &mut a);
    let down = stored(&layer.down, N, D);
    sum::cpu(mask(), &a, down, bits, &list, &starts, None, None, &mut y);
    y
}

fn count(bits: impl Iterator<Item = u32>) -> u32 {
    bits.map(u32::count_ones).sum()
}

#[test]
fn results_do_not_depend_on_the_masks_before() {
    on_every_gpu(|gpu| {
        let (layer, capacity) = (Layer::new(1), 120);
        let mut seeded = Seeded(2);
        let mut cache = empty(gpu, capacity);
        let mut before = vec![0; N.div_ceil(32)];
        for step in 0..24 {
            // A few neurons change, or all may; now and then none is active, or only one.
            let bits = match step % 8 {
                3 => seeded.bits(mask(), 30),
                5 => vec![0; before.len()],
                6 => (0..before.len() as u32)
                    .map(|w| u32::from(w == 9) << 11)
                    .collect(),
                _ => {
                    let mut bits: Vec<u32> = before.clone();
                    for _ in 0..seeded.below(25) {
                        let j = seeded.below(N);
                        bits[j / 32] ^= 1 << (j % 32);
                    }
                    bits
                }
            };
            let active = count(bits.iter().copied());
            assert!(active <= capacity, "the walk fits");
            let moved = update(gpu, &mut cache, &bits, &layer);
            let pairs = || before.iter().zip(&bits);
            let want = Moved {
                added: count(pairs().map(|(old, new)| new & !old)),
                removed: count(pairs().map(|(old, new)| old & !new)),
                kept: count(pairs().map(|(old, new)| old & new)),
            };
            assert_eq!(moved, want, "step {step}");
            assert_eq!(
                moved.added + moved.removed,
                count(pairs().map(|(old, new)| old ^ new))
            );
            assert_eq!(cache.neurons().len() as u32, active);
            assert!(cache.neurons().is_sorted());

            let mut fresh = empty(gpu, capacity);
            assert_eq!(update(gpu, &mut fresh, &bits, &layer).added, active);
            let (got, want) = (run(gpu, &cache, &layer), run(gpu, &fresh, &layer));
            assert!(got == want, "step {step} on {}", gpu.info.name);
            agree(
                &format!("step {step}"),
                Numerics::Strict,
                &got,
                &twins(&layer, &bits),
            );
            before = bits;
        }
    });
}

/// What comes takes the places of what goes, both ascending; then the lowest free ones.
#[test]
fn places_are_taken_in_order() {
    on_every_gpu(|gpu| {
        let layer = Layer::new(3);
        let mut cache = empty(gpu, 6);
        let of = |active: &[u32]| {
            let mut bits = vec![0; N.div_ceil(32)];
            for j in active {
                bits[*j as usize / 32] |= 1 << (j % 32);
            }
            bits
        };
        let slots = |cache: &WeightCache| -> Vec<u32> {
            cache
                .neurons()
                .iter()
                .filter_map(|j| cache.slot(*j))
                .collect()
        };
        update(gpu, &mut cache, &of(&[10, 20, 30, 40]), &layer);
        assert_eq!(slots(&cache), [0, 1, 2, 3]);
        // 20 and 40 go, 5, 35 and 250 come: into 1, 3 and the lowest free one, 4.
        let moved = update(gpu, &mut cache, &of(&[5, 10, 30, 35, 250]), &layer);
        assert_eq!(
            moved,
            Moved {
                added: 3,
                removed: 2,
                kept: 2
            }
        );
        assert_eq!(slots(&cache), [1, 0, 2, 3, 4]);
        // Three go and nothing comes; then the lowest of their places are taken.
        update(gpu, &mut cache, &of(&[30, 250]), &layer);
        assert_eq!(slots(&cache), [2, 4]);
        update(gpu, &mut cache, &of(&[30, 100, 250]), &layer);
        assert_eq!(slots(&cache), [2, 0, 4]);
        assert_eq!(cache.slot(5), None);
    });
}

/// Rows of a batch: what any of them needs is there.
#[test]
fn a_batch_has_the_union_of_its_rows() {
    on_every_gpu(|gpu| {
        let layer = Layer::new(4);
        let mut cache = empty(gpu, 8);
        let words = N.div_ceil(32);
        let mut bits = vec![0; 3 * words];
        bits[0] = 0b101;
        bits[words] = 0b1100;
        bits[2 * words + 9] = 1 << 11;
        update(gpu, &mut cache, &bits, &layer);
        assert_eq!(cache.neurons(), [0, 2, 3, 299]);
    });
}

#[test]
fn more_neurons_than_slots_are_an_error_that_changes_nothing() {
    on_every_gpu(|gpu| {
        let layer = Layer::new(5);
        let mut cache = empty(gpu, 8);
        let mut bits = vec![0; N.div_ceil(32)];
        bits[3] = 0xFF;
        update(gpu, &mut cache, &bits, &layer);
        let before = run(gpu, &cache, &layer);
        let mut more = bits.clone();
        more[5] = 1;
        let refused = pollster::block_on(cache.update(gpu, &more, &layer.host()));
        assert!(matches!(
            refused,
            Err(CacheError::Capacity {
                active: 9,
                capacity: 8
            })
        ));
        assert!(run(gpu, &cache, &layer) == before);
        assert_eq!(update(gpu, &mut cache, &bits, &layer).kept, 8);
        for wrong in [&more[1..], &[]] {
            let refused = pollster::block_on(cache.update(gpu, wrong, &layer.host()));
            assert!(matches!(refused, Err(CacheError::Mask { .. })));
        }
    });
}

/// A source that fails, or lies about a row's length, empties the cache; the next update fills it again.
#[test]
fn a_failed_update_leaves_nothing_behind() {
    struct Broken<'a>(&'a Layer, bool);
    impl RowSource for Broken<'_> {
        fn row(&self, matrix: usize, neuron: u32) -> Result<Cow<'_, [u8]>, EngineError> {
            match (neuron, self.1) {
                (7, true) => Err(EngineError::Cancelled),
                (7, false) => Ok(Cow::Borrowed(&[0; 4])),
                _ => Ok(Cow::Owned(self.0.host().row(matrix, neuron)?.into_owned())),
            }
        }
    }
    on_every_gpu(|gpu| {
        let layer = Layer::new(6);
        let mut cache = empty(gpu, 16);
        let mut bits = vec![0; N.div_ceil(32)];
        bits[0] = 0x1F;
        update(gpu, &mut cache, &bits, &layer);
        bits[0] = 0xFC;
        for fails in [true, false] {
            let failed = pollster::block_on(cache.update(gpu, &bits, &Broken(&layer, fails)));
            match failed {
                Err(CacheError::Engine(EngineError::Cancelled)) => assert!(fails),
                Err(CacheError::Row {
                    neuron: 7, got: 4, ..
                }) => assert!(!fails),
                other => panic!("{other:?}"),
            }
            assert!(cache.neurons().is_empty());
        }
        assert_eq!(update(gpu, &mut cache, &bits, &layer).added, 6);
        let want = twins(&layer, &bits);
        agree(
            "after failures",
            Numerics::Strict,
            &run(gpu, &cache, &layer),
            &want,
        );
    });
}

/// More rows than one round stages, and rows that cannot be copied.
#[test]
fn long_rows_take_several_rounds() {
    on_every_gpu(|gpu| {
        let (n, bytes) = (5u32, 6usize << 20);
        let matrix: Vec<u8> = (0..n as usize * bytes)
            .map(|i| (i / bytes * 50 + i % 13) as u8)
            .collect();
        let cache = async { WeightCache::new(gpu, n, n, &[bytes as u64]).await };
        let mut cache = pollster::block_on(cache).expect("memory");
        let source = HostRows::new(vec![(&matrix[..], bytes)]);
        let moved = pollster::block_on(cache.update(gpu, &[0b11111], &source)).expect("it fits");
        assert_eq!(moved.added, 5);
        let held = Chain::new(gpu)
            .run(&[cache.weights(0).expect("one")])
            .remove(0);
        assert!(bytemuck::cast_slice::<u32, u8>(&held) == matrix);
        let refused = pollster::block_on(WeightCache::new(gpu, n, n, &[6]));
        assert!(matches!(refused, Err(CacheError::RowBytes(6))));
    });
}
