//! Why a sheet is refused.

/// Why a sheet is refused.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// More bytes than [`MAX_BYTES`](crate::MAX_BYTES).
    #[error("{bytes} bytes, and a sheet has at most {}", crate::MAX_BYTES)]
    TooLarge {
        /// How many there are.
        bytes: u64,
    },
    /// It is not JSON, or has other fields.
    #[error("no sheet: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format, or a version that this program does not know.
    #[error(
        "{format} version {version}, want {} version {}",
        crate::Sheet::FORMAT,
        crate::Sheet::VERSION
    )]
    Version {
        /// What it says that it is.
        format: String,
        /// And of which version.
        version: u32,
    },
    /// More of something than can be drawn.
    #[error("{got} {what}, at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many there may be.
        most: usize,
    },
    /// A row with another number of cells than its table has columns, or a band of another length than its series.
    #[error("{what} has {got} entries, want {want}")]
    Width {
        /// Which.
        what: &'static str,
        /// How many it has.
        got: usize,
        /// How many it should have.
        want: usize,
    },
    /// A frame of a flame chart that does not lie within the one above it.
    #[error("frame {frame} of a flame chart lies outside the one above it")]
    Outside {
        /// Its index.
        frame: usize,
    },
    /// A number that no chart can show.
    #[error("{what} holds {value}, which cannot be drawn")]
    Number {
        /// Where.
        what: &'static str,
        /// It.
        value: f64,
    },
}
