//! Datasets for tests, where the truth is known.

use std::path::Path;

use assay_trace::Digest;

use crate::Stored;
use crate::dataset::{
    Activation, Dataset, DatasetFacts, RowId, Rows, Split, Stream, TextFacts, Writer,
};
use crate::random::{Purpose, Random};

pub(crate) struct Planted {
    pub(crate) activation: Activation,
    pub(crate) documents: u32,
    /// Rows of a document.
    pub(crate) rows: u32,
    pub(crate) hidden: u32,
    pub(crate) outputs: u32,
    pub(crate) heads: u32,
    pub(crate) layers: u32,
    pub(crate) split: Split,
    pub(crate) seed: u64,
    /// Added to one column of x, as trained models have them: it lets a predictor without bias learn frequencies.
    pub(crate) constant: f32,
}

impl Default for Planted {
    fn default() -> Self {
        Self {
            activation: Activation::SiluGated,
            documents: 40,
            rows: 20,
            hidden: 16,
            outputs: 48,
            heads: 4,
            layers: 1,
            split: Split::default(),
            seed: 1,
            constant: 0.0,
        }
    }
}

/// A dataset whose x is uniform noise, the same in every layer and stream, and whose activations `y(document, x, out)` makes. Norms of
/// heads are those of quarters of x.
pub(crate) fn plant(
    folder: &Path,
    planted: &Planted,
    mut y: impl FnMut(u32, &[f32], &mut [f32]),
) -> Dataset {
    let facts = DatasetFacts {
        activation: planted.activation,
        dtype: Stored::F32,
        family: "planted".to_owned(),
        format: DatasetFacts::FORMAT.to_owned(),
        heads: planted.heads,
        hidden: planted.hidden,
        intermediate: planted.outputs,
        layers: (0..planted.layers).collect(),
        model_layers: planted.layers,
        root: Digest::of(b"planted"),
        split: planted.split,
        text: TextFacts {
            digest: Digest::of(b"noise"),
            name: "noise".to_owned(),
        },
        tokens: u64::from(planted.documents * planted.rows),
        version: DatasetFacts::VERSION,
    };
    let mut writer = Writer::open(folder, &facts).unwrap();
    let mut random = Random::new(planted.seed, Purpose::Weights, 77);
    let (hidden, outputs) = (planted.hidden as usize, planted.outputs as usize);
    for document in 0..planted.documents {
        let rows = planted.rows as usize;
        let ids: Vec<RowId> = (0..planted.rows)
            .map(|position| RowId {
                token: position,
                position,
                document,
            })
            .collect();
        let mut x: Vec<f32> = (0..rows * hidden).map(|_| random.symmetric(1.0)).collect();
        let mut activations = vec![0.0; rows * outputs];
        let mut norms = Vec::new();
        for (x, out) in x.chunks_mut(hidden).zip(activations.chunks_mut(outputs)) {
            x[0] += planted.constant;
            y(document, x, out);
            for head in x.chunks(hidden / planted.heads as usize) {
                norms.push(head.iter().map(|v| v * v).sum::<f32>().sqrt());
            }
        }
        writer.begin_chunk(&ids).unwrap();
        for layer in 0..planted.layers {
            writer
                .append(&Rows {
                    layer,
                    mlp_x: &x,
                    mlp_y: &activations,
                    att_x: &x,
                    att_y: &norms,
                })
                .unwrap();
        }
        writer.end_chunk().unwrap();
    }
    drop(writer);
    let dataset = Dataset::open(folder).unwrap();
    assert_eq!(dataset.facts().columns(Stream::MlpY), outputs);
    dataset
}

/// A random matrix `[rows, columns]` of rank at most `rank`, as two factors multiplied.
pub(crate) fn low_rank(rows: usize, columns: usize, rank: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, Purpose::Weights, 78);
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| random.symmetric(1.0)).collect() };
    let (a, b) = (draw(rows * rank), draw(rank * columns));
    let mut out = vec![0.0; rows * columns];
    for i in 0..rows {
        for k in 0..rank {
            for j in 0..columns {
                out[i * columns + j] += a[i * rank + k] * b[k * columns + j];
            }
        }
    }
    out
}

/// `matrix x`, with `columns` columns.
pub(crate) fn apply(matrix: &[f32], columns: usize, x: &[f32], out: &mut [f32]) {
    for (out, row) in out.iter_mut().zip(matrix.chunks(columns)) {
        *out = row.iter().zip(x).map(|(w, x)| w * x).sum();
    }
}
