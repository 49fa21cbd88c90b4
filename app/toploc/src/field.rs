//! Polynomials over GF(65497): the largest prime that the package could find below 2^16 is not the largest there is, but it is the one.

/// The field's size.
pub const PRIME: u16 = 65497;
const P: u32 = PRIME as u32;

fn mul(a: u32, b: u32) -> u32 {
    (u64::from(a) * u64::from(b) % u64::from(P)) as u32
}

fn sub(a: u32, b: u32) -> u32 {
    (a + P - b) % P
}

/// a^(p - 2), by Fermat.
fn inverse(a: u32) -> u32 {
    let (mut power, mut exponent, mut out) = (a, P - 2, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            out = mul(out, power);
        }
        power = mul(power, power);
        exponent >>= 1;
    }
    out
}

/// The polynomial at `x`, by Horner; coefficients from the constant up.
pub(crate) fn evaluate(coefficients: &[u16], x: u32) -> u16 {
    let x = x % P;
    let step = |sum: u32, c: &u16| (mul(sum, x) + u32::from(*c)) % P;
    coefficients.iter().rev().fold(0, step) as u16 // below the prime
}

/// Coefficients of the polynomial of least degree through `points`, whose x are different modulo the prime; as many as points.
pub(crate) fn interpolate(points: &[(u32, u32)]) -> Vec<u16> {
    let x: Vec<u32> = points.iter().map(|(x, _)| x % P).collect();
    // Newton's divided differences in place: after round k, entry i >= k is that of points i - k to i.
    let mut newton: Vec<u32> = points.iter().map(|(_, y)| y % P).collect();
    for round in 1..x.len() {
        for i in (round..x.len()).rev() {
            let rise = sub(newton[i], newton[i - 1]);
            newton[i] = mul(rise, inverse(sub(x[i], x[i - round])));
        }
    }
    // Nested form outwards: c = c * (X - x_i) + newton_i.
    let mut coefficients: Vec<u32> = Vec::with_capacity(x.len());
    for i in (0..x.len()).rev() {
        coefficients.insert(0, 0);
        for j in 0..coefficients.len() - 1 {
            coefficients[j] = sub(coefficients[j], mul(coefficients[j + 1], x[i]));
        }
        coefficients[0] = (coefficients[0] + newton[i]) % P;
    }
    coefficients.into_iter().map(|c| c as u16).collect() // each below the prime
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_prime_field() {
        assert!(!(2..256).any(|d| P.is_multiple_of(d)));
        for a in [1, 2, 3, 65496, 12345] {
            assert_eq!(mul(a, inverse(a)), 1);
        }
    }

    #[test]
    fn a_parabola() {
        // 3 + 2x + x^2 at 0, 1, 5
        assert_eq!(interpolate(&[(0, 3), (1, 6), (5, 38)]), [3, 2, 1]);
        assert_eq!(evaluate(&[3, 2, 1], 5), 38);
        assert_eq!(evaluate(&[3, 2, 1], 5 + P), 38);
        assert_eq!(interpolate(&[(7, 65500)]), [3]);
    }

    proptest::proptest! {
        #[test]
        fn it_goes_through_its_points(
            points in proptest::collection::btree_map(0u32..P, 0u32..65536, 1..140),
        ) {
            let points: Vec<(u32, u32)> = points.into_iter().collect();
            let coefficients = interpolate(&points);
            proptest::prop_assert_eq!(coefficients.len(), points.len());
            for (x, y) in points {
                proptest::prop_assert_eq!(u32::from(evaluate(&coefficients, x)), y % P);
            }
        }
    }
}
