//! `--suspect WHAT`: what may have been run in place of the claimed model.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use assay_model::Model;
use assay_verify::suspects::{Cheaper, Ran, Suspect, unfit};

use crate::text;

/// Opens or makes it: `round:FORMAT`, `kv:FORMAT`, or a checkpoint's path.
pub fn open(claimed: &Model, what: &str) -> anyhow::Result<Suspect> {
    let shown = text::quoted(what);
    if let Some(cheaper) = Cheaper::named(what) {
        return Ok(cheaper.of(claimed)?);
    }
    if what.starts_with("round:") || what.starts_with("kv:") {
        let known: Vec<String> = Cheaper::all().map(Cheaper::name).collect();
        bail!("{shown} is not known: want {} or a path", known.join(", "));
    }
    let model = Model::open(Path::new(what)).with_context(|| format!("cannot suspect {shown}"))?;
    if let Some(why) = unfit(model.config(), claimed.config()) {
        bail!("cannot suspect {shown}: {why}");
    }
    Ok(Suspect {
        name: what.to_owned(),
        ran: Ran::Model(Arc::new(model)),
    })
}
