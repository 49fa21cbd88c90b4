//! `assay explain FILE`, where the file is a trace of llama2-rs: which text came of which token, under which hash.

use std::path::Path;

use anyhow::Context as _;
use assay_llama2rs::{Entry, Metadata, Revision, Trace, path_length, root, text_after};
use assay_model::{Model, Tokenizer};
use assay_trace::Digest;
use serde::Serialize;

use super::print;
use crate::exit::Exit;
use crate::output::{Output, Style};
use crate::text;
use crate::trace_file;

/// Characters of text in a row.
const TEXT_WIDTH: usize = 24;

#[derive(Serialize)]
struct Explanation<'a> {
    schema_version: u32,
    kind: &'static str,
    /// Whose words the rest is.
    status: &'static str,
    file: FileFacts,
    revision: Revision,
    prover_says: &'a Metadata,
    /// The stored root, and whether the entries have it.
    root: Option<Digest>,
    holds_together: bool,
    iterations: Vec<Iteration>,
}

#[derive(Serialize)]
struct FileFacts {
    bytes: u64,
    sha256: Digest,
}

#[derive(Serialize)]
struct Iteration {
    iteration: usize,
    position: i32,
    /// The token that went in.
    token: i32,
    /// The text that came out, which is that of the next token; null where neither the file nor a tokenizer has it.
    text: Option<String>,
    logits_hash: Digest,
    leaf: Digest,
    proof_siblings: usize,
    /// Whether the leaf is its entry's and its path leads to the stored root.
    proof_holds: bool,
}

/// Shows it. A malformed trace has exit code 1, as in a verification.
pub fn explain(
    bytes: &[u8],
    file: &Path,
    model: Option<&Model>,
    json: bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let trace = match Trace::parse(bytes) {
        Ok(trace) => trace,
        Err(err) => {
            output.note(format_args!(
                "{} structure: {err}",
                output.paint_note(Style::Bad, "error:")
            ));
            return Ok(Exit::Reject);
        }
    };
    let explanation = explanation(bytes, &trace, model.and_then(Model::tokenizer));
    if json {
        output.json(&explanation)?;
    } else {
        show(&explanation, file, output).context("the table was cut short")?;
    }
    Ok(Exit::Ok)
}

fn explanation<'a>(
    bytes: &[u8],
    trace: &'a Trace,
    tokenizer: Option<&Tokenizer>,
) -> Explanation<'a> {
    let tree_holds = root(&trace.leaves) == trace.root;
    let count = trace.entries.len();
    let rows = trace.entries.iter().zip(&trace.leaves).enumerate();
    let iterations = rows.map(|(iteration, (entry, leaf))| Iteration {
        iteration,
        position: entry.position,
        token: entry.token,
        text: match &entry.text {
            Some(text) => Some(text.clone()),
            None => tokenizer
                .zip(trace.entries.get(iteration + 1))
                .map(|(tokenizer, next)| {
                    let id = |entry: &Entry| u32::try_from(entry.token).unwrap_or(u32::MAX);
                    text_after(tokenizer, id(entry), id(next))
                }),
        },
        logits_hash: entry.logits,
        leaf: *leaf,
        proof_siblings: path_length(iteration, count),
        proof_holds: tree_holds && entry.leaf() == *leaf,
    });
    Explanation {
        schema_version: 1,
        kind: "llama2-rs",
        status: "what the prover claims; unverified",
        file: FileFacts {
            bytes: bytes.len() as u64,
            sha256: Digest::of(bytes),
        },
        revision: trace.revision,
        prover_says: &trace.metadata,
        root: trace.root,
        holds_together: trace.holds_together(),
        iterations: iterations.collect(),
    }
}

fn show(explanation: &Explanation<'_>, file: &Path, output: &Output) -> anyhow::Result<()> {
    output.line(format_args!(
        "{}  {}",
        output.paint(Style::Warn, "UNVERIFIED"),
        output.paint(
            Style::Strong,
            "what the prover claims, in a trace of llama2-rs"
        )
    ))?;
    output.line("")?;
    let name = if trace_file::is_stdin(file) {
        "stdin".to_owned()
    } else {
        file.display().to_string()
    };
    let says = explanation.prover_says;
    let form = match explanation.revision {
        Revision::A => "A (commit 977305a), without text",
        Revision::B => "B (commit 5b6eb95), with text",
    };
    let root = explanation
        .root
        .map_or("none".to_owned(), |root| root.to_string());
    let facts = [
        (
            "file",
            format!("{name}, {} bytes", text::grouped(explanation.file.bytes)),
        ),
        ("sha256", explanation.file.sha256.to_string()),
        ("revision", form.to_owned()),
        (
            "model",
            text::quoted(&print::shortened(&says.model_path, 60)),
        ),
        ("prompt", text::quoted(&print::shortened(&says.prompt, 400))),
        (
            "steps",
            format!(
                "{} of {} asked for",
                text::grouped(explanation.iterations.len() as u64),
                text::grouped(says.steps)
            ),
        ),
        ("root", root),
    ];
    for (label, value) in facts {
        print::field(label, &value, output)?;
    }
    let seal = if explanation.holds_together {
        "leaves and root are those of the entries, which says nothing about where values are from"
            .to_owned()
    } else {
        output.paint(
            Style::Bad,
            "broken: leaves or root are not those of the entries",
        )
    };
    print::field("hashes", &seal, output)?;
    output.line("")?;
    output.line(output.paint(
        Style::Dim,
        row([
            "iter",
            "token",
            "text that came out",
            "logits hash",
            "proof",
        ]),
    ))?;
    for iteration in &explanation.iterations {
        let shown = iteration
            .text
            .as_deref()
            .map(text::quoted)
            .unwrap_or_default();
        let hash = iteration.logits_hash.to_string();
        let (mark, style) = if iteration.proof_holds {
            ("✓", Style::Good)
        } else {
            ("✗", Style::Bad)
        };
        let siblings = text::count(iteration.proof_siblings as u64, "hash");
        let siblings = siblings.replace("hashs", "hashes");
        output.line(row([
            &iteration.iteration.to_string(),
            &iteration.token.to_string(),
            &print::shortened(&shown, TEXT_WIDTH),
            hash.get(..16).unwrap_or(&hash),
            &format!("{} {siblings}", output.paint(style, mark)),
        ]))?;
    }
    output.line("")?;
    let wrong = explanation
        .iterations
        .iter()
        .filter(|i| !i.proof_holds)
        .count();
    let sum = if wrong == 0 {
        "Each step's leaf is under the root. A row's token went in; its text came out, and is the next row's token.".to_owned()
    } else {
        format!("{wrong} steps are not under the root.")
    };
    for line in text::wrapped(&sum, crate::output::WIDTH) {
        output.line(line)?;
    }
    if explanation.revision == Revision::A
        && explanation.iterations.iter().all(|i| i.text.is_none())
    {
        output.note(
            "this revision has no text: give --model, and --tokenizer if it is not beside it",
        );
    }
    Ok(())
}

fn row([iteration, token, text, hash, proof]: [&str; 5]) -> String {
    // Padding counts characters: text is an attacker's, and any of them may be wide; they only shift their own row.
    format!("{iteration:>6}  {token:>6}  {text:<TEXT_WIDTH$}  {hash:<16}  {proof}")
        .trim_end()
        .to_owned()
}
