//! Where trials are kept, so that a run that was stopped loses none: in files, or in memory.

use std::collections::VecDeque;

use assay_sheet::Sheet;
use assay_trace::Digest;

use crate::ExperimentError;
use crate::plan::Experiment;
use crate::setup::Setup;
use crate::summary::Summary;
use crate::trial::{Proven, Trial};

/// Which trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of which experiment.
    pub experiment: Experiment,
    /// 0, or 1 for the other direction.
    pub direction: usize,
    /// From 0.
    pub number: usize,
}

impl Place {
    /// What its files are called, by their ending.
    pub fn file(&self, ending: &str) -> String {
        let back = if self.direction == 0 { "" } else { "-back" };
        format!("trial-{:03}{back}{ending}", self.number)
    }

    /// What its trace is called.
    pub fn trace(&self) -> String {
        self.file("_hidden_states.trace")
    }
}

/// Keeps trials. Whatever it hands out is looked at again: a damaged trial is one that is not there.
pub trait Store {
    /// An experiment begins: what cannot be kept is told before anything is computed.
    ///
    /// # Errors
    /// Nothing can be kept.
    fn begin(&mut self, experiment: Experiment) -> Result<(), ExperimentError> {
        let _ = experiment;
        Ok(())
    }

    /// A prover's half and its trace; one whose key is another may be given.
    fn proven(&mut self, at: Place, key: Digest) -> Option<(Proven, Vec<u8>)>;

    /// Keeps a prover's half.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep_proven(
        &mut self,
        at: Place,
        proven: &Proven,
        trace: &[u8],
    ) -> Result<(), ExperimentError>;

    /// What a prover on another machine left here.
    ///
    /// # Errors
    /// Nothing, or something else.
    fn handed_over(&mut self, at: Place) -> Result<(Proven, Vec<u8>), ExperimentError> {
        let what = format!("nothing is handed over here: {}", at.trace());
        Err(ExperimentError::Store(what.into()))
    }

    /// A finished trial; one whose key is another may be given.
    fn trial(&mut self, at: Place, key: Digest) -> Option<Trial>;

    /// Keeps a finished trial.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep_trial(&mut self, at: Place, trial: &Trial) -> Result<(), ExperimentError>;

    /// An experiment has ended.
    ///
    /// # Errors
    /// Its summary cannot be kept.
    fn keep_summary(&mut self, summary: &Summary) -> Result<(), ExperimentError> {
        let _ = summary;
        Ok(())
    }

    /// All that were asked for have ended. Gives where they are kept, in words.
    ///
    /// # Errors
    /// What they found cannot be kept.
    fn finish(
        &mut self,
        setup: &Setup,
        all: &[(Summary, Vec<Trial>)],
        sheet: &Sheet,
    ) -> Result<String, ExperimentError>;
}

/// Bytes of trials that memory keeps, counted roughly; the oldest go first.
const MOST_BYTES: usize = 128 << 20;
/// What a pair of rows takes.
const PAIR_BYTES: usize = 256;

enum Kept {
    Proven(Box<Proven>, Vec<u8>),
    Trial(Box<Trial>),
}

/// Trials in memory, by all that they depend on.
#[derive(Default)]
pub struct Memory {
    kept: VecDeque<(Digest, usize, Kept)>,
    bytes: usize,
}

impl Memory {
    fn keep(&mut self, key: Digest, bytes: usize, what: Kept) {
        self.kept.push_back((key, bytes, what));
        self.bytes += bytes;
        while self.bytes > MOST_BYTES
            && let Some((_, bytes, _)) = self.kept.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    fn find(&self, key: Digest) -> impl Iterator<Item = &Kept> {
        self.kept
            .iter()
            .rev()
            .filter_map(move |(of, _, what)| (*of == key).then_some(what))
    }
}

impl Store for Memory {
    fn proven(&mut self, _at: Place, key: Digest) -> Option<(Proven, Vec<u8>)> {
        self.find(key).find_map(|kept| match kept {
            Kept::Proven(proven, trace) => Some((Proven::clone(proven), trace.clone())),
            Kept::Trial(_) => None,
        })
    }

    fn keep_proven(
        &mut self,
        _at: Place,
        proven: &Proven,
        trace: &[u8],
    ) -> Result<(), ExperimentError> {
        let kept = Kept::Proven(Box::new(proven.clone()), trace.to_vec());
        self.keep(proven.key, trace.len(), kept);
        Ok(())
    }

    fn trial(&mut self, _at: Place, key: Digest) -> Option<Trial> {
        self.find(key).find_map(|kept| match kept {
            Kept::Trial(trial) => Some(Trial::clone(trial)),
            Kept::Proven(..) => None,
        })
    }

    fn keep_trial(&mut self, _at: Place, trial: &Trial) -> Result<(), ExperimentError> {
        let all = trial.verifications.iter();
        let pairs: usize = all.map(|one| one.per_layer.len()).sum();
        let kept = Kept::Trial(Box::new(trial.clone()));
        self.keep(trial.key, pairs * PAIR_BYTES, kept);
        Ok(())
    }

    fn finish(
        &mut self,
        _setup: &Setup,
        _all: &[(Summary, Vec<Trial>)],
        _sheet: &Sheet,
    ) -> Result<String, ExperimentError> {
        Ok("memory, until this page is closed".to_owned())
    }
}
