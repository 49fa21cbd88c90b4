//! Reference data that lies beside the checkout and is never copied into it.

use std::path::{Path, PathBuf};

use assay_model::Model;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// `../shared/data/NAME`, or `None` with a printed line where it is absent.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let path = root.join("shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: ../shared/data/{name} is not on this machine");
    None
}

/// The trained OPT of the demo's size, which lies in the checkout (tests/models).
pub fn demo_opt() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-opt")
}

/// The demo model with its weights in f16, written to `folder`.
pub fn demo_in_f16(folder: &Path) -> Model {
    in_f16(&crate::cheats::demo_folder(), &folder.join("demo-f16"))
}

/// A checkpoint of one file in bf16 with its weights in f16, written to `folder`, which is made. Values that f16 cannot hold are rounded.
pub fn in_f16(original: &Path, folder: &Path) -> Model {
    std::fs::create_dir(folder).expect("a folder");
    for name in ["config.json", "generation_config.json", "tokenizer.json"] {
        let from = original.join(name);
        if from.exists() {
            std::fs::copy(from, folder.join(name)).expect("it is copied");
        }
    }
    let file = std::fs::read(original.join("model.safetensors")).expect("it reads");
    let tensors = SafeTensors::deserialize(&file).expect("it parses");
    let halves = tensors.iter().map(|(name, view)| {
        let values = view.data().as_chunks().0.iter();
        let halves: Vec<u8> = values
            .flat_map(|b| f16::from_f32(bf16::from_le_bytes(*b).to_f32()).to_le_bytes())
            .collect();
        (name.to_owned(), view.shape().to_vec(), halves)
    });
    let halves: Vec<_> = halves.collect();
    let views = halves.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(safetensors::Dtype::F16, shape.clone(), bytes);
        (name.as_str(), view.expect("it fits"))
    });
    let file = safetensors::serialize(views, None).expect("it serialises");
    std::fs::write(folder.join("model.safetensors"), file).expect("it is written");
    Model::open(folder).expect("it loads")
}

/// A safetensors file's tensors as f32 or i32 values.
pub struct Tensors(Vec<u8>);

impl Tensors {
    /// Reads the file.
    pub fn open(path: &Path) -> Self {
        Self(std::fs::read(path).expect("the reference file reads"))
    }

    /// A tensor's shape and 4-byte little-endian elements.
    fn words(&self, name: &str) -> (Vec<usize>, Vec<[u8; 4]>) {
        let tensors = SafeTensors::deserialize(&self.0).expect("the reference file parses");
        let tensor = tensors.tensor(name).expect("the tensor exists");
        let words = tensor
            .data()
            .chunks_exact(4)
            .map(|b| [b[0], b[1], b[2], b[3]])
            .collect();
        (tensor.shape().to_vec(), words)
    }

    /// An f32 tensor.
    pub fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, words) = self.words(name);
        (shape, words.into_iter().map(f32::from_le_bytes).collect())
    }

    /// An i32 tensor of token ids.
    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.words(name)
            .1
            .into_iter()
            .map(u32::from_le_bytes)
            .collect()
    }
}
