//! What a key knows, decoded when asked.

use std::fmt;

use assay_model::{LayerRole, ModelConfig};
use assay_trace::{ActivationsClaim, Digest};

use crate::exact::{FixedKey, ScaledKey};
use crate::facts::{Facts, Stored};
use crate::field::{Field, Mersenne61, Mersenne127};
use crate::layout::{Kind, Places};
use crate::maker::{projection, row_ids};
use crate::normals::normals;
use crate::seed::Purpose;
use crate::{Part, Seed};

/// A verifier's key: a secret. A prover who knows it can forge what its audits accept.
///
/// Well formed and undamaged, and made by whoever made it: that its numbers belong to the model whose root it names, nothing in it
/// can prove. `Debug` shows no secret. When dropped, the seed is wiped from memory; the rest, from which R follows with the help of
/// the model's weights, is not.
pub struct VerifierKey {
    /// The plain file.
    pub(crate) bytes: Vec<u8>,
    pub(crate) facts: Facts,
    pub(crate) places: Places,
    pub(crate) seed: Seed,
    pub(crate) id: Digest,
}

/// What a key holds of one matrix W `[n, k]`, decoded. As secret as the key.
#[derive(Clone, PartialEq)]
pub struct ProductKey {
    /// Outputs: rows of W.
    pub n: usize,
    /// Inputs: columns of W.
    pub k: usize,
    /// V = R·W, `[K, k]`: for any x, V·x = R·(W·x) up to rounding. Each element is within 2^-24·|V| + n·2^-53·s of the true sum, if
    /// [`VerifierKey::projected_elsewhere`] is false; otherwise within what its maker's arithmetic gives.
    pub projected: Vec<f32>,
    /// s `[k]`: at least Σ over outputs o of max over projections j of |R\[j, o\]|·|W\[o, i\]|, so that for every projection r an error
    /// of at most γ·(|W||x|) in each output moves r·y by at most γ·(s·|x|).
    pub bound: Vec<f32>,
    /// Which rows of W follow, ascending.
    pub row_ids: Vec<u32>,
    /// Those rows `[row_ids.len(), k]`; exact, whatever type the model stores them in, a quantised one included.
    pub rows: Vec<f32>,
    /// ‖W‖, the root of the sum of all squares: the deviation of R·W·x over the choice of R is at most this times ‖x‖.
    pub frobenius: f64,
}

/// What a key holds of one matrix of integers W `[n, k]`. As secret as the key.
#[derive(Clone)]
pub struct IntegerKey {
    /// r and Wᵀ r over the field of its sums.
    pub check: IntegerCheck,
    /// One scale a row of W, `[n]`; none where the integers are fixed point.
    pub scales: Option<Vec<f32>>,
}

/// What sums of integers are checked by.
#[derive(Clone)]
pub enum IntegerCheck {
    /// Sums of products of 8-bit integers.
    Scaled(ScaledKey),
    /// Sums in units of 2^-48.
    Fixed(FixedKey),
}

impl IntegerCheck {
    /// Rows of W.
    pub fn n(&self) -> usize {
        match self {
            Self::Scaled(key) => key.n(),
            Self::Fixed(key) => key.n(),
        }
    }

    /// Columns of W.
    pub fn k(&self) -> usize {
        match self {
            Self::Scaled(key) => key.k(),
            Self::Fixed(key) => key.k(),
        }
    }

    /// p, about: a wrong row passes with a chance of one in so many.
    pub fn order(&self) -> f64 {
        match self {
            Self::Scaled(_) => Mersenne61::ORDER,
            Self::Fixed(_) => Mersenne127::ORDER,
        }
    }
}

impl VerifierKey {
    /// The plain file: secret, and all there is to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the plain file: names the key in reports, reveals nothing of it.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The model's shape and arithmetic; checked.
    pub fn config(&self) -> &ModelConfig {
        &self.facts.config
    }

    /// The model root that the key's maker gave.
    pub fn model_root(&self) -> Digest {
        self.facts.root
    }

    /// The stored type of the model's weights: `f32`, `f16`, `bf16` or `mixed`; of a quantised one that of what is quantised.
    pub fn model_dtype(&self) -> &str {
        &self.facts.dtype
    }

    /// The model's number of weights.
    pub fn parameters(&self) -> u64 {
        self.facts.parameters
    }

    /// Digest of the tokenizer's file, if the model came with one.
    pub fn tokenizer(&self) -> Option<Digest> {
        self.facts.tokenizer
    }

    /// The program that made the key, in its own words: printable ASCII.
    pub fn producer(&self) -> &str {
        &self.facts.producer
    }

    /// K, projections of each matrix.
    pub fn projections(&self) -> usize {
        self.facts.projections
    }

    /// q, rows kept of each matrix that has as many.
    pub fn rows(&self) -> usize {
        self.facts.rows
    }

    /// s, numbers for each row of the embedding.
    pub fn sketch_width(&self) -> usize {
        self.facts.sketch
    }

    /// The layers that it can audit, ascending, at least one.
    pub fn layers(&self) -> &[u32] {
        &self.facts.layers
    }

    /// The norm before attention, `[hidden]`; `None` for a layer that is not covered.
    pub fn attn_norm(&self, layer: u32) -> Option<Vec<f32>> {
        Some(self.floats(Kind::AttnNorm(self.facts.layer_index(layer)?)))
    }

    /// The norm before the MLP, `[hidden]`; `None` for a layer that is not covered.
    pub fn mlp_norm(&self, layer: u32) -> Option<Vec<f32>> {
        Some(self.floats(Kind::MlpNorm(self.facts.layer_index(layer)?)))
    }

    /// The norm before the head, `[hidden]`.
    pub fn final_norm(&self) -> Vec<f32> {
        self.floats(Kind::FinalNorm)
    }

    /// The bias of a matrix, `[n]`, asked for by the matrix's role or by its own; `None` where the model has none, or the layer is not
    /// covered.
    pub fn bias(&self, layer: u32, role: LayerRole) -> Option<Vec<f32>> {
        let asked_for = |matrix: &LayerRole| *matrix == role || matrix.bias() == Some(role);
        let matrix = crate::part::MATRICES.into_iter().find(asked_for)?;
        let index = self.facts.index(Part::Layer(layer, matrix))?;
        Some(self.floats(Kind::Bias(index))).filter(|bias| !bias.is_empty())
    }

    /// What the products that it can audit round their inputs to.
    pub fn activations(&self) -> Option<ActivationsClaim> {
        self.facts.activations
    }

    /// What the key holds of a matrix of integers; `None` if it is not covered, or of floats.
    pub fn integers(&self, part: Part) -> Option<IntegerKey> {
        let index = self.facts.index(part)?;
        let (n, _, stored) = self.facts.matrix(index)?;
        let stream = self.seed.stream(part, Purpose::Field)?;
        let bytes = self.places.get(&self.bytes, Kind::Exact(index));
        match stored {
            Stored::Int8 => {
                let r = stream.residues::<Mersenne61>(n);
                let (v, _) = bytes.as_chunks();
                let v = v.iter().map(|residue| u64::from_le_bytes(*residue));
                Some(IntegerKey {
                    check: IntegerCheck::Scaled(ScaledKey::from_parts(r, v.collect())?),
                    scales: Some(self.floats(Kind::Scales(index))),
                })
            }
            Stored::Fixed => {
                let r = stream.residues::<Mersenne127>(n);
                let (v, _) = bytes.as_chunks();
                let v = v.iter().map(|residue| u128::from_le_bytes(*residue));
                Some(IntegerKey {
                    check: IntegerCheck::Fixed(FixedKey::from_parts(r, v.collect())?),
                    scales: None,
                })
            }
            Stored::F32 | Stored::F16 | Stored::Bf16 | Stored::Decoded => None,
        }
    }

    /// What the key holds of a matrix; `None` if it is not covered, or of integers.
    pub fn product(&self, part: Part) -> Option<ProductKey> {
        let index = self.facts.index(part)?;
        let (n, k, stored) = self.facts.matrix(index)?;
        if stored.is_integer() {
            return None;
        }
        let mut rows = Vec::new();
        stored
            .rows()
            .decode(self.places.get(&self.bytes, Kind::Rows(index)), &mut rows);
        let (norms, _) = self.places.get(&self.bytes, Kind::Frobenius).as_chunks();
        Some(ProductKey {
            n,
            k,
            projected: self.floats(Kind::Projected(index)),
            bound: self.floats(Kind::Bound(index)),
            row_ids: row_ids(&self.facts, &self.seed, index),
            rows,
            frobenius: f64::from_le_bytes(*norms.get(index)?),
        })
    }

    /// R of a matrix, `[K, n]`, made anew from the seed; `None` if the matrix is not covered.
    pub fn projection(&self, part: Part) -> Option<Vec<f32>> {
        projection(&self.facts, &self.seed, part)
    }

    /// Whether V of a matrix came from [`KeyMaker::accept`](crate::KeyMaker::accept): tried, but with a rounding that this crate cannot
    /// vouch for, so that no rejection by it is certified without a bound for its maker's arithmetic. `None` if not covered.
    pub fn projected_elsewhere(&self, part: Part) -> Option<bool> {
        let flags = self.places.get(&self.bytes, Kind::Elsewhere);
        flags.get(self.facts.index(part)?).map(|flag| *flag != 0)
    }

    /// G·e for the embedding e of a token, `[s]`; `None` beyond the vocabulary. Within 2^-24 of itself, plus the rounding of a sum in
    /// f64, of the true numbers.
    pub fn embedding_row_sketch(&self, token: u32) -> Option<Vec<f32>> {
        let row_bytes = self.facts.sketch * 4;
        let sketch = self.places.get(&self.bytes, Kind::Sketch);
        let row = sketch.chunks_exact(row_bytes).nth(token as usize)?;
        Some(decode(row))
    }

    /// G, `[s, hidden]`, made anew from the seed.
    pub fn embedding_projection(&self) -> Vec<f32> {
        let stream = self.seed.stream(Part::Head, Purpose::Sketch);
        let len = self.facts.sketch * self.facts.config.hidden;
        stream.map_or_else(Vec::new, |stream| normals(&stream, 0, len))
    }

    fn floats(&self, kind: Kind) -> Vec<f32> {
        decode(self.places.get(&self.bytes, kind))
    }
}

impl Drop for VerifierKey {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        if let Ok(seed) = self.places.get_mut(&mut self.bytes, Kind::Seed) {
            seed.zeroize();
        }
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierKey")
            .field("id", &self.id)
            .field("root", &self.facts.root)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProductKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProductKey")
            .field("n", &self.n)
            .field("k", &self.k)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IntegerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntegerKey")
            .field("n", &self.check.n())
            .field("k", &self.check.k())
            .finish_non_exhaustive()
    }
}

fn decode(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}
