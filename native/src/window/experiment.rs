//! Where the window keeps experiments: in a folder of its own, one folder a model.

use anyhow::Context as _;
use assay_experiment::Store;
use assay_trace::Digest;
use assay_work::message::Failure;

use super::APP_ID;
use crate::experiment::store::Folder;

/// Trials on the model of this root.
pub fn trials(root: &Digest) -> Result<Box<dyn Store>, Failure> {
    let own = eframe::storage_dir(APP_ID).context("this system has no folder for programs' data");
    let own = own.map_err(|err| Failure::new("storage", err.to_string()))?;
    let name: String = root.to_string().chars().take(16).collect();
    Ok(Box::new(Folder::new(own.join("experiments").join(name))))
}
