use super::*;
use crate::planted::{Planted, plant};
use crate::random::{Purpose, Random};
use proptest::prelude::*;

fn labeller(rule: Rule, columns: usize) -> Labeller {
    Labeller { rule, columns }
}

/// Ties, zeros of both signs and equal magnitudes are frequent.
fn values(columns: usize, rows: usize) -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        Just(0.0f32),
        Just(-0.0f32),
        (-3i8..=3).prop_map(f32::from),
        -2.0f32..2.0,
    ];
    proptest::collection::vec(value, columns * rows)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn top_k_is_what_a_stable_sort_says(y in values(7, 3), keep in 1usize..=7) {
        let mut out = Vec::new();
        labeller(Rule::Largest(keep), 7).mark(&y, &mut out).unwrap();
        for (row, marks) in y.chunks(7).zip(out.chunks(7)) {
            let mut order: Vec<usize> = (0..7).collect();
            // A stable sort keeps lower indices first among equals.
            order.sort_by(|&a, &b| row[b].abs().partial_cmp(&row[a].abs()).unwrap());
            let mut want = [0u8; 7];
            order.iter().take(keep).for_each(|&i| want[i] = 1);
            prop_assert_eq!(marks, &want);
        }
    }

    #[test]
    fn thresholds_and_signs_are_comparisons(y in values(5, 4), threshold in 0.0f32..2.0) {
        let mut out = Vec::new();
        labeller(Rule::AtLeast(threshold), 5).mark(&y, &mut out).unwrap();
        for (y, mark) in y.iter().zip(&out) {
            prop_assert_eq!(*mark == 1, y.abs() >= threshold && *y != 0.0);
        }
        labeller(Rule::Positive, 5).mark(&y, &mut out).unwrap();
        for (y, mark) in y.iter().zip(&out) {
            prop_assert_eq!(*mark == 1, *y > 0.0);
        }
    }
}

#[test]
fn marks_want_whole_rows() {
    assert!(
        labeller(Rule::Positive, 3)
            .mark(&[1.0; 4], &mut Vec::new())
            .is_err()
    );
}

#[test]
fn quantiles_are_exact_and_of_the_training_split_only() {
    let folder = tempfile::tempdir().unwrap();
    // Held-out rows are a thousand times larger: a threshold that looked at them would be far off.
    let mut random = Random::new(9, Purpose::Weights, 0);
    let planted = Planted {
        documents: 30,
        rows: 5,
        outputs: 6,
        ..Planted::default()
    };
    let split = planted.split;
    let dataset = plant(folder.path(), &planted, |document, _, y| {
        let scale = if split.part(document) == Part::Train {
            1.0
        } else {
            1000.0
        };
        for (index, y) in y.iter_mut().enumerate() {
            *y = if index == 0 {
                0.0
            } else {
                scale * random.symmetric(1.0)
            };
        }
    });
    let rows = dataset.rows_of(Part::Train).unwrap();
    let mut y = Vec::new();
    dataset
        .matrix(Stream::MlpY, 0)
        .unwrap()
        .gather(&rows, &mut y)
        .unwrap();
    let mut sorted: Vec<f32> = y.iter().map(|y| y.abs()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    for fraction in [0.001, 0.1, 1.0 / 3.0, 0.5, 0.83, 0.9, 0.999] {
        let label = Label::Quantile { fraction };
        let labeller = Labeller::fit(&dataset, Target::Mlp, &label, 0).unwrap();
        let rank = (fraction * sorted.len() as f64).ceil() as usize;
        assert_eq!(labeller.threshold(), Some(sorted[rank - 1]), "{fraction}");
        let mut marks = Vec::new();
        labeller.mark(&y, &mut marks).unwrap();
        let active = marks.iter().filter(|m| **m == 1).count();
        let nonzero = sorted.iter().filter(|y| **y != 0.0).count();
        assert_eq!(
            active,
            rank.min(nonzero),
            "{fraction}: zeros are never active"
        );
    }
}

#[test]
fn labels_fit_or_are_refused() {
    use Activation::{Relu, SiluGated};
    use Target::{Att, Mlp};
    let ok: [(Label, Target, Activation); 8] = [
        (Label::TopK { keep: 10 }, Mlp, SiluGated),
        (Label::TopK { keep: 1 }, Att, Relu),
        (Label::Quantile { fraction: 0.1 }, Mlp, SiluGated),
        (Label::Quantile { fraction: 0.1 }, Att, SiluGated),
        (Label::Sign, Mlp, SiluGated),
        (Label::Positive, Mlp, Relu),
        (Label::HeadShare { share: 0.7 }, Att, SiluGated),
        (Label::HeadShare { share: 1.0 }, Att, Relu),
    ];
    for (label, target, activation) in ok {
        assert!(label.check(target, activation, 10).is_ok(), "{label:?}");
    }
    let bad: [(Label, Target, Activation); 12] = [
        (Label::TopK { keep: 0 }, Mlp, SiluGated),
        (Label::TopK { keep: 11 }, Mlp, SiluGated),
        (Label::Quantile { fraction: 0.0 }, Mlp, SiluGated),
        (Label::Quantile { fraction: 1.0 }, Mlp, SiluGated),
        (Label::Quantile { fraction: f64::NAN }, Mlp, SiluGated),
        (Label::Sign, Mlp, Relu),
        (Label::Sign, Att, SiluGated),
        (Label::Positive, Mlp, SiluGated),
        (Label::Positive, Att, Relu),
        (Label::HeadShare { share: 0.7 }, Mlp, SiluGated),
        (Label::HeadShare { share: 0.05 }, Att, SiluGated),
        (Label::HeadShare { share: 1.1 }, Att, SiluGated),
    ];
    for (label, target, activation) in bad {
        let refused = matches!(
            label.check(target, activation, 10),
            Err(StudyError::Label { .. })
        );
        assert!(refused, "{label:?}");
    }
    assert!(Label::Sign.remark().unwrap().contains("half"));
    assert!(Label::Positive.remark().is_none());
    // int(24 * 0.7) as Python has it.
    assert_eq!(heads_kept(0.7, 24), 16);
    assert_eq!(heads_kept(0.7, 32), 22);
    assert_eq!(heads_kept(0.7, 10), 7);
}

#[test]
fn the_seeds_label_is_about_half_on_a_gated_product() {
    // SiLU(g) * u of independent, symmetric g and u: the sign is a coin, whatever the model.
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(2, Purpose::Weights, 0);
    let planted = Planted {
        documents: 30,
        rows: 10,
        outputs: 64,
        ..Planted::default()
    };
    let dataset = plant(folder.path(), &planted, |_, _, y| {
        for y in y {
            let (g, u) = (random.symmetric(3.0), random.symmetric(3.0));
            *y = g / (1.0 + (-g).exp()) * u;
        }
    });
    let labeller = Labeller::fit(&dataset, Target::Mlp, &Label::Sign, 0).unwrap();
    let rows: Vec<u32> = (0..dataset.rows() as u32).collect();
    let (mut y, mut marks) = (Vec::new(), Vec::new());
    dataset
        .matrix(Stream::MlpY, 0)
        .unwrap()
        .gather(&rows, &mut y)
        .unwrap();
    labeller.mark(&y, &mut marks).unwrap();
    let active = marks.iter().map(|&m| f64::from(m)).sum::<f64>() / marks.len() as f64;
    assert!((active - 0.5).abs() < 0.02, "{active}");
}
