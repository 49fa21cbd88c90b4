//! Errors of the libraries as failures for people: a stable word, what happened, what to do next.

use assay_engine::EngineError;
use assay_experiment::ExperimentError;
use assay_key::KeyError;
use assay_model::ModelError;
use assay_prove::ProveError;
use assay_verify::VerifyError;

use crate::message::Failure;

const OTHER_ADAPTER: &str = "choose another adapter in the settings, or Assay's own CPU kernels";

impl From<VerifyError> for Failure {
    fn from(err: VerifyError) -> Self {
        match err {
            VerifyError::Engine(err) => err.into(),
            VerifyError::Model(err) => err.into(),
        }
    }
}

impl From<ProveError> for Failure {
    fn from(err: ProveError) -> Self {
        match err {
            ProveError::Engine(err) => err.into(),
            err => Self::new("request", err.to_string()),
        }
    }
}

impl From<ExperimentError> for Failure {
    fn from(err: ExperimentError) -> Self {
        match err {
            ExperimentError::Engine(err) => err.into(),
            ExperimentError::Model(err) => err.into(),
            ExperimentError::Prove(err) => err.into(),
            ExperimentError::NoTokenizer => Self::new("request", err.to_string())
                .with_next("choose its tokenizer's file together with it"),
            ExperimentError::TooLong { .. } => Self::new("request", err.to_string())
                .with_next("take shorter prompts, or fewer tokens"),
            ExperimentError::Store(_) => Self::new("storage", in_a_line(&err)),
            err => Self::new("request", err.to_string()),
        }
    }
}

/// An error with its causes.
fn in_a_line(err: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(err.source(), |err| err.source());
    let words = causes.map(ToString::to_string);
    let all: Vec<String> = std::iter::once(err.to_string()).chain(words).collect();
    all.join(": ").replace('\n', " ")
}

impl From<ModelError> for Failure {
    fn from(err: ModelError) -> Self {
        // A checkpoint's names are an attacker's: what it says is one line.
        let message = err.to_string().replace(['\n', '\r'], " ");
        let failure = Self::new("model", message);
        match err {
            ModelError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Self::new("not-found", failure.message).with_next("check the path")
            }
            ModelError::NoCheckpoint { .. } => failure.with_next(
                "choose the whole folder of a Hugging Face checkpoint, a .gguf file, or a llama2.c .bin with its tokenizer",
            ),
            ModelError::TokenizerVocab { .. } => {
                failure.with_next("use the tokenizer that belongs to this checkpoint")
            }
            _ => failure,
        }
    }
}

impl From<KeyError> for Failure {
    fn from(err: KeyError) -> Self {
        let message = err.to_string();
        match err {
            KeyError::Encrypted => {
                Self::new(Self::KEY_ENCRYPTED, message).with_next("type its passphrase")
            }
            KeyError::Passphrase | KeyError::PassphraseEmpty => {
                Self::new(Self::KEY_PASSPHRASE, message).with_next("type it again")
            }
            KeyError::NotAKey => {
                Self::new("not-a-key", message).with_next("`assay keygen` makes one from a model")
            }
            KeyError::Memory { .. } => Self::new("out-of-memory", message)
                .with_next("close what else runs, or make a key of fewer layers"),
            KeyError::FileTooLarge { .. } => {
                Self::new("too-large", message).with_next("is this the right file?")
            }
            KeyError::Version { .. } => {
                Self::new("key", message).with_next("use the version of Assay that made it")
            }
            // Whatever else is wrong with it, its maker can mend.
            _ => Self::new("key", message)
                .with_next("copy it again from where it was made, or make a new one"),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(err: EngineError) -> Self {
        let message = err.to_string();
        match err {
            EngineError::Cancelled => Self::cancelled(),
            EngineError::Model(err) => err.into(),
            EngineError::NoAdapter { .. } => Self::new("device", message).with_next(
                "install a GPU driver with Vulkan, Metal or DX12, or compute on Assay's own CPU kernels",
            ),
            EngineError::NoDevice { .. } | EngineError::Device(_) => {
                Self::new("device", message).with_next(OTHER_ADAPTER)
            }
            EngineError::DeviceLost(_) => Self::new("device", message)
                .with_next("the driver was reset, or a run took too long for it; try again"),
            EngineError::SelfTest { .. } | EngineError::NonFinite { .. } => {
                Self::new("self-test", message).with_next(format!(
                    "this driver computes wrongly, so its word does not count; {OTHER_ADAPTER}"
                ))
            }
            EngineError::LimitTooSmall { .. } => {
                Self::new("unsupported", message).with_next(OTHER_ADAPTER)
            }
            EngineError::OutOfMemory { .. } => Self::new("out-of-memory", message)
                .with_next("close what else uses the adapter, or choose a larger one"),
            EngineError::TooLong { .. }
            | EngineError::TokenId { .. }
            | EngineError::Sparsity(_)
            | EngineError::Unsupported(_) => Self::new("unsupported", message),
            EngineError::Shader(_) => Self::new("internal", message),
        }
    }
}
