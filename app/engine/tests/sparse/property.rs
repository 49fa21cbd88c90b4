//! The whole sparse MLP against the dense twins on masked activations: equal bits, whatever the mask.

use assay_engine::kernels::matmul::{self, Epilogue, Stored};
use assay_engine::kernels::silu_mul;
use assay_engine::kernels::sparse::rows::{Gate, Mode};
use assay_engine::kernels::sparse::{Mask, Path, Tile, grid, index, rows, sum};
use assay_engine::{Gpu, Numerics, Rounding};
use assay_model::Dtype;

use crate::support::{
    Chain, DTYPES, Launch, Seeded, UNTOUCHED, agree, arguments, buffer, buffer_of, on_every_gpu,
    store, transposed,
};

/// Inputs, neurons, outputs: two segments of inputs and three of neurons, the last ones ragged.
const EVEN: (usize, usize, usize) = (304, 700, 56);
/// The same for the loaders of single elements.
const ODD: (usize, usize, usize) = (259, 523, 45);

/// An MLP and its inputs.
struct Mlp {
    dtype: Dtype,
    rows: usize,
    /// Inputs, neurons, outputs.
    shape: (usize, usize, usize),
    x: Vec<f32>,
    gate: Vec<u8>,
    up: Vec<u8>,
    /// [outputs, neurons], as a checkpoint has it.
    down: Vec<u8>,
    /// The gate's, then those of `up`.
    bias: Vec<f32>,
    down_bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Mlp {
    fn new(dtype: Dtype, rows: usize, shape: (usize, usize, usize), seed: u64) -> Self {
        let (k, n, d) = shape;
        let mut seeded = Seeded(seed);
        Self {
            dtype,
            rows,
            shape,
            x: seeded.floats(rows * k),
            gate: store(dtype, &seeded.floats(n * k)),
            up: store(dtype, &seeded.floats(n * k)),
            down: store(dtype, &seeded.floats(d * n)),
            bias: seeded.floats(2 * n),
            down_bias: seeded.floats(d),
            residual: seeded.floats(rows * d),
        }
    }

    fn stored<'a>(&self, bytes: &'a [u8], n: usize, k: usize) -> Stored<'a> {
        let dtype = self.dtype;
        Stored { dtype, bytes, n, k }
    }

    /// Values of the gate before its activation, by the dense twin.
    fn gate_values(&self, bias: bool) -> Vec<f32> {
        let (k, n, _) = self.shape;
        let mut y = vec![0.0; self.rows * n];
        let own = bias.then_some(&self.bias[..n]);
        matmul::cpu(&self.x, self.stored(&self.gate, n, k), own, None, &mut y);
        y
    }

    /// The dense MLP with the activations of other neurons set to zero.
    fn dense(&self, mode: Mode, bias: bool, bits: &[u32]) -> Vec<f32> {
        let (k, n, d) = self.shape;
        let mut up = vec![0.0; self.rows * n];
        let own = bias.then_some(match mode {
            Mode::Gated => &self.bias[n..],
            Mode::WithGate | Mode::Relu => &self.bias[..n],
        });
        matmul::cpu(&self.x, self.stored(&self.up, n, k), own, None, &mut up);
        let mut a = vec![0.0; up.len()];
        match mode {
            Mode::Gated => silu_mul::cpu(&self.gate_values(bias), &up, Rounding::Keep, &mut a),
            Mode::WithGate => silu_mul::cpu(&self.gate_values(false), &up, Rounding::Keep, &mut a),
            Mode::Relu => a = up.iter().map(|u| u.max(0.0)).collect(),
        }
        for (a, bits) in a.chunks_exact_mut(n).zip(bits.chunks_exact(n.div_ceil(32))) {
            for (j, a) in a.iter_mut().enumerate() {
                if bits[j / 32] >> (j % 32) & 1 == 0 {
                    *a = 0.0;
                }
            }
        }
        let mut y = vec![0.0; self.rows * d];
        let (down, own) = (
            self.stored(&self.down, d, n),
            bias.then_some(&self.down_bias[..]),
        );
        matmul::cpu(&a, down, own, Some(&self.residual), &mut y);
        y
    }

    /// The twins of the sparse kernels.
    fn twins(&self, mode: Mode, bias: bool, mask: Mask, bits: &[u32]) -> Vec<f32> {
        let (k, n, d) = self.shape;
        let mut list = vec![u32::MAX; mask.list_bytes() as usize / 4];
        let mut starts = vec![u32::MAX; mask.starts_bytes() as usize / 4];
        index::cpu(mask, bits, &mut list, &mut starts);
        let values = self.gate_values(false);
        let gate = match mode {
            Mode::Gated => Gate::Weights(self.stored(&self.gate, n, k)),
            Mode::WithGate => Gate::Values(&values),
            Mode::Relu => Gate::None,
        };
        let (up, own) = (self.stored(&self.up, n, k), bias.then_some(&self.bias[..]));
        let mut a = vec![UNTOUCHED; self.rows * n];
        rows::cpu(mask, &self.x, gate, up, own, &list, &starts, &mut a);
        let down = transposed(self.stored(&self.down, d, n));
        let (down, own) = (
            self.stored(&down, n, d),
            bias.then_some(&self.down_bias[..]),
        );
        let mut y = vec![UNTOUCHED; self.rows * d];
        sum::cpu(
            mask,
            &a,
            down,
            bits,
            &list,
            &starts,
            own,
            Some(&self.residual),
            &mut y,
        );
        y
    }

    /// The kernels, from bits to y, on a device.
    fn kernels(
        &self,
        gpu: &Gpu,
        path: Path,
        numerics: Numerics,
        mode: Mode,
        bias: bool,
        mask: Mask,
        bits: &[u32],
    ) -> Vec<u32> {
        let (k, n, d) = self.shape;
        let (tile, dtype) = (mask.tile, self.dtype);
        let rows_variant = rows::Variant {
            path,
            tile,
            mode,
            dtype,
            bias,
            slots: false,
        };
        let epilogue = Epilogue {
            bias,
            residual: true,
        };
        let sum_variant = sum::Variant {
            path,
            tile,
            dtype,
            epilogue,
            slots: false,
        };
        let unused = |bytes: u64| buffer_of(gpu, &vec![u32::MAX; bytes as usize / 4]);
        let (bits, list, starts) = (
            buffer_of(gpu, bits),
            unused(mask.list_bytes()),
            unused(mask.starts_bytes()),
        );
        let (args, x) = (arguments(gpu), buffer_of(gpu, &self.x));
        let (gate, up) = (buffer(gpu, &self.gate), buffer(gpu, &self.up));
        let down = buffer(gpu, &transposed(self.stored(&self.down, d, n)));
        let values = buffer_of(gpu, &self.gate_values(false));
        let (own_bias, down_bias) = (buffer_of(gpu, &self.bias), buffer_of(gpu, &self.down_bias));
        let residual = buffer_of(gpu, &self.residual);
        let a = buffer_of(gpu, &vec![UNTOUCHED; self.rows * n]);
        let y = buffer_of(gpu, &vec![UNTOUCHED; self.rows * d]);
        let mut chain = Chain::new(gpu);
        let (params, groups) = index::dispatch(mask);
        chain.step(
            &index::key(tile),
            params,
            Launch::Grid(groups),
            &[(1, &bits), (2, &list), (3, &starts)],
        );
        let (params, groups) = grid::dispatch(mask, rows::per_group(rows_variant));
        chain.step(
            &grid::key(),
            params,
            Launch::Grid(groups),
            &[(1, &starts), (2, &args)],
        );
        let mut bound = vec![(1, &x), (2, &up), (6, &list), (7, &starts), (8, &a)];
        match mode {
            Mode::Gated => bound.push((3, &gate)),
            Mode::WithGate => bound.push((4, &values)),
            Mode::Relu => {}
        }
        if bias {
            bound.push((5, &own_bias));
        }
        let (params, _) = rows::dispatch(rows_variant, mask, k as u32, 0);
        chain.step(
            &rows::key(rows_variant, k, numerics),
            params,
            Launch::Indirect(&args),
            &bound,
        );
        let mut bound = vec![
            (1, &a),
            (2, &down),
            (5, &residual),
            (6, &list),
            (7, &starts),
            (8, &y),
        ];
        if tile != Tile::One {
            bound.push((3, &bits));
        }
        if bias {
            bound.push((4, &down_bias));
        }
        let (params, groups) = sum::dispatch(path, mask, d as u32, 0);
        chain.step(
            &sum::key(sum_variant, d, numerics),
            params,
            Launch::Grid(groups),
            &bound,
        );
        chain.run(&[&y]).remove(0)
    }
}

/// Every mode with every stored type and every size of mask.
fn cases(mut run: impl FnMut(Mlp, Mode, bool, Mask, &[u32])) {
    let mut case = 0_u64;
    for mode in [Mode::Gated, Mode::WithGate, Mode::Relu] {
        for dtype in DTYPES {
            for percent in [0, 5, 100, 1, 50, 95] {
                // Three masks share pipelines, which take longer to make than to run; what else varies is drawn for the three.
                let shape = if (case / 3).is_multiple_of(2) {
                    EVEN
                } else {
                    ODD
                };
                let mut drawn = Seeded(case / 3);
                let (rows, bias) = ([1, 3, 9][drawn.below(3)], drawn.below(2) == 0);
                let tile =
                    [Tile::One, Tile::One, Tile::Two, Tile::Four, Tile::Eight][drawn.below(5)];
                let mask = Mask {
                    rows: rows as u32,
                    n: shape.1 as u32,
                    tile,
                };
                let bits = Seeded(case).bits(mask, percent);
                run(Mlp::new(dtype, rows, shape, case), mode, bias, mask, &bits);
                case += 1;
            }
        }
    }
}

#[test]
fn twins_have_the_bits_of_dense_twins_on_masked_activations() {
    cases(|mlp, mode, bias, mask, bits| {
        let want = mlp.dense(mode, bias, bits);
        let got: Vec<u32> = mlp
            .twins(mode, bias, mask, bits)
            .iter()
            .map(|v| v.to_bits())
            .collect();
        agree(
            &format!("{mode:?} {:?} {mask:?}", mlp.dtype),
            Numerics::Strict,
            &got,
            &want,
        );
    });
}

#[test]
fn kernels_have_the_bits_of_dense_twins_on_masked_activations() {
    on_every_gpu(|gpu| {
        let mut paths = [Path::Registers, Path::Lanes].into_iter().cycle();
        cases(|mlp, mode, bias, mask, bits| {
            // Paths rotate through the cases; lists of single rows meet both.
            for path in paths.by_ref().take(1 + usize::from(mask.tile == Tile::One)) {
                let want = mlp.dense(mode, bias, bits);
                let got = mlp.kernels(gpu, path, Numerics::Strict, mode, bias, mask, bits);
                let what = format!(
                    "{path:?} {mode:?} {:?} {mask:?} on {}",
                    mlp.dtype, gpu.info.name
                );
                agree(&what, Numerics::Strict, &got, &want);
            }
        });
    });
}

/// How rows are tiled changes no bit, and neither does which other rows there are.
#[test]
fn tiles_change_nothing() {
    on_every_gpu(|gpu| {
        let mlp = Mlp::new(Dtype::BF16, 9, EVEN, 77);
        let of = |tile| Mask {
            rows: 9,
            n: EVEN.1 as u32,
            tile,
        };
        let bits = Seeded(78).bits(of(Tile::One), 20);
        let run = |path, tile| {
            mlp.kernels(
                gpu,
                path,
                Numerics::Strict,
                Mode::Gated,
                true,
                of(tile),
                &bits,
            )
        };
        let one = run(Path::Registers, Tile::One);
        for tile in Tile::ALL {
            for path in [Path::Registers, Path::Lanes] {
                assert!(
                    run(path, tile) == one,
                    "{path:?} {tile:?} on {}",
                    gpu.info.name
                );
            }
        }
    });
}

/// A product with sparse *inputs* is the same sum: gate = x masked, times the gate's weights transposed.
#[test]
fn sparse_inputs_have_the_bits_of_the_dense_product() {
    let (n, d) = (519, 70);
    for dtype in DTYPES {
        let mut seeded = Seeded(79);
        let mask = Mask {
            rows: 5,
            n: n as u32,
            tile: Tile::Two,
        };
        let (mut x, w) = (seeded.floats(5 * n), store(dtype, &seeded.floats(d * n)));
        let bits = seeded.bits(mask, 40);
        let dense = Stored {
            dtype,
            bytes: &w,
            n: d,
            k: n,
        };
        let turned = transposed(dense);
        let mut list = vec![0; mask.list_bytes() as usize / 4];
        let mut starts = vec![0; mask.starts_bytes() as usize / 4];
        index::cpu(mask, &bits, &mut list, &mut starts);
        let mut got = vec![0.0; 5 * d];
        let sparse = Stored {
            dtype,
            bytes: &turned,
            n,
            k: d,
        };
        sum::cpu(
            mask, &x, sparse, &bits, &list, &starts, None, None, &mut got,
        );
        for (i, x) in x.iter_mut().enumerate() {
            let (r, j) = (i / n, i % n);
            if bits[r * n.div_ceil(32) + j / 32] >> (j % 32) & 1 == 0 {
                *x = 0.0;
            }
        }
        let mut want = vec![0.0; 5 * d];
        matmul::cpu(&x, dense, None, None, &mut want);
        let got: Vec<u32> = got.iter().map(|v| v.to_bits()).collect();
        agree(&format!("{dtype:?}"), Numerics::Strict, &got, &want);
    }
}
