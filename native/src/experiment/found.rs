//! What experiments found, as files: summary.json, the HTML report, the sheet.

use std::path::Path;

use assay_experiment::summary::Summary;
use assay_experiment::trial::Trial;
use assay_experiment::{Setup, found, page};
use assay_sheet::Sheet;

use super::store;

/// Writes them to `out`.
pub fn write(
    out: &Path,
    setup: &Setup,
    all: &[(Summary, Vec<Trial>)],
    sheet: &Sheet,
) -> anyhow::Result<()> {
    let summaries: Vec<&Summary> = all.iter().map(|(summary, _)| summary).collect();
    store::write_json(&out.join("summary.json"), &summaries)?;
    let html = page::experiments(all, &found::subtitle(setup), &found::remarks(setup));
    store::write(&out.join("report.html"), html.as_bytes())?;
    store::write(&out.join("sheet.json"), sheet.to_json()?.as_bytes())
}
