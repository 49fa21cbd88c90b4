//! Every variant of every kernel parses and validates, with no GPU needed; and every kernel says what it is.

use assay_shaders::{Defines, KERNELS, expand, source};

/// The variants that the engine can ask for.
fn variants(kernel: &str) -> Vec<Defines> {
    let mut all = vec![Defines::new(), Defines::new().flag("STRICT", true)];
    let cross =
        |all: Vec<Defines>, choices: Vec<Box<dyn Fn(Defines) -> Defines>>| -> Vec<Defines> {
            all.iter()
                .flat_map(|d| choices.iter().map(|c| c(d.clone())))
                .collect()
        };
    let flag = |name: &'static str| -> Vec<Box<dyn Fn(Defines) -> Defines>> {
        vec![Box::new(|d| d), Box::new(move |d| d.flag(name, true))]
    };
    let of_integers = ["matmul_i8", "matmul_fixed"].contains(&kernel);
    let is_product = kernel.starts_with("mat") && !of_integers;
    if is_product || ["embed", "add_position", "project_weights"].contains(&kernel) {
        all = all
            .iter()
            .flat_map(|d| stored_types().into_iter().map(|t| with(d, &t)))
            .collect();
    }
    if ["matmul_subgroup", "embed"].contains(&kernel) {
        let texels: Vec<_> = all.iter().filter_map(in_texels).collect();
        all.extend(texels);
    }
    if is_product {
        for name in ["VEC", "BIAS", "RESIDUAL", "ABS"] {
            all = cross(all, flag(name));
        }
        // Gate and up in one product, which adds no residual.
        let gated = all.clone().into_iter().filter(|d| {
            let label = d.label();
            !label.contains("RESIDUAL") && !label.contains("ABS")
        });
        let gated: Vec<_> = gated
            .map(|d| d.flag("GATED", true).with("COLUMNS", 4))
            .collect();
        all = all.into_iter().map(|d| d.with("COLUMNS", 8)).collect();
        all.extend(gated);
        all = all
            .into_iter()
            .map(|d| d.with("TILE_M", 8).with("TILE_N", 8))
            .collect();
    }
    if is_product {
        // Provers in half precision fuse nothing.
        let apart = all.iter().filter(|d| {
            let label = d.label();
            !label.contains("GATED") && !label.contains("ABS")
        });
        let rounds = ["ROUND_BF16", "ROUND_F16"];
        let rounded: Vec<_> = apart
            .flat_map(|d| rounds.map(|name| d.clone().flag(name, true)))
            .collect();
        all.extend(rounded);
    }
    if kernel == "matmul_shared" {
        let halves = all.iter().filter(|d| {
            let label = d.label();
            label.contains("W_F16") && !label.contains("STRICT") && !label.contains("ABS")
        });
        let halves: Vec<_> = halves.map(|d| d.clone().flag("STAGE_F16", true)).collect();
        all.extend(halves);
    }
    if kernel == "matmul_subgroup" {
        let one_row = all.iter().map(|d| {
            let label = d.label();
            let is_units = label.contains("TEXELS") && label.contains("W_PACKED");
            d.clone().flag("ONE_ROW", true).flag("BY_UNITS", is_units)
        });
        let one_row: Vec<_> = one_row.collect();
        // Of many rows, products from textures take activations from one, too.
        let many = all.into_iter().map(|d| {
            let in_texels = d.label().contains("TEXELS");
            d.flag("X_TEXELS", in_texels).flag("X_SCALAR", !in_texels)
        });
        let one_row = one_row.into_iter().map(|d| d.flag("X_SCALAR", true));
        all = many.chain(one_row).collect();
    }
    if kernel == "project_weights" {
        for name in ["VEC", "FIRST"] {
            all = cross(all, flag(name));
        }
        all = all.into_iter().map(|d| d.with("PROJECTIONS", 8)).collect();
    }
    if kernel == "matmul_fixed" {
        let fixed = ["W_Q8_0", "W_Q4_0", "W_Q5_0", "W_Q4_K", "W_Q6_K", "W_INT4"];
        let of = |d: &Defines, name: &str| {
            d.clone()
                .flag(name, true)
                .flag("LEAST", name == "W_Q4_K")
                .with("GROUP", 64)
                .with("GROUP_WORDS", 9)
        };
        all = all
            .iter()
            .flat_map(|d| fixed.map(|name| of(d, name)))
            .collect();
    }
    if of_integers {
        for name in ["DOT4", "ONE_ROW"] {
            all = cross(all, flag(name));
        }
        all = all.into_iter().map(|d| d.with("TILE", 4)).collect();
    }
    if kernel == "round_blocks" {
        let of = |d: &Defines| {
            let small = d.clone().with("BLOCK", 32).flag("ROUND_F16", true);
            let integers = small.clone().flag("INTEGERS", true);
            [
                small,
                integers,
                d.clone().with("BLOCK", 256).flag("Q8_K", true),
            ]
        };
        all = all.iter().flat_map(of).collect();
    }
    if ["scale_sums", "fixed_sums"].contains(&kernel) {
        for name in ["BIAS", "RESIDUAL"] {
            all = cross(all, flag(name));
        }
    }
    if kernel == "rows_to_texels" {
        all = cross(all, flag("VEC"));
    }
    if kernel == "add" {
        all = cross(all, flag("BIAS"));
    }
    if kernel == "add_rmsnorm" {
        all = cross(all, flag("IN_PLACE"));
    }
    if kernel.starts_with("sparse_rows") || kernel.starts_with("sparse_sum") {
        all = of_sparse_products(all, kernel);
        let of_rows = ["BIAS", "SLOTS", "GATED", "WITH_GATE"];
        let of_sums = ["BIAS", "SLOTS", "RESIDUAL", "SHARED"];
        let is_sum = kernel.starts_with("sparse_sum");
        for name in if is_sum { of_sums } else { of_rows } {
            all = cross(all, flag(name));
        }
    } else if kernel.starts_with("sparse_") {
        all = all
            .iter()
            .flat_map(|d| [1, 8].map(|rows| d.clone().with("ROWS", rows)))
            .collect();
    }
    match kernel {
        "sparse_topk" => all = cross(all, flag("SIGNED")),
        "sparse_threshold" => {
            for name in ["SILU", "RELU"] {
                all = cross(all, flag(name));
            }
        }
        _ => {}
    }
    let rounds = ["rmsnorm", "rope_kv", "silu_mul", "add", "add_rmsnorm"].contains(&kernel);
    if rounds || kernel.starts_with("attention") {
        for name in ["ROUND_BF16", "ROUND_F16"] {
            all = cross(all, flag(name));
        }
    }
    if kernel == "kv_write" {
        all = cross(all, flag("TEXELS"));
    }
    if kernel == "rope_kv" {
        for name in ["INTERLEAVED", "STACKED"] {
            all = cross(all, flag(name));
        }
    }
    if kernel.starts_with("attention") {
        let dims: &[i64] = match kernel {
            "attention_row" => &[2, 40, 64, 128],
            "attention_subgroup" => &[8, 40, 64, 128],
            _ => &[2, 40, 64, 256],
        };
        all = all
            .iter()
            .flat_map(|d| {
                dims.iter().map(|&n| {
                    d.clone()
                        .with("HEAD_DIM", n)
                        .with("LANE_COLUMNS", (n + 63) / 64)
                        .flag("TEXELS", kernel == "attention_subgroup")
                        .with("EIGHTHS", n / 8)
                        .with("BLOCKS", n / 32)
                        .with("STEP", 2)
                })
            })
            .collect();
    }
    all
}

/// Every stored type as the engine defines it.
fn stored_types() -> Vec<Vec<(&'static str, i64)>> {
    let packed = |name: &'static str, more: &[(&'static str, i64)]| {
        [&[(name, 1), ("W_PACKED", 1)], more].concat()
    };
    let mut types: Vec<_> = ["W_F32", "W_F16", "W_BF16"].map(|t| vec![(t, 1)]).into();
    types.extend(
        ["W_Q8_0", "W_Q4_0", "W_Q5_0", "W_Q4_K", "W_Q6_K", "W_INT8"].map(|t| packed(t, &[])),
    );
    types.extend([
        packed("W_INT8", &[("GROUP", 64), ("GROUP_WORDS", 17)]),
        packed("W_INT4", &[("GROUP", 32), ("GROUP_WORDS", 5)]),
        packed("W_INT4_ORDERED", &[("GROUPS", 3), ("PREFIX", 48)]),
    ]);
    types
}

/// The same in a texture, of types that can lie there.
fn in_texels(defines: &Defines) -> Option<Defines> {
    let label = defines.label();
    let is = |names: &[&str]| names.iter().any(|name| label.contains(name));
    (!is(&["W_INT4_ORDERED"])).then(|| {
        let defines = defines.clone().flag("TEXELS", true);
        defines
            .flag("BYTES", is(&["W_Q8_0", "W_Q5_0", "W_Q6_K", "W_INT8"]))
            .flag("PAIRS", is(&["W_Q4_K", "W_Q6_K", "W_INT4"]))
    })
}

fn with(defines: &Defines, more: &[(&'static str, i64)]) -> Defines {
    more.iter()
        .fold(defines.clone(), |d, (name, value)| d.with(name, *value))
}

/// Stored types, loads, rows of a tile and the sizes that go with them.
fn of_sparse_products(all: Vec<Defines>, kernel: &str) -> Vec<Defines> {
    let in_registers = ["sparse_rows", "sparse_sum"].contains(&kernel);
    let of_texels = kernel.ends_with("_texels");
    let mut more = Vec::new();
    for base in all {
        for dtype in ["W_F32", "W_F16", "W_BF16"] {
            for (vec, wide) in [(false, false), (true, false), (true, true)] {
                let is_eights = wide || of_texels;
                if is_eights && dtype == "W_F32" || wide && !in_registers || of_texels && !vec {
                    continue;
                }
                let tiles: &[i64] = match kernel {
                    "sparse_rows_texels" => &[1, 4, 8],
                    _ => &[1, 8],
                };
                for &rows in tiles {
                    let d = base
                        .clone()
                        .flag(dtype, true)
                        .flag("VEC", vec)
                        .with("ROWS", rows);
                    let half = match (vec, rows) {
                        (false, _) => 1,
                        (true, 1) => 8,
                        (true, _) => 2,
                    };
                    more.push(match kernel {
                        "sparse_rows" => d
                            .flag("WIDE", wide)
                            .with("QUADS", if wide { 2 } else { 1 })
                            .with("NEURONS", 4)
                            .with("LANES", 16),
                        "sparse_sum" => d
                            .flag("WIDE", wide)
                            .with("QUADS", 2 * half)
                            .with("HALF_QUADS", half)
                            .with("LANES", 8),
                        "sparse_rows_texels" => d
                            .with("TEXELS", 5)
                            .flag("ONE_ROW", rows == 1)
                            .flag("EIGHT_ROWS", rows == 8)
                            .with("NEURONS", 2),
                        "sparse_sum_texels" => d
                            .with("TEXELS", 5)
                            .with("SPAN", if rows == 1 { 4 } else { 2 })
                            .with("ENTRIES", 4),
                        _ => d,
                    });
                }
            }
        }
    }
    more
}

#[test]
fn every_variant_validates() {
    for kernel in KERNELS {
        for defines in variants(kernel) {
            let text = expand(kernel, &defines).expect("the text expands");
            let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|err| {
                panic!(
                    "{kernel} [{}]: {}",
                    defines.label(),
                    err.emit_to_string(&text)
                )
            });
            // The portable baseline: nothing optional, but what a kernel's name says. unpack2x16float is core WGSL; naga gates it for GLES.
            let mut capabilities = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
            if defines.label().contains("STAGE_F16") {
                capabilities |= naga::valid::Capabilities::SHADER_FLOAT16;
            }
            if kernel.ends_with("_subgroup") || kernel.ends_with("_texels") {
                capabilities |= naga::valid::Capabilities::SUBGROUP;
            }
            let mut validator =
                naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
            validator
                .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
                .subgroup_operations(naga::valid::SubgroupOperationSet::all())
                .validate(&module)
                .unwrap_or_else(|err| {
                    panic!(
                        "{kernel} [{}]: {}",
                        defines.label(),
                        err.emit_to_string(&text)
                    )
                });
            assert_eq!(module.entry_points.len(), 1, "{kernel} has one entry point");
            assert_eq!(module.entry_points[0].name, "main", "{kernel}");
            let size: u32 = module.entry_points[0].workgroup_size.iter().product();
            assert!(
                size <= 256,
                "{kernel} stays within WebGPU's default invocations"
            );
            let storage = module
                .global_variables
                .iter()
                .filter(|(_, v)| matches!(v.space, naga::AddressSpace::Storage { .. }));
            assert!(
                storage.count() <= 8,
                "{kernel} stays within WebGPU's default storage buffers"
            );
        }
    }
}

/// Uniform blocks are 32 bytes or less, with `zero` first: what `Params` on the Rust side relies on.
#[test]
fn uniforms_have_the_common_shape() {
    for kernel in KERNELS {
        let defines = variants(kernel).remove(0);
        let module = naga::front::wgsl::parse_str(&expand(kernel, &defines).expect("expands"))
            .expect("parses");
        let (_, params) = module
            .global_variables
            .iter()
            .find(|(_, v)| v.space == naga::AddressSpace::Uniform)
            .unwrap_or_else(|| panic!("{kernel} has a uniform"));
        let naga::TypeInner::Struct { members, span } = &module.types[params.ty].inner else {
            panic!("{kernel}: params is a struct")
        };
        assert!(*span <= 32, "{kernel}: {span} bytes");
        assert_eq!(members[0].name.as_deref(), Some("zero"), "{kernel}");
    }
}

#[test]
fn every_kernel_states_what_it_computes() {
    for kernel in KERNELS {
        let embedded = source(kernel).expect("embedded");
        assert!(
            !embedded.contains("//"),
            "{kernel} is embedded with comments"
        );
        let path = format!("{}/kernels/{kernel}.wgsl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("it reads");
        assert_eq!(
            text.lines().count(),
            embedded.lines().count(),
            "{kernel}: lines moved"
        );
        for heading in [
            "// Formula ",
            "// Shapes ",
            "// Bindings ",
            "// Dispatch ",
            "// Order ",
            "// Twin ",
        ] {
            assert!(
                text.contains(heading),
                "{kernel} has no `{heading}` in its head"
            );
        }
    }
}
