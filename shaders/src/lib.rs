//! The WGSL kernels of Assay and the small preprocessor that makes their variants.
//!
//! One kernel is one file under `kernels/`; shared pieces lie under `include/`. A *variant* is a kernel's
//! name plus a set of integer [`Defines`]: the stored type of the weights, tile sizes, strict numerics.
//! The text is embedded, so neither a browser nor a packaged binary looks for files at run time.

mod preprocess;
mod sources;

pub use preprocess::{Defines, ShaderError, expand_with};
pub use sources::{KERNELS, source};

/// The WGSL text of kernel `name` with `defines` applied, includes resolved and loops unrolled.
pub fn expand(name: &str, defines: &Defines) -> Result<String, ShaderError> {
    expand_with(name, defines, &source)
}
