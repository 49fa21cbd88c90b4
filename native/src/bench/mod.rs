//! What `assay bench` measures: tokens a second, and time by kernel.

pub mod sheet;
pub mod table;

use std::time::Instant;

use assay_engine::profile::{Clock, Span};
use assay_engine::{AdapterInfo, Engine, Monitor, Numerics, Phase, Want};
use assay_model::Model;
use serde::Serialize;

use crate::device_arg::DeviceArgs;
use crate::text;

/// What to run.
pub struct Plan {
    /// Which kernels.
    pub numerics: Numerics,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens decoded after it.
    pub tokens: usize,
    /// Rounds of both.
    pub rounds: usize,
    /// Whether kernels are timed, too.
    pub profile: bool,
}

impl Plan {
    /// Positions that it takes.
    pub fn capacity(&self) -> usize {
        self.prompt + self.tokens
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    schema_version: u32,
    /// The adapter, and the kernels that it took.
    pub adapter: AdapterInfo,
    model: String,
    model_bytes: u64,
    parameters_a_token: u64,
    numerics: Numerics,
    prompt_tokens: usize,
    decoded_tokens: usize,
    rounds: usize,
    /// Weights to the device, and pipelines, seconds; those are compiled by then only where a driver compiles them when they are made.
    load_s: f64,
    /// The first prompt, where some drivers compile; seconds.
    first_prefill_s: f64,
    /// Medians.
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: f64,
    /// Time by kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

/// Time by kernel, of a prompt and of one token after it.
#[derive(Debug, Serialize)]
pub struct Profile {
    /// What timed.
    pub clock: Clock,
    /// The prompt.
    pub prefill: Part,
    /// One token.
    pub decode: Part,
}

/// Dispatches in their order.
#[derive(Debug, Serialize)]
pub struct Part {
    /// What it is, for people.
    pub title: String,
    /// Tokens that were run.
    pub tokens: usize,
    /// Sum over the dispatches, seconds.
    pub seconds: f64,
    /// Each of them.
    pub spans: Vec<Span>,
}

impl Part {
    fn new(title: String, tokens: usize, spans: Vec<Span>) -> Self {
        Self {
            title,
            tokens,
            seconds: spans.iter().map(|span| span.seconds).sum(),
            spans,
        }
    }
}

impl Measured {
    /// Names and values, for people.
    pub fn figures(&self) -> Vec<(&'static str, String)> {
        let Self {
            numerics,
            prompt_tokens,
            decoded_tokens,
            rounds,
            load_s,
            first_prefill_s,
            prefill_tokens_per_s,
            decode_tokens_per_s,
            ..
        } = self;
        vec![
            (
                "weights",
                format!(
                    "{}, numerics {}",
                    text::bytes(self.model_bytes),
                    numerics.as_str()
                ),
            ),
            ("load", format!("{load_s:.2} s")),
            (
                "first",
                format!(
                    "{first_prefill_s:.2} s for the first prompt, with what a driver compiles at first use"
                ),
            ),
            (
                "prefill",
                format!(
                    "{prefill_tokens_per_s:.1} tokens/s ({prompt_tokens} tokens, median of {rounds})"
                ),
            ),
            (
                "decode",
                format!("{decode_tokens_per_s:.1} tokens/s ({decoded_tokens} tokens after those)"),
            ),
        ]
    }
}

/// Runs `plan`.
pub async fn measure(
    plan: &Plan,
    model: &Model,
    name: &str,
    device: &DeviceArgs,
    monitor: &mut dyn Monitor,
) -> anyhow::Result<Measured> {
    let device = device.open_timed().await?;
    let begun = Instant::now();
    let mut engine = Engine::load(&device, model, plan.capacity(), plan.numerics, monitor).await?;
    let load_s = begun.elapsed().as_secs_f64();
    let vocab = model.config().vocab as u64;
    // Any ids will do: time does not depend on them.
    let ids: Vec<u32> = (0..plan.capacity() as u64)
        .map(|i| (i.wrapping_mul(2_654_435_761) % vocab) as u32)
        .collect();
    let (prompt, rest) = ids.split_at(plan.prompt);

    let mut first_prefill_s = 0.0;
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    // The round before the first is not counted.
    for round in 0..=plan.rounds {
        monitor.progress(Phase::Checks, round as u64, plan.rounds as u64 + 1)?;
        engine.reset();
        let begun = Instant::now();
        run(&mut engine, prompt, monitor).await?;
        let took = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let counted = if round == 0 { &rest[..1] } else { rest };
        for id in counted {
            run(&mut engine, std::slice::from_ref(id), monitor).await?;
        }
        if round == 0 {
            first_prefill_s = took;
        } else {
            prefill.push(took);
            decode.push(begun.elapsed().as_secs_f64());
        }
    }
    let profile = match plan.profile {
        true => Some(profile(&mut engine, plan, prompt, rest[0], monitor).await?),
        false => None,
    };
    Ok(Measured {
        schema_version: 1,
        adapter: engine.info().clone(),
        model: name.to_owned(),
        model_bytes: model.bytes(),
        parameters_a_token: parameters(model),
        numerics: engine.numerics(),
        prompt_tokens: plan.prompt,
        decoded_tokens: plan.tokens,
        rounds: plan.rounds,
        load_s,
        first_prefill_s,
        prefill_tokens_per_s: plan.prompt as f64 / median(prefill),
        decode_tokens_per_s: plan.tokens as f64 / median(decode),
        profile,
    })
}

/// As a generation runs them: with logits of the last position.
async fn run(engine: &mut Engine, ids: &[u32], monitor: &mut dyn Monitor) -> anyhow::Result<()> {
    let want = Want {
        logits_from: Some(engine.position() + ids.len() - 1),
        ..Want::default()
    };
    engine
        .prefill(ids, &want, monitor, |_| Ok::<_, anyhow::Error>(()))
        .await
}

async fn profile(
    engine: &mut Engine,
    plan: &Plan,
    prompt: &[u32],
    next: u32,
    monitor: &mut dyn Monitor,
) -> anyhow::Result<Profile> {
    let clock = engine.profile().await?;
    engine.reset();
    run(engine, prompt, monitor).await?;
    let prefill = engine.take_spans();
    run(engine, &[next], monitor).await?;
    let decode = engine.take_spans();
    let before = plan.prompt;
    Ok(Profile {
        clock,
        prefill: Part::new(format!("prefill of {before} tokens"), before, prefill),
        decode: Part::new(format!("one token after {before}"), 1, decode),
    })
}

/// Weights that each token of a prompt is multiplied with, besides logits.
fn parameters(model: &Model) -> u64 {
    let config = model.config();
    let widths: usize = assay_engine::linear_widths(config)[..4].iter().sum();
    let attention = (widths - config.hidden) * config.hidden + config.q_dim() * config.hidden;
    let matrices = if config.family.mlp().has_gate() { 3 } else { 2 };
    let mlp = matrices * config.hidden * config.intermediate;
    config.layers as u64 * (attention + mlp) as u64
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds
        .get(seconds.len() / 2)
        .map_or(f64::NAN, |s| s.max(1e-9))
}
