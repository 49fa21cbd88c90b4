//! The reader in Python follows the specification and shares no code with ours; here the two judge the same files.

use std::path::PathBuf;
use std::process::{Command, Output};

use assay_trace::{Challenge, Digest, Keep, Linear, Opening, StateDtype, challenge, reroot};

use crate::sample::{
    audited_example, audited_run, audited_spec, build, example, opening, run, spec,
};

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

#[test]
fn python_accepts_audited_traces() {
    let nonce = Some(Digest::of(b"nonce"));
    for (state_dtype, gate) in [
        (StateDtype::Bf16, true),
        (StateDtype::F16, false),
        (StateDtype::F32, true),
    ] {
        let mut spec = audited_spec(Keep::Everything);
        (spec.state_dtype, spec.nonce) = (state_dtype, nonce);
        let products = &mut spec.linears.as_mut().unwrap().products;
        products.retain(|product| gate || product.name != Linear::Gate);
        let sealed = run(spec, &[3, 0, 4]).seal(4, assay_trace::StopReason::Eos);
        let sealed = sealed.unwrap();
        let drawn = challenge::draw_layers(sealed.root(), nonce, 1, 2);
        let tokens = challenge::draw_logits(sealed.root(), nonce, 2, 3);
        for (i, opening) in [
            opening(Challenge::Offline, &drawn, &tokens),
            opening(Challenge::Interactive, &[], &[]),
            opening(Challenge::Chosen, &[1], &[]),
            opening(Challenge::Chosen, &[], &[1]),
            opening(Challenge::All, &[0, 1], &[0, 1, 2]),
            Opening::default(),
        ]
        .into_iter()
        .enumerate()
        {
            if i > 1 && state_dtype != StateDtype::Bf16 {
                break; // starting Python takes a while
            }
            let finished = sealed.open(&opening).unwrap();
            let name = format!("audited-{state_dtype:?}-{i}.trace");
            let Some(output) = read(&name, &finished.to_bytes()) else {
                return;
            };
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let receipt = sealed.receipt().unwrap().commitment();
            for want in [
                finished.root().to_string(),
                finished.commitment().to_string(),
                receipt.to_string(),
                format!(
                    "{}: layers {:?}, logits {:?}",
                    opening.challenge, opening.layers, opening.logits
                ),
            ] {
                assert!(text.contains(&want), "{want}: {text}");
            }
        }
    }
}

#[test]
fn python_refuses_damaged_audits() {
    let opening = opening(Challenge::Chosen, &[0], &[0, 2]);
    let honest = audited_run().open(&opening).unwrap().to_bytes();
    let refused = |name: &str, file: &[u8], why: &str| {
        let Some(output) = read(&format!("audit-{name}"), file) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains(why), "{name}: {text}");
    };
    let published = safetensors::SafeTensors::deserialize(&honest).unwrap();
    let flip = |tensor: &str, offset: usize| {
        let data = published.tensor(tensor).unwrap().data();
        let mut file = honest.clone();
        file[data.as_ptr() as usize - honest.as_ptr() as usize + offset] ^= 1;
        file
    };
    refused("linear", &flip("linears.00000.up", 7), "linear-digest");
    refused("logits", &flip("logits", 21), "logits-digest");
    refused("digest", &flip("digests.linears", 32), "merkle-root");
    let lie = |edit: fn(&mut assay_trace::EditableTrace)| reroot(&honest, edit).unwrap();
    let all = lie(|t| t.manifest.linears.as_mut().unwrap().challenge = Challenge::All);
    refused("all", &all, "challenge");
    refused(
        "finite",
        &lie(|t| t.logits.get_mut(&0).unwrap()[0] = f32::NAN),
        "structure",
    );
    refused("state", &lie(|t| drop(t.states.remove(&1))), "structure");
    refused(
        "last state",
        &lie(|t| drop(t.states.remove(&2))),
        "structure",
    );
    refused(
        "stream",
        &lie(|t| drop(t.manifest.streams.remove(0))),
        "structure",
    );
    let narrow = |t: &mut assay_trace::EditableTrace| {
        let claim = t.manifest.linears.as_mut().unwrap();
        claim.products.remove(0);
        t.linears.retain(|(_, name), _| *name != Linear::Q);
    };
    refused("product", &lie(narrow), "structure");

    // The draw is another half of the time; the one that was drawn is accepted above.
    let other = reroot(&audited_example().to_bytes(), |t| {
        t.linears = t
            .linears
            .iter()
            .map(|(&(layer, name), rows)| ((1 - layer, name), rows.clone()))
            .collect();
    });
    let other = other.unwrap();
    let rust = assay_trace::Trace::parse(&other)
        .unwrap()
        .check_commitment();
    match rust {
        Err(err) => refused("draw", &other, err.code()),
        Ok(()) => assert!(read("draw", &other).is_none_or(|output| output.status.success())),
    }
}
