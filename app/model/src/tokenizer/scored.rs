//! A vocabulary with scores, as SentencePiece trains it, and its greedy merge: best score first.
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

pub(super) struct Scored {
    /// By id.
    pub pieces: Vec<Vec<u8>>,
    /// By id; none is NaN.
    pub scores: Vec<f32>,
    /// Of the pieces that merging may form.
    pub ids: HashMap<Vec<u8>, u32>,
    /// Pieces of this score or less are not formed.
    pub least_score: f32,
}

impl Scored {
    /// The piece with this id; empty if there is none.
    pub fn piece(&self, id: u32) -> &[u8] {
        let piece = self.pieces.get(id as usize);
        piece.map(Vec::as_slice).unwrap_or_default()
    }

    /// The piece that two neighbours form, with its score, if the vocabulary has it.
    pub fn merged(&self, left: u32, right: u32) -> Option<(u32, f32)> {
        let joined = [
            self.pieces.get(left as usize)?.as_slice(),
            self.pieces.get(right as usize)?.as_slice(),
        ]
        .concat();
        let id = *self.ids.get(&joined)?;
        let score = *self.scores.get(id as usize)?;
        (score > self.least_score).then_some((id, score))
    }

    /// What the ids of single characters and bytes become.
    pub fn merge(&self, ids: Vec<u32>) -> impl Iterator<Item = u32> + use<> {
        Merger::new(self, ids).run()
    }
}

/// Merges the best-scored pair of neighbours, the leftmost of equals, until none forms a piece: llama2.c's loop with a heap in place
/// of its scan over all pairs, so that long texts do not cost their square.
struct Merger<'a> {
    scored: &'a Scored,
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Candidate>,
}

#[derive(Clone, Copy)]
struct Symbol {
    /// `None` once merged into its left neighbour.
    id: Option<u32>,
    left: Option<usize>,
    right: Option<usize>,
}

struct Candidate {
    score: f32,
    /// Indices and ids of both sides; stale if the ids are no longer there.
    at: (usize, usize),
    ids: (u32, u32),
    merged: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // 0 and -0 are equal to llama2.c, so they must be here; NaN was refused.
        let key = |candidate: &Self| candidate.score + 0.0;
        key(self)
            .total_cmp(&key(other))
            .then(Reverse(self.at).cmp(&Reverse(other.at)))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl<'a> Merger<'a> {
    fn new(scored: &'a Scored, ids: Vec<u32>) -> Self {
        let last = ids.len().saturating_sub(1);
        let link = |(at, id)| Symbol {
            id: Some(id),
            left: if at == 0 { None } else { Some(at - 1) },
            right: (at < last).then_some(at + 1),
        };
        let symbols = ids.into_iter().enumerate().map(link).collect();
        let mut merger = Self {
            scored,
            symbols,
            heap: BinaryHeap::new(),
        };
        for at in 0..merger.symbols.len() {
            merger.consider(Some(at));
        }
        merger
    }

    fn run(mut self) -> impl Iterator<Item = u32> + use<> {
        while let Some(Candidate {
            at: (left, right),
            ids: (left_id, right_id),
            merged,
            ..
        }) = self.heap.pop()
        {
            if self.symbols[left].id != Some(left_id) || self.symbols[right].id != Some(right_id) {
                continue;
            }
            let after = self.symbols[right].right;
            self.symbols[right].id = None;
            self.symbols[left] = Symbol {
                id: Some(merged),
                right: after,
                ..self.symbols[left]
            };
            if let Some(after) = after {
                self.symbols[after].left = Some(left);
            }
            self.consider(self.symbols[left].left);
            self.consider(Some(left));
        }
        self.symbols.into_iter().filter_map(|symbol| symbol.id)
    }

    /// Offers the pair that begins at `left`, if there is one that forms a piece.
    fn consider(&mut self, left: Option<usize>) {
        let Some(left) = left else { return };
        let Some(right) = self.symbols[left].right else {
            return;
        };
        let (Some(left_id), Some(right_id)) = (self.symbols[left].id, self.symbols[right].id)
        else {
            return;
        };
        if let Some((merged, score)) = self.scored.merged(left_id, right_id) {
            self.heap.push(Candidate {
                score,
                at: (left, right),
                ids: (left_id, right_id),
                merged,
            });
        }
    }
}
