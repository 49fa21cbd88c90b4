//! Drawing panels of lines. Knows no study.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use crate::StudyError;

const WIDTH: u32 = 900;
const HEADER: u32 = 74;
const PANEL: u32 = 300;
const NOTE: u32 = 18;
/// Room for names at the lines' ends.
const RIGHT: u32 = 170;
/// Least distance of two names.
const NAME_GAP: i32 = 17;

const ACCENT: RGBColor = RGBColor(0x0b, 0x62, 0xc4);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const MUTED: RGBColor = RGBColor(0x57, 0x60, 0x6a);
const PALE: RGBColor = RGBColor(0x8c, 0x95, 0x9f);
const GRID: RGBColor = RGBColor(0xe7, 0xe9, 0xec);

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Accent,
    Solid,
    Dashed,
    Dotted,
    Pale,
    PaleDashed,
    /// A level without points.
    Level,
}

impl Style {
    fn stroke(self) -> ShapeStyle {
        let (color, width) = match self {
            Self::Accent => (ACCENT, 3),
            Self::Solid | Self::Dashed | Self::Dotted => (MUTED, 2),
            Self::Pale | Self::PaleDashed => (PALE, 2),
            Self::Level => (PALE, 1),
        };
        color.stroke_width(width)
    }

    fn color(self) -> RGBColor {
        match self {
            Self::Accent => ACCENT,
            Self::Solid | Self::Dashed | Self::Dotted => MUTED,
            Self::Pale | Self::PaleDashed | Self::Level => PALE,
        }
    }

    /// Length of dashes and gaps in pixels.
    fn dash(self) -> Option<(i32, i32)> {
        match self {
            Self::Accent | Self::Solid | Self::Pale => None,
            Self::Dashed | Self::PaleDashed | Self::Level => Some((7, 5)),
            Self::Dotted => Some((2, 4)),
        }
    }
}

pub(super) struct Line {
    pub(super) name: String,
    pub(super) style: Style,
    pub(super) points: Vec<(f64, f64)>,
    /// x, low, high.
    pub(super) band: Vec<(f64, f64, f64)>,
}

pub(super) struct Panel {
    pub(super) heading: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

pub(super) struct Figure {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) panels: Vec<Panel>,
    pub(super) notes: Vec<String>,
}

impl Figure {
    pub(super) fn draw(&self) -> Result<String, StudyError> {
        let drawn = |panel: &Panel| panel.lines.iter().any(|line| !line.points.is_empty());
        if !self.panels.iter().any(drawn) {
            return Err(StudyError::Empty { what: "figures" });
        }
        let notes: Vec<String> = self.notes.iter().flat_map(|note| wrap(note, 150)).collect();
        let header = if self.subtitle.is_empty() {
            HEADER - 28
        } else {
            HEADER
        };
        let height = header + PANEL * self.panels.len() as u32 + NOTE * notes.len() as u32 + 20;
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            root.fill(&WHITE).map_err(plot_error)?;
            text(&root, &self.title, (24, 18), 20, INK, HPos::Left)?;
            text(
                &root,
                &shorten(&self.subtitle, 120),
                (24, 46),
                13,
                MUTED,
                HPos::Left,
            )?;
            let (_, rest) = root.split_vertically(header);
            let (panels, below) = rest.split_vertically(PANEL * self.panels.len() as u32);
            for (area, panel) in panels
                .split_evenly((self.panels.len(), 1))
                .iter()
                .zip(&self.panels)
            {
                panel.draw(area)?;
            }
            for (index, note) in notes.iter().enumerate() {
                let y = 4 + (NOTE as usize * index) as i32;
                text(&below, note, (24, y), 12, MUTED, HPos::Left)?;
            }
            root.present().map_err(plot_error)?;
        }
        Ok(titled(&svg, &self.title, &self.subtitle))
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<(), StudyError> {
        text(area, &self.heading, (24, 2), 14, INK, HPos::Left)?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(26)
            .margin_bottom(10)
            .margin_left(16)
            .margin_right(RIGHT)
            .x_label_area_size(44)
            .y_label_area_size(58)
            .build_cartesian_2d(self.x.low..self.x.high, self.y.low..self.y.high)
            .map_err(plot_error)?;
        self.grid(area, &chart)?;
        let mut names = Vec::new();
        // The accent last, so that it lies on top.
        for line in self.lines.iter().rev() {
            let stroke = line.style.stroke();
            let clip = |y: f64| y.clamp(self.y.low, self.y.high);
            if line.band.len() > 1 {
                let there = line.band.iter().map(|&(x, low, _)| (x, clip(low)));
                let back = line.band.iter().rev().map(|&(x, _, high)| (x, clip(high)));
                let outline: Vec<(f64, f64)> = there.chain(back).collect();
                let fill = line.style.color().mix(0.14).filled();
                chart
                    .draw_series([Polygon::new(outline, fill)])
                    .map_err(plot_error)?;
            }
            let points = line.points.iter().map(|&(x, y)| (x, clip(y)));
            match line.style.dash() {
                None => chart
                    .draw_series(LineSeries::new(points.clone(), stroke))
                    .map_err(plot_error)?,
                Some((dash, gap)) => chart
                    .draw_series(DashedLineSeries::new(points.clone(), dash, gap, stroke))
                    .map_err(plot_error)?,
            };
            if line.style != Style::Level && line.points.len() <= 48 {
                let radius = if line.style == Style::Accent { 4 } else { 3 };
                chart
                    .draw_series(
                        points.map(|at| Circle::new(at, radius, line.style.color().filled())),
                    )
                    .map_err(plot_error)?;
            }
            if let Some(&(x, y)) = line.points.last() {
                let at = chart.backend_coord(&(x, clip(y)));
                names.push((at, line));
            }
        }
        let base = area.get_base_pixel();
        let right = WIDTH as i32 - RIGHT as i32 + 8;
        names.sort_by_key(|(at, _)| at.1);
        let wanted: Vec<i32> = names.iter().map(|(at, _)| at.1 - base.1).collect();
        for ((_, line), y) in names.iter().zip(spread(&wanted, 30, PANEL as i32 - 62)) {
            let name = shorten(&line.name, 24);
            text(
                area,
                &name,
                (right, y - 6),
                13,
                line.style.color(),
                HPos::Left,
            )?;
        }
        Ok(())
    }

    /// Axes with few words: ticks, horizontal lines, names.
    fn grid(
        &self,
        area: &Area<'_>,
        chart: &ChartContext<'_, SVGBackend<'_>, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
    ) -> Result<(), StudyError> {
        let base = area.get_base_pixel();
        let pixel = |x: f64, y: f64| {
            let (x, y) = chart.backend_coord(&(x, y));
            (x - base.0, y - base.1)
        };
        let (x, y) = (&self.x, &self.y);
        for &tick in &y.ticks {
            let (left, right) = (pixel(x.low, tick), pixel(x.high, tick));
            let color = if tick == 0.0 { PALE } else { GRID };
            area.draw(&PathElement::new(vec![left, right], color.stroke_width(1)))
                .map_err(plot_error)?;
            let label = format!("{:.*}", y.decimals, tick);
            text(
                area,
                &label,
                (left.0 - 8, left.1 - 5),
                12,
                MUTED,
                HPos::Right,
            )?;
        }
        let (left, right) = (pixel(x.low, y.low), pixel(x.high, y.low));
        area.draw(&PathElement::new(vec![left, right], PALE.stroke_width(1)))
            .map_err(plot_error)?;
        for &tick in &x.ticks {
            let at = pixel(tick, y.low);
            let mark = vec![at, (at.0, at.1 + 5)];
            area.draw(&PathElement::new(mark, PALE.stroke_width(1)))
                .map_err(plot_error)?;
            let label = format!("{:.*}", x.decimals, tick);
            text(area, &label, (at.0, at.1 + 8), 12, MUTED, HPos::Center)?;
        }
        let middle = i32::midpoint(left.0, right.0);
        text(area, &x.name, (middle, left.1 + 26), 13, INK, HPos::Center)?;
        let top = pixel(x.low, y.high);
        let style = font(13, INK)
            .pos(Pos::new(HPos::Center, VPos::Top))
            .transform(FontTransform::Rotate270);
        let at = (20, i32::midpoint(top.1, left.1));
        area.draw(&Text::new(shorten(&y.name, 34), at, style))
            .map_err(plot_error)
    }
}

fn font(size: i32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

fn text(
    area: &Area<'_>,
    words: &str,
    at: (i32, i32),
    size: i32,
    color: RGBColor,
    anchor: HPos,
) -> Result<(), StudyError> {
    if words.is_empty() {
        return Ok(());
    }
    let style = font(size, color).pos(Pos::new(anchor, VPos::Top));
    area.draw(&Text::new(words.to_owned(), at, style))
        .map_err(plot_error)
}

fn plot_error(err: impl std::fmt::Display) -> StudyError {
    StudyError::Plot {
        reason: err.to_string(),
    }
}

/// Moves ascending positions apart by [`NAME_GAP`], within `low..=high` where they fit.
fn spread(wanted: &[i32], low: i32, high: i32) -> Vec<i32> {
    let mut placed: Vec<i32> = Vec::with_capacity(wanted.len());
    for &y in wanted {
        let least = placed.last().map_or(low, |last| last + NAME_GAP);
        placed.push(y.max(least));
    }
    let mut most = high;
    for y in placed.iter_mut().rev() {
        *y = (*y).min(most);
        most = *y - NAME_GAP;
    }
    placed
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(most.saturating_sub(3)).collect();
    out.push_str("...");
    out
}

fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > most);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Puts a title and a description for screen readers behind the opening tag.
fn titled(svg: &str, title: &str, description: &str) -> String {
    let Some((open, rest)) = svg.split_once('>') else {
        return svg.to_owned();
    };
    let (title, description) = (escaped(title), escaped(description));
    format!("{open} role=\"img\">\n<title>{title}</title>\n<desc>{description}</desc>{rest}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_overlap() {
        assert_eq!(spread(&[50, 52, 120], 30, 240), [50, 67, 120]);
        assert_eq!(spread(&[238, 239, 240], 30, 240), [206, 223, 240]);
    }
}
