//! Whether memory has room for the weights that experiments hold, where nobody else sees to that: in a browser.

use assay_experiment::devices::CPU;
use assay_experiment::{Experiment, Precision};
use assay_model::Model;

use crate::message::Failure;

/// Where experiments run.
pub(super) struct Sides<'a> {
    /// The prover's device.
    pub prover: &'a str,
    /// The verifiers' in experiments of two.
    pub verifiers: &'a [String],
    /// Those that verify side by side.
    pub all: &'a [String],
    /// Verifications of each trial.
    pub each: usize,
}

impl Sides<'_> {
    /// Bytes of weights that engines on the CPU hold in an experiment.
    fn engines(&self, one: Experiment, of: impl Fn(Precision) -> u64) -> u64 {
        let (prover, verifier) = (of(one.prover()), of(one.verifier()));
        let verifies = self.verifiers.iter().any(|name| name == CPU);
        if one.is_concurrent() {
            let names = self.all.iter().cycle().take(self.each.max(self.all.len()));
            let copies = names.filter(|name| *name == CPU).count() as u64;
            return verifier.saturating_mul(copies.max(u64::from(self.prover == CPU)));
        }
        match self.prover == CPU || one.is_heterogeneous() && verifies {
            true if one.differs_in_weights() => prover.saturating_add(verifier),
            true => prover,
            false => 0,
        }
    }
}

/// Refuses what needs more than `most` bytes.
pub(super) fn check(
    full: &Model,
    wanted: &[Experiment],
    sides: &Sides<'_>,
    most: Option<u64>,
) -> Result<(), Failure> {
    let Some(most) = most else { return Ok(()) };
    let rounded = full.parameters().saturating_mul(size_of::<f32>() as u64);
    let of = |precision| match precision {
        Precision::Full => full.bytes(),
        Precision::Quantised => rounded,
    };
    let engines = wanted.iter().map(|one| sides.engines(*one, of)).max();
    let is_rounded = wanted.iter().any(|one| one.needs(Precision::Quantised));
    let bytes = engines
        .unwrap_or(0)
        .saturating_add(if is_rounded { rounded } else { 0 });
    if bytes <= most {
        return Ok(());
    }
    let message = format!(
        "weights for these experiments take {} MB of memory here, and there is room for {}",
        bytes >> 20,
        most >> 20
    );
    Err(Failure::new("too-large", message).with_next(
        "take a smaller model, let no side run on the CPU, or use `assay experiment` or the desktop program",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_on_the_cpu_are_counted() {
        let of = |precision| match precision {
            Precision::Full => 1,
            Precision::Quantised => 10,
        };
        let [gpu, cpu] = ["a GPU", CPU].map(str::to_owned);
        let both = [gpu.clone(), cpu.clone()];
        let counted = |prover: &str, verifiers: &[String], all: &[String]| {
            let sides = Sides {
                prover,
                verifiers,
                all,
                each: 3,
            };
            Experiment::ALL.map(|one| sides.engines(one, of))
        };
        let gpus = std::slice::from_ref(&gpu);
        let cpus = std::slice::from_ref(&cpu);
        assert_eq!(counted(&gpu, gpus, gpus), [0; 6]);
        assert_eq!(counted(&gpu, cpus, &both), [0, 1, 0, 11, 0, 1]);
        assert_eq!(counted(CPU, gpus, &both), [1, 1, 11, 11, 11, 1]);
        assert_eq!(counted(CPU, cpus, cpus), [1, 1, 11, 11, 11, 3]);
    }
}
