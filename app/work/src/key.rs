//! A verifier key's file, read whole: looked at first, decrypted if it must be.

use assay_key::{Form, HEAD_BYTES, VerifierKey};
use assay_model::ByteSource;

use crate::message::{Failure, JobId, KeyFacts, ModelFacts, Secret, Source, Stage};
use crate::monitor::JobMonitor;
use crate::platform::Platform;
use crate::read;

/// A key, and how its file was.
pub(crate) struct OpenKey {
    pub key: VerifierKey,
    form: Form,
    bytes: u64,
}

/// Reads a key. What is none is refused by its first bytes, and an encrypted one without a passphrase before the rest is read.
pub(crate) async fn open<P: Platform>(
    platform: &P,
    id: JobId,
    source: &Source,
    passphrase: Option<&Secret>,
) -> Result<OpenKey, Failure> {
    let mut monitor = JobMonitor::new(platform, id);
    let file = {
        let mut fetched = |done, total| monitor.tell(Stage::Fetch, done, total);
        platform.open_key(source, &mut fetched).await?
    };
    let form = form(&*file, source)?;
    let passphrase = match (form, passphrase) {
        (Form::Encrypted, None) => return Err(assay_key::KeyError::Encrypted.into()),
        (Form::Encrypted, given) => given,
        // One that was given for another file, or from habit.
        (Form::Plain, _) => None,
    };
    let most = platform.max_trace_bytes();
    if file.len() > most {
        return Err(too_large(source, file.len(), most));
    }
    let bytes = read::whole(platform, &mut monitor, &*file)
        .await?
        .ok_or_else(|| too_large(source, file.len(), most))?;
    let key = match passphrase {
        Some(passphrase) => VerifierKey::decrypt(&bytes, passphrase.expose())?,
        None => VerifierKey::parse(bytes)?,
    };
    // Decrypting takes a while, and nobody may want it any more.
    monitor.check()?;
    Ok(OpenKey {
        key,
        form,
        bytes: file.len(),
    })
}

fn form(file: &dyn ByteSource, source: &Source) -> Result<Form, Failure> {
    let len = usize::try_from(file.len()).unwrap_or(HEAD_BYTES);
    let head = file.read(0, len.min(HEAD_BYTES))?;
    VerifierKey::is_key(&head).ok_or_else(|| {
        let message = format!("`{}` is no verifier key", source.name());
        Failure::new("not-a-key", message).with_next("`assay keygen` makes one from a model")
    })
}

fn too_large(source: &Source, bytes: u64, most: u64) -> Failure {
    Failure::new(
        "too-large",
        format!(
            "`{}` has {bytes} bytes, and the largest key that can be read here has {most}",
            source.name()
        ),
    )
    .with_next("use the desktop program on a machine with more memory, or a key of fewer layers")
}

impl OpenKey {
    /// What may be told of it; `name` is what a user would call it.
    pub fn facts(&self, name: String) -> ModelFacts {
        let (key, config) = (&self.key, self.key.config());
        ModelFacts {
            name,
            family: config.family.as_str().to_owned(),
            dtype: key.model_dtype().to_owned(),
            parameters: key.parameters(),
            bytes: self.bytes,
            layers: config.layers as u32,
            hidden: config.hidden as u32,
            vocab: config.vocab as u32,
            context: config.context as u32,
            has_tokenizer: false,
            notes: Vec::new(),
            root: Some(key.model_root().to_string()),
            key: Some(KeyFacts {
                id: key.id().to_string(),
                projections: key.projections() as u32,
                rows: key.rows() as u32,
                layers: key.layers().to_vec(),
                is_encrypted: self.form == Form::Encrypted,
                producer: key.producer().to_owned(),
            }),
        }
    }
}
