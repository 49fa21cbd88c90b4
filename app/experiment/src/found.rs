//! What experiments found, as a sheet, with what a reader must know of how they were made.

use assay_sheet::Sheet;

use crate::setup::Setup;
use crate::sheet;
use crate::summary::Summary;
use crate::trial::Trial;

/// The sheet of some experiments.
pub fn sheet(setup: &Setup, all: &[(Summary, Vec<Trial>)]) -> Sheet {
    sheet::experiments(all, &subtitle(setup), &remarks(setup))
}

/// Models and figures of the run, in a line.
pub fn subtitle(setup: &Setup) -> String {
    let run = &setup.config.run;
    let quantised = setup.quantised.as_ref().map_or("", |named| &named.name);
    format!(
        "{}{}{quantised}; {} trials, {} verifiers, {} prompts, temperature {}, top-p {}",
        setup.full.name,
        if quantised.is_empty() { "" } else { " and " },
        run.trials,
        run.verifiers,
        run.prompts,
        run.temperature,
        run.top_p
    )
}

/// What a reader must know.
pub fn remarks(setup: &Setup) -> Vec<String> {
    let mut remarks = vec![format!(
        "Full precision here: weights as stored ({}), f32 arithmetic, f32 hidden states; the seeds run FP16. In experiments 3 to 5 the \
         trace claims the verifier's weights; a prover that named its own would be told by the root alone.",
        setup.full.model.dtype()
    )];
    if setup
        .quantised
        .as_ref()
        .is_some_and(|named| named.name.starts_with("round:"))
    {
        remarks.push(
            "The quantised model is the full one rounded in memory (to the nearest, int4 in groups of 128 with a zero point), in f32."
                .to_owned(),
        );
    }
    remarks.extend(setup.remarks.iter().cloned());
    remarks
}
