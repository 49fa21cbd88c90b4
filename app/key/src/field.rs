//! The two prime fields that products of integers are checked over, both of a Mersenne prime: 2^61 - 1 where sums have 32 bits, and
//! 2^127 - 1 where they are fixed point of 64 bits.

use std::fmt::Debug;

/// 2^61 - 1.
pub const P: u64 = (1 << 61) - 1;

/// 2^127 - 1.
pub const P127: u128 = (1 << 127) - 1;

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

/// A prime field. Residues are from 0 to p - 1; whoever takes one from elsewhere asks [`Field::is_residue`] first.
pub trait Field: Copy + Debug + Send + Sync + 'static {
    /// A residue.
    type Residue: Copy + Debug + Eq + Default + Send + Sync;
    /// p, about.
    const ORDER: f64;
    /// Limbs of 32 bits of a residue.
    const LIMBS: usize;

    /// Whether this is below p.
    fn is_residue(x: Self::Residue) -> bool;
    /// Uniform over the field: by rejection, not by remainder.
    fn uniform(words: &mut dyn Words) -> Self::Residue;
    /// a + b.
    fn add(a: Self::Residue, b: Self::Residue) -> Self::Residue;
    /// a b.
    fn multiply(a: Self::Residue, b: Self::Residue) -> Self::Residue;
    /// An integer as a residue.
    fn integer(x: i64) -> Self::Residue;
    /// Limb `i`, the lowest first.
    fn limb(x: Self::Residue, i: usize) -> u32;
    /// Sum of a_i x_i; |x| at most 2^62, at most 2^32 terms.
    fn dot(a: &[Self::Residue], x: impl Iterator<Item = i64>) -> Self::Residue;
    /// Whether each of these sums is the only integer of its residue among those that k products can add up to.
    fn in_range(z: impl Iterator<Item = i64>, k: usize) -> bool;

    /// Sum of a_i b_i.
    fn sum_of_products(a: &[Self::Residue], b: &[Self::Residue]) -> Self::Residue {
        let products = a.iter().zip(b).map(|(a, b)| Self::multiply(*a, *b));
        products.fold(Self::Residue::default(), Self::add)
    }
}

/// The field of [`P`], for sums of products of 8-bit integers: of `k` of them |z| <= k 2^14, which is checked.
#[derive(Clone, Copy, Debug)]
pub struct Mersenne61;

/// The field of [`P127`], for sums in units of 2^-48 that fit 64 bits. Their true values stay below 2^117 (products below 2^100, at most
/// 2^17 of them), so a sum of 64 bits with the residue of the true one is the true one: nothing is left to check.
#[derive(Clone, Copy, Debug)]
pub struct Mersenne127;

/// x mod 2^61 - 1, of any 128-bit number.
fn reduce(x: u128) -> u64 {
    let low = (x as u64) & P;
    let middle = ((x >> 61) as u64) & P;
    let high = (x >> 122) as u64;
    let mut sum = low + middle + high;
    sum = (sum & P) + (sum >> 61);
    if sum >= P { sum - P } else { sum }
}

impl Field for Mersenne61 {
    type Residue = u64;
    const ORDER: f64 = P as f64;
    const LIMBS: usize = 2;

    fn is_residue(x: u64) -> bool {
        x < P
    }

    fn uniform(words: &mut dyn Words) -> u64 {
        loop {
            let word = words.word() >> 3;
            if word < P {
                return word;
            }
        }
    }

    fn add(a: u64, b: u64) -> u64 {
        let sum = a + b;
        if sum >= P { sum - P } else { sum }
    }

    fn multiply(a: u64, b: u64) -> u64 {
        reduce(u128::from(a) * u128::from(b))
    }

    fn integer(x: i64) -> u64 {
        match reduce(u128::from(x.unsigned_abs())) {
            0 => 0,
            r if x < 0 => P - r,
            r => r,
        }
    }

    fn limb(x: u64, i: usize) -> u32 {
        (x >> (32 * i)) as u32
    }

    fn dot(a: &[u64], x: impl Iterator<Item = i64>) -> u64 {
        // Positive and negative parts apart, so that 128 bits hold unsigned sums of products below 2^93; larger ones are reduced.
        let (mut plus, mut minus) = (0u128, 0u128);
        for (a, x) in a.iter().zip(x) {
            let size = x.unsigned_abs();
            let term = match size >> 32 {
                0 => u128::from(*a) * u128::from(size),
                _ => u128::from(Self::multiply(*a, reduce(u128::from(size)))),
            };
            if x < 0 {
                minus += term;
            } else {
                plus += term;
            }
        }
        Self::add(reduce(plus), P - reduce(minus))
    }

    fn in_range(mut z: impl Iterator<Item = i64>, k: usize) -> bool {
        let most = (k as u64).saturating_mul(128 * 128);
        z.all(|z| z.unsigned_abs() <= most)
    }
}

/// a + b mod 2^127 - 1, of numbers of 127 bits.
fn add127(a: u128, b: u128) -> u128 {
    // Below 2^128: no carry is lost.
    let sum = a + b;
    let folded = (sum & P127) + (sum >> 127);
    if folded >= P127 {
        folded - P127
    } else {
        folded
    }
}

/// The product of two 128-bit numbers, upper and lower half.
fn wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (low, high) = (a0 * b0, a1 * b1);
    let (first, second) = (a0 * b1, a1 * b0);
    // Three numbers below 2^64.
    let middle = (low >> 64) + (first & LOW) + (second & LOW);
    let upper = high + (first >> 64) + (second >> 64) + (middle >> 64);
    (upper, (middle << 64) | (low & LOW))
}

impl Field for Mersenne127 {
    type Residue = u128;
    const ORDER: f64 = P127 as f64;
    const LIMBS: usize = 4;

    fn is_residue(x: u128) -> bool {
        x < P127
    }

    fn uniform(words: &mut dyn Words) -> u128 {
        loop {
            let low = u128::from(words.word());
            let number = (u128::from(words.word() >> 1) << 64) | low;
            if number < P127 {
                return number;
            }
        }
    }

    fn add(a: u128, b: u128) -> u128 {
        add127(a, b)
    }

    fn multiply(a: u128, b: u128) -> u128 {
        // Of residues below 2^254: the upper half, doubled, has 127 bits.
        let (upper, lower) = wide(a, b);
        add127((upper << 1) | (lower >> 127), lower & P127)
    }

    fn integer(x: i64) -> u128 {
        let size = u128::from(x.unsigned_abs());
        if x < 0 { P127 - size } else { size }
    }

    fn limb(x: u128, i: usize) -> u32 {
        (x >> (32 * i)) as u32
    }

    fn dot(a: &[u128], x: impl Iterator<Item = i64>) -> u128 {
        let (mut plus, mut minus) = (0, 0);
        for (a, x) in a.iter().zip(x) {
            let term = Self::multiply(*a, u128::from(x.unsigned_abs()));
            if x < 0 {
                minus = add127(minus, term);
            } else {
                plus = add127(plus, term);
            }
        }
        add127(plus, P127 - minus)
    }

    fn in_range(_: impl Iterator<Item = i64>, _: usize) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64.
    fn words(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }
    }

    /// a b mod 2^127 - 1, one bit of b at a time, with nothing but comparison, doubling and subtraction.
    fn by_bits(a: u128, b: u128) -> u128 {
        let less = |x: u128| if x >= P127 { x - P127 } else { x };
        let mut product = 0;
        for bit in (0..127).rev() {
            product = less(product * 2);
            if (b >> bit) & 1 == 1 {
                product = less(product + a);
            }
        }
        product
    }

    /// Residues where carries and folds happen, and random ones.
    fn residues() -> Vec<u128> {
        let mut all = vec![0, 1, 2, P127 - 1, P127 - 2, P127 / 2, P127 / 2 + 1];
        for bit in [31, 32, 62, 63, 64, 65, 95, 96, 125, 126] {
            all.extend([
                1u128 << bit,
                (1 << bit) - 1,
                (1 << bit) + 1,
                P127 - (1 << bit),
            ]);
        }
        let mut next = words(3);
        for _ in 0..60 {
            all.push(Mersenne127::uniform(&mut next));
        }
        all
    }

    #[test]
    fn residues_of_61_bits_are_right() {
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
        assert_eq!(Mersenne61::dot(&[P - 1, 5], [-3i64, 2].into_iter()), 13);
        let large = [(1i64 << 62) - 1, -(1 << 40)];
        let want = [P - 7, 9].iter().zip(large).fold(0i128, |sum, (a, x)| {
            (sum + i128::from(*a) * i128::from(x)).rem_euclid(i128::from(P))
        });
        let got = Mersenne61::dot(&[P - 7, 9], large.into_iter());
        assert_eq!(i128::from(got), want);
    }

    #[test]
    fn products_of_127_bits_are_those_made_bit_by_bit() {
        let all = residues();
        for a in &all {
            for b in &all {
                let product = Mersenne127::multiply(*a, *b);
                assert!(Mersenne127::is_residue(product));
                assert_eq!(product, by_bits(*a, *b), "{a} {b}");
                let sum = Mersenne127::add(*a, *b);
                assert!(Mersenne127::is_residue(sum));
                // Both below p, so one subtraction is enough.
                let plain = a + b;
                assert_eq!(sum, if plain >= P127 { plain - P127 } else { plain });
            }
        }
    }

    #[test]
    fn the_field_of_127_bits_obeys_its_laws() {
        let all = residues();
        for (i, a) in all.iter().enumerate() {
            let (b, c) = (all[(i * 7 + 3) % all.len()], all[(i * 11 + 5) % all.len()]);
            let (add, multiply) = (Mersenne127::add, Mersenne127::multiply);
            assert_eq!(multiply(*a, b), multiply(b, *a));
            assert_eq!(multiply(multiply(*a, b), c), multiply(*a, multiply(b, c)));
            assert_eq!(
                multiply(*a, add(b, c)),
                add(multiply(*a, b), multiply(*a, c))
            );
            if *a != 0 {
                // a^(p - 1) = 1: p - 1 = 2^127 - 2, bits 1 to 126 set.
                let (mut power, mut square) = (1, *a);
                for _ in 1..127 {
                    square = multiply(square, square);
                    power = multiply(power, square);
                }
                assert_eq!(power, 1, "{a}");
            }
        }
    }

    #[test]
    fn integers_of_either_sign_become_residues_and_dots_are_sums() {
        for x in [0, 1, -1, i64::MAX, i64::MIN, i64::MIN + 1, -(1 << 40)] {
            let residue = Mersenne127::integer(x);
            assert!(Mersenne127::is_residue(residue));
            assert_eq!(
                Mersenne127::add(residue, Mersenne127::integer(!x)),
                P127 - 1
            );
            let small = Mersenne61::integer(x);
            assert_eq!(i128::from(small), i128::from(x).rem_euclid(i128::from(P)));
        }
        let a = residues();
        let mut next = words(8);
        let x: Vec<i64> = a.iter().map(|_| next() as i64).collect();
        let want = a.iter().zip(&x).fold(0, |sum, (a, x)| {
            Mersenne127::add(sum, by_bits(*a, Mersenne127::integer(*x)))
        });
        assert_eq!(Mersenne127::dot(&a, x.into_iter()), want);
        // Nothing negative: the difference with zero is a residue all the same.
        assert_eq!(Mersenne127::dot(&[0, 0], [5, -5].into_iter()), 0);
        assert_eq!(Mersenne61::dot(&[0, 0], [5, -5].into_iter()), 0);
    }

    #[test]
    fn limbs_make_up_a_residue() {
        for x in residues() {
            let limbs = (0..Mersenne127::LIMBS).rev();
            let whole = limbs.fold(0u128, |all, i| {
                (all << 32) | u128::from(Mersenne127::limb(x, i))
            });
            assert_eq!(whole, x);
        }
        assert_eq!(Mersenne61::limb(P, 1), (1 << 29) - 1);
    }

    /// All ones is the one number of 127 bits that is no residue.
    #[test]
    fn uniform_passes_over_what_is_no_residue() {
        let mut given = [u64::MAX, u64::MAX, u64::MAX, u64::MAX, 5, 6].into_iter();
        let mut next = || given.next().unwrap();
        assert_eq!(Mersenne127::uniform(&mut next), (3 << 64) | 5);
        let mut given = [u64::MAX, 80].into_iter();
        let mut next = || given.next().unwrap();
        assert_eq!(Mersenne61::uniform(&mut next), 10);
    }
}
