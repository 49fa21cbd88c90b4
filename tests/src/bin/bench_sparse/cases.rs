//! One case: the dense MLP, the sparse one and the cached one in the same rounds.

use assay_engine::gpu::{Bound, Gpu, Memory, Texels};
use assay_engine::kernels::matmul::{self, Epilogue};
use assay_engine::kernels::silu_mul;
use assay_engine::kernels::sparse::cache::WeightCache;
use assay_engine::kernels::sparse::rows::Mode;
use assay_engine::kernels::sparse::{Mask, Path, Tile, grid, index, rows, sum};
use assay_engine::{Numerics, Rounding};
use serde::Serialize;

use crate::setup::{D, DTYPE, N, Step, Time, Weights, choose, floats, half_of, submit, words};
use crate::stages::{self, Clock};

/// What is measured.
#[derive(Clone, Copy)]
pub struct Case {
    pub numerics: Numerics,
    pub t: u32,
    /// One row for masks that differ, eight for one mask that all rows share.
    pub tile: Tile,
    pub percent: u32,
    /// Weights from buffers where models would have textures.
    pub buffers: bool,
}

/// One row of the table: stages by name, the total last.
#[derive(Serialize)]
pub struct Measured {
    numerics: Numerics,
    rows: u32,
    shared_mask: bool,
    percent: u32,
    dense: Vec<(&'static str, Time)>,
    sparse: Vec<(&'static str, Time)>,
    dense_over_sparse: Time,
    /// Stages of a sparse submit by the device's clock, ms; empty where it has none.
    device: Vec<f64>,
    /// An update of the cache for a mask of which half is there, and the MLP over the cache; only for one mask.
    select: Option<Time>,
    cached: Option<Time>,
}

impl Measured {
    pub fn row(&self) -> String {
        let masks = match (self.rows, self.shared_mask) {
            (1, _) => "one",
            (_, true) => "one for all",
            (_, false) => "one a row",
        };
        let mut cells = vec![
            self.rows.to_string(),
            masks.to_owned(),
            format!("{} %", self.percent),
        ];
        cells.extend(
            self.dense
                .iter()
                .chain(&self.sparse)
                .map(|(_, t)| t.to_string()),
        );
        cells.push(self.dense_over_sparse.to_string());
        let both = self.select.zip(self.cached);
        let share = both.map(|(select, cached)| {
            let share = |s: f64, c: f64| 100.0 * s / (s + c);
            format!(
                "{:.0} % ({:.0} %)",
                share(select.wall, cached.wall),
                share(select.cpu, cached.cpu)
            )
        });
        let shown = |time: Option<Time>| time.map_or("".to_owned(), |t| t.to_string());
        cells.extend([
            shown(self.select),
            shown(self.cached),
            share.unwrap_or_default(),
        ]);
        let all: f64 = self.device.iter().sum();
        let stages: Vec<String> = self.device.iter().map(|ms| format!("{ms:.2}")).collect();
        cells.push(stages.join(", "));
        cells.push(match &self.device[..] {
            [index, grid, ..] => format!("{:.0} %", 100.0 * (index + grid) / all),
            _ => String::new(),
        });
        format!("| {} |", cells.join(" | "))
    }
}

impl Case {
    pub fn run(self, gpu: &Gpu, weights: &Weights, rounds: usize) -> Measured {
        let mask = Mask {
            rows: self.t,
            n: N,
            tile: self.tile,
        };
        let shared = self.t == 1 || self.tile != Tile::One;
        let active = N * self.percent / 100;
        let bits = |seed: u64| -> Vec<u32> {
            let rows = (0..self.t).map(|r| if shared { seed } else { seed + u64::from(r) });
            rows.flat_map(|seed| choose(seed, active)).collect()
        };
        let dense = self.dense(gpu, weights);
        let sparse = self.sparse(gpu, weights, mask, &bits(1));
        let mut cache = shared.then(|| {
            Cached::new(
                gpu,
                weights,
                self,
                mask,
                [bits(1), half_of(&bits(1), active, &mask)],
            )
        });
        let mut dense_times = vec![Vec::new(); dense.len() + 1];
        let mut sparse_times = vec![Vec::new(); sparse.len() + 1];
        let (mut select, mut cached) = (Vec::new(), Vec::new());
        let (clock, mut device) = (Clock::new(gpu), Vec::new());
        for round in 0..=rounds {
            let keep = |times: &mut Vec<Time>, time: Time| {
                // The first round warms up.
                if round > 0 {
                    times.push(time);
                }
            };
            for (steps, times) in [(&dense, &mut dense_times), (&sparse, &mut sparse_times)] {
                for (i, times) in times.iter_mut().enumerate() {
                    let part = if i < steps.len() {
                        &steps[i..=i]
                    } else {
                        &steps[..]
                    };
                    keep(times, Time::of(|| submit(gpu, part)));
                }
            }
            if let (Some(clock), true) = (&clock, round > 0) {
                device.push(clock.time(gpu, &sparse));
            }
            if let Some(cache) = &mut cache {
                keep(&mut select, Time::of(|| cache.select(gpu, weights, round)));
                keep(&mut cached, Time::of(|| submit(gpu, &cache.steps)));
            }
        }
        let named = |steps: &[Step], times: &[Vec<Time>]| -> Vec<(&'static str, Time)> {
            let names = steps.iter().map(|s| s.name).chain(["total"]);
            names.zip(times.iter().map(|t| Time::median(t))).collect()
        };
        let (dense, sparse) = (named(&dense, &dense_times), named(&sparse, &sparse_times));
        let total = |of: &[(&'static str, Time)]| of[of.len() - 1].1;
        Measured {
            numerics: self.numerics,
            rows: self.t,
            shared_mask: shared,
            percent: self.percent,
            dense_over_sparse: total(&dense).over(total(&sparse)),
            dense,
            sparse,
            device: stages::medians(&device),
            select: cache.as_ref().map(|_| Time::median(&select)),
            cached: cache.as_ref().map(|_| Time::median(&cached)),
        }
    }

    fn dense(self, gpu: &Gpu, w: &Weights) -> Vec<Step> {
        let Self { t, numerics, .. } = self;
        let variants = gpu.info.variants;
        let path = if t == 1 {
            variants.single
        } else {
            variants.matmul
        };
        let (x, gate, up, act, y) = (
            floats(gpu, t * D),
            floats(gpu, t * N),
            floats(gpu, t * N),
            floats(gpu, t * N),
            floats(gpu, t * D),
        );
        let [w_gate, w_up, w_down] = w.dense(path);
        let inner = matmul::key(path, DTYPE, D as usize, Epilogue::default(), numerics);
        let outer = matmul::key(path, DTYPE, N as usize, Epilogue::default(), numerics);
        let into = (matmul::params(t, N, D, N, 0, 0), matmul::grid(path, t, N));
        let out = (matmul::params(t, D, N, D, 0, 0), matmul::grid(path, t, D));
        let key = silu_mul::key(numerics, Rounding::Keep);
        let (first_x, x_texels) = Weights::taken(gpu, path, (t, D), &x).unzip();
        let (first_act, act_texels) = Weights::taken(gpu, path, (t, N), &act).unzip();
        let taken = |texels: &Option<Texels>, buffer: &wgpu::Buffer| match texels {
            Some(texels) => Memory::Texels(texels.clone()),
            None => Memory::Buffer(buffer.clone()),
        };
        let (x, taken_act) = (taken(&x_texels, &x), taken(&act_texels, &act));
        vec![
            Step::new(
                gpu,
                "gate",
                &inner,
                into,
                None,
                &[(1, x.bound()), (2, w_gate), (5, (&gate).into())],
            )
            .after(first_x),
            Step::new(
                gpu,
                "up",
                &inner,
                into,
                None,
                &[(1, x.bound()), (2, w_up), (5, (&up).into())],
            ),
            Step::new(
                gpu,
                "act",
                &key,
                silu_mul::dispatch(t, N),
                None,
                &[(1, &gate), (2, &up), (3, &act)],
            ),
            Step::new(
                gpu,
                "down",
                &outer,
                out,
                None,
                &[(1, taken_act.bound()), (2, w_down), (5, (&y).into())],
            )
            .after(first_act),
        ]
    }

    fn variants(self, path: Path, slots: bool) -> (rows::Variant, sum::Variant) {
        let (tile, dtype) = (self.tile, DTYPE);
        let epilogue = Epilogue::default();
        (
            rows::Variant {
                path,
                tile,
                mode: Mode::Gated,
                dtype,
                bias: false,
                slots,
            },
            sum::Variant {
                path,
                tile,
                dtype,
                epilogue,
                slots,
            },
        )
    }

    fn sparse(self, gpu: &Gpu, w: &Weights, mask: Mask, bits: &[u32]) -> Vec<Step> {
        use wgpu::BufferUsages as U;
        let path = w.path(gpu, self.buffers);
        let (of_rows, of_sum) = self.variants(path, false);
        let [gate, up, turned] = w.bound(path);
        let memory = |bytes: u64| pollster::block_on(gpu.storage("lists", bytes)).expect("memory");
        let bits = words(gpu, bits);
        let (list, starts) = (memory(mask.list_bytes()), memory(mask.starts_bytes()));
        let args = gpu.buffer("arguments", grid::BYTES, U::STORAGE | U::INDIRECT);
        let args = pollster::block_on(args).expect("memory");
        let (x, act, y) = (
            floats(gpu, self.t * D),
            floats(gpu, self.t * N),
            floats(gpu, self.t * D),
        );
        let sizes = grid::dispatch(mask, rows::per_group(of_rows));
        let mut down: Vec<(u32, Bound<'_>)> = vec![
            (1, (&act).into()),
            (2, turned),
            (6, (&list).into()),
            (7, (&starts).into()),
            (8, (&y).into()),
        ];
        if self.tile != Tile::One {
            down.push((3, (&bits).into()));
        }
        let up: [(u32, Bound<'_>); 6] = [
            (1, (&x).into()),
            (2, up),
            (3, gate),
            (6, (&list).into()),
            (7, (&starts).into()),
            (8, (&act).into()),
        ];
        let (rows_key, sum_key) = (
            rows::key(of_rows, D as usize, self.numerics),
            sum::key(of_sum, D as usize, self.numerics),
        );
        let rows_of = rows::dispatch(of_rows, mask, D, 0);
        let sum_of = sum::dispatch(of_sum.path, mask, D, 0);
        vec![
            Step::new(
                gpu,
                "index",
                &index::key(self.tile),
                index::dispatch(mask),
                None,
                &[(1, &bits), (2, &list), (3, &starts)],
            ),
            Step::new(
                gpu,
                "grid",
                &grid::key(),
                sizes,
                None,
                &[(1, &starts), (2, &args)],
            ),
            Step::new(gpu, "gate, up", &rows_key, rows_of, Some(args.clone()), &up),
            Step::new(gpu, "down", &sum_key, sum_of, None, &down),
        ]
    }
}

/// A cache that goes back and forth between two masks, and the MLP over it.
struct Cached {
    cache: WeightCache,
    masks: [Vec<u32>; 2],
    steps: Vec<Step>,
}

impl Cached {
    fn new(gpu: &Gpu, w: &Weights, case: Case, mask: Mask, masks: [Vec<u32>; 2]) -> Self {
        let row = DTYPE.row_bytes(D as usize) as u64;
        let active = N * case.percent / 100;
        let widths = [row; 3];
        let cache = WeightCache::new(gpu, N, active, &widths);
        let mut cache = pollster::block_on(cache).expect("memory");
        pollster::block_on(cache.update(gpu, &masks[1], &w.host())).expect("it fits");
        let (of_rows, of_sum) = case.variants(Path::of(&gpu.info.variants), true);
        let bits = words(gpu, &masks[1]);
        let (x, act, y) = (
            floats(gpu, case.t * D),
            floats(gpu, case.t * N),
            floats(gpu, case.t * D),
        );
        let of = |matrix| cache.weights(matrix).expect("there are three");
        let (list, starts) = (cache.list(), cache.starts());
        let mut down = vec![(1, &act), (2, of(2)), (6, list), (7, starts), (8, &y)];
        if case.tile != Tile::One {
            down.push((3, &bits));
        }
        let up = [
            (1, &x),
            (2, of(1)),
            (3, of(0)),
            (6, list),
            (7, starts),
            (8, &act),
        ];
        let (rows_key, sum_key) = (
            rows::key(of_rows, D as usize, case.numerics),
            sum::key(of_sum, D as usize, case.numerics),
        );
        let (params, full) = rows::dispatch(of_rows, mask, D, 0);
        // The host knows how many are active.
        let groups = [active.div_ceil(rows::per_group(of_rows)), full[1], 1];
        let steps = vec![
            Step::new(gpu, "gate, up", &rows_key, (params, groups), None, &up),
            Step::new(
                gpu,
                "down",
                &sum_key,
                sum::dispatch(of_sum.path, mask, D, 0),
                None,
                &down,
            ),
        ];
        Self {
            cache,
            masks,
            steps,
        }
    }

    fn select(&mut self, gpu: &Gpu, w: &Weights, round: usize) {
        let host = w.host();
        let update = self.cache.update(gpu, &self.masks[round % 2], &host);
        pollster::block_on(update).expect("it fits");
        pollster::block_on(gpu.settle()).expect("the device lives");
    }
}
