//! From values to masks: the largest, and the large ones, against their twins.

use assay_engine::Numerics;
use assay_engine::kernels::sparse::{Mask, Tile, threshold, topk};

use crate::support::{BOTH, Chain, Launch, MASKS, Seeded, X_ROW, buffer_of, on_every_gpu};

/// Random values; few different ones, of both signs and with both zeros, so that most are ties; equal ones; all but one digit equal.
fn values(seeded: &mut Seeded, kind: usize, count: usize) -> Vec<f32> {
    match kind {
        0 => seeded.floats(count),
        1 => (0..count)
            .map(|_| [0.0, -0.0, 0.5, -0.5, 2.0, -1e-40, 3e38][seeded.below(7)])
            .collect(),
        2 => vec![-1.5; count],
        _ => (0..count)
            .map(|_| f32::from_bits(0x3F80_0000 | seeded.below(300) as u32))
            .collect(),
    }
}

#[test]
fn the_largest_match_their_twin() {
    on_every_gpu(|gpu| {
        let mut seeded = Seeded(5);
        for (i, (r, n)) in MASKS.into_iter().enumerate() {
            for (kind, measure) in
                (0..4).flat_map(|k| [(k, topk::Measure::Magnitude), (k, topk::Measure::Signed)])
            {
                let mask = Mask {
                    rows: r,
                    n,
                    tile: Tile::One,
                };
                let v = values(&mut seeded, kind, (X_ROW as u32 + r) as usize * n as usize);
                for k in [0, 1, n / 10 + 2, n.saturating_sub(1), n, n + 7] {
                    let mut want = vec![u32::MAX; mask.bits_bytes() as usize / 4];
                    let seen = &v[X_ROW * n as usize..];
                    topk::cpu(measure, seen, n as usize, k as usize, &mut want);
                    let (v, bits) = (
                        buffer_of(gpu, &v),
                        buffer_of(gpu, &vec![u32::MAX; want.len()]),
                    );
                    let mut chain = Chain::new(gpu);
                    let (params, groups) = topk::dispatch(r, n, k, X_ROW as u32);
                    chain.step(
                        &topk::key(measure),
                        params,
                        Launch::Grid(groups),
                        &[(1, &v), (2, &bits)],
                    );
                    let got = chain.run(&[&bits]);
                    let name = &gpu.info.name;
                    assert_eq!(
                        got[0][..want.len()],
                        want,
                        "{i}: {r} x {n}, k {k}, {measure:?} of {kind} on {name}"
                    );
                    let chosen: u32 = want.iter().map(|w| w.count_ones()).sum();
                    assert_eq!(chosen, r * k.min(n));
                }
            }
        }
    });
}

/// On a wide row, as a model has, and against a plain count.
#[test]
fn the_largest_of_a_wide_row_are_the_largest() {
    on_every_gpu(|gpu| {
        let (n, k) = (14336, 1434);
        let v = Seeded(6).floats(n);
        let (buffer, bits) = (buffer_of(gpu, &v), buffer_of(gpu, &vec![0u32; n / 32]));
        let mut chain = Chain::new(gpu);
        let (params, groups) = topk::dispatch(1, n as u32, k, 0);
        let key = topk::key(topk::Measure::Magnitude);
        chain.step(
            &key,
            params,
            Launch::Grid(groups),
            &[(1, &buffer), (2, &bits)],
        );
        let got = chain.run(&[&bits]);
        let is_set = |j: usize| got[0][j / 32] >> (j % 32) & 1 == 1;
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..n).partition(|j| is_set(*j));
        assert_eq!(inside.len(), k as usize);
        let least = inside.iter().map(|j| v[*j].abs()).fold(f32::MAX, f32::min);
        let most = outside.iter().map(|j| v[*j].abs()).fold(0.0, f32::max);
        assert!(most <= least, "{most} is not set, {least} is");
    });
}

#[test]
fn thresholds_match_their_twin() {
    use threshold::Measure;
    on_every_gpu(|gpu| {
        let mut seeded = Seeded(7);
        for numerics in BOTH {
            for (r, n) in MASKS {
                for (kind, measure) in (0..4).flat_map(|k| {
                    [Measure::Magnitude, Measure::Silu, Measure::Relu].map(|m| (k, m))
                }) {
                    // Under fast numerics a SiLU that is *at* the threshold may fall on either side.
                    if numerics == Numerics::Fast && measure == Measure::Silu && kind != 0 {
                        continue;
                    }
                    let v = values(&mut seeded, kind, (X_ROW as u32 + r) as usize * n as usize);
                    for t in [0.0, 0.25, 0.5, 1.0] {
                        let mut want = vec![u32::MAX; (r * n.div_ceil(32)) as usize];
                        threshold::cpu(measure, &v[X_ROW * n as usize..], n as usize, t, &mut want);
                        let (v, bits) = (
                            buffer_of(gpu, &v),
                            buffer_of(gpu, &vec![u32::MAX; want.len()]),
                        );
                        let mut chain = Chain::new(gpu);
                        let (params, groups) = threshold::dispatch(r, n, t, X_ROW as u32);
                        let key = threshold::key(measure, numerics);
                        chain.step(&key, params, Launch::Grid(groups), &[(1, &v), (2, &bits)]);
                        let got = chain.run(&[&bits]);
                        let name = &gpu.info.name;
                        assert_eq!(
                            got[0][..want.len()],
                            want,
                            "{r} x {n}, {measure:?} of {kind} at {t} on {name}"
                        );
                    }
                }
            }
        }
    });
}
