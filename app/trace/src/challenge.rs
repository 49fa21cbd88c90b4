//! The offline draw: what a trace opens when no verifier was there to ask.
//!
//! It repeats on every machine, and anyone can check it. It is not random to the prover, who can try roots (a few
//! hashes each) until the draw suits it: never call what was drawn here an audit by a verifier.

use std::collections::HashMap;

use crate::{Challenge, Digest, LinearsClaim, Manifest};

const CHALLENGE_TAG: &[u8] = b"assay/challenge/v1\0";

/// `count` of the layers 0..`layers`, ascending; all of them if `count` is larger.
pub fn draw_layers(root: Digest, nonce: Option<Digest>, count: u32, layers: u32) -> Vec<u32> {
    draw("layers", root, nonce, count, layers)
}

/// `count` of the output tokens 0..`output_tokens`, ascending; all of them if `count` is larger.
pub fn draw_logits(
    root: Digest,
    nonce: Option<Digest>,
    count: u32,
    output_tokens: u32,
) -> Vec<u32> {
    draw("logits", root, nonce, count, output_tokens)
}

/// The first list that is not what `challenge` calls for, in a trace with these counts.
pub(crate) fn first_difference(
    manifest: &Manifest,
    linears: &LinearsClaim,
) -> Option<&'static str> {
    let (layers, outputs) = (manifest.model.layers, manifest.output.tokens);
    let (root, nonce) = (manifest.root, manifest.nonce);
    let holds = |list: &[u32], of: u32, draw: &dyn Fn(u32) -> Vec<u32>| match linears.challenge {
        Challenge::All => list.iter().copied().eq(0..of),
        Challenge::Chosen | Challenge::Interactive => true,
        // A valid list is no longer than `of`, hence its length fits.
        Challenge::Offline => list == draw(list.len() as u32),
    };
    if !holds(&linears.layers, layers, &|count| {
        draw_layers(root, nonce, count, layers)
    }) {
        return Some("layers");
    }
    if !holds(&linears.logits, outputs, &|count| {
        draw_logits(root, nonce, count, outputs)
    }) {
        return Some("logits");
    }
    None
}

/// The first `count` entries of a Fisher-Yates shuffle of 0..`of`, sorted. Memory grows with `count` alone.
fn draw(purpose: &str, root: Digest, nonce: Option<Digest>, count: u32, of: u32) -> Vec<u32> {
    let mut words = Words::new(purpose, root, nonce);
    let mut moved: HashMap<u32, u32> = HashMap::new(); // entries of the list that are not their own index
    let mut drawn: Vec<u32> = (0..count.min(of))
        .map(|i| {
            let other = i + words.below(of - i);
            let here = moved.remove(&i).unwrap_or(i);
            if other == i {
                here // nothing reads entry i again
            } else {
                moved.insert(other, here).unwrap_or(other)
            }
        })
        .collect();
    drawn.sort_unstable();
    drawn
}

/// The stream of 32-bit words that a purpose, a root and a nonce give.
struct Words {
    seed: Vec<u8>,
    block: u32,
    left: std::vec::IntoIter<u32>,
}

impl Words {
    fn new(purpose: &str, root: Digest, nonce: Option<Digest>) -> Self {
        let nonce = nonce.unwrap_or(Digest::ZERO);
        let parts = [CHALLENGE_TAG, purpose.as_bytes(), b"\0", &root.0, &nonce.0];
        Self {
            seed: parts.concat(),
            block: 0,
            left: Vec::new().into_iter(),
        }
    }

    fn next(&mut self) -> u32 {
        loop {
            if let Some(word) = self.left.next() {
                return word;
            }
            let block = Digest::of_parts(&[&self.seed, &self.block.to_le_bytes()]);
            self.block = self.block.wrapping_add(1);
            let words: Vec<u32> = crate::dtype::words(&block.0).collect();
            self.left = words.into_iter();
        }
    }

    /// A number below `n` (at least 1), each as likely as the others: words above the last whole multiple are skipped.
    fn below(&mut self, n: u32) -> u32 {
        let end = (1_u64 << 32) / u64::from(n) * u64::from(n);
        loop {
            let word = self.next();
            if u64::from(word) < end {
                return word % n;
            }
        }
    }
}
