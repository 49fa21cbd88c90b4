//! The steps of a long job as a user sees them, and which stage belongs to which.

use assay_work::message::Stage;

use crate::jobs::Purpose;

/// Most steps that a job has.
pub(crate) const MOST: usize = 9;

/// A step that a user sees: several stages may make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its name.
    pub label: &'static str,
    /// What happens in it.
    pub tip: &'static str,
    /// What its figures count.
    pub unit: Unit,
}

/// What a stage counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Tokens,
    Layers,
    Checks,
    Trials,
    /// Nothing: it is done at once, or nobody can tell how far it is.
    Nothing,
}

const READ: Step = Step {
    label: "Read the trace",
    tip: "Its bytes, and what it claims",
    unit: Unit::Bytes,
};
const HASH: Step = Step {
    label: "Hash the weights",
    tip: "Are they the ones the trace names?",
    unit: Unit::Bytes,
};
const LOAD: Step = Step {
    label: "Load the model",
    tip: "Weights onto the device, and a self-test of it",
    unit: Unit::Bytes,
};
const RUN: Step = Step {
    label: "Run it again",
    tip: "Prompt and answer through every layer",
    unit: Unit::Tokens,
};
const CHECK: Step = Step {
    label: "Compare",
    tip: "Hidden states and tokens against limits",
    unit: Unit::Checks,
};
const AUDIT: Step = Step {
    label: "Audit the layers",
    tip: "Opened products against the key’s projections, attention again",
    unit: Unit::Layers,
};
const JUDGE: Step = Step {
    label: "Judge",
    tip: "Rows, elements and tokens against limits",
    unit: Unit::Checks,
};
const FETCH: Step = Step {
    label: "Open the model",
    tip: "Its files, and their hash",
    unit: Unit::Bytes,
};
const PROMPT: Step = Step {
    label: "Run the prompt",
    tip: "All its tokens at once",
    unit: Unit::Tokens,
};
const DECODE: Step = Step {
    label: "Generate",
    tip: "One token after the other, each layer hashed",
    unit: Unit::Tokens,
};
const OPEN: Step = Step {
    label: "Open yours",
    tip: "What must the receipt name?",
    unit: Unit::Bytes,
};
const CONNECT: Step = Step {
    label: "Connect",
    tip: "What does the prover say it is?",
    unit: Unit::Nothing,
};
const ANSWER: Step = Step {
    label: "Take the answer",
    tip: "Token by token, as it runs",
    unit: Unit::Tokens,
};
const RECEIPT: Step = Step {
    label: "Take the receipt",
    tip: "From here on it cannot change its story",
    unit: Unit::Nothing,
};
const CHALLENGE: Step = Step {
    label: "Challenge",
    tip: "Only now is drawn what to open",
    unit: Unit::Nothing,
};
const OPENING: Step = Step {
    label: "Take the opening",
    tip: "Does it fit the receipt?",
    unit: Unit::Bytes,
};

const TRIALS: Step = Step {
    label: "Run trials",
    tip: "A prover, then its verifiers, again and again; what was done before is kept",
    unit: Unit::Trials,
};

/// The steps of a job.
pub(crate) fn of(purpose: &Purpose) -> &'static [Step] {
    match purpose {
        Purpose::Prove => const { &[FETCH, LOAD, PROMPT, DECODE] },
        Purpose::Audit => const { &[READ, AUDIT, JUDGE] },
        Purpose::Experiment => const { &[FETCH, TRIALS] },
        Purpose::Ask => {
            const {
                &[
                    OPEN, CONNECT, ANSWER, RECEIPT, CHALLENGE, OPENING, LOAD, RUN, CHECK,
                ]
            }
        }
        Purpose::AskWithKey => {
            const {
                &[
                    OPEN, CONNECT, ANSWER, RECEIPT, CHALLENGE, OPENING, AUDIT, JUDGE,
                ]
            }
        }
        _ => const { &[READ, HASH, LOAD, RUN, CHECK] },
    }
}

/// The step that `stage` belongs to, in a job that has come to step `now`.
pub(crate) fn index(purpose: &Purpose, stage: Stage, now: usize) -> usize {
    match purpose {
        Purpose::Audit => match stage {
            Stage::Prefill | Stage::Decode => 1,
            Stage::Checks => 2,
            _ => 0,
        },
        Purpose::Prove => match stage {
            Stage::Load => 1,
            Stage::Prefill => 2,
            Stage::Decode | Stage::Checks => 3,
            _ => 0,
        },
        Purpose::Experiment => match stage {
            Stage::Fetch | Stage::Read | Stage::Hash => 0,
            _ => 1,
        },
        Purpose::Ask | Purpose::AskWithKey => of_asking(purpose, stage, now),
        _ => match stage {
            Stage::Hash => 1,
            Stage::Load => 2,
            Stage::Prefill | Stage::Decode => 3,
            Stage::Checks => 4,
            _ => 0,
        },
    }
}

fn of_asking(purpose: &Purpose, stage: Stage, now: usize) -> usize {
    let by_key = *purpose == Purpose::AskWithKey;
    match stage {
        // Weights are hashed to know what to ask for, and again by the verification.
        Stage::Hash if now > 0 => 6,
        Stage::Fetch | Stage::Read | Stage::Hash | Stage::Trials => 0,
        Stage::Connect => 1,
        Stage::Answer => 2,
        Stage::Receipt => 3,
        Stage::Challenge => 4,
        Stage::Opening => 5,
        Stage::Load => 6,
        Stage::Prefill | Stage::Decode if by_key => 6,
        Stage::Checks if by_key => 7,
        Stage::Prefill | Stage::Decode => 7,
        Stage::Checks => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 13] = [
        Stage::Fetch,
        Stage::Read,
        Stage::Hash,
        Stage::Load,
        Stage::Prefill,
        Stage::Decode,
        Stage::Checks,
        Stage::Connect,
        Stage::Answer,
        Stage::Receipt,
        Stage::Challenge,
        Stage::Opening,
        Stage::Trials,
    ];

    #[test]
    fn every_stage_has_a_step_and_the_last_ones_come_last() {
        for purpose in [
            Purpose::Verify,
            Purpose::Audit,
            Purpose::Prove,
            Purpose::Experiment,
            Purpose::Ask,
            Purpose::AskWithKey,
        ] {
            let steps = of(&purpose);
            assert!(steps.len() <= MOST);
            for stage in STAGES {
                assert!(
                    index(&purpose, stage, 0) < steps.len(),
                    "{purpose:?} {stage:?}"
                );
            }
            assert_eq!(index(&purpose, Stage::Checks, 0), steps.len() - 1);
        }
        let asking = [
            Stage::Hash,
            Stage::Connect,
            Stage::Answer,
            Stage::Receipt,
            Stage::Challenge,
            Stage::Opening,
            Stage::Hash,
            Stage::Prefill,
            Stage::Checks,
        ];
        let mut now = 0;
        for (want, stage) in asking.into_iter().enumerate() {
            now = index(&Purpose::Ask, stage, now);
            assert_eq!(now, want, "{stage:?}");
        }
    }
}
