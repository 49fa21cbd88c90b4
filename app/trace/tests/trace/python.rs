//! The reader in Python follows the specification and shares no code with ours; here the two judge the same files.

use std::path::PathBuf;
use std::process::{Command, Output};

use assay_trace::StateDtype;

use crate::sample::{build, example, spec};

/// Runs the reader on `file`; `None` where there is no Python.
fn read(name: &str, file: &[u8]) -> Option<Output> {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../provers/python/assay_trace.py"
    );
    let path: PathBuf = [env!("CARGO_TARGET_TMPDIR"), name].iter().collect();
    std::fs::write(&path, file).unwrap();
    let output = Command::new("python3")
        .arg("-B")
        .arg(script)
        .arg(&path)
        .output();
    if output.is_err() {
        println!("skipped: no python3 here");
    }
    output.ok()
}

#[test]
fn python_accepts_what_rust_built() {
    for state_dtype in [StateDtype::Bf16, StateDtype::F16, StateDtype::F32] {
        let mut spec = spec();
        spec.state_dtype = state_dtype;
        spec.adapter = r#"quotes " and \ backslashes"#.into();
        let finished = build(spec, &[3, 0, 4]);
        let Some(output) = read(&format!("{state_dtype:?}.trace"), &finished.to_bytes()) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains(&finished.root().to_string()), "{text}");
        assert!(text.contains(&finished.commitment().to_string()), "{text}");
    }
}

#[test]
fn python_refuses_what_rust_refuses() {
    let honest = example().to_bytes();
    let refused = |name: &str, file: &[u8], why: &str| {
        let Some(output) = read(name, file) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains(why), "{name}: {text}");
    };
    let flip = |at: usize| {
        let mut file = honest.clone();
        file[at] ^= 1;
        file
    };
    let data = 8 + u64::from_le_bytes(honest[..8].try_into().unwrap()) as usize;
    refused("tail", &[honest.as_slice(), &[0]].concat(), "structure");
    refused("cut", &honest[..honest.len() - 1], "structure");
    refused("prompt", &flip(data), "prompt-digest"); // token 1 becomes 0: a legal id, another prompt
    refused("state", &flip(data + 20), "state-digest");
    refused("commitment", &flip(data + 20 + 48), "commitment");
    refused("root", &flip(honest.len() - 32 * 2), "merkle-root");
    refused("padding", &flip(data - 1), "structure");
}
