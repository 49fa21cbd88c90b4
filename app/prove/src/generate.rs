//! Generation, with and without a trace.

use assay_engine::sampler::{SamplerSpec, sample};
use assay_engine::{Engine, Monitor, Outputs, Phase, Want};
use assay_model::Model;
use assay_trace::{
    Digest, FinishedTrace, ModelClaim, PositionInput, PositionRecord, RecordPlan, SealedTrace,
    StopReason, TraceBuilder,
};
use web_time::Instant;

use crate::{ProveError, Request};

/// Wall-clock seconds of one proof.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Running the prompt.
    pub prefill_s: f64,
    /// Generating, commitment included.
    pub decode_s: f64,
    /// Hashing and recording, in both of the above.
    pub commit_s: f64,
    /// All of it.
    pub total_s: f64,
    /// Generated tokens for each second of decoding.
    pub tokens_per_s: f64,
    /// `commit_s` over the rest, in percent. The cost of reading hidden states back is not in it:
    /// `cargo xtask bench` measures the whole by generating with and without a trace.
    pub overhead_percent: f64,
}

impl Timings {
    fn add_commit(&mut self, seconds: f64) {
        self.commit_s += seconds;
        self.total_s += seconds;
        self.overhead_percent = 100.0 * self.commit_s / (self.total_s - self.commit_s).max(1e-9);
    }
}

/// A run whose root is fixed, with what may be opened of it.
#[derive(Debug)]
pub struct Sealed {
    /// The trace, nothing opened yet.
    pub trace: SealedTrace,
    /// The generated tokens.
    pub output: Vec<u32>,
    /// How long it took.
    pub timings: Timings,
}

/// A finished proof.
#[derive(Debug)]
pub struct Proved {
    /// The sealed trace.
    pub trace: FinishedTrace,
    /// The generated tokens.
    pub output: Vec<u32>,
    /// How long it took.
    pub timings: Timings,
}

/// Takes a chunk's tokens, what came of them, and the vocabulary's size.
type Commit<'a> = dyn FnMut(&[u32], &Outputs, usize) -> Result<(), ProveError> + 'a;

/// Why generation ended, and what it made.
struct Generated {
    output: Vec<u32>,
    stop: StopReason,
    timings: Timings,
}

/// What an honest prover of `model`, whose root is `root`, claims.
pub fn claim(model: &Model, root: Digest) -> ModelClaim {
    let config = model.config();
    ModelClaim {
        dtype: model.dtype().to_owned(),
        family: config.family.as_str().to_owned(),
        hidden: config.hidden as u32,
        layers: config.layers as u32,
        parameters: model.parameters(),
        root,
        vocab: config.vocab as u32,
    }
}

/// Runs `request` on `engine` (emptied first) and seals a trace that claims `root` as the model's root, with what the request opens.
pub async fn prove(
    engine: &mut Engine,
    model: &Model,
    root: Digest,
    request: &Request,
    monitor: &mut dyn Monitor,
) -> Result<Proved, ProveError> {
    prove_as(engine, model, claim(model, root), request, monitor).await
}

/// The same with any claim: an experiment's dishonest prover names another model than it runs.
pub async fn prove_as(
    engine: &mut Engine,
    model: &Model,
    claim: ModelClaim,
    request: &Request,
    monitor: &mut dyn Monitor,
) -> Result<Proved, ProveError> {
    let sealed = seal_as(engine, model, claim, request, monitor).await?;
    let started = Instant::now();
    let trace = sealed
        .trace
        .open(&request.opening(model.config(), &sealed.trace))?;
    let mut timings = sealed.timings;
    timings.add_commit(started.elapsed().as_secs_f64());
    Ok(Proved {
        trace,
        output: sealed.output,
        timings,
    })
}

/// The same, up to the root: what to open is asked for later, of the sealed trace.
pub async fn seal(
    engine: &mut Engine,
    model: &Model,
    root: Digest,
    request: &Request,
    monitor: &mut dyn Monitor,
) -> Result<Sealed, ProveError> {
    seal_as(engine, model, claim(model, root), request, monitor).await
}

async fn seal_as(
    engine: &mut Engine,
    model: &Model,
    claim: ModelClaim,
    request: &Request,
    monitor: &mut dyn Monitor,
) -> Result<Sealed, ProveError> {
    request.check(model.config())?;
    let (stated, sampler) = request.sampler()?;
    let spec = request.spec(model, claim, engine, stated);
    let mut want = Want::all_states(engine.config());
    want.masks = spec.sparse.is_some();
    if spec.linears.is_some() {
        want.linears = (0..engine.config().layers).collect();
    }
    let mut builder = TraceBuilder::new(spec)?;
    let plan = builder.plan();
    let mut commit = |tokens: &[u32], outputs: &Outputs, vocab: usize| -> Result<(), ProveError> {
        for (token, record) in tokens
            .iter()
            .zip(records(outputs, tokens.len(), vocab, &plan))
        {
            builder.push_record(*token, record)?;
        }
        Ok(())
    };
    let made = run(engine, request, &sampler, want, &mut commit, monitor).await?;
    let last = made.output.last().copied().ok_or(ProveError::NoTokens)?;
    let started = Instant::now();
    let trace = builder.seal(last, made.stop)?;
    let mut timings = made.timings;
    timings.add_commit(started.elapsed().as_secs_f64());
    Ok(Sealed {
        trace,
        output: made.output,
        timings,
    })
}

/// Runs `request` without a trace: the same tokens, and the yardstick for what a trace costs.
pub async fn generate(
    engine: &mut Engine,
    model: &Model,
    request: &Request,
    monitor: &mut dyn Monitor,
) -> Result<(Vec<u32>, Timings), ProveError> {
    request.check(model.config())?;
    let (_, sampler) = request.sampler()?;
    let made = run(
        engine,
        request,
        &sampler,
        Want::default(),
        &mut |_, _, _| Ok(()),
        monitor,
    )
    .await?;
    Ok((made.output, made.timings))
}

async fn run(
    engine: &mut Engine,
    request: &Request,
    sampler: &SamplerSpec,
    mut want: Want,
    commit: &mut Commit<'_>,
    monitor: &mut dyn Monitor,
) -> Result<Generated, ProveError> {
    let config = engine.config().clone();
    let n_prompt = request.prompt.len();
    let limit = request.capacity(&config);
    want.logits_from = Some(n_prompt - 1);
    let mut timings = Timings::default();

    engine.reset();
    let started = Instant::now();
    let mut last_row = Vec::new();
    let mut at = 0;
    engine
        .prefill(
            &request.prompt,
            &want,
            monitor,
            |outputs| -> Result<(), ProveError> {
                let begun = Instant::now();
                let rows = outputs.rows;
                commit(&request.prompt[at..at + rows], &outputs, config.vocab)?;
                timings.commit_s += begun.elapsed().as_secs_f64();
                at += rows;
                last_row = outputs.logits;
                Ok(())
            },
        )
        .await?;
    timings.prefill_s = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let mut output = Vec::new();
    let stop = loop {
        let position = (n_prompt + output.len() - 1) as u32;
        let token = sample(sampler, &last_row, position);
        output.push(token);
        monitor.token(token);
        monitor.progress(
            Phase::Decode,
            output.len() as u64,
            (limit - n_prompt) as u64,
        )?;
        if config.eos.contains(&token) && !request.ignore_eos {
            break StopReason::Eos;
        }
        if output.len() == request.max_tokens {
            break StopReason::Length;
        }
        if n_prompt + output.len() == limit {
            break StopReason::Context;
        }
        let outputs = engine.run(&[token], &want, monitor).await?;
        let begun = Instant::now();
        commit(&[token], &outputs, config.vocab)?;
        timings.commit_s += begun.elapsed().as_secs_f64();
        last_row = outputs.logits;
    };
    timings.decode_s = started.elapsed().as_secs_f64();
    timings.total_s = timings.prefill_s + timings.decode_s;
    timings.tokens_per_s = output.len() as f64 / timings.decode_s.max(1e-9);
    Ok(Generated {
        output,
        stop,
        timings,
    })
}

fn records(outputs: &Outputs, rows: usize, vocab: usize, plan: &RecordPlan) -> Vec<PositionRecord> {
    let row_of = |len: usize, row: usize| {
        let width = len / rows;
        row * width..(row + 1) * width
    };
    let one = |row: usize| {
        let states: Vec<&[f32]> = outputs
            .states
            .iter()
            .map(|layer| &layer[row_of(layer.len(), row)])
            .collect();
        let linears: Vec<Vec<&[f32]>> = outputs
            .linears
            .iter()
            .map(|layer| layer.iter().map(|y| &y[row_of(y.len(), row)]).collect())
            .collect();
        let sums: Vec<Vec<&[i64]>> = outputs
            .sums
            .iter()
            .map(|layer| layer.iter().map(|z| &z[row_of(z.len(), row)]).collect())
            .collect();
        let logits = (outputs.pos0 + row)
            .checked_sub(outputs.logits_pos0)
            .and_then(|i| outputs.logits.get(i * vocab..(i + 1) * vocab));
        let masks: Vec<u8> = outputs
            .masks
            .iter()
            .flat_map(|layer| {
                let input = layer.input.iter().flat_map(move |bits| bits.row_bytes(row));
                input.chain(layer.neurons.row_bytes(row))
            })
            .collect();
        let input = PositionInput {
            states: &states,
            linears: &linears,
            sums: &sums,
            masks: &masks,
            logits,
        };
        PositionRecord::compute(plan, (outputs.pos0 + row) as u32, input)
    };
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        if rows > 1 {
            return (0..rows).into_par_iter().map(one).collect();
        }
    }
    (0..rows).map(one).collect()
}
