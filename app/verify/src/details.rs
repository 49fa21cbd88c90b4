//! Figures by position, for whoever wants to look closer than a report: a face's strip, heat map and curves, and the CSV.
//!
//! They come from the same comparisons as the report and decide nothing.

use serde::{Deserialize, Serialize};

use crate::profile::DepthLimit;

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
    /// Among the verifier's largest activations, those with the prover's exponent and sign, as a fraction (TOPLOC, with signs).
    pub top_match: f32,
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
        self.rows
            .chunks_exact(self.positions.max(1))
            .nth(index)
    }

    /// Whether the digest of hidden state `layer` at `position` equals the verifier's own; `None` where it was not compared.
    pub fn is_exact(&self, layer: u32, position: usize) -> Option<bool> {
        let layer = usize::try_from(layer).ok().filter(|layer| *layer < self.layers_total)?;
        self.exact
            .get(position.checked_mul(self.layers_total)?.checked_add(layer)?)
            .copied()
    }

    /// A line for each opened row and each judged token, RFC 4180, with a head line.
    pub fn to_csv(&self) -> String {
        let mut csv = String::from(
            "kind,position,layer,token,text,exact,rel_l2,rel_l2_limit,cosine,max_abs,pe,pm,pw,mean_error,signed_mean,top_match,\
             margin,margin_limit,probability,log_likelihood,rank,replayed,explained\r\n",
        );
        for (index, layer) in self.layers.iter().enumerate() {
            let limit = self.limits.get(index).copied().flatten().map(|limit| limit.rel_l2);
            let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
            for (position, row) in self.layer(index).unwrap_or_default().iter().enumerate() {
                let RowFigures { exact, rel_l2, cosine, max_abs, pe, pm, pw, mean_error, signed_mean, top_match } = row;
                csv += &format!(
                    "state,{position},{layer},,,{exact},{rel_l2},{limit},{cosine},{max_abs},{pe},{pm},{pw},{mean_error},\
                     {signed_mean},{top_match},,,,,,,\r\n"
                );
            }
        }
        for (position, token) in self.tokens.iter().enumerate() {
            let TokenFigures { id, text, judged, .. } = token;
            let text = quoted(text);
            match judged {
                None => csv += &format!("token,{position},,{id},{text},,,,,,,,,,,,,,,,,,\r\n"),
                Some(TokenVerdict { margin, limit, probability, log_likelihood, rank, replayed, explained, outside: _, exact_logits }) => {
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
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}
