//! A text as documents of tokens: what activations are collected on and perplexity is measured on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use assay_model::Model;
use assay_trace::Digest;

/// Bytes that a text may have.
const MAX_BYTES: u64 = 256 << 20;

/// The text's flags.
#[derive(Debug, clap::Args)]
pub struct TextArgs {
    /// The text: UTF-8; a blank line may end a document
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,

    /// Use this many tokens of it
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens: u32,

    /// Tokens of a document, at most: paragraphs are gathered until it is full
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..))]
    pub window: u32,
}

/// Documents, each of which is run from position 0.
pub struct Corpus {
    /// Tokens of each.
    pub documents: Vec<Vec<u32>>,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// The file's name.
    pub name: String,
}

impl TextArgs {
    /// Reads and cuts the text.
    pub fn read(&self, model: &Model) -> anyhow::Result<Corpus> {
        let tokenizer = model
            .tokenizer()
            .context("the model has no tokenizer\ngive it with --tokenizer FILE")?;
        let shown = self.text.display();
        let bytes = std::fs::metadata(&self.text)
            .with_context(|| format!("cannot read {shown}"))?
            .len();
        ensure!(
            bytes <= MAX_BYTES,
            "{shown} has {bytes} bytes, want at most {MAX_BYTES}"
        );
        let text =
            std::fs::read_to_string(&self.text).with_context(|| format!("cannot read {shown}"))?;
        let window = (self.window as usize).min(model.config().context);
        let most = self.tokens as usize;
        let (mut documents, mut left) = (Vec::new(), most);
        let mut gathered = String::new();
        for paragraph in text.split("\n\n").filter(|p| !p.trim().is_empty()) {
            if !gathered.is_empty() {
                gathered.push_str("\n\n");
            }
            gathered.push_str(paragraph);
            let ids = tokenizer.encode(&gathered)?;
            if ids.len() >= window {
                left -= take(ids, window.min(left), &mut documents);
                gathered.clear();
            }
            if left == 0 {
                break;
            }
        }
        if left > 0 && !gathered.is_empty() {
            take(
                tokenizer.encode(&gathered)?,
                window.min(left),
                &mut documents,
            );
        }
        ensure!(!documents.is_empty(), "{shown} holds no text");
        Ok(Corpus {
            documents,
            digest: Digest::of(text.as_bytes()),
            name: name(&self.text),
        })
    }
}

/// Keeps at most so many tokens as a document, and says how many those were.
fn take(mut ids: Vec<u32>, most: usize, documents: &mut Vec<Vec<u32>>) -> usize {
    ids.truncate(most);
    let taken = ids.len();
    // One token predicts nothing and follows from nothing.
    if taken > 1 {
        documents.push(ids);
    }
    taken
}

impl Corpus {
    /// Tokens of all documents.
    pub fn tokens(&self) -> u64 {
        self.documents.iter().map(|d| d.len() as u64).sum()
    }
}

/// The file's name as a dataset may hold it: printable ASCII, at most 256 bytes.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = assay_trace::Manifest::printable(&name);
    match name.is_empty() {
        true => "text".to_owned(),
        false => name,
    }
}
