//! What mutation starts from: valid inputs for every target, all made here.

use std::sync::Arc;

use assay_key::{KeyMaker, KeyOptions, Seed};
use assay_model::Model;
use assay_trace::{
    Challenge, Compute, Digest, Keep, Linear, LinearsSpec, ModelClaim, NumericsClaim,
    NumericsClass, Opening, PositionInput, ProductClaim, Sampler, StateDtype, StopReason, Trace,
    TraceBuilder, TraceSpec, challenge,
};
use assay_verify::Profiles;

use super::{TINY_TENSORS, tiny_config, tiny_weights};

/// The seeds of a target in [`TARGETS`](super::TARGETS).
///
/// # Panics
/// On any other name.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let sampled = || Sampler::Gumbel {
        seed: u64::MAX,
        temperature: "0.8".parse().expect("a decimal"),
        top_k: 40,
        top_p: "0.95".parse().expect("a decimal"),
    };
    let traces = [
        small_trace(Sampler::Greedy, StateDtype::F32),
        small_trace(sampled(), StateDtype::Bf16),
        small_trace(sampled(), StateDtype::F16),
    ];
    match name {
        "trace" => traces.into_iter().chain(audited_traces()).collect(),
        "manifest" => traces
            .iter()
            .map(|bytes| {
                Trace::parse(bytes)
                    .expect("it parses")
                    .manifest()
                    .canonical_json()
            })
            .map(String::into_bytes)
            .collect(),
        "merkle_proof" => (0..6u8).map(merkle_seed).collect(),
        "config" => {
            let llama3 = r#""rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":64},"#;
            let config = String::from_utf8(tiny_config()).expect("it is text");
            let scaled = config.replacen('{', &format!("{{{llama3}"), 1);
            let generation = br#"{"bos_token_id":1,"eos_token_id":[2,3],"temperature":0.6}"#;
            vec![tiny_config(), scaled.into_bytes(), generation.to_vec()]
        }
        "safetensors_header" => {
            vec![
                tiny_weights(),
                super::weights(&[("extra.weight", &[2, 3]), ("other", &[])]),
            ]
        }
        "shard_index" => {
            let map: serde_json::Map<String, serde_json::Value> = TINY_TENSORS
                .iter()
                .map(|(name, _)| ((*name).to_owned(), super::TINY_SHARD.into()))
                .collect();
            let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
            vec![index.to_string().into_bytes()]
        }
        "llama2c" => vec![
            llama2c_file([4, 6, 2, 2, 1, 5, 3]),
            llama2c_file([4, 6, 1, 2, 2, -5, 3]),
            llama2c_q8_file(),
        ],
        "llama2c_tokenizer" => vec![
            llama2c_tokenizer_file(&[(" ", -9.0), ("a", -9.0), ("b", -9.0), ("ab", -2.0)]),
            llama2c_tokenizer_file(&[(" ", 0.0), ("aa", f32::INFINITY), ("é", -0.0), ("a", -1e10)]),
        ],
        "tokenizer_json" => small_tokenizers(),
        "decimal" => [
            "0",
            "1",
            "0.8",
            "0.000000001",
            "999999.999999999",
            "123456.5",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        "profiles" => {
            let embedded = Profiles::embedded().0;
            let few: Vec<_> = embedded.into_iter().take(1).collect();
            vec![
                serde_json::to_vec(&few).expect("it serialises"),
                b"[]".to_vec(),
            ]
        }
        "gguf" => vec![
            gguf_file(0, 1, 4),
            gguf_file(8, 32, 34),
            gguf_file(6, 32, 22),
        ],
        "verifier_key" => vec![small_key(None), small_key(Some(vec![0]))],
        "llama2rs_trace" => llama2rs_traces(),
        "llama2rs_proof" => llama2rs_proofs(),
        "toploc" => toploc_lists(),
        _ => panic!("no seeds for {name}"),
    }
}

/// Traces with linear outputs: everything open, and a draw from the root.
fn audited_traces() -> Vec<Vec<u8>> {
    let products = Linear::ALL.map(|name| ProductClaim {
        name,
        width: match name {
            Linear::O | Linear::Down => 3,
            _ => 2,
        },
    });
    let mut spec = small_spec(Sampler::Greedy, StateDtype::F32, vec![1, 2]);
    spec.linears = Some(LinearsSpec {
        products: products.to_vec(),
        keep: Keep::Everything,
    });
    let mut builder = TraceBuilder::new(spec).expect("a spec");
    for (position, token) in [1, 2, 3, 0].into_iter().enumerate() {
        let value = position as f32 / 4.0;
        let (wide, narrow) = ([value, 1.0, -2.0], [value, 0.5]);
        let layer: Vec<&[f32]> = products
            .iter()
            .map(|p| if p.width == 3 { &wide[..] } else { &narrow[..] })
            .collect();
        let (states, linears) = ([&wide[..]; 3], [layer.clone(), layer]);
        let logits = [0.5, value, -1.0, 0.25, 0.0];
        let input = PositionInput {
            states: &states,
            linears: &linears,
            sums: &[],
            masks: &[],
            logits: (position > 0).then_some(&logits),
        };
        builder
            .push_position(token, input)
            .expect("it takes the position");
    }
    let sealed = builder.seal(4, StopReason::Eos).expect("it seals");
    let nonce = Some(Digest::of(b"nonce"));
    let openings = [
        Opening {
            challenge: Challenge::All,
            states: vec![0],
            layers: vec![0, 1],
            logits: vec![0, 1, 2],
        },
        Opening {
            challenge: Challenge::Offline,
            states: vec![0],
            layers: challenge::draw_layers(sealed.root(), nonce, 1, 2),
            logits: challenge::draw_logits(sealed.root(), nonce, 1, 3),
        },
    ];
    openings
        .iter()
        .map(|opening| sealed.open(opening).expect("it opens").to_bytes())
        .collect()
}

/// A key of the tiny checkpoint.
fn small_key(layers: Option<Vec<u32>>) -> Vec<u8> {
    let model = Model::from_memory(&tiny_config(), None, vec![Arc::new(tiny_weights())], None)
        .expect("it opens");
    let options = KeyOptions {
        projections: 8,
        rows: 1,
        sketch: 1,
        activations: None,
        layers,
    };
    let seed = Seed::from_bytes([7; 32]);
    let mut maker = KeyMaker::new(&model, Digest::of(b"model"), seed, &options).expect("a maker");
    while !maker.step().expect("a step") {}
    maker.finish().expect("a key").as_bytes().to_vec()
}

/// One layer, two heads, three words; matrices of ggml's type `kind`, whose blocks of `block` columns have `block_bytes`. Four channels in
/// floats, one block in others.
fn gguf_file(kind: u32, block: u64, block_bytes: u64) -> Vec<u8> {
    let width = block.max(4);
    let inner = if block == 1 { 6 } else { width };
    let text = |s: &str| [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat();
    let numbers: [(&str, u32); 7] = [
        ("llama.context_length", 16),
        ("llama.embedding_length", width as u32),
        ("llama.feed_forward_length", inner as u32),
        ("llama.block_count", 1),
        ("llama.attention.head_count", 2),
        ("llama.attention.head_count_kv", 1),
        ("llama.vocab_size", 3),
    ];
    // Names, and dimensions with the fastest first.
    let tensors: [(&str, &[u64]); 11] = [
        ("token_embd.weight", &[width, 3]),
        ("output_norm.weight", &[width]),
        ("blk.0.attn_norm.weight", &[width]),
        ("blk.0.attn_q.weight", &[width, width]),
        ("blk.0.attn_k.weight", &[width, width / 2]),
        ("blk.0.attn_v.weight", &[width, width / 2]),
        ("blk.0.attn_output.weight", &[width, width]),
        ("blk.0.ffn_norm.weight", &[width]),
        ("blk.0.ffn_gate.weight", &[width, inner]),
        ("blk.0.ffn_up.weight", &[width, inner]),
        ("blk.0.ffn_down.weight", &[inner, width]),
    ];
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((numbers.len() as u64 + 2).to_le_bytes());
    file.extend(text("general.architecture"));
    file.extend(8u32.to_le_bytes());
    file.extend(text("llama"));
    file.extend(text("llama.attention.layer_norm_rms_epsilon"));
    file.extend(6u32.to_le_bytes());
    file.extend(1e-5f32.to_le_bytes());
    for (key, value) in numbers {
        file.extend(text(key));
        file.extend(4u32.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    let mut offset = 0u64;
    for (name, dimensions) in tensors {
        file.extend(text(name));
        file.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|d| file.extend(d.to_le_bytes()));
        let (kind, block, block_bytes) = match dimensions.len() {
            1 => (0, 1, 4),
            _ => (kind, block, block_bytes),
        };
        file.extend(kind.to_le_bytes());
        file.extend(offset.to_le_bytes());
        let bytes = dimensions.iter().product::<u64>() / block * block_bytes;
        offset += bytes.next_multiple_of(32);
    }
    file.resize(file.len().next_multiple_of(32) + offset as usize, 0);
    file
}

/// Two layers, three channels, five words, two prompt tokens and three more.
fn small_trace(sampler: Sampler, state_dtype: StateDtype) -> Vec<u8> {
    let prompt = vec![1, 2];
    let mut builder = TraceBuilder::new(small_spec(sampler, state_dtype, prompt)).expect("a spec");
    for (position, token) in [1, 2, 3, 0].into_iter().enumerate() {
        let rows: Vec<Vec<f32>> = (0..3)
            .map(|layer| {
                (0..3)
                    .map(|c| (position + 2 * layer) as f32 - c as f32 / 2.0)
                    .collect()
            })
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let logits = [0.5, position as f32, -1.0, 0.25, 0.0];
        builder
            .push(token, &rows, (position > 0).then_some(&logits))
            .expect("it takes the position");
    }
    builder
        .finish(4, StopReason::Eos)
        .expect("it seals")
        .to_bytes()
}

/// Its spec, over any prompt.
pub fn small_spec(sampler: Sampler, state_dtype: StateDtype, prompt: Vec<u32>) -> TraceSpec {
    TraceSpec {
        linears: None,
        adapter: "an adapter".into(),
        eos: vec![4],
        ignore_eos: false,
        model: ModelClaim {
            dtype: "f32".into(),
            family: "llama".into(),
            hidden: 3,
            layers: 2,
            parameters: 1000,
            root: Digest::of(b"model"),
            vocab: 5,
        },
        nonce: Some(Digest::of(b"nonce")),
        numerics: NumericsClaim {
            activations: None,
            class: NumericsClass::Fast,
            compute: Compute::F32,
        },
        opened: vec![0, 2],
        producer: "a test".into(),
        prompt,
        sampler,
        sparse: None,
        state_dtype,
        tokenizer: None,
    }
}

/// Size, index, two choices of the target, then a proof that holds.
fn merkle_seed(size_less_one: u8) -> Vec<u8> {
    let size = usize::from(size_less_one) + 1;
    let leaf = |i: usize| assay_trace::merkle::leaf_hash(&[i as u8]);
    let leaves: Vec<Digest> = (0..size).map(leaf).collect();
    let index = size / 2;
    let proof = assay_trace::merkle::inclusion_proof(&leaves, index).expect("the leaf is there");
    let mut bytes = vec![size_less_one, index as u8, 3, index as u8];
    bytes.extend(proof.iter().flat_map(|digest| digest.0));
    bytes
}

/// A llama2.c checkpoint with this header; a negative vocabulary says that the output projection is its own.
pub fn llama2c_file(header: [i32; 7]) -> Vec<u8> {
    let [d, h, l, heads, kv_heads, v, t] = header.map(|size| size.unsigned_abs() as usize);
    let head_dim = d / heads;
    let per_layer = d + 2 * d * d + 2 * d * kv_heads * head_dim + d + 3 * d * h;
    let head = if header[5] < 0 { v * d } else { 0 };
    let elements = v * d + l * per_layer + d + t * head_dim + head;
    let mut bytes: Vec<u8> = header
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    bytes.extend((0..elements).flat_map(|i| (i as f32 / 100.0).to_le_bytes()));
    bytes
}

/// Traces of llama2-rs: three steps with text, and the same without, and none at all.
fn llama2rs_traces() -> Vec<Vec<u8>> {
    let trace = llama2rs_trace(3);
    let mut older = trace.to_bytes();
    // The older revision has no text: take the lengths and the two bytes of each entry's out again.
    for entry in (0..3).rev() {
        let at = 8 + 1 + 8 + 1 + 8 + 8 + entry * (8 + 8 + 2 + 32) + 8;
        older.drain(at..at + 10);
    }
    vec![trace.to_bytes(), older, llama2rs_trace(0).to_bytes()]
}

fn llama2rs_trace(steps: i32) -> assay_llama2rs::Trace {
    let entry = |position: i32| assay_llama2rs::Entry {
        position,
        token: 7 * position,
        text: Some(format!("w{position}")),
        logits: Digest::of(&[position as u8]),
    };
    let metadata = assay_llama2rs::Metadata {
        model_path: "m".to_owned(),
        prompt: "p".to_owned(),
        steps: 3,
    };
    assay_llama2rs::Trace::seal(metadata, (0..steps).map(entry).collect())
}

fn llama2rs_proofs() -> Vec<Vec<u8>> {
    let trace = llama2rs_trace(3);
    let proof = assay_llama2rs::StepProof::of(&trace, 1).expect("a step");
    let stored = proof.as_stored().expect("a path");
    vec![proof.to_json().into_bytes(), stored.to_bytes()]
}

fn toploc_lists() -> Vec<Vec<u8>> {
    let points: Vec<(usize, u16)> = (0..3).map(|i| (40 * i, 0x3f80 + i as u16)).collect();
    let proof = assay_toploc::Proof::of(&points).expect("points");
    let file = assay_toploc::ProofFile {
        top: 3,
        batch: 2,
        prompt_rows: Some(1),
        proofs: vec![proof.clone(), proof],
    };
    let whole: Vec<(usize, u16)> = (0..128).map(|i| (i, i as u16)).collect();
    let package = [assay_toploc::Proof::of(&whole).expect("points").to_base64()];
    vec![
        file.to_json().into_bytes(),
        serde_json::to_vec(&package).expect("it serialises"),
    ]
}

/// A checkpoint of version 2: eight channels, twelve inside, groups of eight that straddle rows of twelve.
fn llama2c_q8_file() -> Vec<u8> {
    let mut bytes = b"24ka".to_vec();
    let fields = [2i32, 8, 12, 1, 2, 1, 5, 3];
    bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    bytes.push(1);
    bytes.extend(8i32.to_le_bytes());
    bytes.resize(256 + 4 * 3 * 8, 0);
    for quants in [5 * 8, 64, 32, 32, 64, 96, 96, 96] {
        bytes.extend((0..quants).map(|i| i as u8));
        bytes.extend(0.5f32.to_le_bytes().repeat(quants / 8));
    }
    bytes
}

/// A `tokenizer.bin` with the special pieces, all bytes, and `more`.
pub fn llama2c_tokenizer_file(more: &[(&str, f32)]) -> Vec<u8> {
    let mut bytes = 8u32.to_le_bytes().to_vec();
    let mut push = |text: &str, score: f32| {
        bytes.extend(score.to_le_bytes());
        bytes.extend((text.len() as i32).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    ["<unk>", "\n<s>\n", "\n</s>\n"]
        .iter()
        .for_each(|text| push(text, 0.0));
    (0..256).for_each(|byte| push(&format!("<0x{byte:02X}>"), 0.0));
    more.iter().for_each(|(text, score)| push(text, *score));
    bytes
}

/// One of each kind of model that the library knows, with other parts around it.
fn small_tokenizers() -> Vec<Vec<u8>> {
    let byte_level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let split = serde_json::json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\s+|[a-z]{1,3}"}, "behavior": "Isolated", "invert": false},
        {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": true}]});
    let added = serde_json::json!([{"id": 6, "content": "<|x|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}]);
    let template = serde_json::json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|x|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|x|>": {"id": "<|x|>", "ids": [6], "tokens": ["<|x|>"]}}});
    let normalizer = serde_json::json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "Prepend", "prepend": "▁"}]});
    let decoder = serde_json::json!({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"},
        "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    let vocab =
        serde_json::json!({"a": 0, "b": 1, "c": 2, "ab": 3, "Ġ": 4, "[UNK]": 5, "<|x|>": 6});
    let bpe = serde_json::json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab,
        "merges": [["a", "b"]]});
    let unigram = serde_json::json!({"type": "Unigram", "unk_id": 0, "byte_fallback": true,
        "vocab": [["<unk>", 0.0], ["a", -1.0], ["▁", -2.0], ["ab", -1.5], ["<0x41>", -9.0]]});
    let word_piece = serde_json::json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": vocab});
    let word_level = serde_json::json!({"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocab});
    let null = || serde_json::Value::Null;
    [
        (bpe.clone(), null(), byte_level.clone(), byte_level, added.clone(), template),
        (bpe, normalizer.clone(), split.clone(), decoder.clone(), added, null()),
        (unigram, normalizer, null(), decoder, serde_json::json!([]), null()),
        (word_piece, null(), split, null(), serde_json::json!([]), null()),
        (word_level, null(), null(), null(), serde_json::json!([]), null()),
    ]
    .into_iter()
    .map(|(model, normalizer, pre_tokenizer, decoder, added_tokens, post_processor)| {
        let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder,
            "model": model});
        json.to_string().into_bytes()
    })
    .collect()
}
