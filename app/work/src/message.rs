//! The messages between a face and the worker behind it: one enum each way, for every platform.
//!
//! Natively they cross a channel to a thread, in a browser they cross to a Web Worker as bytes ([`ToWorker::to_bytes`]). A face
//! numbers its jobs; every [`Event`] carries the number of the job that it is about. A job ends with exactly one
//! [`News::Done`], whatever happens to it, and jobs run one at a time, in order.
//!
//! Reports and manifests travel as the JSON text that the command line prints, so that what a face saves is the same bytes.

mod experiment;
mod live;
mod secret;

use assay_engine::sampler::SamplerSpec;
use assay_engine::{ActivationType, AdapterInfo, Phase};
use assay_trace::Compute;
use assay_verify::Details;
use assay_verify::suspects::Cheaper;
use serde::{Deserialize, Serialize};

pub use experiment::{ExperimentRequest, PromptLength};
pub use live::{AskPrompt, AskRequest, Asked, LiveNews, ProverAt};
pub use secret::Secret;

/// Number of a job: ascending, chosen by the face.
pub type JobId = u64;

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// One of the files that come with the program.
    Sample(Sample),
    /// A path on this machine; natively only.
    Path(String),
    /// An address to fetch; in a browser only.
    Url(String),
    /// A file that the user chose or dropped in a browser: the platform keeps the handle under this number.
    Picked {
        /// The platform's number for it.
        handle: u32,
        /// The file's own name.
        name: String,
        /// Its length, bytes.
        bytes: u64,
    },
    /// Something that an earlier job of this worker made.
    Kept(KeptId),
}

impl Source {
    /// What a user would call it.
    pub fn name(&self) -> String {
        let last = |text: &str| {
            let text = text.split(['?', '#']).next().unwrap_or_default();
            let cut = text
                .trim_end_matches(['/', '\\'])
                .rsplit(['/', '\\'])
                .next();
            cut.unwrap_or_default().to_owned()
        };
        match self {
            Self::Sample(sample) => sample.name().to_owned(),
            Self::Path(path) => last(path),
            Self::Url(url) => last(url),
            Self::Picked { name, .. } => name.clone(),
            Self::Kept(_) => "trace.bin".to_owned(),
        }
    }
}

/// Files that come with the program, so that a first visitor has something to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sample {
    /// An honest trace of the demo model.
    Honest,
    /// The same with one token replaced and every hash made to fit.
    SwappedToken,
    /// The same with one byte changed.
    FlippedByte,
}

impl Sample {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Honest, Self::SwappedToken, Self::FlippedByte];

    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest.bin",
            Self::SwappedToken => "swapped-token.bin",
            Self::FlippedByte => "flipped-byte.bin",
        }
    }
}

/// Number of something that a worker keeps; see [`Outcome::Proved`] and [`Outcome::Asked`].
pub type KeptId = u64;

/// What a trace is held against: a checkpoint, or a verifier key in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModelSource {
    /// The demo model that comes with the program.
    Demo,
    /// A folder or a file on this machine; natively only.
    Path(String),
    /// A folder's or a file's address; in a browser only. In a folder, `config.json` names the rest.
    Url(String),
    /// Files that the user chose or dropped: each with its path inside what was chosen.
    Files(Vec<(String, Source)>),
    /// A verifier key, which audits traces without weights.
    Key {
        /// Its file.
        source: Source,
        /// What an encrypted key opens with. `None` also means the key that is open already: a passphrase is sent once.
        passphrase: Option<Secret>,
    },
}

impl ModelSource {
    /// The key in a file.
    pub fn key(source: Source) -> Self {
        Self::Key {
            source,
            passphrase: None,
        }
    }

    /// Whether it is a key, and so has no weights.
    pub fn is_key(&self) -> bool {
        matches!(self, Self::Key { .. })
    }

    /// What a user would call it.
    pub fn name(&self) -> String {
        match self {
            Self::Demo => "demo model".to_owned(),
            Self::Path(path) => Source::Path(path.clone()).name(),
            Self::Url(url) => Source::Url(url.clone()).name(),
            Self::Files(files) => match files.as_slice() {
                [(path, _)] => Source::Path(path.clone()).name(),
                [(path, _), ..] => path.split('/').next().unwrap_or_default().to_owned(),
                [] => String::new(),
            },
            Self::Key { source, .. } => source.name(),
        }
    }
}

/// Which device computes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// The best adapter.
    #[default]
    Best,
    /// The first whose name contains this.
    Named(String),
    /// Assay's own CPU kernels.
    Cpu,
}

/// What the verifier asked its prover for; nothing that is absent is compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// The nonce, 64 hexadecimal digits.
    pub nonce: Option<String>,
    /// The prompt's text.
    pub prompt: Option<String>,
    /// The sampler.
    pub sampler: Option<SamplerSpec>,
    /// Whether the prover was asked to skip neurons, by the very rule that the trace names. A trace that skips is refused otherwise.
    pub skips: bool,
    /// How it was to compute.
    pub arithmetic: Arithmetic,
    /// What the model may have been made into instead; none with a key.
    pub suspects: Vec<Cheaper>,
}

/// How a prover was asked to compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arithmetic {
    /// What it was to round values to between operations; not compared if `None`.
    pub compute: Option<Compute>,
    /// What it was to round the inputs of products to. If `None`, what a key was made for; not at all where there is no key.
    pub activations: Option<ActivationType>,
}

/// What a prover is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProveRequest {
    /// The prompt's text.
    pub prompt: String,
    /// Most tokens to generate, at least one.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampler: SamplerSpec,
    /// The verifier's nonce, 64 hexadecimal digits.
    pub nonce: Option<String>,
    /// Go on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// Promise the same bits on every device.
    pub strict: bool,
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// The adapters there are, best first, and the one that `device` means.
    Adapters {
        /// The choice in question.
        device: DeviceChoice,
    },
    /// Tells traces from checkpoints and keys among files that were chosen or dropped together, by looking at how they begin.
    Sort {
        /// Each with its path inside what was chosen. Natively a folder may be among them.
        files: Vec<(String, Source)>,
    },
    /// What a trace claims, unverified.
    Inspect {
        /// The trace.
        trace: Source,
    },
    /// Opens a checkpoint or a key and says what it is.
    OpenModel {
        /// The checkpoint or the key.
        model: ModelSource,
    },
    /// Verifies a trace: by a replay against weights, by an audit against a key.
    Verify {
        /// The trace.
        trace: Source,
        /// The verifier's own copy of the model, or its key.
        model: ModelSource,
        /// What was asked for.
        expect: Expect,
        /// Where to compute.
        device: DeviceChoice,
    },
    /// Runs a model and keeps a trace of it.
    Prove {
        /// The model; a key has nothing to run.
        model: ModelSource,
        /// The request.
        request: ProveRequest,
        /// Where to compute.
        device: DeviceChoice,
    },
    /// Asks a live prover to run a model, has the run opened, and verifies what comes: by a replay against weights, by an audit
    /// against a key. Ends in [`Outcome::Asked`] also where the prover's conduct is the verdict.
    Ask {
        /// Whom.
        prover: ProverAt,
        /// The verifier's own copy of the model, or its key.
        model: ModelSource,
        /// For what.
        request: AskRequest,
        /// Where to compute.
        device: DeviceChoice,
    },
    /// Reads what a study found (docs/sheet-format.md).
    Sheet {
        /// Its file.
        sheet: Source,
    },
    /// Runs VeriLLM's experiments. Ends in [`Outcome::Sheet`]. Trials are kept (natively in files), and a run that was stopped goes on
    /// from those that are there.
    Experiment {
        /// The model; a key has nothing to run.
        model: ModelSource,
        /// Which, and how many.
        request: ExperimentRequest,
        /// Where provers run.
        device: DeviceChoice,
    },
    /// Every committed hash at one position of a trace.
    Hashes {
        /// The trace.
        trace: Source,
        /// The position.
        position: u32,
    },
    /// The bytes of a kept trace, to be saved.
    Bytes {
        /// Which.
        kept: KeptId,
    },
    /// What the platform keeps on disk.
    Cache,
    /// Deletes one entry of it, or all.
    ClearCache {
        /// The entry's key; all of them if `None`.
        key: Option<String>,
    },
}

/// To the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "there is one a job")]
pub enum ToWorker {
    /// Do this once everything before it is done.
    Start {
        /// Its number.
        id: JobId,
        /// The work.
        job: Job,
    },
    /// Stop this, running or waiting. It ends as [`Failure::cancelled`].
    Cancel {
        /// Its number.
        id: JobId,
    },
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Reading or fetching a file; bytes.
    Fetch,
    /// Looking at what the trace says; bytes.
    Read,
    /// Hashing the checkpoint; bytes.
    Hash,
    /// Uploading weights; bytes.
    Load,
    /// Running the prompt, or a whole trace; tokens. In an audit: layers.
    Prefill,
    /// Generating; tokens.
    Decode,
    /// Comparing; checks.
    Checks,
    /// Asking a live prover what it is; nothing is counted.
    Connect,
    /// Taking its tokens; tokens.
    Answer,
    /// Holding its receipt against them; nothing is counted.
    Receipt,
    /// Drawing what it is to open, and asking for that; nothing is counted.
    Challenge,
    /// Taking the opening; bytes.
    Opening,
    /// Running trials of experiments; trials.
    Trials,
}

impl Stage {
    /// Whether its units are bytes; they are tokens, layers or checks otherwise.
    pub fn counts_bytes(self) -> bool {
        matches!(
            self,
            Self::Fetch | Self::Read | Self::Hash | Self::Load | Self::Opening
        )
    }
}

impl From<Phase> for Stage {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Hash => Self::Hash,
            Phase::Load => Self::Load,
            Phase::Prefill => Self::Prefill,
            Phase::Decode => Self::Decode,
            Phase::Checks => Self::Checks,
        }
    }
}

/// From the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The job that it is about.
    pub id: JobId,
    /// What happened.
    pub news: News,
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// It goes on.
    Progress {
        /// With what.
        stage: Stage,
        /// Units done.
        done: u64,
        /// Units in all; 0 where that is not known.
        total: u64,
    },
    /// A prover chose a token; `text` is the whole output so far. Of a live prover these are a stranger's words, and its ids where
    /// nothing here turns them into text.
    Text {
        /// The output so far.
        text: String,
    },
    /// A live prover said or did something.
    Live(LiveNews),
    /// It ended.
    Done(Result<Box<Outcome>, Failure>),
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "it travels boxed")]
pub enum Outcome {
    /// Of [`Job::Adapters`].
    Adapters {
        /// All of them, best first.
        found: Vec<AdapterInfo>,
        /// The one that was chosen, if it can be opened.
        chosen: Option<AdapterInfo>,
        /// Why not, otherwise.
        fault: Option<Failure>,
    },
    /// Of [`Job::Sort`].
    Sorted {
        /// What begins as a trace does, or could be nothing else.
        traces: Vec<Source>,
        /// The key, if there is one, else the checkpoint, if there is one.
        model: Option<ModelSource>,
        /// What studies found.
        sheets: Vec<Source>,
        /// Names of files that are neither, or that a key stands in for.
        ignored: Vec<String>,
    },
    /// Of [`Job::Inspect`].
    Inspected(Claims),
    /// Of [`Job::OpenModel`].
    Model(ModelFacts),
    /// Of [`Job::Verify`].
    Verified {
        /// The report, as `assay --verify --json` prints it.
        report: String,
        /// Figures by position.
        details: Box<Details>,
    },
    /// Of [`Job::Prove`].
    Proved(Proved),
    /// Of [`Job::Ask`].
    Asked(Asked),
    /// Of [`Job::Sheet`] and [`Job::Experiment`]: its JSON, an [`assay_sheet::Sheet`] that keeps to the rules.
    Sheet(String),
    /// Of [`Job::Hashes`].
    Hashes(Hashes),
    /// Of [`Job::Bytes`].
    Bytes(Vec<u8>),
    /// Of [`Job::Cache`] and [`Job::ClearCache`]: what is there now.
    Cache(Vec<CacheEntry>),
}

/// What a trace claims. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The file's name.
    pub name: String,
    /// The file's length.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The manifest's JSON (an [`assay_trace::Manifest`]); `None` if the file is no well-formed trace.
    pub manifest: Option<String>,
    /// Why not, or which hash is wrong: a code of docs/checks.md and a sentence.
    pub fault: Option<(String, String)>,
}

/// An open checkpoint, or what an open key says of the one it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// What a user would call it.
    pub name: String,
    /// Architecture.
    pub family: String,
    /// Stored type.
    pub dtype: String,
    /// Weights.
    pub parameters: u64,
    /// Bytes of all weights; of the file, where it is a key.
    pub bytes: u64,
    /// Decoder layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Vocabulary entries.
    pub vocab: u32,
    /// Most positions.
    pub context: u32,
    /// Whether it came with a tokenizer.
    pub has_tokenizer: bool,
    /// What a user should know about how it was read.
    pub notes: Vec<String>,
    /// The model root, if it was hashed already, or a key names it.
    pub root: Option<String>,
    /// What there is to know of a key, if it is one. None of it is secret.
    pub key: Option<KeyFacts>,
}

/// What may be told of a verifier key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// Names it in reports, and reveals nothing of it.
    pub id: String,
    /// Secret projections of each matrix.
    pub projections: u32,
    /// Secret rows of each matrix.
    pub rows: u32,
    /// The layers that it can audit, ascending.
    pub layers: Vec<u32>,
    /// Whether its file is encrypted.
    pub is_encrypted: bool,
    /// The program that made it, in its own words.
    pub producer: String,
}

/// A finished proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proved {
    /// Under which number the worker keeps the trace.
    pub kept: KeptId,
    /// Length of the trace, bytes.
    pub bytes: u64,
    /// The output's text.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub tokens: u32,
    /// Tokens a second while generating.
    pub tokens_per_s: f64,
    /// Seconds in all.
    pub total_s: f64,
    /// Merkle root of the trace.
    pub root: String,
    /// Why it stopped: `eos`, `length` or `context`.
    pub stop: String,
    /// The device.
    pub adapter: String,
}

/// Committed hashes at one position, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// The position.
    pub position: u32,
    /// The Merkle leaf.
    pub leaf: String,
    /// The hidden states, 0..=layers.
    pub states: Vec<String>,
    /// The logits; `None` inside the prompt.
    pub logits: Option<String>,
    /// The inclusion proof, from the leaf up.
    pub proof: Vec<String>,
}

/// Something kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// Names it in [`Job::ClearCache`].
    pub key: String,
    /// Where it came from.
    pub origin: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// Whether all of it is there.
    pub complete: bool,
}

/// Why a job has no outcome. Never a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// A stable word: `cancelled`, `not-found`, `network`, `cors`, `interrupted-download`, `too-large`, `not-a-trace`, `model`,
    /// `not-a-key`, `not-a-sheet`, `key`, [`KEY_ENCRYPTED`](Self::KEY_ENCRYPTED), [`KEY_PASSPHRASE`](Self::KEY_PASSPHRASE), `needs-weights`,
    /// `device`, `out-of-memory`, `self-test`, `request`, `unsupported`, `internal`, and those of docs/prover-api.md that are errors,
    /// `live-unreachable` and so on.
    pub code: String,
    /// What happened, a sentence without a full stop.
    pub message: String,
    /// What to do next, if there is anything.
    pub next: Option<String>,
}

impl Failure {
    /// The word for a job that the user stopped.
    pub const CANCELLED: &str = "cancelled";
    /// The word for a key that needs its passphrase.
    pub const KEY_ENCRYPTED: &str = "key-encrypted";
    /// The word for a key that was given another one.
    pub const KEY_PASSPHRASE: &str = "key-passphrase";

    /// A failure.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            next: None,
        }
    }

    /// With what to do next.
    pub fn with_next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The user stopped it.
    pub fn cancelled() -> Self {
        Self::new(Self::CANCELLED, "cancelled")
    }

    /// Whether the user stopped it.
    pub fn is_cancelled(&self) -> bool {
        self.code == Self::CANCELLED
    }

    /// Whether a passphrase is what is missing.
    pub fn asks_passphrase(&self) -> bool {
        matches!(
            self.code.as_str(),
            Self::KEY_ENCRYPTED | Self::KEY_PASSPHRASE
        )
    }
}

impl ToWorker {
    /// For a channel that carries bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        encode(self)
    }

    /// The reverse.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        decode(bytes)
    }
}

impl Event {
    /// For a channel that carries bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        encode(self)
    }

    /// The reverse.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        decode(bytes)
    }
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, Failure> {
    postcard::to_allocvec(message)
        .map_err(|err| Failure::new("internal", format!("a message cannot be encoded: {err}")))
}

fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Failure> {
    postcard::from_bytes(bytes)
        .map_err(|err| Failure::new("internal", format!("a message cannot be decoded: {err}")))
}
