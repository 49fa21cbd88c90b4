//! Every kernel against its CPU twin, on every adapter of this machine, over odd shapes.
//!
//! Under strict numerics the two must agree bit for bit; under fast numerics within the self-test's
//! limit. Both variants of a kernel run on every adapter, whichever it would choose.

use assay_engine::gpu::{AttentionKernel, MatmulKernel};
use assay_engine::kernels::add::Addend;
use assay_engine::kernels::matmul::Epilogue;
use assay_engine::kernels::round8::Blocks;
use assay_engine::selftest::{
    Case, FAST_LIMIT, add, add_position, add_rmsnorm, attention, embed, embed_texels, fixed_sums,
    gated, kv_write, kv_write_texels, layernorm, magnitudes, matmul, matmul_behind, matmul_fixed,
    matmul_i8, matmul_keeping, project, quantize_blocks, quantize_rows, relu, residual, rmsnorm,
    rope, rope_stacked, round_blocks, round_heads, row_energy, rows_to_texels, scale_sums,
    silu_mul,
};
use assay_engine::{CacheFormat, Gpu, GpuOptions, Numerics, Rounding, kernels, list_adapters};
use assay_model::{Dtype, RopeLayout};

const BOTH: [Numerics; 2] = [Numerics::Fast, Numerics::Strict];
const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

/// Runs `cases` on every Vulkan, Metal or DX12 adapter; skips, saying so, where there is none.
fn on_every_adapter(cases: impl Fn(Numerics) -> Vec<Case>) {
    on_every_gpu(|gpu| {
        for numerics in BOTH {
            for case in cases(numerics) {
                holds(gpu, numerics, &case);
            }
        }
    });
}

/// Equal bits under strict numerics, near ones under fast.
fn holds(gpu: &Gpu, numerics: Numerics, case: &Case) {
    let error = pollster::block_on(case.error(gpu)).expect("the case runs");
    let limit = match numerics {
        Numerics::Strict => 0.0,
        Numerics::Fast => FAST_LIMIT,
    };
    assert!(
        error <= limit,
        "{} {:?} on {}: error {error:e}, limit {limit:e}",
        case.key.kernel,
        case.key.defines.label(),
        gpu.info.name
    );
}

fn on_every_gpu(run: impl Fn(&Gpu)) {
    let adapters: Vec<_> = pollster::block_on(list_adapters())
        .into_iter()
        .filter(|a| a.backend != "Gl")
        .collect();
    if let Ok(required) = std::env::var("ASSAY_REQUIRE_ADAPTERS") {
        for name in required.split(',').filter(|n| !n.is_empty()) {
            assert!(
                adapters.iter().any(|a| a.name.contains(name)),
                "adapter {name} is required and missing"
            );
        }
    }
    if adapters.is_empty() {
        println!("skipped: this machine has no adapter");
    }
    for adapter in adapters {
        let options = GpuOptions {
            adapter: Some(format!("{} {}", adapter.name, adapter.backend)),
            ..Default::default()
        };
        let gpu = pollster::block_on(Gpu::open(&options)).expect("the adapter opens");
        run(&gpu);
    }
}

/// Roundings to try: under fast numerics a last bit may differ before rounding, which then differs by much more.
fn roundings(numerics: Numerics) -> impl Iterator<Item = Rounding> + Clone {
    let emulated = match numerics {
        Numerics::Strict => &[Rounding::Bf16, Rounding::F16][..],
        Numerics::Fast => &[],
    };
    std::iter::once(Rounding::Keep).chain(emulated.iter().copied())
}

/// Stored types and epilogues rotate through the shapes, so that each type meets both loaders.
fn products(numerics: Numerics, path: MatmulKernel, shapes: &[(usize, usize, usize)]) -> Vec<Case> {
    let epilogues = [(false, false), (true, false), (false, true), (true, true)];
    let one = |(i, (m, n, k)): (usize, &(usize, usize, usize))| {
        let (bias, residual) = epilogues[i % 4];
        matmul(
            numerics,
            path,
            DTYPES[i % 3],
            *m,
            *n,
            *k,
            Epilogue { bias, residual },
        )
    };
    shapes.iter().enumerate().map(one).collect()
}

const MANY: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (2, 3, 5),
    (5, 7, 4),
    (9, 65, 256),
    (64, 64, 64),
    (65, 129, 258),
    (7, 40, 1030),
    (33, 8, 511),
];
const SINGLE: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (1, 9, 3),
    (1, 64, 256),
    (1, 17, 2304),
    (1, 30, 2050),
    (1, 8, 4097),
];

/// Quantised types, with rows that cross a segment and whose number of blocks is odd where they have blocks.
const QUANTISED: [(Dtype, usize); 11] = [
    (Dtype::Q8_0, 288),
    (Dtype::Q4_0, 288),
    (Dtype::Q5_0, 288),
    (Dtype::Q4K, 768),
    (Dtype::Q6K, 768),
    (Dtype::Int8 { group: 0 }, 277),
    (Dtype::Int8 { group: 4 }, 516),
    (Dtype::Int8 { group: 64 }, 320),
    (Dtype::Int4 { group: 32 }, 296),
    (Dtype::Int4 { group: 128 }, 640),
    (Dtype::Int4Ordered { groups: 3 }, 280),
];

/// A product of each type. Under fast numerics only one loader of each kind: a loader's text is the same there, but for barriers.
fn quantised(numerics: Numerics, path: MatmulKernel, rows: usize, one_in: usize) -> Vec<Case> {
    let epilogue = Epilogue {
        bias: true,
        residual: false,
    };
    let one_in = match numerics {
        Numerics::Strict => one_in,
        Numerics::Fast => 5,
    };
    let cases = QUANTISED.iter().step_by(one_in);
    cases
        .map(|(dtype, k)| matmul(numerics, path, *dtype, rows, 11, *k, epilogue))
        .collect()
}

/// Products of provers in half precision, behind biases and residuals.
#[test]
fn products_that_are_rounded_match_their_twin() {
    on_every_gpu(|gpu| {
        let own = [gpu.info.variants.matmul, gpu.info.variants.single];
        let buffers = own.map(|path| path.reading(false));
        let texels = own.into_iter().filter(|path| path.is_texels());
        let all = buffers.into_iter().chain([MatmulKernel::Shared]);
        for (i, path) in all.chain(texels).enumerate() {
            let rows = if path.is_for_one_row() { 1 } else { 9 };
            for (j, rounding) in [Rounding::Bf16, Rounding::F16].into_iter().enumerate() {
                let epilogue = Epilogue {
                    bias: (i + j) % 2 == 0,
                    residual: i != 1,
                };
                let k = if path.is_texels() { 304 } else { 301 - j };
                let shape = (rows, 21, k);
                let case = matmul_keeping(path, DTYPES[1 + j], shape, epilogue, rounding);
                holds(gpu, Numerics::Strict, &case);
            }
        }
    });
}

/// Drivers take long over large tiles, and a loader is the same text in each.
#[test]
fn quantised_products_match_their_twin() {
    on_every_adapter(|numerics| quantised(numerics, MatmulKernel::Tile { m: 1, n: 4 }, 3, 1));
    on_every_adapter(|numerics| quantised(numerics, MatmulKernel::Vector, 1, 3));
    on_every_adapter(|numerics| quantised(numerics, MatmulKernel::Shared, 9, 5));
}

#[test]
fn quantised_tables_and_projections_match_their_twins() {
    on_every_adapter(|numerics| {
        let tables = QUANTISED.iter().map(|(dtype, k)| embed(*dtype, 5, *k, 23));
        let others = QUANTISED.iter().step_by(5).flat_map(|(dtype, k)| {
            [
                add_position(numerics, *dtype, 3, *k, 2),
                project(numerics, *dtype, 3, 40, *k),
            ]
        });
        let textures = QUANTISED.iter().filter(|of| in_texels(of));
        let textures = textures.map(|(dtype, k)| embed_texels(*dtype, 5, *k, 23));
        tables.chain(others).chain(textures).collect()
    });
}

#[test]
fn matmul_tile_matches_its_twin() {
    for (m, n) in [(8, 8), (4, 8), (1, 8)] {
        on_every_adapter(|numerics| products(numerics, MatmulKernel::Tile { m, n }, MANY));
    }
}

/// Runs what needs subgroups of 8 wherever there are such.
fn on_every_gpu_with_subgroups(run: impl Fn(&Gpu)) {
    on_every_gpu(|gpu| match gpu.info.subgroup {
        8 => run(gpu),
        _ => println!("skipped: {} has no subgroups of 8", gpu.info.name),
    });
}

#[test]
fn matmul_subgroup_matches_its_twin() {
    on_every_gpu_with_subgroups(|gpu| {
        // The last two are for few columns of floats, which an audit has.
        let narrow: &[_] = &[(9, 16, 300), (65, 5, 301), (33, 17, 8)];
        let tiles = [
            (8, 4, MANY, true),
            (1, 2, SINGLE, true),
            (8, 2, narrow, false),
            (8, 1, narrow, false),
        ];
        for (numerics, (m, n, shapes, packed)) in
            BOTH.into_iter().flat_map(|n| tiles.map(|t| (n, t)))
        {
            let path = MatmulKernel::Subgroup { m, n };
            let rows = if m == 1 { 1 } else { 9 };
            let stored = match packed {
                true => quantised(numerics, path, rows, 1),
                false => Vec::new(),
            };
            for case in products(numerics, path, shapes).into_iter().chain(stored) {
                holds(gpu, numerics, &case);
            }
        }
    });
}

/// Shapes whose rows are whole texels of the type that they meet; the shortest are one.
const MANY_TEXELS: &[(usize, usize, usize)] = &[
    (1, 1, 4),
    (2, 3, 8),
    (9, 65, 256),
    (65, 129, 260),
    (7, 40, 1032),
    (33, 8, 520),
];
const SINGLE_TEXELS: &[(usize, usize, usize)] = &[
    (1, 1, 4),
    (1, 9, 8),
    (1, 64, 256),
    (1, 17, 2308),
    (1, 30, 2056),
    (1, 70, 4104),
];

#[test]
fn matmul_subgroup_from_textures_matches_its_twin() {
    on_every_gpu_with_subgroups(|gpu| {
        let paths = [
            (MatmulKernel::TEXELS, MANY_TEXELS),
            (MatmulKernel::TEXELS_ROW, SINGLE_TEXELS),
        ];
        for (numerics, (path, shapes)) in BOTH.into_iter().flat_map(|n| paths.map(|p| (n, p))) {
            let (m, n, _) = shapes[2];
            // Gate, up and their activation, and a matrix that lies behind another.
            let others = [
                (Dtype::F32, 300),
                (Dtype::F16, 264),
                (Dtype::BF16, 2304),
                (Dtype::Q4K, 768),
                (Dtype::Q8_0, 352),
            ];
            let others = others.into_iter().flat_map(|(dtype, k)| {
                [
                    gated(numerics, path, dtype, m, n, k, k == 264),
                    matmul_behind(numerics, path, dtype, (m, 11, k), 6),
                ]
            });
            let packed = QUANTISED.into_iter().filter(in_texels);
            let packed = packed
                .step_by(if numerics == Numerics::Fast { 3 } else { 1 })
                .map(|(dtype, k)| matmul(numerics, path, dtype, m, 70, k, Epilogue::default()));
            let floats = products(numerics, path, shapes);
            for case in floats.into_iter().chain(others).chain(packed) {
                holds(gpu, numerics, &case);
            }
        }
        // Narrower tiles, which `assay tune` may choose.
        for (path, m) in [
            (MatmulKernel::Texels { m: 8, n: 4 }, 9),
            (MatmulKernel::Texels { m: 1, n: 4 }, 1),
        ] {
            for (dtype, k) in [(Dtype::BF16, 520), (Dtype::Q6K, 768)] {
                let none = Epilogue::default();
                let case = matmul(Numerics::Strict, path, dtype, m, 37, k, none);
                holds(gpu, Numerics::Strict, &case);
            }
        }
    });
}

/// Whether a type of [`QUANTISED`] has a texel form.
fn in_texels((dtype, k): &(Dtype, usize)) -> bool {
    dtype.texel_row_bytes(*k).is_some()
}

#[test]
fn a_kernel_for_buffers_stands_beside_each_for_textures() {
    for (texels, buffers) in [
        (MatmulKernel::TEXELS, MatmulKernel::SUBGROUP),
        (MatmulKernel::TEXELS_ROW, MatmulKernel::SUBGROUP_ROW),
    ] {
        assert_eq!(texels.reading(true), texels);
        assert_eq!(texels.reading(false), buffers);
        assert_eq!(buffers.reading(false), buffers);
        assert_eq!(texels.is_for_one_row(), buffers.is_for_one_row());
    }
    let tiles = [5, 8, 9, 20, 33, 64, 65, 5000];
    let wide = tiles.map(|columns| match MatmulKernel::TEXELS.for_columns(columns) {
        MatmulKernel::Texels { m: 8, n } => n,
        other => panic!("{other}"),
    });
    assert_eq!(wide, [1, 1, 2, 4, 8, 8, 8, 8]);
}

#[test]
fn rows_to_texels_matches_its_twin() {
    // Rows of whole pairs of texels and not, a workgroup passed.
    on_every_gpu(|gpu| {
        for (rows, k) in [
            (1, 1),
            (1, 4),
            (3, 8),
            (9, 260),
            (7, 261),
            (5, 263),
            (128, 516),
        ] {
            holds(gpu, Numerics::Strict, &rows_to_texels(rows, k));
        }
    });
}

#[test]
fn keys_and_values_into_textures_match_their_twin() {
    // Two positions in a row of texels: chunks that begin and end inside one, a workgroup passed.
    on_every_gpu(|gpu| {
        for (rows, width, pos0) in [(1, 4, 0), (3, 24, 1), (5, 260, 62), (128, 512, 7)] {
            holds(gpu, Numerics::Strict, &kv_write_texels(rows, width, pos0));
        }
    });
}

#[test]
fn matmul_shared_matches_its_twin() {
    on_every_adapter(|numerics| products(numerics, MatmulKernel::Shared, MANY));
}

#[test]
fn weights_staged_as_they_are_stored_match_the_twin() {
    on_every_gpu(|gpu| {
        if !gpu.info.has_f16() {
            println!("skipped: {} has no shader-f16", gpu.info.name);
            return;
        }
        let path = MatmulKernel::SharedHalf;
        for (m, n, k) in [(5, 7, 4), (65, 129, 258), (9, 40, 1030), (33, 8, 511)] {
            let none = Epilogue::default();
            let product = matmul(Numerics::Fast, path, Dtype::F16, m, n, k, none);
            assert!(product.key.defines.label().contains("STAGE_F16"));
            let both = gated(Numerics::Fast, path, Dtype::F16, m, n, k, true);
            for case in [product, both] {
                let error = pollster::block_on(case.error(gpu)).expect("the case runs");
                assert!(
                    error <= FAST_LIMIT,
                    "{m} {n} {k} on {}: {error:e}",
                    gpu.info.name
                );
            }
            // Strict ones are the plain kernel.
            let strict = matmul(Numerics::Strict, path, Dtype::F16, m, n, k, none);
            let plain = matmul(
                Numerics::Strict,
                MatmulKernel::Shared,
                Dtype::F16,
                m,
                n,
                k,
                none,
            );
            assert_eq!(strict.key, plain.key);
        }
    });
}

#[test]
fn matvec_matches_its_twin() {
    on_every_adapter(|numerics| products(numerics, MatmulKernel::Vector, SINGLE));
}

/// Gate, up and their activation in one dispatch, by every kernel; of one column an invocation, too.
#[test]
fn gated_products_match_their_twin() {
    let tile = |m, n| MatmulKernel::Tile { m, n };
    let subgroup = |m, n| MatmulKernel::Subgroup { m, n };
    // Few shapes: what is new is how sums are paired, and drivers take long over each variant.
    let many: &[_] = &[(9, 65, 256), (7, 40, 1030), (3, 5, 1)];
    let single: &[_] = &[(1, 17, 2304), (1, 9, 513)];
    let paths = [
        (tile(8, 8), many),
        (tile(1, 2), single),
        (MatmulKernel::Shared, many),
        (MatmulKernel::Vector, single),
        (subgroup(8, 4), many),
        (subgroup(1, 2), single),
    ];
    for (path, shapes) in paths {
        on_every_gpu(|gpu| {
            if matches!(path, MatmulKernel::Subgroup { .. }) && gpu.info.subgroup != 8 {
                println!("skipped: {} has no subgroups of 8", gpu.info.name);
                return;
            }
            for numerics in BOTH {
                let (quantised, q_k) = QUANTISED[3];
                let m = shapes[0].0;
                let packed = gated(numerics, path, quantised, m, 11, q_k, true);
                let floats = shapes.iter().enumerate().map(|(i, (m, n, k))| {
                    gated(numerics, path, DTYPES[i % 3], *m, *n, *k, i % 2 == 0)
                });
                for case in floats.chain([packed]) {
                    holds(gpu, numerics, &case);
                }
            }
        });
    }
}

/// A matrix that lies behind another in its buffer gives what it gives alone.
#[test]
fn products_of_matrices_that_lie_behind_others() {
    let cases = |numerics, path, m| {
        let stored = [(Dtype::BF16, 300), (Dtype::F32, 301), (Dtype::Q4K, 768)];
        stored
            .map(|(dtype, k)| matmul_behind(numerics, path, dtype, (m, 11, k), 6))
            .into_iter()
            .collect::<Vec<_>>()
    };
    let tile = MatmulKernel::Tile { m: 4, n: 8 };
    for (path, m) in [
        (tile, 5),
        (MatmulKernel::Shared, 5),
        (MatmulKernel::Vector, 1),
    ] {
        on_every_adapter(|numerics| cases(numerics, path, m));
    }
}

#[test]
fn embed_matches_its_twin() {
    on_every_adapter(|_| {
        let shapes = [(1, 1, 1), (3, 65, 7), (17, 40, 33)];
        shapes
            .iter()
            .flat_map(|(r, h, v)| DTYPES.map(|dtype| embed(dtype, *r, *h, *v)))
            .chain(DTYPES.map(|dtype| embed_texels(dtype, 5, 72, 33)))
            .collect()
    });
}

#[test]
fn rmsnorm_matches_its_twin() {
    on_every_adapter(|numerics| {
        [(1, 1), (2, 63), (3, 64), (5, 200), (2, 4097)]
            .into_iter()
            .flat_map(|(r, n)| roundings(numerics).map(move |how| rmsnorm(numerics, how, r, n)))
            .collect()
    });
}

#[test]
fn rope_kv_matches_its_twin() {
    on_every_adapter(|numerics| {
        let shapes = [(1, 1, 1, 1, 0), (3, 4, 2, 20, 5), (2, 3, 1, 32, 64)];
        let layouts = [RopeLayout::RotateHalf, RopeLayout::Interleaved];
        shapes
            .into_iter()
            .flat_map(|shape| layouts.map(|layout| (shape, layout)))
            .flat_map(|((r, h, g, half, p), layout)| {
                roundings(numerics).map(move |how| rope(numerics, how, layout, r, h, g, half, p))
            })
            .collect()
    });
}

#[test]
fn rope_kv_of_one_matrix_matches_its_twin() {
    on_every_adapter(|numerics| {
        let shapes = [(1, 1, 1, 1, 0), (3, 4, 2, 20, 5), (2, 3, 1, 32, 64)];
        let layouts = [RopeLayout::RotateHalf, RopeLayout::Interleaved];
        shapes
            .into_iter()
            .flat_map(|shape| layouts.map(|layout| (shape, layout)))
            .map(|((r, h, g, half, p), layout)| rope_stacked(numerics, layout, r, h, g, half, p))
            .collect()
    });
}

#[test]
fn both_attentions_match_their_twin() {
    on_every_adapter(|numerics| {
        // Rows, heads, key-value heads, head_dim, first position: chunk edges at 63, 64 and 65.
        let shapes = [
            (1, 1, 1, 2, 0),
            (3, 4, 2, 24, 62),
            (2, 2, 2, 64, 63),
            (5, 3, 1, 40, 128),
            (2, 2, 1, 128, 10),
            (2, 1, 1, 64, 1500),
            (65, 2, 1, 8, 0),
        ];
        let kernels = [AttentionKernel::Row, AttentionKernel::Group];
        shapes
            .iter()
            .flat_map(|(r, h, g, d, p)| {
                kernels.into_iter().flat_map(move |kernel| {
                    roundings(numerics)
                        .map(move |how| attention(numerics, how, kernel, *r, *h, *g, *d, *p))
                })
            })
            .collect()
    });
}

#[test]
fn silu_mul_matches_its_twin() {
    on_every_adapter(|numerics| {
        [(1, 1), (3, 64), (7, 129)]
            .into_iter()
            .flat_map(|(r, w)| roundings(numerics).map(move |how| silu_mul(numerics, how, r, w)))
            .collect()
    });
}

#[test]
fn layernorm_matches_its_twin() {
    on_every_adapter(|numerics| {
        [(1, 1), (2, 63), (3, 64), (5, 200), (2, 4097)]
            .map(|(r, n)| layernorm(numerics, r, n))
            .into()
    });
}

#[test]
fn add_position_matches_its_twin() {
    on_every_adapter(|numerics| {
        let shapes = [(1, 1, 0), (3, 65, 2), (9, 40, 511)];
        shapes
            .iter()
            .flat_map(|(r, h, f)| DTYPES.map(|dtype| add_position(numerics, dtype, *r, *h, *f)))
            .collect()
    });
}

#[test]
fn kv_write_and_relu_match_their_twins() {
    on_every_adapter(|_| {
        vec![
            kv_write(1, 1, 0),
            kv_write(5, 129, 63),
            relu(1, 1),
            relu(7, 129),
        ]
    });
}

#[test]
fn rounded_caches_match_their_twins() {
    on_every_adapter(|numerics| {
        let shapes = [(1, 1, 1, 0), (3, 2, 63, 5), (5, 3, 64, 0), (2, 2, 129, 7)];
        shapes
            .into_iter()
            .flat_map(|(rows, heads, d, pos0)| {
                CacheFormat::ALL.map(move |f| round_heads(numerics, f, rows, heads, d, pos0))
            })
            .flatten()
            .collect()
    });
}

#[test]
fn add_matches_its_twin() {
    on_every_adapter(|numerics| {
        let shapes = [(1, 5), (3, 64), (7, 129)];
        let addends = [Addend::Rows, Addend::Bias];
        shapes
            .iter()
            .flat_map(|(r, w)| {
                addends.into_iter().flat_map(move |addend| {
                    roundings(numerics).map(move |how| add(numerics, how, addend, *r, *w))
                })
            })
            .collect()
    });
}

#[test]
fn add_rmsnorm_matches_its_twin() {
    on_every_adapter(|numerics| {
        let shapes = [(1, 1), (2, 63), (3, 64), (5, 200), (2, 4097)];
        let of = |(r, n)| {
            let places = [false, true].into_iter();
            places.flat_map(move |in_place| {
                roundings(numerics).map(move |how| add_rmsnorm(in_place, numerics, how, r, n))
            })
        };
        shapes.into_iter().flat_map(of).collect()
    });
}

#[test]
fn row_energy_matches_its_twin() {
    on_every_adapter(|numerics| {
        [(1, 1), (2, 63), (5, 200), (2, 4097)]
            .map(|(r, n)| row_energy(numerics, r, n))
            .into()
    });
}

#[test]
fn freivalds_residual_matches_its_twin() {
    on_every_adapter(|numerics| {
        // Rows, projections, columns before them: more rows than projections and fewer.
        [(1, 1, 0), (3, 16, 4), (70, 16, 20), (5, 64, 1)]
            .map(|(r, p, first)| residual(numerics, r, p, first))
            .into()
    });
}

#[test]
fn products_of_magnitudes_match_their_twin() {
    let paths = [MatmulKernel::Tile { m: 8, n: 8 }, MatmulKernel::Shared];
    let shapes = [(1, 1, 1), (9, 5, 258), (65, 7, 512)];
    for path in paths {
        on_every_adapter(|numerics| {
            shapes
                .map(|(m, n, k)| magnitudes(numerics, path, m, n, k))
                .into()
        });
    }
    on_every_gpu_with_subgroups(|gpu| {
        for path in [5, 16, 20].map(|columns| MatmulKernel::SUBGROUP.for_columns(columns)) {
            for numerics in BOTH {
                for (m, n, k) in shapes {
                    holds(gpu, numerics, &magnitudes(numerics, path, m, n, k));
                }
            }
        }
        for path in [5, 16, 20, 60].map(|columns| MatmulKernel::TEXELS.for_columns(columns)) {
            for (m, n, k) in [(9, 5, 260), (65, 7, 512)] {
                let case = magnitudes(Numerics::Strict, path, m, n, k);
                holds(gpu, Numerics::Strict, &case);
            }
        }
    });
}

#[test]
fn integer_products_match_their_twin_with_and_without_the_packed_dot_product() {
    on_every_adapter(|_| {
        // Rows, rows of the matrix, columns: whole words and not, a tile and a workgroup passed.
        let shapes = [
            (1, 1, 4),
            (1, 300, 37),
            (3, 7, 12),
            (9, 33, 258),
            (17, 65, 1028),
        ];
        let mut cases = Vec::new();
        for (m, n, k) in shapes {
            for (packed, first) in [(false, 0), (true, 1)] {
                cases.push(matmul_i8(packed, false, first, m, n, k));
                if m == 1 {
                    cases.push(matmul_i8(packed, true, first, m, n, k));
                }
            }
        }
        cases
    });
}

#[test]
fn rows_become_the_integers_of_their_twin() {
    on_every_adapter(|numerics| {
        [(1, 1), (2, 3), (7, 64), (5, 257), (3, 1030)]
            .map(|(rows, k)| quantize_rows(numerics, rows, k))
            .into()
    });
}

#[test]
fn blocks_are_rounded_as_their_twin_rounds_them() {
    on_every_adapter(|numerics| {
        let mut cases = Vec::new();
        for blocks in [Blocks::Q8_0, Blocks::Q8K] {
            // An odd number of blocks leaves half a workgroup without one.
            for (rows, count) in [(1, 1), (3, 2), (2, 5)] {
                cases.push(round_blocks(
                    numerics,
                    blocks,
                    rows,
                    count * blocks.columns(),
                ));
            }
        }
        cases
    });
}

#[test]
fn sums_become_the_numbers_of_their_twin() {
    on_every_adapter(|numerics| {
        let mut cases = Vec::new();
        for (bias, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            for (rows, width) in [(1, 1), (3, 64), (2, 131)] {
                cases.push(scale_sums(
                    numerics,
                    Epilogue { bias, residual },
                    rows,
                    width,
                ));
            }
        }
        cases
    });
}

#[test]
fn products_in_fixed_point_match_their_twin_for_every_type() {
    let types = [
        (Dtype::Q8_0, 32),
        (Dtype::Q4_0, 32),
        (Dtype::Q5_0, 32),
        (Dtype::Q4K, 256),
        (Dtype::Q6K, 256),
        (Dtype::Int4 { group: 32 }, 32),
        (Dtype::Int4 { group: 128 }, 32),
    ];
    on_every_adapter(|numerics| {
        let mut cases = Vec::new();
        // There are no floats in it, and drivers take seconds for each pipeline: numerics differ in how they multiply only, and one type
        // shows that without the packed product.
        let packed = numerics == Numerics::Strict;
        let types = if packed { &types[..] } else { &types[..1] };
        for (dtype, block) in types.iter().copied() {
            // Rows, rows of the matrix, blocks: odd numbers of those, a tile and a workgroup passed.
            for (m, n, blocks) in [(1, 1, 1), (1, 300, 3), (9, 33, 5), (17, 65, 2)] {
                let k = blocks * block;
                cases.push(matmul_fixed(dtype, packed, false, m, n, k));
                if m == 1 {
                    cases.push(matmul_fixed(dtype, packed, true, m, n, k));
                }
            }
        }
        cases
    });
}

#[test]
fn blocks_become_the_integers_of_their_twin() {
    on_every_adapter(|numerics| {
        [(1, 1), (3, 2), (2, 5), (4, 33)]
            .map(|(rows, count)| quantize_blocks(numerics, rows, count))
            .into()
    });
}

#[test]
fn sums_in_fixed_point_become_the_numbers_of_their_twin() {
    on_every_adapter(|numerics| {
        let mut cases = Vec::new();
        for (bias, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            for (rows, width) in [(1, 1), (3, 64), (2, 131)] {
                let epilogue = Epilogue { bias, residual };
                cases.push(fixed_sums(numerics, epilogue, rows, width));
            }
        }
        cases
    });
}

#[test]
fn project_weights_matches_its_twin() {
    on_every_adapter(|numerics| {
        // Projections, rows and columns of the matrix: edges of a segment, a tail of columns, more than one tile.
        let shapes = [
            (1, 1, 1),
            (16, 7, 5),
            (9, 256, 64),
            (16, 300, 260),
            (17, 513, 33),
        ];
        shapes
            .iter()
            .flat_map(|(p, n, k)| DTYPES.map(|dtype| project(numerics, dtype, *p, *n, *k)))
            .collect()
    });
}

#[test]
fn wide_heads_take_the_group_kernel() {
    assert_eq!(
        kernels::attention::choose(AttentionKernel::Row, 256),
        AttentionKernel::Group
    );
    on_every_adapter(|numerics| {
        vec![attention(
            numerics,
            Rounding::Keep,
            AttentionKernel::Group,
            2,
            2,
            1,
            256,
            70,
        )]
    });
}

#[test]
fn attention_in_subgroups_matches_its_twin() {
    on_every_gpu_with_subgroups(|gpu| {
        // Rows, heads, key-value heads, head_dim, first position: subgroups that end inside a row, that see a chunk in part, and in which
        // some see none of it.
        let shapes = [
            (1, 1, 1, 8, 0),
            (1, 6, 2, 64, 700),
            (3, 4, 2, 24, 62),
            (9, 3, 3, 64, 60),
            (5, 3, 1, 40, 128),
            (2, 2, 1, 128, 10),
            (70, 4, 2, 16, 33),
            (2, 1, 1, 64, 1500),
        ];
        for numerics in BOTH {
            for (r, h, g, d, p) in shapes {
                for how in roundings(numerics) {
                    let case = attention(numerics, how, AttentionKernel::Subgroup, r, h, g, d, p);
                    holds(gpu, numerics, &case);
                }
            }
        }
    });
}

#[test]
fn attention_in_subgroups_is_for_whole_eights() {
    use AttentionKernel::{Group, Row, Subgroup};
    let of = |d| kernels::attention::choose(Subgroup, d);
    assert_eq!([of(64), of(36), of(256)], [Subgroup, Row, Group]);
    for preferred in [Row, Group] {
        assert_eq!(kernels::attention::choose(preferred, 36), preferred);
    }
}

/// What a driver with a loop limit is asked before a model is loaded: the bound is met by the kernels' loops.
#[test]
fn iterations_are_bounded_by_what_the_loops_do() {
    let row = kernels::attention::iterations(AttentionKernel::Row, 510, 64);
    assert!((1020..=1100).contains(&row), "{row}");
    let group = kernels::attention::iterations(AttentionKernel::Group, 510, 64);
    assert!((2040..=2200).contains(&group), "{group}");
}
