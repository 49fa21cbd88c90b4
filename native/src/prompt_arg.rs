//! A prompt as text or as ids, and the checks that every prompt must pass before anything is loaded.

use anyhow::{Context as _, bail, ensure};
use assay_model::Model;

/// The prompt's flags: exactly one of the two.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct PromptArgs {
    /// Prompt as text, encoded by the model's tokenizer
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,

    /// Prompt as token ids, such as 1,2,3; needs no tokenizer
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    pub prompt_ids: Option<String>,
}

impl PromptArgs {
    /// The ids, all within the vocabulary and together within the context.
    pub fn ids(&self, model: &Model) -> anyhow::Result<Vec<u32>> {
        let ids = ids(self.prompt.as_deref(), self.prompt_ids.as_deref(), model)?;
        let (config, got) = (model.config(), ids.len());
        ensure!(got > 0, "the prompt is empty\ngive at least one token");
        if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab) {
            bail!(
                "prompt id {id} is beyond the model's vocabulary: want ids below {}",
                config.vocab
            );
        }
        let context = config.context;
        ensure!(
            got <= context,
            "the prompt is too long: got {got} tokens, the model's context has {context}"
        );
        Ok(ids)
    }
}

/// Encodes text or parses ids, whichever is given.
pub fn ids(text: Option<&str>, ids: Option<&str>, model: &Model) -> anyhow::Result<Vec<u32>> {
    match (text, ids) {
        (_, Some(list)) => listed(list),
        (Some(text), None) => {
            let tokenizer = model
                .tokenizer()
                .context("this checkpoint has no tokenizer\ngive the prompt as --prompt-ids")?;
            Ok(tokenizer.encode(text)?)
        }
        (None, None) => bail!("no prompt\ngive --prompt or --prompt-ids"),
    }
}

/// `1,2,3`, spaces allowed.
pub fn listed(list: &str) -> anyhow::Result<Vec<u32>> {
    if list.trim().is_empty() {
        return Ok(Vec::new());
    }
    let id = |part: &str| {
        let shown = crate::text::quoted(part.trim());
        part.trim()
            .parse()
            .ok()
            .with_context(|| format!("not a token id: {shown}\nwant numbers with commas: 1,2,3"))
    };
    list.split(',').map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn id_lists() {
        assert_eq!(listed("1, 2,3").ok(), Some(vec![1, 2, 3]));
        assert_eq!(listed("").ok(), Some(vec![]));
        for bad in ["1,,2", "1;2", "-1", "4294967296", "1,", "x"] {
            assert!(listed(bad).is_err(), "{bad}");
        }
    }
}
