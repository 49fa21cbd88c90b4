//! Errors for people: what happened, and what to do next. An error is never a verdict.

use anyhow::Error;
use assay_engine::EngineError;
use assay_experiment::ExperimentError;
use assay_model::ModelError;
use assay_prove::ProveError;
use assay_trace::{ForgeError, TraceError};
use assay_verify::VerifyError;

use crate::exit::Exit;
use crate::interrupt;
use crate::output::{Output, StdoutError, Style};
use crate::text;

/// Where there is nothing to compute on.
pub const NO_ADAPTER_HINT: &str = "\
install a GPU driver with Vulkan, Metal or DX12; without a GPU, on Debian or Ubuntu:
apt-get install mesa-vulkan-drivers
or compute on the CPU: --adapter cpu";

/// The trace is malformed: a rejection, not a failure of this program.
#[derive(Debug)]
pub struct Malformed(pub TraceError);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "structure: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Tells of `err` on stderr, and chooses the exit code.
pub fn report(err: &Error, output: &Output) -> Exit {
    if err
        .downcast_ref::<StdoutError>()
        .is_some_and(StdoutError::is_closed)
    {
        return Exit::Ok; // whoever read us has had enough
    }
    if interrupt::requested() {
        output.note("interrupted");
        return Exit::Interrupted;
    }
    // A checkpoint's names are an attacker's; what it says is one line, whatever line breaks are in it.
    let mut shown = text::plain(&format!("{err:#}"));
    if model_error(err).is_some() {
        shown = shown.replace('\n', "\\n");
    }
    let (message, next_step) = match shown.split_once('\n') {
        Some((message, next_step)) => (message, Some(next_step.to_owned())),
        None => (shown.as_str(), None),
    };
    output.note(format_args!(
        "{} {message}",
        output.paint_note(Style::Bad, "error:")
    ));
    for line in next_step
        .or_else(|| hint(err))
        .iter()
        .flat_map(|hint| hint.lines())
    {
        output.note(format_args!("       {line}"));
    }
    if err.downcast_ref::<Malformed>().is_some() {
        Exit::Reject
    } else {
        Exit::Error
    }
}

/// The next step, for errors of the libraries, which do not know of flags.
fn hint(err: &Error) -> Option<String> {
    if let Some(engine) = engine_error(err) {
        return engine_hint(engine);
    }
    match err.downcast_ref() {
        Some(ExperimentError::NoTokenizer) => {
            return Some("give it with --tokenizer FILE".to_owned());
        }
        Some(ExperimentError::TooLong { .. }) => {
            return Some("use shorter prompts, or -n".to_owned());
        }
        _ => {}
    }
    if let Some(ForgeError::Structure(_)) = err.downcast_ref() {
        return Some("this is no trace file".to_owned());
    }
    match model_error(err)? {
        ModelError::TokenizerChoice { .. } => Some("give it with --tokenizer FILE".to_owned()),
        ModelError::TokenizerVocab { .. } => {
            Some("give the tokenizer that belongs to the model with --tokenizer FILE".to_owned())
        }
        ModelError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Some("check the path; without --model, the demo model is used".to_owned())
        }
        ModelError::DiskFull { .. } => {
            Some("free some space, or write elsewhere; nothing was kept".to_owned())
        }
        ModelError::Exists { .. } => Some("name a folder that does not exist yet".to_owned()),
        _ => None,
    }
}

fn engine_hint(err: &EngineError) -> Option<String> {
    Some(match err {
        EngineError::NoAdapter { found, .. } if found == "none" => NO_ADAPTER_HINT.to_owned(),
        EngineError::NoAdapter { .. } => "`assay adapters` lists them; `--adapter cpu` needs none".to_owned(),
        EngineError::NoDevice { .. } | EngineError::Device(_) => {
            "try another adapter (`assay adapters` lists them), or --adapter cpu".to_owned()
        }
        EngineError::SelfTest { .. } | EngineError::NonFinite { .. } => {
            "this driver computes wrongly, so its word does not count; try another adapter, or --adapter cpu".to_owned()
        }
        EngineError::LimitTooSmall { .. } => "try a larger adapter, or --adapter cpu".to_owned(),
        EngineError::OutOfMemory { .. } => {
            "close what else uses the adapter, use a larger one, or --adapter cpu".to_owned()
        }
        EngineError::DeviceLost(_) => "the driver was reset, or a run took too long for it; run again".to_owned(),
        _ => return None,
    })
}

/// The engine's error in `err`, whichever library carries it.
fn engine_error(err: &Error) -> Option<&EngineError> {
    let carried = match err.downcast_ref() {
        Some(ProveError::Engine(engine)) => Some(engine),
        _ => None,
    };
    let judged = match err.downcast_ref() {
        Some(VerifyError::Engine(engine)) => Some(engine),
        _ => None,
    };
    let tried = match err.downcast_ref() {
        Some(ExperimentError::Engine(engine))
        | Some(ExperimentError::Prove(ProveError::Engine(engine))) => Some(engine),
        _ => None,
    };
    err.downcast_ref().or(carried).or(judged).or(tried)
}

fn model_error(err: &Error) -> Option<&ModelError> {
    let carried = match engine_error(err) {
        Some(EngineError::Model(model)) => Some(model),
        _ => None,
    };
    let judged = match err.downcast_ref() {
        Some(VerifyError::Model(model)) => Some(model),
        _ => None,
    };
    let tried = match err.downcast_ref() {
        Some(ExperimentError::Model(model)) => Some(model),
        _ => None,
    };
    err.downcast_ref().or(carried).or(judged).or(tried)
}
