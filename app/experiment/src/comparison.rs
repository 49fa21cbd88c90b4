//! All experiments side by side, in words.

use crate::summary::Summary;

/// A share as people read it.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The same of a share that there may be none of.
pub(crate) fn maybe(share: Option<f64>) -> String {
    share.map_or("nothing but the embedding".to_owned(), percent)
}

/// One table over all experiments; its first row is the head.
pub fn table(summaries: &[&Summary]) -> Vec<Vec<String>> {
    let head = [
        "experiment",
        "trials",
        "must exceed",
        "accept rate (repo)",
        "without embedding",
        "accept rate (paper)",
        "without embedding",
        "trials pass (repo)",
        "own verdicts: accept / reject / inconclusive",
        "verify / generate",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for summary in summaries {
        let a = &summary.aggregate;
        rows.push(vec![
            format!("{}: {}", summary.experiment.name(), summary.title),
            a.trials.to_string(),
            percent(summary.accept_rate_threshold),
            percent(a.avg_accept_rate),
            maybe(a.avg_accept_rate_without_embedding),
            percent(a.avg_paper_accept_rate),
            maybe(a.avg_paper_accept_rate_without_embedding),
            percent(a.pass_rate.repo),
            format!(
                "{} / {} / {}",
                a.own.accept, a.own.reject, a.own.inconclusive
            ),
            format!("{:.1} %", a.avg_overhead_percentage),
        ]);
    }
    rows
}
