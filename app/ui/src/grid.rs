//! A statistic over layers and positions, small enough for a picture.

use assay_verify::Details;
use assay_verify::details::RowFigures;

use crate::judged::MAX_COLUMNS;

/// What the heat map shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Statistic {
    #[default]
    RelL2,
    Pe,
    Pm,
    Pw,
    MeanError,
    TopMatch,
    Cosine,
    Digest,
}

impl Statistic {
    pub const ALL: [Self; 8] = [
        Self::RelL2,
        Self::Pe,
        Self::Pm,
        Self::Pw,
        Self::MeanError,
        Self::TopMatch,
        Self::Cosine,
        Self::Digest,
    ];

    /// On the chooser.
    pub fn label(self) -> &'static str {
        match self {
            Self::RelL2 => "relative L2",
            Self::Pe => "Pe",
            Self::Pm => "Pm",
            Self::Pw => "Pw",
            Self::MeanError => "mean error",
            Self::TopMatch => "top-k overlap",
            Self::Cosine => "1 − cosine",
            Self::Digest => "equal digests",
        }
    }

    /// In a sentence.
    pub fn tip(self) -> &'static str {
        match self {
            Self::RelL2 => {
                "Distance between the prover's state and yours, over the size of yours; of a prover in half precision, over what that rounding makes of your own run. This one decides."
            }
            Self::Pe => "VeriLLM: values whose exponents differ, as a fraction. For reading only.",
            Self::Pm => {
                "VeriLLM: values that differ by more than 1e-5, as a fraction. For reading only."
            }
            Self::Pw => {
                "VeriLLM: values that differ by less than 1e-7, as a fraction; high is good. For reading only."
            }
            Self::MeanError => "Mean of the absolute differences. For reading only.",
            Self::TopMatch => {
                "TOPLOC: of your largest activations, those with the prover's exponent and sign; high is good. For reading only."
            }
            Self::Cosine => "How far the two states point apart. For reading only.",
            Self::Digest => {
                "Whether the committed hash equals that of your own state, bit for bit, at every layer."
            }
        }
    }

    /// Whether its colours are spread by log10.
    pub fn is_log(self) -> bool {
        matches!(self, Self::RelL2 | Self::MeanError | Self::Cosine)
    }

    /// Whether small is bad.
    pub fn is_worse_below(self) -> bool {
        matches!(self, Self::Pw | Self::TopMatch | Self::Digest)
    }

    /// Its value for a row.
    pub fn of(self, row: &RowFigures) -> f32 {
        match self {
            Self::RelL2 => row.rel_l2,
            Self::Pe => row.pe,
            Self::Pm => row.pm,
            Self::Pw => row.pw,
            Self::MeanError => row.mean_error,
            Self::TopMatch => row.top_match,
            Self::Cosine => (1.0 - row.cosine).max(0.0),
            Self::Digest => f32::from(u8::from(row.exact)),
        }
    }
}

/// A statistic over layers and positions, small enough for a texture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid {
    /// Hidden states, one a line, from the first up.
    pub layers: Vec<u32>,
    /// Columns of a line.
    pub columns: usize,
    /// Positions in a column.
    pub per_column: usize,
    /// Positions in all.
    pub positions: usize,
    /// `[layers, columns]`; NaN where nothing is known.
    pub values: Vec<f32>,
    /// Smallest and largest finite value; of log statistics the smallest above none.
    pub range: Option<(f32, f32)>,
}

impl Grid {
    /// The worst value of each column.
    pub fn of(details: &Details, statistic: Statistic) -> Self {
        let positions = details.positions;
        let per_column = positions.div_ceil(MAX_COLUMNS).max(1);
        let columns = positions.div_ceil(per_column);
        let layers: Vec<u32> = match statistic {
            Statistic::Digest => (0..details.layers_total)
                .filter_map(|layer| u32::try_from(layer).ok())
                .collect(),
            _ => details.layers.clone(),
        };
        let mut values = Vec::with_capacity(layers.len() * columns);
        for &layer in &layers {
            let index = details.layers.binary_search(&layer).ok();
            let rows = index.and_then(|index| details.layer(index));
            for column in 0..columns {
                let span = column * per_column..((column + 1) * per_column).min(positions);
                let each = span.filter_map(|position| match statistic {
                    Statistic::Digest => details
                        .is_exact(layer, position)
                        .map(|exact| f32::from(u8::from(exact))),
                    _ => rows?.get(position).map(|row| statistic.of(row)),
                });
                let worse = |a: f32, b: f32| {
                    if statistic.is_worse_below() {
                        a.min(b)
                    } else {
                        a.max(b)
                    }
                };
                values.push(each.reduce(worse).unwrap_or(f32::NAN));
            }
        }
        let shown = |value: &&f32| value.is_finite() && (!statistic.is_log() || **value > 0.0);
        let range = values
            .iter()
            .filter(shown)
            .fold(None, |range: Option<(f32, f32)>, &value| {
                Some(range.map_or((value, value), |(low, high)| {
                    (low.min(value), high.max(value))
                }))
            });
        let range = match statistic {
            Statistic::Digest => Some((0.0, 1.0)),
            _ => range,
        };
        Self {
            layers,
            columns,
            per_column,
            positions,
            values,
            range,
        }
    }

    /// Where `value` lies on the colour map, 0 for good and 1 for bad; `None` where nothing is known.
    pub fn heat(&self, statistic: Statistic, value: f32) -> Option<f32> {
        let (low, high) = self.range?;
        if value.is_nan() {
            return None;
        }
        let scale = |x: f32| {
            if statistic.is_log() {
                x.max(f32::MIN_POSITIVE).log10()
            } else {
                x
            }
        };
        let (from, to) = (scale(low), scale(high));
        let at = if to > from {
            ((scale(value) - from) / (to - from)).clamp(0.0, 1.0)
        } else {
            0.0
        };
        Some(if statistic.is_worse_below() {
            1.0 - at
        } else {
            at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(layers: u32, positions: usize) -> Details {
        let row = |layer: u32, position: usize| RowFigures {
            rel_l2: layer as f32 * 1e-6 + position as f32 * 1e-9,
            cosine: 1.0,
            ..RowFigures::default()
        };
        Details {
            positions,
            layers: (0..layers).collect(),
            limits: vec![None; layers as usize],
            layers_total: layers as usize,
            rows: (0..layers)
                .flat_map(|layer| (0..positions).map(move |position| row(layer, position)))
                .collect(),
            exact: vec![true; layers as usize * positions],
            ..Details::default()
        }
    }

    #[test]
    fn long_traces_keep_their_worst() {
        let details = details(3, 10_000);
        let grid = Grid::of(&details, Statistic::RelL2);
        assert!(grid.columns <= MAX_COLUMNS);
        assert_eq!(grid.values.len(), 3 * grid.columns);
        let last = grid.values.last().copied().unwrap();
        assert_eq!(last, details.rows.last().unwrap().rel_l2);
        assert_eq!(grid.heat(Statistic::RelL2, last), Some(1.0));
        assert_eq!(grid.heat(Statistic::RelL2, f32::NAN), None);
        let digests = Grid::of(&details, Statistic::Digest);
        assert_eq!(digests.heat(Statistic::Digest, 1.0), Some(0.0));
    }

    #[test]
    fn nothing_compared_makes_an_empty_grid() {
        let grid = Grid::of(&Details::default(), Statistic::Pe);
        assert_eq!((grid.columns, grid.range), (0, None));
    }
}
