//! Every ceiling that reading a trace enforces, with its reason. Nothing read from a file sizes an
//! allocation or a loop before it passed these and was compared with the file's real length.

/// Header bytes. [`MAX_TENSORS`] tensors take less than 1 MiB. The rest is for the list of open logits, up to eight
/// bytes a row: some 390,000 rows, three times what [`MAX_FILE_BYTES`] can hold of a vocabulary of 32,000.
pub const MAX_HEADER_BYTES: u64 = 4 << 20;

/// File bytes: 16 GiB. Every layer of a 70B model over 8 K positions in bf16 is 10.1 GiB; whoever has more should
/// open fewer layers.
pub const MAX_FILE_BYTES: u64 = 16 << 30;

/// Prompt plus output tokens: eight times the longest context of the supported families (128 K).
pub const MAX_TOKENS: u32 = 1 << 20;

/// Decoder layers: eight times the deepest published Llama-like model (126 in Llama 3.1 405B).
pub const MAX_LAYERS: u32 = 1024;

/// Width of the residual stream: four times the widest such model (16384).
pub const MAX_HIDDEN: u32 = 1 << 16;

/// Vocabulary entries: sixteen times the largest in use (256 K).
pub const MAX_VOCAB: u32 = 1 << 22;

/// Width of a linear product or of a mask: four times the widest MLP of published models of these families (some 200 K).
pub const MAX_PRODUCT_WIDTH: u32 = 1 << 20;

/// Parameters: the largest integer that every JSON reader keeps exactly (2^53 - 1).
pub const MAX_PARAMETERS: u64 = (1 << 53) - 1;

/// End-of-sequence ids: real checkpoints list one to three.
pub const MAX_EOS: usize = 64;

/// Bytes of a free text field (`adapter`, `producer`): one line on a terminal, or two.
pub const MAX_TEXT_BYTES: usize = 256;

/// Bytes of a short lowercase word (`model.family`, `model.dtype`).
pub const MAX_WORD_BYTES: usize = 16;

/// Tensors: every layer's states (0..=layers), its seven linear outputs, and the seven others.
pub const MAX_TENSORS: usize = MAX_LAYERS as usize + 1 + 7 * MAX_LAYERS as usize + 7;
