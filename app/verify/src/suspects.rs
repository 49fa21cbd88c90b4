//! Models that the verifier suspects in place of the claimed one: does what the prover committed to lean towards one of them?
//!
//! A distance says how far a prover is, not where. In half precision honest rounding is as far out as weights of 8 bits are, so no limit
//! on distances tells them apart. Whoever can name what may have been run instead (the claimed weights in 8 bits, another fine-tune) can
//! ask a sharper question, because an error has a direction. Let v be the verifier's own row in f32, s the suspect's (f32, too), and e
//! what the verifier's run makes of v in the claimed precision (v itself for a claim of f32). A prover that ran the suspect is off by s - v
//! and by rounding; one that ran what it claims is off by rounding alone, which knows nothing of s - v. So over all compared rows
//!
//!   lean = sum <p - e, s - v> / u^2  over  sum |s - v|^2 / u^2,      u = the row's unit of distance times |v|
//!
//! is about 1 for the one and about 0 for the other (a matched filter). Its error is estimated from the spread between positions. What is
//! related to the suspect (part of its layers, another way to round to as many bits) leans some of the way, and so does a cheaper cache, whose
//! rounding depends on values that honest rounding has moved.
//!
//! The suspect is run on the trace's tokens, and nothing of the prover's enters that run either.

use std::fmt;
use std::sync::Arc;

use assay_engine::{CacheFormat, Engine, EngineError, Monitor, Outputs, Want};
use assay_model::rounded::Format;
use assay_model::{Model, ModelConfig, ModelError};
use assay_trace::Trace;
use serde::{Deserialize, Serialize};

use crate::report::{Check, Outcome};
use crate::verify::Options;

/// Bytes of the suspects' rows that are kept, all suspects together. More rows than fit are thinned by layers.
const MOST_BYTES: usize = 256 << 20;
/// Honest rounding does not lean further towards other weights than this: nearly twice the largest lean of an honest trace, 0.08
/// (docs/detection.md).
const LIMIT_OF_WEIGHTS: f64 = 0.15;
/// Nor towards a cheaper cache than this, from which an 8-bit one is nearly as far as honest rounding: half as much again as the largest,
/// 0.20.
const LIMIT_OF_CACHES: f64 = 0.3;
/// Half the way: nearer to the suspect than to the claimed model.
const HALF: f64 = 0.5;
/// Beyond this the rows are neither's: what made them is further out than the suspect.
const BEYOND: f64 = 1.5;
/// How many standard errors a lean of somebody who ran the suspect has at least. Neighbouring positions are not quite independent, so that
/// honest leans were seen at up to 6.2 of them.
const CERTAIN: f64 = 8.0;
/// How many errors away half the way must be, for a lean that could not be the suspect's.
const EXCLUDED: f64 = 5.0;
/// Fewer positions say too little about the spread between them.
const LEAST_POSITIONS: usize = 16;
/// A suspect nearer to the claimed model than this, relative to a row, is the claimed model, as far as f32 can say.
const SAME: f64 = 1e-4;

/// What may have been run in place of the claimed model.
#[derive(Clone)]
pub enum Ran {
    /// Another model.
    Model(Arc<Model>),
    /// The claimed one, with a cheaper cache of keys and values.
    Cache(CacheFormat),
}

/// What the claimed model may have been made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cheaper {
    /// Its weights were rounded to the nearest of this format.
    Weights(Format),
    /// Its keys and values were.
    Cache(CacheFormat),
}

impl Cheaper {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let weights = Format::ALL.into_iter().map(Self::Weights);
        weights.chain(CacheFormat::ALL.into_iter().map(Self::Cache))
    }

    /// `round:FORMAT` or `kv:FORMAT`.
    pub fn name(self) -> String {
        match self {
            Self::Weights(format) => format!("round:{}", format.name()),
            Self::Cache(format) => format!("kv:{}", format.name()),
        }
    }

    /// The same for people.
    pub fn words(self) -> String {
        match self {
            Self::Weights(format) => format!("{} weights", format.name()),
            Self::Cache(format) => format!("{} KV cache", format.name()),
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|cheaper| cheaper.name() == name)
    }

    /// The suspicion that `claimed` was made into this. Rounded weights take 4 bytes each in memory.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn of(self, claimed: &Model) -> Result<Suspect, ModelError> {
        Ok(Suspect {
            name: self.name(),
            ran: match self {
                Self::Weights(format) => Ran::Model(Arc::new(claimed.rounded(format)?)),
                Self::Cache(format) => Ran::Cache(format),
            },
        })
    }
}

/// A suspicion.
#[derive(Clone)]
pub struct Suspect {
    /// The user's name for it.
    pub name: String,
    /// What was run.
    pub ran: Ran,
}

impl fmt::Debug for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspect")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a suspect for a claimed model of `config`, if anything: it must have rows to compare.
pub fn unfit(suspect: &ModelConfig, config: &ModelConfig) -> Option<String> {
    let sizes = |c: &ModelConfig| [c.layers, c.hidden, c.vocab];
    let ([layers, hidden, vocab], [l, h, v]) = (sizes(suspect), sizes(config));
    (sizes(suspect) != sizes(config)).then(|| {
        format!("it has {layers} layers of width {hidden} and {vocab} tokens; the claimed model has {l} of {h} and {v}")
    })
}

/// Suspects that cannot be compared with `model` are the verifier's own mistake.
pub(crate) fn refuse_unfit(options: &Options, model: &Model) -> Result<(), EngineError> {
    let refuse = |why: String| Err(EngineError::Unsupported(why));
    if !options.suspects.is_empty() && options.sparse.is_some() {
        return refuse("suspects of a sparse model".to_owned());
    }
    for Suspect { name, ran } in &options.suspects {
        if let Ran::Model(other) = ran
            && let Some(why) = unfit(other.config(), model.config())
        {
            return refuse(format!("the suspect `{name}`: {why}"));
        }
    }
    Ok(())
}

/// A suspect's own run, as far as it is compared.
#[derive(Debug)]
pub struct SuspectRun {
    name: String,
    is_cache: bool,
    hidden: usize,
    /// Hidden states that are kept, ascending, with their rows: f32 [positions, hidden].
    layers: Vec<(u32, Vec<f32>)>,
}

impl SuspectRun {
    /// Runs the trace's tokens on `engine`, which is the suspect's, from position 0. The rows take at most an `n`-th of what is kept of all
    /// suspects.
    ///
    /// # Errors
    /// The device's.
    pub async fn run(
        (name, ran): (&str, &Ran),
        n: usize,
        trace: &Trace<'_>,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        let (hidden, positions) = (engine.config().hidden, trace.positions());
        let opened = trace.opened().iter().copied();
        let compared: Vec<u32> = opened.filter(|layer| *layer > 0).collect();
        let layer_bytes = (positions * hidden * size_of::<f32>()).max(1);
        let kept = thinned(&compared, MOST_BYTES / n.max(1) / layer_bytes);
        let mut run = Self {
            name: name.to_owned(),
            is_cache: matches!(ran, Ran::Cache(_)),
            hidden,
            layers: kept.into_iter().map(|layer| (layer, Vec::new())).collect(),
        };
        let want = Want {
            states: run.layers.iter().map(|(l, _)| *l as usize).collect(),
            ..Want::default()
        };
        let keep = |outputs: Outputs| -> Result<(), EngineError> {
            for ((_, rows), states) in run.layers.iter_mut().zip(&outputs.states) {
                rows.extend_from_slice(states);
            }
            Ok(())
        };
        let fed = trace.tokens().get(..positions).unwrap_or_default();
        engine.prefill(fed, &want, monitor, keep).await?;
        Ok(run)
    }

    fn row(&self, layer: u32, position: usize) -> Option<&[f32]> {
        let index = self.layers.binary_search_by_key(&layer, |(l, _)| *l).ok()?;
        let (_, rows) = self.layers.get(index)?;
        rows.get(position * self.hidden..(position + 1) * self.hidden)
    }
}

/// At most `most` of `layers`, and at least the last one, evenly spread.
fn thinned(layers: &[u32], most: usize) -> Vec<u32> {
    let n = layers.len();
    let most = most.clamp(1, n.max(1));
    // The last of each of `most` equal parts.
    (1..=most)
        .filter_map(|i| (i * n / most).checked_sub(1))
        .filter_map(|i| layers.get(i).copied())
        .collect()
}

/// A row of the prover's beside the verifier's two.
pub(crate) struct Rows<'r> {
    pub layer: u32,
    pub position: usize,
    /// The prover's.
    pub p: &'r [f32],
    /// The verifier's in the claimed precision.
    pub e: &'r [f32],
    /// The verifier's in f32.
    pub v: &'r [f32],
    /// What distances are counted in there, relative to `v`.
    pub unit: f64,
}

/// How a prover's rows lean towards one suspect, position by position.
#[derive(Debug)]
pub(crate) struct LeanCheck<'s> {
    run: &'s SuspectRun,
    /// Of each position that has rows: the numerator and the denominator.
    sums: Vec<Option<(f64, f64)>>,
    /// |s - v|^2 / |v|^2, summed over rows.
    apart: f64,
    rows: usize,
}

impl<'s> LeanCheck<'s> {
    pub(crate) fn new(run: &'s SuspectRun) -> Self {
        Self {
            run,
            sums: Vec::new(),
            apart: 0.0,
            rows: 0,
        }
    }

    pub(crate) fn add(&mut self, rows: &Rows<'_>) {
        let Some(s) = self.run.row(rows.layer, rows.position) else {
            return;
        };
        let (mut along, mut apart, mut norm) = (0.0, 0.0, 0.0);
        for (((p, e), v), s) in rows.p.iter().zip(rows.e).zip(rows.v).zip(s) {
            let (v, towards) = (f64::from(*v), f64::from(*s) - f64::from(*v));
            along += (f64::from(*p) - f64::from(*e)) * towards;
            apart += towards * towards;
            norm += v * v;
        }
        if norm == 0.0 {
            return;
        }
        let weight = 1.0 / (norm * rows.unit * rows.unit);
        if self.sums.len() <= rows.position {
            self.sums.resize(rows.position + 1, None);
        }
        if let Some(sums) = self.sums.get_mut(rows.position) {
            let (n, d) = sums.get_or_insert((0.0, 0.0));
            *n += along * weight;
            *d += apart * weight;
        }
        self.apart += apart / norm;
        self.rows += 1;
    }

    /// Of each position up to the last that was compared, if it was: numerator and denominator of the lean.
    pub(crate) fn sums(&self) -> &[Option<(f64, f64)>] {
        &self.sums
    }

    pub(crate) fn finish(&self) -> Lean {
        let seen: Vec<(f64, f64)> = self.sums.iter().copied().flatten().collect();
        let (n, d) = seen.iter().fold((0.0, 0.0), |a, s| (a.0 + s.0, a.1 + s.1));
        let lean = if d > 0.0 { n / d } else { 0.0 };
        let spread: f64 = seen.iter().map(|(n, d)| (n - lean * d).powi(2)).sum();
        let count = seen.len() as f64;
        let error = (spread * count / (count - 1.0).max(1.0)).sqrt() / d.max(f64::MIN_POSITIVE);
        Lean {
            name: self.run.name.clone(),
            is_cache: self.run.is_cache,
            lean,
            error,
            distance: (self.apart / self.rows.max(1) as f64).sqrt(),
            positions: seen.len(),
            rows: self.rows,
        }
    }
}

/// How a prover's rows lean towards one suspect: 0 is the claimed model, 1 the suspect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lean {
    /// The user's name for the suspect.
    pub name: String,
    /// Whether it is the claimed model with a cheaper cache.
    pub is_cache: bool,
    /// The share of the way.
    pub lean: f64,
    /// Its standard error, from the spread between positions.
    pub error: f64,
    /// Root mean square of the suspect's distance from the claimed model, relative to a row.
    pub distance: f64,
    /// Positions compared.
    pub positions: usize,
    /// Rows compared.
    pub rows: usize,
}

/// What a lean says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The rows are the suspect's.
    Match,
    /// They lean towards it, further than honest ones: a part of it, or a relative.
    Leaning,
    /// They are not.
    Clear,
    /// They could be either's.
    Unclear,
    /// The suspect cannot be told from the claimed model by any prover's rows.
    Same,
}

impl Lean {
    /// Beyond this it says that the suspect, or a part or relative of it, was run.
    pub fn limit(&self) -> f64 {
        let of_kind = match self.is_cache {
            true => LIMIT_OF_CACHES,
            false => LIMIT_OF_WEIGHTS,
        };
        of_kind.max(CERTAIN * self.error)
    }

    /// What it says.
    pub fn finding(&self) -> Finding {
        let leans = self.lean > self.limit();
        match self.lean {
            _ if self.positions < LEAST_POSITIONS => Finding::Unclear,
            _ if self.distance < SAME => Finding::Same,
            lean if leans && lean < HALF => Finding::Leaning,
            lean if leans && lean < BEYOND => Finding::Match,
            lean if !leans && lean + EXCLUDED * self.error < HALF => Finding::Clear,
            _ => Finding::Unclear,
        }
    }
}

/// The check: the worst of what each suspect's lean says.
pub(crate) fn check(leans: &[Lean]) -> Check {
    const ID: &str = "suspects";
    let Some(highest) = leans.iter().max_by(|a, b| a.lean.total_cmp(&b.lean)) else {
        return Check::skipped(ID, "no suspect was named");
    };
    let of = |finding| leans.iter().find(|lean| lean.finding() == finding);
    let told = |lean: &Lean| {
        let Lean {
            name, lean, error, ..
        } = lean;
        format!("`{name}`: {lean:+.2} +- {error:.2} of the way from the claimed model to it")
    };
    let most = |finding| {
        let found = leans.iter().filter(move |lean| lean.finding() == finding);
        found.max_by(|a, b| a.lean.total_cmp(&b.lean))
    };
    let (check, lean) = if let Some(lean) = most(Finding::Match) {
        let detail = format!("the hidden states are those of a suspect: {}", told(lean));
        (Check::fail(ID, "suspect-match", detail), lean)
    } else if let Some(lean) = most(Finding::Leaning) {
        let detail = format!(
            "the hidden states lean towards a suspect, as a part or a relative of it would, and honest rounding would not: {}",
            told(lean)
        );
        (Check::fail(ID, "suspect-lean", detail), lean)
    } else if let Some(lean) = of(Finding::Same) {
        let detail = format!(
            "`{}` gives the claimed model's hidden states (apart by {:.1e}): nobody could tell which was run",
            lean.name, lean.distance
        );
        let code = "suspect-same";
        (Check::new(ID, Outcome::Inconclusive, code, detail), lean)
    } else if let Some(lean) = of(Finding::Unclear) {
        let rows = lean.positions;
        let detail = format!(
            "{rows} positions are too few to tell, or the hidden states are neither’s: {}",
            told(lean)
        );
        let code = "suspect-unclear";
        (Check::new(ID, Outcome::Inconclusive, code, detail), lean)
    } else {
        let detail = format!(
            "no hidden states of a suspect; nearest is {}",
            told(highest)
        );
        (Check::pass(ID, detail), highest)
    };
    check.numbers(lean.lean, lean.limit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(seed: u64, n: usize) -> Vec<f32> {
        crate::testing::noise(seed, n, 1.0)
    }

    /// A prover `share` of the way to a suspect that is as far out as the noise.
    fn lean(share: f32, positions: usize, noise: f32) -> Lean {
        let hidden = 64;
        let v: Vec<f32> = draws(1, positions * hidden);
        let off: Vec<f32> = draws(2, positions * hidden);
        let s: Vec<f32> = v.iter().zip(&off).map(|(v, o)| v + 0.01 * o).collect();
        let run = SuspectRun {
            name: "other".to_owned(),
            is_cache: false,
            hidden,
            layers: vec![(3, s)],
        };
        let mut check = LeanCheck::new(&run);
        for position in 0..positions {
            let row = position * hidden..(position + 1) * hidden;
            let rounding = draws(100 + position as u64, hidden);
            let (v, off) = (&v[row.clone()], &off[row]);
            let p: Vec<f32> = v
                .iter()
                .zip(off)
                .zip(rounding)
                .map(|((v, o), n)| v + 0.01 * (share * o + noise * n))
                .collect();
            check.add(&Rows {
                layer: 3,
                position,
                p: &p,
                e: v,
                v,
                unit: 0.01,
            });
        }
        check.finish()
    }

    #[test]
    fn a_prover_is_at_one_end_or_the_other() {
        for (share, finding) in [
            (0.0, Finding::Clear),
            (1.0, Finding::Match),
            (-1.0, Finding::Clear),
        ] {
            let lean = lean(share, 20, 1.0);
            assert!((lean.lean - f64::from(share)).abs() < 0.15, "{lean:?}");
            assert!(lean.error > 0.0 && lean.error < 0.1, "{lean:?}");
            assert_eq!(lean.finding(), finding, "{lean:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_not_said() {
        assert_eq!(lean(1.0, 15, 0.0).finding(), Finding::Unclear);
        assert_eq!(lean(5.0, 20, 1.0).finding(), Finding::Unclear);
        assert_eq!(lean(0.0, 20, 30.0).finding(), Finding::Unclear);
        let same = Lean {
            distance: 1e-7,
            ..lean(1.0, 20, 1.0)
        };
        assert_eq!(same.finding(), Finding::Same);
    }

    #[test]
    fn the_worst_finding_is_the_checks() {
        let (honest, other) = (lean(0.0, 20, 1.0), lean(1.0, 20, 1.0));
        let (unclear, part) = (lean(0.0, 20, 30.0), lean(0.3, 60, 1.0));
        let codes = |leans: &[&Lean]| {
            let leans: Vec<Lean> = leans.iter().map(|lean| (*lean).clone()).collect();
            let check = check(&leans);
            (check.outcome, check.code)
        };
        assert_eq!(codes(&[]), (Outcome::Skipped, "skipped"));
        assert_eq!(codes(&[&honest]), (Outcome::Pass, "ok"));
        assert_eq!(
            codes(&[&honest, &unclear]),
            (Outcome::Inconclusive, "suspect-unclear")
        );
        assert_eq!(
            codes(&[&unclear, &part, &honest]),
            (Outcome::Fail, "suspect-lean")
        );
        assert_eq!(
            codes(&[&unclear, &part, &other, &honest]),
            (Outcome::Fail, "suspect-match")
        );
    }

    #[test]
    fn names_lead_back() {
        assert!(Cheaper::all().count() == 8);
        for cheaper in Cheaper::all() {
            assert_eq!(Cheaper::named(&cheaper.name()), Some(cheaper));
        }
        assert_eq!(Cheaper::named("kv:exact"), None);
    }

    #[test]
    fn rows_that_do_not_fit_are_thinned_to_the_last() {
        assert_eq!(thinned(&[1, 2, 3, 4], 9), [1, 2, 3, 4]);
        assert_eq!(thinned(&[1, 2, 3, 4], 2), [2, 4]);
        assert_eq!(thinned(&[1, 2, 3, 4], 0), [4]);
        assert_eq!(thinned(&[], 3), [0; 0]);
    }
}
