//! Hidden states as they stream: opened rows by distance, every committed digest by equality.
//!
//! The prover's rows are compared and dropped. Nothing of them ever enters the verifier's own run.

use assay_engine::Outputs;
use assay_trace::{Digest, StateDtype, Trace};

use crate::details::{RowFigures, StateFigures};
use crate::diagnose::{Diagnosis, Evidence};
use crate::emulated::Emulated;
use crate::profile::{Profile, Unit};
use crate::report::{AcceptRate, Check, Outcome, Where};
use crate::sequential::{self, Sequential, SequentialState};
use crate::statistics::{self, LayerStatistics, LayerSums, RowComparison};
use crate::suspects::{Lean, LeanCheck, Rows, SuspectRun};

/// A layer whose digests repeat at this fraction of positions was skipped.
const REPEATED: f64 = 0.5;

/// What is gathered for each hidden state.
#[derive(Debug, Clone, Default)]
struct LayerState {
    sums: LayerSums,
    exact: usize,
    /// Positions where the committed digest equals that of the hidden state before.
    repeated: usize,
    /// Positions where the verifier's own does.
    own_repeated: usize,
}

/// Compares hidden states chunk by chunk.
#[derive(Debug)]
pub struct StateCheck<'t> {
    trace: &'t Trace<'t>,
    profile: Option<&'t Profile>,
    /// Where the prover claims half precision: distances are counted in what the verifier's own emulation makes of it.
    yardstick: Option<&'t Emulated>,
    /// What else may have been run.
    suspects: Vec<LeanCheck<'t>>,
    /// Largest distance, as it is counted.
    largest: f64,
    layers: Vec<LayerState>,
    evidence: Evidence,
    positions: usize,
    values: u64,
    first_embedding: Option<usize>,
    test: Option<(Sequential, SequentialState)>,
    figures: Option<StateFigures>,
}

impl<'t> StateCheck<'t> {
    /// Starts; without a profile distances are measured but nothing is judged by them.
    pub fn new(trace: &'t Trace<'t>, profile: Option<&'t Profile>) -> Self {
        Self {
            trace,
            profile,
            yardstick: None,
            suspects: Vec::new(),
            largest: 0.0,
            layers: vec![LayerState::default(); trace.manifest().state_rows()],
            evidence: Evidence::default(),
            positions: 0,
            values: 0,
            first_embedding: None,
            test: profile.map(|profile| (profile.sequential(), SequentialState::default())),
            figures: None,
        }
    }

    /// Counts distances by `yardstick`. A profile of half precision is in its units.
    #[must_use]
    pub fn by(mut self, yardstick: Option<&'t Emulated>) -> Self {
        self.yardstick = yardstick;
        self
    }

    /// Also asks whether the prover's rows lean towards these.
    #[must_use]
    pub fn suspecting(mut self, runs: &'t [SuspectRun]) -> Self {
        self.suspects = runs.iter().map(LeanCheck::new).collect();
        self
    }

    /// Keeps the figures of each row, if they are not too many; [`take_figures`](Self::take_figures) hands them over.
    pub(crate) fn keep_figures(&mut self) {
        let rows = self.trace.manifest().state_rows();
        self.figures = StateFigures::new(self.trace.positions(), self.trace.opened().len(), rows);
    }

    /// What was kept.
    pub(crate) fn take_figures(&mut self) -> Option<StateFigures> {
        self.figures.take()
    }

    /// Adds the verifier's own hidden states of all layers, as one chunk of [`assay_engine::Engine::prefill`] gives them.
    pub fn add(&mut self, outputs: &Outputs, hidden: usize) {
        for row in 0..outputs.rows {
            let own: Vec<&[f32]> = outputs
                .states
                .iter()
                .map(|states| {
                    states
                        .get(row * hidden..(row + 1) * hidden)
                        .unwrap_or_default()
                })
                .collect();
            self.add_position(outputs.pos0 + row, &own);
        }
    }

    /// Adds one position: the verifier's own row of every layer.
    pub fn add_position(&mut self, position: usize, own: &[&[f32]]) {
        self.positions += 1;
        let dtype = self.trace.manifest().state_dtype;
        let mut before: Option<(Digest, Digest)> = None;
        let (mut shift, mut shifted) = (0.0, 0usize);
        for ((layer, state), v) in (0u32..).zip(self.layers.iter_mut()).zip(own) {
            let bytes = dtype.encode(v);
            let digests = (self.trace.state_digest(layer, position), Digest::of(&bytes));
            let exact = digests.0 == digests.1;
            state.exact += usize::from(exact);
            if let Some(figures) = &mut self.figures {
                figures.digest(layer as usize, position, exact);
            }
            if let Some(before) = before.replace(digests) {
                state.repeated += usize::from(before.0 == digests.0);
                state.own_repeated += usize::from(before.1 == digests.1);
            }
            if layer == 0 && digests.0 != digests.1 {
                self.first_embedding.get_or_insert(position);
            }
            let Some(p) = self.trace.state_row(layer, position) else {
                continue;
            };
            let mut row = statistics::compare_row(&p, v, &dtype.decode(&bytes), dtype);
            let emulated = self
                .yardstick
                .and_then(|emulated| Some((emulated, emulated.row(layer, position)?)));
            let unit = emulated.as_ref().map(|(by, row)| by.unit_of(row, v));
            if unit.is_some() {
                // What such a prover stores is what it had: storing rounded nothing away.
                row.rel_l2 = statistics::rel_l2(&p, v, StateDtype::F32);
            }
            let unit = unit.unwrap_or(1.0);
            let counted = RowComparison {
                rel_l2: row.rel_l2 / unit,
                ..row
            };
            let e = emulated.as_ref().map_or(*v, |(_, row)| row.as_slice());
            for suspect in &mut self.suspects {
                suspect.add(&Rows {
                    layer,
                    position,
                    p: &p,
                    e,
                    v,
                    unit,
                });
            }
            self.values += p.len() as u64;
            state.sums.add(&counted);
            if let (Some(figures), Ok(index)) =
                (&mut self.figures, self.trace.opened().binary_search(&layer))
            {
                figures.row(index, position, RowFigures::of(&counted, exact));
            }
            if layer == 0 {
                continue;
            }
            let depth = self.profile.and_then(|profile| profile.depth(layer));
            self.evidence.add(
                layer,
                position,
                &p,
                v,
                &row,
                depth.map(|depth| depth.rel_l2 * unit),
            );
            self.largest = self.largest.max(counted.rel_l2);
            if let Some(depth) = depth {
                shift += counted.rel_l2.max(sequential::FLOOR).log10() - depth.log10_mean;
                shifted += 1;
            }
        }
        if let Some((test, state)) = self.test.as_mut().filter(|_| shifted > 0) {
            test.add(state, shift / shifted as f64);
        }
    }

    /// How far the rows lean towards each suspect.
    pub fn leans(&self) -> Vec<Lean> {
        self.suspects.iter().map(LeanCheck::finish).collect()
    }

    /// What each of [`leans`](Self::leans) is made of, by position: the numerator and the denominator, `None` where nothing was compared.
    pub fn lean_sums(&self) -> Vec<&[Option<(f64, f64)>]> {
        self.suspects.iter().map(LeanCheck::sums).collect()
    }

    /// What distances are counted in.
    pub fn unit(&self) -> Unit {
        match self.yardstick {
            Some(_) => Unit::Emulated,
            None => Unit::Norm,
        }
    }

    /// Positions compared.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Numbers compared.
    pub fn values(&self) -> u64 {
        self.values
    }

    /// Committed digests that equal the verifier's own, and all of them.
    pub fn exact(&self) -> (usize, usize) {
        (
            self.layers.iter().map(|layer| layer.exact).sum(),
            self.positions * self.layers.len(),
        )
    }

    /// Statistics of every opened layer.
    pub fn statistics(&self) -> Vec<LayerStatistics> {
        let opened = (0u32..)
            .zip(&self.layers)
            .filter(|(_, layer)| layer.sums.rows() > 0);
        opened
            .map(|(index, layer)| layer.sums.finish(index, layer.exact))
            .collect()
    }

    /// VeriLLM's accept rates.
    pub fn accept_rate(&self) -> Option<AcceptRate> {
        let rate = |from: usize| {
            let layers = || self.layers.iter().skip(from);
            let rows: usize = layers().map(|layer| layer.sums.rows()).sum();
            let accepted = |rule: fn([usize; 2]) -> usize| {
                layers()
                    .map(|layer| rule(layer.sums.accepted()))
                    .sum::<usize>()
            };
            (rows > 0).then(|| {
                [accepted(|[repo, _]| repo), accepted(|[_, paper]| paper)]
                    .map(|n| n as f64 / rows as f64)
            })
        };
        let [repo, paper] = rate(0)?;
        let without = rate(1);
        Some(AcceptRate {
            repo,
            paper,
            repo_without_layer0: without.map(|[repo, _]| repo),
            paper_without_layer0: without.map(|[_, paper]| paper),
        })
    }

    /// Whether what was seen is enough to reject: a row beyond its limit, another embedding, or the sequential test. More rows
    /// cannot take that back.
    pub(crate) fn is_rejected(&self) -> bool {
        self.first_embedding.is_some()
            || self.evidence.has_failed()
            || self
                .test
                .is_some_and(|(test, state)| test.is_rejected(&state))
    }

    /// Where the sequential test stands.
    pub fn sequential_state(&self) -> Option<SequentialState> {
        self.test.map(|(_, state)| state)
    }

    /// Hidden state 0: the rows that the tokens pick from the embedding, bit for bit.
    pub fn embedding_check(&self) -> Check {
        const ID: &str = "embedding";
        let exact = self.layers.first().map_or(0, |layer| layer.exact);
        match self.first_embedding {
            _ if self.positions == 0 => Check::fail(ID, "nothing-checked", "no position was run"),
            None => Check::pass(
                ID,
                format!("hidden state 0 is the tokens' embedding at all {exact} positions"),
            ),
            Some(position) => {
                let wrong = self.positions - exact;
                let detail = format!(
                    "hidden state 0 is not the tokens' embedding at {wrong} of {} positions",
                    self.positions
                );
                let place = Where {
                    layer: Some(0),
                    position: Some(position),
                    ..Where::default()
                };
                Check::fail(ID, "state-embedding", detail)
                    .numbers(wrong as f64, 0.0)
                    .at(place)
            }
        }
    }

    /// All other hidden states.
    pub fn state_check(&self) -> Check {
        const ID: &str = "hidden-states";
        let (exact, digests) = self.exact();
        let is_exact = digests > 0 && exact == digests;
        let diagnosis = self.evidence.diagnose(self.trace.manifest().state_dtype);
        // Constant rows repeat too, for a reason of their own.
        let is_degenerate = diagnosis.is_some_and(|diagnosis| diagnosis.code == "state-degenerate");
        if let Some(check) = self.repeated_layer().filter(|_| !is_degenerate) {
            return check;
        }
        if let Some(diagnosis) = diagnosis {
            return failed(ID, &diagnosis);
        }
        let compared = self.evidence.compared();
        if is_exact {
            return Check::pass(
                ID,
                format!("all {digests} committed digests equal the verifier's own, bit for bit"),
            );
        }
        if compared == 0 {
            return Check::fail(
                ID,
                "nothing-checked",
                "no hidden state after the embedding is opened, and digests differ",
            );
        }
        let worst = self.largest;
        match self.profile {
            None => Check::new(ID, Outcome::Inconclusive, "no-profile", {
                format!("{compared} rows compared, largest distance {worst:.2e}; no calibration says what is honest here")
            })
            .numbers(worst, f64::NAN),
            Some(profile) => {
                let limit = self.statistics().iter().filter_map(|l| profile.depth(l.layer)).map(|d| d.rel_l2).fold(0.0, f64::max);
                let counted = match self.yardstick {
                    Some(_) => ", counted in what rounding makes of the verifier's own run",
                    None => "",
                };
                Check::pass(ID, format!("{compared} rows within their limits{counted}")).numbers(worst, limit)
            }
        }
    }

    /// Digests that repeat from one layer to the next where the verifier's own do not: a layer that changed nothing.
    fn repeated_layer(&self) -> Option<Check> {
        let enough = |count: usize| count > 0 && count as f64 >= REPEATED * self.positions as f64;
        let mut layers = (0u32..).zip(&self.layers);
        let (layer, state) =
            layers.find(|(_, state)| enough(state.repeated) && state.own_repeated == 0)?;
        let detail = format!(
            "hidden state {layer} repeats the one before at {} of {} positions: the layer between was skipped",
            state.repeated, self.positions
        );
        let place = Where {
            layer: Some(layer),
            ..Where::default()
        };
        Some(
            Check::fail("hidden-states", "layer-repeat", detail)
                .numbers(state.repeated as f64, 0.0)
                .at(place),
        )
    }

    /// The sequential test.
    pub fn sequential_check(&self) -> Check {
        const ID: &str = "sequential";
        let Some((test, state)) = self.test.filter(|(_, state)| state.n > 0) else {
            return Check::skipped(ID, "no profile, or nothing to compare");
        };
        let detail = format!(
            "distances are {:+.2} decades from the calibrated mean over {} positions (honest up to {:+.2}, false rejects at most {:.0e})",
            state.mean, state.n, test.null_mean, test.alpha
        );
        if test.is_rejected(&state) {
            Check::fail(ID, "state-drift", detail).numbers(state.log_ratio_max, test.limit())
        } else {
            Check::pass(ID, detail).numbers(state.log_ratio_max, test.limit())
        }
    }
}

fn failed(id: &'static str, diagnosis: &Diagnosis) -> Check {
    let Diagnosis {
        code,
        meaning,
        first,
        worst,
        failed,
        compared,
    } = diagnosis;
    let detail = format!(
        "{meaning}; {failed} of {compared} rows beyond their limit, first at layer {} position {}, worst {:.2e} at layer {} position {}",
        first.layer, first.position, worst.rel_l2, worst.layer, worst.position
    );
    let place = Where {
        layer: Some(first.layer),
        position: Some(first.position),
        ..Where::default()
    };
    Check::fail(id, code, detail)
        .numbers(first.rel_l2, first.limit)
        .at(place)
}

/// The verifier's own row as a prover with this state dtype would have stored it.
pub(crate) fn stored(v: &[f32], dtype: StateDtype) -> Vec<f32> {
    dtype.decode(&dtype.encode(v))
}

#[cfg(test)]
mod tests {
    use assay_trace::{EditableTrace, Sampler, reroot};

    use super::*;
    use crate::testing;

    const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

    fn honest() -> Vec<u8> {
        testing::trace_of(&TOKENS, 8, 50, Sampler::Greedy, &[vec![0.0; 50]])
    }

    /// The verifier's own rows: those of the honest trace, each element off by up to `noise` of itself.
    fn check(bytes: &[u8], noise: f32, with_profile: bool) -> [Check; 3] {
        let trace = Trace::parse(bytes).unwrap();
        trace.check_commitment().unwrap();
        let profile = testing::profile(1e-4, 1e-3);
        let mut check = StateCheck::new(&trace, with_profile.then_some(&profile));
        for (position, &token) in TOKENS.iter().enumerate().take(TOKENS.len() - 1) {
            let rows: Vec<Vec<f32>> = (0..=testing::LAYERS)
                .map(|layer| {
                    let mut row = testing::state(layer, position, token);
                    if layer > 0 {
                        let off = testing::noise(
                            (layer as usize * 100 + position) as u64,
                            row.len(),
                            2.0 * noise,
                        );
                        row.iter_mut().zip(off).for_each(|(x, e)| *x *= 1.0 + e);
                    }
                    row
                })
                .collect();
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            check.add_position(position, &rows);
        }
        [
            check.embedding_check(),
            check.state_check(),
            check.sequential_check(),
        ]
    }

    fn forged(edit: impl FnOnce(&mut EditableTrace)) -> [&'static str; 2] {
        let [embedding, states, _] = check(&reroot(&honest(), edit).unwrap(), 1e-5, true);
        [embedding.code, states.code]
    }

    fn map(
        trace: &mut EditableTrace,
        layers: std::ops::RangeInclusive<u32>,
        f: impl Fn(usize, f32) -> f32,
    ) {
        for rows in trace
            .states
            .iter_mut()
            .filter(|(layer, _)| layers.contains(layer))
            .map(|(_, rows)| rows)
        {
            rows.iter_mut().enumerate().for_each(|(i, x)| *x = f(i, *x));
        }
    }

    #[test]
    fn honest_rows_pass() {
        for noise in [0.0, 1e-5] {
            let [embedding, states, sequential] = check(&honest(), noise, true);
            assert_eq!(
                (embedding.code, states.code, sequential.code),
                ("ok", "ok", "ok"),
                "{states:?}"
            );
        }
    }

    #[test]
    fn without_a_profile_only_equality_passes() {
        let [_, equal, sequential] = check(&honest(), 0.0, false);
        assert_eq!((equal.code, sequential.outcome), ("ok", Outcome::Skipped));
        let [_, near, _] = check(&honest(), 1e-6, false);
        assert_eq!(
            (near.outcome, near.code),
            (Outcome::Inconclusive, "no-profile")
        );
    }

    #[test]
    fn forgeries_are_rejected_by_name() {
        let last = testing::LAYERS;
        assert_eq!(
            forged(|t| map(t, 1..=last, |_, _| 0.0)),
            ["ok", "state-degenerate"]
        );
        assert_eq!(
            forged(|t| map(t, 0..=last, |_, _| 0.0)),
            ["state-embedding", "state-degenerate"]
        );
        assert_eq!(
            forged(|t| map(t, 1..=last, |_, x| -x)),
            ["ok", "state-sign"]
        );
        assert_eq!(
            forged(|t| map(t, 1..=last, |i, x| x
                * (1.0 + 0.02 * ((i * 7 % 5) as f32 - 2.0)))),
            ["ok", "state-precision"]
        );
        assert_eq!(
            forged(|t| map(t, 1..=last, |i, _| (i as f32).sin())),
            ["ok", "state-mismatch"]
        );
        assert_eq!(
            forged(|t| map(t, 0..=0, |i, x| if i == 7 { x + 1.0 } else { x })),
            ["state-embedding", "ok"]
        );
        let rotate = |t: &mut EditableTrace| {
            t.states
                .iter_mut()
                .filter(|(layer, _)| **layer > 0)
                .for_each(|(_, rows)| rows.rotate_left(3 * testing::HIDDEN));
        };
        assert_eq!(forged(rotate), ["ok", "state-order"]);
    }

    #[test]
    fn a_skipped_layer_is_seen_though_it_is_not_opened() {
        let rows = testing::LAYERS as usize + 1;
        let skip = |t: &mut EditableTrace| {
            let positions = t.positions();
            (0..positions).for_each(|position| {
                t.state_digests[position * rows + 2] = t.state_digests[position * rows + 1];
            });
        };
        assert_eq!(forged(skip), ["ok", "layer-repeat"]);
    }

    #[test]
    fn opening_nothing_is_no_pass() {
        assert_eq!(forged(|t| t.states.clear()), ["ok", "nothing-checked"]);
        assert_eq!(
            forged(|t| t.states.retain(|layer, _| *layer == 0)),
            ["ok", "nothing-checked"]
        );
    }

    #[test]
    fn a_shift_below_the_limit_drifts() {
        // Rows sit just below the limit of 1e-4, where honest ones were calibrated at 2.5e-6 with a headroom of 8.
        let [_, states, sequential] = check(&honest(), 1.4e-4, true);
        assert_eq!(
            (states.code, sequential.code),
            ("ok", "state-drift"),
            "{states:?} {sequential:?}"
        );
    }
}
