//! A report and its figures, read once when they arrive, with what views make of them kept for the next frame.

use std::collections::BTreeMap;

use assay_verify::details::{RowFigures, TokenFigures};
use assay_verify::profile::Unit;
use assay_verify::{Check, Details, Method, Outcome, Report, Verdict};
use assay_work::message::KeptId;

use crate::text;

/// Characters of one token that the strip shows at most.
const TOKEN_ROOM: usize = 40;
/// Columns of a plot at most: more positions than that share one, the worst of them showing.
pub(crate) const MAX_COLUMNS: usize = 2048;

/// A verdict with all that belongs to it.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The report, verbatim.
    pub text: String,
    /// The same, read.
    pub report: Report,
    /// Figures by position.
    pub details: Details,
    /// What the user calls the trace.
    pub trace: String,
    /// What the user calls the model.
    pub model: String,
    /// How it came, if a live prover was asked.
    pub live: Option<LiveFacts>,
    /// Tokens as the strip shows them.
    pub tokens: Vec<ShownToken>,
    /// Tokens beyond their limit.
    pub problems: Vec<usize>,
    histograms: BTreeMap<u32, Histogram>,
    margins: Option<Vec<[f64; 2]>>,
    curves: Option<Curves>,
}

/// What came from a live prover besides a trace's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveFacts {
    /// Digest of its receipt, if there was one.
    pub receipt: Option<String>,
    /// Under which number the worker keeps what it opened, or sent in place of that.
    pub kept: Option<KeptId>,
}

/// A token, fit to be shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShownToken {
    /// Escaped and cut.
    pub text: String,
    /// Its characters.
    pub width: u32,
    /// Whether a line ends after it.
    pub ends_line: bool,
    /// Margin over limit; `None` in the prompt and where nothing was judged.
    pub heat: Option<f32>,
}

impl ShownToken {
    fn of(token: &TokenFigures) -> Self {
        let mut shown = text::plain(&token.text, TOKEN_ROOM);
        if shown.is_empty() {
            shown = format!("‹{}›", token.id);
        }
        Self {
            width: u32::try_from(shown.chars().count()).unwrap_or(u32::MAX),
            text: shown,
            ends_line: token.text.ends_with('\n'),
            heat: token.judged.map(|judged| over(judged.margin, judged.limit)),
        }
    }
}

/// Margin over limit, where a margin of none is none whatever the limit.
fn over(margin: f32, limit: f32) -> f32 {
    if margin <= 0.0 {
        0.0
    } else {
        margin / limit.max(f32::MIN_POSITIVE)
    }
}

impl Judged {
    /// Reads a report. `Err` says why it cannot be read.
    pub fn new(
        text: String,
        details: Details,
        trace: String,
        model: String,
    ) -> Result<Self, String> {
        let report: Report = serde_json::from_str(&text).map_err(|err| err.to_string())?;
        let tokens = details.tokens.iter().map(ShownToken::of).collect();
        let is_problem =
            |token: &TokenFigures| token.judged.is_some_and(|judged| !judged.explained);
        let problems = details
            .tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| is_problem(token))
            .map(|(index, _)| index)
            .collect();
        Ok(Self {
            text,
            report,
            details,
            trace,
            model,
            live: None,
            tokens,
            problems,
            histograms: BTreeMap::new(),
            margins: None,
            curves: None,
        })
    }

    /// Whether it was found with a key, so that there are no figures by position.
    pub fn is_audit(&self) -> bool {
        self.report.method == Method::Audit
    }

    /// The check that the verdict rests on, if it is one alone.
    pub fn decisive(&self) -> Option<&Check> {
        let outcome = match self.report.verdict {
            Verdict::Accept => return None,
            Verdict::Reject => Outcome::Fail,
            Verdict::Inconclusive => Outcome::Inconclusive,
        };
        self.report
            .checks
            .iter()
            .find(|check| check.outcome == outcome)
    }

    /// The summary without what the banner says anyway.
    pub fn sentence(&self) -> String {
        let code = self.decisive().map_or("", |check| check.code);
        let word = match self.report.verdict {
            Verdict::Accept => "accepted: ".to_owned(),
            Verdict::Reject => format!("rejected, {code}: "),
            Verdict::Inconclusive => format!("inconclusive, {code}: "),
        };
        let summary = &self.report.summary;
        let rest = summary.strip_prefix(&word).unwrap_or(summary);
        let mut chars = rest.chars();
        match chars.next() {
            Some(first) => first.to_uppercase().chain(chars).collect(),
            None => String::new(),
        }
    }

    /// What distances of hidden states are, in a few words.
    pub fn distance(&self) -> &'static str {
        match self.report.statistics.distance_unit {
            Unit::Norm => "relative L2",
            Unit::Emulated => "in units of your own rounding",
        }
    }

    /// The limit of hidden state `layer`, if the profile has one.
    pub fn limit(&self, layer: u32) -> Option<f64> {
        let index = self.details.layers.binary_search(&layer).ok()?;
        Some(self.details.limits.get(index)?.as_ref()?.rel_l2)
    }

    /// Distances of `layer` against what was calibrated.
    pub fn histogram(&mut self, layer: u32) -> Option<&Histogram> {
        if !self.histograms.contains_key(&layer) {
            let index = self.details.layers.binary_search(&layer).ok()?;
            let histogram = Histogram::of(self.details.layer(index)?);
            self.histograms.insert(layer, histogram);
        }
        self.histograms.get(&layer)
    }

    /// log10 of margin over limit, by position.
    pub fn margins(&mut self) -> &[[f64; 2]] {
        let tokens = &self.tokens;
        self.margins.get_or_insert_with(|| {
            let judged: Vec<(usize, f32)> = tokens
                .iter()
                .enumerate()
                .filter_map(|(index, token)| Some((index, token.heat?)))
                .collect();
            let size = judged.len().div_ceil(MAX_COLUMNS).max(1);
            let worst =
                |chunk: &[(usize, f32)]| chunk.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
            judged
                .chunks(size)
                .filter_map(worst)
                .map(|(index, heat)| [index as f64, f64::from(heat).max(MARGIN_FLOOR).log10()])
                .collect()
        })
    }

    /// Largest and mean distance of every compared layer.
    pub fn curves(&mut self) -> &Curves {
        let (report, details) = (&self.report, &self.details);
        self.curves.get_or_insert_with(|| {
            // Layers that are equal to the bit have no place on a log scale.
            let point =
                |layer: u32, value: f64| (value > 0.0).then(|| [f64::from(layer), value.log10()]);
            let layers = || report.statistics.per_layer.iter();
            let limits = details.layers.iter().zip(&details.limits);
            Curves {
                max: layers()
                    .filter_map(|layer| point(layer.layer, layer.rel_l2_max))
                    .collect(),
                mean: layers()
                    .filter_map(|layer| point(layer.layer, layer.rel_l2_mean))
                    .collect(),
                limit: limits
                    .filter_map(|(layer, limit)| point(*layer, limit.as_ref()?.rel_l2))
                    .collect(),
            }
        })
    }
}

/// Margins below this part of their limit are drawn there.
pub(crate) const MARGIN_FLOOR: f64 = 1e-4;

/// Points `[layer, log10 of the distance]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curves {
    pub max: Vec<[f64; 2]>,
    pub mean: Vec<[f64; 2]>,
    pub limit: Vec<[f64; 2]>,
}

/// How often which distance occurs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    /// Middle of each bin, log10, and rows in it.
    pub bins: Vec<(f64, u32)>,
    /// Width of a bin.
    pub width: f64,
    /// Rows at a distance of exactly none: log10 has no place for them.
    pub zeros: usize,
    /// Rows with a distance.
    pub rows: usize,
}

impl Histogram {
    /// Width of a bin, decades.
    const WIDTH: f64 = 0.05;

    fn of(rows: &[RowFigures]) -> Self {
        let mut bins: BTreeMap<i64, u32> = BTreeMap::new();
        let mut zeros = 0;
        for row in rows {
            let distance = f64::from(row.rel_l2);
            if distance > 0.0 && distance.is_finite() {
                *bins
                    .entry((distance.log10() / Self::WIDTH).floor() as i64)
                    .or_default() += 1;
            } else if distance == 0.0 {
                zeros += 1;
            }
        }
        Self {
            rows: bins.values().map(|n| *n as usize).sum(),
            bins: bins
                .into_iter()
                .map(|(bin, n)| ((bin as f64 + 0.5) * Self::WIDTH, n))
                .collect(),
            width: Self::WIDTH,
            zeros,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_every_row_once() {
        let row = |n: u16| RowFigures {
            rel_l2: f32::from(n) * 1e-9,
            ..RowFigures::default()
        };
        let rows: Vec<RowFigures> = (0..100).map(row).collect();
        let histogram = Histogram::of(&rows);
        assert_eq!(histogram.rows + histogram.zeros, rows.len());
        assert_eq!(histogram.zeros, 1);
    }
}
