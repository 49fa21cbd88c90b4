//! A checkpoint at an address: which files it has, and where their bytes come from.

use std::sync::Arc;

use assay_model::{ByteSource, Model, NamedSource};
use assay_work::message::{Failure, ModelSource, Source};

use super::cache::Cache;
use super::handles::HandleSource;
use super::net;

/// Configs and tokenizers; the largest tokenizers in use have under 40 MB.
const SMALL: u64 = 128 << 20;
/// Most shards that an index may name.
const MAX_SHARDS: usize = 1024;

type Fetched<'a> = dyn FnMut(u64, u64) -> Result<(), Failure> + 'a;

/// Opens a checkpoint.
pub async fn open(source: &ModelSource, fetched: &mut Fetched<'_>) -> Result<Model, Failure> {
    let files = match source {
        // It lies beside this program, and the service worker keeps it.
        ModelSource::Demo => folder("demo/", None, fetched).await?,
        ModelSource::Url(url) => remote(url, fetched).await?,
        ModelSource::Files(files) => picked(files)?,
        ModelSource::Key { .. } => {
            return Err(Failure::new("internal", "a key is no checkpoint"));
        }
        ModelSource::Path(path) => {
            return Err(Failure::new(
                "unsupported",
                format!("a browser cannot open the path {path:?}"),
            )
            .with_next("choose or drop the files"));
        }
    };
    Ok(Model::open_files(files)?)
}

fn picked(files: &[(String, Source)]) -> Result<Vec<NamedSource>, Failure> {
    let open = |(path, source): &(String, Source)| {
        let Source::Picked { handle, .. } = source else {
            return Err(Failure::new("internal", "these are no picked files"));
        };
        let source = HandleSource::picked(*handle).ok_or_else(|| gone(path))?;
        Ok(NamedSource {
            path: path.clone(),
            source: Arc::new(source),
        })
    };
    files.iter().map(open).collect()
}

/// A file whose handle is not here.
pub fn gone(name: &str) -> Failure {
    Failure::new("not-found", format!("`{name}` is no longer open"))
        .with_next("choose or drop it again")
}

async fn remote(url: &str, fetched: &mut Fetched<'_>) -> Result<Vec<NamedSource>, Failure> {
    let cache = Cache::open().await;
    let cache = cache.as_ref();
    let path = url.split(['?', '#']).next().unwrap_or(url).to_lowercase();
    if path.ends_with(".gguf") {
        return Ok(vec![weights(url, "", cache, fetched).await?]);
    }
    if path.ends_with(".bin") {
        let mut files = vec![weights(url, "", cache, fetched).await?];
        let beside = match url.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/tokenizer.bin"),
            None => "tokenizer.bin".to_owned(),
        };
        if let Some(bytes) = optional(&beside, fetched).await? {
            files.push(named("tokenizer.bin", Arc::new(bytes)));
        }
        return Ok(files);
    }
    folder(&folder_address(url), cache, fetched).await
}

/// A model's page at Hugging Face stands for the folder behind it.
fn folder_address(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let page = url.strip_prefix("https://huggingface.co/");
    match page.map(|page| page.split('/').count()) {
        Some(2) => format!("{url}/resolve/main/"),
        _ => format!("{url}/"),
    }
}

/// A Hugging Face folder: `config.json` must be there, and either one file of weights or an index that names several.
async fn folder(
    base: &str,
    cache: Option<&Cache>,
    fetched: &mut Fetched<'_>,
) -> Result<Vec<NamedSource>, Failure> {
    let mut files = Vec::new();
    for (name, is_needed) in [
        ("config.json", true),
        ("generation_config.json", false),
        ("tokenizer.json", false),
    ] {
        let url = format!("{base}{name}");
        let bytes = match is_needed {
            true => Some(
                net::small_file(&url, SMALL, fetched)
                    .await?
                    .ok_or_else(|| net::missing(&url))?,
            ),
            false => optional(&url, fetched).await?,
        };
        files.extend(bytes.map(|bytes| named(name, Arc::new(bytes))));
    }
    let index = format!("{base}model.safetensors.index.json");
    // The demo model is known to have none; asking would show as an error in the console.
    let index = match cache.is_none() && base == "demo/" {
        true => None,
        false => optional(&index, fetched).await?,
    };
    let Some(index) = index else {
        let name = "model.safetensors";
        files.push(weights(&format!("{base}{name}"), name, cache, fetched).await?);
        return Ok(files);
    };
    for shard in shards(&index)? {
        files.push(weights(&format!("{base}{shard}"), &shard, cache, fetched).await?);
    }
    files.push(named("model.safetensors.index.json", Arc::new(index)));
    Ok(files)
}

/// A file that need not be there, beside one that could be read. Servers that let other pages read their files often forget to say so
/// with the answer that there is none.
async fn optional(url: &str, fetched: &mut Fetched<'_>) -> Result<Option<Vec<u8>>, Failure> {
    match net::small_file(url, SMALL, fetched).await {
        Err(failure) if failure.code == "cors" => Ok(None),
        other => other,
    }
}

/// The files that an index names: plain names, so that none leads out of its folder.
fn shards(index: &[u8]) -> Result<Vec<String>, Failure> {
    let bad = |why: &str| Failure::new("model", format!("the checkpoint's index {why}"));
    let index: serde_json::Value =
        serde_json::from_slice(index).map_err(|_err| bad("is not valid JSON"))?;
    let map = index["weight_map"].as_object();
    let map = map.ok_or_else(|| bad("has no `weight_map`"))?;
    let mut shards: Vec<String> = Vec::new();
    for shard in map.values() {
        let shard = shard.as_str().ok_or_else(|| bad("names no file"))?;
        let is_plain = shard.ends_with(".safetensors")
            && shard
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !is_plain {
            return Err(bad("names a file outside its folder"));
        }
        if !shards.iter().any(|known| known == shard) {
            shards.push(shard.to_owned());
        }
        if shards.len() > MAX_SHARDS {
            return Err(bad("names too many files"));
        }
    }
    shards.sort_unstable();
    Ok(shards)
}

/// A large file: from the cache, or by ranges where there is none.
async fn weights(
    url: &str,
    name: &str,
    cache: Option<&Cache>,
    fetched: &mut Fetched<'_>,
) -> Result<NamedSource, Failure> {
    let last = url.split(['?', '#']).next().unwrap_or(url);
    let last = last.rsplit('/').next().unwrap_or(last);
    let name = if name.is_empty() { last } else { name };
    let source: Arc<dyn ByteSource> = match cache {
        Some(cache) => {
            let fetched = cache.fetch(url, fetched).await?;
            Arc::new(fetched.ok_or_else(|| net::missing(url))?)
        }
        None if url.starts_with("demo/") => {
            let bytes = net::small_file(url, SMALL, fetched).await?;
            Arc::new(bytes.ok_or_else(|| net::missing(url))?)
        }
        None => {
            let answer = net::ask(url, 0).await?.ok_or_else(|| net::missing(url))?;
            let bytes = answer.bytes.ok_or_else(|| {
                Failure::new(
                    "network",
                    format!("the server does not say how long {url} is"),
                )
                .with_next("download the file and open it from your disk")
            })?;
            Arc::new(HandleSource::remote(url, bytes))
        }
    };
    Ok(named(name, source))
}

fn named(path: &str, source: Arc<dyn ByteSource>) -> NamedSource {
    NamedSource {
        path: path.to_owned(),
        source,
    }
}
