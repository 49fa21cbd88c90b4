//! The JavaScript between page and module, made by wasm-bindgen's own library: there is no separate program to install.

use std::path::Path;

use anyhow::{Context as _, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::files;

/// Writes `assay.js`, `assay.wasm`, and `snippets/` where some crate brings any. Functions keep their names for whoever orders them by
/// these and drops them then (`with_names`).
pub fn make(module: &Path, folder: &Path, with_names: bool) -> Result<()> {
    files::fresh_folder(folder)?;
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(module)
        .out_name("assay")
        .web(true)?
        .typescript(false)
        // The page always says where the module is: its name has a hash, and a worker is given it compiled.
        .omit_default_module_path(true)
        .remove_name_section(!with_names)
        .remove_producers_section(true);
    bindgen
        .generate(folder)
        .with_context(|| format!("cannot make the glue of {}", module.display()))?;
    std::fs::rename(folder.join("assay_bg.wasm"), folder.join("assay.wasm"))
        .context("wasm-bindgen wrote no module")
}
