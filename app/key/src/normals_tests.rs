use super::*;
use crate::seed::Purpose;
use crate::{Part, Seed};
use assay_model::LayerRole;
use std::f64::consts::PI;

const Q: Part = Part::Layer(0, LayerRole::Q);

fn seed() -> Seed {
    Seed::from_bytes([7; 32])
}

#[test]
fn a_normal_depends_on_its_number_alone() {
    let seed = seed();
    let stream = seed.stream(Q, Purpose::Projections).unwrap();
    let all = normals(&stream, 0, 3 * CHUNK + 5);
    for (start, len) in [
        (0, 1),
        (1, 2),
        (3, 6),
        (CHUNK - 1, 3),
        (2 * CHUNK + 2, CHUNK + 3),
    ] {
        assert_eq!(normals(&stream, start as u64, len), all[start..start + len]);
    }
    assert!(normals(&stream, 9, 0).is_empty());
}

/// The formula once more, by the standard library.
#[test]
fn normals_are_box_muller_of_the_words() {
    let seed = seed();
    let stream = seed.stream(Part::Head, Purpose::Sketch).unwrap();
    let got = normals(&stream, 0, 4000);
    for (block, four) in got.chunks(4).enumerate() {
        let words = stream.block(block as u32);
        for (pair, two) in words.chunks(2).zip(four.chunks(2)) {
            let u = ((pair[0] >> 11) as f64 + 1.0) / 2f64.powi(53);
            let v = (pair[1] >> 11) as f64 / 2f64.powi(53);
            let radius = (-2.0 * u.ln()).sqrt();
            for (got, want) in two.iter().zip([(2.0 * PI * v).cos(), (2.0 * PI * v).sin()]) {
                assert!((f64::from(*got) - radius * want).abs() < 1e-6);
            }
        }
    }
}

/// The most extreme words give finite numbers.
#[test]
fn no_word_gives_an_infinity() {
    for words in [
        [0, 0],
        [0, u64::MAX],
        [u64::MAX, 0],
        [u64::MAX, u64::MAX],
        [1 << 11, 1 << 62],
    ] {
        let [a, b] = pair(words[0], words[1]);
        assert!(a.is_finite() && b.is_finite(), "{words:?}");
        assert!(a.abs() < 8.6 && b.abs() < 8.6);
    }
}

#[test]
fn chosen_rows_are_distinct_ascending_and_fair() {
    let seed = seed();
    let mut counts = [0_u32; 10];
    for layer in 0..3000 {
        let part = Part::Layer(layer, LayerRole::K);
        let stream = seed.stream(part, Purpose::Rows).unwrap();
        let rows = choose(&stream, 10, 4);
        assert_eq!(rows.len(), 4);
        assert!(rows.windows(2).all(|pair| pair[0] < pair[1]));
        for row in rows {
            counts[row as usize] += 1;
        }
    }
    // Each row is expected 1200 times, with a deviation of 27.
    assert!(
        counts.iter().all(|count| (1060..1340).contains(count)),
        "{counts:?}"
    );
    let stream = seed.stream(Q, Purpose::Rows).unwrap();
    assert_eq!(choose(&stream, 3, 4), [0, 1, 2]);
    assert_eq!(choose(&stream, 4, 4), [0, 1, 2, 3]);
    assert_eq!(choose(&stream, 65, 64).len(), 64);
    let most = choose(&stream, 1 << 21, 64);
    assert!(most.len() == 64 && most.iter().all(|row| *row < 1 << 21));
}

/// What an implementation apart from this one gives (Python: hashlib, and math's log, cos and sin).
#[test]
fn known_numbers() {
    let seed = Seed::from_bytes(std::array::from_fn(|i| i as u8));
    let stream = seed
        .stream(Part::Layer(3, LayerRole::Gate), Purpose::Projections)
        .unwrap();
    assert_eq!(stream.block(2)[0], KNOWN_WORD, "{:#x}", stream.block(2)[0]);
    let got = normals(&stream, 6, 4)
        .iter()
        .map(|x| x.to_bits())
        .collect::<Vec<_>>();
    assert_eq!(got, KNOWN_BITS, "{got:08x?}");
    let rows = seed.stream(Part::Head, Purpose::Rows).unwrap();
    assert_eq!(choose(&rows, 128_256, 4), KNOWN_ROWS);
}
const KNOWN_WORD: u64 = 0xc046509974cfd49c;
const KNOWN_BITS: [u32; 4] = [0xbee6211a, 0x3f995842, 0xbebbbb7a, 0xbf296fd3];
const KNOWN_ROWS: [u32; 4] = [6515, 19007, 40386, 116360];
