//! VeriLLM's experiments, trial by trial.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use assay_engine::{Engine, Monitor, Numerics};
use assay_experiment::trial::{
    self, Overhead, Proven, Trial, Verification, run_prover, run_verifier,
};
use assay_experiment::{Experiment, Precision};
use assay_prove::Request;
use assay_trace::{Digest, Manifest, Trace};
use serde::Serialize;

use super::devices;
use super::devices::Devices;
use super::setup::Setup;
use super::store::{self, TrialFiles};
use super::teller::{Teller, TrialTold};

/// Which half of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Both.
    Whole,
    /// The prover's: leaves traces.
    Prove,
    /// The verifiers': takes traces that are there.
    Verify,
}

/// Engines of this run, by device and weights. All have room for the longest trial.
struct Engines {
    devices: Devices,
    loaded: BTreeMap<(String, Precision, usize), Engine>,
    capacity: usize,
}

impl Engines {
    /// The engine of this name; `copy` tells apart those that run at the same time.
    async fn get(
        &mut self,
        setup: &Setup,
        device: &str,
        precision: Precision,
        copy: usize,
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<&mut Engine> {
        let key = (device.to_owned(), precision, copy);
        if !self.loaded.contains_key(&key) {
            let opened = self.devices.get(device).await?;
            let model = &setup.model(precision)?.model;
            let engine =
                Engine::load(&opened, model, self.capacity, Numerics::Fast, monitor).await?;
            self.loaded.insert(key.clone(), engine);
        }
        self.loaded
            .get_mut(&key)
            .context("an engine that was just loaded is there")
    }
}

/// Runs an experiment, or the rest of one that was stopped, and gives its trials.
pub async fn experiment(
    setup: &Setup,
    experiment: Experiment,
    step: Step,
    teller: &mut dyn Teller,
) -> anyhow::Result<Vec<Trial>> {
    let folder = setup.out.join(experiment.name());
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let mut engines = Engines {
        devices: Devices::default(),
        loaded: BTreeMap::new(),
        capacity: setup.capacity()?,
    };
    let (mut trials, mut kept) = (Vec::new(), 0);
    let directions = directions(setup, experiment, step).await;
    let each = setup.config.run.trials;
    for (direction, (prover, verifiers)) in directions.iter().enumerate() {
        for number in 0..each {
            teller.alive()?;
            let one = OneTrial {
                setup,
                experiment,
                direction,
                number,
                prover,
                verifiers,
                files: TrialFiles::new(&folder, number, direction),
            };
            let (proven, trace) = match step {
                Step::Verify => one.handed_over()?,
                _ => one.prove(&mut engines, teller).await?,
            };
            if step == Step::Prove {
                continue;
            }
            let (trial, was_there) = one.verify(proven, &trace, &mut engines, teller).await?;
            kept += usize::from(was_there);
            trials.push(trial);
            teller.trial(&TrialTold {
                experiment,
                number: direction * each + number,
                of: directions.len() * each,
                prover,
                said: &in_a_line(&trials),
            });
        }
    }
    if kept > 0 {
        teller.resumed(kept);
    }
    Ok(trials)
}

fn in_a_line(trials: &[Trial]) -> String {
    let Some(trial) = trials.last() else {
        return String::new();
    };
    let rate = trial
        .mean(|one| Some(one.summary.accept_rate))
        .unwrap_or(0.0);
    let words: Vec<String> = trial
        .verifications
        .iter()
        .map(|one| format!("{:?}", one.own.verdict).to_lowercase())
        .collect();
    format!(
        "accept rate {:.1} %, own verdicts {}",
        100.0 * rate,
        words.join(", ")
    )
}

/// Prover and verifiers of each direction.
async fn directions(
    setup: &Setup,
    experiment: Experiment,
    step: Step,
) -> Vec<(String, Vec<String>)> {
    let n = setup.config.run.verifiers;
    let prover = setup.prover.clone();
    let around = |names: &[String], n: usize| -> Vec<String> {
        names.iter().cycle().take(n).cloned().collect()
    };
    if experiment.is_concurrent() {
        let all = match setup.verifiers_were_named {
            true => setup.verifiers.clone(),
            false => devices::all().await,
        };
        return vec![(prover, around(&all, n.max(all.len())))];
    }
    if !experiment.is_heterogeneous() {
        return vec![(prover.clone(), vec![prover; n])];
    }
    let there = (prover.clone(), around(&setup.verifiers, n));
    match (step, setup.verifiers.first()) {
        // The other direction needs the other machine as a prover.
        (Step::Whole, Some(other)) => vec![there, (other.clone(), vec![prover; n])],
        _ => vec![there],
    }
}

struct OneTrial<'s> {
    setup: &'s Setup,
    experiment: Experiment,
    direction: usize,
    number: usize,
    prover: &'s str,
    verifiers: &'s [String],
    files: TrialFiles,
}

/// What a prover's half depends on.
#[derive(Serialize)]
struct ProverKey<'a> {
    schema: &'a str,
    experiment: Experiment,
    direction: usize,
    trial: usize,
    prompt: &'a [u32],
    sampler: String,
    max_tokens: usize,
    opened: &'a [u32],
    device: &'a str,
    root: Digest,
    claimed: Digest,
}

/// What a verifiers' half depends on.
#[derive(Serialize)]
struct VerifierKey<'a> {
    schema: &'a str,
    trace: Digest,
    devices: &'a [String],
    root: Digest,
    rules: String,
    layers: &'a [u32],
    profiles: Vec<&'a str>,
}

fn digest(value: &impl Serialize) -> anyhow::Result<Digest> {
    Ok(Digest::of(&serde_json::to_vec(value)?))
}

impl OneTrial<'_> {
    /// Hidden states in the trace: the sampled ones, and those that a verifier wants in any case.
    fn opened(&self) -> Vec<u32> {
        let layers = self.setup.full.model.config().layers;
        let mut opened = self.setup.config.run.layers.of(layers);
        opened.extend(Manifest::default_opened(layers as u32));
        opened.sort_unstable();
        opened.dedup();
        opened
    }

    /// The prover's half: made, or found as it would be made.
    async fn prove(
        &self,
        engines: &mut Engines,
        teller: &mut dyn Teller,
    ) -> anyhow::Result<(Proven, Vec<u8>)> {
        let setup = self.setup;
        let model = setup.model(self.experiment.prover())?;
        let claimed = setup.model(self.experiment.verifier())?;
        let (text, ids, max_tokens) = setup.prompt(self.number)?;
        let sampler = setup.sampler(self.number);
        let opened = self.opened();
        let key = digest(&ProverKey {
            schema: trial::SCHEMA,
            experiment: self.experiment,
            direction: self.direction,
            trial: self.number,
            prompt: &ids,
            sampler: format!("{sampler:?}"),
            max_tokens,
            opened: &opened,
            device: self.prover,
            root: model.root,
            claimed: claimed.root,
        })?;
        if let Some(proven) = store::read_json::<Proven>(&self.files.proven)
            && proven.key == key
            && let Ok(trace) = std::fs::read(&self.files.trace)
            && Digest::of(&trace) == proven.hidden_states_digest
        {
            return Ok((proven, trace));
        }
        let request = Request {
            prompt: ids,
            max_tokens,
            sampler,
            ignore_eos: true,
            nonce: None,
            opened: Some(opened),
            audit: None,
        };
        let precision = self.experiment.prover();
        let engine = engines
            .get(setup, self.prover, precision, 0, teller)
            .await?;
        let device = engine.info().name.clone();
        let made = run_prover(engine, &model.model, &claimed.claim, &request, teller).await?;
        let (trace, answer, timing) = made;
        let tokenizer = setup.full.model.tokenizer();
        let proven = Proven {
            schema: trial::SCHEMA.to_owned(),
            key,
            experiment: self.experiment.name().to_owned(),
            direction: self.direction,
            trial_id: self.number,
            input_category: setup.config.run.prompts.clone(),
            model: model.name.clone(),
            inference_device: device,
            prompt: text,
            generated_text: tokenizer.map(|t| t.decode(&answer)).unwrap_or_default(),
            num_tokens_generated: answer.len(),
            generated_tokens: answer,
            timing,
            hidden_states_file: self.files.trace_name(),
            hidden_states_digest: Digest::of(&trace),
            layers_sampled: setup.config.run.layers.of(model.model.config().layers),
            true_root: model.root,
            claimed_root: claimed.root,
        };
        // The trace first: who finds the other file must find this one.
        store::write(&self.files.trace, &trace)?;
        store::write_json(&self.files.proven, &proven)?;
        Ok((proven, trace))
    }

    /// What another machine's prover left here.
    fn handed_over(&self) -> anyhow::Result<(Proven, Vec<u8>)> {
        let shown = self.files.proven.display();
        let proven: Proven = store::read_json(&self.files.proven).with_context(|| {
            format!("no prover's half of trial {} in {shown}\nrun `--step prove` first, and bring its folder here", self.number)
        })?;
        ensure!(
            proven.experiment == self.experiment.name() && proven.schema == trial::SCHEMA,
            "{shown} is of {}",
            proven.experiment
        );
        let path: &PathBuf = &self.files.trace;
        let trace =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            Digest::of(&trace) == proven.hidden_states_digest,
            "{} is not the file that its prover wrote",
            path.display()
        );
        let claimed = self.setup.model(self.experiment.verifier())?.root;
        ensure!(
            proven.claimed_root == claimed,
            "the prover claims other weights than this verifier has: {} and {claimed}",
            proven.claimed_root
        );
        let trace_claims = Trace::parse(&trace)?;
        trace_claims.check_commitment()?;
        Ok((proven, trace))
    }

    /// The verifiers' half; true if it was there.
    async fn verify(
        &self,
        proven: Proven,
        trace: &[u8],
        engines: &mut Engines,
        teller: &mut dyn Teller,
    ) -> anyhow::Result<(Trial, bool)> {
        let setup = self.setup;
        let config = &setup.config;
        let model = setup.model(self.experiment.verifier())?;
        let key = digest(&VerifierKey {
            schema: trial::SCHEMA,
            trace: proven.hidden_states_digest,
            devices: self.verifiers,
            root: model.root,
            rules: format!("{:?} {:?}", config.repo, config.paper),
            layers: &config.run.layers.of(model.model.config().layers),
            profiles: setup
                .profiles
                .0
                .iter()
                .map(|profile| profile.id.as_str())
                .collect(),
        })?;
        if let Some(done) = store::read_json::<Trial>(&self.files.trial)
            && done.key == key
        {
            return Ok((done, true));
        }
        let precision = self.experiment.verifier();
        let mut verifications = Vec::with_capacity(self.verifiers.len());
        if self.experiment.is_concurrent() {
            for (i, name) in self.verifiers.iter().enumerate() {
                engines.get(setup, name, precision, i, teller).await?;
            }
            let mut mine: Vec<(usize, &mut Engine)> = Vec::new();
            for ((name, of, copy), engine) in &mut engines.loaded {
                if *of == precision && self.verifiers.get(*copy) == Some(name) {
                    mine.push((*copy, engine));
                }
            }
            mine.sort_by_key(|(id, _)| *id);
            let proven = &proven;
            let ears = teller.ears();
            let all: Vec<anyhow::Result<Verification>> = std::thread::scope(|scope| {
                let threads: Vec<_> = mine
                    .into_iter()
                    .map(|(id, engine)| {
                        let mut ears = ears.clone();
                        scope.spawn(move || {
                            pollster::block_on(self.one(id, proven, trace, engine, &mut ears))
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| {
                        let ended = thread.join();
                        ended.unwrap_or_else(|_| {
                            Err(anyhow::anyhow!("a verifier's thread ended early"))
                        })
                    })
                    .collect()
            });
            for one in all {
                verifications.push(one?);
            }
        } else {
            for (id, name) in self.verifiers.iter().enumerate() {
                let engine = engines.get(setup, name, precision, 0, teller).await?;
                verifications.push(self.one(id, &proven, trace, engine, teller).await?);
            }
        }
        let trial = Trial {
            proven,
            key,
            verifications,
        };
        store::write_json(&self.files.trial, &trial)?;
        Ok((trial, false))
    }

    async fn one(
        &self,
        id: usize,
        proven: &Proven,
        trace: &[u8],
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<Verification> {
        let setup = self.setup;
        let ran = run_verifier(trace, engine, &setup.profiles, &setup.config, monitor).await?;
        let (observed, per_layer, summary) = ran;
        let replayed = observed
            .tokens
            .iter()
            .filter(|token| token.replayed)
            .count();
        Ok(Verification {
            verifier_id: id,
            verification_device: engine.info().name.clone(),
            model: setup.model(self.experiment.verifier())?.name.clone(),
            per_layer,
            summary,
            overhead: Overhead::new(
                proven.timing.total_time,
                observed.prefill_s + observed.compare_s,
            ),
            own: observed.own,
            replayed: replayed as f64 / observed.tokens.len().max(1) as f64,
        })
    }
}
