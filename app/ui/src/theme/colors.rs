//! Every colour of the app, twice: for dark and for light. No view names a colour of its own.

use egui::Color32;

/// The colours of one theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colors {
    /// Behind everything.
    pub ground: Color32,
    /// Cards.
    pub card: Color32,
    /// What lies on a card: fields, wells, plots.
    pub well: Color32,
    /// Under the pointer.
    pub hover: Color32,
    /// Borders of cards and controls.
    pub border: Color32,
    /// Lines between rows.
    pub hairline: Color32,
    /// Text.
    pub text: Color32,
    /// Labels and what matters less; still readable.
    pub muted: Color32,
    /// Decoration only, never text.
    pub faint: Color32,
    /// Links, focus, selection.
    pub accent: Color32,
    /// Behind the one main button.
    pub primary: Color32,
    /// On it.
    pub on_primary: Color32,
    /// Accepted, passed: blue-green.
    pub good: Color32,
    /// Rejected, failed: vermilion.
    pub bad: Color32,
    /// Inconclusive: amber.
    pub unsure: Color32,
    /// The verifier's own trouble: mauve.
    pub fault: Color32,
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

pub(crate) const DARK: Colors = Colors {
    ground: rgb(0x101418),
    card: rgb(0x171c21),
    well: rgb(0x0c1013),
    hover: rgb(0x212930),
    border: rgb(0x2e3840),
    hairline: rgb(0x242c33),
    text: rgb(0xe6ebee),
    muted: rgb(0x9aa7b0),
    faint: rgb(0x53606a),
    accent: rgb(0x5ac8bd),
    primary: rgb(0x5ac8bd),
    on_primary: rgb(0x06201d),
    good: rgb(0x3ecf9b),
    bad: rgb(0xff8257),
    unsure: rgb(0xf0b83f),
    fault: rgb(0xd8a0c6),
};

pub(crate) const LIGHT: Colors = Colors {
    ground: rgb(0xf7f8f8),
    card: rgb(0xffffff),
    well: rgb(0xf1f4f4),
    hover: rgb(0xe8eded),
    border: rgb(0xd3dbdc),
    hairline: rgb(0xe4e9e9),
    text: rgb(0x161c20),
    muted: rgb(0x55626a),
    faint: rgb(0xa3aeb4),
    accent: rgb(0x0b6f66),
    primary: rgb(0x0b6f66),
    on_primary: rgb(0xffffff),
    good: rgb(0x046c52),
    bad: rgb(0xb03a0c),
    unsure: rgb(0x7d5400),
    fault: rgb(0x834a70),
};

impl Colors {
    /// Those of `ui`'s theme.
    pub fn of(visuals: &egui::Visuals) -> &'static Self {
        if visuals.dark_mode { &DARK } else { &LIGHT }
    }

    /// A quiet background in `color`, on a card.
    pub fn tint(&self, color: Color32) -> Color32 {
        mix(self.card, color, 0.10)
    }
}

/// Between `a` and `b`, `t` of the way.
pub(crate) fn mix(a: Color32, b: Color32, t: f32) -> Color32 {
    let t = t.clamp(0.0, 1.0);
    let channel = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * t).round() as u8;
    Color32::from_rgb(
        channel(a.r(), b.r()),
        channel(a.g(), b.g()),
        channel(a.b(), b.b()),
    )
}

/// Anchors of a map from dark blue over grey to yellow that rises evenly in lightness and looks alike to nearly all eyes
/// (after Nuñez, Anderton and Renslow's cividis), evenly spaced.
const MAP: [u32; 9] = [
    0x00224e, 0x17366f, 0x434e6c, 0x61656f, 0x7d7c78, 0x9b9476, 0xbbaf71, 0xddcb63, 0xfee838,
];

/// The colour of `t` in 0..=1 on the map of numbers.
pub(crate) fn map(t: f32) -> Color32 {
    let last = MAP.len() - 1;
    let x = if t.is_finite() {
        t.clamp(0.0, 1.0)
    } else {
        1.0
    } * last as f32;
    let index = (x as usize).min(last - 1);
    let at = |index: usize| rgb(MAP.get(index).copied().unwrap_or_default());
    mix(at(index), at(index + 1), x - index as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(color: Color32) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(color.r()) + 0.7152 * linear(color.g()) + 0.0722 * linear(color.b())
    }

    fn contrast(a: Color32, b: Color32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn all_text_can_be_read() {
        for colors in [DARK, LIGHT] {
            let Colors {
                ground,
                card,
                well,
                hover,
                text,
                muted,
                accent,
                good,
                bad,
                unsure,
                fault,
                ..
            } = colors;
            for color in [text, muted, accent, good, bad, unsure, fault] {
                for behind in [ground, card, well, hover] {
                    assert!(
                        contrast(color, behind) >= 4.5,
                        "{color:?} on {behind:?}: {}",
                        contrast(color, behind)
                    );
                }
            }
            for verdict in [good, bad, unsure, fault] {
                let behind = colors.tint(verdict);
                for color in [verdict, text, muted] {
                    assert!(
                        contrast(color, behind) >= 4.5,
                        "{color:?} on {behind:?}: {}",
                        contrast(color, behind)
                    );
                }
            }
            assert!(contrast(colors.primary, colors.on_primary) >= 4.5);
        }
    }

    #[test]
    fn the_map_rises_in_lightness() {
        let steps: Vec<f64> = (0..=64).map(|i| luminance(map(i as f32 / 64.0))).collect();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(map(f32::NAN), map(1.0));
    }
}
