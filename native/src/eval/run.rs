//! One generation in one mode: steps on a device, and their checks before, beside or not at all.

use std::time::Instant;

use assay_engine::sampler::{SamplerSpec, sample};
use assay_engine::{Engine, Outputs, Want};
use assay_key::VerifierKey;
use assay_model::{Model, Role};
use assay_verify::audit::staged::StagedAudit;
use assay_verify::audit::stream::Tally;
use serde::Serialize;

use crate::progress::Progress;

/// How steps are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not at all.
    Origin,
    /// Each before the next step.
    Sync,
    /// Each while the next step runs.
    Async,
}

impl Mode {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

/// Who is busy in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The device: a step, and the copy of what it hands back.
    Device,
    /// The checker.
    Check,
}

/// A step on one lane, in seconds from the start.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub lane: Lane,
    /// 0 is the prompt.
    pub step: usize,
    pub from: f64,
    pub to: f64,
}

/// What came of a run.
pub struct Ran {
    pub mode: Mode,
    pub tokens: Vec<u32>,
    pub seconds: f64,
    pub spans: Vec<Span>,
    /// Whether all checks were within limits; `None` where nothing was checked.
    pub clean: Option<bool>,
    pub streams: Vec<(&'static str, Tally)>,
}

/// A step that waits to be checked.
struct Step {
    index: usize,
    embedded: Vec<f32>,
    outputs: Outputs,
}

/// Generates `n` tokens greedily after `prompt`.
pub fn run_mode(
    mode: Mode,
    engine: &mut Engine,
    model: &Model,
    key: &VerifierKey,
    prompt: &[u32],
    n: usize,
    progress: &mut Progress,
) -> anyhow::Result<Ran> {
    let layers = model.config().layers;
    let want = Want {
        linears: match mode {
            Mode::Origin => Vec::new(),
            Mode::Sync | Mode::Async => (0..layers).collect(),
        },
        logits_from: Some(0),
        ..Want::default()
    };
    let capacity = prompt.len() + n;
    let mut checker = match mode {
        Mode::Origin => None,
        _ => Some(
            StagedAudit::new(key, capacity)
                .ok_or_else(|| anyhow::anyhow!("the key does not cover every layer"))?,
        ),
    };
    engine.reset();
    let started = Instant::now();
    let since = || started.elapsed().as_secs_f64();
    let mut spans = Vec::new();
    let mut tokens = Vec::new();
    let mut clean = true;
    // A queue of one: a device that runs further ahead would only pile up what is unchecked.
    let (to_checker, steps) = flume::bounded::<Step>(1);
    let beside = (mode == Mode::Async).then(|| checker.take()).flatten();
    let checked = std::thread::scope(|scope| -> anyhow::Result<Option<(StagedAudit, bool)>> {
        let beside = beside.map(|mut checker| {
            scope.spawn(move || {
                let mut spans = Vec::new();
                let mut clean = true;
                for step in steps {
                    let from = started.elapsed().as_secs_f64();
                    clean &= checker.check(&step.embedded, &step.outputs);
                    spans.push(check_span(
                        step.index,
                        from,
                        started.elapsed().as_secs_f64(),
                    ));
                }
                (checker, clean, spans)
            })
        });
        let mut chunk: Vec<u32> = prompt.to_vec();
        let mut index = 0;
        while tokens.len() < n {
            let mut rest = &chunk[..];
            let mut last = Vec::new();
            while !rest.is_empty() {
                let (now, after) = rest.split_at(engine.paced_chunk(&want).min(rest.len()));
                rest = after;
                let from = since();
                let outputs = pollster::block_on(engine.run(now, &want, progress))?;
                spans.push(Span {
                    lane: Lane::Device,
                    step: index,
                    from,
                    to: since(),
                });
                let vocab = model.config().vocab;
                last = outputs.logits[outputs.logits.len() - vocab..].to_vec();
                if mode == Mode::Origin {
                    continue;
                }
                let step = Step {
                    index,
                    embedded: embedded(model, now)?,
                    outputs,
                };
                match &mut checker {
                    Some(checker) => {
                        let from = since();
                        clean &= checker.check(&step.embedded, &step.outputs);
                        spans.push(check_span(index, from, since()));
                    }
                    None => to_checker
                        .send(step)
                        .map_err(|_| anyhow::anyhow!("the checker ended early"))?,
                }
            }
            let position = (prompt.len() + tokens.len() - 1) as u32;
            let token = sample(&SamplerSpec::Greedy, &last, position);
            tokens.push(token);
            chunk = vec![token];
            index += 1;
        }
        drop(to_checker);
        let Some(beside) = beside else {
            return Ok(None);
        };
        let (checker, clean, more) = beside
            .join()
            .map_err(|_| anyhow::anyhow!("the checker panicked"))?;
        spans.extend(more);
        Ok(Some((checker, clean)))
    })?;
    if let Some((beside, was_clean)) = checked {
        checker = Some(beside);
        clean = was_clean;
    }
    let seconds = since();
    Ok(Ran {
        mode,
        tokens,
        seconds,
        spans,
        clean: checker.is_some().then_some(clean),
        streams: checker
            .iter()
            .flat_map(|checker| checker.streams())
            .map(|(name, tally)| (name, *tally))
            .collect(),
    })
}

fn check_span(step: usize, from: f64, to: f64) -> Span {
    Span {
        lane: Lane::Check,
        step,
        from,
        to,
    }
}

/// The checker's own embedding of `tokens`.
fn embedded(model: &Model, tokens: &[u32]) -> anyhow::Result<Vec<f32>> {
    let table = model
        .tensor(Role::Embedding)
        .ok_or_else(|| anyhow::anyhow!("a model without an embedding"))?;
    let mut rows = Vec::new();
    for token in tokens {
        rows.extend(model.read_rows_f32(table, *token as usize..*token as usize + 1)?);
    }
    Ok(rows)
}
