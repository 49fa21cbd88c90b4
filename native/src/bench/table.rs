//! Time by kernel, summed over the layers.

use assay_engine::profile::Clock;

use super::{Part, Profile};
use crate::output::{Output, Style};

/// All dispatches of one kernel over one shape.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// The kernel.
    pub kernel: &'static str,
    /// Sizes of its matrix, where it has one.
    pub shape: String,
    /// How many there were.
    pub dispatches: usize,
    /// In all.
    pub seconds: f64,
    /// Of the part's time.
    pub share: f64,
    /// Products and sums, 10^9 a second; none where they are not counted.
    pub gflops: Option<f64>,
    /// Bytes that it had to move, 10^9 a second; none where they are not counted.
    pub gigabytes: Option<f64>,
}

/// The rows of a part, the longest first.
pub fn rows(part: &Part) -> Vec<Row> {
    let mut rows: Vec<(Row, u64, u64)> = Vec::new();
    for span in &part.spans {
        let at = rows
            .iter()
            .position(|(row, ..)| row.kernel == span.kernel && row.shape == span.shape);
        let (row, work, bytes) = match at {
            Some(at) => &mut rows[at],
            None => {
                let row = Row {
                    kernel: span.kernel,
                    shape: span.shape.clone(),
                    dispatches: 0,
                    seconds: 0.0,
                    share: 0.0,
                    gflops: None,
                    gigabytes: None,
                };
                rows.push((row, 0, 0));
                let last = rows.len() - 1;
                &mut rows[last]
            }
        };
        row.dispatches += 1;
        row.seconds += span.seconds;
        *work += span.multiply_adds;
        *bytes += span.bytes;
    }
    let all = part.seconds.max(f64::MIN_POSITIVE);
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|(row, work, bytes)| {
            let rate = |count: u64, each: f64| {
                (count > 0 && row.seconds > 0.0).then(|| each * count as f64 / row.seconds / 1e9)
            };
            Row {
                share: row.seconds / all,
                gflops: rate(work, 2.0),
                gigabytes: rate(bytes, 1.0),
                ..row
            }
        })
        .collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    rows
}

/// What timed, in words.
pub fn clock(clock: Clock) -> &'static str {
    match clock {
        Clock::Timestamps => "by the device's timestamps",
        Clock::Submits => {
            "by a submit for each dispatch, as this device has no timestamps: what it takes to submit is in it"
        }
    }
}

/// Prints both parts.
pub fn print(profile: &Profile, output: &Output) -> anyhow::Result<()> {
    output.line(output.field("profile", clock(profile.clock)))?;
    for part in [&profile.prefill, &profile.decode] {
        output.line("")?;
        let title = format!("{}: {:.2} ms in kernels", part.title, part.seconds * 1e3);
        output.line(format_args!("  {}", output.paint(Style::Strong, title)))?;
        output.line(output.paint(
            Style::Dim,
            format_args!(
                "  {:<22}{:<15}{:>6}{:>10}{:>7}{:>9}{:>8}",
                "kernel", "weights", "count", "ms", "%", "GFLOP/s", "GB/s"
            ),
        ))?;
        for row in rows(part) {
            let rate = |rate: Option<f64>| {
                rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}"))
            };
            output.line(format_args!(
                "  {:<22}{:<15}{:>6}{:>10.3}{:>7.1}{:>9}{:>8}",
                row.kernel,
                row.shape,
                row.dispatches,
                row.seconds * 1e3,
                row.share * 100.0,
                rate(row.gflops),
                rate(row.gigabytes),
            ))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_engine::profile::Span;

    #[test]
    fn dispatches_of_one_kernel_and_shape_are_one_row() {
        let span = |kernel, shape: &str, seconds, multiply_adds| Span {
            stage: "layer 0".to_owned(),
            kernel,
            variant: String::new(),
            shape: shape.to_owned(),
            seconds,
            multiply_adds,
            bytes: 2 * multiply_adds,
        };
        let spans = vec![
            span("matvec", "4 x 4", 1.0, 1_000_000_000),
            span("rmsnorm", "", 2.0, 0),
            span("matvec", "4 x 4", 3.0, 1_000_000_000),
            span("matvec", "8 x 4", 2.0, 3_000_000_000),
        ];
        let rows = rows(&Part::new("t".to_owned(), 1, spans));
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[0].kernel, rows[0].dispatches), ("matvec", 2));
        assert_eq!((rows[0].seconds, rows[0].share), (4.0, 0.5));
        assert_eq!((rows[0].gflops, rows[0].gigabytes), (Some(1.0), Some(1.0)));
        let norm = rows.iter().find(|row| row.kernel == "rmsnorm");
        assert_eq!(
            norm.map(|row| (row.gflops, row.gigabytes)),
            Some((None, None))
        );
        assert_eq!(rows.iter().map(|row| row.share).sum::<f64>(), 1.0);
    }
}
