//! What a sheet must keep to, so that whoever draws it need not look again.

use crate::{Axis, Block, Cell, Chart, MAX_SERIES, Scale, Sheet, SheetError, Table};

const MAX_SECTIONS: usize = 64;
const MAX_BLOCKS: usize = 64;
const MAX_FACTS: usize = 64;
const MAX_COLUMNS: usize = 32;
const MAX_ROWS: usize = 4096;
const MAX_POINTS: usize = 16_384;
const MAX_MARKS: usize = 16;
const MAX_TEXT: usize = 8192;
/// Beyond it, f32 coordinates of a plot end.
const LARGEST: f64 = 1e30;

impl Sheet {
    pub(crate) fn check(&self) -> Result<(), SheetError> {
        if self.format != Self::FORMAT || self.version != Self::VERSION {
            return Err(SheetError::Version {
                format: self.format.chars().take(40).collect(),
                version: self.version,
            });
        }
        text(&self.title)?;
        text(&self.lead)?;
        few("facts", self.facts.len(), MAX_FACTS)?;
        for (name, value) in &self.facts {
            text(name)?;
            text(value)?;
        }
        few("sections", self.sections.len(), MAX_SECTIONS)?;
        for section in &self.sections {
            text(&section.heading)?;
            few("blocks of a section", section.blocks.len(), MAX_BLOCKS)?;
            for block in &section.blocks {
                match block {
                    Block::Text(words) => text(words)?,
                    Block::Table(of) => table(of)?,
                    Block::Chart(of) => chart(of)?,
                    Block::Flame(of) => of.check()?,
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn few(what: &'static str, got: usize, most: usize) -> Result<(), SheetError> {
    match got > most {
        true => Err(SheetError::TooMany { what, got, most }),
        false => Ok(()),
    }
}

pub(crate) fn text(words: &str) -> Result<(), SheetError> {
    few("bytes of one text", words.len(), MAX_TEXT)
}

fn table(table: &Table) -> Result<(), SheetError> {
    text(&table.caption)?;
    few("columns", table.columns.len(), MAX_COLUMNS)?;
    few("rows", table.rows.len(), MAX_ROWS)?;
    table.columns.iter().try_for_each(|name| text(name))?;
    for row in &table.rows {
        let (got, want) = (row.len(), table.columns.len());
        if got != want {
            let what = "a row of a table";
            return Err(SheetError::Width { what, got, want });
        }
        for cell in row {
            match cell {
                Cell::Text(words) => text(words)?,
                Cell::Number(value) => number("a table", *value)?,
                Cell::Nothing => {}
            }
        }
    }
    Ok(())
}

fn chart(chart: &Chart) -> Result<(), SheetError> {
    text(&chart.title)?;
    few("series of a chart", chart.series.len(), MAX_SERIES)?;
    few("marks of a chart", chart.marks.len(), MAX_MARKS)?;
    let (x, y) = (&chart.x, &chart.y);
    text(&x.label)?;
    text(&y.label)?;
    let mut points = 0;
    for series in &chart.series {
        text(&series.name)?;
        points += series.points.len();
        few("points of a chart", points, MAX_POINTS)?;
        let (got, want) = (series.band.len(), series.points.len());
        if got != 0 && got != want {
            let what = "the band of a series";
            return Err(SheetError::Width { what, got, want });
        }
        for [of_x, of_y] in &series.points {
            on(x, *of_x)?;
            on(y, *of_y)?;
        }
        for end in series.band.as_flattened() {
            on(y, *end)?;
        }
    }
    for mark in &chart.marks {
        text(&mark.label)?;
        let axis = match mark.axis {
            crate::Across::X => x,
            crate::Across::Y => y,
        };
        on(axis, mark.at)?;
    }
    Ok(())
}

pub(crate) fn number(what: &'static str, value: f64) -> Result<(), SheetError> {
    match value.abs() <= LARGEST {
        true => Ok(()),
        false => Err(SheetError::Number { what, value }),
    }
}

fn on(axis: &Axis, value: f64) -> Result<(), SheetError> {
    number("a chart", value)?;
    match axis.scale == Scale::Log && value < 1.0 / LARGEST {
        true => Err(SheetError::Number {
            what: "a logarithmic axis",
            value,
        }),
        false => Ok(()),
    }
}
