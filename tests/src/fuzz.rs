//! One function a parser: any bytes in, no panic out, and a property held where the parser promises one. `fuzz/` runs them
//! under libFuzzer, `tests/hostile.rs` runs them briefly over mutated seeds.
//!
//! Each says whether the bytes (or something built from them) were accepted, so that a run can tell how deep it got.

pub mod mutate;
pub mod seeds;

use std::sync::Arc;

use assay_key::{Form, Part, VerifierKey};
use assay_model::{ByteSource, LayerRole, Model, ModelError, Tokenizer};
use assay_trace::{Decimal, Digest, Manifest, Trace, merkle, reroot};
use assay_verify::Profiles;
use safetensors::tensor::TensorView;

/// A parser under test.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the names of the targets in `fuzz/`.
pub const TARGETS: [(&str, Target); 16] = [
    ("trace", trace),
    ("manifest", manifest),
    ("merkle_proof", merkle_proof),
    ("config", config),
    ("safetensors_header", safetensors_header),
    ("shard_index", shard_index),
    ("llama2c", llama2c),
    ("llama2c_tokenizer", llama2c_tokenizer),
    ("tokenizer_json", tokenizer_json),
    ("decimal", decimal),
    ("profiles", profiles),
    ("gguf", gguf),
    ("verifier_key", verifier_key),
    ("llama2rs_trace", llama2rs_trace),
    ("llama2rs_proof", llama2rs_proof),
    ("toploc", toploc),
];

/// A trace file. One that parses seals again to something that holds together, and to the same bytes if it did before.
pub fn trace(bytes: &[u8]) -> bool {
    let trace = match Trace::parse(bytes) {
        Ok(trace) => trace,
        Err(err) => {
            assert_eq!(err.code(), "structure");
            assert_printable(&err.to_string());
            return false;
        }
    };
    read_everything(&trace);
    assert_eq!(trace.file_digest(), Digest::of(bytes));
    let sealed = reroot(bytes, |_| {}).expect("what parses can be sealed");
    match trace.check_commitment() {
        Ok(()) => assert_eq!(sealed, bytes, "a trace has one byte form"),
        Err(err) => {
            assert!(!err.code().is_empty());
            assert_printable(&err.to_string());
            let again = Trace::parse(&sealed).expect("what was sealed parses");
            match again.check_commitment() {
                Ok(()) => assert_ne!(sealed, bytes),
                // What is open was drawn from a root: another root draws others, and sealing does not open anew.
                Err(err) => assert_eq!(err.code(), "challenge"),
            }
        }
    }
    true
}

fn read_everything(trace: &Trace<'_>) {
    let manifest = trace.manifest();
    let (positions, layers) = (trace.positions(), manifest.model.layers);
    let hidden = manifest.model.hidden as usize;
    assert_eq!(trace.tokens().len(), positions + 1);
    assert_eq!([trace.prompt(), trace.output()].concat(), trace.tokens());
    assert_eq!(trace.leaves().len(), positions);
    assert!(!format!("{trace:?}").is_empty());
    for &layer in trace.opened() {
        let states = trace.states(layer).expect("an opened layer");
        assert_eq!(states.len(), positions * hidden);
        assert!(states.iter().all(|v| v.is_finite()));
    }
    for layer in [0, layers, layers.wrapping_add(1), u32::MAX] {
        let opened = trace.opened().contains(&layer);
        assert_eq!(trace.raw_states(layer).is_some(), opened);
        for position in [0, positions - 1, positions, usize::MAX] {
            let row = trace.state_row(layer, position);
            assert_eq!(row.is_some(), opened && position < positions);
            let digest = trace.state_digest(layer, position);
            assert!(digest == Digest::ZERO || (layer <= layers && position < positions));
            let logits = trace.logits_digest(position);
            assert_eq!(
                logits.is_some(),
                position < positions && position + 1 >= trace.prompt().len()
            );
        }
    }
}

/// A manifest's text. One that parses is its own canonical form.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    match Manifest::parse(text) {
        Ok(manifest) => {
            assert_eq!(manifest.canonical_json(), text);
            assert_eq!(manifest.positions() + 1, manifest.total_tokens());
            assert!(manifest.state_rows() > 1);
            assert_ne!(manifest.commitment(), Digest::ZERO);
            true
        }
        Err(err) => {
            assert_printable(&err.to_string());
            false
        }
    }
}

/// A Merkle tree, a leaf and a proof from the bytes. The honest proof leads to the root; nothing else of this size does.
pub fn merkle_proof(bytes: &[u8]) -> bool {
    let [size, index, flip, claimed_index, rest @ ..] = bytes else {
        return false;
    };
    let size = usize::from(*size) + 1;
    let index = usize::from(*index) % size;
    let leaves: Vec<Digest> = (0..size).map(|i| merkle::leaf_hash(&[i as u8])).collect();
    let root = merkle::root(&leaves).expect("there are leaves");
    let honest = merkle::inclusion_proof(&leaves, index).expect("the leaf is there");
    let proves = |index: usize, size: usize, proof: &[Digest]| {
        merkle::verify_inclusion(leaves[index % leaves.len()], index, size, proof, root)
    };
    assert!(proves(index, size, &honest));
    assert!(!proves(size, size, &honest));
    assert_eq!(merkle::inclusion_proof(&leaves, size), None);

    let mut altered = honest.clone();
    if let Some(digest) = altered.get_mut(usize::from(*flip) % honest.len().max(1)) {
        digest.0[usize::from(*flip) % 32] ^= (*flip).max(1);
        assert!(!proves(index, size, &altered));
        assert!(!proves(index, size, &honest[1..]));
    }
    altered = honest.clone();
    altered.push(Digest::of(rest));
    assert!(!proves(index, size, &altered));

    let hostile: Vec<Digest> = rest.as_chunks().0.iter().map(|d| Digest(*d)).collect();
    let claimed = usize::from(*claimed_index) % size;
    let accepted = proves(claimed, size, &hostile);
    assert_eq!(
        accepted,
        merkle::inclusion_proof(&leaves, claimed).as_ref() == Some(&hostile)
    );
    // Any claimed size and index: only no panic is promised.
    for claimed_size in [0, 1, usize::MAX, usize::from(*flip) << 40] {
        for at in [0, index, claimed_size.wrapping_sub(1), usize::MAX] {
            proves(at, claimed_size, &hostile);
        }
    }
    accepted
}

/// `config.json`, and the same bytes as `generation_config.json`, over a tiny checkpoint.
pub fn config(bytes: &[u8]) -> bool {
    let open = |config: &[u8], generation: Option<&[u8]>| {
        let weights = tiny_weights();
        let most = weights.len() as u64;
        let model = Model::from_memory(config, generation, vec![Arc::new(weights)], None);
        check_model(model, most)
    };
    open(bytes, None) | open(&tiny_config(), Some(bytes))
}

/// A safetensors file as a checkpoint, and as the second file of one.
pub fn safetensors_header(bytes: &[u8]) -> bool {
    let hostile: Arc<dyn ByteSource> = Arc::new(bytes.to_vec());
    let honest: Arc<dyn ByteSource> = Arc::new(tiny_weights());
    let most = hostile.len() + honest.len();
    let config = tiny_config();
    let alone = Model::from_memory(&config, None, vec![hostile.clone()], None);
    let after = Model::from_memory(&config, None, vec![honest, hostile], None);
    check_model(alone, most) | check_model(after, most)
}

/// `model.safetensors.index.json` beside a tiny checkpoint in one shard.
pub fn shard_index(bytes: &[u8]) -> bool {
    thread_local! {
        static FOLDER: tempfile::TempDir = {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let write = |name: &str, bytes: &[u8]| {
                std::fs::write(folder.path().join(name), bytes).expect("it writes");
            };
            write("config.json", &tiny_config());
            write(TINY_SHARD, &tiny_weights());
            folder
        };
    }
    FOLDER.with(|folder| {
        let index = folder.path().join("model.safetensors.index.json");
        std::fs::write(index, bytes).expect("it writes");
        check_model(Model::open(folder.path()), tiny_weights().len() as u64)
    })
}

/// A llama2.c checkpoint.
pub fn llama2c(bytes: &[u8]) -> bool {
    let model = Model::from_llama2c(Arc::new(bytes.to_vec()), None);
    check_model(model, bytes.len() as u64)
}

/// A GGUF file.
pub fn gguf(bytes: &[u8]) -> bool {
    let model = Model::from_gguf(Arc::new(bytes.to_vec()));
    check_model(model, bytes.len() as u64)
}

/// A verifier key. One that parses is its own one byte form, and everything in it can be asked for.
pub fn verifier_key(bytes: &[u8]) -> bool {
    let form = VerifierKey::is_key(bytes);
    match VerifierKey::parse(bytes.to_vec()) {
        Ok(key) => {
            assert_eq!(form, Some(Form::Plain));
            assert_eq!(key.as_bytes(), bytes);
            let layers = key.config().layers as u32;
            for layer in [0, layers, u32::MAX] {
                let part = Part::Layer(layer, LayerRole::Gate);
                assert_eq!(key.product(part).is_some(), key.layers().contains(&layer));
            }
            assert!(key.product(Part::Head).is_some());
            assert!(key.embedding_row_sketch(u32::MAX).is_none());
            true
        }
        Err(err) => {
            assert!(!err.code().is_empty());
            assert_printable(&err.to_string());
            false
        }
    }
}

/// A trace of llama2-rs, in either revision. What is written back is the newer one, and holds together exactly if this does.
pub fn llama2rs_trace(bytes: &[u8]) -> bool {
    let head = assay_llama2rs::looks_like(bytes);
    match assay_llama2rs::Trace::parse(bytes) {
        Ok(trace) => {
            assert!(head || bytes.get(8) == Some(&b'{'));
            let again =
                assay_llama2rs::Trace::parse(&trace.to_bytes()).expect("what was written reads");
            assert_eq!(again.holds_together(), trace.holds_together());
            assert_eq!(again.computed_root(), trace.computed_root());
            for index in [
                0,
                trace.entries.len().wrapping_sub(1),
                trace.entries.len(),
                usize::MAX,
            ] {
                if let Some(proof) = assay_llama2rs::StepProof::of(&trace, index) {
                    assert_eq!(proof.root(), trace.computed_root());
                }
            }
            true
        }
        Err(err) => {
            assert_printable(&err.to_string());
            false
        }
    }
}

/// A proof of one of its steps, in both forms.
pub fn llama2rs_proof(bytes: &[u8]) -> bool {
    let stored = assay_llama2rs::Proof::from_bytes(bytes);
    if let Ok(proof) = &stored {
        assert_eq!(proof.to_bytes(), bytes);
        proof.computed_root();
    }
    match assay_llama2rs::StepProof::parse(bytes) {
        Ok(proof) => {
            let again = assay_llama2rs::StepProof::parse(proof.to_json().as_bytes());
            assert_eq!(again.as_ref(), Ok(&proof));
            proof.root();
            true
        }
        Err(err) => {
            assert_printable(&err.to_string());
            stored.is_ok()
        }
    }
}

/// A list of TOPLOC proofs; each can be held against any activations.
pub fn toploc(bytes: &[u8]) -> bool {
    match assay_toploc::ProofFile::parse(bytes) {
        Ok(file) => {
            assert_eq!(
                assay_toploc::ProofFile::parse(file.to_json().as_bytes()).as_ref(),
                Ok(&file)
            );
            for proof in &file.proofs {
                for n in [0, 3, 200] {
                    let chunk: Vec<u16> = (0..n).map(|i| (i * 131) & 0x7eff).collect();
                    if let Ok(compared) = assay_toploc::compare(proof, &chunk, file.top) {
                        assert!(
                            compared.exponent_mismatches + compared.sign_mismatches <= compared.n
                        );
                    }
                }
            }
            true
        }
        Err(err) => {
            assert_printable(&err.to_string());
            false
        }
    }
}

/// A llama2.c `tokenizer.bin`.
pub fn llama2c_tokenizer(bytes: &[u8]) -> bool {
    check_tokenizer(bytes, Tokenizer::from_llama2c(bytes))
}

/// A `tokenizer.json`; larger than 256 KiB would only be slower.
pub fn tokenizer_json(bytes: &[u8]) -> bool {
    bytes.len() <= 256 << 10 && check_tokenizer(bytes, Tokenizer::from_json(bytes))
}

/// A decimal's text, and the bytes as a float. A decimal prints the text that it was read from, and survives f64.
pub fn decimal(bytes: &[u8]) -> bool {
    if let Some(float) = bytes.first_chunk()
        && let Ok(decimal) = Decimal::from_f64(f64::from_le_bytes(*float))
    {
        assert_eq!(decimal.to_string().parse(), Ok(decimal));
    }
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    let Ok(decimal) = text.parse::<Decimal>() else {
        return false;
    };
    assert_eq!(decimal.to_string(), text);
    assert_eq!(Decimal::from_f64(decimal.to_f64()), Ok(decimal));
    true
}

/// Calibration profiles. They are the verifier's own, so counts are only asked of those that could be a calibration's.
pub fn profiles(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    let Ok(profiles) = Profiles::from_json(text) else {
        return false;
    };
    for profile in &profiles.0 {
        for layer in [0, 8, u32::MAX] {
            assert!(profile.depth(layer).is_none_or(|d| d.to_layer >= layer));
        }
        let _ = profile.tau(&[1.0, -2.0]);
        let _ = profile.sequential();
        if profile.honest.traces <= 10_000 && profile.honest.tokens <= 10_000 {
            let rates = [
                profile.false_reject_upper_bound(),
                profile.replay_mismatch_upper_bound(),
            ];
            assert!(rates.iter().all(|rate| (0.0..=1.0).contains(rate)));
        }
    }
    let again = serde_json::to_string(&profiles.0).expect("it serialises");
    let again = Profiles::from_json(&again).expect("its own form parses");
    assert_eq!(again.0.len(), profiles.0.len());
    true
}

/// What can be read from a model that opened lies within `most` bytes, and everything else is refused.
fn check_model(model: Result<Model, ModelError>, most: u64) -> bool {
    let model = match model {
        Ok(model) => model,
        Err(err) => {
            assert!(!err.to_string().is_empty());
            return false;
        }
    };
    let config = model.config();
    config.check().expect("an open model's config is sound");
    assert!(model.bytes() <= most);
    for tensor in model.tensors() {
        let elements = tensor.rows() as u64 * tensor.cols() as u64;
        assert_eq!(elements, tensor.elements());
        match model.read_f32(tensor) {
            Ok(values) => assert_eq!(values.len() as u64, elements),
            Err(err) => {
                let is_scale = matches!(err, ModelError::ScaleNotFinite { .. });
                assert!(is_scale && !tensor.dtype.is_float(), "{err}");
            }
        }
        for (offset, len) in [(tensor.bytes, 1), (1, tensor.bytes as usize), (u64::MAX, 1)] {
            assert!(model.read(tensor, offset, len).is_err());
        }
        let rows = tensor.rows();
        assert!(model.read_rows_f32(tensor, rows..rows + 1).is_err());
    }
    if let Some((cos, sin)) = config.cos_sin_tables(0..3) {
        let bounded = cos.iter().chain(&sin).all(|v| v.abs() <= 1.0);
        assert!(bounded, "{:?}", config.rope);
    }
    let root = || model.root(&mut |_, _| {}).expect("the root");
    assert_eq!(root(), root());
    let canonical = model.config_canonical_json();
    serde_json::from_str::<serde_json::Value>(&canonical).expect("it is JSON");
    assert!(!format!("{model:?}").is_empty());
    true
}

fn check_tokenizer(bytes: &[u8], tokenizer: Result<Tokenizer, ModelError>) -> bool {
    let tokenizer = match tokenizer {
        Ok(tokenizer) => tokenizer,
        Err(err) => {
            assert!(!err.to_string().is_empty());
            return false;
        }
    };
    assert_eq!(tokenizer.digest(), Digest::of(bytes));
    let vocab = tokenizer.vocab_size();
    tokenizer.check_vocab(vocab).expect("its own size fits");
    assert!(vocab == 0 || tokenizer.check_vocab(vocab - 1).is_err());
    for text in ["", " ", "abc abc", "\u{0}é🦀 <|x|> <0x41>\n"] {
        if let Ok(ids) = tokenizer.encode(text) {
            assert!(ids.iter().all(|id| (*id as usize) < vocab));
            let _ = tokenizer.decode(&ids);
        }
    }
    let last = (vocab as u32).wrapping_sub(1);
    let _ = tokenizer.decode(&[0, 1, 2, 3, last, last.wrapping_add(1), u32::MAX]);
    true
}

/// A trace's errors go to terminals and pages, so they carry nothing of the file unescaped.
fn assert_printable(message: &str) {
    assert!(
        !message.is_empty() && message.len() < 4096,
        "{} bytes",
        message.len()
    );
    assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
}

/// The one shard of the tiny checkpoint, where it has an index.
pub const TINY_SHARD: &str = "model-00001-of-00001.safetensors";

/// The config of a checkpoint of a few hundred bytes.
pub fn tiny_config() -> Vec<u8> {
    tiny_config_with(16)
}

/// The same with another context.
pub fn tiny_config_with(context: usize) -> Vec<u8> {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": context, "rope_theta": 10000.0, "vocab_size": 5, "num_hidden_layers": 1, "hidden_size": 4,
        "intermediate_size": 6, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2,
        "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": [2]
    });
    config.to_string().into_bytes()
}

/// Its tensors' names and shapes.
pub const TINY_TENSORS: [(&str, &[usize]); 11] = [
    ("model.embed_tokens.weight", &[5, 4]),
    ("model.layers.0.input_layernorm.weight", &[4]),
    ("model.layers.0.mlp.down_proj.weight", &[4, 6]),
    ("model.layers.0.mlp.gate_proj.weight", &[6, 4]),
    ("model.layers.0.mlp.up_proj.weight", &[6, 4]),
    ("model.layers.0.post_attention_layernorm.weight", &[4]),
    ("model.layers.0.self_attn.k_proj.weight", &[2, 4]),
    ("model.layers.0.self_attn.o_proj.weight", &[4, 4]),
    ("model.layers.0.self_attn.q_proj.weight", &[4, 4]),
    ("model.layers.0.self_attn.v_proj.weight", &[2, 4]),
    ("model.norm.weight", &[4]),
];

/// Its weights in bf16: a few steps between -1 and 1.
pub fn tiny_weights() -> Vec<u8> {
    weights(&TINY_TENSORS)
}

/// A safetensors file with such weights under any names.
pub fn weights(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| {
            let value = |i: usize| half::bf16::from_f32((i * 7 % 16) as f32 / 8.0 - 0.9);
            (0..shape.iter().product())
                .flat_map(|i| value(i).to_le_bytes())
                .collect()
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), bytes)| {
        let view = TensorView::new(safetensors::Dtype::BF16, shape.to_vec(), bytes);
        (*name, view.expect("the view fits"))
    });
    safetensors::serialize(views, None).expect("it serialises")
}
