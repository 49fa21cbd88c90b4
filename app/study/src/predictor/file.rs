//! The predictor's file: safetensors, with the facts as canonical JSON in its metadata.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use assay_model::{ByteSource, MappedFile};
use assay_trace::Digest;
use safetensors::{Dtype, SafeTensors, View};

use super::facts::tensor_name;
use super::{Predictor, PredictorFacts, Target, Weights};
use crate::error::shown;
use crate::{Stored, StudyError, files};

/// The facts' key in the file's metadata.
const KEY: &str = "assay-predictor";
/// Most bytes of a header: a thousand layers with their metrics stay below.
const MAX_HEADER: u64 = 16 << 20;

/// What a run needs of a predictor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The model's root.
    pub root: Digest,
    /// Neurons or heads.
    pub target: Target,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Neurons of the MLP, or heads.
    pub outputs: u32,
    /// Layers of the model.
    pub model_layers: u32,
    /// Layers that must have a predictor.
    pub layers: Vec<u32>,
    /// The file's digest, where one is committed to.
    pub digest: Option<Digest>,
}

impl Predictor {
    /// Writes the file, or replaces it as a whole, and gives its SHA-256. The same predictor is always the same bytes.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, path: &Path) -> Result<Digest, StudyError> {
        let facts = &self.facts;
        let shapes = [
            ("down", [facts.rank as usize, facts.hidden as usize]),
            ("up", [facts.outputs as usize, facts.rank as usize]),
        ];
        let mut tensors = Vec::new();
        for (&layer, weights) in &self.weights {
            for ((which, shape), values) in shapes.into_iter().zip([&weights.down, &weights.up]) {
                let tensor = Tensor {
                    dtype: facts.dtype,
                    shape,
                    values,
                };
                tensors.push((tensor_name(layer, which), tensor));
            }
        }
        let metadata = HashMap::from([(KEY.to_owned(), canonical(facts)?)]);
        // In memory first: the digest is of the very bytes that are written, and the crate's own file writer neither flushes nor
        // keeps the usual permissions.
        let bytes = safetensors::serialize(tensors, Some(metadata))
            .map_err(|source| StudyError::Safetensors { source })?;
        files::replace_with(path, &bytes)?;
        Ok(Digest::of(&bytes))
    }

    /// Loads the file at `path` if it is what `wanted` says, and gives its SHA-256, which a trace commits to.
    ///
    /// Whatever is missing, cut short or of another model is an error and ends the run. The seed logged one line (`using random`) and
    /// went on with random weights; its figures of that run look like a failure of the method.
    ///
    /// # Errors
    /// No file; not a predictor; another model, target or shape; a layer or tensor missing; surplus tensors; weights that are not
    /// finite; another digest than wanted.
    pub fn load(path: &Path, wanted: &Wanted) -> Result<(Self, Digest), StudyError> {
        let file = open(path)?;
        let bytes = file.read(0, length(&file)?)?;
        let digest = Digest::of(&bytes);
        if let Some(want) = wanted.digest
            && want != digest
        {
            return Err(StudyError::OtherDigest { got: digest, want });
        }
        let facts = read_facts(&bytes)?;
        wanted.check(&facts)?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|source| StudyError::Safetensors { source })?;
        let want = 2 * facts.layers.len();
        if tensors.len() != want {
            return Err(StudyError::Tensors {
                got: tensors.len(),
                want,
            });
        }
        let mut weights = BTreeMap::new();
        for entry in &facts.layers {
            let rank = facts.rank as usize;
            let read = |which, shape| tensor(&tensors, entry.layer, which, shape, facts.dtype);
            let pair = Weights {
                down: read("down", [rank, facts.hidden as usize])?,
                up: read("up", [facts.outputs as usize, rank])?,
            };
            weights.insert(entry.layer, pair);
        }
        Ok((Self { facts, weights }, digest))
    }

    /// Only what the file at `path` says about itself, to show it or to choose among files. Nothing was compared with a model.
    ///
    /// # Errors
    /// No file; not a predictor.
    pub fn peek(path: &Path) -> Result<PredictorFacts, StudyError> {
        let file = open(path)?;
        let bytes = file.read(0, length(&file)?)?;
        read_facts(&bytes)
    }
}

impl Wanted {
    fn check(&self, facts: &PredictorFacts) -> Result<(), StudyError> {
        if facts.root != self.root {
            return Err(StudyError::OtherModel {
                got: facts.root,
                want: self.root,
            });
        }
        let differs = |what, got: String, want: String| {
            if got == want {
                Ok(())
            } else {
                Err(StudyError::Differs { what, got, want })
            }
        };
        let number = |n: u32| n.to_string();
        differs(
            "target",
            facts.target.name().to_owned(),
            self.target.name().to_owned(),
        )?;
        differs("hidden", number(facts.hidden), number(self.hidden))?;
        differs("outputs", number(facts.outputs), number(self.outputs))?;
        differs(
            "model_layers",
            number(facts.model_layers),
            number(self.model_layers),
        )?;
        for &layer in &self.layers {
            facts.layer(layer)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<MappedFile, StudyError> {
    let exists = path
        .try_exists()
        .map_err(|err| StudyError::io("look for", path, err))?;
    if !exists {
        return Err(StudyError::NoPredictor {
            path: path.to_owned(),
        });
    }
    Ok(MappedFile::open(path)?)
}

fn length(file: &MappedFile) -> Result<usize, StudyError> {
    usize::try_from(file.len()).map_err(|_| StudyError::Memory { bytes: file.len() })
}

fn canonical(facts: &PredictorFacts) -> Result<String, StudyError> {
    serde_json::to_string(facts).map_err(|source| StudyError::Json { file: KEY, source })
}

fn read_facts(bytes: &[u8]) -> Result<PredictorFacts, StudyError> {
    // The crate allows headers of 100 MB.
    if let Some(&length) = bytes.first_chunk::<8>() {
        let header = u64::from_le_bytes(length);
        if header > MAX_HEADER {
            return Err(StudyError::value(
                "the safetensors file",
                "header length",
                header,
                format!("at most {MAX_HEADER}"),
            ));
        }
    }
    offsets_inside(bytes)?;
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|source| StudyError::Safetensors { source })?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(KEY))
        .ok_or(StudyError::NotAPredictor)?;
    let facts: PredictorFacts =
        serde_json::from_str(text).map_err(|source| StudyError::Json { file: KEY, source })?;
    facts.check()?;
    if canonical(&facts)? != *text {
        return Err(StudyError::NotCanonical);
    }
    Ok(facts)
}

/// Refuses offsets beyond the file before the crate adds to them: at 2^64 its sum would overflow, and its slices with it.
fn offsets_inside(bytes: &[u8]) -> Result<(), StudyError> {
    #[derive(serde::Deserialize)]
    struct Offsets {
        data_offsets: Option<[u64; 2]>,
    }
    let header = bytes
        .first_chunk::<8>()
        .and_then(|length| usize::try_from(u64::from_le_bytes(*length)).ok())
        .and_then(|length| bytes.get(8..)?.get(..length));
    // A header that is not there or not JSON is refused by the crate, in its own words.
    let Some(Ok(entries)) = header.map(serde_json::from_slice::<BTreeMap<String, Offsets>>) else {
        return Ok(());
    };
    for (name, entry) in entries {
        let [begin, end] = entry.data_offsets.unwrap_or_default();
        if begin.max(end) > bytes.len() as u64 {
            return Err(StudyError::Tensor {
                name: shown(&name),
                got: format!("bytes {begin} to {end}"),
                want: format!("at most {}", bytes.len()),
            });
        }
    }
    Ok(())
}

fn tensor(
    tensors: &SafeTensors<'_>,
    layer: u32,
    which: &str,
    shape: [usize; 2],
    dtype: Stored,
) -> Result<Vec<f32>, StudyError> {
    let name = tensor_name(layer, which);
    let Ok(tensor) = tensors.tensor(&name) else {
        return Err(StudyError::TensorMissing { name });
    };
    if tensor.shape() != shape || tensor.dtype() != file_dtype(dtype) {
        return Err(StudyError::Tensor {
            name,
            got: format!("{:?} {:?}", tensor.dtype(), tensor.shape()),
            want: format!("{:?} {shape:?}", file_dtype(dtype)),
        });
    }
    // The shape's bytes lie in the mapped file: the crate compared them with the offsets, and the offsets with the file.
    let count = tensor.data().len() / dtype.bytes();
    let mut values = Vec::new();
    values
        .try_reserve_exact(count)
        .map_err(|_| StudyError::Memory {
            bytes: 4 * count as u64,
        })?;
    values.resize(count, 0.0);
    dtype
        .decode(tensor.data(), &mut values)
        .map_err(|index| StudyError::Number {
            what: name,
            index,
            got: values.get(index).copied().unwrap_or(f32::NAN),
        })?;
    Ok(values)
}

fn file_dtype(dtype: Stored) -> Dtype {
    match dtype {
        Stored::F16 => Dtype::F16,
        Stored::F32 => Dtype::F32,
    }
}

/// Weights on their way to a file, encoded one tensor at a time.
struct Tensor<'a> {
    dtype: Stored,
    shape: [usize; 2],
    values: &'a [f32],
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        file_dtype(self.dtype)
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        // `Predictor::new` made every value finite in the stored type, so nothing is refused here.
        let encoded = self.dtype.encode(self.values, &mut bytes);
        debug_assert_eq!(encoded, Ok(()));
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.values.len() * self.dtype.bytes()
    }
}
