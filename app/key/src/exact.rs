//! Freivalds' check of integer products, exact: no tolerance, and a stated chance of error.
//!
//! For 8-bit weights W [n, k] and activations X [T, k] with 32-bit sums Z = X Wᵀ, and a random r over the prime field of 2^61 - 1,
//! r.z = (Wᵀ r).x holds for every honest row; a wrong row passes with a chance of 1/p = 4.3e-19. All rows at once: random s over
//! the same field, r.(s Z) = (Wᵀ r).(s X), passes with 2/p. (Freivalds 1977; CommitLLM and SLALOM for models.)
//!
//! **Sums are range-checked first.** z and z - p are congruent, so without that check a wrong z of the right residue would pass; with
//! |z| <= k 128² < p / 2 there is one integer for each residue.
//!
//! Block formats (Q8_0, Q4_0) scale sums of 32 products each, so the integers to check are the sums of blocks: with a random
//! c_b for every block, sum_b c_b (v_b . x_b) = r . sum_b c_b z_b, where v_b is Wᵀ r within the block.
//!
//! In Rust, not in WGSL: a product of two residues is one 64-bit multiplication here and about twenty 32-bit ones there. Measured
//! (docs/benchmarks.md): checking a row takes microseconds, and moving it to a device takes longer.

use crate::parallel;

/// 2^61 - 1.
pub const P: u64 = (1 << 61) - 1;

/// A source of independent, uniform 64-bit words that the prover does not know: the operating system's randomness, or a stream keyed by
/// it.
pub trait Words {
    /// The next word.
    fn word(&mut self) -> u64;
}

impl<F: FnMut() -> u64> Words for F {
    fn word(&mut self) -> u64 {
        self()
    }
}

/// Uniform over the field: by rejection, not by remainder.
pub fn uniform(words: &mut dyn Words) -> u64 {
    loop {
        let word = words.word() >> 3;
        if word < P {
            return word;
        }
    }
}

/// x mod p, of any 128-bit number.
fn reduce(x: u128) -> u64 {
    let low = (x as u64) & P;
    let middle = ((x >> 61) as u64) & P;
    let high = (x >> 122) as u64;
    let mut sum = low + middle + high;
    sum = (sum & P) + (sum >> 61);
    if sum >= P { sum - P } else { sum }
}

fn multiply(a: u64, b: u64) -> u64 {
    reduce(u128::from(a) * u128::from(b))
}

fn add(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= P { sum - P } else { sum }
}

/// sum_i a_i x_i of residues with small integers, one reduction in the end: |x| <= 2^31, at most 2^32 terms.
fn dot(a: &[u64], x: impl Iterator<Item = i64>) -> u64 {
    // Positive and negative parts apart, so that 128 bits hold unsigned sums.
    let (mut plus, mut minus) = (0u128, 0u128);
    for (a, x) in a.iter().zip(x) {
        let term = u128::from(*a) * u128::from(x.unsigned_abs());
        if x < 0 {
            minus += term;
        } else {
            plus += term;
        }
    }
    add(reduce(plus), P - reduce(minus))
}

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
pub struct ExactKey {
    /// [n]
    r: Vec<u64>,
    /// [k]
    v: Vec<u64>,
}

/// Wᵀ r on its way, over rows of W as they come.
pub struct ExactSums {
    /// Sums of the factors' upper and lower 32 bits, apart, so that plain 64-bit sums hold them: 2^22 rows times 2^7 times 2^32.
    columns: Vec<[i64; 2]>,
}

/// Columns that one thread works on at a time.
const WIDTH: usize = 1024;

impl ExactSums {
    /// For a matrix of `k` columns.
    pub fn new(k: usize) -> Self {
        Self {
            columns: vec![[0; 2]; k],
        }
    }

    /// Adds rows, each with its factor.
    pub fn add(&mut self, rows: &[(u64, &[i8])]) {
        parallel::for_each_chunk(&mut self.columns, WIDTH, |index, columns| {
            for (factor, row) in rows {
                // A residue has 61 bits.
                let (high, low) = ((factor >> 32) as i64, (factor & 0xFFFF_FFFF) as i64);
                let row = row.get(index * WIDTH..).unwrap_or_default();
                for ([sum_high, sum_low], w) in columns.iter_mut().zip(row) {
                    let w = i64::from(*w);
                    *sum_high += high * w;
                    *sum_low += low * w;
                }
            }
        });
    }

    /// Wᵀ r, [k].
    pub fn finish(&self) -> Vec<u64> {
        let residue = |sum: i64| match reduce(u128::from(sum.unsigned_abs())) {
            0 => 0,
            r if sum < 0 => P - r,
            r => r,
        };
        let sum = |[high, low]: &[i64; 2]| add(multiply(residue(*high), 1 << 32), residue(*low));
        self.columns.iter().map(sum).collect()
    }
}

impl ExactKey {
    /// From what was kept: r, [n], and Wᵀ r, [k]. Both are residues, or nothing is there to be checked by.
    pub fn from_parts(r: Vec<u64>, v: Vec<u64>) -> Option<Self> {
        let residues = r.iter().chain(&v).all(|x| *x < P);
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

    /// Reads W [n, k] once, row by row, and keeps k + n residues.
    pub fn new<'a>(rows: impl Iterator<Item = &'a [i8]>, k: usize, words: &mut dyn Words) -> Self {
        let mut sums = ExactSums::new(k);
        let rows: Vec<(u64, &[i8])> = rows.map(|row| (uniform(words), row)).collect();
        sums.add(&rows);
        let (r, v) = (
            rows.iter().map(|(factor, _)| *factor).collect(),
            sums.finish(),
        );
        Self { r, v }
    }

    /// Checks every row of z [T, n] against x [T, k] on its own, and names the first that is wrong. A wrong row passes with 1/p.
    pub fn check_rows(&self, x: &[i8], z: &[i32]) -> Result<(), Fault> {
        let (n, k) = (self.r.len(), self.v.len());
        self.shapes(x, z)?;
        for (row, (x, z)) in x.chunks_exact(k).zip(z.chunks_exact(n)).enumerate() {
            in_range(z, k, row)?;
            let of_x = dot(&self.v, x.iter().map(|x| i64::from(*x)));
            let of_z = dot(&self.r, z.iter().map(|z| i64::from(*z)));
            if of_x != of_z {
                return Err(wrong(Some(row)));
            }
        }
        Ok(())
    }

    /// Checks all rows together, with random weights of their own: n + k products of residues, whatever T. Any number of wrong rows
    /// passes with 2/p.
    pub fn check_all(&self, x: &[i8], z: &[i32], words: &mut dyn Words) -> Result<(), Fault> {
        let (n, k) = (self.r.len(), self.v.len());
        self.shapes(x, z)?;
        for (row, z) in z.chunks_exact(n).enumerate() {
            in_range(z, k, row)?;
        }
        let s: Vec<u64> = (0..z.len() / n).map(|_| uniform(words)).collect();
        let of_x = folded(&s, k, |t, i| i64::from(x[t * k + i]));
        let of_z = folded(&s, n, |t, o| i64::from(z[t * n + o]));
        let left = sum_of_products(&self.v, &of_x);
        let right = sum_of_products(&self.r, &of_z);
        if left == right {
            Ok(())
        } else {
            Err(wrong(None))
        }
    }

    /// Block sums: z [T, n, k / block] of x [T, k], with one random factor for each block. A wrong row passes with 2/p.
    pub fn check_blocks(
        blocks: &[Self],
        x: &[i8],
        z: &[i32],
        block: usize,
        words: &mut dyn Words,
    ) -> Result<(), Fault> {
        let (count, n) = (blocks.len(), blocks.first().map_or(0, |b| b.r.len()));
        let k = count * block;
        if n == 0 || k == 0 || !x.len().is_multiple_of(k) || z.len() != x.len() / k * n * count {
            return Err(wrong(None));
        }
        for (row, (x, z)) in x.chunks_exact(k).zip(z.chunks_exact(n * count)).enumerate() {
            in_range(z, block, row)?;
            let mut left = 0;
            let mut right = 0;
            for (b, key) in blocks.iter().enumerate() {
                let c = uniform(words);
                let of_x = dot(
                    &key.v,
                    x[b * block..][..block].iter().map(|x| i64::from(*x)),
                );
                let of_z = dot(&key.r, (0..n).map(|o| i64::from(z[o * count + b])));
                left = add(left, multiply(c, of_x));
                right = add(right, multiply(c, of_z));
            }
            if left != right {
                return Err(wrong(Some(row)));
            }
        }
        Ok(())
    }

    fn shapes(&self, x: &[i8], z: &[i32]) -> Result<(), Fault> {
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

fn wrong(row: Option<usize>) -> Fault {
    Fault {
        code: "exact-product",
        row,
    }
}

fn in_range(z: &[i32], k: usize, row: usize) -> Result<(), Fault> {
    let most = (k as u64).saturating_mul(128 * 128);
    if z.iter().all(|z| u64::from(z.unsigned_abs()) <= most) {
        Ok(())
    } else {
        Err(Fault {
            code: "exact-range",
            row: Some(row),
        })
    }
}

/// sum_t s_t m[t, i] for each i of `width`.
fn folded(s: &[u64], width: usize, at: impl Fn(usize, usize) -> i64) -> Vec<u64> {
    (0..width)
        .map(|i| dot(s, (0..s.len()).map(|t| at(t, i))))
        .collect()
}

fn sum_of_products(a: &[u64], b: &[u64]) -> u64 {
    a.iter()
        .zip(b)
        .fold(0, |sum, (a, b)| add(sum, multiply(*a, *b)))
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
    fn residues_are_right() {
        for x in [
            0u128,
            1,
            u128::from(P),
            u128::from(P) + 1,
            u128::MAX,
            1 << 61,
            1 << 122,
        ] {
            assert_eq!(u128::from(reduce(x)), x % u128::from(P), "{x}");
        }
        assert_eq!(dot(&[P - 1, 5], [-3i64, 2].into_iter()), 13);
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
        assert!(key.check_rows(&[], &[]).is_err());
        assert!(key.check_all(&[], &[], &mut words(1)).is_err());
        assert!(key.check_rows(&case.x[1..], &case.z).is_err());
        assert!(key.check_rows(&case.x, &case.z[1..]).is_err());
        assert!(ExactKey::check_blocks(&[], &[], &[], 32, &mut words(1)).is_err());
    }

    #[test]
    fn block_sums_are_checked_block_by_block() {
        const BLOCK: usize = 32;
        let case = case(4, 11, 3 * BLOCK, 8);
        let count = case.k / BLOCK;
        let mut sums = vec![0i32; 4 * case.n * count];
        for (t, x) in case.x.chunks_exact(case.k).enumerate() {
            for (o, w) in case.w.chunks_exact(case.k).enumerate() {
                for b in 0..count {
                    let span = b * BLOCK..(b + 1) * BLOCK;
                    sums[(t * case.n + o) * count + b] = x[span.clone()]
                        .iter()
                        .zip(&w[span])
                        .map(|(x, w)| i32::from(*x) * i32::from(*w))
                        .sum();
                }
            }
        }
        let mut fresh = words(77);
        let keys: Vec<ExactKey> = (0..count)
            .map(|b| {
                let rows = case
                    .w
                    .chunks_exact(case.k)
                    .map(|w| &w[b * BLOCK..(b + 1) * BLOCK]);
                ExactKey::new(rows, BLOCK, &mut fresh)
            })
            .collect();
        let check = |z: &[i32]| ExactKey::check_blocks(&keys, &case.x, z, BLOCK, &mut words(5));
        assert_eq!(check(&sums), Ok(()));
        // Moved from one block to another: the row's total is right, its scaled sum is not.
        let mut moved = sums.clone();
        moved[0] += 3;
        moved[1] -= 3;
        assert_eq!(
            check(&moved),
            Err(Fault {
                code: "exact-product",
                row: Some(0)
            })
        );
    }
}
