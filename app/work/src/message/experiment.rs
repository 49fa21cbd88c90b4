//! An experiment, as a face asks for it.

use serde::{Deserialize, Serialize};

use super::DeviceChoice;

/// VeriLLM's experiments on a model, with the defaults of `assay experiment` for whatever is not said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentRequest {
    /// Which of the six, 1 to [`COUNT`](Self::COUNT); `None` for all.
    pub which: Option<u8>,
    /// Trials of each, at least one.
    pub trials: u32,
    /// Verifications of each trial, at least one.
    pub verifiers: u32,
    /// How long prompts are.
    pub prompts: PromptLength,
    /// Tokens to generate; `None` as the prompts say.
    pub tokens: Option<u32>,
    /// Where verifiers run in experiments of two devices. `Best` is the best that is not the prover's.
    pub verifier: DeviceChoice,
}

impl ExperimentRequest {
    /// How many experiments there are.
    pub const COUNT: u8 = 6;
}

/// Which prompts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PromptLength {
    /// A sentence.
    #[default]
    Short,
    /// A paragraph.
    Medium,
    /// A page.
    Long,
}

impl PromptLength {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Short, Self::Medium, Self::Long];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Medium => "medium",
            Self::Long => "long",
        }
    }
}
