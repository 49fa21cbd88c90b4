//! The form for experiments: what a user typed, and the request that comes of it.

use assay_work::message::{DeviceChoice, ExperimentRequest, PromptLength};

/// As it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrialsForm {
    /// 1 to 6; `None` for all.
    pub which: Option<u8>,
    pub trials: String,
    pub verifiers: String,
    pub prompts: PromptLength,
    /// Empty: as the prompts say.
    pub tokens: String,
    /// Where verifiers run; `Best` is another than the prover's.
    pub verifier: DeviceChoice,
}

impl Default for TrialsForm {
    fn default() -> Self {
        Self {
            which: Some(2),
            trials: "3".to_owned(),
            verifiers: "3".to_owned(),
            prompts: PromptLength::Short,
            tokens: String::new(),
            verifier: DeviceChoice::Best,
        }
    }
}

/// What is run, and what the seeds expect of it.
pub(crate) fn title(which: Option<u8>) -> (&'static str, &'static str) {
    match which {
        Some(1) => (
            "1: one device",
            "Prover and verifier on the same device, both in full precision.",
        ),
        Some(2) => (
            "2: two devices",
            "Both in full precision on different devices, in both directions.",
        ),
        Some(3) => (
            "3: int4 prover, one device",
            "The prover runs int4 weights and claims the full ones. Should that pass, or be caught? Both readings are reported.",
        ),
        Some(4) => (
            "4: int4 prover, two devices",
            "The same across devices, in both directions.",
        ),
        Some(5) => (
            "5: int4 verifier",
            "An honest prover, and a verifier that saves work with int4 weights.",
        ),
        Some(6) => (
            "6: many verifiers at once",
            "One trace, verified on all devices side by side.",
        ),
        _ => ("All six", "One after the other, in one report."),
    }
}

impl TrialsForm {
    /// Filled in with what was run before.
    pub fn of(request: &ExperimentRequest) -> Self {
        Self {
            which: request.which,
            trials: request.trials.to_string(),
            verifiers: request.verifiers.to_string(),
            prompts: request.prompts,
            tokens: request.tokens.map(|n| n.to_string()).unwrap_or_default(),
            verifier: request.verifier.clone(),
        }
    }

    /// The request, or which field is wrong.
    pub fn request(&self) -> Result<ExperimentRequest, String> {
        let count = |text: &str, what: &str| match text.trim().parse::<u32>() {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(format!("{what} must be a whole number above 0")),
        };
        Ok(ExperimentRequest {
            which: self.which,
            trials: count(&self.trials, "the number of trials")?,
            verifiers: count(&self.verifiers, "the number of verifications")?,
            prompts: self.prompts,
            tokens: match self.tokens.trim() {
                "" => None,
                tokens => Some(count(tokens, "the number of tokens")?),
            },
            verifier: self.verifier.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_whole_numbers_above_zero() {
        let form = TrialsForm::default();
        assert!(form.request().is_ok_and(|request| request.tokens.is_none()));
        for wrong in ["", "0", "-1", "3.5", "many", "99999999999"] {
            let form = TrialsForm {
                trials: wrong.to_owned(),
                ..TrialsForm::default()
            };
            assert!(form.request().unwrap_err().contains("trials"), "{wrong}");
        }
        let form = TrialsForm {
            tokens: " 12 ".to_owned(),
            ..TrialsForm::default()
        };
        let request = form.request().unwrap();
        assert_eq!(request.tokens, Some(12));
        assert_eq!(TrialsForm::of(&request).request(), Ok(request));
    }

    #[test]
    fn every_experiment_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = (1..=ExperimentRequest::COUNT)
            .map(Some)
            .chain([None])
            .map(|which| title(which).0)
            .collect();
        assert_eq!(names.len(), usize::from(ExperimentRequest::COUNT) + 1);
    }
}
