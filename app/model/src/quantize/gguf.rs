//! A GGUF file with Q8_0 or Q4_0 matrices.
use super::{Target, check, each_row, round, vocabulary};
use crate::gguf::{EMBEDDING, FINAL_NORM, LM_HEAD, layer_name};
use crate::{Family, LayerRole, Model, ModelError, Role, Rope, RopeScaling, TensorRef};
use std::io::{self, Write};

const ALIGNMENT: u64 = 32;

/// Writes a file; `tokenizer_json` is taken into it where it is of a kind that the format has a name for. Returns what a user should know,
/// one sentence each. `progress` hears bytes of the original that are done, and all of them.
///
/// # Errors
/// Of an original that is no float checkpoint in Hugging Face's order, or that cannot be read or written.
pub fn write_gguf(
    model: &Model,
    target: Target,
    tokenizer_json: Option<&[u8]>,
    file: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<String>, ModelError> {
    check(model)?;
    let mut notes = Vec::new();
    let entries = plan(model, target, &mut notes)?;
    let mut header = Header::default();
    metadata(model, target, &mut header);
    match tokenizer_json.map(vocabulary::read) {
        None => notes.push("there is no `tokenizer.json` to take into it".to_owned()),
        Some(Err(why)) => notes.push(format!("the tokenizer is not in it: {why}")),
        Some(Ok(vocabulary)) => vocabulary.put(model.config(), &mut header),
    }
    if model.config().eos.len() > 1 {
        notes.push("only the first id that ends a text is in it".to_owned());
    }
    let factors = rope_factors(model);
    let header = header.bytes(&entries, factors.as_deref());
    let failed = |err: io::Error| ModelError::io("write", "the new file".as_ref(), err);
    let mut sink = |bytes: &[u8]| file.write_all(bytes).map_err(failed);
    sink(&header)?;
    let (mut done, total) = (0, model.bytes());
    for entry in &entries {
        let mut bytes = 0;
        entry.write(model, &mut |some| {
            bytes += some.len() as u64;
            sink(some)
        })?;
        sink(&vec![
            0;
            (bytes.next_multiple_of(ALIGNMENT) - bytes) as usize
        ])?;
        done += entry.from.bytes;
        progress(done, total);
    }
    if let Some(factors) = factors {
        let mut bytes: Vec<u8> = factors.iter().flat_map(|f| f.to_le_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        sink(&bytes)?;
    }
    Ok(notes)
}

/// How a tensor is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    F32,
    Q8_0,
    Q4_0,
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Q4_0 => 2,
            Self::Q8_0 => 8,
        }
    }

    fn row_bytes(self, k: usize) -> u64 {
        let bytes = match self {
            Self::F32 => 4 * k,
            Self::Q8_0 => k / 32 * 34,
            Self::Q4_0 => k / 32 * 18,
        };
        bytes as u64
    }
}

struct Entry<'a> {
    name: String,
    kind: Kind,
    from: &'a TensorRef,
    /// Components of a head, in rows that become interleaved.
    interleave: Option<usize>,
}

fn plan<'a>(
    model: &'a Model,
    target: Target,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry<'a>>, ModelError> {
    let config = model.config();
    let matrix = match target {
        Target::Q4_0 => Kind::Q4_0,
        _ => Kind::Q8_0,
    };
    let mut entries = Vec::new();
    let mut add = |name: String, role: Role, kind: Kind, interleave| -> Result<(), ModelError> {
        let Some(from) = model.tensor(role) else {
            return Ok(());
        };
        let kind = match (from.shape.len(), kind) {
            (2, Kind::Q8_0 | Kind::Q4_0) if !from.cols().is_multiple_of(32) => {
                notes.push(format!(
                    "`{name}` stays F32: its rows of {} are no multiple of 32",
                    from.cols()
                ));
                Kind::F32
            }
            (2, kind) => kind,
            _ => Kind::F32,
        };
        entries.push(Entry {
            name,
            kind,
            from,
            interleave,
        });
        Ok(())
    };
    add(EMBEDDING.to_owned(), Role::Embedding, Kind::Q8_0, None)?;
    if !config.tied_embeddings {
        add(LM_HEAD.to_owned(), Role::LmHead, Kind::Q8_0, None)?;
    }
    add(FINAL_NORM.to_owned(), Role::FinalNorm, Kind::F32, None)?;
    for layer in 0..config.layers {
        for (role, _) in crate::names::LLAMA_LAYER {
            use LayerRole::{K, KBias, Q, QBias};
            let rotated = matches!(role, Q | K | QBias | KBias) && config.family != Family::Qwen2;
            let interleave = rotated.then_some(config.head_dim);
            add(
                layer_name(layer, role),
                Role::Layer(layer, role),
                matrix,
                interleave,
            )?;
        }
    }
    Ok(entries)
}

/// The row of Hugging Face's order that stands at `row` where the two of a rotary pair are neighbours.
fn interleaved(row: usize, head_dim: usize) -> usize {
    let (head, at) = (row / head_dim, row % head_dim);
    head * head_dim + at % 2 * (head_dim / 2) + at / 2
}

impl Entry<'_> {
    fn write(
        &self,
        model: &Model,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let mut one = |row: &[f32]| {
            let mut out = Vec::new();
            match self.kind {
                Kind::F32 => out.extend(row.iter().flat_map(|v| v.to_le_bytes())),
                Kind::Q8_0 => round::q8_0(row, &mut out),
                Kind::Q4_0 => round::q4_0(row, &mut out),
            }
            sink(&out)
        };
        let from = self.from;
        let Some(head_dim) = self.interleave else {
            return each_row(model, from, |_, row| one(row));
        };
        if from.shape.len() == 1 {
            let values = model.read_f32(from)?;
            let turned: Vec<f32> = (0..values.len())
                .map(|at| values[interleaved(at, head_dim)])
                .collect();
            return one(&turned);
        }
        // A head at a time.
        let k = from.cols();
        for first in (0..from.rows()).step_by(head_dim) {
            let head = model.read_rows_f32(from, first..first + head_dim)?;
            for at in 0..head_dim {
                let row = interleaved(at, head_dim);
                one(super::finite(
                    from,
                    first + row,
                    &head[row * k..(row + 1) * k],
                )?)?;
            }
        }
        model.release(from);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.from.rows() as u64 * self.kind.row_bytes(self.from.cols())
    }
}

/// Entries of metadata, and how many.
#[derive(Default)]
pub(super) struct Header {
    count: u64,
    entries: Vec<u8>,
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

impl Header {
    fn put(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.count += 1;
        self.entries.extend(text(key.as_bytes()));
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
    }

    pub fn u32(&mut self, key: &str, value: u32) {
        self.put(key, 4, &value.to_le_bytes());
    }

    pub fn f32(&mut self, key: &str, value: f32) {
        self.put(key, 6, &value.to_le_bytes());
    }

    pub fn flag(&mut self, key: &str, value: bool) {
        self.put(key, 7, &[u8::from(value)]);
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.put(key, 8, &text(value.as_bytes()));
    }

    pub fn texts<'t>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'t str>) {
        let mut list = [
            8u32.to_le_bytes().as_slice(),
            &(values.len() as u64).to_le_bytes(),
        ]
        .concat();
        values.for_each(|value| list.extend(text(value.as_bytes())));
        self.put(key, 9, &list);
    }

    pub fn integers(&mut self, key: &str, values: &[i32]) {
        let mut list = [
            5u32.to_le_bytes().as_slice(),
            &(values.len() as u64).to_le_bytes(),
        ]
        .concat();
        list.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.put(key, 9, &list);
    }

    /// The whole header, up to where the data begins.
    fn bytes(&self, entries: &[Entry<'_>], factors: Option<&[f32]>) -> Vec<u8> {
        let tensors = entries.len() as u64 + u64::from(factors.is_some());
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(tensors.to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.extend(&self.entries);
        let mut offset = 0u64;
        let mut put = |name: &str, shape: &[usize], kind: Kind, bytes: u64| {
            out.extend(text(name.as_bytes()));
            out.extend((shape.len() as u32).to_le_bytes());
            // The dimension that varies fastest comes first.
            let dims = shape.iter().rev();
            out.extend(dims.flat_map(|dim| (*dim as u64).to_le_bytes()));
            out.extend(kind.number().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset = (offset + bytes).next_multiple_of(ALIGNMENT);
        };
        for entry in entries {
            put(&entry.name, &entry.from.shape, entry.kind, entry.bytes());
        }
        if let Some(factors) = factors {
            put(
                "rope_freqs.weight",
                &[factors.len()],
                Kind::F32,
                4 * factors.len() as u64,
            );
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
        out
    }
}

fn metadata(model: &Model, target: Target, header: &mut Header) {
    let config = model.config();
    // llama.cpp calls a Mistral `llama` too.
    let architecture = match config.family {
        Family::Qwen2 => "qwen2",
        _ => "llama",
    };
    header.text("general.architecture", architecture);
    header.text("general.type", "model");
    header.u32("general.quantization_version", 2);
    // llama.cpp's LLAMA_FTYPE_MOSTLY_Q4_0 and _Q8_0.
    header.u32(
        "general.file_type",
        if target == Target::Q4_0 { 2 } else { 7 },
    );
    let key = |name: &str| format!("{architecture}.{name}");
    for (name, value) in [
        ("context_length", config.context),
        ("embedding_length", config.hidden),
        ("block_count", config.layers),
        ("feed_forward_length", config.intermediate),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab),
    ] {
        // All of them are bounded far below 2^32 by the config's check.
        header.u32(&key(name), value as u32);
    }
    header.f32(&key("attention.layer_norm_rms_epsilon"), config.norm_eps);
    if let Some(Rope { theta, scaling, .. }) = config.rope {
        header.f32(&key("rope.freq_base"), theta as f32);
        if let RopeScaling::Linear { factor } = scaling {
            header.text(&key("rope.scaling.type"), "linear");
            header.f32(&key("rope.scaling.factor"), factor as f32);
        }
    }
}

/// What Llama 3's scaling divides each frequency by.
fn rope_factors(model: &Model) -> Option<Vec<f32>> {
    let config = model.config();
    let rope = config.rope?;
    if !matches!(rope.scaling, RopeScaling::Llama3 { .. }) {
        return None;
    }
    let plain = Rope {
        scaling: RopeScaling::None,
        ..rope
    };
    let scaled = rope.inverse_frequencies(config.head_dim);
    let plain = plain.inverse_frequencies(config.head_dim);
    Some(
        plain
            .iter()
            .zip(&scaled)
            .map(|(plain, scaled)| plain / scaled)
            .collect(),
    )
}
