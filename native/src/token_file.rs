//! The secret that a prover wants to hear: one line of a file, so that it stands in no process list.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};

/// A bearer token (RFC 6750).
#[derive(Clone)]
pub struct Token(String);

const MIN_BYTES: usize = 16;
const MAX_BYTES: usize = 512;

impl Token {
    /// Reads it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let cannot_read = || format!("cannot read the token file {}", path.display());
        let file = File::open(path).with_context(cannot_read)?;
        let mut text = String::new();
        file.take(2 * MAX_BYTES as u64)
            .read_to_string(&mut text)
            .with_context(cannot_read)?;
        Self::parse(text.trim()).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        ensure!(
            (MIN_BYTES..=MAX_BYTES).contains(&text.len()) && text.bytes().all(sound),
            "a token is {MIN_BYTES} to {MAX_BYTES} letters, digits or -._~+/=\n\
             make one: head -c 32 /dev/urandom | base64 > token"
        );
        Ok(Self(text.to_owned()))
    }

    /// The secret itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn tokens() {
        assert!(Token::parse("0123456789abcdef").is_ok());
        for bad in ["", "short", "0123456789 abcdef", "0123456789abcdef\u{e9}"] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
        let token = Token::parse("0123456789abcdef").expect("a token");
        assert!(!format!("{token:?}").contains("0123"));
    }
}
