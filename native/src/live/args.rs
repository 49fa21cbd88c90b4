//! Flags that belong to `--verify http://...`.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use assay_live::{Amount, Ask};
use assay_model::Model;
use assay_work::live;

use crate::prompt_arg::{self, PromptArgs};
use crate::sampler_arg::SamplerArgs;

/// The flags.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A live prover (--verify http://HOST:PORT)")]
pub struct LiveArgs {
    /// Prompt to send, as text
    #[arg(
        long,
        value_name = "TEXT",
        requires = "verify",
        conflicts_with = "prompt_ids",
        allow_hyphen_values = true
    )]
    prompt: Option<String>,

    /// Prompt to send, as token ids such as 1,2,3
    #[arg(
        long,
        value_name = "IDS",
        requires = "verify",
        allow_hyphen_values = true
    )]
    prompt_ids: Option<String>,

    /// Ask for at most this many tokens [default: 64]
    #[arg(short = 'n', value_name = "TOKENS", requires = "verify", value_parser = clap::value_parser!(u32).range(1..))]
    n_tokens: Option<u32>,

    #[command(flatten)]
    pub sampler: SamplerArgs,

    /// Ask to go on after an end-of-sequence token
    #[arg(long, requires = "verify")]
    pub ignore_eos: bool,

    /// Layers to have opened, drawn after the receipt: a number, or `all` [default: 4]
    #[arg(long, value_name = "K", requires = "verify")]
    layers: Option<Amount>,

    /// Rows of logits to have opened, likewise [default: 16]
    #[arg(long, value_name = "K", requires = "verify")]
    logits: Option<Amount>,

    /// Token that the prover wants to hear
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub token_file: Option<PathBuf>,

    /// Keep the trace in this file
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub save: Option<PathBuf>,

    /// Longest time for the whole exchange, seconds [default: 1800]
    #[arg(long, value_name = "S", requires = "verify", value_parser = clap::value_parser!(u32).range(1..=86400))]
    timeout: Option<u32>,

    /// Largest opening to take, MiB; it is held in memory [default: 4096]
    #[arg(long, value_name = "MIB", requires = "verify", value_parser = clap::value_parser!(u64).range(1..=16384))]
    max_mib: Option<u64>,
}

impl LiveArgs {
    /// For a trace in a file, none of this means anything.
    pub fn refuse_given(&self) -> anyhow::Result<()> {
        let given = self.given();
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => bail!(
                "{flag} is for a live prover: --verify http://HOST:PORT\n\
                 what a trace in a file must say is given with --expect-prompt and the like"
            ),
            None => Ok(()),
        }
    }

    /// All flags, and whether each was given.
    fn given(&self) -> [(&'static str, bool); 14] {
        let sampler = &self.sampler;
        [
            ("--prompt", self.prompt.is_some()),
            ("--prompt-ids", self.prompt_ids.is_some()),
            ("-n", self.n_tokens.is_some()),
            ("--temperature", sampler.temperature.is_some()),
            ("--top-p", sampler.top_p.is_some()),
            ("--top-k", sampler.top_k.is_some()),
            ("--seed", sampler.seed.is_some()),
            ("--ignore-eos", self.ignore_eos),
            ("--layers", self.layers.is_some()),
            ("--logits", self.logits.is_some()),
            ("--token-file", self.token_file.is_some()),
            ("--save", self.save.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--max-mib", self.max_mib.is_some()),
        ]
    }

    /// A trace of llama2-rs in a file may be held against a prompt and a sampler; the rest is still a live prover's.
    pub fn refuse_for_llama2rs(&self) -> anyhow::Result<()> {
        let known = [
            "--prompt",
            "--prompt-ids",
            "--temperature",
            "--top-p",
            "--seed",
        ];
        let given = self.given();
        let other = given
            .iter()
            .find(|(flag, given)| *given && !known.contains(flag));
        match other {
            Some((flag, _)) => bail!("{flag} means nothing for a trace of llama2-rs"),
            None => Ok(()),
        }
    }

    /// The prompt as it was given: text, ids.
    pub fn given_prompt(&self) -> (Option<&str>, Option<&str>) {
        (self.prompt.as_deref(), self.prompt_ids.as_deref())
    }

    /// The prompt's ids, encoded by the verifier's own tokenizer, where there is one.
    pub fn prompt(&self, model: Option<&Model>) -> anyhow::Result<Vec<u32>> {
        ensure!(
            self.prompt.is_some() || self.prompt_ids.is_some(),
            "a live prover needs a prompt\ngive --prompt or --prompt-ids"
        );
        let Some(model) = model else {
            let ids = self.prompt_ids.as_deref();
            let ids = ids.context(
                "a key has no tokenizer, so a prompt cannot be sent as text\ngive it as --prompt-ids 1,2,3",
            )?;
            return prompt_arg::listed(ids);
        };
        let args = PromptArgs {
            prompt: self.prompt.clone(),
            prompt_ids: self.prompt_ids.clone(),
        };
        args.ids(model)
    }

    /// Most tokens to generate.
    pub fn n_tokens(&self) -> u32 {
        self.n_tokens.unwrap_or(live::TOKENS)
    }

    /// What to have opened, of these layers where only some can be judged.
    pub fn ask(&self, among: Option<Vec<u32>>) -> Ask {
        Ask {
            among,
            layers: self.layers.unwrap_or(Ask::LAYERS),
            logits: self.logits.unwrap_or(Ask::LOGITS),
        }
    }

    /// Time for the whole exchange, seconds.
    pub fn seconds(&self) -> u32 {
        self.timeout.unwrap_or(live::SECONDS)
    }

    /// Largest opening, bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_mib.map_or(live::MAX_BYTES, |mib| mib << 20)
    }
}
