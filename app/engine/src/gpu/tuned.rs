//! What was measured best on an adapter, and what may be measured there.
//!
//! A choice comes from a file, so it is as hostile as any: an adapter takes it only if each kernel in it is one of its candidates, all of
//! which give the same bits under strict numerics and are held against their twins by the self-test.

use serde::{Deserialize, Serialize};

use super::adapter::{AdapterInfo, AttentionKernel, Fused, MatmulKernel, UNLIMITED};

/// The kernels that were fastest on an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Products with more than one row.
    pub matmul: MatmulKernel,
    /// Products with one row.
    pub single: MatmulKernel,
    /// What shares a dispatch, with more than one row.
    pub fused: Fused,
    /// The same with one row.
    pub fused_single: Fused,
    /// Attention.
    pub attention: AttentionKernel,
    /// Multiply-adds a second that products reached: how long a submit takes is told from it, until submits teach better.
    pub rate: u64,
}

/// Rates that a device may have, multiply-adds a second.
const RATES: std::ops::RangeInclusive<u64> = 1_000_000..=1_000_000_000_000_000;

/// A choice, and the adapter on which it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// The adapter's name.
    pub name: String,
    /// Its backend.
    pub backend: String,
    /// Its driver, version and all: another one may have another compiler.
    pub driver: String,
    /// What was chosen.
    pub choice: Choice,
}

impl Tuning {
    /// A choice for this adapter.
    pub fn new(info: &AdapterInfo, choice: Choice) -> Self {
        Self {
            name: info.name.clone(),
            backend: info.backend.clone(),
            driver: info.driver.clone(),
            choice,
        }
    }

    /// Whether it was made on this adapter, with this driver.
    pub fn is_of(&self, info: &AdapterInfo) -> bool {
        (&self.name, &self.backend, &self.driver) == (&info.name, &info.backend, &info.driver)
    }
}

impl AdapterInfo {
    /// Takes the last of `tunings` that was made here, if there is one and this adapter can run it.
    pub fn take_tuning(&mut self, tunings: &[Tuning]) -> bool {
        let own = tunings.iter().rev().find(|tuning| tuning.is_of(self));
        own.is_some_and(|tuning| self.tune(&tuning.choice))
    }
}

impl Choice {
    /// What an adapter has without one.
    pub fn of(info: &AdapterInfo) -> Self {
        let variants = info.variants;
        Self {
            matmul: variants.matmul,
            single: variants.single,
            fused: variants.fused,
            fused_single: variants.fused_single,
            attention: variants.attention,
            rate: variants.first_rate as u64,
        }
    }

    /// Whether every kernel is a candidate of this adapter.
    pub fn is_possible(&self, info: &AdapterInfo) -> bool {
        let candidates = Candidates::of(info);
        candidates.matmul.contains(&self.matmul)
            && candidates.single.contains(&self.single)
            && candidates.attention.contains(&self.attention)
            && RATES.contains(&self.rate)
    }
}

/// Kernels among which an adapter's measurements may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// For products with more than one row.
    pub matmul: Vec<MatmulKernel>,
    /// For products with one row.
    pub single: Vec<MatmulKernel>,
    /// For attention.
    pub attention: Vec<AttentionKernel>,
}

impl Candidates {
    /// Those that run on this adapter.
    pub fn of(info: &AdapterInfo) -> Self {
        let tile = |(m, n)| MatmulKernel::Tile { m, n };
        let mut matmul = [(8, 8), (4, 8), (4, 4)].map(tile).to_vec();
        matmul.push(MatmulKernel::Shared);
        let mut single = [(1, 8), (1, 4), (1, 2)].map(tile).to_vec();
        single.push(MatmulKernel::Vector);
        // Nobody else than llvmpipe: its kernels rely on how it compiles (shaders/include/kept_sums.wgsl).
        let shares_out = info.software && info.subgroup == 8;
        if shares_out {
            // Half as wide for processors with half as many registers: as fast on one without AVX-512.
            let half = |m| MatmulKernel::Texels { m, n: 4 };
            matmul.extend([MatmulKernel::TEXELS, half(8), MatmulKernel::SUBGROUP]);
            single.extend([
                MatmulKernel::TEXELS_ROW,
                half(1),
                MatmulKernel::SUBGROUP_ROW,
            ]);
        }
        if info.has_f16() {
            matmul.push(MatmulKernel::SharedHalf);
        }
        // Where a driver stops long loops, the other attention may allow fewer positions: a choice must not cost any.
        let attention = match info.max_loop_iterations < UNLIMITED {
            true => vec![info.variants.attention],
            false => {
                let subgroup = shares_out.then_some(AttentionKernel::Subgroup);
                let all = [AttentionKernel::Row, AttentionKernel::Group];
                all.into_iter().chain(subgroup).collect()
            }
        };
        Self {
            matmul,
            single,
            attention,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(subgroup: u32) -> AdapterInfo {
        AdapterInfo {
            name: "one".to_owned(),
            subgroup,
            ..AdapterInfo::cpu()
        }
    }

    #[test]
    fn what_an_adapter_has_is_among_its_candidates() {
        for (software, subgroup) in [(true, 8), (true, 4), (false, 32), (false, 0), (true, 0)] {
            let mut info = info(subgroup);
            info.software = software;
            info.variants = super::super::Variants::choose(software, subgroup, None);
            assert!(Choice::of(&info).is_possible(&info), "{info:?}");
        }
    }

    #[test]
    fn a_choice_of_another_adapter_or_driver_is_not_taken() {
        let mut own = info(0);
        let other = Choice {
            matmul: MatmulKernel::Shared,
            ..Choice::of(&own)
        };
        let before = own.variants;
        for change in [
            |t: &mut Tuning| t.name.push('x'),
            |t: &mut Tuning| t.driver.push('x'),
            |t: &mut Tuning| t.backend.push('x'),
        ] {
            let mut tuning = Tuning::new(&own, other);
            change(&mut tuning);
            assert!(!own.take_tuning(&[tuning]));
            assert_eq!(own.variants, before);
        }
        assert!(own.take_tuning(&[Tuning::new(&own, other)]));
        assert_eq!(own.variants.matmul, MatmulKernel::Shared);
    }

    #[test]
    fn what_an_adapter_cannot_run_is_refused() {
        let mut own = info(4);
        let known = Choice::of(&own);
        let before = own.variants;
        for wild in [
            MatmulKernel::Tile { m: 0, n: 8 },
            MatmulKernel::Tile { m: 255, n: 255 },
            MatmulKernel::SUBGROUP,
            MatmulKernel::TEXELS,
            MatmulKernel::Texels { m: 3, n: 200 },
            MatmulKernel::Vector,
        ] {
            let choice = Choice {
                matmul: wild,
                ..known
            };
            assert!(!own.tune(&choice), "{wild:?}");
            assert_eq!(own.variants, before);
        }
        let single = Choice {
            single: MatmulKernel::Subgroup { m: 1, n: 2 },
            ..known
        };
        assert!(!own.tune(&single));
    }
}
