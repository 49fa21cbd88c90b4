//! The order of the checks. A cheap one that fails ends the run; the later ones are listed as skipped.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use assay_engine::sparsity::SparseModel;
use assay_engine::{
    ActivationType, CacheFormat, Device, Engine, EngineError, MasksOf, Monitor, Numerics, Outputs,
    Phase, Rounding, Want,
    sampler::SamplerSpec,
    selftest::{self, Warming},
};
use assay_model::{Model, ModelError};
use assay_trace::{Compute, Digest, Opening, Trace};
use web_time::Instant;

use crate::claims;
use crate::details::{Details, TokenFigures};
use crate::draft::{Draft, self_test, structure_failure};
use crate::early::{self, FIRST_ROWS, Halt};
use crate::emulated::{self, Emulated};
use crate::facts::Facts;
use crate::hidden::StateCheck;
use crate::masks::MaskCheck;
use crate::part::Part;
use crate::profile::{Profile, Profiles};
use crate::report::{Check, Method, Outcome, ProfileReport, Report, Statistics};
use crate::strict::{self, StrictCheck};
use crate::suspects::{self, Ran, Suspect, SuspectRun};
use crate::tokens::TokenCheck;

/// What the verifier asked for, and how it computes. What is `None` is not compared, and the report says so.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The nonce sent with the request.
    pub nonce: Option<[u8; 32]>,
    /// The prompt's ids.
    pub expect_prompt: Option<Vec<u32>>,
    /// The sampler.
    pub expect_sampler: Option<SamplerSpec>,
    /// The verifier's own kernels.
    pub numerics: Numerics,
    /// Whether the trace is a live prover's answer to this verifier's request, whose conduct was judged before.
    pub live: bool,
    /// What values were asked to be rounded to between operations.
    pub expect_compute: Option<Compute>,
    /// What products were asked to round their inputs to. A trace that states anything else is refused.
    pub activations: ActivationType,
    /// The rule for active neurons that was asked for. Without one a trace of a sparse MLP is refused.
    pub sparse: Option<Arc<SparseModel>>,
    /// What may have been run in place of the claimed model: each is run, too, and takes as long as the claimed one. Not together with a
    /// rule for active neurons.
    pub suspects: Vec<Suspect>,
    /// Whether to stop at the first evidence that suffices for a reject. Only a reject may come early: a trace that is honest so
    /// far may turn.
    pub stop_early: bool,
    /// What was asked to be opened after the receipt, in an audit of a live prover's answer.
    pub expect_opening: Option<Opening>,
}

/// The verifier's own trouble. Never a verdict on the trace.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The device or the run on it failed, or the caller cancelled.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The verifier's model could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Verifies a trace against the verifier's own `model` on `device`, by the profiles that ship with Assay.
///
/// An accepted trace is consistent with an honest run within the stated tolerances; `coverage.not_covered` says what that does
/// not show.
///
/// # Errors
/// [`VerifyError`] if the verifier itself fails. Nothing in `trace_bytes` can cause one.
pub async fn verify(
    trace_bytes: &[u8],
    model: &Model,
    device: &Device,
    options: &Options,
    monitor: &mut dyn Monitor,
) -> Result<Report, VerifyError> {
    verify_with(
        &Profiles::embedded(),
        trace_bytes,
        model,
        device,
        options,
        monitor,
    )
    .await
}

/// [`verify`] by other profiles.
///
/// # Errors
/// As [`verify`].
pub async fn verify_with(
    profiles: &Profiles,
    trace_bytes: &[u8],
    model: &Model,
    device: &Device,
    options: &Options,
    monitor: &mut dyn Monitor,
) -> Result<Report, VerifyError> {
    let verified = run(
        profiles,
        trace_bytes,
        model,
        device,
        options,
        monitor,
        false,
    )
    .await?;
    Ok(verified.report)
}

/// A report, and the figures behind it.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The report: the same that [`verify`] gives.
    pub report: Report,
    /// Figures by position; what was not compared is not there.
    pub details: Details,
}

/// [`verify_with`], with figures by position for a close look.
///
/// # Errors
/// As [`verify`].
pub async fn verify_in_detail(
    profiles: &Profiles,
    trace_bytes: &[u8],
    model: &Model,
    device: &Device,
    options: &Options,
    monitor: &mut dyn Monitor,
) -> Result<Verified, VerifyError> {
    run(profiles, trace_bytes, model, device, options, monitor, true).await
}

async fn run(
    profiles: &Profiles,
    trace_bytes: &[u8],
    model: &Model,
    device: &Device,
    options: &Options,
    monitor: &mut dyn Monitor,
    in_detail: bool,
) -> Result<Verified, VerifyError> {
    suspects::refuse_unfit(options, model)?;
    let facts = Facts::of_model(model);
    let mut draft = Draft::new(trace_bytes, &facts, Method::Replay, device, options);
    draft.in_detail = in_detail;
    let trace = match Trace::parse(trace_bytes) {
        Ok(trace) => trace,
        Err(err) => {
            draft.checks.push(structure_failure(&err));
            return Ok(draft.finish());
        }
    };
    draft.see(&trace);
    draft
        .checks
        .push(Check::pass("structure", "a well-formed trace"));
    // Drivers compile while weights are hashed.
    let rule = options.sparse.as_deref().map(SparseModel::sparsity);
    let warming = Warming::begin(
        device,
        numerics_of(&trace, options),
        model,
        options.activations,
        rule,
    );
    if !draft.check_claims(&trace, model, options, monitor).await? {
        return Ok(draft.finish());
    }
    let profile = profiles
        .select(trace.manifest(), &draft.adapter)
        .filter(|_| has_yardstick(&trace, model, options));
    draft.use_profile(profile);
    draft
        .replay(&trace, model, device, options, profile, warming, monitor)
        .await?;
    Ok(draft.finish())
}

/// Whether distances can be counted as the profiles of this claim count them.
fn has_yardstick(trace: &Trace<'_>, model: &Model, options: &Options) -> bool {
    let is_plain = options.sparse.is_none() && options.activations == ActivationType::Float;
    emulated::rounding(trace) == Rounding::Keep || is_plain && model.config().can_be_audited()
}

impl Draft {
    /// Everything that needs no inference. False if a check failed.
    async fn check_claims(
        &mut self,
        trace: &Trace<'_>,
        model: &Model,
        options: &Options,
        monitor: &mut dyn Monitor,
    ) -> Result<bool, VerifyError> {
        if !self.check_bindings(trace, options) {
            return Ok(false);
        }
        let manifest = trace.manifest();
        let root = own_root(model, monitor).await?;
        self.model.root = Some(root.to_string());
        let is_model = claims::model_root(manifest, root, "the verifier's weights");
        Ok(self.went_well(is_model) && self.check_facts(trace, &Facts::of_model(model), options))
    }

    fn use_profile(&mut self, profile: Option<&Profile>) {
        let Some(profile) = profile else {
            let detail = "no calibration profile covers this claim, so its tolerances are unknown";
            self.checks.push(Check::new(
                "profile",
                Outcome::Inconclusive,
                "no-profile",
                detail,
            ));
            return;
        };
        self.checks.push(Check::pass(
            "profile",
            format!("limits from `{}`, {}", profile.id, profile.provenance.date),
        ));
        for name in &profile.hides {
            let tried = profile.null_forgery.get(name).copied().unwrap_or_default();
            self.coverage.not_covered.push(format!(
                "{name}: as far out as honest rounding of the claimed precision, so not found by distance ({} of {} such traces were accepted when the limits were measured), only as a suspect that is named",
                tried.accepted, tried.of
            ));
        }
        self.profile = Some(ProfileReport {
            id: profile.id.clone(),
            date: profile.provenance.date.clone(),
            honest_traces: profile.honest.traces,
            false_rejects: profile.honest.false_rejects,
            false_reject_upper_bound: profile.false_reject_upper_bound(),
            null_forgery: profile.null_forgery.clone(),
            nearest_cheat: profile.nearest_cheat.clone(),
        });
    }

    /// Self-test, the verifier's own run, and every check that compares with it.
    async fn replay(
        &mut self,
        trace: &Trace<'_>,
        model: &Model,
        device: &Device,
        options: &Options,
        profile: Option<&Profile>,
        warming: Warming,
        monitor: &mut dyn Monitor,
    ) -> Result<(), VerifyError> {
        let sparse = options.sparse.as_deref();
        let suspects = &options.suspects;
        let is_emulated = emulated::rounding(trace) != Rounding::Keep && profile.is_some();
        let runs = suspects.len() + usize::from(is_emulated) + 1;
        let begun = Instant::now();
        let mut how = Arithmetic::choose(trace, model, device, options, warming).await?;
        let rounding = emulated::rounding(trace);
        if is_emulated {
            let rounds = selftest::run_for_emulation(device, model, rounding).await?;
            how.tested.kernels.extend(rounds.kernels);
        }
        self.checks.push(self_test(&how.tested));
        let (positions, n) = (trace.positions(), suspects.len());
        let (numerics, activations) = (how.numerics, options.activations);
        let mut suspected = Vec::new();
        // Other models come first, one after another: no two of them lie on the device at once.
        for Suspect { name, ran } in suspects {
            let Ran::Model(other) = ran else { continue };
            let mut part = Part::new(monitor, suspected.len(), runs);
            let mut engine = Engine::load_rounding(
                device,
                other,
                positions,
                numerics,
                activations,
                None,
                &mut part,
            )
            .await?;
            suspected.push(SuspectRun::run((name, ran), n, trace, &mut engine, &mut part).await?);
        }
        let sparse_model = options.sparse.clone();
        let mut engine = Engine::load_rounding(
            device,
            model,
            positions,
            numerics,
            activations,
            sparse_model,
            monitor,
        )
        .await?;
        self.numerics = engine.numerics();
        self.timings.load_s = begun.elapsed().as_secs_f64();

        let begun = Instant::now();
        let mut is_rounded = false;
        for Suspect { name, ran } in suspects {
            let Ran::Cache(format) = *ran else {
                continue;
            };
            is_rounded = true;
            selftest::run_for_cache(device, numerics, model, format).await?;
            engine.round_cache(format).await?;
            let mut part = Part::new(monitor, suspected.len(), runs);
            suspected.push(SuspectRun::run((name, ran), n, trace, &mut engine, &mut part).await?);
        }
        if is_rounded {
            engine.round_cache(CacheFormat::Exact).await?;
        }
        let mut part = Part::new(monitor, suspects.len(), runs);
        let (profile, yardstick) =
            Emulated::for_profile(profile, trace, &mut engine, &mut part).await?;
        let emulated_s = begun.elapsed().as_secs_f64();
        let mut last = Part::new(monitor, runs - 1, runs);
        let monitor: &mut dyn Monitor = &mut last;
        let mut states = StateCheck::new(trace, profile)
            .by(yardstick.as_ref())
            .suspecting(&suspected);
        let mut tokens = TokenCheck::new(trace, profile);
        let mut bits = how.compares_bits.then(|| StrictCheck::new(trace));
        let is_exact = how.compares_bits;
        let masks =
            sparse.and_then(|s| MaskCheck::new(trace, profile, is_exact, s, model.config()));
        let masks = masks.map(RefCell::new);
        if self.in_detail {
            states.keep_figures();
            tokens.keep_figures();
        }
        let (hidden, vocab) = (model.config().hidden, model.config().vocab);
        let mut comparing_s = 0.0;
        let begun = Instant::now();
        let sink = |outputs: Outputs| -> Result<(), Halt> {
            let begun = Instant::now();
            states.add(&outputs, hidden);
            if let Some(bits) = &mut bits {
                bits.add(&outputs, hidden, vocab);
            }
            if let Some(masks) = &masks {
                masks.borrow_mut().add(&outputs);
            }
            for (row, logits) in outputs.logits.chunks_exact(vocab).enumerate() {
                let position = outputs.logits_pos0 + row;
                let unit = yardstick
                    .as_ref()
                    .and_then(|emulated| emulated.unit_of_logits(&outputs, position));
                tokens.add_in(unit.unwrap_or(1.0), position, logits);
            }
            comparing_s += begun.elapsed().as_secs_f64();
            let is_enough = states.is_rejected()
                || tokens.is_rejected()
                || bits.as_ref().is_some_and(StrictCheck::is_rejected);
            match options.stop_early && is_enough {
                true => Err(Halt::Enough),
                false => Ok(()),
            }
        };
        // The last token was emitted, but never entered the model.
        let fed = trace.tokens().get(..trace.positions()).unwrap_or_default();
        let logits_from = Some(trace.prompt().len().saturating_sub(1));
        let want = Want {
            logits_from,
            scores: masks.is_some(),
            linears: how.linears(trace, model),
            first_rows: options.stop_early.then_some(FIRST_ROWS),
            ..Want::all_states(model.config())
        };
        let of = |positions: Range<usize>| match &masks {
            Some(masks) => masks.borrow().of(positions),
            None => Vec::new(),
        };
        let of: Option<&MasksOf<'_>> = masks.as_ref().map(|_| &of as &MasksOf<'_>);
        let ended = engine.prefill_masked(fed, of, &want, monitor, sink).await;
        let stopped = early::stopped(ended)?;
        let replayed_s = (begun.elapsed().as_secs_f64() - comparing_s).max(0.0);
        self.timings.prefill_s = emulated_s + replayed_s;
        self.timings.prefill_tokens_per_s = fed.len() as f64 / replayed_s.max(1e-9);

        monitor.progress(Phase::Checks, 0, 1)?;
        self.judge(trace, model, &states, &tokens);
        self.judge_masks(masks.map(RefCell::into_inner), sparse.is_some());
        self.judge_bits(bits, &how, model, &mut engine, monitor)
            .await?;
        if stopped {
            self.stopped_early();
        }
        if self.in_detail {
            self.details = details_of(trace, model, profile);
            if let Some(figures) = states.take_figures() {
                figures.finish(&mut self.details);
            }
            let first = self.details.prompt_tokens;
            let emitted = self.details.tokens.iter_mut().skip(first);
            for (token, judged) in emitted.zip(tokens.take_figures()) {
                token.judged = Some(judged);
            }
        }
        monitor.progress(Phase::Checks, 1, 1)?;
        Ok(())
    }

    async fn judge_bits(
        &mut self,
        bits: Option<StrictCheck<'_>>,
        how: &Arithmetic,
        model: &Model,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<(), VerifyError> {
        let inexact = match (bits, how.inexact) {
            (Some(bits), _) => match bits.finish(model, engine, monitor).await? {
                strict::Found::Judged(check) => {
                    self.is_exact = true;
                    self.checks.push(check);
                    return Ok(());
                }
                strict::Found::NotHere(what) => what,
            },
            (None, Some(kernel)) => format!("kernel `{kernel}`"),
            (None, None) => {
                self.checks.push(strict::not_claimed());
                return Ok(());
            }
        };
        self.coverage.not_covered.push(format!(
            "bits: the trace claims strict numerics, and {inexact} does not give those on this device, so it was compared by distance only"
        ));
        self.checks.push(strict::not_here(&inexact));
        Ok(())
    }

    fn judge_masks(&mut self, masks: Option<MaskCheck<'_>>, is_sparse: bool) {
        let Some(masks) = masks else {
            self.checks.push(match is_sparse {
                false => Check::skipped("masks", "not needed: every neuron was computed"),
                // Unreachable once the claim is the rule's own; what is not compared must not pass.
                true => Check::fail(
                    "masks",
                    "mask-rule",
                    "the masks are not of this model's shape",
                ),
            });
            return;
        };
        self.checks.push(masks.check());
        self.coverage.not_covered.push(
            "how far a sparse model is from the dense one: that is what was asked for".to_owned(),
        );
        self.statistics.masks = Some(masks.report());
    }

    fn judge(
        &mut self,
        trace: &Trace<'_>,
        model: &Model,
        states: &StateCheck<'_>,
        tokens: &TokenCheck<'_>,
    ) {
        let (exact_states, all_states) = states.exact();
        let (exact, all) = (
            exact_states + tokens.exact_logits(),
            all_states + tokens.judged(),
        );
        if all > 0 && exact == all && tokens.is_replayed_exactly() {
            // Nothing was left to a tolerance, so none needs to be known.
            let unneeded = |check: &&mut Check| check.code == "no-profile";
            if let Some(check) = self.checks.iter_mut().find(unneeded) {
                *check = Check::skipped(
                    "profile",
                    "not needed: every committed digest equals the verifier's own, bit for bit",
                );
            }
        }
        let leans = states.leans();
        self.checks.extend([
            states.embedding_check(),
            states.state_check(),
            tokens.check(),
            tokens.agreement(),
            claims::stop_reason(trace, &Facts::of_model(model)),
            states.sequential_check(),
            suspects::check(&leans),
        ]);
        let coverage = &mut self.coverage;
        coverage.positions = states.positions();
        coverage.layers = trace.opened().to_vec();
        coverage.tokens = tokens.judged();
        coverage.exact_fraction = exact as f64 / all.max(1) as f64;
        coverage.exact_logits_fraction =
            tokens.exact_logits() as f64 / tokens.judged().max(1) as f64;
        coverage.opened_values = states.values();
        if exact_states < all_states {
            let n = coverage.layers_total - trace.opened().len().min(coverage.layers_total);
            coverage.not_covered.push(format!(
                "hidden states of {n} layers at each position are committed to but not opened, and not compared by distance"
            ));
            coverage.not_covered.push(
                "a prover that steers within the tolerances, to prefer one near-tie over another, is not seen".to_owned(),
            );
        }
        self.statistics = Statistics {
            distance_unit: states.unit(),
            per_layer: states.statistics(),
            accept_rate: states.accept_rate(),
            tokens: (tokens.judged() > 0).then(|| tokens.statistics()),
            sequential: states.sequential_state(),
            masks: None,
            suspects: leans,
        };
    }
}

/// How the verifier computes and compares.
struct Arithmetic {
    numerics: Numerics,
    tested: selftest::SelfTest,
    /// Whether the trace's digests must be the verifier's own.
    compares_bits: bool,
    /// The kernel for which this device gives other bits than strict numerics must.
    inexact: Option<&'static str>,
}

/// What a trace is to be replayed with, if this device can.
fn numerics_of(trace: &Trace<'_>, options: &Options) -> Numerics {
    match strict::is_claimed(trace.manifest()) {
        true => Numerics::Strict,
        false => options.numerics,
    }
}

impl Arithmetic {
    /// Strict, where the trace claims it and this device's kernels are bit-exact; else as the verifier wishes.
    async fn choose(
        trace: &Trace<'_>,
        model: &Model,
        device: &Device,
        options: &Options,
        warming: Warming,
    ) -> Result<Self, VerifyError> {
        let rule = options.sparse.as_deref().map(SparseModel::sparsity);
        let activations = options.activations;
        let numerics = numerics_of(trace, options);
        let tested = match warming.finish().await {
            Some(tested) => tested,
            None => selftest::run_for(device, numerics, model, activations, rule).await,
        };
        let (tested, inexact) = match tested {
            Err(EngineError::SelfTest { kernel, .. }) if strict::is_claimed(trace.manifest()) => {
                let tested =
                    selftest::run_for(device, options.numerics, model, activations, rule).await?;
                (tested, Some(kernel))
            }
            tested => (tested?, None),
        };
        let compares_bits = strict::is_claimed(trace.manifest()) && inexact.is_none();
        Ok(Self {
            numerics: if compares_bits {
                numerics
            } else {
                options.numerics
            },
            tested,
            compares_bits,
            inexact,
        })
    }

    /// Layers whose linear outputs are compared: all of them, if bits are and the trace commits to those.
    fn linears(&self, trace: &Trace<'_>, model: &Model) -> Vec<usize> {
        // The shape check has held the claim against a model with a gate; a sparse MLP has no such outputs.
        let has_all = model.config().family.mlp().has_gate() && trace.sparse().is_none();
        match self.compares_bits && trace.linears().is_some() && has_all {
            true => (0..model.config().layers).collect(),
            false => Vec::new(),
        }
    }
}

/// The tokens and the shape of everything else, before any figure is known.
fn details_of(trace: &Trace<'_>, model: &Model, profile: Option<&Profile>) -> Details {
    let n_prompt = trace.prompt().len();
    let mut texts = model
        .tokenizer()
        .map(|tokenizer| tokenizer.pieces(trace.tokens()))
        .unwrap_or_default()
        .into_iter();
    let token = |(index, id): (usize, &u32)| TokenFigures {
        id: *id,
        text: texts.next().unwrap_or_default(),
        emitted: index >= n_prompt,
        judged: None,
    };
    Details {
        positions: trace.positions(),
        layers: trace.opened().to_vec(),
        limits: trace
            .opened()
            .iter()
            .map(|layer| profile?.depth(*layer).filter(|_| *layer > 0).copied())
            .collect(),
        layers_total: trace.manifest().state_rows(),
        rows: Vec::new(),
        exact: Vec::new(),
        tokens: trace.tokens().iter().enumerate().map(token).collect(),
        prompt_tokens: n_prompt,
    }
}

/// The model's root, hashed now: a root that somebody wrote down would be somebody's word.
async fn own_root(model: &Model, monitor: &mut dyn Monitor) -> Result<Digest, VerifyError> {
    let mut hasher = model.root_hasher();
    while !hasher.step()? {
        monitor.progress(Phase::Hash, hasher.done(), hasher.total())?;
        monitor.breathe().await;
    }
    monitor.progress(Phase::Hash, hasher.total(), hasher.total())?;
    Ok(hasher.finish()?)
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
