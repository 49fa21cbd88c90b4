//! What experiments found, as files: summaries, the HTML report, the sheet.

use assay_experiment::summary::Summary;
use assay_experiment::trial::Trial;
use assay_experiment::{Experiment, page, sheet};
use assay_sheet::Sheet;

use super::setup::Setup;
use super::store;

/// Summarises an experiment's trials and writes that beside them; `None` where there are none.
pub fn summary(
    setup: &Setup,
    experiment: Experiment,
    trials: Vec<Trial>,
) -> anyhow::Result<Option<(Summary, Vec<Trial>)>> {
    let Some(summary) = Summary::of(experiment, &trials, &setup.config) else {
        return Ok(None);
    };
    let name = experiment.name();
    let file = setup.out.join(name).join(format!("{name}_summary.json"));
    store::write_json(&file, &summary)?;
    Ok(Some((summary, trials)))
}

/// Writes summary.json, report.html and sheet.json, and gives the sheet.
pub fn write(setup: &Setup, all: &[(Summary, Vec<Trial>)]) -> anyhow::Result<Sheet> {
    let summaries: Vec<&Summary> = all.iter().map(|(summary, _)| summary).collect();
    store::write_json(&setup.out.join("summary.json"), &summaries)?;
    let (subtitle, remarks) = (subtitle(setup), remarks(setup));
    let html = page::experiments(all, &subtitle, &remarks);
    store::write(&setup.out.join("report.html"), html.as_bytes())?;
    let sheet = sheet::experiments(all, &subtitle, &remarks);
    store::write(&setup.out.join("sheet.json"), sheet.to_json()?.as_bytes())?;
    Ok(sheet)
}

fn subtitle(setup: &Setup) -> String {
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
fn remarks(setup: &Setup) -> Vec<String> {
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
    remarks
}
