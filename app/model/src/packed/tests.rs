use super::gather::{AWQ_NIBBLE, Int4, Int4Layout, int8_row};
use super::*;

/// Blocks of random bits (NumPy, seed 7) and FNV-1a 64 over the bytes of what `gguf.quants.dequantize` of the gguf package 0.19 makes of
/// them, as f32.
const KNOWN: &str = include_str!("known.txt");

fn fnv(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn blocks_decode_to_the_bits_of_ggmls_own_reader() {
    let mut seen = 0;
    for line in KNOWN.lines() {
        let [name, stored, hash] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let dtype = match name {
            "Q8_0" => Dtype::Q8_0,
            "Q4_0" => Dtype::Q4_0,
            "Q5_0" => Dtype::Q5_0,
            "Q4_K" => Dtype::Q4K,
            _ => Dtype::Q6K,
        };
        let stored = unhex(stored);
        let cols = stored.len() / stored_block_bytes(dtype).unwrap() * dtype.block();
        let mut row = Vec::new();
        assert!(blocks::pack(dtype, &stored, &mut row));
        assert_eq!(row.len(), dtype.row_bytes(cols), "{name}");
        let mut values = Vec::new();
        dtype.decode_row(&row, 0, cols, &mut values);
        assert_eq!(values.len(), cols, "{name}");
        assert_eq!(
            fnv(&values),
            u64::from_str_radix(hash, 16).unwrap(),
            "{name}"
        );
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn row_forms_are_as_long_as_they_say_and_hardly_longer_than_what_is_stored() {
    for dtype in [
        Dtype::Q8_0,
        Dtype::Q4_0,
        Dtype::Q5_0,
        Dtype::Q4K,
        Dtype::Q6K,
    ] {
        for blocks in [1, 2, 3, 8] {
            let stored = vec![0; blocks * stored_block_bytes(dtype).unwrap()];
            let mut row = Vec::new();
            assert!(blocks::pack(dtype, &stored, &mut row));
            assert_eq!(row.len(), dtype.row_bytes(blocks * dtype.block()));
            assert!(row.len() <= stored.len() + 2 * blocks && row.len().is_multiple_of(4));
        }
    }
}

#[test]
fn scales_that_are_no_numbers_are_noticed() {
    for (dtype, at) in [
        (Dtype::Q8_0, 34),
        (Dtype::Q4_0, 18),
        (Dtype::Q5_0, 22),
        (Dtype::Q4K, 2),
        (Dtype::Q6K, 208),
    ] {
        let mut stored = vec![0; 3 * stored_block_bytes(dtype).unwrap()];
        assert!(blocks::pack(dtype, &stored, &mut Vec::new()));
        stored[at..at + 2].copy_from_slice(&f16::NAN.to_le_bytes());
        assert!(!blocks::pack(dtype, &stored, &mut Vec::new()), "{dtype:?}");
    }
    assert!(!int8_row(&[1, 2], 2, |_| f32::INFINITY, &mut Vec::new()));
}

/// The nibble of AWQ that holds column `i` of eight, by its published order of packing.
#[test]
fn awqs_order_is_the_inverse_of_the_order_in_which_it_packs() {
    let order = [0, 2, 4, 6, 1, 3, 5, 7];
    for (nibble, row) in order.into_iter().enumerate() {
        assert_eq!(AWQ_NIBBLE[row], nibble as u32);
    }
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Quants, zeros and scales of a matrix, packed as each tool packs them, against the formula.
#[test]
fn four_bit_matrices_decode_by_their_formula() {
    let (n, k) = (16usize, 40usize);
    let q = |row: usize, col: usize| ((row * 7 + col * 5 + row * col) % 16) as u32;
    let zero = |row: usize, group: usize| ((row * 3 + group) % 15 + 1) as u32;
    let scale = |row: usize, group: usize| (row as f32 - 7.5) * 2f32.powi(-(group as i32) - 5);
    // The last group is short; the order is one that no grouping has.
    for (group, ordered) in [(16usize, false), (40, false), (16, true)] {
        let groups = k.div_ceil(group);
        let of = |col: usize| {
            if ordered {
                (col * 7 + 1) % groups
            } else {
                col / group
            }
        };
        let scales: Vec<u8> = (0..groups)
            .flat_map(|g| (0..n).flat_map(move |r| f16::from_f32(scale(r, g)).to_le_bytes()))
            .collect();
        let eight = |f: &dyn Fn(usize) -> u32| (0..8).fold(0, |all, i| all | (f(i) << (4 * i)));
        let gptq: Vec<u32> = (0..k / 8)
            .flat_map(|w| (0..n).map(move |r| (w, r)))
            .map(|(w, r)| eight(&|i| q(r, 8 * w + i)))
            .collect();
        let gptq_zeros: Vec<u32> = (0..groups)
            .flat_map(|g| (0..n / 8).map(move |w| (g, w)))
            .map(|(g, w)| eight(&|i| zero(8 * w + i, g) - 1))
            .collect();
        const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
        let awq: Vec<u32> = (0..k)
            .flat_map(|c| (0..n / 8).map(move |w| (c, w)))
            .map(|(c, w)| eight(&|i| q(8 * w + ORDER[i], c)))
            .collect();
        let awq_zeros: Vec<u32> = (0..groups)
            .flat_map(|g| (0..n / 8).map(move |w| (g, w)))
            .map(|(g, w)| eight(&|i| zero(8 * w + ORDER[i], g)))
            .collect();
        let dtype = match ordered {
            true => Dtype::Int4Ordered {
                groups: groups as u32,
            },
            false => Dtype::Int4 {
                group: group as u32,
            },
        };
        let mut prefix = Vec::new();
        if ordered {
            prefix.extend((0..k).flat_map(|col| (of(col) as u16).to_le_bytes()));
        }
        assert_eq!(prefix.len(), dtype.prefix_bytes(k));
        for (layout, quants, zeros) in [
            (Int4Layout::Gptq { offset: 1 }, &gptq, &gptq_zeros),
            (Int4Layout::Awq, &awq, &awq_zeros),
        ] {
            let matrix = Int4 {
                layout,
                n,
                k,
                groups,
                group: (!ordered).then_some(group),
                quants: &words(quants),
                zeros: &words(zeros),
                scales: &scales,
            };
            let mut stored = prefix.clone();
            for row in 0..n {
                assert!(matrix.row(row, &mut stored));
            }
            assert_eq!(stored.len(), prefix.len() + n * dtype.row_bytes(k));
            for row in 0..n {
                let mut got = Vec::new();
                dtype.decode_row(&stored, row, k, &mut got);
                let want: Vec<f32> = (0..k)
                    .map(|c| scale(row, of(c)) * (q(row, c) as f32 - zero(row, of(c)) as f32))
                    .collect();
                assert_eq!(got, want, "{layout:?} {group} {ordered}");
            }
        }
    }
}

#[test]
fn eight_bit_rows_decode_by_their_formula() {
    let quants: Vec<u8> = (0..24).map(|i| (i * 37) as u8).collect();
    for (group, kind) in [
        (8, ScaleType::F32),
        (24, ScaleType::BF16),
        (24, ScaleType::F16),
    ] {
        let scales: Vec<u8> = match kind {
            ScaleType::F32 => [0.1f32, -3.0, 7e-9]
                .iter()
                .flat_map(|s| s.to_le_bytes())
                .collect(),
            ScaleType::BF16 => half::bf16::from_f32(0.125).to_le_bytes().into(),
            ScaleType::F16 => f16::from_f32(-0.125).to_le_bytes().into(),
        };
        let dtype = match group {
            24 => Dtype::Int8 { group: 0 },
            _ => Dtype::Int8 { group: 8 },
        };
        let mut row = Vec::new();
        let stored = |col: usize| kind.read(&scales, col / group);
        assert!(int8_row(&quants, group, stored, &mut row));
        let mut got = Vec::new();
        dtype.decode_row(&row, 0, 24, &mut got);
        let scale = |col: usize| match kind {
            ScaleType::F32 => [0.1f32, -3.0, 7e-9][col / 8],
            ScaleType::BF16 => 0.125,
            ScaleType::F16 => -0.125,
        };
        let want: Vec<f32> = quants
            .iter()
            .enumerate()
            .map(|(i, q)| scale(i) * f32::from(*q as i8))
            .collect();
        assert_eq!(got, want);
    }
    // A row that is no whole number of words is padded, and one that is not there adds nothing.
    let mut row = Vec::new();
    int8_row(&[1, 2, 0xFF], 3, |_| 2.0, &mut row);
    let mut got = Vec::new();
    Dtype::Int8 { group: 0 }.decode_row(&row, 0, 3, &mut got);
    Dtype::Int8 { group: 0 }.decode_row(&row, 1, 3, &mut got);
    assert_eq!(got, [2.0, 4.0, -2.0]);
}

#[test]
fn noise_is_finite_and_fills_its_rows() {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state ^ (state >> 29)
    };
    for (dtype, cols) in [
        (Dtype::Q8_0, 96),
        (Dtype::Q4_0, 96),
        (Dtype::Q5_0, 64),
        (Dtype::Q4K, 512),
        (Dtype::Q6K, 256),
        (Dtype::Int8 { group: 0 }, 7),
        (Dtype::Int8 { group: 16 }, 48),
        (Dtype::Int4 { group: 32 }, 72),
        (Dtype::Int4Ordered { groups: 3 }, 40),
    ] {
        let bytes = dtype.noise(3, cols, &mut next);
        assert_eq!(
            bytes.len(),
            dtype.prefix_bytes(cols) + 3 * dtype.row_bytes(cols)
        );
        let mut values = Vec::new();
        (0..3).for_each(|row| dtype.decode_row(&bytes, row, cols, &mut values));
        assert_eq!(values.len(), 3 * cols, "{dtype:?}");
        assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|v| *v != 0.0));
    }
}
