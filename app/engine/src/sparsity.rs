//! Which neurons of an MLP are computed: the rules, the masks that they make, and what they decide by.
//!
//! A *neuron* is one column of the MLP's inside: a row of gate and up, a column of down. A masked MLP is
//! `y = (m ⊙ act(x)) Wdown` with m in {0, 1}: what is not active is not computed. Every kernel adds active neurons in the order of
//! the dense product, segment by segment, so a masked MLP has the same bits whether zeros are skipped or multiplied.

use crate::EngineError;
use assay_model::ModelConfig;
use assay_trace::{Decimal, Digest, MaskClaim, MaskName, SparseClaim, SparseRule};

/// How active neurons are picked, anew for each token and layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Sparsity {
    /// The same neurons for every token, unless masks come with a chunk.
    Given {
        /// One row a layer.
        neurons: Vec<Bits>,
    },
    /// The `keep` neurons of largest |activation|, ties to the lower index. An oracle: everything but the down projection is computed.
    TopK {
        /// Active neurons of each row.
        keep: usize,
    },
    /// Neurons with |silu(gate)| at least their layer's threshold (CATS, arXiv 2404.08763); without a gate, with relu(up) above it.
    Cats {
        /// One a layer, at least 0.
        thresholds: Vec<f32>,
    },
    /// Inputs of the MLP of at least one magnitude, then activations of at least another (TEAL, arXiv 2408.14690).
    Teal {
        /// One a layer, for the MLP's normed input.
        input: Vec<f32>,
        /// One a layer, for the activations.
        neurons: Vec<f32>,
    },
    /// The `keep` neurons of largest score, scores being a low-rank function of the residual stream before the MLP's norm (Deja Vu,
    /// arXiv 2310.17157).
    Predicted {
        /// One a layer.
        predictors: Vec<LowRank>,
        /// Active neurons of each row.
        keep: usize,
    },
}

/// A predictor: scores = (x downᵀ) upᵀ, without biases or non-linearity.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// Rows of `down`.
    pub rank: usize,
    /// [rank, hidden]
    pub down: Vec<f32>,
    /// [intermediate, rank]
    pub up: Vec<f32>,
}

impl Sparsity {
    /// Whether the MLP's inputs are masked too.
    pub fn masks_input(&self) -> bool {
        matches!(self, Self::Teal { .. })
    }

    /// Refuses what does not fit a model of this shape.
    ///
    /// # Errors
    /// [`EngineError::Sparsity`] with what is wrong.
    pub fn check(&self, config: &ModelConfig) -> Result<(), EngineError> {
        let wrong = |what: String| Err(EngineError::Sparsity(what));
        let thresholds = |name: &str, list: &[f32]| {
            if list.len() != config.layers {
                let (got, want) = (list.len(), config.layers);
                return wrong(format!("{got} {name} for {want} layers"));
            }
            match list.iter().find(|t| !t.is_finite() || **t < 0.0) {
                Some(bad) => wrong(format!("{name} hold {bad}, want numbers of at least 0")),
                None => Ok(()),
            }
        };
        let keep = |keep: usize| {
            if keep > config.intermediate {
                let all = config.intermediate;
                return wrong(format!("{keep} active neurons of {all}"));
            }
            Ok(())
        };
        match self {
            Self::Given { neurons } => {
                let fits = |bits: &Bits| bits.rows() == 1 && bits.width() == config.intermediate;
                match neurons.len() == config.layers && neurons.iter().all(fits) {
                    true => Ok(()),
                    false => wrong("the given masks do not fit the model".to_owned()),
                }
            }
            Self::TopK { keep: k } => keep(*k),
            Self::Cats { thresholds: t } => thresholds("thresholds", t),
            Self::Teal { input, neurons } => {
                thresholds("thresholds of inputs", input)?;
                thresholds("thresholds of neurons", neurons)
            }
            Self::Predicted {
                predictors,
                keep: k,
            } => {
                keep(*k)?;
                if predictors.len() != config.layers {
                    let (got, want) = (predictors.len(), config.layers);
                    return wrong(format!("{got} predictors for {want} layers"));
                }
                let fits = |p: &LowRank| {
                    p.rank > 0
                        && p.down.len() == p.rank * config.hidden
                        && p.up.len() == p.rank * config.intermediate
                        && p.down.iter().chain(&p.up).all(|v| v.is_finite())
                };
                match predictors.iter().position(|p| !fits(p)) {
                    Some(layer) => wrong(format!("the predictor of layer {layer} does not fit")),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A rule as a trace names it, with what it takes to follow it.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseModel {
    rule: SparseRule,
    sparsity: Sparsity,
}

impl SparseModel {
    /// The `keep` largest activations.
    pub fn top_k(keep: u32) -> Self {
        Self {
            rule: SparseRule::TopK { keep },
            sparsity: Sparsity::TopK {
                keep: keep as usize,
            },
        }
    }

    /// Thresholds on gates, one a layer.
    pub fn cats(thresholds: Vec<Decimal>) -> Self {
        Self {
            sparsity: Sparsity::Cats {
                thresholds: floats(&thresholds),
            },
            rule: SparseRule::Cats { thresholds },
        }
    }

    /// Thresholds on the MLP's input and on activations, one a layer each.
    pub fn teal(input: Vec<Decimal>, neurons: Vec<Decimal>) -> Self {
        Self {
            sparsity: Sparsity::Teal {
                input: floats(&input),
                neurons: floats(&neurons),
            },
            rule: SparseRule::Teal { input, neurons },
        }
    }

    /// The `keep` largest scores of predictors; `digest` is that of their file.
    pub fn predicted(digest: Digest, predictors: Vec<LowRank>, keep: u32) -> Self {
        Self {
            rule: SparseRule::Predicted { digest, keep },
            sparsity: Sparsity::Predicted {
                predictors,
                keep: keep as usize,
            },
        }
    }

    /// The same neurons for every token, one row a layer; `digest` is that of their file.
    pub fn given(digest: Digest, neurons: Vec<Bits>) -> Self {
        Self {
            rule: SparseRule::Given { digest },
            sparsity: Sparsity::Given { neurons },
        }
    }

    /// Of a rule that a trace names; `None` where following it takes a file.
    pub fn of_rule(rule: &SparseRule) -> Option<Self> {
        match rule {
            SparseRule::TopK { keep } => Some(Self::top_k(*keep)),
            SparseRule::Cats { thresholds } => Some(Self::cats(thresholds.clone())),
            SparseRule::Teal { input, neurons } => Some(Self::teal(input.clone(), neurons.clone())),
            SparseRule::Given { .. } | SparseRule::Predicted { .. } => None,
        }
    }

    /// As a trace names it.
    pub fn rule(&self) -> &SparseRule {
        &self.rule
    }

    /// As the engine follows it.
    pub fn sparsity(&self) -> &Sparsity {
        &self.sparsity
    }

    /// What a trace of a model of this shape says of its masks.
    pub fn claim(&self, config: &ModelConfig) -> SparseClaim {
        let mask = |name, width: usize| MaskClaim {
            name,
            width: width as u32,
        };
        let mut masks = Vec::new();
        if self.sparsity.masks_input() {
            masks.push(mask(MaskName::Input, config.hidden));
        }
        masks.push(mask(MaskName::Neurons, config.intermediate));
        SparseClaim {
            masks,
            rule: self.rule.clone(),
        }
    }
}

fn floats(decimals: &[Decimal]) -> Vec<f32> {
    decimals.iter().map(|d| d.to_f64() as f32).collect()
}

/// Rows of bits, 32 a word, the least significant first; bits beyond the width are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits {
    width: usize,
    words: Vec<u32>,
}

impl Bits {
    /// `rows` rows of zeros.
    pub fn zeros(rows: usize, width: usize) -> Self {
        Self {
            width,
            words: vec![0; rows * width.div_ceil(32)],
        }
    }

    /// Rows as they lie in a buffer; `None` if they are no whole rows, or a bit beyond the width is set.
    pub fn from_words(width: usize, words: Vec<u32>) -> Option<Self> {
        let per_row = width.div_ceil(32);
        if per_row == 0 || !words.len().is_multiple_of(per_row) {
            return None;
        }
        let beyond = match width % 32 {
            0 => 0,
            bits => u32::MAX << bits,
        };
        let clean = |row: &[u32]| row.last().is_none_or(|last| last & beyond == 0);
        let bits = Self { width, words };
        bits.words.chunks_exact(per_row).all(clean).then_some(bits)
    }

    /// Rows of ceil(width / 8) bytes each, as a trace has them; `None` as for [`from_words`](Self::from_words).
    pub fn from_bytes(width: usize, bytes: &[u8]) -> Option<Self> {
        let (per_row, of_word) = (width.div_ceil(8), |four: &[u8]| {
            let byte = |i: usize| u32::from(four.get(i).copied().unwrap_or(0)) << (8 * i);
            byte(0) | byte(1) | byte(2) | byte(3)
        });
        if per_row == 0 || !bytes.len().is_multiple_of(per_row) {
            return None;
        }
        let rows = bytes.chunks_exact(per_row);
        let words = rows.flat_map(|row| row.chunks(4).map(of_word)).collect();
        Self::from_words(width, words)
    }

    /// Bits of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Words of a row.
    pub fn words_per_row(&self) -> usize {
        self.width.div_ceil(32)
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.words.len() / self.words_per_row().max(1)
    }

    /// All words, row after row.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The words of one row.
    pub fn row(&self, row: usize) -> &[u32] {
        let n = self.words_per_row();
        &self.words[row * n..(row + 1) * n]
    }

    /// One bit.
    pub fn get(&self, row: usize, i: usize) -> bool {
        self.row(row)[i / 32] >> (i % 32) & 1 == 1
    }

    /// Sets one bit.
    pub fn set(&mut self, row: usize, i: usize) {
        let n = self.words_per_row();
        self.words[row * n + i / 32] |= 1 << (i % 32);
    }

    /// Set bits of a row.
    pub fn count(&self, row: usize) -> usize {
        self.row(row).iter().map(|w| w.count_ones() as usize).sum()
    }

    /// A row as a trace has it: ceil(width / 8) bytes.
    pub fn row_bytes(&self, row: usize) -> impl Iterator<Item = u8> + '_ {
        let bytes = self.row(row).iter().flat_map(|word| word.to_le_bytes());
        bytes.take(self.width.div_ceil(8))
    }

    /// Some of the rows.
    pub fn slice(&self, rows: std::ops::Range<usize>) -> Self {
        let n = self.words_per_row();
        Self {
            width: self.width,
            words: self.words[rows.start * n..rows.end * n].to_vec(),
        }
    }
}

/// What is active in one layer, for some rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerMasks {
    /// Of the MLP's normed input, [rows, hidden]; only where a rule masks it.
    pub input: Option<Bits>,
    /// [rows, intermediate]
    pub neurons: Bits,
}

/// What a rule decided by in one layer, for some rows: compared with its thresholds, or with each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerScores {
    /// The MLP's normed input, [rows, hidden], where a rule masks it.
    pub input: Vec<f32>,
    /// [rows, intermediate]: activations, gates or predicted scores. What a masked neuron would have been stands here too, where the
    /// rule knows it. Empty for [`Sparsity::Given`].
    pub neurons: Vec<f32>,
}

/// A layer's inside, for some rows: what predictors are trained on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inside {
    /// Heads' outputs before the output projection, [rows, heads * head_dim].
    pub attended: Vec<f32>,
    /// The residual stream between attention and MLP, [rows, hidden].
    pub mid: Vec<f32>,
    /// What the down projection takes, [rows, intermediate].
    pub active: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_go_to_bytes_and_back() {
        for width in [1, 7, 8, 31, 32, 33, 64, 100] {
            let mut bits = Bits::zeros(3, width);
            for i in (0..width).filter(|i| i % 3 == 1 || *i + 1 == width) {
                bits.set(1, i);
            }
            let bytes: Vec<u8> = (0..3).flat_map(|r| bits.row_bytes(r)).collect();
            assert_eq!(bytes.len(), 3 * width.div_ceil(8));
            assert_eq!(Bits::from_bytes(width, &bytes), Some(bits.clone()));
            assert_eq!(Bits::from_words(width, bits.words().to_vec()), Some(bits));
        }
    }

    #[test]
    fn bits_beyond_the_width_are_refused() {
        assert_eq!(Bits::from_bytes(7, &[0x80]), None);
        assert_eq!(Bits::from_words(33, vec![0, 2]), None);
        assert_eq!(Bits::from_bytes(9, &[0, 1, 0]), None);
        assert!(Bits::from_bytes(9, &[0, 1]).is_some());
    }
}
