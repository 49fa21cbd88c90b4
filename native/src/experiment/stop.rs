//! `assay experiment sequential`: error rates of the sequential test by simulation.

use assay_experiment::stopping;
use assay_verify::Profiles;

use super::store;
use crate::exit::Exit;
use crate::output::{Output, Style};

/// Runs of each line, and positions of a run.
const RUNS: usize = 20_000;
const POSITIONS: usize = 500;

/// Simulates for every profile at hand.
pub fn run(profiles: &Profiles, out: &std::path::Path, output: &Output) -> anyhow::Result<Exit> {
    let mut all = Vec::new();
    for profile in &profiles.0 {
        let test = profile.sequential();
        output.line(output.paint(
            Style::Strong,
            format_args!(
                "{}: null mean +{:.2} decades, deviation {:.2}, shift {:.2}, alpha {:.0e}",
                profile.id, test.null_mean, test.sd, test.shift, test.alpha
            ),
        ))?;
        output.line(
            "  above null   deviation x   correlation   rejected           median   p90 tokens",
        )?;
        let table = stopping::table(&test, RUNS, POSITIONS);
        for line in &table {
            let s = line.stopped;
            let shown = |n: Option<f64>| n.map_or("-".to_owned(), |n| format!("{n:.0}"));
            output.line(format_args!(
                "  {:>+10.2}   {:>11.2}   {:>11.2}   {:>5} of {RUNS}   {:>6}   {:>6}",
                line.above_null,
                line.sd_ratio,
                line.correlation,
                s.rejected,
                shown(s.median_tokens),
                shown(s.p90_tokens)
            ))?;
        }
        all.push((profile.id.clone(), table));
    }
    std::fs::create_dir_all(out)?;
    store::write_json(&out.join("sequential.json"), &all)?;
    Ok(Exit::Ok)
}
