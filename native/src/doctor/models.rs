//! Checkpoints where one would look for them: the folder that one stands in, and the caches of Hugging Face.

use std::path::{Path, PathBuf};

use assay_model::Model;

use super::item::Item;
use crate::text;

/// Most that are opened; opening reads headers only.
const MOST: usize = 24;
/// Most entries of one folder that are looked at.
const MOST_ENTRIES: usize = 4096;

/// The demo model, then what else there is.
pub fn look() -> Vec<Item> {
    let mut items = vec![match Model::demo() {
        Ok(model) => Item::ok("the demo model", facts(&model)),
        Err(err) => Item::problem(
            "the demo model",
            err.to_string(),
            "build the program again: the model inside of it does not open",
        ),
    }];
    let found = candidates();
    let more = found.len().saturating_sub(MOST);
    items.extend(found.iter().take(MOST).map(|path| open(path)));
    if more > 0 {
        items.push(Item::unknown(
            "more",
            format!("{} not opened", text::count(more as u64, "checkpoint")),
        ));
    }
    if items.len() == 1 {
        items.push(Item::unknown(
            "others",
            "none in this folder nor in Hugging Face's cache; any can be named with --model",
        ));
    }
    items
}

fn open(path: &Path) -> Item {
    let name = text::plain(&path.display().to_string());
    match Model::open(path) {
        Ok(model) => Item::ok(name, facts(&model)),
        Err(err) => Item::warning(
            name,
            text::plain(&err.to_string()),
            "this one cannot be used; the message says why",
        ),
    }
}

fn facts(model: &Model) -> String {
    format!(
        "{} {}, {} parameters, {}",
        model.config().family.as_str(),
        model.dtype(),
        text::grouped(model.parameters()),
        text::bytes(model.bytes())
    )
}

fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let here = PathBuf::from(".");
    if is_folder_of_one(&here) {
        found.push(here.clone());
    }
    for path in entries(&here) {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_file = matches!(extension, Some("gguf" | "bin")) && path.is_file();
        let is_tokenizer = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("tok"));
        // Any file may be called .bin: only one that begins as a llama2.c checkpoint does is taken for one.
        let fits = extension == Some("gguf") || looks_like_llama2c(&path);
        if is_file && !is_tokenizer && fits || is_folder_of_one(&path) {
            found.push(path);
        }
    }
    for cache in caches() {
        for repository in entries(&cache) {
            let snapshots = entries(&repository.join("snapshots"));
            found.extend(snapshots.into_iter().filter(|path| is_folder_of_one(path)));
        }
    }
    found
}

/// Where transformers keeps what it fetched.
fn caches() -> Vec<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let hub = set("HF_HUB_CACHE").or_else(|| set("HF_HOME").map(|home| home.join("hub")));
    let home = set("HOME").or_else(|| set("USERPROFILE"));
    hub.or_else(|| home.map(|home| home.join(".cache/huggingface/hub")))
        .into_iter()
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(read) = folder.read_dir() else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = read
        .flatten()
        .take(MOST_ENTRIES)
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

fn is_folder_of_one(path: &Path) -> bool {
    let weights = ["model.safetensors", "model.safetensors.index.json"];
    path.join("config.json").is_file() && weights.iter().any(|name| path.join(name).is_file())
}

fn looks_like_llama2c(path: &Path) -> bool {
    use std::io::Read as _;
    let mut head = [0u8; 28];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    let fields = head
        .as_chunks::<4>()
        .0
        .iter()
        .map(|field| i32::from_le_bytes(*field));
    // Sizes, of which only the vocabulary may be negative; or the magic of later versions.
    read.is_ok()
        && (head[..4] == *b"24ka"
            || fields
                .enumerate()
                .all(|(index, field)| index == 5 && field != 0 || (1..1 << 24).contains(&field)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_as_a_checkpoint_is_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("it writes");
            path
        };
        let head: Vec<u8> = [64, 172, 5, 8, 4, -512, 512i32]
            .iter()
            .flat_map(|f| f.to_le_bytes())
            .collect();
        assert!(looks_like_llama2c(&write("m.bin", &head)));
        assert!(looks_like_llama2c(&write(
            "v2.bin",
            &[b"24ka".as_slice(), &[0; 40]].concat()
        )));
        assert!(!looks_like_llama2c(&write("zeros.bin", &[0; 64])));
        assert!(!looks_like_llama2c(&write("short.bin", &head[..27])));
        assert!(!looks_like_llama2c(&folder.path().join("none.bin")));
        assert!(!is_folder_of_one(folder.path()));
        write("config.json", b"{}");
        write("model.safetensors", b"");
        assert!(is_folder_of_one(folder.path()));
    }
}
