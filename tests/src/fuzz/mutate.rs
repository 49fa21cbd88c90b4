//! Deterministic mutation: the short run's stand-in for libFuzzer.

/// xorshift64*: the same inputs on every machine.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `n`; 0 if there is none.
    pub fn below(&mut self, n: usize) -> usize {
        (self.draw() >> 11) as usize % n.max(1)
    }

    /// One of a list that is not empty.
    pub fn one_of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

const EXTREMES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// What stands in for a number or a token of JSON.
const TEXTS: [&str; 20] = [
    "0",
    "-1",
    "1",
    "2",
    "255",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "1e999",
    "-0.0",
    "0.1",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\"\\u0000\\u001b[2J\"",
    "{\"\":",
    "[[[[",
];

/// One to four changes to `seed`.
pub fn mutate(random: &mut Random, seed: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        change(random, &mut bytes, others);
    }
    // Half of what claims to have a safetensors header gets a length that fits, so that the change is seen.
    if random.below(2) == 0
        && let Some(length) = bytes.first_chunk::<8>()
        && u64::from_le_bytes(*length) < 1 << 24
        && let Some(end) = bytes.iter().rposition(|b| *b == b'}')
    {
        let data = bytes[end..].iter().position(|b| *b != b'}' && *b != b' ');
        let header = (end + data.unwrap_or(bytes.len() - end)).saturating_sub(8) as u64;
        bytes[..8].copy_from_slice(&header.to_le_bytes());
    }
    bytes.truncate(2 * seed.len() + 4096);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let kind = random.below(10);
    if bytes.is_empty() {
        bytes.extend(random.draw().to_le_bytes());
    }
    // Half of the changes are near the beginning, where headers are.
    let reach = [bytes.len(), bytes.len().min(64)][random.below(2)];
    let at = random.below(reach);
    let end = (at + 1 + random.below(32)).min(bytes.len());
    let extreme = EXTREMES[random.below(EXTREMES.len())];
    match kind {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = extreme as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => {
            let other = &others[random.below(others.len())];
            bytes.truncate(at);
            bytes.extend(&other[random.below(other.len() + 1)..]);
        }
        6 => {
            let width = [4, 8][random.below(2)];
            let at = at - at % 4;
            for (byte, new) in bytes[at..].iter_mut().zip(&extreme.to_le_bytes()[..width]) {
                *byte = *new;
            }
        }
        7 => bytes[at] = random.draw() as u8,
        8 => {
            let text = random.one_of(&TEXTS);
            bytes.splice(at..at, text.bytes());
        }
        _ => {
            // The next number in the text, if there is one.
            let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit) else {
                return;
            };
            let start = at + start;
            let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
            let end = start + digits.count();
            let text = random.one_of(&TEXTS);
            bytes.splice(start..end, text.bytes());
        }
    }
}
