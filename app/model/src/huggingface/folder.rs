//! Finding the files of a Hugging Face checkpoint in a folder.
use super::{MAX_SHARDS, Shard, assemble};
use crate::files::Folder;
use crate::tokenizer::MAX_TOKENIZER_BYTES;
use crate::{Model, ModelError, Tokenizer, config_json, config_json::MAX_CONFIG_BYTES};
use std::collections::BTreeMap;

const MAX_INDEX_BYTES: usize = 16 << 20;
pub(crate) const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const EXTENSION: &str = ".safetensors";
const PICKLE: &str = "pytorch_model.bin";

/// Whether a file of this name is, or lists, weights that can be read.
pub(crate) fn is_weights(name: &str) -> bool {
    name == INDEX || name.ends_with(EXTENSION)
}

/// Opens a folder; `tokenizer` stands in for the folder's own.
pub(crate) fn open(folder: &dyn Folder, tokenizer: Option<Tokenizer>) -> Result<Model, ModelError> {
    if !folder.has(CONFIG) {
        return Err(ModelError::NoCheckpoint {
            path: folder.path(),
        });
    }
    let config = folder.read(CONFIG, MAX_CONFIG_BYTES)?;
    let generation = match folder.has(GENERATION_CONFIG) {
        true => Some(folder.read(GENERATION_CONFIG, MAX_CONFIG_BYTES)?),
        false => None,
    };
    // The config first: a family that is not supported should be refused for that, not for how its weights are stored.
    config_json::parse(&config, generation.as_deref())?;
    let tokenizer = match tokenizer {
        None if folder.has(TOKENIZER) => Some(Tokenizer::from_json(
            &folder.read(TOKENIZER, MAX_TOKENIZER_BYTES)?,
        )?),
        other => other,
    };
    let (shards, weight_map) = shards(folder)?;
    assemble(
        &config,
        generation.as_deref(),
        shards,
        weight_map.as_ref(),
        tokenizer,
    )
}

type WeightMap = BTreeMap<String, String>;

/// The one file, those of the index, or the only safetensors file of another name.
fn shards(folder: &dyn Folder) -> Result<(Vec<Shard>, Option<WeightMap>), ModelError> {
    let open = |name: &str| -> Result<Shard, ModelError> {
        Ok(Shard {
            label: name.to_owned(),
            source: folder.open(name)?,
        })
    };
    if folder.has(SINGLE) {
        return Ok((vec![open(SINGLE)?], None));
    }
    if !folder.has(INDEX) {
        let mut names = folder.names()?;
        names.retain(|name| is_weights(name));
        return match names.as_slice() {
            [only] => Ok((vec![open(only)?], None)),
            [] if folder.has(PICKLE) => Err(ModelError::UnsupportedFormat {
                found: "`pytorch_model.bin` (pickle)",
                path: folder.path(),
            }),
            [] => Err(ModelError::NoCheckpoint {
                path: folder.path(),
            }),
            several => Err(ModelError::IndexMissing {
                got: several.len(),
                path: folder.path(),
            }),
        };
    }
    let weight_map = parse_index(&folder.read(INDEX, MAX_INDEX_BYTES)?)?;
    let mut names: Vec<&String> = weight_map.values().collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_SHARDS {
        return Err(ModelError::TooManyShards {
            got: names.len(),
            most: MAX_SHARDS,
        });
    }
    let shards = names
        .into_iter()
        .map(|name| open(name))
        .collect::<Result<_, _>>()?;
    Ok((shards, Some(weight_map)))
}

/// The `weight_map` of an index: tensor to file, each file a plain name.
pub(crate) fn parse_index(bytes: &[u8]) -> Result<WeightMap, ModelError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: WeightMap,
    }
    let Index { weight_map } =
        serde_json::from_slice(bytes).map_err(|source| ModelError::Json {
            file: "`model.safetensors.index.json`",
            source,
        })?;
    let plain = |name: &str| {
        name.len() <= 255
            && name.ends_with(EXTENSION)
            && !name.starts_with('.')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.+=@ ".contains(c))
    };
    match weight_map.values().find(|name| !plain(name)) {
        Some(name) => Err(ModelError::ShardPath { got: name.clone() }),
        None => Ok(weight_map),
    }
}
