//! What the prover claims about a run, as typed fields with one canonical JSON text.
//!
//! Fields stand in the order in which their JSON keys sort, because that order *is* the canonical form.
//! Types alone do not make a manifest valid: see `validate.rs`, which every reading goes through.

use serde::{Deserialize, Serialize};

use crate::dtype::{LinearDtype, SumDtype};
use crate::error::shown;
use crate::limits::MAX_TEXT_BYTES;
use crate::{
    Challenge, Decimal, Digest, LinearsClaim, SparseClaim, StateDtype, TraceError, commit,
};

/// The only value of [`Manifest::format`].
pub const FORMAT: &str = "assay-trace";
/// The only value of [`Manifest::version`].
pub const VERSION: u32 = 1;

/// [`Manifest::streams`] of a trace that commits to linear outputs, or to masks, or to neither.
pub(crate) fn streams(linears: bool, masks: bool) -> Vec<String> {
    [
        ("linears", linears),
        ("logits", true),
        ("masks", masks),
        ("states", true),
    ]
    .into_iter()
    .filter(|(_, present)| *present)
    .map(|(name, _)| name.to_owned())
    .collect()
}

/// Everything a trace claims besides its tensors. All of it is bound by [`Manifest::commitment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The device that ran the model, in the prover's words: printable ASCII, at most 256 bytes.
    pub adapter: String,
    /// Ids that end a sequence, ascending, at most 64.
    pub eos: Vec<u32>,
    /// Always `assay-trace`.
    pub format: String,
    /// Whether generation went on after an end-of-sequence id.
    pub ignore_eos: bool,
    /// What is committed to and open of the stream `linears`; absent without that stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linears: Option<LinearsClaim>,
    /// The model that the prover says it ran.
    pub model: ModelClaim,
    /// The verifier's 32 bytes of randomness, if this answers a request.
    pub nonce: Option<Digest>,
    /// How the prover computed.
    pub numerics: NumericsClaim,
    /// Indices (0..=layers) of the hidden states in the file, ascending.
    pub opened: Vec<u32>,
    /// What was generated.
    pub output: OutputClaim,
    /// The program that wrote the trace: printable ASCII, at most 256 bytes.
    pub producer: String,
    /// What was asked.
    pub prompt: PromptClaim,
    /// Merkle root over the positions.
    pub root: Digest,
    /// How tokens were chosen.
    pub sampler: Sampler,
    /// Which masks a sparse prover's layers have, and by which rule; absent without the stream `masks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse: Option<SparseClaim>,
    /// Element type of hidden states.
    pub state_dtype: StateDtype,
    /// What every leaf holds digests of, ascending. Version 1: `logits` and `states`, and maybe `linears` and `masks`.
    pub streams: Vec<String>,
    /// Digest of the tokenizer's file, if the prover names one.
    pub tokenizer: Option<Digest>,
    /// Always 1.
    pub version: u32,
}

/// A model by its identity and its sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelClaim {
    /// Weight type as a short lowercase word: `f32`, `bf16`, `int8`, `q4_0`, `mixed`, ...
    pub dtype: String,
    /// Architecture as a short lowercase word: `llama`, `qwen2`, ...
    pub family: String,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Decoder layers. Hidden states are numbered 0..=layers.
    pub layers: u32,
    /// Number of weights.
    pub parameters: u64,
    /// Merkle root over the checkpoint's tensors.
    pub root: Digest,
    /// Vocabulary entries; every token id is below it.
    pub vocab: u32,
}

/// How the prover says that it computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumericsClaim {
    /// What linear products round their inputs to; absent where they take them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<ActivationsClaim>,
    /// How far results repeat elsewhere.
    pub class: NumericsClass,
    /// What activations are rounded to.
    pub compute: Compute,
}

/// How a prover rounds the inputs of linear products. Another function than the model's own, so a verifier must have asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationsClaim {
    /// In blocks of 32 to 8 bits with an f16 scale, which meet blocks of integer weights with f16 scales: the products of layers are
    /// fixed point, and the stream `linears` has their sums.
    Blocks,
    /// As llama.cpp's CPU code: in blocks of 32 or 256, by the type of the weights they meet.
    Ggml,
    /// To 8 bits with one scale a row; the products of layers are integers, and the stream `linears` has their sums.
    Int8,
}

impl ActivationsClaim {
    /// The word in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Ggml => "ggml",
            Self::Int8 => "int8",
        }
    }
}

/// Which results a verifier may expect to repeat bit for bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumericsClass {
    /// As strict, and the products of layers are of integers: nothing that weights take part in rounds.
    Exact,
    /// Whatever was fastest: compare with tolerances.
    Fast,
    /// Reproducible f32 in Assay's canonical order.
    Strict,
}

/// The precision that activations are rounded to between operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// bfloat16.
    Bf16,
    /// binary16.
    F16,
    /// binary32.
    F32,
}

impl Compute {
    /// All of them, the widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The word in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }
}

/// What was generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputClaim {
    /// Why generation ended. The prover's word: whether the last token is one of `eos` is the verifier's check.
    pub stop: StopReason,
    /// Tokens emitted, at least 1.
    pub tokens: u32,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// The model's context was full.
    Context,
    /// An end-of-sequence id was emitted.
    Eos,
    /// The requested number of tokens was reached.
    Length,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptClaim {
    /// [`prompt_digest`](crate::prompt_digest) of the prompt's ids.
    pub digest: Digest,
    /// Prompt tokens, at least 1.
    pub tokens: u32,
}

/// How tokens were chosen from logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Sampler {
    /// The id with the largest logit.
    Greedy,
    /// argmax of logit / temperature + Gumbel noise over the allowed set.
    Gumbel {
        /// Key of the noise; a decimal string in JSON, since JSON numbers lose 64-bit integers.
        #[serde(with = "decimal_string")]
        seed: u64,
        /// Divides the logits; above 0.
        temperature: Decimal,
        /// Keep the k largest; 0 keeps all.
        top_k: u32,
        /// Keep the smallest set with this much probability; above 0, at most 1.
        top_p: Decimal,
    },
}

impl Manifest {
    /// T: prompt plus output tokens.
    pub fn total_tokens(&self) -> usize {
        (u64::from(self.prompt.tokens) + u64::from(self.output.tokens)) as usize
    }

    /// P = T - 1: positions that were run. The last emitted token never enters the model.
    pub fn positions(&self) -> usize {
        self.total_tokens().saturating_sub(1)
    }

    /// Whether the stream `linears` has integer sums, as `I32` or `I64`, and not values in the state dtype.
    pub fn has_sums(&self) -> bool {
        self.sum_dtype().is_some()
    }

    /// Bytes of an element of the stream `linears`.
    pub fn linear_bytes(&self) -> usize {
        self.linear_dtype().bytes()
    }

    /// Element type of integer sums, where linear outputs are such.
    pub(crate) fn sum_dtype(&self) -> Option<SumDtype> {
        match self.numerics.activations? {
            ActivationsClaim::Int8 => Some(SumDtype::I32),
            ActivationsClaim::Blocks => Some(SumDtype::I64),
            ActivationsClaim::Ggml => None,
        }
    }

    /// Element type of linear outputs.
    pub(crate) fn linear_dtype(&self) -> LinearDtype {
        match self.sum_dtype() {
            Some(sums) => LinearDtype::Sums(sums),
            None => LinearDtype::Values(self.state_dtype),
        }
    }

    /// layers + 1: hidden states at each position, the embedding's output being number 0.
    pub fn state_rows(&self) -> usize {
        self.model.layers as usize + 1
    }

    /// The JSON text that is committed to: keys sorted bytewise, no whitespace, no floats.
    pub fn canonical_json(&self) -> String {
        // Cannot fail: all keys are strings, and no value has a fallible serializer.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// SHA-256("assay/manifest/v1\0" || canonical JSON). Binds everything, through the two digests and the root.
    pub fn commitment(&self) -> Digest {
        commit::manifest_digest(&self.canonical_json())
    }

    /// The receipt: this manifest with nothing open and the challenge left to a verifier. Its
    /// [`commitment`](Self::commitment) is the same whatever is opened later, so whoever has it can pick what to open.
    /// `None` with neither of the streams `linears` and `masks`: such a trace is a file, made at leisure.
    pub fn receipt(&self) -> Option<Self> {
        if self.linears.is_none() && self.sparse.is_none() {
            return None;
        }
        let mut receipt = self.clone();
        if let Some(linears) = &mut receipt.linears {
            linears.challenge = Challenge::Interactive;
            linears.layers.clear();
            linears.logits.clear();
        }
        receipt.opened.clear();
        Some(receipt)
    }

    /// Reads a canonical JSON text and checks every rule that needs no tensors.
    ///
    /// # Errors
    /// A [`TraceError`] for a text that is not canonical, or a field outside its limits.
    pub fn parse(json: &str) -> Result<Self, TraceError> {
        let manifest: Self =
            serde_json::from_str(json).map_err(|err| TraceError::ManifestJson {
                reason: shown(&err.to_string()),
            })?;
        manifest.validate()?;
        let canonical = manifest.canonical_json();
        if canonical != json {
            let offset = canonical
                .bytes()
                .zip(json.bytes())
                .take_while(|(want, got)| want == got)
                .count();
            return Err(TraceError::ManifestNotCanonical { offset });
        }
        Ok(manifest)
    }

    /// The hidden states opened by default: every eighth, from the embedding on, and the last.
    pub fn default_opened(layers: u32) -> Vec<u32> {
        let mut opened: Vec<u32> = (0..layers).step_by(8).collect();
        opened.push(layers);
        opened
    }

    /// `text` made fit for `adapter` or `producer`: other than printable ASCII becomes `?`, and 256 bytes remain.
    pub fn printable(text: &str) -> String {
        let shown = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
        text.chars().map(shown).take(MAX_TEXT_BYTES).collect()
    }
}

/// A u64 as its decimal digits in a JSON string.
mod decimal_string {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 64-bit decimal integer in a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                text.parse().map_err(E::custom) // `+1` and `01` fall to the canonical comparison
            }
        }
        deserializer.deserialize_str(Digits)
    }
}
