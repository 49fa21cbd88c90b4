//! Checkpoints: what a model is made of, read from files that may be hostile.
//!
//! A [`Model`] is a [`ModelConfig`], a table of tensors in their *stored* type, and perhaps a [`Tokenizer`]. It comes from a
//! Hugging Face folder (safetensors, sharded too), from a `.gguf`, from a llama2.c `.bin`, from files or bytes in memory (the
//! browser), or from the demo model that is compiled in. Whatever this crate cannot read *exactly* it refuses by name: it never guesses an architecture.
//!
//! Nothing here is trusted because it parses. [`Model::root`] is the identity of the weights; compare it before comparing anything
//! else. It says nothing about quality, licence or origin, and a checkpoint with NaN weights has a root like any other.
//!
//! | file | subject |
//! |---|---|
//! | `config` | what a model is: families, sizes, canonical form |
//! | `config_json` | `config.json` to [`ModelConfig`], with every refusal; a file for each way that families write it |
//! | `rope` | inverse frequencies and cos/sin tables, with the rounding of transformers |
//! | `names` | which tensors a config asks for, under which names and shapes |
//! | `files` | which of some files are a checkpoint |
//! | `safetensors_file` | one file's header |
//! | `huggingface` | a folder of them |
//! | `gguf` | llama.cpp's format |
//! | `llama2c` | llama2.c's format |
//! | `altered` | copies with other weights, for experiments |
//! | `bytes` | where bytes come from: a mapped file, memory, or a browser |
//! | `weights` | tensors and roles |
//! | `packed` | rows of every stored type as kernels take them, and decoding to f32 |
//! | `root` | the Merkle root of config and weights |
//! | `tokenizer` | text to ids and back |
//! | `quantize` | quantised copies of float checkpoints |
//! | `synth` | synthetic checkpoints of real shapes |

mod altered;
mod bytes;
mod config;
mod config_json;
#[cfg(feature = "demo")]
mod demo;
mod error;
mod files;
mod gguf;
mod huggingface;
mod llama2c;
mod model;
mod names;
mod packed;
#[cfg(feature = "native")]
mod partial;
#[cfg(feature = "native")]
pub mod quantize;
mod root;
mod rope;
pub mod rounded;
mod safetensors_file;
#[cfg(feature = "native")]
pub mod synth;
mod tokenizer;
mod weights;

pub use bytes::ByteSource;
#[cfg(feature = "native")]
pub use bytes::MappedFile;
pub use config::{Family, Mlp, ModelConfig, Norm};
pub use error::ModelError;
pub use files::NamedSource;
pub use model::Model;
pub use packed::{FIXED_COLUMNS, FixedBlock, Rows, TexelForm, f16_units};
pub use root::{CHUNK_BYTES, RootHasher};
pub use rope::{Rope, RopeLayout, RopeScaling};
pub use tokenizer::{HuggingFaceTokenizer, Llama2cTokenizer, SentencePieceTokenizer, Tokenizer};
pub use weights::{Dtype, LayerRole, Role, TensorRef};
