//! Each kernel against its twin, over odd shapes.

use assay_engine::Numerics;
use assay_engine::gpu::Bound;
use assay_engine::kernels::matmul::{Epilogue, Stored};
use assay_engine::kernels::sparse::rows::{Gate, Mode};
use assay_engine::kernels::sparse::{Mask, Path, Tile, grid, index, rows, sum};

use assay_model::Dtype;

use crate::support::{
    BOTH, Chain, DTYPES, Launch, MASKS, Seeded, UNTOUCHED, Weights, X_ROW, agree, arguments,
    buffer_of, on_every_gpu, store,
};

/// A mask with its lists from the twin; what the lists do not use is marked.
struct Lists {
    bits: Vec<u32>,
    list: Vec<u32>,
    starts: Vec<u32>,
}

impl Lists {
    fn new(mask: Mask, bits: Vec<u32>) -> Self {
        let mut list = vec![u32::MAX; mask.list_bytes() as usize / 4];
        let mut starts = vec![u32::MAX; mask.starts_bytes() as usize / 4];
        index::cpu(mask, &bits, &mut list, &mut starts);
        Self { bits, list, starts }
    }

    /// The lists with a slot beside each neuron.
    fn pairs(&self, slots: &[u32]) -> Vec<u32> {
        let slot = |j: &u32| slots.get(*j as usize).copied().unwrap_or(u32::MAX);
        self.list.iter().flat_map(|j| [*j, slot(j)]).collect()
    }
}

#[test]
fn lists_match_their_twin() {
    on_every_gpu(|gpu| {
        let mut seeded = Seeded(1);
        for (rows, n) in MASKS {
            for (tile, percent) in Tile::ALL.into_iter().zip([0, 10, 60, 100]) {
                let mask = Mask { rows, n, tile };
                let mut bits = seeded.bits(mask, percent);
                if percent == 0 {
                    // One neuron, the last.
                    bits[n as usize / 32 - usize::from(n % 32 == 0)] = 1 << ((n - 1) % 32);
                }
                let clean = Lists::new(mask, bits.clone());
                // What lies beyond the last neuron must not be listed.
                if !n.is_multiple_of(32) {
                    for row in bits.chunks_exact_mut(mask.words() as usize) {
                        row[mask.words() as usize - 1] |= u32::MAX << (n % 32);
                    }
                }
                let unused = vec![u32::MAX; clean.list.len().max(clean.starts.len())];
                let (bits, list) = (
                    buffer_of(gpu, &bits),
                    buffer_of(gpu, &unused[..clean.list.len()]),
                );
                let (starts, args) = (
                    buffer_of(gpu, &unused[..clean.starts.len()]),
                    arguments(gpu),
                );
                let mut chain = Chain::new(gpu);
                let (params, groups) = index::dispatch(mask);
                let bound = [(1, &bits), (2, &list), (3, &starts)];
                chain.step(&index::key(tile), params, Launch::Grid(groups), &bound);
                let (params, groups) = grid::dispatch(mask, 24);
                let bound = [(1, &starts), (2, &args)];
                chain.step(&grid::key(), params, Launch::Grid(groups), &bound);
                let got = chain.run(&[&list, &starts, &args]);
                let name = &gpu.info.name;
                assert_eq!(got[0][..clean.list.len()], clean.list, "{mask:?} on {name}");
                assert_eq!(
                    got[1][..clean.starts.len()],
                    clean.starts,
                    "{mask:?} on {name}"
                );
                assert_eq!(
                    got[2],
                    grid::cpu(mask, &clean.starts, 24),
                    "{mask:?} on {name}"
                );
            }
        }
    });
}

/// More tiles than the grid kernel has lanes.
#[test]
fn the_longest_of_many_lists_sizes_the_dispatch() {
    on_every_gpu(|gpu| {
        let mask = Mask {
            rows: 150,
            n: 40,
            tile: Tile::One,
        };
        let mut bits = Seeded(2).bits(mask, 20);
        bits[2 * 97] = u32::MAX;
        let lists = Lists::new(mask, bits);
        let (starts, args) = (buffer_of(gpu, &lists.starts), arguments(gpu));
        let mut chain = Chain::new(gpu);
        let (params, groups) = grid::dispatch(mask, 8);
        chain.step(
            &grid::key(),
            params,
            Launch::Grid(groups),
            &[(1, &starts), (2, &args)],
        );
        let want = grid::cpu(mask, &lists.starts, 8);
        assert!(want[3] >= 32 && want[0] == want[3].div_ceil(8) && want[1] == 150);
        assert_eq!(chain.run(&[&args])[0], want);
    });
}

#[test]
fn rows_match_their_twin() {
    let modes = [Mode::Gated, Mode::WithGate, Mode::Relu];
    // Rows, neurons, columns: all loaders, edges of a segment, more segments than lanes, more neurons than one workgroup takes.
    let shapes = [
        (1, 1, 1),
        (1, 300, 264),
        (3, 70, 257),
        (5, 33, 512),
        (9, 40, 2316),
        (2, 700, 12),
    ];
    on_every_gpu(|gpu| {
        let mut case = 0;
        for path in [Path::Registers, Path::Lanes] {
            for numerics in BOTH {
                for mode in modes {
                    for (r, n, k) in shapes {
                        case += 1;
                        if numerics == Numerics::Fast && case / 4 % 2 == 0 {
                            continue;
                        }
                        let variant = rows::Variant {
                            path,
                            tile: Tile::ALL[(case + case / 4) % 4],
                            mode,
                            dtype: DTYPES[(case + case / 6) % 3],
                            bias: case % 2 == 0,
                            slots: case % 5 < 2,
                        };
                        let percent = [30, 100, 5, 0][case / 2 % 4];
                        rows_case(gpu, numerics, variant, (r, n, k), percent);
                    }
                }
            }
        }
    });
}

/// The kernels that read textures and share among lanes of eight, over every edge that they have: where they can run.
#[test]
fn texels_match_their_twins() {
    // Rows, neurons, columns: less than a texel's row of lanes, edges of a segment, ragged tiles and groups.
    let shapes = [
        (1, 1, 8),
        (1, 300, 264),
        (3, 70, 256),
        (5, 33, 520),
        (9, 257, 2320),
    ];
    on_every_gpu(|gpu| {
        if gpu.info.subgroup != 8 {
            println!("skipped: subgroups of {} are not 8 wide", gpu.info.name);
            return;
        }
        let path = Path::Texels;
        let mut case = 0;
        for numerics in BOTH {
            for (r, n, k) in shapes {
                for tile in Tile::ALL {
                    case += 1;
                    if numerics == Numerics::Fast && case % 2 == 0 {
                        continue;
                    }
                    let dtype = [Dtype::BF16, Dtype::F16][case / 2 % 2];
                    let percent = [30, 100, 5, 0][(case + case / 4) % 4];
                    let (bias, slots) = (case / 4 % 2 == 0, case % 5 < 2);
                    let of_rows = rows::Variant {
                        path,
                        tile,
                        mode: [Mode::Gated, Mode::WithGate, Mode::Relu][case % 3],
                        dtype,
                        bias,
                        slots,
                    };
                    rows_case(gpu, numerics, of_rows, (r, n, k), percent);
                    let residual = case % 3 == 0;
                    let of_sum = sum::Variant {
                        path,
                        tile,
                        dtype,
                        epilogue: Epilogue { bias, residual },
                        slots,
                    };
                    sum_case(gpu, numerics, of_sum, (r, n, k), percent);
                }
            }
        }
    });
}

fn rows_case(
    gpu: &assay_engine::Gpu,
    numerics: Numerics,
    variant: rows::Variant,
    (r, n, k): (u32, u32, usize),
    percent: u64,
) {
    let mut seeded = Seeded(u64::from(n) + k as u64);
    let mask = Mask {
        rows: r,
        n,
        tile: variant.tile,
    };
    let lists = Lists::new(mask, seeded.bits(mask, percent));
    let x = seeded.floats((X_ROW + r as usize) * k);
    let (up, gate) = (
        store(variant.dtype, &seeded.floats(n as usize * k)),
        store(variant.dtype, &seeded.floats(n as usize * k)),
    );
    let values = seeded.floats((r * n) as usize);
    let bias = seeded.floats(if variant.mode == Mode::Gated {
        2 * n
    } else {
        n
    } as usize);
    let mut want = vec![UNTOUCHED; (r * n) as usize];
    let stored = |bytes| Stored {
        dtype: variant.dtype,
        bytes,
        n: n as usize,
        k,
    };
    let twin = match variant.mode {
        Mode::Gated => Gate::Weights(stored(&gate)),
        Mode::WithGate => Gate::Values(&values),
        Mode::Relu => Gate::None,
    };
    let (own_bias, seen) = (variant.bias.then_some(&bias[..]), &x[X_ROW * k..]);
    rows::cpu(
        mask,
        seen,
        twin,
        stored(&up),
        own_bias,
        &lists.list,
        &lists.starts,
        &mut want,
    );

    // A cache: rows in another order, with room before them.
    let slots: Vec<u32> = (0..n).rev().map(|j| j + 3).collect();
    let place = |bytes: &[u8]| {
        let row = variant.dtype.row_bytes(k);
        if !variant.slots {
            return Weights::new(gpu, variant.path, row, bytes);
        }
        let mut placed = vec![0xFF; (n as usize + 3) * row];
        for (bytes, slot) in bytes.chunks_exact(row).zip(&slots) {
            placed[*slot as usize * row..][..row].copy_from_slice(bytes);
        }
        Weights::new(gpu, variant.path, row, &placed)
    };
    let (up, gate) = (place(&up), place(&gate));
    let list = if variant.slots {
        buffer_of(gpu, &lists.pairs(&slots))
    } else {
        buffer_of(gpu, &lists.list)
    };
    let (x, values, bias) = (
        buffer_of(gpu, &x),
        buffer_of(gpu, &values),
        buffer_of(gpu, &bias),
    );
    let (starts, args) = (buffer_of(gpu, &lists.starts), arguments(gpu));
    let y = buffer_of(gpu, &vec![UNTOUCHED; want.len()]);
    let mut bound: Vec<(u32, Bound<'_>)> = vec![
        (1, (&x).into()),
        (2, up.bound()),
        (6, (&list).into()),
        (7, (&starts).into()),
        (8, (&y).into()),
    ];
    match variant.mode {
        Mode::Gated => bound.push((3, gate.bound())),
        Mode::WithGate => bound.push((4, (&values).into())),
        Mode::Relu => {}
    }
    if variant.bias {
        bound.push((5, (&bias).into()));
    }
    let mut chain = Chain::new(gpu);
    let (params, groups) = grid::dispatch(mask, rows::per_group(variant));
    chain.step(
        &grid::key(),
        params,
        Launch::Grid(groups),
        &[(1, &starts), (2, &args)],
    );
    let (params, most) = rows::dispatch(variant, mask, k as u32, X_ROW as u32);
    // Half of the cases without the grid kernel: workgroups beyond the lists do nothing.
    let launch = if k % 2 == 0 {
        Launch::Indirect(&args)
    } else {
        Launch::Grid(most)
    };
    chain.step(&rows::key(variant, k, numerics), params, launch, &bound);
    let what = format!(
        "{variant:?} {r} x {n} x {k} {numerics:?} on {}",
        gpu.info.name
    );
    agree(&what, numerics, &chain.run(&[&y])[0], &want);
}

#[test]
fn sums_match_their_twin() {
    // Rows, neurons, columns: all loaders, more segments than lanes, more columns than one workgroup takes.
    let shapes = [
        (1, 1, 1),
        (1, 300, 520),
        (3, 257, 7),
        (5, 33, 264),
        (9, 512, 33),
        (2, 2310, 4),
    ];
    on_every_gpu(|gpu| {
        let mut case = 0;
        for path in [Path::Registers, Path::Lanes] {
            for numerics in BOTH {
                for dtype in DTYPES {
                    for (r, n, d) in shapes {
                        case += 1;
                        if numerics == Numerics::Fast && case / 4 % 2 == 0 {
                            continue;
                        }
                        let epilogue = Epilogue {
                            bias: case % 2 == 0,
                            residual: case % 3 == 0,
                        };
                        let tile = Tile::ALL[(case + case / 4) % 4];
                        let variant = sum::Variant {
                            path,
                            tile,
                            dtype,
                            epilogue,
                            slots: case % 5 < 2,
                        };
                        let percent = [30, 100, 5, 0][case / 2 % 4];
                        sum_case(gpu, numerics, variant, (r, n, d), percent);
                    }
                }
            }
        }
    });
}

fn sum_case(
    gpu: &assay_engine::Gpu,
    numerics: Numerics,
    variant: sum::Variant,
    (r, n, d): (u32, u32, usize),
    percent: u64,
) {
    let mut seeded = Seeded(u64::from(n) * 3 + d as u64);
    let mask = Mask {
        rows: r,
        n,
        tile: variant.tile,
    };
    let lists = Lists::new(mask, seeded.bits(mask, percent));
    let a = seeded.floats((X_ROW as u32 + r) as usize * n as usize);
    let w = store(variant.dtype, &seeded.floats(n as usize * d));
    let (bias, residual) = (seeded.floats(d), seeded.floats(r as usize * d));
    let mut want = vec![UNTOUCHED; r as usize * d];
    sum::cpu(
        mask,
        &a[X_ROW * n as usize..],
        Stored {
            dtype: variant.dtype,
            bytes: &w,
            n: n as usize,
            k: d,
        },
        &lists.bits,
        &lists.list,
        &lists.starts,
        variant.epilogue.bias.then_some(&bias[..]),
        variant.epilogue.residual.then_some(&residual[..]),
        &mut want,
    );
    let slots: Vec<u32> = (0..n).map(|j| (j + n / 2) % n).collect();
    let row = variant.dtype.row_bytes(d);
    let mut placed = w.clone();
    if variant.slots {
        for (bytes, slot) in w.chunks_exact(row).zip(&slots) {
            placed[*slot as usize * row..][..row].copy_from_slice(bytes);
        }
    }
    let list = if variant.slots {
        buffer_of(gpu, &lists.pairs(&slots))
    } else {
        buffer_of(gpu, &lists.list)
    };
    let (a, w, bits) = (
        buffer_of(gpu, &a),
        Weights::new(gpu, variant.path, row, &placed),
        buffer_of(gpu, &lists.bits),
    );
    let (bias, residual) = (buffer_of(gpu, &bias), buffer_of(gpu, &residual));
    let (starts, y) = (
        buffer_of(gpu, &lists.starts),
        buffer_of(gpu, &vec![UNTOUCHED; want.len()]),
    );
    let mut bound: Vec<(u32, Bound<'_>)> = vec![
        (1, (&a).into()),
        (2, w.bound()),
        (6, (&list).into()),
        (7, (&starts).into()),
        (8, (&y).into()),
    ];
    if variant.tile != Tile::One {
        bound.push((3, (&bits).into()));
    }
    if variant.epilogue.bias {
        bound.push((4, (&bias).into()));
    }
    if variant.epilogue.residual {
        bound.push((5, (&residual).into()));
    }
    let mut chain = Chain::new(gpu);
    let (params, groups) = sum::dispatch(variant.path, mask, d as u32, X_ROW as u32);
    chain.step(
        &sum::key(variant, d, numerics),
        params,
        Launch::Grid(groups),
        &bound,
    );
    let what = format!(
        "{variant:?} {r} x {n} x {d} {numerics:?} on {}",
        gpu.info.name
    );
    agree(&what, numerics, &chain.run(&[&y])[0], &want);
}
