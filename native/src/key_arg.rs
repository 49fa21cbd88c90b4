//! Verifier keys as files: `--key FILE`, and where a passphrase comes from.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use assay_key::{Form, VerifierKey};

/// Largest key file that is read: an 8B model's has 98 MB, a 405B one's at most a few times that.
const MOST_BYTES: u64 = 4 << 30;

/// A passphrase's flag.
#[derive(Debug, clap::Args)]
pub struct PassphraseArgs {
    /// File whose first line is the key's passphrase [default: asked for on the terminal]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase, from the file or the terminal. `twice` asks again, so that a slip of the finger locks nobody out.
    pub fn read(&self, twice: bool) -> anyhow::Result<String> {
        if let Some(path) = &self.passphrase_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(text.lines().next().unwrap_or_default().to_owned());
        }
        if !std::io::stdin().is_terminal() {
            bail!(
                "the key is encrypted, and there is no terminal to ask for its passphrase\ngive it with --passphrase-file FILE"
            );
        }
        let ask = |prompt: &str| {
            rpassword::prompt_password(prompt).context("cannot read from the terminal")
        };
        let passphrase = ask("passphrase of the key: ")?;
        if twice && passphrase != ask("the same again: ")? {
            bail!("the two differ\nnothing was written; run again");
        }
        Ok(passphrase)
    }
}

/// Reads a key, decrypting it if it is encrypted.
pub fn read(path: &Path, passphrase: &PassphraseArgs) -> anyhow::Result<VerifierKey> {
    let context = || format!("cannot read the key {}", path.display());
    let mut file = std::fs::File::open(path).with_context(context)?;
    let mut bytes = Vec::new();
    (&mut file)
        .take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    let named = || format!("not a usable key: {}", path.display());
    match VerifierKey::is_key(&bytes) {
        Some(Form::Encrypted) => {
            let passphrase = passphrase.read(false)?;
            Ok(VerifierKey::decrypt(&bytes, &passphrase).with_context(named)?)
        }
        Some(Form::Plain) => Ok(VerifierKey::parse(bytes).with_context(named)?),
        None => bail!(
            "not a verifier key: {}\n`assay keygen` makes one from a model",
            path.display()
        ),
    }
}
