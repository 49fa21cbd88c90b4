//! Ceilings on what a file may say, each with its reason. Counts are also held against the bytes that are really there, so a small file
//! cannot ask for much.

/// File bytes: 2^20 steps with text take under 200 MiB.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Steps: eight times the longest context in use. llama2.c's own models have 256 to 1024.
pub const MAX_STEPS: usize = 1 << 20;

/// Bytes of the model's path.
pub const MAX_PATH_BYTES: usize = 4096;

/// Bytes of the prompt.
pub const MAX_PROMPT_BYTES: usize = 1 << 20;

/// Bytes of one step's text; the longest piece of a llama2.c tokenizer has some dozens.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Bytes of a proof's file: 64 siblings take some 5 KiB.
pub const MAX_PROOF_BYTES: usize = 64 << 10;
