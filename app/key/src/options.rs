//! How large a key should be: what its maker chooses.

use assay_model::{Dtype, ModelConfig};
use assay_trace::ActivationsClaim;

use crate::facts::{Facts, Stored};
use crate::layout::Layout;
use crate::part::{MATRICES, has_bias};
use crate::{KeyError, Part, header};

/// Fewest and most projections.
pub(crate) const PROJECTIONS: (usize, usize) = (8, 64);
/// Fewest and most rows of each matrix.
pub(crate) const ROWS: (usize, usize) = (1, 64);
/// Fewest and most numbers by which an embedding row is known again.
pub(crate) const SKETCH: (usize, usize) = (1, 16);

/// How much of a model a key knows. More of each finds smaller faults and makes the key larger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOptions {
    /// K, secret projections of each matrix: 8 to 64, by default 16. The energy test needs them: with 16, weights that were rounded
    /// to 8 bits pass with probability 2e-5 at a false alarm of 1e-6.
    pub projections: usize,
    /// q, secret rows of each matrix, to be recomputed elementwise: 1 to 64, by default 4. All of them where a matrix has fewer.
    pub rows: usize,
    /// s, numbers stored for each row of the embedding: 1 to 16, by default 4.
    pub sketch: usize,
    /// What the products that are to be audited round their inputs to: nothing, or `int8`, where a key checks integers.
    pub activations: Option<ActivationsClaim>,
    /// The layers that an audit can look at, ascending, at least one; `None` for all. A trace's maker must not know which.
    pub layers: Option<Vec<u32>>,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self {
            projections: 16,
            rows: 4,
            sketch: 4,
            activations: None,
            layers: None,
        }
    }
}

impl KeyOptions {
    /// Bytes of the plain file for a model of this shape whose weights are all stored as `dtype`. The digest of a tokenizer makes it at
    /// most 72 bytes longer.
    ///
    /// # Errors
    /// [`KeyError::Options`] if they do not fit the model, [`KeyError::Config`] if that is no model's config, and
    /// [`KeyError::FileTooLarge`].
    pub fn file_bytes(&self, config: &ModelConfig, dtype: Dtype) -> Result<u64, KeyError> {
        let layers = self.covered(config)?;
        let cols = |role| Part::Layer(0, role).shape(config).map_or(0, |(_, k)| k);
        let of_layer = MATRICES
            .iter()
            .map(|role| Stored::of(dtype, cols(*role), self.activations, false))
            .collect::<Result<Vec<_>, KeyError>>()?;
        let mut stored = of_layer.repeat(layers.len());
        stored.push(match dtype {
            // `assay quantize` leaves the output projection as it was.
            Dtype::Int8 { .. } | Dtype::Int4 { .. } | Dtype::Int4Ordered { .. } => Stored::Bf16,
            other => Stored::of(other, config.hidden, self.activations, true)?,
        });
        let mut facts = Facts::new(self, config.clone(), dtype.as_str(), layers, stored);
        facts.parameters = parameters(config);
        facts.check()?;
        let layout = Layout::new(&facts);
        header::file_bytes(&facts, &layout)
    }

    /// The layers to cover, once options and config were found to fit together.
    pub(crate) fn covered(&self, config: &ModelConfig) -> Result<Vec<u32>, KeyError> {
        config.check().map_err(KeyError::config)?;
        crate::part::check_family(config)?;
        for (what, got, (least, most)) in [
            ("projections", self.projections, PROJECTIONS),
            ("rows", self.rows, ROWS),
            ("sketch", self.sketch, SKETCH),
        ] {
            if !(least..=most).contains(&got) {
                let want = format!("{least} to {most}");
                let got = got.to_string();
                return Err(KeyError::Options { what, got, want });
            }
        }
        let all = config.layers as u32; // at most 1024
        let Some(layers) = &self.layers else {
            return Ok((0..all).collect());
        };
        let ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
        match layers.last() {
            Some(last) if *last < all && ascending => Ok(layers.clone()),
            _ => Err(KeyError::Options {
                what: "layers",
                got: format!("{layers:?}").chars().take(80).collect(),
                want: format!("at least one, ascending, each below {all}"),
            }),
        }
    }
}

/// Weights of a model, a tied matrix once.
fn parameters(config: &ModelConfig) -> u64 {
    let mut per_layer = 2 * config.hidden as u64;
    for role in MATRICES {
        let (n, k) = Part::Layer(0, role).shape(config).unwrap_or_default();
        let (n, k) = (n as u64, k as u64);
        per_layer += n * k + if has_bias(config, role) { n } else { 0 };
    }
    let table = config.vocab as u64 * config.hidden as u64;
    let tables = if config.tied_embeddings { 1 } else { 2 };
    tables * table + config.layers as u64 * per_layer + config.hidden as u64
}
