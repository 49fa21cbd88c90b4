use super::*;
use crate::{Family, LayerRole, Model, Role, RopeLayout};

fn tiny() -> Shape {
    Shape::named("tiny").unwrap()
}

#[test]
fn shapes_have_the_published_sizes() {
    let parameters = |name: &str| {
        Shape::named(name)
            .unwrap()
            .tensors()
            .iter()
            .map(elements)
            .sum::<u64>()
    };
    assert_eq!(parameters("llama-3.2-1b"), 1_235_814_400);
    assert_eq!(parameters("llama-3.2-3b"), 3_212_749_824);
    assert_eq!(parameters("llama-3.1-8b"), 8_030_261_248);
    assert_eq!(parameters("opt-125m"), 125_239_296);
    assert_eq!(parameters("opt-1.3b"), 1_315_758_080);
    assert_eq!(parameters("opt-6.7b"), 6_658_473_984);
    assert_eq!(Shape::named("gpt-5"), None);
    let mut config = tiny().config;
    config.rope.as_mut().unwrap().layout = RopeLayout::Interleaved;
    assert!(matches!(
        Shape::custom("x", config.clone()),
        Err(ModelError::Unsupported { .. })
    ));
    config.kv_heads = 3;
    assert!(matches!(
        Shape::custom("x", config),
        Err(ModelError::HeadGroups { .. })
    ));
}

#[test]
fn a_seed_decides_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, seed| {
        write(&tiny(), Dtype::BF16, seed, &dir.path().join(name)).unwrap();
        std::fs::read(dir.path().join(name).join("model.safetensors")).unwrap()
    };
    let (a, b, c) = (make("a", 1), make("b", 1), make("c", 2));
    assert!(a == b && a != c && a.len() == c.len());
    safetensors::SafeTensors::deserialize(&a).unwrap();
}

#[test]
fn weights_have_the_spread_that_was_promised() {
    let dir = tempfile::tempdir().unwrap();
    let mut shape = tiny();
    shape.config.vocab = 5000;
    write(&shape, Dtype::F32, 3, &dir.path().join("m")).unwrap();
    let model = Model::open(&dir.path().join("m")).unwrap();
    let embedding = model
        .read_f32(model.tensor(Role::Embedding).unwrap())
        .unwrap();
    let n = embedding.len() as f64;
    let mean = embedding.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let deviation = (embedding.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / n).sqrt();
    assert!(
        mean.abs() < 1e-3 && (deviation / (0.9 / 8.0) - 1.0).abs() < 0.01,
        "{mean} {deviation}"
    );
    let norm = model
        .read_f32(model.tensor(Role::FinalNorm).unwrap())
        .unwrap();
    assert!(
        norm.iter().all(|x| (0.9..=1.1).contains(x))
            && norm.windows(2).any(|pair| pair[0] != pair[1])
    );
}

#[test]
fn an_opt_is_made_as_a_llama_is() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::named("tiny-opt").unwrap();
    write(&shape, Dtype::F32, 3, &dir.path().join("m")).unwrap();
    let model = Model::open(&dir.path().join("m")).unwrap();
    assert_eq!(model.config(), &shape.config);
    assert_eq!(model.config().family, Family::Opt);
    assert!(model.notes().is_empty(), "{:?}", model.notes());
    let read = |role| model.read_f32(model.tensor(role).unwrap()).unwrap();
    let spread = |values: &[f32]| {
        (values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let positions = read(Role::Positions);
    assert_eq!(positions.len(), 258 * 64);
    assert!((spread(&positions) / (0.9 / 8.0) - 1.0).abs() < 0.03);
    let weight = read(Role::FinalNorm);
    assert!(weight.iter().all(|x| (0.9..=1.1).contains(x)) && spread(&weight) < 1.05);
    let bias = read(Role::FinalNormBias);
    assert!((0.01..0.03).contains(&spread(&bias)), "{}", spread(&bias));
    assert_ne!(
        read(Role::Layer(0, LayerRole::UpBias)),
        read(Role::Layer(1, LayerRole::UpBias))
    );
}

#[test]
fn shards_hold_the_same_weights_as_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    let shape = tiny();
    write(&shape, Dtype::F16, 5, &whole).unwrap();
    let create =
        |path: &Path| -> io::Result<Box<dyn Write>> { Ok(Box::new(File::create_new(path)?)) };
    let synth = Synth {
        shape: &shape,
        dtype: Dtype::F16,
        seed: 5,
        max_shard_bytes: 40_000,
    };
    synth.write(&cut, &create, &mut |_, _| {}).unwrap();
    assert!(
        cut.join("model.safetensors.index.json").exists()
            && !cut.join("model.safetensors").exists()
    );
    let root = |path: &Path| Model::open(path).unwrap().root(&mut |_, _| {}).unwrap();
    assert_eq!(root(&whole), root(&cut));
}

#[test]
fn an_existing_folder_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        write(&tiny(), Dtype::F32, 0, dir.path()),
        Err(ModelError::Exists { .. })
    ));
}

/// A disk that takes some bytes and then fails with `kind`.
struct Disk {
    left: usize,
    kind: io::ErrorKind,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            return Err(self.kind.into());
        }
        self.left -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_a_typed_error_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("model");
    let shape = tiny();
    let synth = Synth {
        shape: &shape,
        dtype: Dtype::F32,
        seed: 0,
        max_shard_bytes: MAX_SHARD_BYTES,
    };
    for left in [0, 10, 1000, 50_000] {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied] {
            let create =
                |_: &Path| -> io::Result<Box<dyn Write>> { Ok(Box::new(Disk { left, kind })) };
            let err = synth.write(&dir, &create, &mut |_, _| {}).unwrap_err();
            match kind {
                io::ErrorKind::StorageFull => {
                    assert!(matches!(err, ModelError::DiskFull { .. }), "{err}");
                }
                _ => assert!(matches!(err, ModelError::Io { .. }), "{err}"),
            }
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        }
    }
}
#[test]
fn bf16_is_rounded_as_the_half_crate_rounds() {
    for bits in (0..0x7f80_0000u32)
        .step_by(40_961)
        .chain([0x3f80_8000, 0x3f81_8000, 0x3f80_8001])
    {
        for value in [f32::from_bits(bits), -f32::from_bits(bits)] {
            assert_eq!(
                bf16_bits(value),
                half::bf16::from_f32(value).to_bits(),
                "{value:e}"
            );
        }
    }
}
