//! The reader in Python follows the specification and shares no code with ours; here the two judge the same files.

use std::path::PathBuf;
use std::process::{Command, Output};

use assay_trace::{
    Challenge, Digest, EditableTrace, Keep, Linear, MaskName, Opening, SparseRule, StateDtype,
    Trace, TraceSpec, challenge, reroot,
};

use crate::sample::{
    active, audited_example, audited_run, audited_spec, build, example, opening, run, sparse,
    sparse_audited_run, sparse_audited_spec, sparse_example, sparse_spec, spec,
};

/// Runs the reader on `file`; `None` where there is no Python.
pub fn read(name: &str, file: &[u8]) -> Option<Output> {
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
    let lie = |edit: fn(&mut EditableTrace)| reroot(&honest, edit).unwrap();
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
    let narrow = |t: &mut EditableTrace| {
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
    let rust = Trace::parse(&other).unwrap().check_commitment();
    match rust {
        Err(err) => refused("draw", &other, err.code()),
        Ok(()) => assert!(read("draw", &other).is_none_or(|output| output.status.success())),
    }
}

#[test]
fn python_accepts_sparse_traces() {
    let digest = Digest::of(b"a file");
    let thresholds = ["0", "999999.999999999"].map(|text| text.parse().unwrap());
    let thresholds = thresholds.to_vec();
    let with = |claim| TraceSpec {
        sparse: Some(claim),
        ..spec()
    };
    let teal = "input 0.25 to 0.5, kind teal, neurons 0 to 1.125";
    for (spec, rule) in [
        (sparse_spec(), teal.to_string()),
        (sparse_audited_spec(Keep::Everything), teal.to_string()),
        (
            with(sparse(None, 16, SparseRule::Given { digest })),
            format!("digest {digest}, kind given"),
        ),
        (
            with(sparse(None, 9, SparseRule::TopK { keep: 0 })),
            "keep 0, kind topk".into(),
        ),
        (
            with(sparse(None, 1, SparseRule::Cats { thresholds })),
            "kind cats, thresholds 0 to 999999.999999999".into(),
        ),
        (
            with(sparse(None, 23, SparseRule::Predicted { digest, keep: 23 })),
            format!("digest {digest}, keep 23, kind predicted"),
        ),
    ] {
        let finished = build(spec.clone(), &[3, 0, 4]);
        let name = format!("sparse-{}.trace", finished.commitment());
        let Some(output) = read(&name, &finished.to_bytes()) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let claim = spec.sparse.unwrap();
        let share = |name: MaskName, width: u32| {
            let units = 0..width as usize;
            let all = (0..4).flat_map(|p| (0..2).map(move |l| (p, l)));
            let set = all.map(|(p, l)| units.clone().filter(|&i| active(p, l, name, i)).count());
            format!(
                "{name} {:.1}%",
                100.0 * set.sum::<usize>() as f64 / f64::from(8 * width)
            )
        };
        let shares = claim.masks.iter().map(|mask| share(mask.name, mask.width));
        for want in [
            format!("root        {}", finished.root()),
            finished.commitment().to_string(),
            format!("rule        {rule}\n"),
            format!("active      {}\n", shares.collect::<Vec<_>>().join(", ")),
        ] {
            assert!(text.contains(&want), "{want}: {text}");
        }
    }
}

/// What each of these does, the two readers call by the same word.
#[test]
fn python_refuses_damaged_masks() {
    let opened = sparse_audited_run().open(&opening(Challenge::Chosen, &[0], &[0]));
    let honest = [sparse_example().to_bytes(), opened.unwrap().to_bytes()];
    let refused = |name: &str, file: &[u8], why: &str| {
        let rust = match Trace::parse(file) {
            Err(err) => err.code(),
            Ok(trace) => trace.check_commitment().unwrap_err().code(),
        };
        assert_eq!(rust, why, "{name}");
        let Some(output) = read(&format!("sparse-{name}"), file) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(
            text.contains(&format!("refused, {why}: ")),
            "{name}: {text}"
        );
    };
    for (i, honest) in honest.iter().enumerate() {
        let published = safetensors::SafeTensors::deserialize(honest).unwrap();
        let masks = published.tensor("masks").unwrap().data();
        let start = masks.as_ptr() as usize - honest.as_ptr() as usize;
        for (offset, mask, why) in [
            (0, 1, "merkle-root"),
            (3 * 7 + 2, 2, "merkle-root"),
            (0, 8, "structure"),
            (3 * 7 + 2, 4, "structure"),
        ] {
            let mut file = honest.clone();
            file[start + offset] ^= mask;
            refused(&format!("{i}-{offset}-{mask}"), &file, why);
        }
    }
    type Lie = fn(&mut EditableTrace);
    let lies: [(&str, Lie); 8] = [
        ("stream", |t| drop(t.manifest.streams.remove(1))),
        ("claim", |t| {
            t.manifest.sparse = None;
            t.masks.clear();
        }),
        ("rule", |t| {
            t.manifest.sparse.as_mut().unwrap().rule = SparseRule::TopK { keep: 1 };
        }),
        ("order", |t| {
            t.manifest.sparse.as_mut().unwrap().masks.swap(0, 1);
        }),
        ("keep", |t| {
            let claim = t.manifest.sparse.as_mut().unwrap();
            *claim = sparse(None, 24, SparseRule::TopK { keep: 25 });
        }),
        ("neurons", |t| {
            let claim = t.manifest.sparse.as_mut().unwrap();
            claim.masks.truncate(1);
            claim.masks[0].width = 24;
        }),
        ("input", |t| {
            let claim = t.manifest.sparse.as_mut().unwrap();
            claim.masks.remove(0);
            claim.masks[0].width = 24;
        }),
        ("thresholds", |t| {
            let claim = t.manifest.sparse.as_mut().unwrap();
            if let SparseRule::Teal { neurons, .. } = &mut claim.rule {
                neurons.pop();
            }
        }),
    ];
    for (name, lie) in lies {
        refused(name, &reroot(&honest[0], lie).unwrap(), "structure");
    }
    for (name, from, to) in [
        ("negative", r#"\"0.25\""#, r#"\"-0.25\""#),
        ("kind", r#"\"kind\":\"teal\""#, r#"\"kind\":\"wish\""#),
        (
            "extra",
            r#"\"kind\":\"teal\""#,
            r#"\"keep\":1,\"kind\":\"teal\""#,
        ),
        ("tensor", r#""masks":{"dtype"#, r#""masksz":{"dtype"#),
        ("zero", r#"\"width\":10"#, r#"\"width\":0"#),
    ] {
        let file = crate::sample::replace_in_header(&honest[0], from, to);
        refused(name, &file, "structure");
    }
}
