//! Figures by position, for whoever wants to look closer than a report: a face's strip, heat map and curves, and the CSV.
//!
//! They come from the same comparisons as the report and decide nothing.

use serde::{Deserialize, Serialize};

use assay_engine::sampler::{Support, TokenJudgement};

use crate::profile::DepthLimit;
use crate::statistics::RowComparison;

/// Rows of figures that are kept at most: beyond, a trace has its report but no close look.
pub const MAX_ROWS: usize = 1 << 20;

/// How one committed hidden state compares with the verifier's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RowFigures {
    /// Whether the committed digest equals that of the verifier's own row.
    pub exact: bool,
    /// Relative L2 distance.
    pub rel_l2: f32,
    /// Cosine.
    pub cosine: f32,
    /// Largest |p - v|.
    pub max_abs: f32,
    /// VeriLLM: exponent mismatches, as a fraction.
    pub pe: f32,
    /// VeriLLM, the reproduction's: deviations above 1e-5, as a fraction.
    pub pm: f32,
    /// VeriLLM, the reproduction's: deviations below 1e-7, as a fraction.
    pub pw: f32,
    /// Mean of |p - v|.
    pub mean_error: f32,
    /// Mean of p - v.
    pub signed_mean: f32,
    /// Among the verifier's largest activations, the fraction that agrees, by exponents or by signs, whichever is less (TOPLOC's
    /// fingerprint, with the signs that it leaves out).
    pub top_match: f32,
}

impl RowFigures {
    /// Of a pair of rows.
    pub(crate) fn of(row: &RowComparison, exact: bool) -> Self {
        let (verillm, top) = (&row.verillm, &row.fingerprint);
        let missed = top.exponent_mismatches.max(top.sign_mismatches);
        Self {
            exact,
            rel_l2: row.rel_l2 as f32,
            cosine: row.cosine as f32,
            max_abs: row.max_abs as f32,
            pe: verillm.pe as f32,
            pm: verillm.pm as f32,
            pw: verillm.pw as f32,
            mean_error: verillm.mean_error as f32,
            signed_mean: verillm.signed_mean as f32,
            top_match: 1.0 - missed as f32 / top.n.max(1) as f32,
        }
    }
}

/// A token of prompt or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenFigures {
    /// Its id.
    pub id: u32,
    /// Its text, if the verifier's model has a tokenizer.
    pub text: String,
    /// Whether the prover emitted it; prompt tokens are given.
    pub emitted: bool,
    /// How it was judged; `None` for prompt tokens and where the run ended early.
    pub judged: Option<TokenVerdict>,
}

/// How an emitted token stands to the verifier's own logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenVerdict {
    /// How far it lies below the best one; logits for greedy, logits / temperature otherwise.
    pub margin: f32,
    /// Largest margin that the tolerance explains.
    pub limit: f32,
    /// Its probability under the sampler.
    pub probability: f32,
    /// ln of its probability over the whole vocabulary.
    pub log_likelihood: f32,
    /// Tokens before it in order.
    pub rank: u32,
    /// Whether the verifier's own replay gives it.
    pub replayed: bool,
    /// Whether it is within tolerance.
    pub explained: bool,
    /// Whether it lies outside what the sampler allows.
    pub outside: bool,
    /// Whether the committed digest of its logits equals the verifier's own.
    pub exact_logits: bool,
}

impl TokenVerdict {
    pub(crate) fn of(judged: &TokenJudgement, exact_logits: bool) -> Self {
        Self {
            margin: judged.margin as f32,
            limit: judged.limit as f32,
            probability: judged.probability as f32,
            log_likelihood: judged.log_likelihood as f32,
            rank: u32::try_from(judged.rank).unwrap_or(u32::MAX),
            replayed: judged.replay_matches,
            explained: judged.is_explained(),
            outside: judged.support == Support::Outside,
            exact_logits,
        }
    }
}

/// Everything by position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Positions of the trace.
    pub positions: usize,
    /// Opened hidden states, ascending.
    pub layers: Vec<u32>,
    /// For each of `layers`, what its limits are; `None` beyond the profile.
    pub limits: Vec<Option<DepthLimit>>,
    /// Hidden states at each position: layers + 1.
    pub layers_total: usize,
    /// Opened rows, layer by layer: row of `layers[i]` at `position` is `rows[i * positions + position]`. Empty where nothing
    /// was compared, or there are more than [`MAX_ROWS`].
    pub rows: Vec<RowFigures>,
    /// For every hidden state, whether its digest equals the verifier's own: `[positions, layers_total]`. Empty as `rows`.
    pub exact: Vec<bool>,
    /// All tokens, prompt and output.
    pub tokens: Vec<TokenFigures>,
    /// The prompt's tokens.
    pub prompt_tokens: usize,
}

impl Details {
    /// Figures of `layer` at `position`, if that row was compared.
    pub fn row(&self, layer: u32, position: usize) -> Option<&RowFigures> {
        let index = self.layers.binary_search(&layer).ok()?;
        self.layer(index)?.get(position)
    }

    /// Figures of `layers[index]` at all positions.
    pub fn layer(&self, index: usize) -> Option<&[RowFigures]> {
        self.rows.chunks_exact(self.positions.max(1)).nth(index)
    }

    /// Whether the digest of hidden state `layer` at `position` equals the verifier's own; `None` where it was not compared.
    pub fn is_exact(&self, layer: u32, position: usize) -> Option<bool> {
        let layer = usize::try_from(layer)
            .ok()
            .filter(|layer| *layer < self.layers_total)?;
        self.exact
            .get(
                position
                    .checked_mul(self.layers_total)?
                    .checked_add(layer)?,
            )
            .copied()
    }

    /// A line for each opened row and each judged token, RFC 4180, with a head line.
    pub fn to_csv(&self) -> String {
        let mut csv = String::from(
            "kind,position,layer,token,text,exact,rel_l2,rel_l2_limit,cosine,max_abs,pe,pm,pw,mean_error,signed_mean,top_match,\
             margin,margin_limit,probability,log_likelihood,rank,replayed,explained\r\n",
        );
        for (index, layer) in self.layers.iter().enumerate() {
            let limit = self
                .limits
                .get(index)
                .copied()
                .flatten()
                .map(|limit| limit.rel_l2);
            let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
            for (position, row) in self.layer(index).unwrap_or_default().iter().enumerate() {
                let RowFigures {
                    exact,
                    rel_l2,
                    cosine,
                    max_abs,
                    pe,
                    pm,
                    pw,
                    mean_error,
                    signed_mean,
                    top_match,
                } = row;
                csv += &format!(
                    "state,{position},{layer},,,{exact},{rel_l2},{limit},{cosine},{max_abs},{pe},{pm},{pw},{mean_error},\
                     {signed_mean},{top_match},,,,,,,\r\n"
                );
            }
        }
        for (position, token) in self.tokens.iter().enumerate() {
            let TokenFigures {
                id, text, judged, ..
            } = token;
            let text = quoted(text);
            match judged {
                None => csv += &format!("token,{position},,{id},{text},,,,,,,,,,,,,,,,,,\r\n"),
                Some(TokenVerdict {
                    margin,
                    limit,
                    probability,
                    log_likelihood,
                    rank,
                    replayed,
                    explained,
                    outside: _,
                    exact_logits,
                }) => {
                    csv += &format!(
                        "token,{position},,{id},{text},{exact_logits},,,,,,,,,,,{margin},{limit},{probability},{log_likelihood},\
                         {rank},{replayed},{explained}\r\n"
                    );
                }
            }
        }
        csv
    }
}

/// A CSV field. One that a spreadsheet would take for a formula gets an apostrophe: a token's text is a prover's word.
fn quoted(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

/// Figures as they stream, position by position, while a trace is verified.
#[derive(Debug)]
pub(crate) struct StateFigures {
    positions: usize,
    layers_total: usize,
    rows: Vec<RowFigures>,
    exact: Vec<bool>,
}

impl StateFigures {
    /// Room for a trace that was checked against the model's context; `None` if it has more rows than are kept.
    pub(crate) fn new(positions: usize, opened: usize, layers_total: usize) -> Option<Self> {
        let room = |width: usize| positions.checked_mul(width);
        let rows = room(opened).filter(|rows| *rows <= MAX_ROWS)?;
        let digests = room(layers_total).filter(|digests| *digests <= 16 * MAX_ROWS)?;
        Some(Self {
            positions,
            layers_total,
            rows: vec![RowFigures::default(); rows],
            exact: vec![false; digests],
        })
    }

    pub(crate) fn digest(&mut self, layer: usize, position: usize, exact: bool) {
        if let Some(slot) = self.exact.get_mut(position * self.layers_total + layer) {
            *slot = exact;
        }
    }

    pub(crate) fn row(&mut self, opened_index: usize, position: usize, row: RowFigures) {
        if let Some(slot) = self.rows.get_mut(opened_index * self.positions + position) {
            *slot = row;
        }
    }

    /// Hands over what was gathered.
    pub(crate) fn finish(self, details: &mut Details) {
        details.rows = self.rows;
        details.exact = self.exact;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details() -> Details {
        let row = |rel_l2| RowFigures {
            rel_l2,
            ..RowFigures::default()
        };
        let token = |text: &str, judged| TokenFigures {
            id: 7,
            text: text.to_owned(),
            emitted: judged,
            judged: judged.then(|| TokenVerdict {
                margin: 0.5,
                limit: 1.0,
                probability: 0.25,
                log_likelihood: -1.0,
                rank: 2,
                replayed: false,
                explained: true,
                outside: false,
                exact_logits: true,
            }),
        };
        Details {
            positions: 2,
            layers: vec![0, 8],
            limits: vec![None, None],
            layers_total: 9,
            rows: [0.0, 0.1, 0.2, 0.3].map(row).to_vec(),
            exact: (0..18).map(|i| i == 9 + 8).collect(),
            tokens: vec![token("=1+\"1\"", false), token("a,\n", true)],
            prompt_tokens: 1,
        }
    }

    #[test]
    fn rows_are_found_by_layer_and_position() {
        let details = details();
        assert_eq!(details.row(8, 1).map(|row| row.rel_l2), Some(0.3));
        assert_eq!(details.row(0, 1).map(|row| row.rel_l2), Some(0.1));
        assert!(details.row(4, 0).is_none() && details.row(8, 2).is_none());
        assert_eq!(
            (details.is_exact(8, 1), details.is_exact(8, 0)),
            (Some(true), Some(false))
        );
        assert_eq!(
            (details.is_exact(9, 0), details.is_exact(0, 2)),
            (None, None)
        );
    }

    #[test]
    fn csv_has_equal_fields_and_no_formula() {
        let csv = details().to_csv();
        let mut lines = csv.split("\r\n").filter(|line| !line.is_empty());
        let fields = lines.next().unwrap().split(',').count();
        let without_text = |line: &str| {
            let mut inside = false;
            line.chars()
                .filter(|c| {
                    inside ^= *c == '"';
                    *c == ',' && !inside
                })
                .count()
                + 1
        };
        for line in lines {
            assert_eq!(without_text(line), fields, "{line}");
        }
        assert!(csv.contains("\"'=1+\"\"1\"\"\""), "{csv}");
    }

    #[test]
    fn a_huge_trace_keeps_no_figures() {
        assert!(StateFigures::new(MAX_ROWS, 2, 9).is_none());
        assert!(StateFigures::new(usize::MAX, 2, 9).is_none());
        assert!(StateFigures::new(100, 2, 9).is_some());
    }
}
