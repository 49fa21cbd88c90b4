//! What a face says of a live prover and hears of one. All of a prover's words are a stranger's: a face escapes them.

use assay_engine::sampler::SamplerSpec;
use assay_live::Amount;
use assay_verify::Details;
use serde::{Deserialize, Serialize};

use assay_verify::suspects::Cheaper;

use super::{Arithmetic, Claims, KeptId, Secret};

/// Where a live prover is, and what it wants to hear.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProverAt {
    /// `http://HOST:PORT` or `https://HOST`; see [`assay_live::Address`].
    pub address: String,
    /// Its bearer token.
    pub token: Option<Secret>,
    /// Longest time for the whole exchange, seconds.
    pub seconds: u32,
}

/// What a live prover is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskRequest {
    /// The prompt.
    pub prompt: AskPrompt,
    /// Most tokens to generate, at least one.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampler: SamplerSpec,
    /// Go on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// Layers to have opened, drawn after the receipt.
    pub layers: Amount,
    /// Rows of logits to have opened, likewise.
    pub logits: Amount,
    /// Whether the prover may skip neurons, by the very rule that its receipt names. Such an answer is rejected otherwise.
    pub skips: bool,
    /// How its answer must say that it computed. A request has no word for it: a prover offers one arithmetic.
    pub arithmetic: Arithmetic,
    /// What the model may have been made into instead; none with a key.
    pub suspects: Vec<Cheaper>,
}

/// A prompt, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskPrompt {
    /// To be encoded by the verifier's own tokenizer, which a key does not have.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// What goes on between the verifier and a live prover, besides its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveNews {
    /// It says what it is.
    Prover {
        /// Its program.
        producer: String,
        /// Its device.
        adapter: String,
        /// The rule by which it skips neurons, in words; `None` where it says that it computes all.
        rule: Option<String>,
    },
    /// Its receipt came and is in order: from here on it cannot change what it says.
    Receipt {
        /// The receipt's digest, hexadecimal.
        digest: String,
    },
    /// This was drawn, and it was asked to open it.
    Challenge {
        /// Layers, ascending.
        layers: Vec<u32>,
        /// Hidden states, ascending, where those are all that the run has to open; else empty.
        states: Vec<u32>,
        /// Of how many output tokens the logits.
        logits: u32,
    },
}

/// What came of asking a live prover.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The report, as `assay --verify http://HOST:PORT --json` prints it.
    pub report: String,
    /// Figures by position; none where the prover's conduct is the verdict.
    pub details: Box<Details>,
    /// The output: text, or ids where nothing here turns them into text. Empty where there is no answer.
    pub text: String,
    /// The receipt's digest, hexadecimal, if there was a receipt.
    pub receipt: Option<String>,
    /// Under which number the worker keeps what the prover opened, or sent in place of that.
    pub kept: Option<KeptId>,
    /// What it claims. `None` where the prover's conduct is the verdict: then it is evidence, and no trace to go on with.
    pub claims: Option<Claims>,
}
