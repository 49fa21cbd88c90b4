//! Products of integers, for tests: models whose products are, keys, honest traces, and what an audit says of others.

use std::sync::OnceLock;

use assay_engine::{ActivationType, Device, Numerics, Quiet};
use assay_key::{KeyMaker, KeyOptions, Seed, VerifierKey};
use assay_model::quantize::{Target, write_folder, write_gguf};
use assay_model::{LayerRole, Model};
use assay_prove::{Open, Request};
use assay_trace::{EditableTrace, reroot};
use assay_verify::audit::audit;
use assay_verify::{Options, Outcome, Report, Verdict};

use crate::prover::{self, SAMPLED, prove_rounding, root};

/// What is asked of every model here.
pub const PROMPT: &str = "First Citizen:\nBefore we proceed";

/// A way to make products integers, with everything that tests of it share.
pub struct Case {
    /// What products round their inputs to.
    pub activations: ActivationType,
    target: Target,
    model: OnceLock<(tempfile::TempDir, Model)>,
    other: OnceLock<(tempfile::TempDir, Model)>,
    honest: OnceLock<Vec<u8>>,
    key: OnceLock<VerifierKey>,
}

/// 8-bit weights, one scale a row.
pub static INT8: Case = Case::new(ActivationType::Int8, Target::Int8);
/// Q8_0, in fixed point.
pub static BLOCKS: Case = Case::new(ActivationType::Blocks, Target::Q8_0);
/// Both.
pub static CASES: [&Case; 2] = [&INT8, &BLOCKS];

impl Case {
    /// The demo model, quantised so, with these products.
    pub const fn new(activations: ActivationType, target: Target) -> Self {
        Self {
            activations,
            target,
            model: OnceLock::new(),
            other: OnceLock::new(),
            honest: OnceLock::new(),
            key: OnceLock::new(),
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model.get_or_init(|| self.write(|_, _| {})).1
    }

    /// The same model with the signs of one matrix's weights turned.
    pub fn other(&self) -> &Model {
        let turn = |bytes: &mut Vec<u8>, model: &Model| {
            let tensor = model.layer(2, LayerRole::Up).expect("the matrix");
            let len = match self.target {
                // Without the scales, which are a tensor of their own.
                Target::Int8 => tensor.rows() * tensor.cols(),
                _ => tensor.bytes as usize,
            };
            let stored = model.read(tensor, 0, len);
            let stored = stored.expect("it reads").into_owned();
            let mut found = bytes.windows(stored.len()).enumerate();
            let found = found.find(|(_, window)| *window == stored);
            let at = found.expect("it is in the file").0;
            let matrix = &mut bytes[at..at + stored.len()];
            match self.target {
                Target::Int8 => matrix.iter_mut().for_each(|b| *b = b.wrapping_neg()),
                // The sign of each block's scale.
                _ => matrix.chunks_mut(34).for_each(|block| block[1] ^= 0x80),
            }
        };
        &self.other.get_or_init(|| self.write(turn)).1
    }

    fn write(&self, change: impl Fn(&mut Vec<u8>, &Model)) -> (tempfile::TempDir, Model) {
        let folder = tempfile::tempdir().expect("a folder");
        let demo = Model::demo().expect("the demo model");
        let (path, file) = match self.target {
            Target::Q8_0 | Target::Q4_0 => {
                let path = folder.path().join("model.gguf");
                let (_, tokenizer) = Model::demo_files()[0];
                let mut file = std::fs::File::create_new(&path).expect("a file");
                write_gguf(
                    &demo,
                    self.target,
                    Some(tokenizer),
                    &mut file,
                    &mut |_, _| {},
                )
                .expect("it is written");
                (path.clone(), path)
            }
            _ => {
                let path = folder.path().join("model");
                write_folder(&demo, self.target, &path, &[], &mut |_, _| {})
                    .expect("it is written");
                (path.clone(), path.join("model.safetensors"))
            }
        };
        let mut bytes = std::fs::read(&file).expect("it reads");
        change(&mut bytes, &Model::open(&path).expect("it opens"));
        std::fs::write(&file, bytes).expect("it writes");
        (folder, Model::open(&path).expect("it opens"))
    }

    /// A run of one of the models, with these products and strict numerics.
    pub fn proved(&self, device: &Device, model: &Model, open: Option<Open>) -> Vec<u8> {
        let (strict, request) = (Numerics::Strict, request(open));
        prove_rounding(
            device,
            model,
            root(model),
            &request,
            strict,
            self.activations,
        )
    }

    /// An honest trace with everything open.
    pub fn honest(&self) -> &[u8] {
        self.honest
            .get_or_init(|| self.proved(&Device::Cpu, self.model(), Some(Open::All)))
    }

    /// A key of this run's own: nothing may depend on which.
    pub fn key(&self) -> &VerifierKey {
        self.key.get_or_init(|| self.make_key())
    }

    /// Another key.
    pub fn make_key(&self) -> VerifierKey {
        make_key(self.model(), self.activations)
    }

    /// What the audit says of a trace.
    pub fn judged(&self, trace: &[u8]) -> Report {
        judged_with(self.key(), &Device::Cpu, trace, &asked(self.activations))
    }

    /// The honest trace, changed and sealed again.
    pub fn forged(&self, change: impl FnOnce(&mut EditableTrace)) -> Vec<u8> {
        reroot(self.honest(), change).expect("it seals")
    }

    /// Rejected with this code first, at this state's layer and position, where they are given.
    #[track_caller]
    pub fn rejected(&self, trace: &[u8], code: &str, place: Option<(u32, usize)>) {
        let report = self.judged(trace);
        assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
        let failed = report.checks.iter().find(|c| c.outcome == Outcome::Fail);
        let failed = failed.expect("a failed check");
        assert_eq!(failed.code, code, "{}", failed.detail);
        if let Some((layer, position)) = place {
            let found = failed.place.as_ref().expect("a place");
            assert_eq!((found.layer, found.position), (Some(layer), Some(position)));
        }
    }
}

/// Ten tokens, with this opening.
pub fn request(open: Option<Open>) -> Request {
    Request {
        audit: open,
        ignore_eos: true,
        ..prover::request(PROMPT, 10, SAMPLED)
    }
}

/// A key for such products of a model.
pub fn make_key(model: &Model, activations: ActivationType) -> VerifierKey {
    let options = KeyOptions {
        activations: activations.claim(),
        ..KeyOptions::default()
    };
    let seed = Seed::from_os().expect("randomness");
    let mut maker = KeyMaker::new(model, root(model), seed, &options).expect("a maker");
    while !maker.step().expect("a step") {}
    maker.finish().expect("a key")
}

/// What a verifier asks for.
pub fn asked(activations: ActivationType) -> Options {
    Options {
        activations,
        ..Options::default()
    }
}

/// What an audit with a key says, in a report that is as documented.
pub fn judged_with(key: &VerifierKey, device: &Device, trace: &[u8], options: &Options) -> Report {
    let report = pollster::block_on(audit(trace, key, device, options, &mut Quiet))
        .expect("the verifier works")
        .report;
    documented(&report);
    report
}

/// Refuses a report that its schema and its documents do not describe.
pub fn documented(report: &Report) {
    let schema = include_str!("../../docs/report.schema.json");
    let schema = serde_json::from_str(schema).expect("it parses");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let json = serde_json::from_str(&report.to_json().expect("it has a form")).expect("it parses");
    let faults: Vec<_> = validator
        .iter_errors(&json)
        .map(|err| format!("{}: {err}", err.instance_path))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let documented = include_str!("../../docs/checks.md");
    for check in &report.checks {
        let code = format!("`{}`", check.code);
        assert!(documented.contains(&code), "undocumented code {code}");
    }
}

/// Outcome and code of a check.
pub fn outcome(report: &Report, id: &str) -> String {
    let check = report.checks.iter().find(|check| check.id == id);
    let check = check.expect("a check");
    format!("{:?} {}", check.outcome, check.code)
}
