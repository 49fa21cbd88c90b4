//! Writes small GGUF files, well-formed or not.
#![allow(dead_code, reason = "each test uses its part")]

/// A file in the making.
#[derive(Clone)]
pub struct Gguf {
    pub version: u32,
    /// Keys and values; a value is its type and its bytes.
    pub entries: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<Tensor>,
    /// What tensors are aligned to; an entry says so only if one is put.
    pub alignment: usize,
}

#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    /// As stored: the dimension that varies fastest first.
    pub dims: Vec<u64>,
    pub kind: u32,
    pub bytes: Vec<u8>,
}

/// A change of one entry.
pub enum Put {
    U32(u32),
    F32(f32),
    Flag(bool),
    Text(&'static str),
    Texts(&'static [&'static str]),
    Floats(Vec<f32>),
    Integers(Vec<i32>),
    /// The entry goes.
    Nothing,
}

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const Q4_K: u32 = 12;
pub const I8: u32 = 24;
pub const BF16: u32 = 30;

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn list(kind: u32, count: usize, items: Vec<u8>) -> Vec<u8> {
    [
        9u32.to_le_bytes().as_slice(),
        &kind.to_le_bytes(),
        &(count as u64).to_le_bytes(),
        &items,
    ]
    .concat()
}

impl Gguf {
    pub fn empty() -> Self {
        Self {
            version: 3,
            entries: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }

    /// hidden 8, MLP 6, 2 layers, 2 heads, 1 kv head, 4 components a head, 5 ids, tied; f32 counting up from 0.
    pub fn tiny() -> Self {
        let mut gguf = Self::empty();
        gguf.put_text("general.architecture", "llama");
        for (key, value) in [
            ("context_length", 16),
            ("embedding_length", 8),
            ("block_count", 2),
            ("feed_forward_length", 6),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
            ("vocab_size", 5),
        ] {
            gguf.put_u32(&format!("llama.{key}"), value);
        }
        gguf.put_f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
        gguf.put_tensor("token_embd.weight", F32, &[8, 5]);
        gguf.put_tensor("output_norm.weight", F32, &[8]);
        for layer in 0..2 {
            for (name, dims) in [
                ("attn_norm.weight", [8, 1]),
                ("attn_q.weight", [8, 8]),
                ("attn_k.weight", [8, 4]),
                ("attn_v.weight", [8, 4]),
                ("attn_output.weight", [8, 8]),
                ("ffn_norm.weight", [8, 1]),
                ("ffn_gate.weight", [8, 6]),
                ("ffn_up.weight", [8, 6]),
                ("ffn_down.weight", [6, 8]),
            ] {
                let rank = if name.ends_with("norm.weight") { 1 } else { 2 };
                gguf.put_tensor(&format!("blk.{layer}.{name}"), F32, &dims[..rank]);
            }
        }
        gguf
    }

    /// `tiny` with SentencePiece's tokens: the special ones, bytes, and `more` with their scores.
    pub fn with_sentence_piece(more: &[(&str, f32)]) -> Self {
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
        tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
        let mut kinds = vec![2, 3, 3];
        kinds.resize(tokens.len(), 6);
        let mut scores = vec![0.0; tokens.len()];
        for (token, score) in more {
            tokens.push((*token).to_owned());
            scores.push(*score);
        }
        kinds.resize(tokens.len(), 1);
        let mut gguf = Self::with_vocab(tokens.len());
        gguf.put_text("tokenizer.ggml.model", "llama");
        let texts: Vec<&str> = tokens.iter().map(String::as_str).collect();
        gguf.put_texts("tokenizer.ggml.tokens", &texts);
        gguf.put_floats("tokenizer.ggml.scores", &scores);
        gguf.put_integers("tokenizer.ggml.token_type", &kinds);
        gguf
    }

    /// `tiny` with byte-level BPE over a few letters: ids 0 and 1 begin and end a text, then all bytes, then merges' results.
    pub fn with_byte_level(pre: &str, merges: &[&str]) -> Self {
        let mut tokens: Vec<String> = vec!["<|begin|>".to_owned(), "<|end|>".to_owned()];
        tokens.extend((0..=255u8).map(|byte| alphabet(byte).to_string()));
        tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
        let mut kinds = vec![3, 3];
        kinds.resize(tokens.len(), 1);
        let mut gguf = Self::with_vocab(tokens.len());
        gguf.put_text("tokenizer.ggml.model", "gpt2");
        gguf.put_text("tokenizer.ggml.pre", pre);
        let texts: Vec<&str> = tokens.iter().map(String::as_str).collect();
        gguf.put_texts("tokenizer.ggml.tokens", &texts);
        gguf.put_integers("tokenizer.ggml.token_type", &kinds);
        gguf.put_texts("tokenizer.ggml.merges", merges);
        gguf.put_u32("tokenizer.ggml.bos_token_id", 0);
        gguf.put_u32("tokenizer.ggml.eos_token_id", 1);
        gguf
    }

    fn with_vocab(vocab: usize) -> Self {
        let mut gguf = Self::tiny();
        gguf.put_u32("llama.vocab_size", vocab as u32);
        gguf.put_tensor("token_embd.weight", F32, &[8, vocab as u64]);
        gguf
    }

    /// Replaces the entry of this key, or appends one.
    pub fn put(&mut self, key: &str, kind: u32, bytes: &[u8]) {
        let value = [kind.to_le_bytes().as_slice(), bytes].concat();
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.to_owned(), value)),
        }
    }

    pub fn put_u32(&mut self, key: &str, value: u32) {
        self.put(key, 4, &value.to_le_bytes());
    }

    pub fn put_f32(&mut self, key: &str, value: f32) {
        self.put(key, 6, &value.to_le_bytes());
    }

    pub fn put_flag(&mut self, key: &str, value: bool) {
        self.put(key, 7, &[value.into()]);
    }

    pub fn put_text(&mut self, key: &str, value: &str) {
        self.put(key, 8, &text(value.as_bytes()));
    }

    fn put_list(&mut self, key: &str, list: &[u8]) {
        self.put(key, 9, &list[4..]);
    }

    pub fn put_texts(&mut self, key: &str, values: &[&str]) {
        let items = values.iter().flat_map(|value| text(value.as_bytes()));
        self.put_list(key, &list(8, values.len(), items.collect()));
    }

    pub fn put_floats(&mut self, key: &str, values: &[f32]) {
        let items = values.iter().flat_map(|value| value.to_le_bytes());
        self.put_list(key, &list(6, values.len(), items.collect()));
    }

    pub fn put_integers(&mut self, key: &str, values: &[i32]) {
        let items = values.iter().flat_map(|value| value.to_le_bytes());
        self.put_list(key, &list(5, values.len(), items.collect()));
    }

    pub fn change(&mut self, key: &str, put: &Put) {
        match put {
            Put::U32(value) => self.put_u32(key, *value),
            Put::F32(value) => self.put_f32(key, *value),
            Put::Flag(value) => self.put_flag(key, *value),
            Put::Text(value) => self.put_text(key, value),
            Put::Texts(values) => self.put_texts(key, values),
            Put::Floats(values) => self.put_floats(key, values),
            Put::Integers(values) => self.put_integers(key, values),
            Put::Nothing => self.remove(key),
        }
    }

    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(known, _)| known != key);
    }

    /// Replaces the tensor of this name, or appends one; its elements are a counter where they are of a plain type, or else zero.
    pub fn put_tensor(&mut self, name: &str, kind: u32, dims: &[u64]) {
        let elements: u64 = dims.iter().product();
        let bytes = match kind {
            F32 => (0..elements)
                .flat_map(|n| (n as f32).to_le_bytes())
                .collect(),
            I8 => vec![0; elements as usize],
            F16 | BF16 => (0..elements)
                .flat_map(|n| (n as u16).to_le_bytes())
                .collect(),
            _ => vec![0; elements as usize / 256 * 144],
        };
        self.put_tensor_bytes(name, kind, dims, bytes);
    }

    pub fn put_tensor_bytes(&mut self, name: &str, kind: u32, dims: &[u64], bytes: Vec<u8>) {
        let tensor = Tensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            kind,
            bytes,
        };
        match self.tensors.iter_mut().find(|known| known.name == name) {
            Some(old) => *old = tensor,
            None => self.tensors.push(tensor),
        }
    }

    /// The header, to the byte before the padding.
    pub fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            bytes.extend(text(key.as_bytes()));
            bytes.extend(value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            bytes.extend(text(tensor.name.as_bytes()));
            bytes.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor
                .dims
                .iter()
                .for_each(|dim| bytes.extend(dim.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend((offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(self.alignment);
        }
        bytes
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let start = bytes.len().next_multiple_of(self.alignment);
        bytes.resize(start, 0);
        for tensor in &self.tensors {
            bytes.extend(&tensor.bytes);
            bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        }
        bytes
    }
}

/// How byte-level BPE writes a byte.
fn alphabet(byte: u8) -> char {
    let code = match byte {
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte) - 0x7f,
        0xad => 0x143,
        _ => u32::from(byte),
    };
    char::from_u32(code).unwrap()
}
