//! A small llama2.c checkpoint with seeded weights, and a tokenizer for it: for tests and demonstrations where no trained one is at hand.
//! Its text is noise, its runs are as good as any.

/// Sizes in the order of the file's header.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the MLP.
    pub hidden_dim: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Whether the output projection is the embedding.
    pub tied: bool,
    /// Positions.
    pub context: usize,
}

impl Shape {
    /// Some 20,000 weights; grouped heads, as stories260K has.
    pub const SMALL: Self = Self {
        dim: 32,
        hidden_dim: 44,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        tied: true,
        context: 48,
    };
}

const SPECIAL: [&str; 3] = ["<unk>", "\n<s>\n", "\n</s>\n"];
const PIECES: &str = " |a|b|c|d|e|f|g|h|i|j|k|l|m|n|o|p|q|r|s|t|u|v|w|x|y|z|.|,|A|O|T|é|th| t| a|he|in|on|er| th|an| s|nd|ed| o|re| the|On|ce|upon| and|time";

/// Entries of [`tokenizer`]'s vocabulary, which [`checkpoint`] has too.
pub fn vocab() -> usize {
    SPECIAL.len() + 256 + PIECES.split('|').count()
}

/// A checkpoint of version 0 with weights between -1 and 1 over the square root of what they are summed over.
pub fn checkpoint(shape: Shape, seed: u64) -> Vec<u8> {
    let Shape {
        dim,
        hidden_dim,
        layers,
        heads,
        kv_heads,
        tied,
        context,
    } = shape;
    let (vocab, head_dim) = (vocab(), dim / heads);
    let signed = vocab as i32 * if tied { 1 } else { -1 };
    let sizes = [dim, hidden_dim, layers, heads, kv_heads].map(|size| size as i32);
    let mut bytes: Vec<u8> = sizes
        .into_iter()
        .chain([signed, context as i32])
        .flat_map(i32::to_le_bytes)
        .collect();
    let mut state = seed;
    let mut push = |count: usize, base: f32, spread: f32| {
        for _ in 0..count {
            // A linear congruential generator (Knuth's MMIX constants): its upper bits will do.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let unit = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            bytes.extend((base + spread * unit).to_le_bytes());
        }
    };
    let over = |n: usize| 1.7 / (n as f32).sqrt();
    push(vocab * dim, 0.0, 1.0);
    push(layers * dim, 1.0, 0.2);
    push(layers * dim * dim, 0.0, over(dim));
    push(2 * layers * kv_heads * head_dim * dim, 0.0, over(dim));
    push(layers * dim * dim, 0.0, over(dim));
    push(layers * dim, 1.0, 0.2);
    push(layers * hidden_dim * dim, 0.0, over(dim));
    push(layers * dim * hidden_dim, 0.0, over(hidden_dim));
    push(layers * hidden_dim * dim, 0.0, over(dim));
    push(dim, 1.0, 0.2);
    push(context * head_dim, 0.0, 0.0); // cosines and sines, which nobody reads
    push(if tied { 0 } else { vocab * dim }, 0.0, over(dim));
    bytes
}

/// A `tokenizer.bin`: special pieces, all bytes, letters, and some pieces to merge into.
pub fn tokenizer() -> Vec<u8> {
    let mut bytes = 8u32.to_le_bytes().to_vec();
    let mut push = |text: &str, score: f32| {
        bytes.extend(score.to_le_bytes());
        bytes.extend((text.len() as i32).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    SPECIAL.iter().for_each(|text| push(text, 0.0));
    (0..256).for_each(|byte| push(&format!("<0x{byte:02X}>"), 0.0));
    for (index, text) in PIECES.split('|').enumerate() {
        push(text, -(index as f32));
    }
    bytes
}
