//! What predictors are worth, as a table: beside what costs nothing to predict.

use assay_study::metrics::LayerMetrics;

use crate::output::{Output, Style};

/// One line a layer. Recall alone is won by predicting everything, so precision, counts and the static predictor stand beside it.
pub fn print(layers: &[&LayerMetrics], output: &Output) -> anyhow::Result<()> {
    let share = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{:.1}", 100.0 * x));
    output.line(output.paint(
        Style::Strong,
        "layer  active   true %  pred. %   recall  precision     F1   recall at true count: own  static  random",
    ))?;
    for m in layers {
        let own = &m.at_zero.predictor;
        let at = &m.at_true_count;
        output.line(format_args!(
            "{:>5}  {:>6.0}  {:>7.1}  {:>7.1}  {:>7}  {:>9}  {:>5}  {:>25}  {:>6}  {:>6}",
            m.layer,
            own.true_active,
            100.0 * own.true_fraction,
            100.0 * own.predicted_fraction,
            share(own.recall),
            share(own.precision),
            share(own.f1),
            share(at.predictor.recall),
            share(at.most_frequent.recall),
            share(at.random.recall),
        ))?;
    }
    output.note("all in percent of held-out tokens' neurons; `static` predicts the most frequent neurons, whatever the token");
    Ok(())
}
