//! An open checkpoint: its config, its tensors by role, and their bytes on demand.
use crate::{
    ByteSource, LayerRole, ModelConfig, ModelError, NamedSource, Role, TensorRef, Tokenizer, files,
    gguf, huggingface, llama2c, weights::Part,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
#[cfg(feature = "native")]
use std::path::Path;
use std::sync::Arc;

/// A checkpoint whose every tensor was found, with the shape that its config asks for.
///
/// Opening reads headers only (and, where a tied matrix is stored twice, compares the two). It does not look at the weights' values:
/// [`Model::root`] says which they are.
pub struct Model {
    config: ModelConfig,
    notes: Vec<String>,
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    sources: Vec<Arc<dyn ByteSource>>,
    pub(crate) tensors: BTreeMap<Role, TensorRef>,
}

impl Model {
    pub(crate) fn new(
        config: ModelConfig,
        notes: Vec<String>,
        tokenizer: Option<Tokenizer>,
        sources: Vec<Arc<dyn ByteSource>>,
        tensors: BTreeMap<Role, TensorRef>,
    ) -> Result<Self, ModelError> {
        if let Some(tokenizer) = &tokenizer {
            tokenizer.check_vocab(config.vocab)?;
        }
        Ok(Self {
            config,
            notes,
            tokenizer: tokenizer.map(Arc::new),
            sources,
            tensors,
        })
    }

    /// Opens a Hugging Face folder, a `.gguf`, or a llama2.c `.bin` with the tokenizer that lies beside it.
    #[cfg(feature = "native")]
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::open_any(path, None)
    }

    /// Like [`Model::open`], with the tokenizer (`tokenizer.json`, or a llama2.c `.bin`) from `tokenizer_path`.
    #[cfg(feature = "native")]
    pub fn open_with_tokenizer(path: &Path, tokenizer_path: &Path) -> Result<Self, ModelError> {
        Self::open_any(path, Some(Tokenizer::open(tokenizer_path)?))
    }

    #[cfg(feature = "native")]
    fn open_any(path: &Path, tokenizer: Option<Tokenizer>) -> Result<Self, ModelError> {
        if path.is_dir() {
            return files::open_folder(path, tokenizer);
        }
        let folder = files::Disk(path.parent().unwrap_or("".as_ref()));
        let name = path.file_name().and_then(|name| name.to_str());
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("bin") if let Some(name) = name => llama2c::open(&folder, name, tokenizer),
            Some("gguf") if let Some(name) = name => gguf::open(&folder, name, tokenizer),
            _ if path.exists() => Err(ModelError::NoCheckpoint {
                path: path.to_owned(),
            }),
            _ => Err(ModelError::io(
                "open",
                path,
                std::io::ErrorKind::NotFound.into(),
            )),
        }
    }

    /// Opens the one checkpoint among files that a user dropped or chose, where there is no file system: those of a Hugging Face
    /// folder, perhaps inside of another one, a `.gguf`, or a llama2.c `.bin` and its tokenizer. Other files among them do no harm, but a second
    /// checkpoint is an error.
    pub fn open_files(files: Vec<NamedSource>) -> Result<Self, ModelError> {
        files::open(files)
    }

    /// A Hugging Face checkpoint whose files are already in memory, or behind any other [`ByteSource`].
    pub fn from_memory(
        config_json: &[u8],
        generation_config: Option<&[u8]>,
        safetensors: Vec<Arc<dyn ByteSource>>,
        tokenizer_json: Option<&[u8]>,
    ) -> Result<Self, ModelError> {
        let tokenizer = tokenizer_json.map(Tokenizer::from_json).transpose()?;
        let shard = |(index, source)| huggingface::Shard {
            label: format!("safetensors file {index}"),
            source,
        };
        let shards = safetensors.into_iter().enumerate().map(shard).collect();
        huggingface::assemble(config_json, generation_config, shards, None, tokenizer)
    }

    /// A llama2.c checkpoint behind any [`ByteSource`], with the bytes of its `tokenizer.bin`.
    pub fn from_llama2c(
        checkpoint: Arc<dyn ByteSource>,
        tokenizer_bin: Option<&[u8]>,
    ) -> Result<Self, ModelError> {
        llama2c::parse(
            checkpoint,
            tokenizer_bin.map(Tokenizer::from_llama2c).transpose()?,
        )
    }

    /// A GGUF file behind any [`ByteSource`], with the tokenizer that it describes.
    pub fn from_gguf(file: Arc<dyn ByteSource>) -> Result<Self, ModelError> {
        gguf::parse(file, "GGUF file", None)
    }

    /// Shape and arithmetic.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What a user should know about how the checkpoint was read, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The checkpoint's tokenizer, if it came with one; its ids fit the vocabulary.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_deref()
    }

    /// The tensor with this role; `None` for a bias that the model does not have or a layer beyond the last.
    pub fn tensor(&self, role: Role) -> Option<&TensorRef> {
        self.tensors.get(&role)
    }

    /// `tensor(Role::Layer(layer, role))`.
    pub fn layer(&self, layer: usize, role: LayerRole) -> Option<&TensorRef> {
        self.tensor(Role::Layer(layer, role))
    }

    /// Every tensor once, sorted by name; a tied matrix counts once.
    pub fn tensors(&self) -> Vec<&TensorRef> {
        let by_name: BTreeMap<&str, &TensorRef> = self
            .tensors
            .values()
            .map(|tensor| (tensor.name.as_str(), tensor))
            .collect();
        by_name.into_values().collect()
    }

    /// `len` bytes of a tensor as stored, from `offset` within it, borrowed where the source can lend them. Where it is several tensors
    /// of a file, they count as one after another.
    pub fn read(
        &self,
        tensor: &TensorRef,
        offset: u64,
        len: usize,
    ) -> Result<Cow<'_, [u8]>, ModelError> {
        let end = offset.saturating_add(len as u64);
        if end > tensor.bytes {
            return Err(outside(&tensor.name, (offset, end), tensor.bytes));
        }
        let mut joined = Vec::new();
        let mut begin = 0;
        for (index, part) in tensor.parts.iter().enumerate() {
            let (from, to) = (offset.max(begin), end.min(begin + part.bytes));
            if from < to || tensor.parts.len() == 1 {
                let some = self.read_part(tensor, index, from - begin, (to - from) as usize)?;
                if some.len() == len {
                    return Ok(some);
                }
                joined.extend_from_slice(&some);
            }
            begin += part.bytes;
        }
        Ok(joined.into())
    }

    /// The same within one of its tensors.
    pub(crate) fn read_part(
        &self,
        tensor: &TensorRef,
        part: usize,
        offset: u64,
        len: usize,
    ) -> Result<Cow<'_, [u8]>, ModelError> {
        let foreign = || ModelError::ForeignTensor {
            name: tensor.name.clone(),
        };
        let part = tensor.parts.get(part).ok_or_else(foreign)?;
        let end = offset.saturating_add(len as u64);
        if end > part.bytes {
            return Err(outside(&part.name, (offset, end), part.bytes));
        }
        let source = self.sources.get(part.source).ok_or_else(foreign)?;
        source.read(part.offset.saturating_add(offset), len)
    }

    /// A whole tensor as f32: for norms, biases and twins on the CPU, not for a large matrix on its way to a GPU.
    pub fn read_f32(&self, tensor: &TensorRef) -> Result<Vec<f32>, ModelError> {
        self.read_rows_f32(tensor, 0..tensor.rows())
    }

    /// Some rows of a matrix as f32 `[rows, cols]`.
    pub fn read_rows_f32(
        &self,
        tensor: &TensorRef,
        rows: Range<usize>,
    ) -> Result<Vec<f32>, ModelError> {
        let (n, cols) = (rows.len(), tensor.cols());
        let matrix = self.rows(tensor)?;
        let matrix = matrix.matrix(rows)?;
        let mut out = Vec::with_capacity(n * cols);
        for row in 0..n {
            tensor.dtype.decode_row(&matrix, row, cols, &mut out);
        }
        Ok(out)
    }

    /// A hint that this tensor will not be read again soon, so that its pages need not stay resident.
    pub fn release(&self, tensor: &TensorRef) {
        for part in &tensor.parts {
            self.release_range(part, 0, part.bytes);
        }
    }

    pub(crate) fn release_range(&self, part: &Part, offset: u64, len: u64) {
        if let Some(source) = self.sources.get(part.source) {
            source.release(part.offset + offset, len);
        }
    }

    /// The stored type of all weights (`f32`, `f16`, `bf16`), or `mixed`; where some are quantised the type of those, whatever floats
    /// stand beside them, or `quantised` where they are of several types.
    pub fn dtype(&self) -> &'static str {
        let names = |quantised: bool| {
            let mut names: Vec<&str> = Vec::new();
            for tensor in self.tensors.values() {
                let name = tensor.dtype.as_str();
                if (!quantised || !tensor.dtype.is_float()) && !names.contains(&name) {
                    names.push(name);
                }
            }
            names
        };
        let (quantised, all) = (names(true), names(false));
        match (
            quantised.len(),
            all.len(),
            quantised.first().or(all.first()),
        ) {
            (1, _, Some(only)) | (0, 1, Some(only)) => only,
            (0, ..) => "mixed",
            _ => "quantised",
        }
    }

    /// Number of weights; a tied matrix counts once.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(|tensor| tensor.elements()).sum()
    }

    /// Bytes of all weights as stored; a tied matrix counts once.
    pub fn bytes(&self) -> u64 {
        self.tensors().iter().map(|tensor| tensor.bytes).sum()
    }

    /// The config as the model root binds it.
    pub fn config_canonical_json(&self) -> String {
        self.config.canonical_json()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self {
            config,
            notes,
            tokenizer: _,
            sources: _,
            tensors,
        } = self;
        f.debug_struct("Model")
            .field("config", config)
            .field("notes", notes)
            .field("tensors", &tensors.len())
            .finish()
    }
}

fn outside(name: &str, (begin, end): (u64, u64), most: u64) -> ModelError {
    ModelError::RangeOutside {
        name: name.to_owned(),
        begin,
        end,
        most,
    }
}

/// A small file, whole; larger than `most` is refused before it is read.
#[cfg(feature = "native")]
pub(crate) fn read_capped(path: &Path, most: usize) -> Result<Vec<u8>, ModelError> {
    use std::io::Read as _;
    let metadata = std::fs::metadata(path).map_err(|err| ModelError::io("read", path, err))?;
    if !metadata.is_file() {
        return Err(ModelError::NotAFile {
            path: path.to_owned(),
        });
    }
    let too_large = |got| ModelError::FileTooLarge {
        got,
        most: most as u64,
        path: path.to_owned(),
    };
    if metadata.len() > most as u64 {
        return Err(too_large(metadata.len()));
    }
    let file = std::fs::File::open(path).map_err(|err| ModelError::io("open", path, err))?;
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // The file may grow while it is read, so the ceiling holds here too.
    file.take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|err| ModelError::io("read", path, err))?;
    if bytes.len() > most {
        Err(too_large(bytes.len() as u64))
    } else {
        Ok(bytes)
    }
}
