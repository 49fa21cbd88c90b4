//! Proving and verifying in one call, for tests that compare many of both.

use assay_engine::sampler::{self, SamplerSpec};
use assay_engine::{ActivationType, Device, Engine, EngineError, Numerics, Quiet, Want};
use assay_experiment::plain::{Alter, Plain};
use assay_model::Model;
use assay_prove::{Request, prove};
use assay_trace::{
    Compute, Digest, Manifest, ModelClaim, NumericsClaim, NumericsClass, StateDtype, StopReason,
    Trace, TraceBuilder, TraceSpec,
};
use assay_verify::{Options, Report};

/// The sampler that most tests use.
pub const SAMPLED: SamplerSpec = SamplerSpec::Gumbel {
    seed: 11,
    temperature: 0.8,
    top_k: 0,
    top_p: 0.95,
};

/// A request for the demo model.
pub fn request(prompt: &str, max_tokens: usize, sampler: SamplerSpec) -> Request {
    let model = Model::demo().expect("the demo model");
    let prompt = model
        .tokenizer()
        .expect("it has a tokenizer")
        .encode(prompt)
        .expect("it encodes");
    Request {
        prompt,
        max_tokens,
        sampler,
        ignore_eos: false,
        nonce: None,
        opened: None,
        audit: None,
    }
}

/// The root of `model`.
pub fn root(model: &Model) -> Digest {
    model.root(&mut |_, _| {}).expect("the root")
}

/// Runs `request` on `model` and claims the model whose root is `claimed`.
pub fn prove_as(device: &Device, model: &Model, claimed: Digest, request: &Request) -> Vec<u8> {
    prove_with(device, model, claimed, request, Numerics::Fast)
}

/// The same with a choice of numerics.
pub fn prove_with(
    device: &Device,
    model: &Model,
    claimed: Digest,
    request: &Request,
    numerics: Numerics,
) -> Vec<u8> {
    prove_rounding(
        device,
        model,
        claimed,
        request,
        numerics,
        ActivationType::Float,
    )
}

/// The same with products that round their inputs.
pub fn prove_rounding(
    device: &Device,
    model: &Model,
    claimed: Digest,
    request: &Request,
    numerics: Numerics,
    activations: ActivationType,
) -> Vec<u8> {
    let capacity = request.capacity(model.config());
    let mut quiet = Quiet;
    let engine = Engine::load_rounding(
        device,
        model,
        capacity,
        numerics,
        activations,
        None,
        &mut quiet,
    );
    let mut engine = pollster::block_on(engine).expect("the model loads");
    let proved = pollster::block_on(prove(&mut engine, model, claimed, request, &mut Quiet))
        .expect("it proves");
    proved.trace.to_bytes()
}

/// Verifies `trace` against `model`.
pub fn verify(device: &Device, model: &Model, trace: &[u8], options: &Options) -> Report {
    pollster::block_on(assay_verify::verify(
        trace, model, device, options, &mut Quiet,
    ))
    .expect("the verifier works")
}

/// A trace of tokens that somebody chose: the model runs honestly over them, whatever the sampler would
/// have said. What a prover has who edits the output and then makes the hidden states fit.
pub fn forced(device: &Device, model: &Model, request: &Request, output: &[u32]) -> Vec<u8> {
    let honest = prove_as(
        device,
        model,
        root(model),
        &Request {
            max_tokens: 1,
            ..request.clone()
        },
    );
    let manifest = Trace::parse(&honest).expect("it parses").manifest().clone();
    let sampler = request.sampler.stated().expect("decimals");
    let spec = TraceSpec {
        linears: None,
        adapter: manifest.adapter,
        eos: manifest.eos,
        ignore_eos: manifest.ignore_eos,
        model: manifest.model,
        nonce: manifest.nonce,
        numerics: manifest.numerics,
        opened: manifest.opened,
        producer: manifest.producer,
        prompt: request.prompt.clone(),
        sampler,
        sparse: None,
        state_dtype: manifest.state_dtype,
        tokenizer: manifest.tokenizer,
    };
    let tokens = [&request.prompt[..], output].concat();
    let positions = tokens.len() - 1;
    let mut builder = TraceBuilder::new(spec).expect("a spec");
    let mut engine = pollster::block_on(Engine::load(
        device,
        model,
        positions,
        Numerics::Fast,
        &mut Quiet,
    ))
    .expect("the model loads");
    let want = Want {
        logits_from: Some(request.prompt.len() - 1),
        ..Want::all_states(model.config())
    };
    let (hidden, vocab) = (model.config().hidden, model.config().vocab);
    let mut quiet = Quiet;
    let run = engine.prefill(
        &tokens[..positions],
        &want,
        &mut quiet,
        |outputs| -> Result<(), EngineError> {
            for row in 0..outputs.rows {
                let position = outputs.pos0 + row;
                let states: Vec<&[f32]> = outputs
                    .states
                    .iter()
                    .map(|l| &l[row * hidden..(row + 1) * hidden])
                    .collect();
                let logits = position
                    .checked_sub(outputs.logits_pos0)
                    .and_then(|i| outputs.logits.get(i * vocab..(i + 1) * vocab));
                builder
                    .push(tokens[position], &states, logits)
                    .expect("it takes the position");
            }
            Ok(())
        },
    );
    pollster::block_on(run).expect("the model runs");
    let last = *output.last().expect("an output");
    builder
        .finish(last, StopReason::Length)
        .expect("it seals")
        .to_bytes()
}

/// The type that stores what such a prover has, without rounding it again.
pub fn stored_whole(compute: Compute) -> StateDtype {
    match compute {
        Compute::F32 => StateDtype::F32,
        Compute::Bf16 => StateDtype::Bf16,
        Compute::F16 => StateDtype::F16,
    }
}

/// A trace by the plain CPU pass, which shares no kernel with the engine, as `alter` has it; it claims the model whose root is `claimed`,
/// and to compute as it rounds.
pub fn prove_plain(
    plain: &Plain,
    model: &Model,
    claimed: Digest,
    request: &Request,
    alter: Alter,
) -> Vec<u8> {
    let config = model.config();
    let compute = Compute::from(alter.rounding);
    let state_dtype = stored_whole(compute);
    let layers = config.layers as u32;
    let spec = TraceSpec {
        linears: None,
        adapter: "plain CPU pass".to_owned(),
        eos: config.eos.clone(),
        ignore_eos: true,
        model: ModelClaim {
            dtype: model.dtype().to_owned(),
            family: config.family.as_str().to_owned(),
            hidden: config.hidden as u32,
            layers,
            parameters: model.parameters(),
            root: claimed,
            vocab: config.vocab as u32,
        },
        nonce: None,
        numerics: NumericsClaim {
            activations: None,
            class: NumericsClass::Fast,
            compute,
        },
        opened: request
            .opened
            .clone()
            .unwrap_or_else(|| Manifest::default_opened(layers)),
        producer: "assay-tests".to_owned(),
        prompt: request.prompt.clone(),
        sampler: request.sampler.stated().expect("decimals"),
        sparse: None,
        state_dtype,
        tokenizer: model.tokenizer().map(assay_model::Tokenizer::digest),
    };
    let mut builder = TraceBuilder::new(spec).expect("a spec");
    let mut session = plain.session(alter);
    let mut fed = request.prompt.clone();
    let mut emitted = 0;
    loop {
        let first = session.position();
        let ran = session.run(&fed).expect("it runs");
        let mut token = 0;
        for (row, id) in fed.iter().enumerate() {
            let states: Vec<&[f32]> = ran
                .states
                .iter()
                .map(|s| &s[row * config.hidden..][..config.hidden])
                .collect();
            let logits = &ran.logits[row * config.vocab..][..config.vocab];
            let is_sampled = first + row + 1 >= request.prompt.len();
            builder
                .push(*id, &states, is_sampled.then_some(logits))
                .expect("it takes the position");
            token = sampler::sample(&request.sampler, logits, (first + row) as u32);
        }
        emitted += 1;
        if emitted == request.max_tokens {
            let sealed = builder.finish(token, StopReason::Length).expect("it seals");
            return sealed.to_bytes();
        }
        fed = vec![token];
    }
}
