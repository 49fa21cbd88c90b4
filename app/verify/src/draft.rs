//! A report as it grows: what every kind of verification records, and how it ends.

use assay_engine::{AdapterInfo, Device, Numerics, selftest};
use assay_trace::{Digest, Trace, TraceError};
use web_time::Instant;

use crate::audit::AuditReport;
use crate::claims;
use crate::details::Details;
use crate::facts::Facts;
use crate::masks;
use crate::profile::Unit;
use crate::report::{
    CHECKS, Check, Coverage, Freshness, Method, ModelReport, NumericsReport, Outcome,
    ProfileReport, ProverSays, Report, SCHEMA_VERSION, Statistics, Timings, TraceReport, Where,
    conclude,
};
use crate::verify::{Options, Verified};

/// Checks that a replay does not make: it needs no openings, since it runs every layer itself.
const ONLY_IN_AUDITS: &[(&str, &str)] = &[
    ("live", NOT_LIVE),
    ("challenge", NO_AUDIT),
    ("linear-layers", NO_AUDIT),
    ("layer-transition", NO_AUDIT),
];
pub(crate) const NOT_LIVE: &str = "not needed: the trace came in a file";
const NO_AUDIT: &str = "not needed: the verifier ran every layer itself";

/// A report as it grows.
pub(crate) struct Draft {
    pub started: Instant,
    pub trace: TraceReport,
    pub model: ModelReport,
    pub adapter: AdapterInfo,
    pub numerics: Numerics,
    /// Whether digests decide alone.
    pub is_exact: bool,
    pub checks: Vec<Check>,
    pub coverage: Coverage,
    pub statistics: Statistics,
    pub profile: Option<ProfileReport>,
    pub prover_says: Option<ProverSays>,
    pub timings: Timings,
    pub in_detail: bool,
    pub details: Details,
    pub method: Method,
    pub audit: Option<AuditReport>,
    /// Ids of checks that this kind of verification does not make, with why.
    pub not_made: &'static [(&'static str, &'static str)],
}

impl Draft {
    pub(crate) fn new(
        trace_bytes: &[u8],
        facts: &Facts,
        method: Method,
        device: &Device,
        options: &Options,
    ) -> Self {
        let started = Instant::now();
        Self {
            started,
            trace: TraceReport {
                sha256: Digest::of(trace_bytes).to_string(),
                root: None,
            },
            model: ModelReport {
                root: None,
                family: facts.config.family.as_str().to_owned(),
                dtype: facts.dtype.clone(),
                parameters: facts.parameters,
            },
            adapter: device.info(),
            numerics: if matches!(device, Device::Cpu) {
                Numerics::Strict
            } else {
                options.numerics
            },
            is_exact: false,
            checks: Vec::new(),
            coverage: Coverage {
                positions: 0,
                positions_total: 0,
                layers: Vec::new(),
                layers_total: facts.config.layers + 1,
                tokens: 0,
                exact_fraction: 0.0,
                exact_logits_fraction: 0.0,
                opened_values: 0,
                freshness: Freshness::None,
                not_covered: not_covered(options),
            },
            statistics: Statistics {
                distance_unit: Unit::Norm,
                per_layer: Vec::new(),
                accept_rate: None,
                tokens: None,
                sequential: None,
                masks: None,
                suspects: Vec::new(),
            },
            profile: None,
            prover_says: None,
            timings: Timings::default(),
            in_detail: false,
            details: Details::default(),
            method,
            audit: None,
            not_made: ONLY_IN_AUDITS,
        }
    }

    pub(crate) fn see(&mut self, trace: &Trace<'_>) {
        self.prover_says = Some(ProverSays::of(trace.manifest()));
        self.coverage.positions_total = trace.positions();
    }

    /// Do the file's hashes hold together, and does it answer what was asked?
    pub(crate) fn check_bindings(&mut self, trace: &Trace<'_>, options: &Options) -> bool {
        let manifest = trace.manifest();
        if options.live {
            self.checks.push(Check::pass(
                "live",
                "the prover answered this request, and opened what was asked for after its receipt",
            ));
        }
        let commitment = match trace.check_commitment() {
            Ok(()) => Check::pass(
                "commitment",
                "commitment, prompt, opened rows and Merkle root hold together",
            ),
            Err(err) => Check::fail("commitment", err.code(), err.to_string()),
        };
        if !self.went_well(commitment) {
            return false;
        }
        self.trace.root = Some(manifest.root.to_string());
        if !self.went_well(claims::nonce(manifest, options.nonce)) {
            return false;
        }
        if options.nonce.is_some() {
            self.coverage.freshness = Freshness::Nonce;
        }
        true
    }

    /// The trace's claims against what is known of the model and what was asked.
    pub(crate) fn check_facts(
        &mut self,
        trace: &Trace<'_>,
        facts: &Facts,
        options: &Options,
    ) -> bool {
        let manifest = trace.manifest();
        self.went_well(claims::tokenizer(manifest, facts))
            && self.went_well(claims::shape(manifest, facts))
            && self.went_well(masks::claim(
                manifest,
                &facts.config,
                options.sparse.as_deref(),
                self.method == Method::Audit,
            ))
            && self.went_well(claims::precision(manifest, options.expect_compute))
            && self.went_well(claims::activations(manifest, options.activations))
            && self.went_well(claims::prompt(trace, options.expect_prompt.as_deref()))
            && self.went_well(claims::sampler(manifest, options.expect_sampler.as_ref()))
            && self.went_well(claims::context(manifest, facts))
    }

    pub(crate) fn went_well(&mut self, check: Check) -> bool {
        let well = check.outcome != Outcome::Fail;
        self.checks.push(check);
        well
    }

    pub(crate) fn finish(mut self) -> Verified {
        let ran = std::mem::take(&mut self.checks);
        let missing = "not run: an earlier check failed";
        let listed = CHECKS.iter().map(|(id, _)| {
            let found = ran.iter().find(|check| check.id == *id).cloned();
            found.unwrap_or_else(|| {
                let why = self.not_made.iter().find(|(known, _)| known == id);
                Check::skipped(id, why.map_or(missing, |(_, why)| *why))
            })
        });
        let checks: Vec<Check> = listed.collect();
        let (verdict, summary) = conclude(self.method, &checks);
        let mut timings = self.timings;
        timings.total_s = self.started.elapsed().as_secs_f64();
        timings.checks_s = (timings.total_s - timings.load_s - timings.prefill_s).max(0.0);
        let report = Report {
            schema_version: SCHEMA_VERSION,
            method: self.method,
            verdict,
            summary,
            trace: self.trace,
            model: self.model,
            coverage: self.coverage,
            checks,
            statistics: self.statistics,
            audit: self.audit,
            profile: self.profile,
            adapter: self.adapter,
            numerics: NumericsReport {
                verifier: self.numerics.as_str(),
                comparison: if self.is_exact { "exact" } else { "tolerance" },
            },
            prover_says: self.prover_says,
            timings,
        };
        Verified {
            report,
            details: self.details,
        }
    }
}

pub(crate) fn structure_failure(err: &TraceError) -> Check {
    let check = Check::fail("structure", err.code(), err.to_string());
    let byte = |offset: &usize| Where {
        byte: Some(*offset as u64),
        ..Where::default()
    };
    match err {
        TraceError::HeaderNotCanonical { offset }
        | TraceError::ManifestNotCanonical { offset }
        | TraceError::HeaderUtf8 { offset }
        | TraceError::Text { offset, .. } => check.at(byte(offset)),
        TraceError::TokenRange { index, got, .. } => check.at(Where {
            position: Some(*index),
            token: Some(*got),
            ..Where::default()
        }),
        TraceError::NonFinite {
            layer, position, ..
        } => check.at(Where {
            layer: Some(*layer),
            position: Some(*position),
            ..Where::default()
        }),
        _ => check,
    }
}

pub(crate) fn self_test(tested: &selftest::SelfTest) -> Check {
    const ID: &str = "self-test";
    if tested.kernels.is_empty() {
        return Check::skipped(ID, "the CPU twins are what kernels are tested against");
    }
    let limit = tested
        .kernels
        .iter()
        .map(|kernel| kernel.limit)
        .fold(0.0, f64::max);
    Check::pass(
        ID,
        format!(
            "{} kernels give their known answers on this adapter",
            tested.kernels.len()
        ),
    )
    .numbers(tested.worst(), limit)
}

fn not_covered(options: &Options) -> Vec<String> {
    let mut list = Vec::new();
    if options.nonce.is_none() {
        list.push("freshness: no nonce was asked for, so the trace may have been made before, or for somebody else");
    }
    if options.expect_prompt.is_none() {
        list.push("the prompt: it is the trace's own, not compared with what was asked");
    }
    if options.expect_sampler.is_none() {
        list.push("the sampler: the claimed one was followed, but it was not compared with what was asked");
    }
    if options.expect_compute.is_none() {
        list.push("the precision: the claimed one sets the tolerances, but it was not compared with what was asked");
    }
    if !options.live {
        list.push("the number of tokens asked for: the trace does not bind it");
    }
    list.push("who ran the model, where and when: the trace only shows that these numbers are this model's");
    list.into_iter().map(str::to_owned).collect()
}
