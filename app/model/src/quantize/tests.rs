use super::*;
use crate::{Dtype, LayerRole, Role};

/// What `gguf.quants.quantize` of the gguf package 0.19 makes of 96 values that this formula gives, FNV-1a 64 over its bytes.
const KNOWN: [(&str, u64); 2] = [
    ("q8_0", 0x936b_7d04_995c_0939),
    ("q4_0", 0x3329_ed10_b438_ef9b),
];

fn values() -> Vec<f32> {
    // Halves, ties and a block of zeros among them.
    let value = |i: i32| match i {
        32..64 => 0.0,
        _ => ((i * 37) % 101 - 50) as f32 / 64.0,
    };
    (0..96).map(value).collect()
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, byte| {
        (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn blocks_are_rounded_as_ggml_rounds_them() {
    for (name, want) in KNOWN {
        let mut bytes = Vec::new();
        match name {
            "q8_0" => round::q8_0(&values(), &mut bytes),
            _ => round::q4_0(&values(), &mut bytes),
        }
        assert_eq!(fnv(&bytes), want, "{name}");
    }
}

/// Relative L2 distance of a copy's matrices of layers from the original's, rows of q and k in the order of the copy.
fn distance(copy: &Model, original: &Model, role: LayerRole) -> f64 {
    let (a, b) = (
        copy.layer(3, role).unwrap(),
        original.layer(3, role).unwrap(),
    );
    let (a, b) = (copy.read_f32(a).unwrap(), original.read_f32(b).unwrap());
    let squares =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let difference = squares(&mut a.iter().zip(&b).map(|(a, b)| a - b));
    (difference / squares(&mut b.iter().copied())).sqrt()
}

#[test]
fn copies_of_the_demo_open_as_what_they_are_and_are_near() {
    let original = Model::demo().unwrap();
    let files = Model::demo_files().map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    let dir = tempfile::tempdir().unwrap();
    let group = Target::usual_group(&original).unwrap();
    let ids = original
        .tokenizer()
        .unwrap()
        .encode("ROMEO:\nI know not")
        .unwrap();
    for (target, name, most) in [
        (Target::Int8, "int8", 0.02),
        (Target::Int4Gptq { group }, "int4", 0.2),
        (Target::Q8_0, "q8_0", 0.01),
        (Target::Q4_0, "q4_0", 0.2),
    ] {
        let path = dir.path().join(format!("{name}.gguf"));
        let mut heard = (0, 0);
        let mut progress = |done, total| heard = (done, total);
        match target {
            Target::Q8_0 | Target::Q4_0 => {
                let mut file = std::fs::File::create_new(&path).unwrap();
                let tokenizer = Some(&files[0].1[..]);
                let notes = write_gguf(&original, target, tokenizer, &mut file, &mut progress);
                assert!(notes.as_ref().unwrap().is_empty(), "{notes:?}");
            }
            _ => write_folder(&original, target, &path, &files, &mut progress).unwrap(),
        }
        assert_eq!(heard, (original.bytes(), original.bytes()));
        let copy = Model::open(&path).unwrap();
        assert!(copy.notes().is_empty(), "{:?}", copy.notes());
        assert_eq!(copy.layer(3, LayerRole::V).unwrap().dtype.as_str(), name);
        assert_eq!(
            copy.tokenizer()
                .unwrap()
                .encode("ROMEO:\nI know not")
                .unwrap(),
            ids
        );
        let mut config = copy.config().clone();
        config.rope = original.config().rope;
        assert_eq!(&config, original.config());
        for role in [LayerRole::V, LayerRole::Down] {
            let off = distance(&copy, &original, role);
            assert!(off > 1e-4 && off < most, "{name} {role:?}: {off}");
        }
        let (norm, own) = (Role::FinalNorm, copy.tensor(Role::FinalNorm).unwrap());
        let norm = original.read_f32(original.tensor(norm).unwrap()).unwrap();
        assert_eq!(copy.read_f32(own).unwrap(), norm);
        // Not twice over the same name, and no copy of a copy.
        if !matches!(target, Target::Q8_0 | Target::Q4_0) {
            let again = write_folder(&original, target, &path, &[], &mut |_, _| {});
            assert!(matches!(again, Err(ModelError::Exists { .. })));
        }
        let of_copy = write_folder(&copy, target, &dir.path().join("x"), &[], &mut |_, _| {});
        assert!(matches!(of_copy, Err(ModelError::Unsupported { .. })));
    }
    let unfit = write_folder(
        &original,
        Target::Int4Gptq { group: 100 },
        &dir.path().join("y"),
        &[],
        &mut |_, _| {},
    );
    assert!(matches!(unfit, Err(ModelError::Quantised { .. })));
    assert!(!dir.path().join("y").exists());
}

/// A Qwen2 keeps its order of rows in a GGUF file, a Llama's become interleaved: values by row, in every family that is written.
#[test]
fn rows_and_biases_of_a_gguf_file_are_those_of_its_original() {
    let dir = tempfile::tempdir().unwrap();
    for family in [
        crate::Family::Qwen2,
        crate::Family::Mistral,
        crate::Family::Llama,
    ] {
        let mut config = Model::demo().unwrap().config().clone();
        config.family = family;
        config.attention_bias = family != crate::Family::Mistral;
        (config.layers, config.vocab) = (1, 64);
        (config.eos, config.bos) = (vec![1], Some(0));
        config.check().unwrap();
        let shape = crate::synth::Shape::custom("small", config.clone()).unwrap();
        let source = dir.path().join(family.as_str());
        crate::synth::write(&shape, Dtype::F16, 5, &source).unwrap();
        let original = Model::open(&source).unwrap();
        let path = dir.path().join(format!("{}.gguf", family.as_str()));
        let mut file = std::fs::File::create_new(&path).unwrap();
        write_gguf(&original, Target::Q8_0, None, &mut file, &mut |_, _| {}).unwrap();
        let copy = Model::open(&path).unwrap();
        let half = config.head_dim / 2;
        let row = |at: usize| match family {
            crate::Family::Qwen2 => at,
            _ => at / config.head_dim * config.head_dim + at % 2 * half + at % config.head_dim / 2,
        };
        for role in [
            LayerRole::Q,
            LayerRole::K,
            LayerRole::QBias,
            LayerRole::KBias,
            LayerRole::V,
        ] {
            let Some(ours) = copy.layer(0, role) else {
                assert!(role.bias().is_none() && original.layer(0, role).is_none());
                continue;
            };
            let theirs = original.read_f32(original.layer(0, role).unwrap()).unwrap();
            let got = copy.read_f32(ours).unwrap();
            let width = if ours.shape.len() == 2 {
                ours.cols()
            } else {
                1
            };
            for (at, got) in got.chunks(width).enumerate() {
                let from = if role == LayerRole::V { at } else { row(at) };
                let want = &theirs[from * width..(from + 1) * width];
                let far = got.iter().zip(want).any(|(g, w)| {
                    (g - w).abs() > 0.01 * want.iter().fold(0f32, |m, v| m.max(v.abs()))
                });
                assert!(!far, "{family:?} {role:?} row {at}");
            }
        }
    }
}
