//! The folder to deploy. Names carry a hash of the content where a name can change, so that no cache, the browser's own or
//! one on the way, ever mixes two versions; all addresses are relative, so that the folder works under any path.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::page::{self, Build};
use crate::{digest, files};

/// What a first visit may download for the module, gzipped.
const BUDGET: usize = 2_500_000;

const DEMO: [&str; 4] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "model.safetensors",
];
const SAMPLES: [&str; 3] = ["honest.bin", "swapped-token.bin", "flipped-byte.bin"];

/// Writes the folder and prints what a visitor will download.
pub fn run(root: &Path, glue: &Path, folder: &Path, version: &str) -> Result<()> {
    let source = |name: &str| files::read_text(&root.join("web/page").join(name));
    let mut site = Site::default();

    let module = files::read(&glue.join("assay.wasm"))?;
    let module_name = format!("assay-{}.wasm", digest::short(&module));
    let script = files::read(&glue.join("assay.js"))?;
    let script_name = format!("assay-{}.js", digest::short(&script));
    let worker = page::importing(&source("worker.js")?, &script_name).context("worker.js")?;
    let worker_name = format!("worker-{}.js", digest::short(worker.as_bytes()));
    let boot = source("boot.js")?;
    let boot_name = format!("boot-{}.js", digest::short(boot.as_bytes()));
    // Their names stand for their contents.
    let id = digest::short(
        [&*module_name, &script_name, &worker_name, &boot_name]
            .concat()
            .as_bytes(),
    );
    let index = page::index(
        &files::read_text(&root.join("index.html"))?,
        &source("page.css")?,
        &source("early.js")?,
        &boot_name,
        &Build {
            version,
            id: &id,
            glue: &script_name,
            module: &module_name,
            module_bytes: module.len(),
            worker: &worker_name,
        },
    )?;
    let (module_bytes, module_gzipped) = (module.len(), gzipped(&module)?);
    let rest_gzipped = gzipped(&script)? + gzipped(index.as_bytes())? + gzipped(boot.as_bytes())?;

    site.add("index.html", index);
    site.add(&boot_name, boot);
    site.add(&script_name, script);
    site.add(&module_name, module);
    site.add(&worker_name, worker);
    site.add("manifest.webmanifest", source("manifest.webmanifest")?);
    site.add("icon.svg", source("icon.svg")?);
    for name in files::below(&glue.join("snippets"))? {
        site.add(
            &format!("snippets/{name}"),
            files::read(&glue.join("snippets").join(&name))?,
        );
    }
    for name in DEMO {
        let path = root.join("app/model/demo-llama").join(name);
        site.add(&format!("demo/{name}"), files::read(&path)?);
    }
    for name in SAMPLES {
        let path = root.join("web/samples").join(name);
        site.add(&format!("samples/{name}"), files::read(&path)?);
    }
    let worker = page::service_worker(&source("sw.js")?, &site.digests()).context("sw.js")?;
    site.add("sw.js", worker);
    site.write(folder)?;

    println!(
        "web: {module_name}: {:.2} MB, {:.2} MB gzipped; the rest of a first paint: {:.0} kB gzipped",
        mega(module_bytes),
        mega(module_gzipped),
        rest_gzipped as f64 / 1e3,
    );
    if module_gzipped > BUDGET {
        println!(
            "web: WARNING: the module is {:.2} MB over its budget of {:.2} MB gzipped",
            mega(module_gzipped - BUDGET),
            mega(BUDGET)
        );
    }
    println!(
        "web: {} files, {:.1} MB in all, in {}",
        site.files.len(),
        mega(site.files.iter().map(|(_, bytes)| bytes.len()).sum()),
        folder.display()
    );
    Ok(())
}

#[derive(Default)]
struct Site {
    files: Vec<(String, Vec<u8>)>,
}

impl Site {
    fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.push((name.to_owned(), bytes.into()));
    }

    /// As the service worker knows them: the page is the folder itself, for some hosts redirect its file name to that.
    fn digests(&self) -> Vec<(String, String)> {
        let name = |name: &str| {
            if name == "index.html" {
                String::new()
            } else {
                name.to_owned()
            }
        };
        self.files
            .iter()
            .map(|(path, bytes)| (name(path), digest::hex(bytes)))
            .collect()
    }

    /// Writes all files, `index.html` and `sw.js` last, and removes what an earlier version left. Files of anyone else's
    /// stay, but a folder that never held the page is not taken for one.
    fn write(&self, folder: &Path) -> Result<()> {
        let there = files::below(folder)?;
        ensure!(
            there.is_empty() || there.iter().any(|name| name == "sw.js"),
            "{} is not empty and holds no earlier version of the page",
            folder.display()
        );
        let entry = |name: &str| matches!(name, "index.html" | "sw.js");
        for (name, bytes) in self.files.iter().filter(|(name, _)| !entry(name)) {
            files::write(&folder.join(name), bytes)?;
        }
        for (name, bytes) in self.files.iter().filter(|(name, _)| entry(name)) {
            files::write(&folder.join(name), bytes)?;
        }
        let current = |name: &String| self.files.iter().any(|(own, _)| own == name);
        for stale in there
            .iter()
            .filter(|name| is_hashed(name) && !current(name))
        {
            std::fs::remove_file(folder.join(stale))
                .with_context(|| format!("cannot remove {stale}"))?;
        }
        Ok(())
    }
}

/// Whether a name is one that this program made with a hash in it.
fn is_hashed(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    let Some((what, hash)) = stem.split_once('-') else {
        return false;
    };
    matches!(
        (what, extension),
        ("assay" | "boot" | "worker", "js") | ("assay", "wasm")
    ) && hash.len() == 12
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn gzipped(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

fn mega(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_hashed_names() {
        assert!(is_hashed("assay-0123456789ab.wasm"));
        assert!(is_hashed("worker-0123456789ab.js"));
        assert!(!is_hashed("worker-0123456789ab.wasm"));
        assert!(!is_hashed("assay-report.js"));
        assert!(!is_hashed("sub/assay-0123456789ab.js"));
        assert!(!is_hashed("sw.js"));
    }
}
