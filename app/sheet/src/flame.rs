//! Flame charts: what took how long, and within what.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::SheetError;
use crate::check::{few, number, text};

const MAX_FRAMES: usize = 16_384;
/// Deepest frame.
const MAX_DEPTH: u8 = 15;

/// Frames over one axis, those within a frame below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flame {
    /// What it shows.
    pub title: String,
    /// Unit of the axis, "ms" say.
    pub unit: String,
    /// Each after the one that it lies within.
    pub frames: Vec<Frame>,
}

/// A span of the axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// What it is.
    pub name: String,
    /// 0 at the top; one of depth d lies within the last before it of depth d - 1.
    pub depth: u8,
    /// Where it begins.
    pub start: f64,
    /// How long it is.
    pub length: f64,
}

impl Frame {
    /// Where it ends.
    pub fn end(&self) -> f64 {
        self.start + self.length
    }
}

impl Flame {
    /// Of so many rows.
    pub fn rows(&self) -> usize {
        let deepest = self.frames.iter().map(|frame| frame.depth).max();
        deepest.map_or(0, |depth| usize::from(depth) + 1)
    }

    /// Where all of it ends.
    pub fn end(&self) -> f64 {
        self.frames.iter().map(Frame::end).fold(0.0, f64::max)
    }

    pub(crate) fn check(&self) -> Result<(), SheetError> {
        text(&self.title)?;
        text(&self.unit)?;
        few("frames of a flame chart", self.frames.len(), MAX_FRAMES)?;
        // The frame that is open at each depth.
        let mut open: Vec<&Frame> = Vec::new();
        for (index, frame) in self.frames.iter().enumerate() {
            text(&frame.name)?;
            few(
                "rows of a flame chart",
                frame.depth.into(),
                MAX_DEPTH.into(),
            )?;
            number("a flame chart", frame.start)?;
            number("a flame chart", frame.length)?;
            number("a flame chart", frame.end())?;
            if frame.start < 0.0 || frame.length < 0.0 {
                let value = frame.start.min(frame.length);
                return Err(SheetError::Number {
                    what: "a flame chart",
                    value,
                });
            }
            open.truncate(frame.depth.into());
            // Sums of many lengths are rounded.
            let within = |above: &Frame| {
                let slack = 1e-9 * above.end();
                frame.start >= above.start - slack && frame.end() <= above.end() + slack
            };
            let fits = match open.last() {
                Some(above) => open.len() == usize::from(frame.depth) && within(above),
                None => frame.depth == 0,
            };
            if !fits {
                return Err(SheetError::Outside { frame: index });
            }
            open.push(frame);
        }
        Ok(())
    }

    /// A picture of its own.
    pub fn svg(&self) -> String {
        const WIDTH: f64 = 1200.0;
        const SIDE: f64 = 12.0;
        const ROW: f64 = 20.0;
        const TOP: f64 = 34.0;
        let scale = (WIDTH - 2.0 * SIDE) / self.end().max(f64::MIN_POSITIVE);
        let height = TOP + ROW * self.rows() as f64 + 28.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"{SIDE}\" y=\"20\" font-size=\"14\" fill=\"#222222\">{}</text>\n",
            escaped(&self.title)
        );
        for frame in &self.frames {
            let (x, width) = (SIDE + frame.start * scale, frame.length * scale);
            let y = TOP + ROW * f64::from(frame.depth);
            let name = escaped(&frame.name);
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "<rect x=\"{x:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"{}\" fill=\"{}\"><title>{name}: {:.3} {}</title></rect>",
                (width - 0.5).max(0.3),
                ROW - 1.0,
                COLORS[kind(&frame.name, COLORS.len())],
                frame.length,
                escaped(&self.unit)
            );
            // About seven units a letter; a name that does not fit is in the title alone.
            if width > 7.0 * frame.name.chars().count() as f64 {
                let _ = writeln!(
                    out,
                    "<text x=\"{:.2}\" y=\"{}\" fill=\"#111111\" pointer-events=\"none\">{name}</text>",
                    x + 3.0,
                    y + 13.0
                );
            }
        }
        let _ = writeln!(
            out,
            "<text x=\"{SIDE}\" y=\"{0}\" fill=\"#444444\">0</text><text x=\"{1}\" y=\"{0}\" text-anchor=\"end\" fill=\"#444444\">{2:.2} {3}</text>\n</svg>",
            height - 10.0,
            WIDTH - SIDE,
            self.end(),
            escaped(&self.unit)
        );
        out
    }
}

/// Fills on which dark letters can be read.
const COLORS: [&str; 6] = [
    "#9ecae1", "#fdbe85", "#a1d99b", "#bcbddc", "#fee391", "#c7c7c7",
];

/// Which of so many colours a name has: the same name always has the same, and numbers in it do not matter.
pub fn kind(name: &str, colors: usize) -> usize {
    let letters = name.bytes().filter(|b| !b.is_ascii_digit());
    let hash = letters.fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    // Low bits of this hash are those of its last letter.
    (hash >> 32) as usize % colors.max(1)
}

fn escaped(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, depth: u8, start: f64, length: f64) -> Frame {
        Frame {
            name: name.to_owned(),
            depth,
            start,
            length,
        }
    }

    fn flame() -> Flame {
        Flame {
            title: "a run".to_owned(),
            unit: "ms".to_owned(),
            frames: vec![
                frame("run", 0, 0.0, 10.0),
                frame("layer 0", 1, 0.0, 4.0),
                frame("matvec", 2, 0.0, 3.0),
                frame("silu_mul", 2, 3.0, 1.0),
                frame("layer 1", 1, 4.0, 6.0),
                frame("matvec", 2, 5.0, 5.0),
            ],
        }
    }

    #[test]
    fn frames_lie_within_those_above() {
        assert!(flame().check().is_ok());
        let with = |edit: fn(&mut Vec<Frame>)| {
            let mut flame = flame();
            edit(&mut flame.frames);
            flame.check()
        };
        let outside = |found: Result<(), SheetError>, at: usize| {
            assert!(
                matches!(found, Err(SheetError::Outside { frame }) if frame == at),
                "{found:?}"
            );
        };
        outside(with(|f| f[5].length = 5.1), 5);
        outside(with(|f| f[5].start = 3.0), 5);
        outside(with(|f| f[1].depth = 2), 1);
        outside(with(|f| f[0].depth = 1), 0);
        // Not within the frame of the other layer, though it lies within that one's span.
        outside(with(|f| f[5].start = 1.0), 5);
        assert!(with(|f| f[3].length = f64::NAN).is_err());
        assert!(with(|f| f[0].start = -1.0).is_err());
        assert!(with(|f| f[2].length = -1.0).is_err());
        assert!(with(|f| f[0].length = 1e300).is_err());
        assert!(with(|f| f[5].depth = 200).is_err());
        assert!(with(|f| *f = vec![f[0].clone(); 20_000]).is_err());
    }

    #[test]
    fn a_picture_has_every_frame_and_no_markup_of_others() {
        let mut flame = flame();
        flame.frames[2].name = "<script>\u{7}".to_owned();
        let svg = flame.svg();
        assert_eq!(svg.matches("<rect").count(), 1 + flame.frames.len());
        assert!(!svg.contains("<script") && svg.contains("&lt;script&gt; "));
        assert!(svg.ends_with("</svg>\n"));
        // Nothing at all is a picture, too.
        flame.frames.clear();
        assert!(flame.check().is_ok());
        assert!(!flame.svg().contains("NaN"));
        assert_eq!(flame.rows(), 0);
    }

    #[test]
    fn layers_have_one_colour() {
        assert_eq!(kind("layer 0", 6), kind("layer 15", 6));
        let all = [
            "matvec",
            "rmsnorm",
            "rope_kv",
            "attention_row",
            "silu_mul",
            "layer 0",
        ];
        let mut kinds: Vec<usize> = all.iter().map(|name| kind(name, 6)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert!(kinds.len() >= 3, "{kinds:?}");
    }
}
