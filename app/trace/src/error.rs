//! Everything that can be wrong, one variant per cause. Text from a hostile file appears only through [`shown`].

mod build;
mod commitment;
mod forge;
mod structure;

pub use build::BuildError;
pub use commitment::CommitmentError;
pub use forge::ForgeError;
pub use structure::TraceError;

/// Longest excerpt of hostile text in a message, in characters.
const MAX_SHOWN: usize = 120;

/// `text` escaped and cut, so that a message can carry it to a terminal or a page.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .take(MAX_SHOWN)
        .flat_map(|c| c.escape_default())
        .collect()
}
