//! Are the secrets random, and apart from each other?

use assay_key::{KeyOptions, Part, Seed, VerifierKey};
use assay_model::{Dtype, LayerRole};

use crate::sample::{make, odd, options, parts, sample};

fn key(seed: u8) -> VerifierKey {
    let options = KeyOptions {
        projections: 64,
        ..options()
    };
    make(&sample(&odd(), Dtype::BF16).model, seed, &options)
}

/// Mean, variance and fourth moment, and the parts of the line that normals fall in.
#[test]
fn projections_are_standard_normals() {
    let key = key(1);
    let all: Vec<f64> = parts(&key)
        .into_iter()
        .flat_map(|part| key.projection(part).unwrap())
        .map(f64::from)
        .collect();
    let count = all.len() as f64;
    let moment = |power: i32| all.iter().map(|x| x.powi(power)).sum::<f64>() / count;
    let within = |limit: f64| all.iter().filter(|x| x.abs() < limit).count() as f64 / count;
    // Five deviations of each mean.
    let off = 5.0 / count.sqrt();
    assert!(moment(1).abs() < off, "{}", moment(1));
    assert!((moment(2) - 1.0).abs() < off * 2f64.sqrt());
    assert!(moment(3).abs() < off * 15f64.sqrt());
    assert!((moment(4) - 3.0).abs() < off * 96f64.sqrt());
    assert!((within(1.0) - 0.682_689_5).abs() < off * 0.5);
    assert!((within(2.0) - 0.954_499_7).abs() < off * 0.25);
    assert!(count > 150_000.0);
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum::<f64>() / (a.len().min(b.len()) as f64).sqrt()
}

/// No two parts, projections or seeds have anything in common.
#[test]
fn parts_and_seeds_are_independent() {
    let (first, second) = (key(1), key(2));
    let mut all: Vec<(String, Vec<f32>)> = Vec::new();
    for (name, key) in [("first", &first), ("second", &second)] {
        for part in parts(key) {
            let r = key.projection(part).unwrap();
            let half = r.len() / 2;
            all.push((format!("{name} {part}, upper half"), r[..half].to_vec()));
            all.push((format!("{name} {part}, lower half"), r[half..].to_vec()));
        }
        all.push((format!("{name} sketch"), key.embedding_projection()));
    }
    for (i, (a, left)) in all.iter().enumerate() {
        for (b, right) in &all[..i] {
            let deviations = correlation(left, right);
            // 4000 pairs: five deviations have a chance of 1 in 400.
            assert!(deviations.abs() < 5.5, "{a}, {b}: {deviations}");
        }
    }
    assert_ne!(first.id(), second.id());
    assert_eq!(first.id(), key(1).id());
}

#[test]
fn kept_rows_differ_between_parts_and_seeds() {
    let (first, second) = (key(1), key(2));
    let gate = |layer| Part::Layer(layer, LayerRole::Gate);
    let up = Part::Layer(0, LayerRole::Up);
    let ids = |key: &VerifierKey, part| key.product(part).unwrap().row_ids;
    assert_ne!(ids(&first, gate(0)), ids(&first, gate(1)));
    assert_ne!(ids(&first, gate(0)), ids(&first, up));
    assert_ne!(ids(&first, gate(0)), ids(&second, gate(0)));
}

#[test]
fn the_system_gives_another_seed_each_time() {
    let sample = sample(&crate::sample::thin(), Dtype::F32);
    let id = || {
        let seed = Seed::from_os().unwrap();
        let mut maker =
            assay_key::KeyMaker::new(&sample.model, crate::sample::root(), seed, &options())
                .unwrap();
        while !maker.step().unwrap() {}
        maker.finish().unwrap().id()
    };
    assert_ne!(id(), id());
}

#[test]
fn debug_shows_no_secret() {
    let key = key(0xAB);
    let shown = [
        format!("{:?}", Seed::from_bytes([0xAB; 32])),
        format!("{key:?}"),
        format!("{:?}", key.product(Part::Head).unwrap()),
    ];
    for text in shown {
        assert!(text.len() < 300, "{text}");
        assert!(
            !text.contains("171") && !text.to_lowercase().contains("abab"),
            "{text}"
        );
        assert!(!text.contains("0."), "{text}");
    }
}
