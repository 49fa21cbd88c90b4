//! Files of rules: thresholds by layer, and masks that somebody gives. JSON, small, and read as if an enemy wrote them.

use std::path::Path;

use anyhow::{Context as _, ensure};
use assay_engine::sparsity::Bits;
use assay_model::ModelConfig;
use assay_trace::{Decimal, Digest};
use serde::{Deserialize, Serialize};

/// Bytes that such a file may have: the masks of a 70B model take a few megabytes.
const MAX_BYTES: u64 = 64 << 20;

/// Thresholds by layer, with where they come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Always `assay-thresholds`.
    pub format: String,
    /// Always 1.
    pub version: u32,
    /// The model's root.
    pub root: Digest,
    /// Where they were measured: the text's name, and how many tokens of it.
    pub measured_on: String,
    /// Share of neurons (and inputs) that were to stay active.
    pub share: f64,
    /// TEAL: of the MLP's normed input, one a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Vec<Decimal>>,
    /// CATS: of |silu(gate)| or relu(up); TEAL: of the activations. One a layer.
    pub neurons: Vec<Decimal>,
}

impl Thresholds {
    /// The only value of `format`.
    pub const FORMAT: &'static str = "assay-thresholds";

    /// Reads a file of thresholds for a model of this shape.
    pub fn read(path: &Path, config: &ModelConfig) -> anyhow::Result<Self> {
        let (text, _) = read(path)?;
        let it: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no file of thresholds", path.display()))?;
        ensure!(
            it.format == Self::FORMAT && it.version == 1,
            "{} is not a file of thresholds, or of a later version",
            path.display()
        );
        for list in it.input.iter().chain([&it.neurons]) {
            let (got, want) = (list.len(), config.layers);
            ensure!(
                got == want,
                "{} has {got} thresholds, the model has {want} layers\nmake one for this model: assay sparse thresholds",
                path.display()
            );
        }
        Ok(it)
    }
}

/// Neurons that are active for every token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenMasks {
    /// Always `assay-masks`.
    pub format: String,
    /// Always 1.
    pub version: u32,
    /// Active neurons of each layer, ascending.
    pub layers: Vec<Vec<u32>>,
}

impl GivenMasks {
    /// The only value of `format`.
    pub const FORMAT: &'static str = "assay-masks";

    /// Reads a file of masks for a model of this shape: one row a layer, and the file's digest.
    pub fn read(path: &Path, config: &ModelConfig) -> anyhow::Result<(Vec<Bits>, Digest)> {
        let (text, digest) = read(path)?;
        let it: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no file of masks", path.display()))?;
        ensure!(
            it.format == Self::FORMAT && it.version == 1,
            "{} is not a file of masks, or of a later version",
            path.display()
        );
        let (got, want) = (it.layers.len(), config.layers);
        ensure!(
            got == want,
            "{} has masks of {got} layers, the model has {want}",
            path.display()
        );
        let mut masks = Vec::with_capacity(want);
        for (layer, active) in it.layers.iter().enumerate() {
            let ascending = active.windows(2).all(|pair| pair[0] < pair[1]);
            let within = active
                .last()
                .is_none_or(|last| (*last as usize) < config.intermediate);
            ensure!(
                ascending && within,
                "layer {layer} of {}: want neurons ascending, each below {}",
                path.display(),
                config.intermediate
            );
            let mut bits = Bits::zeros(1, config.intermediate);
            for neuron in active {
                bits.set(0, *neuron as usize);
            }
            masks.push(bits);
        }
        Ok((masks, digest))
    }
}

fn read(path: &Path) -> anyhow::Result<(Vec<u8>, Digest)> {
    let shown = path.display();
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    ensure!(
        bytes <= MAX_BYTES,
        "{shown} has {bytes} bytes, want at most {MAX_BYTES}"
    );
    let text = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let digest = Digest::of(&text);
    Ok((text, digest))
}
