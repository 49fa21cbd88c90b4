//! The order of an audit's checks, and the verdict.

use assay_engine::audit::Auditor;
use assay_engine::{ActivationType, Device, Monitor, Numerics, Phase, Rounding, selftest};
use assay_key::VerifierKey;
use assay_trace::{Challenge, Manifest, Trace};
use web_time::Instant;

use super::energy::Energy;
use super::integers::Integers;
use super::layer::{self, NAMES, Stop, Tests};
use super::profile::AuditProfiles;
use super::report::{AuditReport, FalseAccept, StreamReport, TierReport};
use super::stream::{Honest, SEED_MSE, Tally, Worst};
use super::{embedding, emitted, soundness};
use crate::claims;
use crate::draft::{Draft, NOT_LIVE, self_test, structure_failure};
use crate::facts::Facts;
use crate::profile::Unit;
use crate::report::{Check, Method, Outcome, Statistics, Where};
use crate::strict;
use crate::verify::{Options, Verified, VerifyError};

/// Chance that all energy tests of a run together fail an honest trace, rows and pools each.
pub const ALPHA: f64 = 1e-6;
/// Chance of a miss that `detects` is stated for.
const MISSED: f64 = 1e-9;

/// Checks that only a replay makes.
const NOT_MADE: &[(&str, &str)] = &[
    ("live", NOT_LIVE),
    (
        "hidden-states",
        "not made: an audit has no hidden states of its own to compare with",
    ),
    ("masks", "not needed: every neuron was computed"),
    (
        "suspects",
        "not made: an audit has no hidden states of its own to compare with",
    ),
    (
        "token-agreement",
        "not needed: each checked token must be exactly the sampler's",
    ),
    (
        "sequential",
        "not made: an audit has no hidden states of its own to compare with",
    ),
    (
        "strict",
        "not made: an audit has no hidden states of its own to compare with",
    ),
];

/// Audits a trace with a `key` on `device`, by the profile that ships with Assay. No weights are needed.
///
/// # Errors
/// [`VerifyError`] if the verifier itself fails. Nothing in `trace_bytes` can cause one.
pub async fn audit(
    trace_bytes: &[u8],
    key: &VerifierKey,
    device: &Device,
    options: &Options,
    monitor: &mut dyn Monitor,
) -> Result<Verified, VerifyError> {
    let profiles = AuditProfiles::embedded();
    audit_with(&profiles, trace_bytes, key, device, options, monitor).await
}

/// [`audit`] by another profile.
///
/// # Errors
/// As [`audit`].
pub async fn audit_with(
    profiles: &AuditProfiles,
    trace_bytes: &[u8],
    key: &VerifierKey,
    device: &Device,
    options: &Options,
    monitor: &mut dyn Monitor,
) -> Result<Verified, VerifyError> {
    let facts = Facts::of_key(key);
    let mut draft = Draft::new(trace_bytes, &facts, Method::Audit, device, options);
    draft.not_made = NOT_MADE;
    draft.numerics = Numerics::Strict;
    let trace = match Trace::parse(trace_bytes) {
        Ok(trace) => trace,
        Err(err) => {
            draft.checks.push(structure_failure(&err));
            return Ok(draft.finish());
        }
    };
    draft.see(&trace);
    let manifest = trace.manifest();
    draft
        .checks
        .push(Check::pass("structure", "a well-formed trace"));
    if !draft.check_bindings(&trace, options) {
        return Ok(draft.finish());
    }
    let root = key.model_root();
    draft.model.root = Some(root.to_string());
    let named = claims::model_root(manifest, root, "the weights that the key was made from");
    if !draft.went_well(named) || !draft.check_facts(&trace, &facts, options) {
        return Ok(draft.finish());
    }
    let challenge = challenge(&trace, options);
    let openings = challenge.id == "challenge";
    if !draft.went_well(challenge) || !openings {
        return Ok(draft.finish());
    }
    let layers: Vec<u32> = trace
        .linears()
        .map_or(&[][..], |claim| &claim.layers)
        .iter()
        .copied()
        .filter(|layer| key.layers().contains(layer))
        .collect();
    let made_for = ActivationType::of(key.activations());
    if made_for != options.activations {
        let detail = format!(
            "the key was made for products that take inputs of type `{}`, asked for was `{}`",
            made_for.as_str(),
            options.activations.as_str()
        );
        let check = Check::new(
            "linear-layers",
            Outcome::Inconclusive,
            "key-activations",
            detail,
        );
        draft.checks.push(check);
        return Ok(draft.finish());
    }
    if manifest.has_sums() && !strict::is_claimed(manifest) {
        let detail = "sums of integers are checked exactly, which takes a prover whose other arithmetic is strict: `numerics.class` is neither `exact` nor `strict`";
        let check = Check::new("profile", Outcome::Inconclusive, "no-profile", detail);
        draft.checks.push(check);
        return Ok(draft.finish());
    }
    if !profiles.covers(manifest) {
        let detail = "no calibration covers this precision, or linear outputs are stored otherwise than they were kept";
        draft.checks.push(Check::new(
            "profile",
            Outcome::Inconclusive,
            "no-profile",
            detail,
        ));
        return Ok(draft.finish());
    }
    draft.checks.push(Check::pass(
        "profile",
        format!("honest errors from `{}`, {}", profiles.id, profiles.date),
    ));
    draft.profile = Some(profiles.report());
    let begun = Instant::now();
    let rounding = Rounding::from(manifest.numerics.compute);
    let tested = selftest::run_for_audit(device, key.config(), rounding).await?;
    draft.checks.push(self_test(&tested));
    draft.timings.load_s = begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    let honest = |stream: &str, k: usize| profiles.honest(manifest.numerics.compute, stream, k);
    let seen = see(&trace, key, device, &layers, &honest, monitor).await;
    draft.timings.prefill_s = begun.elapsed().as_secs_f64();
    draft.timings.prefill_tokens_per_s = trace.positions() as f64 / draft.timings.prefill_s;
    let seen = match seen {
        Ok(seen) => seen,
        Err(Stop::Engine(err)) => return Err(err.into()),
        Err(Stop::Range { position }) => {
            let detail = format!(
                "an opened value at position {position} is beyond {}, where no model goes",
                layer::LARGEST
            );
            let place = Where {
                position: Some(position),
                ..Where::default()
            };
            let check = Check::fail("linear-layers", "linear-range", detail).at(place);
            draft.checks.push(check);
            return Ok(draft.finish());
        }
        Err(Stop::Missing(what)) => {
            let detail = format!("{what} that the audit needs is not there");
            let check = Check::fail("linear-layers", "nothing-checked", detail);
            draft.checks.push(check);
            return Ok(draft.finish());
        }
    };
    monitor.progress(Phase::Checks, 0, 1)?;
    draft.judge_audit(&trace, key, &layers, &seen, &facts, &honest);
    monitor.progress(Phase::Checks, 1, 1)?;
    Ok(draft.finish())
}

/// What every audited layer and the output projection came to, for calibration: `(stream, inner length, tally)` by layer, without
/// judging anything.
///
/// # Errors
/// As [`audit`]; a trace that is not one, or does not fit the key, gives an empty list.
pub async fn measure(
    trace_bytes: &[u8],
    key: &VerifierKey,
    device: &Device,
    monitor: &mut dyn Monitor,
) -> Result<Vec<(&'static str, usize, Tally)>, VerifyError> {
    let Ok(trace) = Trace::parse(trace_bytes) else {
        return Ok(Vec::new());
    };
    let layers: Vec<u32> = trace
        .linears()
        .map_or(&[][..], |claim| &claim.layers)
        .to_vec();
    let seen = match see(&trace, key, device, &layers, &|_, _| None, monitor).await {
        Ok(seen) => seen,
        Err(Stop::Engine(err)) => return Err(err.into()),
        Err(_) => return Ok(Vec::new()),
    };
    let config = key.config();
    let mut list = Vec::new();
    for tally in &seen.layers {
        for (i, product) in tally.products.iter().enumerate() {
            list.push((NAMES[i], inner(config, i), *product));
        }
    }
    list.extend(seen.head.map(|tally| ("logits", config.hidden, tally)));
    Ok(list)
}

/// Inner length of product `i`.
fn inner(config: &assay_model::ModelConfig, i: usize) -> usize {
    match i {
        3 => config.q_dim(),
        6 => config.intermediate,
        _ => config.hidden,
    }
}

struct SeenAll {
    /// None where products are of integers.
    layers: Vec<layer::LayerTally>,
    /// Where they are.
    integers: Option<Integers>,
    head: Option<Tally>,
    row: Energy,
    row_tests: u64,
    pooled_tests: u64,
}

async fn see(
    trace: &Trace<'_>,
    key: &VerifierKey,
    device: &Device,
    layers: &[u32],
    honest: &dyn Fn(&str, usize) -> Option<Honest>,
    monitor: &mut dyn Monitor,
) -> Result<SeenAll, Stop> {
    let rounding = Rounding::from(trace.manifest().numerics.compute);
    let logits = trace.linears().map_or(0, |claim| claim.logits.len());
    let is_integer = trace.manifest().has_sums();
    let (positions, products) = match is_integer {
        true => (trace.positions(), 0),
        false => (trace.positions(), 7 * layers.len()),
    };
    let row_tests = (products * positions + logits) as u64;
    let pooled_tests = products as u64 + u64::from(logits > 0);
    let row = Energy::new(key.projections(), ALPHA / row_tests.max(1) as f64);
    let pooled = Energy::new(key.projections(), ALPHA / pooled_tests.max(1) as f64);
    let tests = Tests {
        rounding,
        row: &row,
        pooled: &pooled,
        honest,
    };
    let mut auditor = Auditor::new(device, key.config(), rounding, positions).await?;
    let mut tallies = Vec::with_capacity(layers.len());
    let total = (layers.len() + 1) as u64;
    let integers = match is_integer {
        true => Some(Integers::of_layers(trace, key, layers, monitor).await?),
        false => None,
    };
    let of_floats = layers.iter().filter(|_| !is_integer);
    for (done, layer) in of_floats.enumerate() {
        monitor.progress(Phase::Prefill, done as u64, total)?;
        let tally = layer::audit(&mut auditor, trace, key, *layer, &tests, monitor).await?;
        tallies.push(tally);
        monitor.breathe().await;
    }
    let head = layer::head(&mut auditor, trace, key, &tests, monitor).await?;
    monitor.progress(Phase::Prefill, total, total)?;
    Ok(SeenAll {
        layers: tallies,
        integers,
        head,
        row,
        row_tests,
        pooled_tests,
    })
}

/// Who picked what is open, and whether that was the verifier's to pick. A trace that cannot be audited at all ends under another id.
fn challenge(trace: &Trace<'_>, options: &Options) -> Check {
    const ID: &str = "challenge";
    let Some(claim) = trace.linears() else {
        let detail = "the trace does not commit to linear outputs, so a key can say nothing about it; verify it with the model, or ask for a trace made with `--open`";
        return Check::new(
            "linear-layers",
            Outcome::Inconclusive,
            "no-openings",
            detail,
        );
    };
    if claim.layers.is_empty() {
        return Check::fail(ID, "nothing-checked", "no layer is open");
    }
    let manifest = trace.manifest();
    let all_layers = claim.layers.len() == manifest.model.layers as usize;
    let all = all_layers && claim.logits.len() == manifest.output.tokens as usize;
    if let Some(asked) = &options.expect_opening {
        let same = claim.challenge == Challenge::Interactive
            && claim.layers == asked.layers
            && claim.logits == asked.logits;
        return if same {
            Check::pass(ID, "what is open is what was asked for after the receipt")
        } else {
            Check::fail(ID, "challenge", "what is open is not what was asked for")
        };
    }
    if all {
        return Check::pass(ID, "every layer and every token's logits are open");
    }
    match claim.challenge {
        Challenge::All => Check::pass(ID, "every layer and every token's logits are open"),
        Challenge::Offline => Check::pass(
            ID,
            "what is open was drawn from the root, which a prover can try again: see `audit.missed`",
        ),
        Challenge::Interactive => Check::new(
            ID,
            Outcome::Inconclusive,
            "not-asked",
            "the trace says that a verifier asked for these layers; this one did not",
        ),
        Challenge::Chosen => Check::new(
            ID,
            Outcome::Inconclusive,
            "prover-chose",
            "the prover chose which layers to open, so nothing follows for the others",
        ),
    }
}

/// Everything about one stream over all audited layers.
struct Stream {
    name: &'static str,
    /// Inner length; 0 for what is recomputed.
    k: usize,
    tally: Tally,
    /// Layer by test: row, pooled, element, certified.
    layers: [Option<u32>; 4],
}

impl Draft {
    fn judge_audit(
        &mut self,
        trace: &Trace<'_>,
        key: &VerifierKey,
        layers: &[u32],
        seen: &SeenAll,
        facts: &Facts,
        honest: &dyn Fn(&str, usize) -> Option<Honest>,
    ) {
        let streams = streams(key, layers, seen);
        self.checks.push(embedding_check(trace, key));
        let of_integers = seen.integers.as_ref();
        let exact = of_integers.map(Integers::linear_check);
        let linear = if layers.is_empty() {
            let detail = "the key covers none of the layers that are open";
            Check::new(
                "linear-layers",
                Outcome::Inconclusive,
                "key-coverage",
                detail,
            )
        } else {
            match exact {
                Some(check) if check.outcome == Outcome::Fail || seen.head.is_none() => check,
                Some(check) => match linear_check(&streams, honest) {
                    // Both are about the same layers: the logits' rows pass with the integers'.
                    logits if logits.outcome == Outcome::Pass => check,
                    logits => logits,
                },
                None => linear_check(&streams, honest),
            }
        };
        self.checks.push(linear);
        self.checks.push(match of_integers {
            Some(integers) if !layers.is_empty() => integers.transition_check(),
            _ => transition_check(layers, seen),
        });
        let (tokens, statistics) = emitted::check(trace);
        self.checks.push(tokens);
        self.checks.push(claims::stop_reason(trace, facts));

        let manifest = trace.manifest();
        let checked = statistics.map_or(0, |s| s.n);
        self.coverage.positions = if layers.is_empty() {
            0
        } else {
            trace.positions()
        };
        self.coverage.layers = trace.opened().to_vec();
        self.coverage.tokens = checked;
        self.statistics = Statistics {
            distance_unit: Unit::Norm,
            per_layer: Vec::new(),
            accept_rate: None,
            tokens: statistics,
            sequential: None,
            masks: None,
            suspects: Vec::new(),
        };
        self.uncovered(manifest, trace, layers, checked);
        let audit = report(trace, key, layers, seen, &streams, honest);
        self.coverage.opened_values =
            audit.opened_bytes / u64::from(manifest.state_dtype.bytes() as u32).max(1);
        self.audit = Some(audit);
    }

    fn uncovered(&mut self, manifest: &Manifest, trace: &Trace<'_>, layers: &[u32], tokens: usize) {
        let list = &mut self.coverage.not_covered;
        let total = manifest.model.layers as usize;
        if layers.len() < total {
            list.push(format!(
                "{} of {total} layers were not audited: `audit.missed` says how often a prover that cheats in some of them is missed",
                total - layers.len()
            ));
        }
        let outputs = manifest.output.tokens as usize;
        if tokens < outputs {
            list.push(format!(
                "{} of {outputs} emitted tokens were not checked: their logits are not open",
                outputs - tokens
            ));
        }
        if trace
            .linears()
            .is_some_and(|claim| claim.challenge == Challenge::Offline)
        {
            list.push("a prover that ran many times, or changed bits within the tolerances, until the draw suited it".to_owned());
        }
        list.push(match manifest.has_sums() {
            true => "errors in logits below what the energy test detects (`audit.streams`): the output projection is of floats",
            false => "errors in linear layers below what the energy test detects (`audit.streams`)",
        }.to_owned());
    }
}

fn streams(key: &VerifierKey, layers: &[u32], seen: &SeenAll) -> Vec<Stream> {
    let config = key.config();
    let of_floats = 0..if seen.integers.is_some() { 0 } else { 7 };
    let mut list: Vec<Stream> = of_floats
        .map(|i| {
            let mut stream = Stream {
                name: NAMES[i],
                k: inner(config, i),
                tally: Tally::default(),
                layers: [None; 4],
            };
            for (layer, tally) in layers.iter().zip(&seen.layers) {
                let before = worsts(&stream.tally);
                stream.tally.merge(&tally.products[i]);
                for ((at, before), now) in stream
                    .layers
                    .iter_mut()
                    .zip(before)
                    .zip(worsts(&stream.tally))
                {
                    if now != before {
                        *at = Some(*layer);
                    }
                }
            }
            stream
        })
        .collect();
    list.extend(seen.head.map(|tally| Stream {
        name: "logits",
        k: config.hidden,
        tally,
        layers: [None; 4],
    }));
    list
}

fn worsts(tally: &Tally) -> [Worst; 4] {
    [tally.certified, tally.element, tally.row, tally.pooled]
}

/// Codes of the tests on linear outputs, the certified ones first.
const CODES: [&str; 4] = [
    "linear-bound",
    "linear-element",
    "linear-energy",
    "linear-drift",
];

fn linear_check(streams: &[Stream], honest: &dyn Fn(&str, usize) -> Option<Honest>) -> Check {
    const ID: &str = "linear-layers";
    let mut failed: Option<(usize, &Stream, Worst)> = None;
    for stream in streams {
        for (test, worst) in worsts(&stream.tally).into_iter().enumerate() {
            let worse = failed.is_none_or(|(known, _, than)| {
                test < known || test == known && worst.over > than.over
            });
            if worst.over > 1.0 && worse {
                failed = Some((test, stream, worst));
            }
        }
    }
    if let Some((test, stream, worst)) = failed {
        let what = match test {
            0 => {
                "through the projections, the outputs are further from the product than any order of addition and the stated precision allow (certified)"
            }
            1 => {
                "a recomputed element is further off than any order of addition and the stated precision allow (certified)"
            }
            2 => "a row is further from the product than honest rows are",
            _ => "the rows together are further from the product than honest ones are",
        };
        let layer = stream.layers[test];
        let of_layer = layer.map(|l| format!(" of layer {l}")).unwrap_or_default();
        let place = Where {
            layer,
            position: (test < 3).then_some(worst.position),
            ..Where::default()
        };
        return Check::fail(
            ID,
            CODES[test],
            format!("{}{of_layer}: {what}", stream.name),
        )
        .numbers(worst.over, 1.0)
        .at(place);
    }
    let unknown = |stream: &&Stream| honest(stream.name, stream.k).is_none();
    if let Some(stream) = streams.iter().find(unknown) {
        let detail = format!(
            "no calibration covers {} with sums of {} terms",
            stream.name, stream.k
        );
        return Check::new(ID, Outcome::Inconclusive, "no-profile", detail);
    }
    let rows: usize = streams.iter().map(|s| s.tally.rows).sum();
    if rows == 0 {
        return Check::fail(ID, "nothing-checked", "no row was checked");
    }
    let worst = streams
        .iter()
        .flat_map(|s| worsts(&s.tally))
        .fold(0.0, |most: f64, worst| most.max(worst.over));
    Check::pass(
        ID,
        format!("{rows} rows are the products of derived inputs"),
    )
    .numbers(worst, 1.0)
}

fn embedding_check(trace: &Trace<'_>, key: &VerifierKey) -> Check {
    const ID: &str = "embedding";
    match embedding::worst(trace, key) {
        None => Check::new(
            ID,
            Outcome::Inconclusive,
            "embedding-unopened",
            "hidden state 0 is not open, so nothing ties the layers to the tokens",
        ),
        Some(worst) if worst.over > 1.0 => {
            let place = Where {
                layer: Some(0),
                position: Some(worst.position),
                ..Where::default()
            };
            let detail = format!(
                "hidden state 0 at position {} is not the embedding of its token",
                worst.position
            );
            Check::fail(ID, "state-embedding", detail)
                .numbers(worst.over, 1.0)
                .at(place)
        }
        Some(worst) => Check::pass(ID, "hidden state 0 is the embedding of the tokens")
            .numbers(worst.over, 1.0),
    }
}

fn transition_check(layers: &[u32], seen: &SeenAll) -> Check {
    const ID: &str = "layer-transition";
    let mut worst = Worst::default();
    let mut at = None;
    for (layer, tally) in layers.iter().zip(&seen.layers) {
        if tally.transition.over > worst.over {
            (worst, at) = (tally.transition, Some(*layer));
        }
    }
    if worst.over > 1.0 {
        let place = Where {
            layer: at.map(|layer| layer + 1),
            position: Some(worst.position),
            ..Where::default()
        };
        let detail = format!(
            "hidden state {} at position {} does not follow from the one before and the layer's outputs",
            at.unwrap_or_default() + 1,
            worst.position
        );
        return Check::fail(ID, "layer-transition", detail)
            .numbers(worst.over, 1.0)
            .at(place);
    }
    if layers.is_empty() {
        return Check::skipped(ID, "no layer was audited");
    }
    Check::pass(
        ID,
        "each audited layer leads from one committed state to the next",
    )
    .numbers(worst.over, 1.0)
}

fn report(
    trace: &Trace<'_>,
    key: &VerifierKey,
    layers: &[u32],
    seen: &SeenAll,
    streams: &[Stream],
    honest: &dyn Fn(&str, usize) -> Option<Honest>,
) -> AuditReport {
    let manifest = trace.manifest();
    let total = manifest.model.layers as usize;
    let challenge = trace
        .linears()
        .map_or(Challenge::Chosen, |claim| claim.challenge);
    let logits = trace.linears().map_or(0, |claim| claim.logits.len());
    let widths: u64 = trace.linears().map_or(0, |claim| {
        claim.products.iter().map(|p| u64::from(p.width)).sum()
    });
    let element = manifest.linear_bytes() as u64;
    let linears = layers.len() as u64 * widths * trace.positions() as u64 * element;
    AuditReport {
        key: key.id().to_string(),
        projections: key.projections(),
        sampled_rows: key.rows(),
        challenge: challenge.name(),
        layers: layers.to_vec(),
        layers_total: total,
        logits,
        output_tokens: manifest.output.tokens as usize,
        missed: soundness::table(total, layers.len()),
        // One leaf's hash, its path, and the draw's own block.
        hashes_a_try: (challenge == Challenge::Offline)
            .then(|| 2 + trace.positions().next_power_of_two().ilog2()),
        streams: stream_reports(streams, layers.len(), trace.positions(), seen, honest),
        tiers: tiers(key, streams, seen, honest),
        opened_bytes: linears + logits as u64 * u64::from(manifest.model.vocab) * 4,
    }
}

fn stream_reports(
    streams: &[Stream],
    layers: usize,
    positions: usize,
    seen: &SeenAll,
    honest: &dyn Fn(&str, usize) -> Option<Honest>,
) -> Vec<StreamReport> {
    let projected = |stream: &Stream| {
        let known = honest(stream.name, stream.k);
        let tally = &stream.tally;
        StreamReport {
            name: stream.name,
            how: "projected",
            rows: tally.rows,
            relative_error: Some(tally.worst_relative),
            honest_error: known.map(|h| h.row),
            detects: known.map(|h| h.row * seen.row.detects(MISSED)),
            row_over_limit: known.map(|_| tally.row.over),
            pooled_over_limit: known.map(|_| tally.pooled.over),
            element_over_bound: Some(tally.element.over),
            residual_over_bound: Some(tally.certified.over),
            mse: Some(tally.mse()),
            mse_passes: Some(tally.mse() < SEED_MSE),
        }
    };
    let plain = |name, how, rows| StreamReport {
        name,
        how,
        rows,
        relative_error: None,
        honest_error: None,
        detects: None,
        row_over_limit: None,
        pooled_over_limit: None,
        element_over_bound: None,
        residual_over_bound: None,
        mse: None,
        mse_passes: None,
    };
    let recomputed = |name| plain(name, "recomputed", layers * positions);
    let exact = seen.integers.iter().flat_map(|integers| {
        let rows = NAMES.into_iter().zip(integers.rows);
        rows.map(|(name, rows)| plain(name, "exact", rows))
    });
    let mut list: Vec<StreamReport> = exact.chain(streams.iter().map(projected)).collect();
    // Attention's two products stand where a layer computes them: after V.
    let at = list
        .iter()
        .position(|s| s.name == "O")
        .unwrap_or(list.len());
    list.splice(at..at, [recomputed("QK"), recomputed("KV")]);
    list
}

fn tiers(
    key: &VerifierKey,
    streams: &[Stream],
    seen: &SeenAll,
    honest: &dyn Fn(&str, usize) -> Option<Honest>,
) -> Vec<TierReport> {
    let failed = |test: usize| {
        let beyond = |stream: &&Stream| worsts(&stream.tally)[test].over > 1.0;
        streams.iter().filter(beyond).count() as u64
    };
    let elements: usize = streams.iter().map(|s| s.tally.elements).sum();
    let narrowest = key.config().intermediate.max(key.config().hidden);
    let sampled = key.rows() as f64 / narrowest as f64;
    // The stream whose honest error is largest is the one where least is detected.
    let worst = streams
        .iter()
        .filter_map(|s| honest(s.name, s.k))
        .fold(0.0, |most: f64, h| most.max(h.row));
    let of_energy = |relative: f64, words: &str| FalseAccept {
        error: format!("{words}, about {:.2} % of a row's norm", 100.0 * relative),
        chance: (worst > 0.0).then(|| seen.row.false_accept(relative / worst)),
    };
    let tier = |tier, tests, test, false_reject, false_accept| TierReport {
        tier,
        tests,
        failed: failed(test),
        false_reject,
        false_accept,
    };
    let mut list = Vec::new();
    if let Some(integers) = &seen.integers {
        list.push(TierReport {
            tier: "exact",
            tests: integers.rows.iter().sum::<usize>() as u64,
            failed: u64::from(integers.fault.is_some()),
            false_reject: 0.0,
            false_accept: vec![FalseAccept {
                error: "any integer of any row, wrong by one or more".to_owned(),
                chance: Some(integers.false_accept()),
            }],
        });
        if streams.is_empty() {
            // Nothing was left to distances: tiers with no tests would only look like tests.
            return list;
        }
    }
    list.extend([
        tier(
            "elements",
            elements as u64,
            1,
            0.0,
            vec![FalseAccept {
                error: "one element of a row of the widest product, however large".to_owned(),
                chance: Some(1.0 - sampled),
            }],
        ),
        tier(
            "energy",
            seen.row_tests,
            2,
            ALPHA,
            vec![
                of_energy(0.0068, "weights rounded to 8 bits per row"),
                of_energy(0.09, "weights rounded to 4 bits in groups of 128"),
            ],
        ),
        tier("pooled-energy", seen.pooled_tests, 3, ALPHA, Vec::new()),
        tier("certified", seen.row_tests, 0, 0.0, Vec::new()),
    ]);
    list
}
