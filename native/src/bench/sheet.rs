//! The same as a sheet: tables, and flame charts of layers and kernels.

use assay_sheet::{Block, Cell, Flame, Frame, Sheet, Table};

use super::{Measured, Part, table};
use crate::device_arg::in_a_line;

/// Most frames of one chart: the sheet's limit. A long prompt has more dispatches, and then its first ones are drawn.
const MOST_SPANS: usize = 12_000;

/// What was measured, for the window and the page.
pub fn of(measured: &Measured) -> Sheet {
    let lead = format!(
        "{:.1} tokens/s of a prompt, {:.1} tokens/s decoding.",
        measured.prefill_tokens_per_s, measured.decode_tokens_per_s
    );
    let mut sheet = Sheet::new(&format!("Speed of {}", measured.model), &lead)
        .fact("adapter", in_a_line(&measured.adapter))
        .fact("driver", measured.adapter.driver.clone())
        .fact("program", env!("CARGO_PKG_VERSION"));
    for (name, value) in measured.figures() {
        sheet = sheet.fact(name, value);
    }
    let Some(profile) = &measured.profile else {
        return sheet;
    };
    for (heading, part) in [("Prefill", &profile.prefill), ("Decode", &profile.decode)] {
        let blocks = vec![
            Block::Text(format!(
                "Timed {}. Gaps between dispatches are left out.",
                table::clock(profile.clock)
            )),
            Block::Flame(flame(part)),
            Block::Table(table_of(part)),
        ];
        sheet = sheet.section(heading, blocks);
    }
    sheet
}

/// The part as a whole, its stages, and their kernels.
pub fn flame(part: &Part) -> Flame {
    let spans = &part.spans[..part.spans.len().min(MOST_SPANS)];
    let mut frames = vec![Frame {
        name: part.title.clone(),
        depth: 0,
        start: 0.0,
        length: 0.0,
    }];
    let mut at = 0.0;
    let mut stage: Option<(&str, usize)> = None;
    for span in spans {
        let length = span.seconds * 1e3;
        let index = match stage {
            Some((name, index)) if name == span.stage => index,
            _ => {
                frames.push(Frame {
                    name: span.stage.clone(),
                    depth: 1,
                    start: at,
                    length: 0.0,
                });
                frames.len() - 1
            }
        };
        stage = Some((&span.stage, index));
        let name = match span.shape.as_str() {
            "" => span.kernel.to_owned(),
            shape => format!("{} {shape}", span.kernel),
        };
        frames.push(Frame {
            name,
            depth: 2,
            start: at,
            length,
        });
        at += length;
        frames[index].length = at - frames[index].start;
    }
    frames[0].length = at;
    Flame {
        title: part.title.clone(),
        unit: "ms".to_owned(),
        frames,
    }
}

fn table_of(part: &Part) -> Table {
    let rows = table::rows(part).into_iter().map(|row| {
        vec![
            Cell::from(row.kernel),
            Cell::from(row.shape),
            Cell::from(row.dispatches as f64),
            Cell::from(row.seconds * 1e3),
            Cell::from(row.share * 100.0),
            Cell::from(row.gflops),
            Cell::from(row.gigabytes),
        ]
    });
    Table {
        caption: "By kernel and size of its weights, summed over the layers; GFLOP/s counts products and sums, GB/s what has to be moved."
            .to_owned(),
        columns: ["kernel", "weights", "dispatches", "ms", "%", "GFLOP/s", "GB/s"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_engine::profile::Span;

    #[test]
    fn kernels_lie_within_their_layers() {
        let spans = (0..5000)
            .map(|i| Span {
                stage: format!("layer {}", i / 9),
                kernel: "matvec",
                variant: String::new(),
                shape: "4 x 4".to_owned(),
                seconds: 1e-3 / f64::from(i + 3),
                multiply_adds: 16,
                bytes: 64,
            })
            .collect();
        let flame = flame(&Part::new("a part".to_owned(), 1, spans));
        let layers = flame.frames.iter().filter(|frame| frame.depth == 1);
        assert_eq!(layers.count(), 5000_usize.div_ceil(9));
        assert_eq!(flame.rows(), 3);
        // Its own rules hold, which is what a reader asks for.
        let sheet = Sheet::new("t", "l").section("s", vec![Block::Flame(flame)]);
        assert!(sheet.to_json().is_ok());
    }
}
