//! The specification's worked example is generated: this fails if a value in the document is not the computed one.

use assay_trace::{Trace, merkle};

use crate::sample::{example, split};

const DOCUMENT: &str = include_str!("../../../../docs/trace-format.md");

/// The block of the document, from the example as it is built today.
fn worked_example() -> String {
    let file = example().to_bytes();
    let trace = Trace::parse(&file).unwrap();
    let (header, data) = split(&file);
    let manifest = trace.manifest();
    let digest = |layer: u32, position: usize| trace.state_digest(layer, position);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let leaves = trace.leaves();
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<22} {value}\n"));
    line("file length", file.len().to_string());
    line("header length", header.len().to_string());
    line("data length", data.len().to_string());
    line("file digest", trace.file_digest().to_string());
    line("manifest", manifest.canonical_json());
    line("commitment", manifest.commitment().to_string());
    line("prompt digest", manifest.prompt.digest.to_string());
    line("header", header.trim_end().to_owned());
    line(
        "header padding",
        format!("{} spaces", header.len() - header.trim_end().len()),
    );
    line(
        "states.00002 row 1",
        hex(trace.raw_state_row(2, 1).unwrap()),
    );
    line("state digest 2, 1", digest(2, 1).to_string());
    line(
        "logits digest 1",
        trace.logits_digest(1).unwrap().to_string(),
    );
    let states = (0..=2).map(|layer| digest(layer, 1));
    line(
        "leaf 1",
        hex(&assay_trace::leaf_preimage(
            1,
            2,
            Some(3),
            trace.logits_digest(1),
            states,
        )),
    );
    for (position, leaf) in leaves.iter().enumerate() {
        line(&format!("leaf hash {position}"), leaf.to_string());
    }
    line("root", merkle::root(&leaves).unwrap().to_string());
    text
}

#[test]
fn worked_example_is_the_computed_one() {
    let want = worked_example();
    assert!(
        DOCUMENT.contains(&want),
        "docs/trace-format.md should hold this block:\n{want}"
    );
}

#[test]
fn every_error_of_the_check_is_in_the_document() {
    for code in [
        "`structure`",
        "`commitment`",
        "`prompt-digest`",
        "`state-digest`",
        "`merkle-root`",
    ] {
        assert!(DOCUMENT.contains(code), "{code}");
    }
}
