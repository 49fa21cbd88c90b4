//! Counting decisions on rows of a dataset.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::interval::t_quantile;
use super::quality::Counts;
use super::{Compared, Finding, LayerMetrics, Lift, Quality};
use crate::StudyError;
use crate::dataset::{Dataset, Part};
use crate::labels::largest;
use crate::predictor::{InputScale, Predictor, Weights, scores};
use crate::random::{Purpose, Random};
use crate::train::{Batch, Criterion, Examples, TrainOptions};

/// Rows that are scored at once.
const ROWS: usize = 256;

/// Measures one layer of a predictor on the test split of a dataset of the same model: after loading it from a file, or on another
/// text than it was trained on. A quantile's threshold is the file's; the static list is that of this dataset's training split. `seed`
/// is that of the random reference.
///
/// # Errors
/// A dataset of another model or shape; a layer that either lacks; no training or test rows; the dataset's errors.
pub fn evaluate(
    dataset: &Dataset,
    predictor: &Predictor,
    layer: u32,
    seed: u64,
) -> Result<LayerMetrics, StudyError> {
    let (facts, own) = (dataset.facts(), predictor.facts());
    if own.root != facts.root {
        return Err(StudyError::OtherModel {
            got: own.root,
            want: facts.root,
        });
    }
    let outputs = facts.columns(own.target.stream()) as u32;
    for (what, got, want) in [
        ("hidden", own.hidden, facts.hidden),
        ("outputs", own.outputs, outputs),
    ] {
        if got != want {
            return Err(StudyError::Differs {
                what,
                got: got.to_string(),
                want: want.to_string(),
            });
        }
    }
    let options = TrainOptions {
        input_scale: InputScale::Raw,
        criterion: Criterion::F1,
        ..TrainOptions::new(own.target, own.query, own.label)
    };
    let threshold = own.layer(layer)?.threshold;
    let mut examples = Examples::open(dataset, &options, layer, threshold)?;
    let ranking = frequency_ranking(&mut examples, &dataset.rows_of(Part::Train)?)?;
    measure(
        dataset,
        &mut examples,
        &dataset.rows_of(Part::Test)?,
        predictor.weights(layer)?,
        own.rank as usize,
        &ranking,
        seed,
        layer,
    )
}

/// All entries, those that are active most often in `rows` first; ties go to the lower index.
pub(crate) fn frequency_ranking(
    examples: &mut Examples,
    rows: &[u32],
) -> Result<Vec<u32>, StudyError> {
    let columns = examples.outputs();
    let mut counts = vec![0u64; columns];
    let mut labels = Vec::new();
    for rows in rows.chunks(ROWS) {
        examples.labels(rows, &mut labels)?;
        for row in labels.chunks_exact(columns) {
            for (count, &label) in counts.iter_mut().zip(row) {
                *count += u64::from(label);
            }
        }
    }
    let mut keyed: Vec<(u64, u32)> = counts.into_iter().zip(0..).collect();
    keyed.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    Ok(keyed.into_iter().map(|(_, column)| column).collect())
}

/// Quality on a validation split, without references.
pub(crate) struct Validation {
    pub(crate) at_zero: Quality,
    pub(crate) at_count: Quality,
}

/// The two rules on `rows`.
pub(crate) fn validate(
    examples: &mut Examples,
    rows: &[u32],
    weights: &Weights,
    rank: usize,
) -> Result<Validation, StudyError> {
    let (mut at_zero, mut at_count) = (Counts::default(), Counts::default());
    for_batches(examples, rows, weights, rank, |_, rows| {
        let sums = rows
            .par_iter()
            .map(|row| {
                let mut room = Room::default();
                (row.at_zero(), row.at_count(&mut room))
            })
            .collect::<Vec<_>>();
        for (zero, count) in sums {
            at_zero.add(zero);
            at_count.add(count);
        }
        Ok(())
    })?;
    Ok(Validation {
        at_zero: at_zero.quality(),
        at_count: at_count.quality(),
    })
}

/// Everything that is reported of a layer, on `rows`.
pub(crate) fn measure(
    dataset: &Dataset,
    examples: &mut Examples,
    rows: &[u32],
    weights: &Weights,
    rank: usize,
    ranking: &[u32],
    seed: u64,
    layer: u32,
) -> Result<LayerMetrics, StudyError> {
    let mut sums = Sums::default();
    let mut documents: BTreeMap<u32, Document> = BTreeMap::new();
    let key = seed ^ (u64::from(layer) << 53);
    for_batches(examples, rows, weights, rank, |numbers, rows| {
        let of_rows: Vec<Sums> = rows
            .par_iter()
            .zip(numbers.par_iter())
            .map(|(row, &number)| row.sums(ranking, key, number))
            .collect();
        for (of_row, &number) in of_rows.iter().zip(numbers) {
            sums.add(of_row);
            let document = documents
                .entry(dataset.id(number.into())?.document)
                .or_default();
            document.active += of_row.count.active;
            document.gain += of_row.count.hits as i64 - of_row.static_count.hits as i64;
        }
        Ok(())
    })?;
    Ok(sums.metrics(layer, examples.outputs() as u32, &documents))
}

/// Sums of one document, for the interval.
#[derive(Default)]
struct Document {
    active: u64,
    /// Predictor's hits less static's.
    gain: i64,
}

#[derive(Default, Clone, Copy)]
struct Sums {
    zero: Counts,
    static_zero: Counts,
    random_zero: Counts,
    count: Counts,
    static_count: Counts,
    random_count: Counts,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.zero.add(other.zero);
        self.static_zero.add(other.static_zero);
        self.random_zero.add(other.random_zero);
        self.count.add(other.count);
        self.static_count.add(other.static_count);
        self.random_count.add(other.random_count);
    }

    fn metrics(
        &self,
        layer: u32,
        columns: u32,
        documents: &BTreeMap<u32, Document>,
    ) -> LayerMetrics {
        let all = Counts {
            predicted: self.zero.entries,
            hits: self.zero.active,
            ..self.zero
        };
        let none = Counts {
            predicted: 0,
            hits: 0,
            ..self.zero
        };
        let compared = |predictor: Counts, most_frequent: Counts, random: Counts| Compared {
            predictor: predictor.quality(),
            random: random.quality(),
            most_frequent: most_frequent.quality(),
        };
        LayerMetrics {
            at_true_count: compared(self.count, self.static_count, self.random_count),
            at_zero: compared(self.zero, self.static_zero, self.random_zero),
            columns,
            documents: documents.len() as u32,
            everything: all.quality(),
            layer,
            lift: self.lift(documents),
            nothing: none.quality(),
            rows: self.zero.rows,
        }
    }

    /// A ratio estimate over documents: tokens of one document are not independent, documents are taken to be.
    fn lift(&self, documents: &BTreeMap<u32, Document>) -> Lift {
        let active = self.count.active;
        if active == 0 {
            return Lift {
                difference: None,
                finding: Finding::Undecided,
                high: None,
                low: None,
                ratio: None,
            };
        }
        let gain = self.count.hits as f64 - self.static_count.hits as f64;
        let difference = gain / active as f64;
        let n = documents.len() as f64;
        let half = t_quantile(documents.len().saturating_sub(1))
            .filter(|_| documents.len() > 1)
            .map(|t| {
                let squares: f64 = documents
                    .values()
                    .map(|d| d.gain as f64 - difference * d.active as f64)
                    .map(|off| off * off)
                    .sum();
                t * (squares * n / (n - 1.0)).sqrt() / active as f64
            });
        let finding = match half {
            None => Finding::Undecided,
            Some(half) if difference - half > 0.0 => Finding::BetterThanStatic,
            Some(_) => Finding::NoBetterThanStatic,
        };
        Lift {
            difference: Some(difference),
            finding,
            high: half.map(|half| difference + half),
            low: half.map(|half| difference - half),
            ratio: (self.static_count.hits > 0)
                .then(|| self.count.hits as f64 / self.static_count.hits as f64),
        }
    }
}

/// Scores and labels of one row.
struct Row<'a> {
    scores: &'a [f32],
    labels: &'a [u8],
}

#[derive(Default)]
struct Room {
    order: Vec<u32>,
}

impl Row<'_> {
    fn counts(&self, predicted: u64, hits: u64) -> Counts {
        Counts {
            rows: 1,
            entries: self.labels.len() as u64,
            active: self.labels.iter().map(|&label| u64::from(label)).sum(),
            predicted,
            hits,
        }
    }

    fn label(&self, column: u32) -> u64 {
        self.labels
            .get(column as usize)
            .copied()
            .map_or(0, u64::from)
    }

    /// `score >= 0` is kept.
    fn at_zero(&self) -> Counts {
        let (mut predicted, mut hits) = (0, 0);
        for (score, &label) in self.scores.iter().zip(self.labels) {
            let keep = u64::from(*score >= 0.0);
            predicted += keep;
            hits += keep & u64::from(label);
        }
        self.counts(predicted, hits)
    }

    /// As many as are active are kept.
    fn at_count(&self, room: &mut Room) -> Counts {
        let active: u64 = self.labels.iter().map(|&label| u64::from(label)).sum();
        let kept = largest(self.scores, active as usize, |score| score, &mut room.order);
        let hits = kept.iter().map(|&column| self.label(column)).sum();
        self.counts(active, hits)
    }

    /// The first `keep` of `order` are kept.
    fn first_of(&self, order: &[u32], keep: u64) -> Counts {
        let kept = order.iter().take(keep as usize);
        self.counts(keep, kept.map(|&column| self.label(column)).sum())
    }

    fn sums(&self, ranking: &[u32], key: u64, number: u32) -> Sums {
        let mut room = Room::default();
        let zero = self.at_zero();
        let count = self.at_count(&mut room);
        let most = zero.predicted.max(count.predicted);
        room.order.clear();
        room.order.extend(0..self.labels.len() as u32);
        Random::new(key, Purpose::Reference, number.into())
            .shuffle_front(&mut room.order, most as usize);
        Sums {
            zero,
            static_zero: self.first_of(ranking, zero.predicted),
            random_zero: self.first_of(&room.order, zero.predicted),
            count,
            static_count: self.first_of(ranking, count.predicted),
            random_count: self.first_of(&room.order, count.predicted),
        }
    }
}

/// Scores `rows` in batches, raw as a run would, and hands them on with their numbers.
fn for_batches(
    examples: &mut Examples,
    rows: &[u32],
    weights: &Weights,
    rank: usize,
    mut each: impl FnMut(&[u32], &[Row<'_>]) -> Result<(), StudyError>,
) -> Result<(), StudyError> {
    let (hidden, outputs) = (examples.hidden(), examples.outputs());
    let mut batch = Batch::default();
    for numbers in rows.chunks(ROWS) {
        examples.read_raw(numbers, &mut batch)?;
        let scores = scores(weights, &batch.x, numbers.len(), hidden, rank, outputs)?;
        if let Some(index) = scores.iter().position(|score| score.is_nan()) {
            return Err(StudyError::Number {
                what: "scores".to_owned(),
                index,
                got: f32::NAN,
            });
        }
        let batch: Vec<Row<'_>> = scores
            .chunks_exact(outputs)
            .zip(batch.labels.chunks_exact(outputs))
            .map(|(scores, labels)| Row { scores, labels })
            .collect();
        each(numbers, &batch)?;
    }
    Ok(())
}
