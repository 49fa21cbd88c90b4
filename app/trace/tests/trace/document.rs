//! The specification's worked examples are generated: this fails if a value in the document is not the computed one.

use assay_trace::{Digest, Leaf, MaskName, Opening, Trace, merkle};

use crate::sample::{audited_example, example, sparse_audited_run, sparse_example, split};

const DOCUMENT: &str = include_str!("../../../../docs/trace-format.md");

/// Lines of a name and a value.
#[derive(Default)]
struct Block(String);

impl Block {
    fn line(&mut self, name: &str, value: impl ToString) {
        self.0 += &format!("{name:<22} {}\n", value.to_string());
    }

    /// What all examples begin with.
    fn file(&mut self, file: &[u8]) {
        let trace = Trace::parse(file).unwrap();
        let (header, data) = split(file);
        let manifest = trace.manifest();
        self.line("file length", file.len());
        self.line("header length", header.len());
        self.line("data length", data.len());
        self.line("file digest", trace.file_digest());
        self.line("manifest", manifest.canonical_json());
        self.line("commitment", manifest.commitment());
        self.line("prompt digest", manifest.prompt.digest);
        self.line("header", header.trim_end());
        let padding = header.len() - header.trim_end().len();
        self.line("header padding", format!("{padding} spaces"));
    }

    /// What all examples end with.
    fn leaves(&mut self, trace: &Trace<'_>, suffix: &str) {
        let states: Vec<u8> = (0..=2).flat_map(|l| trace.state_digest(l, 1).0).collect();
        let linears: Vec<u8> = (0..2).flat_map(|l| trace.linear_digest(l, 1).0).collect();
        let leaf = Leaf {
            position: 1,
            token: 2,
            next: Some(3),
            logits: trace.logits_digest(1),
            states: &states,
            linears: trace.linears().map(|_| linears.as_slice()),
            masks: trace.position_masks(1).map(Digest::of),
        };
        let leaves = trace.leaves();
        assert_eq!(merkle::leaf_hash(&leaf.preimage()), leaves[1]);
        self.line(&format!("leaf 1{suffix}"), hex(&leaf.preimage()));
        for (position, leaf) in leaves.iter().enumerate() {
            self.line(&format!("leaf hash {position}{suffix}"), leaf);
        }
        self.line(&format!("root{suffix}"), merkle::root(&leaves).unwrap());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Section 8, from the example as it is built today.
fn worked_example() -> String {
    let file = example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    let mut block = Block::default();
    block.file(&file);
    let row = trace.raw_state_row(2, 1).unwrap();
    block.line("states.00002 row 1", hex(row));
    block.line("state digest 2, 1", trace.state_digest(2, 1));
    block.line("logits digest 1", trace.logits_digest(1).unwrap());
    block.leaves(&trace, "");
    block.0
}

/// Section 12.
fn sparse_worked_example() -> String {
    let file = sparse_example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    let mut block = Block::default();
    block.file(&file);
    for position in 0..4 {
        for layer in 0..2 {
            let masks = trace.masks(position, layer).unwrap();
            block.line(&format!("masks {layer}, {position}"), hex(masks));
        }
    }
    for mask in [MaskName::Input, MaskName::Neurons] {
        let range = trace.sparse().unwrap().range(mask).unwrap();
        let row = &trace.masks(1, 0).unwrap()[range.clone()];
        let units = (0..trace.sparse().unwrap().width(mask).unwrap() as usize)
            .filter(|unit| row[unit / 8] >> (unit % 8) & 1 == 1)
            .map(|unit| unit.to_string());
        let units: Vec<String> = units.collect();
        block.line(&format!("active 0, 1 {mask}"), units.join(" "));
    }
    let digest = Digest::of(trace.position_masks(1).unwrap());
    block.line("masks digest 1", digest);
    block.leaves(&trace, "");
    let audited = sparse_audited_run().open(&Opening::default()).unwrap();
    let audited = audited.to_bytes();
    block.leaves(&Trace::parse(&audited).unwrap(), " + linears");
    block.0
}

/// Section 10.
fn audited_worked_example() -> String {
    let file = audited_example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    let claim = trace.linears().unwrap();
    let layer = claim.layers[0];
    let mut block = Block::default();
    block.file(&file);
    let receipt = trace.manifest().receipt().unwrap();
    block.line("receipt", receipt.canonical_json());
    block.line("receipt digest", receipt.commitment());
    let mut all = Vec::new();
    for product in &claim.products {
        let row = trace.raw_linear_row(layer, product.name, 1).unwrap();
        block.line(&format!("linears {layer} {} row 1", product.name), hex(row));
        all.extend(row);
    }
    assert_eq!(Digest::of(&all), trace.linear_digest(layer, 1));
    for layer in 0..2 {
        let digest = trace.linear_digest(layer, 1);
        block.line(&format!("linear digest {layer}, 1"), digest);
    }
    block.line("logits row 0", hex(trace.raw_logits_row(0).unwrap()));
    block.line("logits digest 1", trace.logits_digest(1).unwrap());
    block.leaves(&trace, "");
    for (purpose, n, drawn) in [("layers", 2, &claim.layers), ("logits", 3, &claim.logits)] {
        let start = [b"assay/challenge/v1\0", purpose.as_bytes(), b"\0"].concat();
        let bytes = [&start[..], &trace.manifest().root.0, &[0; 32], &[0; 4]].concat();
        let block_0 = Digest::of(&bytes);
        let word = u32::from_le_bytes(*block_0.0.first_chunk().unwrap());
        assert_eq!(drawn, &[word % n]); // 2^32 is a multiple of 2, and the word is not the one that is none of 3's
        block.line(&format!("{purpose}, block 0"), block_0);
        block.line(&format!("{purpose}, word 0"), word);
        block.line(&format!("{purpose} drawn"), drawn[0]);
    }
    block.0
}

#[test]
fn worked_examples_are_the_computed_ones() {
    for want in [
        worked_example(),
        audited_worked_example(),
        sparse_worked_example(),
    ] {
        let want = format!("\n```text\n{want}```\n");
        assert!(
            DOCUMENT.contains(&want),
            "docs/trace-format.md should hold this block:\n{want}"
        );
    }
}

#[test]
fn every_error_of_the_check_is_in_the_document() {
    for code in [
        "`structure`",
        "`commitment`",
        "`prompt-digest`",
        "`state-digest`",
        "`linear-digest`",
        "`logits-digest`",
        "`merkle-root`",
        "`challenge`",
    ] {
        assert!(DOCUMENT.contains(code), "{code}");
    }
}
