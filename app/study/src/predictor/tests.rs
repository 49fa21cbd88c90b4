use super::*;
use crate::labels::Label;
use crate::metrics::{Compared, Finding, LayerMetrics, Lift, Quality};
use crate::random::{Purpose, Random};
use crate::{Stored, StudyError};
use assay_trace::Digest;
use std::fs;

fn metrics(layer: u32) -> LayerMetrics {
    let quality = Quality {
        accuracy: Some(0.75),
        f1: Some(1.0 / 3.0),
        precision: None,
        predicted_active: 2.5,
        predicted_fraction: 0.1,
        recall: Some(0.25),
        true_active: 3.0,
        true_fraction: 0.12,
    };
    let compared = Compared {
        predictor: quality,
        random: quality,
        most_frequent: quality,
    };
    LayerMetrics {
        at_true_count: compared.clone(),
        at_zero: compared,
        columns: 5,
        documents: 3,
        everything: quality,
        layer,
        lift: Lift {
            difference: Some(0.1),
            finding: Finding::BetterThanStatic,
            high: Some(0.2),
            low: Some(1e-7),
            ratio: None,
        },
        nothing: quality,
        rows: 10,
    }
}

fn facts(dtype: Stored) -> PredictorFacts {
    PredictorFacts {
        dataset: Digest::of(b"dataset"),
        dtype,
        family: "llama".to_owned(),
        format: PredictorFacts::FORMAT.to_owned(),
        hidden: 4,
        input_scale: InputScale::RowRms,
        label: Label::Quantile { fraction: 0.1 },
        layers: [0, 2]
            .map(|layer| PredictorLayer {
                epoch: 3,
                epochs: 8,
                held_out: metrics(layer),
                layer,
                threshold: Some(0.3),
            })
            .to_vec(),
        model_layers: 3,
        outputs: 5,
        query: Query::SameLayer,
        rank: 2,
        root: Digest::of(b"root"),
        seed: 7,
        target: Target::Mlp,
        version: PredictorFacts::VERSION,
    }
}

fn predictor(dtype: Stored) -> Predictor {
    let mut random = Random::new(4, Purpose::Weights, 0);
    let weights = [0, 2].map(|layer| {
        let mut draw = |n: usize| (0..n).map(|_| random.symmetric(1.0)).collect::<Vec<f32>>();
        let pair = Weights {
            down: draw(8),
            up: draw(10),
        };
        (layer, pair)
    });
    Predictor::new(facts(dtype), weights.into()).unwrap()
}

fn wanted() -> Wanted {
    Wanted {
        root: Digest::of(b"root"),
        target: Target::Mlp,
        hidden: 4,
        outputs: 5,
        model_layers: 3,
        layers: vec![0, 2],
        digest: None,
    }
}

#[test]
fn files_come_back_and_are_always_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [Stored::F16, Stored::F32] {
        let saved = predictor(dtype);
        let path = folder.path().join(saved.facts().file_name());
        let digest = saved.save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(saved.save(&path).unwrap(), digest);
        let (loaded, same) = Predictor::load(&path, &wanted()).unwrap();
        assert_eq!((&loaded, same), (&saved, digest));
        assert_eq!(Predictor::peek(&path).unwrap(), *saved.facts());
        let exact = Wanted {
            digest: Some(digest),
            ..wanted()
        };
        assert!(Predictor::load(&path, &exact).is_ok());
        // The published crate reads it as what it says.
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("layers.2.down").unwrap().shape(), [2, 4]);
        assert_eq!(file.tensor("layers.0.up").unwrap().shape(), [5, 2]);
        assert_eq!(file.len(), 4);
    }
    assert_eq!(facts(Stored::F16).file_name(), "mlp-same-layer.safetensors");
}

#[test]
fn scores_are_the_two_products() {
    let predictor = predictor(Stored::F32);
    let x = [0.5f32, -1.0, 2.0, 0.25, 1.0, 0.0, -3.0, 0.125];
    let scores = predictor.scores(2, &x, 2).unwrap();
    let weights = predictor.weights(2).unwrap();
    for row in 0..2 {
        for output in 0..5 {
            let want: f32 = (0..2)
                .map(|r| {
                    let middle: f32 = (0..4)
                        .map(|i| weights.down[4 * r + i] * x[4 * row + i])
                        .sum();
                    weights.up[2 * output + r] * middle
                })
                .sum();
            assert!((scores[5 * row + output] - want).abs() < 1e-5);
        }
    }
    // No bias: a row that is scaled keeps its decisions.
    let large: Vec<f32> = x.iter().map(|x| 4096.0 * x).collect();
    let far = predictor.scores(2, &large, 2).unwrap();
    assert!(scores.iter().zip(far).all(|(a, b)| a * 4096.0 == b));
    assert!(matches!(
        predictor.scores(2, &x, 3),
        Err(StudyError::Length { .. })
    ));
    assert!(matches!(
        predictor.scores(1, &x, 2),
        Err(StudyError::NoPredictorLayer { layer: 1 })
    ));
}

#[test]
fn nothing_else_is_taken_for_the_predictor_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    let load = |wanted: &Wanted| Predictor::load(&path, wanted).err().unwrap();
    // The seed went on with random weights here.
    assert!(matches!(load(&wanted()), StudyError::NoPredictor { .. }));
    predictor(Stored::F16).save(&path).unwrap();
    let other = Digest::of(b"other");
    assert!(matches!(
        load(&Wanted {
            root: other,
            ..wanted()
        }),
        StudyError::OtherModel { .. }
    ));
    assert!(matches!(
        load(&Wanted {
            digest: Some(other),
            ..wanted()
        }),
        StudyError::OtherDigest { .. }
    ));
    for (name, want) in [
        (
            "target",
            Wanted {
                target: Target::Att,
                ..wanted()
            },
        ),
        (
            "hidden",
            Wanted {
                hidden: 8,
                ..wanted()
            },
        ),
        (
            "outputs",
            Wanted {
                outputs: 6,
                ..wanted()
            },
        ),
        (
            "model_layers",
            Wanted {
                model_layers: 4,
                ..wanted()
            },
        ),
    ] {
        let err = load(&want);
        assert!(
            matches!(&err, StudyError::Differs { what, .. } if *what == name),
            "{err}"
        );
    }
    assert!(matches!(
        load(&Wanted {
            layers: vec![0, 1],
            ..wanted()
        }),
        StudyError::NoPredictorLayer { layer: 1 }
    ));
}

#[test]
fn hostile_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    predictor(Stored::F32).save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Predictor::load(&path, &wanted()).err()
    };
    assert!(load(&good).is_none());
    let ends = 48..good.len() - 48;
    for cut in (0..good.len()).filter(|cut| !ends.contains(cut) || cut % 7 == 0) {
        assert!(load(&good[..cut]).is_some(), "cut at {cut}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(load(&longer).is_some());
    // No flip of a header's byte panics or changes a shape unseen; flips of data only change values.
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    for at in 0..header {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        if let Ok((loaded, _)) = Predictor::load(&path, &wanted()) {
            assert_eq!(loaded.facts().hidden, 4);
            assert_eq!(loaded.weights(2).unwrap().up.len(), 10);
        }
    }
    let mut infinite = good.clone();
    let end = infinite.len() - 4;
    infinite[end..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert!(matches!(load(&infinite), Some(StudyError::Number { .. })));
    let with_header = |text: &str| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&good[header..]);
        bytes
    };
    let text = std::str::from_utf8(&good[8..header]).unwrap();
    for (from, to) in [
        ("\\\"hidden\\\":4", "\\\"hidden\\\":0"),
        ("\\\"hidden\\\":4", "\\\"hidden\\\":4294967295"),
        ("\\\"hidden\\\":4", "\\\"hidden\\\":4.0"),
        ("\\\"hidden\\\":4", "\\\"hidden\\\": 4"),
        ("\\\"threshold\\\":0.3", "\\\"threshold\\\":-0.3"),
        ("\\\"threshold\\\":0.3", "\\\"threshold\\\":1e300"),
        ("\\\"fraction\\\":0.1", "\\\"fraction\\\":1.5"),
        ("\\\"rank\\\":2", "\\\"rank\\\":65537"),
        ("\\\"rank\\\":2", "\\\"rank\\\":3"),
        ("\\\"outputs\\\":5", "\\\"outputs\\\":10"),
        ("\\\"version\\\":1", "\\\"version\\\":2"),
        (
            "\\\"format\\\":\\\"assay-predictor",
            "\\\"format\\\":\\\"assay-predictors",
        ),
        ("\\\"dtype\\\":\\\"f32", "\\\"dtype\\\":\\\"f16"),
        (
            "\\\"query\\\":\\\"same-layer",
            "\\\"query\\\":\\\"previous-layer",
        ),
        ("\\\"model_layers\\\":3", "\\\"model_layers\\\":2"),
        ("assay-predictor\":", "assay-predicted\":"),
        ("layers.2.up", "layers.1.up"),
        ("[2,4]", "[4,2]"),
        ("[2,4]", "[2,4,1]"),
        ("[2,4]", "[8]"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text, "{from}");
        assert!(load(&with_header(&bad)).is_some(), "{to}");
    }
    // Offsets at 2^64 overflow the crate's sum.
    let huge = 1u64 << 61;
    let mut tensors = String::new();
    for n in 0..8u64 {
        let (begin, end) = (n * huge, (n * huge).saturating_add(huge).min(u64::MAX - 20));
        let shape = end - begin;
        tensors += &format!(
            ",\"t{n}\":{{\"dtype\":\"U8\",\"shape\":[{shape}],\"data_offsets\":[{begin},{end}]}}"
        );
    }
    let bad = format!(
        "{}{tensors}}}",
        text.trim_end()
            .split_once("},\"layers")
            .unwrap()
            .0
            .to_owned()
            + "}"
    );
    assert!(matches!(
        load(&with_header(&bad)),
        Some(StudyError::Tensor { .. })
    ));
    let mut long = u64::MAX.to_le_bytes().to_vec();
    long.extend_from_slice(&good[8..]);
    assert!(load(&long).is_some());
    assert!(load(b"").is_some());
}

#[test]
fn weights_must_fit_their_facts() {
    let good = predictor(Stored::F32);
    let weights = || good.weights.clone();
    assert!(Predictor::new(facts(Stored::F32), weights()).is_ok());
    let mut missing = weights();
    missing.remove(&2);
    assert!(Predictor::new(facts(Stored::F32), missing).is_err());
    let mut surplus = weights();
    surplus.insert(1, weights()[&0].clone());
    assert!(Predictor::new(facts(Stored::F32), surplus).is_err());
    let mut short = weights();
    short.get_mut(&0).unwrap().up.pop();
    assert!(Predictor::new(facts(Stored::F32), short).is_err());
    let mut large = weights();
    large.get_mut(&0).unwrap().up[3] = 70000.0;
    assert!(Predictor::new(facts(Stored::F32), large.clone()).is_ok());
    assert!(matches!(
        Predictor::new(facts(Stored::F16), large),
        Err(StudyError::Number { index: 3, .. })
    ));
}

#[test]
fn queries_name_states_that_exist_already() {
    use crate::dataset::Stream::{AttX, MlpX};
    let (same, before) = (Query::SameLayer, Query::PreviousLayer);
    let cross = Query::CrossLayer { from: 2 };
    assert_eq!(same.source(Target::Mlp, 3), Some((MlpX, 3)));
    assert_eq!(same.source(Target::Att, 3), Some((AttX, 3)));
    assert_eq!(before.source(Target::Mlp, 3), Some((AttX, 2)));
    assert_eq!(before.source(Target::Att, 0), None);
    assert_eq!(cross.source(Target::Mlp, 5), Some((MlpX, 2)));
    assert_eq!(cross.source(Target::Mlp, 1), None);
    assert_eq!(cross.distance(Target::Mlp, 5), Some(3));
    assert_eq!(cross.name(), "cross-layer-2");
}
