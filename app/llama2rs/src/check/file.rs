//! What the file alone, the model's sizes and what is known from elsewhere say, before anything is replayed.

use assay_trace::Digest;

use super::{Check, Expect};
use crate::forward::Transformer;
use crate::proof::StepProof;
use crate::read::{Entry, Revision, Trace};
use crate::tree;

pub(super) fn structure(trace: &Trace) -> Check {
    let form = match trace.revision {
        Revision::A => "revision A (977305a), without text",
        Revision::B => "revision B (5b6eb95), with text",
    };
    if trace.entries.is_empty() {
        return Check::fail(
            "structure",
            "nothing-checked",
            "the trace has no step: there is nothing to check",
        );
    }
    Check::pass("structure", format!("{form}, every byte used"))
}

pub(super) fn positions(trace: &Trace, n: usize) -> Check {
    let wrong = |(index, entry): &(usize, &Entry)| usize::try_from(entry.position) != Ok(*index);
    match trace.entries.iter().take(n).enumerate().find(wrong) {
        None => Check::pass("positions", "each entry has the position of its place"),
        Some((index, entry)) => Check::fail(
            "positions",
            "position",
            format!(
                "entry {index} says that it is at position {}",
                entry.position
            ),
        )
        .between(index, index, entry.position),
    }
}

pub(super) fn leaves(trace: &Trace, n: usize) -> Check {
    let pairs = trace.entries.iter().zip(&trace.leaves).take(n);
    let computed = pairs.map(|(entry, leaf)| (entry.leaf(), *leaf));
    let wrong: Vec<(usize, (Digest, Digest))> = computed
        .enumerate()
        .filter(|(_, (own, stored))| own != stored)
        .collect();
    match wrong.first() {
        None => Check::pass("leaves", "each leaf is the hash of its entry"),
        Some((index, (own, stored))) => Check::fail(
            "leaves",
            "leaf",
            format!(
                "{} of {n} leaves are not the hashes of their entries, first at position {index}",
                wrong.len()
            ),
        )
        .between(*index, own, stored),
    }
}

/// The root over the entries against the stored one, and the stored one against the one from elsewhere.
pub(super) fn roots(trace: &Trace, expect: &Expect) -> [Check; 2] {
    let own = match expect.iteration {
        None => trace.computed_root(),
        // The other leaves are taken as they are: a proof shows one step.
        Some(_) => tree::root(&trace.leaves),
    };
    let shown = |root: Option<Digest>| root.map_or("none".to_owned(), |root| root.to_string());
    let stored = if own == trace.root {
        Check::pass(
            "root",
            "the tree over all leaves has the root that the file names",
        )
    } else {
        Check::fail(
            "root",
            "merkle-root",
            "the tree over all leaves has another root than the file names",
        )
        .sides(shown(own), shown(trace.root))
    };
    let given = match expect.root {
        None => Check::skipped("given-root", "no root was given to compare with"),
        Some(root) if own == Some(root) => {
            Check::pass("given-root", "it is the root that was given")
        }
        Some(root) => Check::fail(
            "given-root",
            "root-mismatch",
            "it is not the root that was given",
        )
        .sides(root, shown(own)),
    };
    [stored, given]
}

pub(super) fn sizes(trace: &Trace, n: usize, expect: &Expect, transformer: &Transformer) -> Check {
    let (total, context) = (trace.entries.len(), transformer.context());
    if let Some(last) = expect.iteration
        && last >= total
    {
        let detail = format!("there is no iteration {last}: the trace has {total}");
        return Check::fail("sizes", "no-such-iteration", detail).sides(last, total);
    }
    if total > context {
        let detail = format!("{total} steps do not fit the model's context of {context}");
        return Check::fail("sizes", "context", detail).sides(context, total);
    }
    let vocab = transformer.vocab();
    let outside = |entry: &Entry| !usize::try_from(entry.token).is_ok_and(|token| token < vocab);
    match trace.entries.iter().take(n).position(outside) {
        None if n == 0 => Check::skipped("sizes", "there is no step"),
        None => Check::pass("sizes", "steps fit the context, tokens the vocabulary"),
        Some(index) => {
            let got = trace.entries.get(index).map_or(0, |entry| entry.token);
            let detail = format!("token {got} is beyond the model's vocabulary of {vocab}");
            Check::fail("sizes", "vocabulary", detail).between(index, format!("below {vocab}"), got)
        }
    }
}

pub(super) fn prompt(trace: &Trace, n: usize, expect: &Expect, prompt: Option<&[u32]>) -> Check {
    let Some(prompt) = prompt else {
        return Check::open(
            "prompt",
            "no-tokenizer",
            "without a tokenizer or the prompt's ids it is unknown which tokens were given and which were chosen",
        );
    };
    let from = match expect.prompt {
        Some(_) => "that was given",
        None => "of the file, which no hash binds",
    };
    let pairs = trace.entries.iter().take(n).zip(prompt);
    let wrong = pairs
        .enumerate()
        .find(|(_, (entry, id))| u32::try_from(entry.token) != Ok(**id));
    if let Some((index, (entry, id))) = wrong {
        let detail = format!(
            "the prompt {from} has token {id} at position {index}, the trace {}",
            entry.token
        );
        return Check::fail("prompt", "prompt-mismatch", detail).between(index, id, entry.token);
    }
    let short = if trace.entries.len() < prompt.len() {
        ", cut by the number of steps"
    } else {
        ""
    };
    Check::pass(
        "prompt",
        format!("the trace begins with the prompt {from}{short}"),
    )
}

pub(super) fn proof(trace: &Trace, expect: &Expect) -> Check {
    let Some(index) = expect.iteration else {
        return Check::skipped("proof", "every leaf was recomputed");
    };
    if index >= trace.entries.len() {
        return Check::skipped("proof", "there is no such step");
    }
    // The path over the leaves as stored, from the leaf as recomputed.
    let path = tree::proof(&trace.leaves, index).zip(StepProof::of(trace, index));
    let own = path.and_then(|(stored, own)| {
        let siblings = stored.siblings.into_iter().map(|(hash, _)| hash).collect();
        StepProof { siblings, ..own }.root()
    });
    let want = expect.root.or(trace.root);
    if own.is_some() && own == want {
        return Check::pass(
            "proof",
            format!("the path of step {index} leads to the root"),
        );
    }
    let shown = |root: Option<Digest>| root.map_or("none".to_owned(), |root| root.to_string());
    Check::fail(
        "proof",
        "proof",
        format!("the path of step {index} does not lead to the root"),
    )
    .between(index, shown(want), shown(own))
}

pub(super) fn claim(claim: Option<Digest>, expect: &Expect) -> Check {
    match (expect.claim, claim) {
        (None, _) => Check::skipped("claim", "no claim was given to compare with"),
        (Some(_), None) => Check::open("claim", "claim-open", "a claim is over all steps"),
        (Some(want), Some(got)) if want == got => Check::pass(
            "claim",
            "root, steps, prompt, weights, tokenizer and sampler are what was claimed",
        ),
        (Some(want), Some(got)) => Check::fail(
            "claim",
            "claim",
            "root, steps, prompt, weights, tokenizer or sampler are not what was claimed",
        )
        .sides(want, got),
    }
}
