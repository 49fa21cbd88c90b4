//! What each command is called, what it does, and which keys run it.

use egui::{Key, KeyboardShortcut, Modifiers};

use super::Command;

/// What is known about a command.
pub(crate) struct Facts {
    /// For links, tests and the page; never changes.
    pub name: &'static str,
    /// On menus.
    pub label: &'static str,
    /// What it does.
    pub tip: &'static str,
    /// The first is shown; all work.
    pub shortcuts: &'static [KeyboardShortcut],
}

const fn ctrl(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND, key)
}

const fn alone(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::NONE, key)
}

impl Command {
    /// What is known about it.
    pub fn facts(self) -> Facts {
        let facts = |name, label, tip, shortcuts| Facts {
            name,
            label,
            tip,
            shortcuts,
        };
        match self {
            Self::VerifySample => facts(
                "verify-sample",
                "Verify the sample trace",
                "An honest trace of the demo model, checked on this machine",
                &[],
            ),
            Self::SampleSwapped => facts(
                "verify-swapped",
                "Sample with a swapped token",
                "One token replaced and every hash made to fit: only running the model tells",
                &[],
            ),
            Self::SampleFlipped => facts(
                "verify-flipped",
                "Sample with a flipped byte",
                "One byte changed on the way: the hashes tell",
                &[],
            ),
            Self::OpenFiles => facts(
                "open-files",
                "Open files…",
                "A trace, a model file, a verifier key, or several at once",
                const { &[ctrl(Key::O)] },
            ),
            Self::OpenFolder => facts(
                "open-folder",
                "Open model folder…",
                "A checkpoint's folder with config.json, tokenizer.json and safetensors",
                const {
                    &[KeyboardShortcut::new(
                        Modifiers::COMMAND.plus(Modifiers::SHIFT),
                        Key::O,
                    )]
                },
            ),
            Self::OpenKey => facts(
                "open-key",
                "Open verifier key…",
                "Audits a trace without the weights; the key stays in this machine's memory",
                &[],
            ),
            Self::DemoModel => facts(
                "demo-model",
                "Use the demo model",
                "The small Llama that comes with Assay",
                &[],
            ),
            Self::Verify => facts(
                "verify",
                "Verify",
                "Run the claimed inference again and compare, or audit it with a key; on the Ask page, ask first",
                const { &[ctrl(Key::Enter)] },
            ),
            Self::Edit => facts(
                "edit",
                "Change and verify again…",
                "Back to trace, model and what you asked for",
                const { &[ctrl(Key::E)] },
            ),
            Self::Prove => facts(
                "prove",
                "Prove…",
                "Run the model on a prompt of yours and keep a trace",
                &[],
            ),
            Self::RunProve => facts(
                "run-prove",
                "Generate with a trace",
                "Runs the prompt of the Prove page",
                &[],
            ),
            Self::Strict => facts(
                "strict-numerics",
                "Strict numerics on or off",
                "Whether the next trace promises the same bits on every device",
                &[],
            ),
            Self::Experiments => facts(
                "experiments",
                "Experiments…",
                "How often honest runs pass here, and dishonest ones are caught",
                &[],
            ),
            Self::RunExperiment => facts(
                "run-experiment",
                "Run experiments",
                "Runs what the Study page says; finished trials are kept",
                &[],
            ),
            Self::Ask => facts(
                "ask",
                "Ask a live prover…",
                "A server answers your prompt, commits to its run, and learns only then what it must open",
                &[],
            ),
            Self::RunAsk => facts(
                "run-ask",
                "Ask and verify",
                "Sends the prompt of the Ask page, and verifies what comes back",
                &[],
            ),
            Self::Cancel => facts(
                "cancel",
                "Cancel",
                "Stop the job that runs, or close what is open",
                const { &[alone(Key::Escape)] },
            ),
            Self::StartOver => facts(
                "start-over",
                "Start over",
                "Puts trace and result away",
                &[],
            ),
            Self::ShowOverview => facts(
                "show-overview",
                "Show the overview",
                "Coverage and every check",
                const { &[alone(Key::Num1)] },
            ),
            Self::ShowAudit => facts(
                "show-audit",
                "Show the audit",
                "Streams, tests and openings of a verification with a key",
                const { &[alone(Key::Num5)] },
            ),
            Self::ShowTokens => facts(
                "show-tokens",
                "Show text and states",
                "The tokens, and a map of every layer and position",
                const { &[alone(Key::Num2)] },
            ),
            Self::ShowFigures => facts(
                "show-figures",
                "Show distributions",
                "Curves and histograms against the calibration profile",
                const { &[alone(Key::Num3)] },
            ),
            Self::ShowEvidence => facts(
                "show-evidence",
                "Show hashes and device",
                "Hashes, the calibration profile, the device",
                const { &[alone(Key::Num4)] },
            ),
            Self::NextToken => facts(
                "next-token",
                "Next token",
                "Selects the next position",
                const { &[alone(Key::ArrowRight)] },
            ),
            Self::PreviousToken => facts(
                "previous-token",
                "Previous token",
                "Selects the position before",
                const { &[alone(Key::ArrowLeft)] },
            ),
            Self::NextLayer => facts(
                "next-layer",
                "Next layer",
                "Selects the next compared layer",
                const { &[alone(Key::ArrowUp)] },
            ),
            Self::PreviousLayer => facts(
                "previous-layer",
                "Previous layer",
                "Selects the compared layer before",
                const { &[alone(Key::ArrowDown)] },
            ),
            Self::NextProblem => facts(
                "next-problem",
                "Next token that fails",
                "Selects the next token beyond its limit",
                const { &[alone(Key::N)] },
            ),
            Self::ResetPlot => facts(
                "reset-plot",
                "Reset plots",
                "Shows all of every plot again",
                const { &[alone(Key::R)] },
            ),
            Self::SaveReport => facts(
                "save-report",
                "Save report (JSON)",
                "The same bytes as `assay --verify --json`",
                const { &[ctrl(Key::S)] },
            ),
            Self::SaveSheet => facts(
                "save-sheet",
                "Save the study (JSON)",
                "Tables and charts of the Study page as sheet.json, to be opened here or elsewhere",
                &[],
            ),
            Self::SaveStatement => facts(
                "save-statement",
                "Save in-toto statement",
                "For attestation tools: predicate Simple Verification Result",
                &[],
            ),
            Self::SaveCsv => facts(
                "save-csv",
                "Save figures (CSV)",
                "A line for each compared state and judged token; of an audit, for each stream",
                &[],
            ),
            Self::SavePlot => facts(
                "save-plot",
                "Save plot (PNG)",
                "The plot that is on screen, as it is",
                &[],
            ),
            Self::SaveTrace => facts(
                "save-trace",
                "Save the trace",
                "The trace that was just proven, or that a live prover opened",
                &[],
            ),
            Self::CopyReport => facts(
                "copy-report",
                "Copy report",
                "The report's JSON as text",
                &[],
            ),
            Self::Palette => facts(
                "palette",
                "Command palette",
                "Everything Assay can do, by name",
                const { &[ctrl(Key::K), ctrl(Key::P)] },
            ),
            Self::Help => facts(
                "help",
                "Help and shortcuts",
                "What the words mean, and which key does what",
                const { &[alone(Key::Questionmark), alone(Key::F1)] },
            ),
            Self::Devices => facts("devices", "Devices…", "Which GPU does the work", &[]),
            Self::Storage => facts(
                "storage",
                "Storage…",
                "Weights kept on this machine, and their size",
                &[],
            ),
            Self::About => facts(
                "about",
                "About Assay",
                "Version, and what leaves this machine",
                &[],
            ),
            Self::ThemeSystem => facts(
                "theme-system",
                "Theme: as the system",
                "Follows the system",
                &[],
            ),
            Self::ThemeDark => facts("theme-dark", "Theme: dark", "Light on dark", &[]),
            Self::ThemeLight => facts("theme-light", "Theme: light", "Dark on light", &[]),
            Self::ZoomIn => facts(
                "zoom-in",
                "Zoom in",
                "Everything larger",
                const { &[ctrl(Key::Plus), ctrl(Key::Equals)] },
            ),
            Self::ZoomOut => facts(
                "zoom-out",
                "Zoom out",
                "Everything smaller",
                const { &[ctrl(Key::Minus)] },
            ),
            Self::ZoomReset => facts(
                "zoom-reset",
                "Normal size",
                "Zoom back to 100 %",
                const { &[ctrl(Key::Num0)] },
            ),
            Self::ResetSettings => facts(
                "reset-settings",
                "Reset settings",
                "Theme, zoom, sampler and device as at the first start",
                &[],
            ),
        }
    }
}
