//! Freivalds' check of integer products, exact: no tolerance, and a stated chance of error.
//!
//! For integers W [n, k] and X [T, k] with sums Z = X Wᵀ, and a random r over a prime field, r.z = (Wᵀ r).x holds for every honest row;
//! a wrong row passes with a chance of 1/p. All rows at once: random s over the same field, r.(s Z) = (Wᵀ r).(s X), passes with 2/p.
//! (Freivalds 1977; CommitLLM and SLALOM for models.)
//!
//! | weights and inputs | sums | p | a wrong row passes with |
//! |---|---|---|---|
//! | 8-bit integers, a scale a row | 32 bits | 2^61 - 1 | 4.3e-19 |
//! | blocks of integers with f16 scales, as fixed point | 64 bits, units of 2^-48 | 2^127 - 1 | 5.9e-39 |
//!
//! **One integer for each residue.** z and z - p are congruent, so a wrong z of the right residue would pass. Sums of 32 bits are
//! range-checked first: |z| <= k 128² < p / 2. Sums of 64 bits need no check: they and the true ones together span less than p.
//!
//! In Rust, not in WGSL: a product of two residues is one 64-bit multiplication here (four over the larger field) and about twenty
//! 32-bit ones there. Measured (docs/benchmarks.md): checking a row takes microseconds, and moving it to a device takes longer.

use crate::field::{Field, Mersenne61, Mersenne127, Words};
use crate::parallel;

pub use crate::field::{P, P127};

/// Why an exact check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// `exact-range` or `exact-product`.
    pub code: &'static str,
    /// Row, where it is known.
    pub row: Option<usize>,
}

/// What a verifier keeps of an integer matrix: Wᵀ r, with r, both secret.
#[derive(Clone)]
pub struct ExactKey<F: Field = Mersenne61> {
    /// [n]
    r: Vec<F::Residue>,
    /// [k]
    v: Vec<F::Residue>,
}

/// The key of a matrix of 8-bit integers.
pub type ScaledKey = ExactKey<Mersenne61>;
/// The key of a matrix that is fixed point.
pub type FixedKey = ExactKey<Mersenne127>;

/// Wᵀ r on its way, over rows of W as they come: with `L` limbs of 32 bits of each factor.
pub struct ExactSums<F: Field, const L: usize> {
    /// Sums of integers with the limbs of their factors, apart, so that plain 64-bit sums hold them: of up to [`MOST_ROWS`] rows.
    columns: Vec<[i64; L]>,
    /// Rows in them.
    rows: usize,
    /// What rows before those came to; empty before there are any.
    folded: Vec<F::Residue>,
}

/// Columns that one thread works on at a time; a multiple of every block.
const WIDTH: usize = 1024;

/// Rows whose sums stay below 2^63: 2^18 times 2^12 times 2^32, and as many times 2^32.
const MOST_ROWS: usize = 1 << 18;

/// A row of W: integer i, times the scale's factor of its block, less the least's.
pub struct FactoredRow<'a, const L: usize, Q> {
    /// Of each block, limbs of r times the scale, and of r times what is taken away.
    pub factors: &'a [[[u32; L]; 2]],
    /// Of at most 2^12 in magnitude.
    pub integers: &'a [Q],
}

impl<F: Field, const L: usize> ExactSums<F, L> {
    /// For a matrix of `k` columns.
    pub fn new(k: usize) -> Self {
        Self {
            columns: vec![[0; L]; k],
            rows: 0,
            folded: Vec::new(),
        }
    }

    /// A residue's limbs.
    pub fn limbs(x: F::Residue) -> [u32; L] {
        std::array::from_fn(|i| F::limb(x, i))
    }

    /// Adds rows, at most [`MOST_ROWS`], of blocks of `block` columns.
    pub fn add<Q: Copy + Into<i64> + Sync>(
        &mut self,
        block: usize,
        rows: &[FactoredRow<'_, L, Q>],
    ) {
        if self.rows + rows.len() > MOST_ROWS {
            self.fold();
        }
        self.rows += rows.len();
        parallel::for_each_chunk(&mut self.columns, WIDTH, |index, columns| {
            let begin = index * WIDTH;
            for row in rows {
                // A chunk begins at a block, or lies within one that is longer than chunks.
                for (i, columns) in columns.chunks_mut(block).enumerate() {
                    let at = begin + i * block;
                    let Some([scale, least]) = row.factors.get(at / block) else {
                        continue;
                    };
                    let (scale, least) = (scale.map(i64::from), least.map(i64::from));
                    let integers = row.integers.get(at..).unwrap_or_default();
                    for (sums, w) in columns.iter_mut().zip(integers) {
                        let w: i64 = (*w).into();
                        for ((sum, scale), least) in sums.iter_mut().zip(scale).zip(least) {
                            *sum += scale * w - least;
                        }
                    }
                }
            }
        });
    }

    /// Wᵀ r, [k].
    pub fn finish(mut self) -> Vec<F::Residue> {
        self.fold();
        self.folded
    }

    /// Reduces the sums, so that there is room for more.
    fn fold(&mut self) {
        let two_to_32 = F::integer(1 << 32);
        self.folded
            .resize(self.columns.len(), F::Residue::default());
        for (folded, sums) in self.folded.iter_mut().zip(&mut self.columns) {
            let whole = sums.iter().rev().fold(F::Residue::default(), |sum, limb| {
                F::add(F::multiply(sum, two_to_32), F::integer(*limb))
            });
            *folded = F::add(*folded, whole);
            *sums = [0; L];
        }
        self.rows = 0;
    }
}

impl<F: Field> ExactKey<F> {
    /// From what was kept: r, [n], and Wᵀ r, [k]. Both are residues, or nothing is there to be checked by.
    pub fn from_parts(r: Vec<F::Residue>, v: Vec<F::Residue>) -> Option<Self> {
        let residues = r.iter().chain(&v).all(|x| F::is_residue(*x));
        (residues && !r.is_empty() && !v.is_empty()).then_some(Self { r, v })
    }

    /// Rows of W.
    pub fn n(&self) -> usize {
        self.r.len()
    }

    /// Columns of W.
    pub fn k(&self) -> usize {
        self.v.len()
    }

    /// Checks every row of z [T, n] against x [T, k] on its own, and names the first that is wrong. A wrong row passes with 1/p.
    pub fn check_rows<X, Z>(&self, x: &[X], z: &[Z]) -> Result<(), Fault>
    where
        X: Copy + Into<i64>,
        Z: Copy + Into<i64>,
    {
        let (n, k) = (self.r.len(), self.v.len());
        self.shapes(x, z)?;
        for (row, (x, z)) in x.chunks_exact(k).zip(z.chunks_exact(n)).enumerate() {
            self.in_range(z, row)?;
            let of_x = F::dot(&self.v, x.iter().map(|x| (*x).into()));
            let of_z = F::dot(&self.r, z.iter().map(|z| (*z).into()));
            if of_x != of_z {
                return Err(wrong(Some(row)));
            }
        }
        Ok(())
    }

    /// Checks all rows together, with random weights of their own: n + k products of residues, whatever T. Any number of wrong rows
    /// passes with 2/p.
    pub fn check_all<X, Z>(&self, x: &[X], z: &[Z], words: &mut dyn Words) -> Result<(), Fault>
    where
        X: Copy + Into<i64>,
        Z: Copy + Into<i64>,
    {
        let (n, k) = (self.r.len(), self.v.len());
        self.shapes(x, z)?;
        for (row, z) in z.chunks_exact(n).enumerate() {
            self.in_range(z, row)?;
        }
        let s: Vec<F::Residue> = (0..z.len() / n).map(|_| F::uniform(words)).collect();
        let of_x = folded::<F>(&s, k, |t, i| x[t * k + i].into());
        let of_z = folded::<F>(&s, n, |t, o| z[t * n + o].into());
        if F::sum_of_products(&self.v, &of_x) == F::sum_of_products(&self.r, &of_z) {
            Ok(())
        } else {
            Err(wrong(None))
        }
    }

    fn in_range<Z: Copy + Into<i64>>(&self, z: &[Z], row: usize) -> Result<(), Fault> {
        if F::in_range(z.iter().map(|z| (*z).into()), self.v.len()) {
            Ok(())
        } else {
            Err(Fault {
                code: "exact-range",
                row: Some(row),
            })
        }
    }

    fn shapes<X, Z>(&self, x: &[X], z: &[Z]) -> Result<(), Fault> {
        let (n, k) = (self.r.len(), self.v.len());
        let fits = n > 0 && k > 0 && x.len().is_multiple_of(k) && z.len() == x.len() / k * n;
        // Nothing checked is no pass.
        if fits && !x.is_empty() {
            Ok(())
        } else {
            Err(wrong(None))
        }
    }
}

impl ScaledKey {
    /// Reads W [n, k] once, row by row, and keeps k + n residues.
    pub fn new<'a>(rows: impl Iterator<Item = &'a [i8]>, k: usize, words: &mut dyn Words) -> Self {
        let mut sums = ExactSums::<Mersenne61, 2>::new(k);
        let rows: Vec<&[i8]> = rows.collect();
        let r: Vec<u64> = rows.iter().map(|_| Mersenne61::uniform(words)).collect();
        for (rows, r) in rows.chunks(MOST_ROWS).zip(r.chunks(MOST_ROWS)) {
            let limbs = |r: &u64| [[ExactSums::<Mersenne61, 2>::limbs(*r), [0; 2]]];
            let factors: Vec<_> = r.iter().map(limbs).collect();
            let rows = rows.iter().zip(&factors);
            let rows = rows.map(|(integers, factors)| FactoredRow { factors, integers });
            sums.add(k.max(1), &rows.collect::<Vec<_>>());
        }
        let v = sums.finish();
        Self { r, v }
    }
}

fn wrong(row: Option<usize>) -> Fault {
    Fault {
        code: "exact-product",
        row,
    }
}

/// sum_t s_t m[t, i] for each i of `width`.
fn folded<F: Field>(
    s: &[F::Residue],
    width: usize,
    at: impl Fn(usize, usize) -> i64,
) -> Vec<F::Residue> {
    (0..width)
        .map(|i| F::dot(s, (0..s.len()).map(|t| at(t, i))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: enough for tests, never for keys.
    fn words(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }
    }

    struct Case {
        w: Vec<i8>,
        x: Vec<i8>,
        z: Vec<i32>,
        n: usize,
        k: usize,
    }

    fn case(t: usize, n: usize, k: usize, seed: u64) -> Case {
        let mut words = words(seed);
        let mut bytes = |count: usize| -> Vec<i8> { (0..count).map(|_| words() as i8).collect() };
        let (w, x) = (bytes(n * k), bytes(t * k));
        let product = |(x, w): (&i8, &i8)| i32::from(*x) * i32::from(*w);
        let z = x
            .chunks_exact(k)
            .flat_map(|x| {
                w.chunks_exact(k)
                    .map(move |w| x.iter().zip(w).map(product).sum())
            })
            .collect();
        Case { w, x, z, n, k }
    }

    fn key(case: &Case, seed: u64) -> ExactKey {
        ExactKey::new(case.w.chunks_exact(case.k), case.k, &mut words(seed))
    }

    #[test]
    fn honest_products_always_pass() {
        for (t, n, k) in [(1, 1, 1), (3, 7, 5), (17, 33, 64), (2, 300, 511)] {
            for seed in 0..20 {
                let case = case(t, n, k, seed);
                let key = key(&case, seed + 100);
                assert_eq!(key.check_rows(&case.x, &case.z), Ok(()));
                assert_eq!(
                    key.check_all(&case.x, &case.z, &mut words(seed + 7)),
                    Ok(())
                );
            }
        }
    }

    #[test]
    fn one_unit_of_one_element_is_found() {
        let case = case(9, 40, 96, 3);
        let key = key(&case, 4);
        for at in 0..case.z.len() {
            for step in [-1, 1, 1 << 20] {
                let mut z = case.z.clone();
                z[at] += step;
                let fault = key.check_rows(&case.x, &z).unwrap_err();
                assert_eq!(fault.row, Some(at / case.n));
                assert!(key.check_all(&case.x, &z, &mut words(9)).is_err());
            }
        }
    }

    /// What passes without the range check: the true sum moved by a multiple of a small prime. Here by the field's own, folded into i32.
    #[test]
    fn sums_out_of_range_are_refused_before_anything_else() {
        let case = case(2, 5, 16, 5);
        let key = key(&case, 6);
        let mut z = case.z.clone();
        z[7] = i32::MIN;
        assert_eq!(
            key.check_rows(&case.x, &z),
            Err(Fault {
                code: "exact-range",
                row: Some(1)
            })
        );
        assert_eq!(
            key.check_all(&case.x, &z, &mut words(1)).unwrap_err().code,
            "exact-range"
        );
    }

    #[test]
    fn nothing_is_no_pass() {
        let case = case(2, 5, 16, 5);
        let key = key(&case, 6);
        assert!(key.check_rows::<i8, i32>(&[], &[]).is_err());
        assert!(key.check_all::<i8, i32>(&[], &[], &mut words(1)).is_err());
        assert!(key.check_rows(&case.x[1..], &case.z).is_err());
        assert!(key.check_rows(&case.x, &case.z[1..]).is_err());
    }

    /// A matrix of fixed-point blocks with its true sums, of which every |z| is below 2^62.
    struct Fixed {
        scales: Vec<i64>,
        leasts: Vec<i64>,
        quants: Vec<i16>,
        x: Vec<i64>,
        z: Vec<i64>,
        n: usize,
        k: usize,
    }

    fn fixed(t: usize, n: usize, k: usize, seed: u64) -> Fixed {
        let mut words = words(seed);
        let count = n * k / 32;
        let mut small = |bits: u32, count: usize| -> Vec<i64> {
            let of = |word: u64| (word as i64) >> (64 - bits);
            (0..count).map(|_| of(words())).collect()
        };
        let (scales, leasts) = (small(25, count), small(25, count));
        let quants: Vec<i16> = small(13, n * k).into_iter().map(|q| q as i16).collect();
        let x = small(18, t * k);
        let mut z = Vec::new();
        for x in x.chunks_exact(k) {
            for o in 0..n {
                let weight = |i: usize| {
                    let (b, at) = (o * k / 32 + i / 32, o * k + i);
                    scales[b] * i64::from(quants[at]) - leasts[b]
                };
                z.push(x.iter().enumerate().map(|(i, x)| x * weight(i)).sum());
            }
        }
        Fixed {
            scales,
            leasts,
            quants,
            x,
            z,
            n,
            k,
        }
    }

    fn fixed_key(case: &Fixed, seed: u64, fold_at: Option<usize>) -> FixedKey {
        let mut words = words(seed);
        let r: Vec<u128> = (0..case.n)
            .map(|_| Mersenne127::uniform(&mut words))
            .collect();
        let mut sums = ExactSums::<Mersenne127, 4>::new(case.k);
        for (o, (r, integers)) in r.iter().zip(case.quants.chunks_exact(case.k)).enumerate() {
            let of = |x: i64| {
                ExactSums::<Mersenne127, 4>::limbs(Mersenne127::multiply(
                    *r,
                    Mersenne127::integer(x),
                ))
            };
            let blocks = o * case.k / 32..(o + 1) * case.k / 32;
            let factors: Vec<_> = blocks
                .map(|b| [of(case.scales[b]), of(case.leasts[b])])
                .collect();
            sums.add(
                32,
                &[FactoredRow {
                    factors: &factors,
                    integers,
                }],
            );
            if fold_at == Some(o) {
                sums.fold();
            }
        }
        FixedKey::from_parts(r, sums.finish()).unwrap()
    }

    #[test]
    fn fixed_point_is_checked_over_the_larger_field() {
        for (t, n, k) in [(1, 1, 32), (3, 7, 96), (2, 5, 1056)] {
            let case = fixed(t, n, k, 5);
            let key = fixed_key(&case, 9, None);
            assert_eq!(key.check_rows(&case.x, &case.z), Ok(()));
            assert_eq!(key.check_all(&case.x, &case.z, &mut words(1)), Ok(()));
            // What was folded on the way is the same.
            let folded = fixed_key(&case, 9, Some(n / 2));
            assert_eq!(folded.v, key.v);
            for at in 0..case.z.len() {
                for step in [-1, 1, 1 << 40] {
                    let mut z = case.z.clone();
                    z[at] += step;
                    let fault = key.check_rows(&case.x, &z).unwrap_err();
                    assert_eq!((fault.code, fault.row), ("exact-product", Some(at / n)));
                    assert!(key.check_all(&case.x, &z, &mut words(9)).is_err());
                }
            }
            for extreme in [i64::MIN, i64::MIN + 1, i64::MAX] {
                let mut z = case.z.clone();
                z[0] = extreme;
                assert!(key.check_rows(&case.x, &z).is_err());
            }
            let mut x = case.x.clone();
            x[k - 1] += 1;
            assert!(key.check_rows(&x, &case.z).is_err());
        }
    }

    #[test]
    fn what_is_no_residue_makes_no_key() {
        assert!(FixedKey::from_parts(vec![P127], vec![1]).is_none());
        assert!(FixedKey::from_parts(vec![1], vec![P127 - 1]).is_some());
        assert!(ScaledKey::from_parts(vec![1], vec![P]).is_none());
        assert!(ScaledKey::from_parts(vec![], vec![1]).is_none());
    }
}
