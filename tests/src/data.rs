//! Reference data that lies beside the checkout and is never copied into it.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

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
