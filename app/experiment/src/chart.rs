//! Plots as SVG that follow the reader's light or dark mode: colours are classes, and [`STYLE`] says what they are.
//!
//! plotters writes fixed colours into each element, which no style sheet reaches; what is needed here is small.
//! Series are told apart by colour (a palette that is safe for colour-blind readers) and by dashes.

use std::fmt::Write as _;

/// Colours and type of all plots and pages. Series 0 to 7 are Okabe and Ito's colours, darkened or lightened for contrast.
pub const STYLE: &str = "\
:root{--paper:#fcfcfa;--ink:#23282d;--mute:#666d75;--hair:#dfe2e4;--fill:#f3f4f3;--s0:#0072b2;--s1:#c24e00;--s2:#00805d;\
--s3:#a8518a;--s4:#8a6a00;--s5:#3a8fc4;--s6:#6b6f75;--s7:#23282d;--good:#00703f;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--paper:#16191c;--ink:#e4e7ea;--mute:#9aa2aa;--hair:#31373d;--fill:#1e2226;\
--s0:#58b4ea;--s1:#f0883e;--s2:#3cc79c;--s3:#e09ac6;--s4:#d9b53a;--s5:#8fd0f5;--s6:#a4abb3;--s7:#e4e7ea;--good:#57d394;--bad:#ff8a80}}\
svg.plot{font:12px system-ui,sans-serif;fill:var(--ink);background:var(--paper)}\
svg.plot .mute{fill:var(--mute)}svg.plot .hair{stroke:var(--hair);fill:none}svg.plot .title{font-weight:600}\
svg.plot .line{fill:none;stroke-width:1.8;stroke-linejoin:round}svg.plot .head{font-size:15px;font-weight:600}\
.c0{stroke:var(--s0)}.c1{stroke:var(--s1)}.c2{stroke:var(--s2)}.c3{stroke:var(--s3)}.c4{stroke:var(--s4)}.c5{stroke:var(--s5)}\
.c6{stroke:var(--s6)}.c7{stroke:var(--s7)}.f0{fill:var(--s0)}.f1{fill:var(--s1)}.f2{fill:var(--s2)}.f3{fill:var(--s3)}\
.f4{fill:var(--s4)}.f5{fill:var(--s5)}.f6{fill:var(--s6)}.f7{fill:var(--s7)}";

const WIDTH: f64 = 380.0;
const PLOT: (f64, f64) = (294.0, 168.0);
const LEFT: f64 = 68.0;
const TOP: f64 = 30.0;

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    label: String,
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear one over all finite `values`, with round ticks.
    pub fn around(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values, 0.0, 1.0);
        let (low, high) = match high - low {
            0.0 => (
                low - 0.5 * low.abs().max(1e-12),
                high + 0.5 * high.abs().max(1e-12),
            ),
            _ => (low, high),
        };
        let raw = (high - low) / 4.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|m| m * power)
            .find(|step| *step >= raw)
            .unwrap_or(raw);
        let first = (low / step).floor();
        let ticks: Vec<f64> = (0..8)
            .map(|i| (first + f64::from(i)) * step)
            .take_while(|t| *t < high + step * 0.999)
            .collect();
        let ends = (ticks.first().copied(), ticks.last().copied());
        Self {
            label: label.to_owned(),
            low: ends.0.unwrap_or(low).min(low),
            high: ends.1.unwrap_or(high).max(high),
            is_log: false,
            ticks: ticks.into_iter().map(|t| (t, short(t))).collect(),
        }
    }

    /// 0 to 1 as percent.
    pub fn share(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            low: 0.0,
            high: 1.0,
            is_log: false,
            ticks: (0..=4)
                .map(|i| (f64::from(i) / 4.0, format!("{} %", 25 * i)))
                .collect(),
        }
    }

    /// A logarithmic one over all positive `values`, with ticks at powers of ten.
    pub fn log(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values.filter(|v| *v > 0.0), 1e-3, 1.0);
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let last = last.max(first + 1);
        let every = ((last - first) / 6 + 1) as usize;
        Self {
            label: label.to_owned(),
            low: 10f64.powi(first),
            high: 10f64.powi(last),
            is_log: true,
            ticks: (first..=last)
                .step_by(every)
                .map(|p| (10f64.powi(p), power_of_ten(p)))
                .collect(),
        }
    }

    /// Named places 0, 1, 2, ...
    pub fn names(label: &str, names: &[&str]) -> Self {
        Self {
            label: label.to_owned(),
            low: -0.6,
            high: names.len() as f64 - 0.4,
            is_log: false,
            ticks: names
                .iter()
                .enumerate()
                .map(|(i, n)| (i as f64, (*n).to_owned()))
                .collect(),
        }
    }

    /// Where a value lies, 0 to 1; values beyond the ends lie on them.
    fn place(&self, value: f64) -> f64 {
        let at = match self.is_log {
            true => (value.max(1e-300).log10() - self.low.log10()) / (self.high / self.low).log10(),
            false => (value - self.low) / (self.high - self.low),
        };
        at.clamp(0.0, 1.0)
    }
}

fn range(values: impl Iterator<Item = f64>, low: f64, high: f64) -> (f64, f64) {
    let ends = values
        .filter(|v| v.is_finite())
        .fold(None, |ends, v| match ends {
            None => Some((v, v)),
            Some((low, high)) => Some((v.min(low), v.max(high))),
        });
    ends.unwrap_or((low, high))
}

fn power_of_ten(p: i32) -> String {
    match p {
        0..=3 => format!("{}", 10i64.pow(p as u32)),
        -2..0 => format!("{}", 10f64.powi(p)),
        _ => format!("1e{p}"),
    }
}

/// A number as short as it reads well.
pub fn short(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e5).contains(&size) {
        let text = format!("{v:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{v:.1e}")
    }
}

/// What is drawn. `series` is 0 to 7.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// A line through points; with a name it stands in the legend.
    Line {
        /// Its name.
        name: String,
        /// Its colour.
        series: usize,
        /// Dashed.
        dashed: bool,
        /// Its points.
        points: Vec<(f64, f64)>,
    },
    /// Bars from 0, each (from, to, height).
    Bars {
        /// Their colour.
        series: usize,
        /// The bars.
        bars: Vec<(f64, f64, f64)>,
    },
    /// Dots.
    Dots {
        /// Their name in the legend, or nothing.
        name: String,
        /// Their colour.
        series: usize,
        /// Where.
        points: Vec<(f64, f64)>,
    },
    /// A line across at a value of x.
    Upright {
        /// Its name.
        name: String,
        /// Its colour.
        series: usize,
        /// Where.
        x: f64,
    },
    /// A line across at a value of y, from x to x.
    Level {
        /// Its name in the legend, or nothing.
        name: String,
        /// Its colour.
        series: usize,
        /// Its ends.
        from: f64,
        /// Its ends.
        to: f64,
        /// Its height.
        y: f64,
    },
    /// A box from quartile to quartile with its median, whiskers to the extremes.
    Box {
        /// Its colour.
        series: usize,
        /// Where.
        x: f64,
        /// Least, first quartile, median, third quartile, largest.
        five: [f64; 5],
    },
}

/// One plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Above it.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// What is in it.
    pub marks: Vec<Mark>,
}

/// Some rows of text as a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Above it.
    pub title: String,
    /// Head and rows; all as long.
    pub rows: Vec<Vec<String>>,
}

/// Panels side by side under one title.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sheet {
    /// Above everything; may be empty.
    pub title: String,
    /// The plots.
    pub panels: Vec<Panel>,
    /// Tables after them.
    pub tables: Vec<Table>,
    /// Panels in a row.
    pub columns: usize,
}

impl Sheet {
    /// As a part of a page that has [`STYLE`].
    pub fn inline(&self) -> String {
        self.draw(false)
    }

    /// As a file of its own.
    pub fn standalone(&self) -> String {
        self.draw(true)
    }

    fn draw(&self, with_style: bool) -> String {
        let columns = self.columns.clamp(1, 4);
        let drawn: Vec<(String, f64)> = self
            .panels
            .iter()
            .map(Panel::draw)
            .chain(self.tables.iter().map(Table::draw))
            .collect();
        let head = if self.title.is_empty() { 0.0 } else { 30.0 };
        let mut body = String::new();
        let mut y = head;
        for row in drawn.chunks(columns) {
            for (i, (panel, _)) in row.iter().enumerate() {
                let x = i as f64 * WIDTH;
                let _ = write!(
                    body,
                    "<g transform=\"translate({x:.0} {y:.0})\">{panel}</g>"
                );
            }
            y += row.iter().map(|(_, height)| *height).fold(0.0, f64::max);
        }
        let width = columns.min(drawn.len().max(1)) as f64 * WIDTH;
        let mut svg = format!(
            "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {y:.0}\" width=\"{width:.0}\" \
             role=\"img\" aria-label=\"{}\">",
            escape(self.title_or_first())
        );
        if with_style {
            let _ = write!(svg, "<style>{STYLE}</style>");
        }
        if head > 0.0 {
            let _ = write!(
                svg,
                "<text class=\"head\" x=\"8\" y=\"20\">{}</text>",
                escape(&self.title)
            );
        }
        svg + &body + "</svg>"
    }

    fn title_or_first(&self) -> &str {
        match (self.title.is_empty(), self.panels.first()) {
            (true, Some(panel)) => &panel.title,
            _ => &self.title,
        }
    }
}

impl Panel {
    /// The panel and its height.
    fn draw(&self) -> (String, f64) {
        let mut out = String::new();
        let (w, h) = PLOT;
        let _ = write!(
            out,
            "<text class=\"title\" x=\"8\" y=\"18\">{}</text>",
            escape(&self.title)
        );
        let x = |v: f64| LEFT + w * self.x.place(v);
        let y = |v: f64| TOP + h * (1.0 - self.y.place(v));
        for (value, name) in &self.y.ticks {
            let _ = write!(
                out,
                "<path class=\"hair\" d=\"M{LEFT} {0:.1}H{1:.1}\"/><text class=\"mute\" x=\"{2:.1}\" y=\"{3:.1}\" \
                 text-anchor=\"end\">{4}</text>",
                y(*value),
                LEFT + w,
                LEFT - 6.0,
                y(*value) + 4.0,
                escape(name)
            );
        }
        for (value, name) in &self.x.ticks {
            let _ = write!(
                out,
                "<text class=\"mute\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x(*value),
                TOP + h + 16.0,
                escape(name)
            );
        }
        let _ = write!(
            out,
            "<path class=\"hair\" d=\"M{LEFT} {:.1}h{w}\"/><text class=\"mute\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"mute\" transform=\"translate(11 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            TOP + h,
            LEFT + w / 2.0,
            TOP + h + 34.0,
            escape(&self.x.label),
            TOP + h / 2.0,
            escape(&self.y.label)
        );
        let mut legend: Vec<(usize, bool, &str)> = Vec::new();
        for mark in &self.marks {
            mark.draw(&mut out, &x, &y);
            match mark {
                Mark::Line {
                    name,
                    series,
                    dashed,
                    ..
                } => legend.push((*series, *dashed, name)),
                Mark::Dots { name, series, .. } | Mark::Upright { name, series, .. } => {
                    legend.push((*series, false, name));
                }
                Mark::Level { name, series, .. } => legend.push((*series, true, name)),
                Mark::Bars { .. } | Mark::Box { .. } => {}
            }
        }
        legend.retain(|(.., name)| !name.is_empty());
        legend.dedup();
        let mut at = TOP + h + 54.0;
        for pair in legend.chunks(2) {
            for (i, (series, dashed, name)) in pair.iter().enumerate() {
                let left = LEFT - 40.0 + i as f64 * 172.0;
                let _ = write!(
                    out,
                    "<path class=\"line c{}\"{} d=\"M{left:.0} {:.1}h18\"/><text x=\"{:.0}\" y=\"{at:.1}\">{}</text>",
                    series % 8,
                    dashes(*dashed),
                    at - 4.0,
                    left + 24.0,
                    escape(name)
                );
            }
            at += 17.0;
        }
        (out, at + 2.0)
    }
}

fn dashes(dashed: bool) -> &'static str {
    if dashed {
        " stroke-dasharray=\"5 3\""
    } else {
        ""
    }
}

impl Mark {
    fn draw(&self, out: &mut String, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) {
        let bottom = TOP + PLOT.1;
        match self {
            Self::Line {
                series,
                dashed,
                points,
                ..
            } => {
                let mut d = String::new();
                for (i, (px, py)) in points
                    .iter()
                    .filter(|(a, b)| a.is_finite() && b.is_finite())
                    .enumerate()
                {
                    let _ = write!(
                        d,
                        "{}{:.1} {:.1}",
                        if i == 0 { "M" } else { "L" },
                        x(*px),
                        y(*py)
                    );
                }
                let _ = write!(
                    out,
                    "<path class=\"line c{}\"{} d=\"{d}\"/>",
                    series % 8,
                    dashes(*dashed)
                );
            }
            Self::Bars { series, bars } => {
                for (from, to, height) in bars.iter().filter(|bar| bar.2 > 0.0) {
                    let (left, top) = (x(*from), y(*height));
                    let _ = write!(
                        out,
                        "<rect class=\"f{}\" fill-opacity=\"0.75\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                        series % 8,
                        (x(*to) - left - 0.6).max(0.6),
                        (bottom - top).max(0.0)
                    );
                }
            }
            Self::Dots { series, points, .. } => {
                for (px, py) in points
                    .iter()
                    .filter(|(a, b)| a.is_finite() && b.is_finite())
                {
                    let _ = write!(
                        out,
                        "<circle class=\"f{}\" fill-opacity=\"0.7\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"/>",
                        series % 8,
                        x(*px),
                        y(*py)
                    );
                }
            }
            Self::Upright { series, x: at, .. } => {
                let _ = write!(
                    out,
                    "<path class=\"line c{}\" d=\"M{:.1} {TOP}V{bottom}\"/>",
                    series % 8,
                    x(*at)
                );
            }
            Self::Level {
                series,
                from,
                to,
                y: at,
                ..
            } => {
                let _ = write!(
                    out,
                    "<path class=\"line c{}\" stroke-dasharray=\"5 3\" d=\"M{:.1} {:.1}H{:.1}\"/>",
                    series % 8,
                    x(*from),
                    y(*at),
                    x(*to)
                );
            }
            Self::Box {
                series,
                x: at,
                five,
            } => {
                let [low, q1, median, q3, high] = five.map(y);
                let (left, right, middle) = (x(at - 0.3), x(at + 0.3), x(*at));
                let _ = write!(
                    out,
                    "<g class=\"line c{}\"><rect x=\"{left:.1}\" y=\"{q3:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
                     <path d=\"M{left:.1} {median:.1}H{right:.1}M{middle:.1} {low:.1}V{q1:.1}M{middle:.1} {q3:.1}V{high:.1}\"/></g>",
                    series % 8,
                    right - left,
                    (q1 - q3).max(0.0)
                );
            }
        }
    }
}

impl Table {
    fn draw(&self) -> (String, f64) {
        let mut out = format!(
            "<text class=\"title\" x=\"8\" y=\"18\">{}</text>",
            escape(&self.title)
        );
        let columns = self.rows.first().map_or(1, Vec::len).max(1);
        let width = (WIDTH - 20.0) / columns as f64;
        let mut y = 40.0;
        for (r, row) in self.rows.iter().enumerate() {
            for (i, cell) in row.iter().enumerate() {
                let (x, anchor) = match i {
                    0 => (8.0, "start"),
                    _ => (8.0 + (i + 1) as f64 * width - 4.0, "end"),
                };
                let class = if r == 0 { " class=\"mute\"" } else { "" };
                let _ = write!(
                    out,
                    "<text{class} x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{}</text>",
                    escape(cell)
                );
            }
            y += 18.0;
        }
        (out, y + 8.0)
    }
}

/// A histogram of so many equal bins between the extremes (logarithmic ones over positive values), as (from, to, count).
pub fn histogram(values: &[f64], bins: usize, is_log: bool) -> Vec<(f64, f64, f64)> {
    let of = |v: f64| if is_log { v.log10() } else { v };
    let back = |v: f64| if is_log { 10f64.powf(v) } else { v };
    let usable: Vec<f64> = values
        .iter()
        .copied()
        .filter(|v| v.is_finite() && (!is_log || *v > 0.0))
        .map(of)
        .collect();
    let (low, high) = range(usable.iter().copied(), 0.0, 1.0);
    // One value stands in the middle of its plot.
    let (low, high) = match high > low {
        true => (low, high),
        false => {
            let half = 0.5 * low.abs().max(1.0);
            (low - half, low + half)
        }
    };
    let step = (high - low) / bins.max(1) as f64;
    let mut counts = vec![0.0; bins.max(1)];
    for v in &usable {
        let at = ((v - low) / step) as usize;
        counts[at.min(bins.max(1) - 1)] += 1.0;
    }
    let edge = |i: usize| back(low + i as f64 * step);
    counts
        .into_iter()
        .enumerate()
        .map(|(i, n)| (edge(i), edge(i + 1), n))
        .collect()
}

/// Text for HTML and SVG.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_one_bin() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let bars = histogram(&values, 30, false);
        assert_eq!(bars.len(), 30);
        assert_eq!(bars.iter().map(|bar| bar.2).sum::<f64>(), 100.0);
        let logs = histogram(&[1e-6, 1e-3, 0.0, f64::NAN], 3, true);
        assert_eq!(logs.iter().map(|bar| bar.2).sum::<f64>(), 2.0);
        assert!((logs[0].0 - 1e-6).abs() < 1e-12 && (logs[2].1 - 1e-3).abs() < 1e-9);
        assert_eq!(
            histogram(&[5.0; 4], 10, false)
                .iter()
                .map(|b| b.2)
                .sum::<f64>(),
            4.0
        );
        assert_eq!(histogram(&[], 3, false).len(), 3);
    }

    #[test]
    fn hostile_text_is_text() {
        let sheet = Sheet {
            title: "</svg><script>".to_owned(),
            panels: vec![Panel {
                title: "a & b".to_owned(),
                x: Axis::log("x", [1e-9, 1e-2].into_iter()),
                y: Axis::around("y", [f64::NAN, 3.0, 3.0].into_iter()),
                marks: vec![Mark::Line {
                    name: "<b>".to_owned(),
                    series: 9,
                    dashed: true,
                    points: vec![(1e-9, 3.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)],
                }],
            }],
            tables: Vec::new(),
            columns: 2,
        };
        let svg = sheet.standalone();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(!svg.contains("<script") && !svg.contains("<b>") && !svg.contains("NaN"));
        assert!(svg.contains("a &amp; b"));
    }

    #[test]
    fn axes_hold_their_values() {
        for (low, high) in [
            (0.0, 1.0),
            (0.97, 0.9991),
            (-3.0, 250.0),
            (5.0, 5.0),
            (0.0, 0.0),
        ] {
            let axis = Axis::around("", [low, high].into_iter());
            assert!(
                axis.low <= low && axis.high >= high && axis.high > axis.low,
                "{axis:?}"
            );
            assert!((2..=9).contains(&axis.ticks.len()), "{axis:?}");
        }
        let log = Axis::log("", [3e-9, 0.2].into_iter());
        assert_eq!((log.low, log.high), (1e-9, 1.0));
        assert!((log.place(1e-9), log.place(1.0)) == (0.0, 1.0));
    }
}
