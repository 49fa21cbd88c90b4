use super::*;
use crate::planted::{Planted, plant};

#[test]
fn cosines_and_distances_of_states_that_are_known() {
    // Two tokens; state 1 is state 0 doubled, state 2 is at a right angle for one token and opposite for the other.
    let states: [&[f32]; 3] = [
        &[3.0, 4.0, 1.0, 0.0],
        &[6.0, 8.0, 2.0, 0.0],
        &[-4.0, 3.0, -1.0, 0.0],
    ];
    let mut meter = Meter::new(2, 2, 3).unwrap();
    meter.add(&states).unwrap();
    let drift = meter.finish().unwrap();
    assert!(drift.includes_output);
    assert_eq!(drift.tokens, 2);
    let [first, second, third] = &drift.states[..] else {
        panic!()
    };
    assert_eq!(
        first.cosine_to_first,
        Moments {
            mean: 1.0,
            n: 2,
            sd: 0.0
        }
    );
    assert_eq!(first.cosine_to_previous, None);
    assert!((second.cosine_to_first.mean - 1.0).abs() < 1e-12);
    assert_eq!(second.distance_to_first.mean, 3.0);
    assert!((third.cosine_to_first.mean + 0.5).abs() < 1e-12);
    assert!((third.cosine_to_first.sd - 0.5f64.sqrt()).abs() < 1e-12);
    assert!((third.cosine_to_previous.unwrap().mean + 0.5).abs() < 1e-12);
    // Distances to state 1: sqrt(100 + 25) and 3.
    assert!((third.distance_to_previous.unwrap().mean - (125f64.sqrt() + 3.0) / 2.0).abs() < 1e-12);
    assert_eq!(third.norm.mean, 3.0);
}

#[test]
fn pieces_add_up_and_zeros_are_counted_apart() {
    let mut whole = Meter::new(2, 2, 2).unwrap();
    let mut pieces = Meter::new(2, 2, 2).unwrap();
    let (a, b) = (
        [1.0, 2.0, 0.0, 0.0, -1.0, 5.0],
        [2.0, 2.0, 1.0, 1.0, 0.5, 1.0],
    );
    whole.add(&[&a, &b]).unwrap();
    for row in 0..3 {
        pieces
            .add(&[&a[2 * row..][..2], &b[2 * row..][..2]])
            .unwrap();
    }
    assert_eq!(whole.finish().unwrap(), pieces.finish().unwrap());
    let state = whole.finish().unwrap().states[1];
    assert_eq!(
        (
            state.undefined,
            state.cosine_to_first.n,
            state.distance_to_first.n
        ),
        (1, 2, 3)
    );
    assert!(whole.add(&[&a]).is_err());
    assert!(whole.add(&[&a, &b[..4]]).is_err());
    assert!(whole.add(&[&a[..3], &b[..3]]).is_err());
    assert!(whole.add(&[&a, &[f32::NAN; 6]]).is_err());
    assert_eq!(
        whole.finish().unwrap(),
        pieces.finish().unwrap(),
        "a refused piece adds nothing"
    );
    assert!(Meter::new(2, 2, 1).is_err());
    assert!(Meter::new(0, 2, 2).is_err());
    assert!(Meter::new(2, 2, 2).unwrap().finish().is_err());
}

#[test]
fn the_seeds_rule_and_words_are_the_seeds() {
    let drift = |cosines: &[(f64, f64)]| Drift {
        hidden: 8,
        includes_output: true,
        model_layers: cosines.len() as u32,
        states: std::iter::once((1.0, None))
            .chain(
                cosines
                    .iter()
                    .map(|&(previous, first)| (first, Some(previous))),
            )
            .zip(0..)
            .map(|((first, previous), state)| {
                let moments = |mean| Moments {
                    mean,
                    n: 1,
                    sd: 0.0,
                };
                StateDrift {
                    cosine_to_first: moments(first),
                    cosine_to_previous: previous.map(moments),
                    distance_to_first: moments(0.0),
                    distance_to_previous: None,
                    norm: moments(1.0),
                    state,
                    undefined: 0,
                }
            })
            .collect(),
        tokens: 1,
    };
    let verdict = |cosines: &[(f64, f64)]| SeedVerdict::of("m", &drift(cosines)).unwrap();
    let holds = verdict(&[(0.95, 0.95), (0.95, 0.70)]);
    assert!(!holds.hypothesis_verified);
    assert_eq!(
        holds.from_layer0_cosine_per_layer,
        [1.0, 0.95, 0.70],
        "the seed's list begins with 0.0"
    );
    assert_eq!(holds.consecutive_cosine_per_layer, [0.95, 0.95]);
    assert_eq!(holds.num_layers, 2);
    assert!(verdict(&[(0.99, 0.95), (0.99, 0.69)]).hypothesis_verified);
    assert!(verdict(&[(0.85, 0.95), (0.94, 0.90)]).hypothesis_verified);
    assert!(SeedVerdict::of("m", &drift(&[])).is_none());
    let json = serde_json::to_value(&holds).unwrap();
    for key in [
        "model",
        "num_layers",
        "hidden_size",
        "avg_consecutive_cosine",
        "final_layer_to_layer0_cosine",
        "consecutive_cosine_per_layer",
        "from_layer0_cosine_per_layer",
        "hypothesis_verified",
        "interpretation",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json.as_object().unwrap().len(), 9);
    let words = [0.96, 0.95, 0.86, 0.85, 0.71, 0.70].map(SeedVerdict::consecutive_word);
    assert_eq!(
        words,
        [
            "Stable",
            "Moderate drift",
            "Moderate drift",
            "Significant drift",
            "Significant drift",
            "Severe drift"
        ]
    );
    let words = [0.91, 0.90, 0.70, 0.50].map(SeedVerdict::first_word);
    assert_eq!(
        words,
        [
            "Close to original",
            "Moderate",
            "Significant",
            "Very different"
        ]
    );
}

#[test]
fn a_dataset_gives_the_same_as_its_states() {
    let folder = tempfile::tempdir().unwrap();
    let planted = Planted {
        layers: 3,
        documents: 20,
        rows: 30,
        ..Planted::default()
    };
    let dataset = plant(folder.path(), &planted, |_, _, y| y.fill(1.0));
    let drift = Drift::of_dataset(&dataset).unwrap();
    assert_eq!(
        (drift.tokens, drift.states.len(), drift.includes_output),
        (600, 3, false)
    );
    // Every layer has the same x here.
    assert!(
        drift
            .states
            .iter()
            .all(|s| (s.cosine_to_first.mean - 1.0).abs() < 1e-12)
    );
    let mut x = Vec::new();
    let rows: Vec<u32> = (0..600).collect();
    dataset
        .matrix(Stream::AttX, 1)
        .unwrap()
        .gather(&rows, &mut x)
        .unwrap();
    let mut meter = Meter::new(16, 3, 3).unwrap();
    meter.add(&[&x, &x, &x]).unwrap();
    assert_eq!(meter.finish().unwrap(), drift);
}
