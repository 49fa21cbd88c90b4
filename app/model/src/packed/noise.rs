//! Random matrices in row form, for tests of the kernels that decode them.
use super::WORD;
use crate::Dtype;
use half::f16;

impl Dtype {
    /// A *quantised* matrix in row form, prefix included, from 64 random bits at a time: any quants, scales small, of both signs and
    /// sometimes subnormal. Empty for floats.
    pub fn noise(self, rows: usize, cols: usize, next: &mut dyn FnMut() -> u64) -> Vec<u8> {
        let mut out = Vec::new();
        if self.is_float() {
            return out;
        }
        if let Self::Int4Ordered { groups } = self {
            let group = |_| (next() % u64::from(groups.max(1))) as u16;
            out.extend((0..cols).map(group).flat_map(u16::to_le_bytes));
            out.resize(self.prefix_bytes(cols), 0);
        }
        for _ in 0..rows {
            let begin = out.len();
            let bytes = self.row_bytes(cols);
            while out.len() < begin + bytes {
                out.extend(next().to_le_bytes());
            }
            out.truncate(begin + bytes);
            self.set_scales(&mut out[begin..], cols, next);
        }
        out
    }

    fn set_scales(self, row: &mut [u8], cols: usize, next: &mut dyn FnMut() -> u64) {
        let mut scale = || {
            let bits = next();
            let size = (bits >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            // Every eighth one below f16's smallest normal number, 6.1e-5.
            let size = if bits.is_multiple_of(8) {
                size * 1e-4
            } else {
                size * 0.05
            };
            f16::from_f32(size).to_le_bytes()
        };
        let mut pairs = |row: &mut [u8], unit: usize| {
            for unit in row.chunks_mut(unit) {
                unit[..2].copy_from_slice(&scale());
                unit[2..4].copy_from_slice(&scale());
            }
        };
        match self {
            Self::F32 | Self::F16 | Self::BF16 => {}
            Self::Q8_0 => pairs(row, 68),
            Self::Q4_0 => pairs(row, 36),
            Self::Q5_0 => pairs(row, 44),
            Self::Q4K => pairs(row, 144),
            Self::Q6K => row
                .chunks_exact_mut(212)
                .for_each(|block| block[208..210].copy_from_slice(&scale())),
            Self::Int8 { group } => {
                let group = if group == 0 { cols } else { group as usize };
                for unit in row.chunks_exact_mut(WORD + group.next_multiple_of(WORD)) {
                    let d = f16::from_le_bytes(scale()).to_f32() * 1.000_1;
                    unit[..WORD].copy_from_slice(&d.to_le_bytes());
                }
            }
            Self::Int4 { group } => heads(row.chunks_mut(WORD + group as usize / 2), scale),
            Self::Int4Ordered { groups } => {
                heads(row[..groups as usize * WORD].chunks_exact_mut(WORD), scale);
            }
        }
    }
}

/// Scales of groups, and zeros from 0 to 16.
fn heads<'a>(units: impl Iterator<Item = &'a mut [u8]>, mut scale: impl FnMut() -> [u8; 2]) {
    for unit in units {
        unit[..2].copy_from_slice(&scale());
        unit[2] %= 17;
        unit[3] = 0;
    }
}
