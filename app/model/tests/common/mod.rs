//! What the tests over real checkpoints share.
#![allow(dead_code, reason = "each test binary uses its part")]
use std::path::{Path, PathBuf};

/// A path in the test data that lies beside the repository; prints a line and returns `None` where it does not.
pub fn shared(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(path);
    if found.exists() {
        return Some(found);
    }
    eprintln!("skipped: no test data at {}", found.display());
    None
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn ids(value: &serde_json::Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}
