//! Keys and traces that have something open for them, made once for all tests.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Engine, Numerics, Quiet};
use assay_key::{KeyMaker, KeyOptions, Seed, VerifierKey};
use assay_model::Model;
use assay_prove::{Open, Request, prove};
use assay_trace::{Digest, Linear, reroot};

/// What opens the encrypted key.
pub const PASSPHRASE: &str = "correct horse, battery staple";

/// Files by name: an audited trace that is honest, with another token, with a linear output that is off, with some layers open; a
/// key, the same encrypted, one of another model.
pub fn files() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let model = Model::demo().unwrap();
        let mut hasher = model.root_hasher();
        while !hasher.step().unwrap() {}
        let root = hasher.finish().unwrap();
        let honest = proved(&model, root, Open::All);
        let swapped = reroot(&honest, |trace| {
            let index = trace.tokens.len() - 1;
            trace.tokens[index] += 1;
        });
        let off = reroot(&honest, |trace| {
            trace.linears.get_mut(&(3, Linear::Up)).unwrap()[100] += 0.5;
        });
        let drawn = Open::Draw {
            layers: 3,
            logits: 8,
        };
        let key = made(&model, root);
        [
            ("audited.bin", honest),
            ("audited-swapped.bin", swapped.unwrap()),
            ("audited-off.bin", off.unwrap()),
            ("audited-drawn.bin", proved(&model, root, drawn)),
            ("demo.SECRET.assay-key", key.as_bytes().to_vec()),
            ("locked.SECRET.assay-key", key.encrypt(PASSPHRASE).unwrap()),
            (
                "other.SECRET.assay-key",
                made(&model, Digest::of(b"another")).as_bytes().to_vec(),
            ),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .into()
    })
}

fn proved(model: &Model, root: Digest, open: Open) -> Vec<u8> {
    let request = Request {
        prompt: model.tokenizer().unwrap().encode("To be, or not").unwrap(),
        max_tokens: 40,
        sampler: SamplerSpec::Gumbel {
            seed: 7,
            temperature: 0.8,
            top_k: 0,
            top_p: 1.0,
        },
        ignore_eos: false,
        nonce: None,
        opened: None,
        audit: Some(open),
    };
    pollster::block_on(async {
        let capacity = request.capacity(model.config());
        let mut engine = Engine::load(&Device::Cpu, model, capacity, Numerics::Fast, &mut Quiet)
            .await
            .unwrap();
        let proved = prove(&mut engine, model, root, &request, &mut Quiet).await;
        proved.unwrap().trace.to_bytes()
    })
}

fn made(model: &Model, root: Digest) -> VerifierKey {
    let seed = Seed::from_bytes([7; 32]);
    let mut maker = KeyMaker::new(model, root, seed, &KeyOptions::default()).unwrap();
    while !maker.step().unwrap() {}
    maker.finish().unwrap()
}
