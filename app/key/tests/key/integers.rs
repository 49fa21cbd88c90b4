//! Keys of quantised models: for products of floats what a key of the decoded weights holds, for products of integers the field's.

use assay_key::exact::{P, P127};
use assay_key::{IntegerCheck, KeyMaker, KeyOptions, Part, Seed, VerifierKey};
use assay_model::quantize::{Target, write_folder, write_gguf};
use assay_model::{Dtype, Model, ModelConfig, Role};
use assay_trace::ActivationsClaim;

use crate::oracle;
use crate::sample::{ROLES, make, odd, options, parts, reseal, root, sample};

fn integer_options() -> KeyOptions {
    rounding(ActivationsClaim::Int8)
}

fn rounding(activations: ActivationsClaim) -> KeyOptions {
    KeyOptions {
        activations: Some(activations),
        ..options()
    }
}

/// Rows of whole blocks, of three lengths.
fn of_blocks() -> ModelConfig {
    ModelConfig {
        hidden: 64,
        intermediate: 96,
        heads: 4,
        kv_heads: 2,
        head_dim: 40,
        ..odd()
    }
}

/// A quantised copy of a model of odd shapes, in a folder that goes when it does.
fn quantised(target: Target) -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    let config = match target {
        Target::Int8 => odd(),
        _ => of_blocks(),
    };
    let original = sample(&config, Dtype::BF16);
    let path = folder.path().join("copy.gguf");
    match target {
        Target::Q8_0 | Target::Q4_0 => {
            let mut file = std::fs::File::create_new(&path).unwrap();
            write_gguf(&original.model, target, None, &mut file, &mut |_, _| {}).unwrap();
        }
        _ => write_folder(&original.model, target, &path, &[], &mut |_, _| {}).unwrap(),
    }
    let model = Model::open(&path).unwrap();
    (folder, model)
}

#[test]
fn products_of_floats_have_keys_of_the_decoded_weights() {
    let (_folder, model) = quantised(Target::Int8);
    let key = make(&model, 3, &options());
    assert_eq!(key.model_dtype(), "int8");
    assert_eq!(key.activations(), None);
    oracle::check(&model, &key);
    assert!(
        parts(&key)
            .into_iter()
            .all(|part| key.integers(part).is_none())
    );
}

#[test]
fn products_of_integers_have_keys_over_the_field() {
    let (_folder, model) = quantised(Target::Int8);
    let key = make(&model, 5, &integer_options());
    assert_eq!(key.activations(), Some(ActivationsClaim::Int8));
    for layer in key.layers() {
        for role in ROLES {
            let part = Part::Layer(*layer, role);
            assert!(key.product(part).is_none());
            let tensor = model.tensor(Role::Layer(*layer as usize, role)).unwrap();
            let (n, k) = (tensor.rows(), tensor.cols());
            let rows = model.rows(tensor).unwrap();
            let rows = rows.read(0..n).unwrap();
            let integers = key.integers(part).unwrap();
            let IntegerCheck::Scaled(check) = &integers.check else {
                panic!("8-bit integers have sums of 32 bits");
            };
            let scales = integers.scales.as_ref().unwrap();
            let scale = |row: &[u8]| f32::from_le_bytes(row[..4].try_into().unwrap());
            let stored = rows.chunks_exact(tensor.row_bytes() as usize);
            assert!(scales.iter().copied().eq(stored.clone().map(scale)));
            // A row of inputs with one integer sees one column of each: all of them together see the matrix.
            for column in [0, k / 2, k - 1] {
                let mut x = vec![0i8; k];
                x[column] = -3;
                let mut z: Vec<i32> = stored
                    .clone()
                    .map(|row| -3 * i32::from(row[4 + column] as i8))
                    .collect();
                assert_eq!(check.check_rows(&x, &z), Ok(()));
                z[n - 1] += 1;
                assert!(check.check_rows(&x, &z).is_err());
            }
        }
    }
    assert!(key.integers(Part::Head).is_none() && key.product(Part::Head).is_some());
    // One byte form, and no residue beyond the field.
    let bytes = key.as_bytes().to_vec();
    assert_eq!(VerifierKey::parse(bytes.clone()).unwrap().id(), key.id());
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut beyond = bytes;
    beyond[header..header + 8].copy_from_slice(&P.to_le_bytes());
    assert_eq!(
        VerifierKey::parse(reseal(beyond)).unwrap_err().code(),
        "value"
    );
    // Smaller than one for floats: 8 bytes a column where that has 4 (K + 1 + q).
    assert!(key.as_bytes().len() < make(&model, 5, &options()).as_bytes().len());
}

#[test]
fn blocks_have_keys_over_the_larger_field() {
    let group = Target::Int4Gptq { group: 32 };
    for target in [Target::Q8_0, Target::Q4_0, group] {
        let (_folder, model) = quantised(target);
        let key = make(&model, 5, &rounding(ActivationsClaim::Blocks));
        assert_eq!(key.activations(), Some(ActivationsClaim::Blocks));
        for (layer, role) in key.layers().iter().flat_map(|l| ROLES.map(|r| (*l, r))) {
            let part = Part::Layer(layer, role);
            assert!(key.product(part).is_none());
            let tensor = model.tensor(Role::Layer(layer as usize, role)).unwrap();
            let (n, k) = (tensor.rows(), tensor.cols());
            let integers = key.integers(part).unwrap();
            assert!(integers.scales.is_none());
            let IntegerCheck::Fixed(check) = &integers.check else {
                panic!("blocks have sums of 64 bits");
            };
            assert_eq!((check.n(), check.k()), (n, k));
            // In units of 2^-24; weights of these types are exact in f32.
            let weights = model.read_f32(tensor).unwrap();
            let units = |w: f32| (f64::from(w) * f64::from(1 << 24)) as i64;
            for column in [0, k / 2, k - 1] {
                let mut x = vec![0i64; k];
                x[column] = -3 << 20;
                let column = weights.iter().skip(column).step_by(k);
                let mut z: Vec<i64> = column.map(|w| (-3 << 20) * units(*w)).collect();
                assert_eq!(check.check_rows(&x, &z), Ok(()), "{target:?} {part}");
                z[n - 1] += 1;
                assert!(check.check_rows(&x, &z).is_err());
            }
        }
        assert!(key.integers(Part::Head).is_none() && key.product(Part::Head).is_some());
        // One byte form, and no residue beyond the field.
        let bytes = key.as_bytes().to_vec();
        assert_eq!(VerifierKey::parse(bytes.clone()).unwrap().id(), key.id());
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut beyond = bytes;
        beyond[header..header + 16].copy_from_slice(&P127.to_le_bytes());
        let err = VerifierKey::parse(reseal(beyond)).unwrap_err();
        assert_eq!(err.code(), "value");
        // Rows that are no whole blocks, in a file that says so consistently.
        let mut ragged = key.as_bytes().to_vec();
        let wide = br#"\"intermediate\":96"#;
        let at = ragged.windows(wide.len()).position(|w| w == wide);
        ragged[at.expect("the width") + wide.len() - 1] = b'7';
        let err = VerifierKey::parse(reseal(ragged)).unwrap_err();
        assert!(err.to_string().contains("no whole blocks"), "{err}");
    }
}

#[test]
fn file_sizes_are_known_before() {
    for (target, dtype, claim) in [
        (Target::Q4_0, Dtype::Q4_0, ActivationsClaim::Blocks),
        (
            Target::Int8,
            Dtype::Int8 { group: 0 },
            ActivationsClaim::Int8,
        ),
    ] {
        let (_folder, model) = quantised(target);
        let options = rounding(claim);
        let made = make(&model, 2, &options).as_bytes().len() as u64;
        let said = options.file_bytes(model.config(), dtype).unwrap();
        // Names of types in the header are not all the same length.
        assert!(made.abs_diff(said) < 600, "{made} {said}");
    }
    let refused = rounding(ActivationsClaim::Blocks).file_bytes(&odd(), Dtype::Q4_0);
    assert_eq!(refused.unwrap_err().code(), "stored-type");
}

#[test]
fn what_cannot_be_is_refused() {
    let float = sample(&odd(), Dtype::F32).model;
    let seed = || Seed::from_bytes([1; 32]);
    let made = KeyMaker::new(&float, root(), seed(), &integer_options());
    assert_eq!(made.unwrap_err().code(), "stored-type");
    let (_folder, model) = quantised(Target::Int8);
    let ggml = rounding(ActivationsClaim::Ggml);
    let made = KeyMaker::new(&model, root(), seed(), &ggml);
    assert_eq!(made.unwrap_err().code(), "stored-type");
    // A key for floats that says it is one for integers, and the other way round; and one for others.
    for (from, to) in [
        (
            options(),
            "\"{\\\"activations\\\":\\\"int8\\\",\\\"config\\\"",
        ),
        (
            options(),
            "\"{\\\"activations\\\":\\\"blocks\\\",\\\"config\\\"",
        ),
        (
            integer_options(),
            "\"{\\\"activations\\\":\\\"blocks\\\",\\\"config\\\"",
        ),
        (integer_options(), "\"{\\\"config\\\""),
    ] {
        let bytes = make(&model, 2, &from).as_bytes().to_vec();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let text = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
        let begin = text.find("\"{").unwrap();
        let end = text.find("\\\"config\\\"").unwrap() + "\\\"config\\\"".len();
        let other = format!("{}{to}{}", &text[..begin], &text[end..]);
        let other = other.trim_end().to_owned();
        let padded = other.len().next_multiple_of(8);
        let mut file = (padded as u64).to_le_bytes().to_vec();
        file.extend(format!("{other:padded$}").bytes());
        file.extend(&bytes[8 + length..]);
        let err = VerifierKey::parse(reseal(file)).unwrap_err();
        assert_eq!(err.code(), "metadata", "{err}");
    }
}
