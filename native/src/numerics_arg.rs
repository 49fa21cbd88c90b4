//! `--numerics strict|fast`: which promise a prover's kernels make about their bits.

use assay_engine::Numerics;

/// The flag.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct NumericsArgs {
    /// `strict`: the same bits on every device, so that a verifier needs no tolerance; `fast`: whatever the device does best
    #[arg(long, value_name = "CLASS", value_enum, default_value_t = Class::Fast)]
    numerics: Class,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Class {
    Fast,
    Strict,
}

impl NumericsArgs {
    /// As the engine has it.
    pub fn class(self) -> Numerics {
        match self.numerics {
            Class::Fast => Numerics::Fast,
            Class::Strict => Numerics::Strict,
        }
    }
}
