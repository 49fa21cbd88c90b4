//! The newer revision, byte for byte as the program writes it.

use assay_trace::Digest;

use crate::read::{Entry, Metadata, Revision, Trace};
use crate::tree;

impl Trace {
    /// A trace of `entries`, with leaves and root computed.
    pub fn seal(metadata: Metadata, entries: Vec<Entry>) -> Self {
        let leaves: Vec<Digest> = entries.iter().map(Entry::leaf).collect();
        let root = tree::root(&leaves);
        let with_text = entries.iter().all(|entry| entry.text.is_some());
        Self {
            revision: if with_text { Revision::B } else { Revision::A },
            metadata,
            entries,
            leaves,
            root,
        }
    }

    /// The file, always in the newer revision; an entry without a text gets an empty one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        };
        text(&mut out, &self.metadata.model_path);
        text(&mut out, &self.metadata.prompt);
        out.extend(self.metadata.steps.to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            out.extend(entry.position.to_le_bytes());
            out.extend(entry.token.to_le_bytes());
            text(&mut out, entry.text.as_deref().unwrap_or_default());
            out.extend(entry.logits.0);
        }
        out.extend((self.leaves.len() as u64).to_le_bytes());
        for leaf in &self.leaves {
            out.extend(leaf.0);
        }
        out.push(u8::from(self.root.is_some()));
        if let Some(root) = self.root {
            out.extend(root.0);
        }
        out
    }
}
