//! Runs of honest and dishonest provers, and what a verifier sees of them.
//!
//! Honest f32 provers rotate over the devices at hand and the plain forward pass. Tokens are drawn by the plain pass and then sampled
//! again from the device's own logits, until the device would have said exactly these; that is the device's own generation, without
//! a submit a token. Dishonest provers run on the plain pass: what they do is far larger than what a device adds, and the verifier's
//! device differs from theirs in any case. In the bf16 class every prover, honest or not, keeps bf16 between operations, in the ways of three
//! implementations in turn.

use std::collections::HashMap;

use assay_engine::sampler::{SamplerSpec, sample};
use assay_engine::{Device, Engine, Monitor, Numerics, Outputs, Rounding, Want, philox};
use assay_model::Model;
use assay_trace::{
    Compute, Digest, Manifest, ModelClaim, NumericsClaim, NumericsClass, StateDtype, StopReason,
    Trace, TraceBuilder, TraceSpec,
};
use assay_verify::{Profile, Profiles, Verdict};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cheat::{Cheat, Forgery};
use super::score::{Figures, figures_of};
use super::suspected::{Leaned, Suspected};
use crate::ExperimentError;
use crate::alter::Weights;
use crate::observe::{Token, logprob_distance, observe_with};
use crate::plain::{Alter, Plain, Ran};
use crate::trial::ClaimOf;

/// One verified run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What the prover did.
    pub cheat: Cheat,
    /// Whether all provers of this class round to bf16.
    pub is_bf16: bool,
    /// Layers of the model.
    pub layers: u32,
    /// Which prompt: even ones are for thresholds, odd ones for rates.
    pub prompt: usize,
    /// `prover -> verifier`.
    pub devices: String,
    /// Figures of each emitted token.
    pub tokens: Vec<Figures>,
    /// Assay's own verdict, without suspects.
    pub verdict: Verdict,
    /// How it leans towards suspects, in the bf16 class.
    pub leans: Vec<Leaned>,
    /// Share of rows (the embedding left out) that the reproduction's and the paper's published rules accept.
    pub accepted: [f64; 2],
}

/// What a run is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What the prover does.
    pub cheat: Cheat,
    /// Whether it rounds to bf16.
    pub is_bf16: bool,
    /// Which prompt.
    pub prompt: usize,
}

/// Where a prover in half precision rounds.
struct Way {
    name: &'static str,
    alter: Alter,
}

impl Job {
    /// In turn, so that each verifier meets each; `None` for an f32 prover.
    fn way(&self) -> Option<Way> {
        let (name, is_fused, splits) = [
            ("unfused", false, 0),
            ("fused", true, 0),
            ("split sums", true, 4),
        ][self.prompt / 6 % 3];
        let alter = Alter {
            rounding: Rounding::Bf16,
            is_fused,
            splits,
            ..Alter::default()
        };
        self.is_bf16.then_some(Way { name, alter })
    }
}

struct Raw {
    prompt: Vec<u32>,
    output: Vec<u32>,
    /// Hidden states 0 to layers, each [positions, hidden].
    states: Vec<Vec<f32>>,
    /// One row an output token.
    logits: Vec<Vec<f32>>,
}

/// Everything that runs need.
pub struct Lab<'m> {
    model: &'m Model,
    claim: ModelClaim,
    plain: Plain,
    altered: HashMap<Weights, Plain>,
    engines: Vec<Engine>,
    suspected: Suspected,
    profiles: Profiles,
    prompts: Vec<Vec<u32>>,
    prefix: Vec<u32>,
    tokens: usize,
    temperature: f64,
}

impl<'m> Lab<'m> {
    /// Loads `model` on every device. `prompts` are ids; a run emits `tokens` tokens at `temperature`.
    ///
    /// # Errors
    /// A family that the plain pass does not know; a device that fails; prompts that do not fit.
    pub async fn new(
        model: &'m Model,
        root: Digest,
        devices: &[Device],
        prompts: Vec<Vec<u32>>,
        prefix: Vec<u32>,
        tokens: usize,
        temperature: f64,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, ExperimentError> {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let capacity = longest + tokens;
        let wrong = |what: &str| Err(ExperimentError::Config(what.to_owned()));
        if prompts.iter().any(Vec::is_empty) || prompts.is_empty() || tokens == 0 {
            return wrong("no prompts, or nothing to generate");
        }
        if capacity + prefix.len() > model.config().context {
            return wrong("prompt, hidden prompt and answer do not fit the model's context");
        }
        let mut engines = Vec::with_capacity(devices.len());
        for device in devices {
            engines.push(Engine::load(device, model, capacity, Numerics::Fast, monitor).await?);
        }
        if engines.is_empty() {
            return wrong("no device to verify on");
        }
        Ok(Self {
            model,
            claim: ClaimOf::new(model, root).claim,
            plain: Plain::load(model)?,
            altered: HashMap::new(),
            engines,
            suspected: Suspected::new(devices, capacity),
            profiles: Profiles::embedded(),
            prompts,
            prefix,
            tokens,
            temperature,
        })
    }

    /// Prompts at hand.
    pub fn prompts(&self) -> usize {
        self.prompts.len()
    }

    /// The shipped profile that covers honest f32 claims of this model, if there is one.
    pub fn profile(&self) -> Option<&Profile> {
        let family = self.claim.family.clone();
        let covers = |profile: &&Profile| {
            profile.scope.families.contains(&family)
                && profile.scope.weight_dtypes.contains(&self.claim.dtype)
        };
        self.profiles.0.iter().find(covers)
    }

    /// Digest of all that `jobs` depend on: runs that were kept under another are made again.
    pub fn key(&self, jobs: &[Job]) -> Digest {
        let devices = self.devices();
        let facts = (
            (self.claim.root, &devices, &self.prompts, &self.prefix),
            // Verdicts are by these.
            &self.profiles.0,
            (self.tokens, self.temperature.to_bits(), jobs),
        );
        Digest::of(&serde_json::to_vec(&facts).unwrap_or_default())
    }

    /// Names of the verifiers' devices.
    pub fn devices(&self) -> Vec<String> {
        self.engines
            .iter()
            .map(|engine| engine.info().name.clone())
            .collect()
    }

    /// Runs some jobs: tokens side by side on the CPU, then each on its verifier.
    ///
    /// # Errors
    /// A device that fails.
    pub async fn run(
        &mut self,
        jobs: &[Job],
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Measured>, ExperimentError> {
        for job in jobs {
            if let Cheat::Weights(weights) | Cheat::Laundered(weights) = job.cheat
                && !self.altered.contains_key(&weights)
            {
                let plain = Plain::load(&weights.of(self.model)?)?;
                self.altered.insert(weights, plain);
            }
        }
        let made: Vec<Raw> = jobs
            .par_iter()
            .map(|job| self.generate(job))
            .collect::<Result<_, ExperimentError>>()?;
        let mut measured = Vec::with_capacity(jobs.len());
        for (job, raw) in jobs.iter().zip(made) {
            monitor.alive()?;
            measured.push(self.verify(job, raw, monitor).await?);
        }
        Ok(measured)
    }

    fn claimed(&self, prompt: usize) -> SamplerSpec {
        match self.temperature {
            0.0 => SamplerSpec::Greedy,
            temperature => SamplerSpec::Gumbel {
                seed: 1000 + prompt as u64,
                temperature,
                top_k: 0,
                top_p: 1.0,
            },
        }
    }

    fn generate(&self, job: &Job) -> Result<Raw, ExperimentError> {
        let honest = job.way().map_or_else(Alter::default, |way| way.alter);
        let mut alter = honest;
        let mut plain = &self.plain;
        match job.cheat {
            Cheat::Weights(weights) | Cheat::Laundered(weights) => {
                plain = self.altered.get(&weights).unwrap_or(plain);
            }
            Cheat::Kv(kv) => alter.cache = kv,
            Cheat::SparseMlp(percent) => {
                let neurons = self.plain.config().intermediate;
                alter.keep = Some(neurons * usize::from(percent) / 100);
            }
            _ => {}
        }
        let prefix: &[u32] = if job.cheat == Cheat::SystemPrompt {
            &self.prefix
        } else {
            &[]
        };
        let prompt = &self.prompts[job.prompt % self.prompts.len()];
        let spec = job.cheat.sampler(self.claimed(job.prompt));
        let mut raw = self.speak(plain, alter, prefix, prompt, &spec)?;
        if let Cheat::Laundered(_) = job.cheat {
            let fed = [&raw.prompt[..], &raw.output[..raw.output.len() - 1]].concat();
            let ran = self.plain.session(honest).run(&fed)?;
            raw.take(ran, self.plain.config().vocab);
        }
        if let Cheat::Forged(forgery) = job.cheat {
            raw.forge(forgery, self.plain.config().hidden, job.prompt as u64);
        }
        Ok(raw)
    }

    fn speak(
        &self,
        plain: &Plain,
        alter: Alter,
        prefix: &[u32],
        prompt: &[u32],
        spec: &SamplerSpec,
    ) -> Result<Raw, ExperimentError> {
        let (hidden, vocab) = (plain.config().hidden, plain.config().vocab);
        let mut session = plain.session(alter);
        let ran = session.run(&[prefix, prompt].concat())?;
        let mut raw = Raw {
            prompt: prompt.to_vec(),
            output: Vec::with_capacity(self.tokens),
            states: ran
                .states
                .iter()
                .map(|s| s[prefix.len() * hidden..].to_vec())
                .collect(),
            logits: Vec::with_capacity(self.tokens),
        };
        let mut last = ran.logits[ran.logits.len() - vocab..].to_vec();
        loop {
            let position = prompt.len() + raw.output.len() - 1;
            let token = sample(spec, &last, position as u32);
            raw.output.push(token);
            raw.logits.push(std::mem::take(&mut last));
            if raw.output.len() == self.tokens {
                return Ok(raw);
            }
            let ran = session.run(&[token])?;
            for (all, new) in raw.states.iter_mut().zip(&ran.states) {
                all.extend_from_slice(new);
            }
            last = ran.logits;
        }
    }

    /// Makes an honest run a device's own: its tokens, hidden states and logits.
    async fn run_on(
        &mut self,
        device: usize,
        raw: &mut Raw,
        spec: &SamplerSpec,
        monitor: &mut dyn Monitor,
    ) -> Result<(), ExperimentError> {
        let config = self.plain.config().clone();
        // Each round settles one more token, so there are at most as many as tokens.
        for _ in 0..=self.tokens {
            let fed = [&raw.prompt[..], &raw.output[..raw.output.len() - 1]].concat();
            let want = Want {
                logits_from: Some(raw.prompt.len() - 1),
                ..Want::all_states(&config)
            };
            let mut ran = Ran {
                states: vec![Vec::new(); config.layers + 1],
                logits: Vec::new(),
            };
            let engine = &mut self.engines[device];
            engine.reset();
            let keep = |outputs: Outputs| -> Result<(), ExperimentError> {
                for (all, new) in ran.states.iter_mut().zip(&outputs.states) {
                    all.extend_from_slice(new);
                }
                ran.logits.extend_from_slice(&outputs.logits);
                Ok(())
            };
            engine.prefill(&fed, &want, monitor, keep).await?;
            let own = |i: usize| {
                let row = &ran.logits[i * config.vocab..(i + 1) * config.vocab];
                sample(spec, row, (raw.prompt.len() - 1 + i) as u32)
            };
            let Some(first) = (0..raw.output.len()).find(|&i| own(i) != raw.output[i]) else {
                raw.take(ran, config.vocab);
                return Ok(());
            };
            // The device says another token here: go on from it.
            let kept = [&raw.prompt[..], &raw.output[..first], &[own(first)]].concat();
            let mut output = kept[raw.prompt.len()..].to_vec();
            let mut session = self.plain.session(Alter::default());
            let mut fed = kept;
            while output.len() < self.tokens {
                let ran = session.run(&fed)?;
                let last = &ran.logits[ran.logits.len() - config.vocab..];
                let position = raw.prompt.len() + output.len() - 1;
                let token = sample(spec, last, position as u32);
                output.push(token);
                fed = vec![token];
            }
            raw.output = output;
        }
        Err(ExperimentError::Config(
            "a device does not repeat its own tokens".to_owned(),
        ))
    }

    async fn verify(
        &mut self,
        job: &Job,
        mut raw: Raw,
        monitor: &mut dyn Monitor,
    ) -> Result<Measured, ExperimentError> {
        let n = self.engines.len();
        let spec = self.claimed(job.prompt);
        let verifier = (job.prompt / 2) % n;
        let mut prover = match job.way() {
            Some(way) => format!("plain CPU pass, {}", way.name),
            None => "plain CPU pass".to_owned(),
        };
        if job.cheat == Cheat::Honest && !job.is_bf16 {
            // One of the others, or now and then the plain pass.
            let turn = (job.prompt / 2 / n) % n;
            if turn > 0 {
                let device = (verifier + turn) % n;
                self.run_on(device, &mut raw, &spec, monitor).await?;
                prover = self.engines[device].info().name.clone();
            }
        }
        let bytes = self.seal(job, &raw, &spec, &prover)?;
        let trace = Trace::parse(&bytes)?;
        let suspects = match job.is_bf16 {
            true => job.cheat.suspects(self.plain.config().layers),
            false => Vec::new(),
        };
        let suspected = &mut self.suspected;
        let runs = suspected
            .run(&suspects, verifier, self.model, &trace, monitor)
            .await?;
        let engine = &mut self.engines[verifier];
        let profile = self.profiles.select(trace.manifest(), engine.info());
        let logits = &raw.logits;
        let mut look = |index: usize, own: &[f32], token: &mut Token| {
            let theirs = logits.get(index);
            token.logprob_distance = theirs.map(|theirs| logprob_distance(theirs, own));
        };
        let observed = observe_with(&trace, engine, profile, &runs, &mut look, monitor).await?;
        let (tokens, accepted) = figures_of(&observed, raw.prompt.len() - 1);
        Ok(Measured {
            cheat: job.cheat,
            is_bf16: job.is_bf16,
            prompt: job.prompt,
            layers: engine.config().layers as u32,
            devices: format!("{prover} -> {}", engine.info().name),
            tokens,
            verdict: observed.own.verdict,
            leans: suspects
                .into_iter()
                .zip(observed.leanings)
                .map(|(suspect, leaning)| Leaned {
                    suspect,
                    lean: leaning.lean,
                    tokens: leaning.tokens,
                })
                .collect(),
            accepted,
        })
    }

    fn seal(
        &self,
        job: &Job,
        raw: &Raw,
        spec: &SamplerSpec,
        prover: &str,
    ) -> Result<Vec<u8>, ExperimentError> {
        let config = self.plain.config();
        let sampler = spec.stated();
        let sampler = sampler.map_err(|err| ExperimentError::Config(err.to_string()))?;
        let mut builder = TraceBuilder::new(TraceSpec {
            adapter: Manifest::printable(prover),
            eos: config.eos.clone(),
            ignore_eos: true,
            linears: None,
            model: self.claim.clone(),
            nonce: None,
            numerics: NumericsClaim {
                activations: None,
                class: NumericsClass::Fast,
                compute: if job.is_bf16 {
                    Compute::Bf16
                } else {
                    Compute::F32
                },
            },
            opened: (0..=config.layers as u32).collect(),
            producer: Manifest::printable("assay experiment"),
            prompt: raw.prompt.clone(),
            sampler,
            sparse: None,
            // What it keeps between operations is what it stores.
            state_dtype: match job.is_bf16 {
                true => StateDtype::Bf16,
                false => StateDtype::F32,
            },
            tokenizer: self.model.tokenizer().map(assay_model::Tokenizer::digest),
        })?;
        let (h, first) = (config.hidden, raw.prompt.len() - 1);
        let fed = raw.prompt.iter().chain(&raw.output[..raw.output.len() - 1]);
        for (position, token) in fed.enumerate() {
            let states: Vec<&[f32]> = raw
                .states
                .iter()
                .map(|s| &s[position * h..(position + 1) * h])
                .collect();
            let logits = position.checked_sub(first).and_then(|i| raw.logits.get(i));
            builder.push(*token, &states, logits.map(Vec::as_slice))?;
        }
        let last = raw.output.last().copied().unwrap_or_default();
        Ok(builder.finish(last, StopReason::Length)?.to_bytes())
    }
}

impl Raw {
    /// Takes states and the last rows of logits from another run over the same tokens.
    fn take(&mut self, ran: Ran, vocab: usize) {
        self.states = ran.states;
        let rows = ran.logits.len() / vocab;
        let from = rows.saturating_sub(self.output.len());
        self.logits = ran
            .logits
            .chunks(vocab)
            .skip(from)
            .map(<[f32]>::to_vec)
            .collect();
    }

    fn forge(&mut self, forgery: Forgery, hidden: usize, seed: u64) {
        for (layer, states) in self.states.iter_mut().enumerate().skip(1) {
            let rows = states.len() / hidden;
            match forgery {
                Forgery::Zero => states.fill(0.0),
                Forgery::SignFlipped => states.iter_mut().for_each(|v| *v = -*v),
                Forgery::Shuffled => states.rotate_left(rows / 2 * hidden),
                Forgery::Random => {
                    for (row, values) in states.chunks_mut(hidden).enumerate() {
                        let scale = assay_verify::profile::rms(values) * 12f64.sqrt();
                        let key = seed << 8 | layer as u64;
                        for (v, i) in values.iter_mut().zip(0u32..) {
                            let u = philox::uniform(key, row as u32, i);
                            *v = ((u - 0.5) * scale) as f32;
                        }
                    }
                }
            }
        }
    }
}
