//! Why a forged trace cannot even be written.

use crate::TraceError;

/// An edited trace whose arrays do not fit its manifest, or bytes that were no trace to begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// The starting point is not a trace.
    #[error(transparent)]
    Structure(#[from] TraceError),
    /// An array has not the length that the manifest's counts call for.
    #[error("`{array}` has {got} entries, want {want}")]
    Length {
        /// Which array.
        array: &'static str,
        /// Its length.
        got: usize,
        /// The length called for.
        want: usize,
    },
}
