//! A *sheet*: what a study found, as text, tables and charts. Programs write it beside their own figures; the window and the page
//! draw it, and know nothing of the study (docs/sheet-format.md).
//!
//! A sheet from a stranger proves nothing: it is a picture of numbers. It is read as hostile all the same: sizes are capped, every
//! number is finite, rows are as wide as their table.

#![deny(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod error;
mod flame;

use serde::{Deserialize, Serialize};

pub use error::SheetError;
pub use flame::{Flame, Frame, kind};

/// Largest file that is read, bytes.
pub const MAX_BYTES: u64 = 16 << 20;

/// A study's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    /// [`Sheet::FORMAT`]. First, so that a file is told by its head.
    pub format: String,
    /// [`Sheet::VERSION`].
    pub version: u32,
    /// What it is about.
    pub title: String,
    /// What was found, in a sentence or two.
    pub lead: String,
    /// How it was made: command, adapter, model, date and so on, name and value.
    pub facts: Vec<(String, String)>,
    /// In the order of reading.
    pub sections: Vec<Section>,
}

/// A part with a heading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Its heading.
    pub heading: String,
    /// In the order of reading.
    pub blocks: Vec<Block>,
}

/// Part of a section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// A chart.
    Chart(Chart),
    /// A flame chart.
    Flame(Flame),
}

/// Rows of cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What the rows are.
    pub caption: String,
    /// Names of the columns, units in them.
    pub columns: Vec<String>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number, shown to about three significant digits.
    Number(f64),
    /// Words.
    Text(String),
    /// Not measured, or not defined.
    Nothing,
}

impl From<f64> for Cell {
    /// What is not finite is nothing.
    fn from(value: f64) -> Self {
        match value.is_finite() {
            true => Self::Number(value),
            false => Self::Nothing,
        }
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Nothing, Self::from)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// Series over one pair of axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// At most [`MAX_SERIES`], so that each can have a mark and a colour of its own.
    pub series: Vec<Series>,
    /// Lines across the chart: limits, and figures that somebody else published.
    pub marks: Vec<Mark>,
}

/// Most series of a chart.
pub const MAX_SERIES: usize = 8;

/// An axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// How numbers lie on it.
    pub scale: Scale,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            scale: Scale::Linear,
        }
    }

    /// A logarithmic axis; its numbers are above zero.
    pub fn log(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            scale: Scale::Log,
        }
    }
}

/// How numbers lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm.
    Log,
}

/// Points of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub style: Style,
    /// x and y.
    pub points: Vec<[f64; 2]>,
    /// Lower and upper ends of an interval around each point, or empty.
    pub band: Vec<[f64; 2]>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// A line through its points, which are marked.
    Line,
    /// Points alone.
    Dots,
    /// A bar from zero to each point.
    Bars,
}

/// A line across a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// What it is.
    pub label: String,
    /// Whether it is at one x or at one y.
    pub axis: Across,
    /// Where.
    pub at: f64,
}

/// Which axis a mark is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Across {
    /// At one x: upright.
    X,
    /// At one y: level.
    Y,
}

impl Sheet {
    /// The format's name.
    pub const FORMAT: &'static str = "assay-sheet";
    /// The format's version.
    pub const VERSION: u32 = 1;

    /// An empty one.
    pub fn new(title: &str, lead: &str) -> Self {
        Self {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            title: title.to_owned(),
            lead: lead.to_owned(),
            facts: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// With a fact of how it was made.
    pub fn fact(mut self, name: &str, value: impl Into<String>) -> Self {
        self.facts.push((name.to_owned(), value.into()));
        self
    }

    /// With a section.
    pub fn section(mut self, heading: &str, blocks: Vec<Block>) -> Self {
        self.sections.push(Section {
            heading: heading.to_owned(),
            blocks,
        });
        self
    }

    /// Whether a file that begins with `head` says that it is one.
    pub fn is_sheet(head: &[u8]) -> bool {
        let compact = head.iter().copied().filter(|b| !b.is_ascii_whitespace());
        let want = br#"{"format":"assay-sheet""#;
        compact.take(want.len()).eq(want.iter().copied())
    }

    /// Reads one, which may come from anybody.
    ///
    /// # Errors
    /// Too large, no JSON of this form, or against one of the rules in docs/sheet-format.md.
    pub fn parse(bytes: &[u8]) -> Result<Self, SheetError> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(SheetError::TooLarge {
                bytes: bytes.len() as u64,
            });
        }
        let sheet: Self = serde_json::from_slice(bytes)?;
        sheet.check()?;
        Ok(sheet)
    }

    /// Indented JSON with a line feed at its end.
    ///
    /// # Errors
    /// What [`Sheet::parse`] would refuse.
    pub fn to_json(&self) -> Result<String, SheetError> {
        self.check()?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}
