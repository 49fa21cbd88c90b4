//! The largest activations of a chunk. bf16 values often tie at the last place, and torch takes among equals as it likes.

/// Activations in a proof.
pub const TOP: usize = 128;

/// The part of bf16 bits that orders magnitudes.
pub(crate) const MAGNITUDE: u16 = 0x7fff;

/// Indices of the `top` largest magnitudes, the lower index first among equals; all indices of a shorter chunk.
pub fn top_indices(bits: &[u16], top: usize) -> Vec<usize> {
    let (mut sure, tied, free) = split(bits, top);
    sure.extend(tied.into_iter().take(free));
    sure
}

/// Those that belong to the top whatever the order among equals, largest first; those that tie at the last place; and how many of
/// these there is room for.
pub(crate) fn split(bits: &[u16], top: usize) -> (Vec<usize>, Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..bits.len()).collect();
    let magnitude = |index: &usize| bits.get(*index).map_or(0, |bits| bits & MAGNITUDE);
    order.sort_by_key(|index| std::cmp::Reverse(magnitude(index)));
    let Some(least) = top
        .checked_sub(1)
        .and_then(|last| order.get(last))
        .map(magnitude)
    else {
        // No top, or a chunk that has no more.
        return (if top == 0 { Vec::new() } else { order }, Vec::new(), 0);
    };
    let sure: Vec<usize> = order
        .iter()
        .copied()
        .take_while(|i| magnitude(i) > least)
        .collect();
    let tied = order
        .iter()
        .copied()
        .filter(|i| magnitude(i) == least)
        .collect();
    let free = top - sure.len();
    (sure, tied, free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_do_not_order_and_ties_are_told() {
        let bits = [0x3f80, 0xc000, 0x3f80, 0xbf80, 0x0000];
        assert_eq!(split(&bits, 2), (vec![1], vec![0, 2, 3], 1));
        assert_eq!(split(&bits, 4), (vec![1], vec![0, 2, 3], 3));
        assert_eq!(top_indices(&bits, 3), [1, 0, 2]);
        assert_eq!(top_indices(&bits, 9).len(), 5);
        assert!(top_indices(&bits, 0).is_empty());
        assert!(top_indices(&[], 4).is_empty());
    }
}
