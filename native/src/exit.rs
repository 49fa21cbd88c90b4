//! Exit codes: a contract that scripts rely on, stated in `--help` and tested.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; for a verification: ACCEPT.
    Ok,
    /// REJECT, a malformed trace included.
    Reject,
    /// Usage, a missing file, the model, the device: nothing was judged.
    Error,
    /// INCONCLUSIVE.
    Inconclusive,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Reject => 1,
            Self::Error => 2,
            Self::Inconclusive => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
