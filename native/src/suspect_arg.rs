//! `--suspect WHAT`: what may have been run in place of the claimed model.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use assay_engine::CacheFormat;
use assay_model::Model;
use assay_verify::suspects::{Ran, Suspect, unfit};

use crate::{model_arg, text};

/// Opens or makes it: `kv:FORMAT`, `round:FORMAT`, or a checkpoint's path.
pub fn open(claimed: &Model, what: &str) -> anyhow::Result<Suspect> {
    let shown = || text::quoted(what);
    let ran = match what.strip_prefix("kv:") {
        Some(name) => Ran::Cache(cache(name).with_context(|| {
            let known = CacheFormat::ALL.map(|format| format!("kv:{}", format.name()));
            format!("{} is not known: want {}", shown(), known.join(", "))
        })?),
        None => {
            let model = model_arg::variant(claimed, what)
                .with_context(|| format!("cannot suspect {}", shown()))?;
            if let Some(why) = unfit(model.config(), claimed.config()) {
                bail!("cannot suspect {}: {why}", shown());
            }
            Ran::Model(Arc::new(model))
        }
    };
    Ok(Suspect {
        name: what.to_owned(),
        ran,
    })
}

fn cache(name: &str) -> Option<CacheFormat> {
    let mut all = CacheFormat::ALL.into_iter();
    all.find(|format| format.name() == name)
}
