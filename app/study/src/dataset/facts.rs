//! `dataset.json`: what the numbers of a dataset are. Fields stand in the order in which their JSON keys sort.

use assay_trace::Digest;
use serde::{Deserialize, Serialize};

use super::{Split, Stream};
use crate::error::shown;
use crate::{Stored, StudyError};

/// Most rows of a dataset. It bounds what a list of row numbers takes: 64 MiB.
pub const MAX_ROWS: u64 = 1 << 24;

const PLACE: &str = "`dataset.json`";
pub(super) const MAX_JSON_BYTES: u64 = 1 << 20;

/// What the MLP's activations are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// SiLU(gate) * up, as in Llama. Hardly ever exactly zero, and negative about as often as positive.
    SiluGated,
    /// max(up, 0), as in OPT. Most are exactly zero.
    Relu,
}

/// The text that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFacts {
    /// SHA-256 of the text's bytes.
    pub digest: Digest,
    /// A name for people: 1 to 256 printable ASCII characters.
    pub name: String,
}

/// What a dataset holds and how it was made. Everything that its numbers depend on, so that a run can be continued or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetFacts {
    /// What `mlp_y` holds.
    pub activation: Activation,
    /// Stored type of the matrices.
    pub dtype: Stored,
    /// The model's family: 1 to 64 printable ASCII characters, such as `llama`.
    pub family: String,
    /// [`DatasetFacts::FORMAT`].
    pub format: String,
    /// Attention heads (queries), 1 to 4096.
    pub heads: u32,
    /// Width of the residual stream, 1 to 2^17.
    pub hidden: u32,
    /// Neurons of an MLP, 1 to 2^20.
    pub intermediate: u32,
    /// Which layers were collected, strictly ascending.
    pub layers: Vec<u32>,
    /// Layers of the model, 1 to 1024.
    pub model_layers: u32,
    /// The model's root.
    pub root: Digest,
    /// Which documents are held out.
    pub split: Split,
    /// The text.
    pub text: TextFacts,
    /// Tokens wanted in all, 1 to [`MAX_ROWS`].
    pub tokens: u64,
    /// [`DatasetFacts::VERSION`].
    pub version: u32,
}

impl DatasetFacts {
    /// The format's name.
    pub const FORMAT: &'static str = "assay-sparse-dataset";
    /// The format's version.
    pub const VERSION: u32 = 1;

    /// Columns of a matrix.
    pub fn columns(&self, stream: Stream) -> usize {
        (match stream {
            Stream::MlpX | Stream::AttX => self.hidden,
            Stream::MlpY => self.intermediate,
            Stream::AttY => self.heads,
        }) as usize
    }

    /// Bytes of one row of a matrix.
    pub fn row_bytes(&self, stream: Stream) -> u64 {
        (self.columns(stream) * self.dtype.bytes()) as u64
    }

    /// Bytes that the whole dataset takes on the disk once it is complete.
    pub fn total_bytes(&self) -> u64 {
        let row: u64 = Stream::ALL.iter().map(|&s| self.row_bytes(s)).sum();
        // At most 2^24 rows of 2^10 layers of 2^23 bytes: no overflow.
        self.tokens * (row * self.layers.len() as u64 + super::RowId::BYTES as u64)
    }

    /// Checks every limit.
    ///
    /// # Errors
    /// The first field that breaks one.
    pub fn check(&self) -> Result<(), StudyError> {
        if self.format != Self::FORMAT {
            return Err(StudyError::Format {
                file: "dataset.json",
                got: shown(&self.format),
                want: Self::FORMAT,
            });
        }
        if self.version != Self::VERSION {
            return Err(StudyError::Version {
                file: "dataset.json",
                got: self.version,
                want: Self::VERSION,
            });
        }
        printable("family", &self.family, 64)?;
        printable("text.name", &self.text.name, 256)?;
        within("heads", self.heads.into(), 1 << 12)?;
        within("hidden", self.hidden.into(), 1 << 17)?;
        within("intermediate", self.intermediate.into(), 1 << 20)?;
        within("model_layers", self.model_layers.into(), 1 << 10)?;
        within("tokens", self.tokens, MAX_ROWS)?;
        let ascending = self.layers.is_sorted_by(|a, b| a < b);
        if !ascending
            || self
                .layers
                .last()
                .is_none_or(|&last| last >= self.model_layers)
        {
            return Err(StudyError::value(
                PLACE,
                "layers",
                shown(&format!("{:?}", self.layers)),
                format!(
                    "strictly ascending below {}, at least one",
                    self.model_layers
                ),
            ));
        }
        self.split.check()
    }

    /// The text of `dataset.json`: JSON, indented, one line feed at its end. Its SHA-256 is the dataset's digest.
    ///
    /// # Errors
    /// As [`DatasetFacts::check`].
    pub fn to_json(&self) -> Result<String, StudyError> {
        self.check()?;
        let mut text = serde_json::to_string_pretty(self).map_err(|source| StudyError::Json {
            file: "dataset.json",
            source,
        })?;
        text.push('\n');
        Ok(text)
    }

    /// Reads `dataset.json`.
    ///
    /// # Errors
    /// Not JSON, unknown or missing fields, a limit broken.
    pub fn from_json(text: &[u8]) -> Result<Self, StudyError> {
        let facts: Self = serde_json::from_slice(text).map_err(|source| StudyError::Json {
            file: "dataset.json",
            source,
        })?;
        facts.check()?;
        Ok(facts)
    }

    /// Refuses `self`, found in a folder, where a run wants `want`.
    ///
    /// # Errors
    /// Another model, another text, or the first other field that differs.
    pub fn must_be(&self, want: &Self) -> Result<(), StudyError> {
        if self.root != want.root {
            return Err(StudyError::OtherModel {
                got: self.root,
                want: want.root,
            });
        }
        if self.text.digest != want.text.digest {
            return Err(StudyError::OtherText {
                got: format!("{} ({})", shown(&self.text.name), self.text.digest),
                want: format!("{} ({})", shown(&want.text.name), want.text.digest),
            });
        }
        let differs = |what, got: String, want: String| {
            if got == want {
                Ok(())
            } else {
                Err(StudyError::Differs { what, got, want })
            }
        };
        let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
        differs("family", shown(&self.family), shown(&want.family))?;
        differs("hidden", text(&self.hidden), text(&want.hidden))?;
        differs(
            "intermediate",
            text(&self.intermediate),
            text(&want.intermediate),
        )?;
        differs("heads", text(&self.heads), text(&want.heads))?;
        differs(
            "model_layers",
            text(&self.model_layers),
            text(&want.model_layers),
        )?;
        differs("layers", text(&self.layers), text(&want.layers))?;
        differs("activation", text(&self.activation), text(&want.activation))?;
        differs("dtype", text(&self.dtype), text(&want.dtype))?;
        differs("tokens", text(&self.tokens), text(&want.tokens))?;
        differs("split", text(&self.split), text(&want.split))?;
        differs("text.name", shown(&self.text.name), shown(&want.text.name))
    }
}

fn within(key: &'static str, got: u64, most: u64) -> Result<(), StudyError> {
    if (1..=most).contains(&got) {
        Ok(())
    } else {
        Err(StudyError::value(PLACE, key, got, format!("1 to {most}")))
    }
}

fn printable(key: &'static str, text: &str, most: usize) -> Result<(), StudyError> {
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~'));
    if fits {
        Ok(())
    } else {
        Err(StudyError::value(
            PLACE,
            key,
            shown(text),
            format!("1 to {most} printable ASCII characters"),
        ))
    }
}
