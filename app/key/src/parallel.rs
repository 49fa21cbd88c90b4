//! Threads where there are any. Whatever runs here gives the same bits on one thread as on many: the pieces share nothing.

/// Runs `work` on pieces of `len` elements (the last may be shorter), with each piece's index.
pub(crate) fn for_each_chunk<T: Send>(
    items: &mut [T],
    len: usize,
    work: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    #[cfg(feature = "native")]
    {
        use rayon::prelude::*;
        items
            .par_chunks_mut(len)
            .enumerate()
            .for_each(|(index, chunk)| work(index, chunk));
    }
    #[cfg(not(feature = "native"))]
    for (index, chunk) in items.chunks_mut(len).enumerate() {
        work(index, chunk);
    }
}
