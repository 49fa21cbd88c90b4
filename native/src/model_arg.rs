//! Which model: `--model PATH`, or the demo model that is compiled in.

use std::path::{Path, PathBuf};

use anyhow::bail;
use assay_engine::Phase;
use assay_model::Model;
use assay_model::rounded::Format;
use assay_trace::Digest;

use crate::interrupt;
use crate::output::{Output, Style};
use crate::progress::{Progress, Stage};
use crate::text;

/// The model's flags.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Hugging Face folder, `.gguf` or llama2.c `.bin` [default: the demo model in this program]
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,

    /// Tokenizer, if not the one beside the model
    #[arg(long, value_name = "FILE", requires = "model")]
    pub tokenizer: Option<PathBuf>,
}

impl ModelArgs {
    /// Opens it, and tells of anything unusual in how it was read.
    pub fn open(&self, output: &Output, quiet: bool) -> anyhow::Result<Model> {
        let model = match (&self.model, &self.tokenizer) {
            (None, _) => Model::demo()?,
            (Some(path), None) => Model::open(path)?,
            (Some(path), Some(tokenizer)) => Model::open_with_tokenizer(path, tokenizer)?,
        };
        if !quiet {
            for note in model.notes() {
                output.note(format_args!(
                    "{} {}",
                    output.paint_note(Style::Warn, "note:"),
                    text::plain(note)
                ));
            }
        }
        Ok(model)
    }

    /// How to call it.
    pub fn name(&self) -> String {
        match &self.model {
            Some(path) => path.display().to_string(),
            None => "the demo model".to_owned(),
        }
    }
}

/// Another model than `claimed`: `round:FORMAT` is the claimed one in that format, rounded to the nearest; anything else a path.
pub fn variant(claimed: &Model, what: &str) -> anyhow::Result<Model> {
    let Some(name) = what.strip_prefix("round:") else {
        return Ok(Model::open(Path::new(what))?);
    };
    match Format::named(name) {
        Some(format) => Ok(claimed.rounded(format)?),
        None => {
            let known: Vec<String> = Format::ALL
                .iter()
                .map(|format| format!("round:{}", format.name()))
                .collect();
            bail!(
                "{} is not known: want {} or a path",
                text::quoted(what),
                known.join(", ")
            )
        }
    }
}

/// The model root, with progress; Ctrl-C ends it.
pub fn root(model: &Model, progress: &mut Progress) -> anyhow::Result<Digest> {
    let hash =
        || model.root(&mut |done, total| progress.bytes(Stage::Engine(Phase::Hash), done, total));
    Ok(interrupt::stoppable(hash)??)
}
