//! Traces that the seed program itself wrote, where they are on this machine: read, and replayed bit for bit.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::{Path, PathBuf};

use assay_llama2rs::check::{Expect, Verdict, Verifier};
use assay_llama2rs::{Metadata, Revision, Run, SamplerSpec, Trace, prompt_ids};
use assay_model::Model;
use assay_trace::Digest;
use serde_json::Value;

fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?;
    let path = root.join("shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: ../shared/data/{name} is not on this machine");
    None
}

struct Known {
    bytes: Vec<u8>,
    root: Digest,
    revision: Revision,
    sampler: SamplerSpec,
}

fn known(folder: &Path) -> Vec<Known> {
    let text = std::fs::read_to_string(folder.join("traces.json")).unwrap();
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let read = |entry: &Value| {
        let args: Vec<String> = serde_json::from_value(entry["args"].clone()).unwrap();
        let after = |flag: &str| {
            let at = args.iter().position(|arg| arg == flag);
            at.map_or("0.9", |at| args[at + 1].as_str())
        };
        let (temperature, top_p) = (after("-t").parse().unwrap(), after("-p").parse().unwrap());
        let bytes = std::fs::read(folder.join(entry["file"].as_str().unwrap())).unwrap();
        assert_eq!(
            Digest::of(&bytes).to_string(),
            entry["sha256"].as_str().unwrap()
        );
        Known {
            bytes,
            root: entry["root"].as_str().unwrap().parse().unwrap(),
            revision: match entry["revision"].as_str().unwrap() {
                "977305a" => Revision::A,
                _ => Revision::B,
            },
            sampler: SamplerSpec::new(temperature, top_p, after("-s").parse().unwrap()).unwrap(),
        }
    };
    list.iter().map(read).collect()
}

#[test]
fn both_revisions_are_read_and_their_roots_recomputed() {
    let Some(folder) = shared("llama2-rs-traces") else {
        return;
    };
    let known = known(&folder);
    assert_eq!(known.len(), 4);
    for Known {
        bytes,
        root,
        revision,
        ..
    } in known
    {
        let trace = Trace::parse(&bytes).unwrap();
        assert_eq!((trace.revision, trace.root), (revision, Some(root)));
        assert!(trace.holds_together());
        assert_eq!(trace.entries.len(), 60);
        assert_eq!(trace.metadata.prompt, "Once upon a time");
        if revision == Revision::B {
            assert_eq!(
                trace.to_bytes(),
                bytes,
                "what we write is what the program writes"
            );
        }
    }
}

/// The one claim that llama2-rs makes, on this machine's exp, sin and cos: x86-64 Linux with glibc wrote the files. Elsewhere the
/// replay may differ in the last bit, so there only reading is tested.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
#[test]
fn every_trace_replays_bit_for_bit_and_is_written_again() {
    let (Some(folder), Some(checkpoint)) = (
        shared("llama2-rs-traces"),
        shared("stories260K/stories260K.bin"),
    ) else {
        return;
    };
    let model = Model::open(&checkpoint).unwrap();
    let verifier = Verifier {
        model: &model,
        model_root: model.root(&mut |_, _| {}).unwrap(),
        keep_logits: false,
    };
    for Known {
        bytes,
        root,
        sampler,
        revision,
    } in known(&folder)
    {
        let trace = Trace::parse(&bytes).unwrap();
        let expect = Expect {
            sampler: Some(sampler),
            root: Some(root),
            ..Expect::default()
        };
        let checked = verifier.check(&trace, &expect, |_, _| true).unwrap();
        assert_eq!(checked.verdict, Verdict::Accept, "{:#?}", checked.checks);
        assert_eq!(checked.agreement.hashes_equal, 60);
        assert!(checked.agreement.tokens_equal >= 50);

        let ids = prompt_ids(model.tokenizer().unwrap(), &trace.metadata.prompt).unwrap();
        let metadata: Metadata = trace.metadata.clone();
        let run = Run::make(&model, &ids, metadata, sampler, |_, _| true).unwrap();
        assert_eq!(run.trace.root, Some(root));
        if revision == Revision::B {
            assert_eq!(
                run.trace.to_bytes(),
                bytes,
                "the newer file, byte for byte, text included"
            );
        }
    }
}
