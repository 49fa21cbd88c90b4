//! Words that nobody else may see, on their way to the worker.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A key's passphrase or a prover's token. `Debug` does not show it.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of sight.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, to decrypt with or to send.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The same, to be typed into.
    pub fn expose_mut(&mut self) -> &mut String {
        &mut self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
