//! What traces are held against, kept open between jobs: a checkpoint, or a key in its place.

use std::rc::Rc;
use std::sync::Arc;

use assay_model::{Model, Tokenizer};
use assay_trace::Digest;

use crate::key::OpenKey;
use crate::message::{ModelFacts, ModelSource};

/// A checkpoint or a key.
#[derive(Clone)]
pub(crate) enum Against {
    /// The weights.
    Model(Arc<Model>),
    /// What was kept of them.
    Key(Rc<OpenKey>),
}

impl Against {
    /// Turns text into ids, where there is one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            Self::Model(model) => model.tokenizer(),
            Self::Key(_) => None,
        }
    }
}

/// What is open.
pub(crate) struct Opened {
    /// Where it came from; never with a passphrase.
    source: ModelSource,
    pub against: Against,
    /// Hashed from a model's weights already.
    pub root: Option<Digest>,
}

impl Opened {
    /// Keeps `against` as what `source` names.
    pub fn new(source: &ModelSource, against: Against) -> Self {
        let source = match source {
            ModelSource::Key { source, .. } => ModelSource::key(source.clone()),
            other => other.clone(),
        };
        Self {
            source,
            against,
            root: None,
        }
    }

    /// Whether this is what `asked` means. One who gives a passphrase wants it tried.
    pub fn is(&self, asked: &ModelSource) -> bool {
        self.source == *asked
    }

    /// What a user may be told of it.
    pub fn facts(&self) -> ModelFacts {
        let name = self.source.name();
        let model = match &self.against {
            Against::Model(model) => model,
            Against::Key(key) => return key.facts(name),
        };
        let config = model.config();
        ModelFacts {
            name,
            family: config.family.as_str().to_owned(),
            dtype: model.dtype().to_owned(),
            parameters: model.parameters(),
            bytes: model.bytes(),
            layers: config.layers as u32,
            hidden: config.hidden as u32,
            vocab: config.vocab as u32,
            context: config.context as u32,
            has_tokenizer: model.tokenizer().is_some(),
            notes: model.notes().to_vec(),
            root: self.root.map(|root| root.to_string()),
            key: None,
        }
    }
}
