//! VeriLLM's experiments, trial by trial.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::pin::Pin;

use assay_engine::{Engine, Monitor, Numerics};
use assay_prove::Request;
use assay_trace::{Digest, Manifest, Trace};
use assay_verify::Profile;
use serde::Serialize;

use crate::ExperimentError;
use crate::devices::Devices;
use crate::plan::{Experiment, Precision};
use crate::setup::Setup;
use crate::store::{Place, Store};
use crate::summary::Summary;
use crate::teller::{Teller, TrialTold};
use crate::trial::{self, Overhead, Proven, Trial, Verification, run_prover, run_verifier};
use crate::turns;

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

/// Engines of this run, by copy, device and weights. All have room for the longest trial.
struct Engines<'d> {
    devices: &'d mut Devices,
    loaded: BTreeMap<(usize, String, Precision), Engine>,
    capacity: usize,
}

impl Engines<'_> {
    /// The engine of this name; `copy` tells apart those that run at the same time.
    async fn get(
        &mut self,
        setup: &Setup,
        device: &str,
        precision: Precision,
        copy: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<&mut Engine, ExperimentError> {
        Ok(
            match self.loaded.entry((copy, device.to_owned(), precision)) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => {
                    let opened = self.devices.get(device).await?;
                    let model = &setup.model(precision)?.model;
                    let numerics = Numerics::Fast;
                    let engine =
                        Engine::load(&opened, model, self.capacity, numerics, monitor).await?;
                    free.insert(engine)
                }
            },
        )
    }
}

/// Runs experiments one after another, or the rest of those that were stopped, and sums each up. One without verifications gives none.
///
/// # Errors
/// A device failed, something cannot be kept, or the user stopped it; finished trials are kept.
pub async fn experiments(
    setup: &Setup,
    wanted: &[Experiment],
    step: Step,
    devices: &mut Devices,
    store: &mut dyn Store,
    teller: &mut dyn Teller,
) -> Result<Vec<(Summary, Vec<Trial>)>, ExperimentError> {
    let mut all = Vec::new();
    for (index, one) in wanted.iter().copied().enumerate() {
        teller.begin(index, wanted.len());
        let trials = experiment(setup, one, step, devices, store, teller).await?;
        if let Some(summary) = Summary::of(one, &trials, &setup.config) {
            store.keep_summary(&summary)?;
            all.push((summary, trials));
        }
    }
    Ok(all)
}

/// Runs an experiment, or the rest of one that was stopped, and gives its trials.
///
/// # Errors
/// Those of [`experiments`].
pub async fn experiment(
    setup: &Setup,
    experiment: Experiment,
    step: Step,
    devices: &mut Devices,
    store: &mut dyn Store,
    teller: &mut dyn Teller,
) -> Result<Vec<Trial>, ExperimentError> {
    setup.check()?;
    store.begin(experiment)?;
    let directions = directions(setup, experiment, step, devices).await;
    let mut engines = Engines {
        devices,
        loaded: BTreeMap::new(),
        capacity: setup.capacity()?,
    };
    let (mut trials, mut kept) = (Vec::new(), 0);
    let each = setup.config.run.trials;
    for (direction, (prover, verifiers)) in directions.iter().enumerate() {
        for number in 0..each {
            teller.alive()?;
            let one = OneTrial {
                setup,
                at: Place {
                    experiment,
                    direction,
                    number,
                },
                prover,
                verifiers,
            };
            let (proven, trace) = match step {
                Step::Verify => one.handed_over(store)?,
                _ => one.prove(&mut engines, store, teller).await?,
            };
            if step == Step::Prove {
                continue;
            }
            let (trial, was_there) = one
                .verify(proven, &trace, &mut engines, store, teller)
                .await?;
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
    devices: &mut Devices,
) -> Vec<(String, Vec<String>)> {
    let n = setup.config.run.verifiers;
    let prover = setup.prover.clone();
    let around = |names: &[String], n: usize| -> Vec<String> {
        names.iter().cycle().take(n).cloned().collect()
    };
    if experiment.is_concurrent() {
        let all = match setup.verifiers_were_named {
            true => setup.verifiers.as_slice(),
            false => devices.names().await,
        };
        return vec![(prover, around(all, n.max(all.len())))];
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
    at: Place,
    prover: &'s str,
    verifiers: &'s [String],
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
    profiles: &'a [Profile],
}

fn digest(value: &impl Serialize) -> Result<Digest, ExperimentError> {
    let bytes = serde_json::to_vec(value);
    let bytes = bytes.map_err(|err| ExperimentError::Store(err.into()))?;
    Ok(Digest::of(&bytes))
}

impl OneTrial<'_> {
    fn experiment(&self) -> Experiment {
        self.at.experiment
    }

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
        engines: &mut Engines<'_>,
        store: &mut dyn Store,
        teller: &mut dyn Teller,
    ) -> Result<(Proven, Vec<u8>), ExperimentError> {
        let setup = self.setup;
        let precision = self.experiment().prover();
        let model = setup.model(precision)?;
        let claimed = setup.model(self.experiment().verifier())?;
        let (text, ids, max_tokens) = setup.prompt(self.at.number)?;
        let sampler = setup.sampler(self.at.number);
        let opened = self.opened();
        let key = digest(&ProverKey {
            schema: trial::SCHEMA,
            experiment: self.experiment(),
            direction: self.at.direction,
            trial: self.at.number,
            prompt: &ids,
            sampler: format!("{sampler:?}"),
            max_tokens,
            opened: &opened,
            device: self.prover,
            root: model.root,
            claimed: claimed.root,
        })?;
        if let Some((proven, trace)) = store.proven(self.at, key)
            && proven.key == key
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
            experiment: self.experiment().name().to_owned(),
            direction: self.at.direction,
            trial_id: self.at.number,
            input_category: setup.config.run.prompts.clone(),
            model: model.name.clone(),
            inference_device: device,
            prompt: text,
            generated_text: tokenizer.map(|t| t.decode(&answer)).unwrap_or_default(),
            num_tokens_generated: answer.len(),
            generated_tokens: answer,
            timing,
            hidden_states_file: self.at.trace(),
            hidden_states_digest: Digest::of(&trace),
            layers_sampled: setup.config.run.layers.of(model.model.config().layers),
            true_root: model.root,
            claimed_root: claimed.root,
        };
        store.keep_proven(self.at, &proven, &trace)?;
        Ok((proven, trace))
    }

    /// What another machine's prover left here.
    fn handed_over(&self, store: &mut dyn Store) -> Result<(Proven, Vec<u8>), ExperimentError> {
        let (proven, trace) = store.handed_over(self.at)?;
        let own = self.setup.model(self.experiment().verifier())?.root;
        if proven.claimed_root != own {
            let claimed = proven.claimed_root;
            return Err(ExperimentError::OtherWeights { claimed, own });
        }
        Trace::parse(&trace)?.check_commitment()?;
        Ok((proven, trace))
    }

    /// The verifiers' half; true if it was there.
    async fn verify(
        &self,
        proven: Proven,
        trace: &[u8],
        engines: &mut Engines<'_>,
        store: &mut dyn Store,
        teller: &mut dyn Teller,
    ) -> Result<(Trial, bool), ExperimentError> {
        let setup = self.setup;
        let config = &setup.config;
        let precision = self.experiment().verifier();
        let model = setup.model(precision)?;
        let key = digest(&VerifierKey {
            schema: trial::SCHEMA,
            trace: proven.hidden_states_digest,
            devices: self.verifiers,
            root: model.root,
            rules: format!("{:?} {:?}", config.repo, config.paper),
            layers: &config.run.layers.of(model.model.config().layers),
            profiles: &setup.profiles.0,
        })?;
        if let Some(done) = store.trial(self.at, key)
            && done.key == key
        {
            return Ok((done, true));
        }
        let mut verifications = Vec::with_capacity(self.verifiers.len());
        if self.experiment().is_concurrent() {
            for (i, name) in self.verifiers.iter().enumerate() {
                engines.get(setup, name, precision, i, teller).await?;
            }
            // In the order of their verifiers.
            let mut mine: Vec<(usize, &mut Engine)> = Vec::new();
            for ((copy, name, of), engine) in &mut engines.loaded {
                if *of == precision && self.verifiers.get(*copy) == Some(name) {
                    mine.push((*copy, engine));
                }
            }
            for one in self.side_by_side(&proven, trace, mine, teller).await {
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
        store.keep_trial(self.at, &trial)?;
        Ok((trial, false))
    }

    /// All verifiers at the same time: on threads where there are some, else in turns.
    async fn side_by_side(
        &self,
        proven: &Proven,
        trace: &[u8],
        engines: Vec<(usize, &mut Engine)>,
        teller: &mut dyn Teller,
    ) -> Vec<Result<Verification, ExperimentError>> {
        #[cfg(feature = "native")]
        if let Some(ears) = teller.ears() {
            return std::thread::scope(|scope| {
                let threads: Vec<_> = engines
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
                    .map(|thread| thread.join().unwrap_or(Err(ExperimentError::Thread)))
                    .collect()
            });
        }
        let mut ears: Vec<_> = engines.iter().map(|_| teller.ear()).collect();
        let mut work: Vec<Pin<Box<dyn Future<Output = _> + '_>>> = Vec::new();
        for ((id, engine), ear) in engines.into_iter().zip(&mut ears) {
            work.push(Box::pin(self.one(id, proven, trace, engine, &mut **ear)));
        }
        turns::all(work).await
    }

    async fn one(
        &self,
        id: usize,
        proven: &Proven,
        trace: &[u8],
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<Verification, ExperimentError> {
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
            model: setup.model(self.experiment().verifier())?.name.clone(),
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
