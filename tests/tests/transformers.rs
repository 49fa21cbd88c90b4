//! The package `provers/transformers`, where Python has torch: its own tests, which hold its traces against this repository's specification.

use std::path::Path;
use std::process::Command;

#[test]
fn the_python_prover_passes_its_tests() {
    let python = std::env::var("ASSAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_torch = Command::new(&python)
        .args(["-c", "import torch, transformers, pytest"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_torch {
        println!(
            "skipped: {python} has no torch, transformers and pytest (ASSAY_PYTHON names another)"
        );
        return;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../provers/transformers");
    let output = Command::new(&python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "."])
        .env("PYTHONPATH", package.join("src"))
        .current_dir(&package)
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{said}");
}
