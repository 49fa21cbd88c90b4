//! The fonts that ship with the app, and its type scale.

use std::collections::BTreeMap;
use std::sync::Arc;

use egui::{FontData, FontDefinitions, FontFamily, FontId, TextStyle};

use super::coverage::RANGES;

const SANS: &[u8] = include_bytes!("../../fonts/IBMPlexSans-Regular.ttf");
const SEMIBOLD: &[u8] = include_bytes!("../../fonts/IBMPlexSans-SemiBold.ttf");
const MONO: &[u8] = include_bytes!("../../fonts/IBMPlexMono-Regular.ttf");

/// The family of headings and of what stands out.
pub(crate) fn semibold() -> FontFamily {
    FontFamily::Name("semibold".into())
}

/// 13, in labels and tables.
pub(crate) const SMALL: f32 = 13.0;
/// 15, in text.
pub(crate) const BODY: f32 = 15.0;
/// 18, on cards.
pub(crate) const TITLE: f32 = 18.0;
/// 24, on the banner.
pub(crate) const LARGE: f32 = 24.0;
/// 32, on the first screen.
pub(crate) const DISPLAY: f32 = 32.0;

/// Fixed-width text of the tables' size.
pub(crate) fn mono() -> FontId {
    FontId::new(SMALL, FontFamily::Monospace)
}

/// Small text.
pub(crate) fn small() -> FontId {
    FontId::new(SMALL, FontFamily::Proportional)
}

/// Text.
pub(crate) fn body() -> FontId {
    FontId::new(BODY, FontFamily::Proportional)
}

/// Semibold text of `size`.
pub(crate) fn bold(size: f32) -> FontId {
    FontId::new(size, semibold())
}

/// Whether there is a picture of `c` in every family.
pub(crate) fn can_show(c: char) -> bool {
    let code = u32::from(c);
    if code < 0x80 {
        return c.is_ascii_graphic() || c == ' ';
    }
    let after = RANGES.partition_point(|(first, _)| *first <= code);
    let run = after.checked_sub(1).and_then(|index| RANGES.get(index));
    run.is_some_and(|(_, last)| code <= *last)
}

pub(super) fn definitions() -> FontDefinitions {
    let mut fonts = FontDefinitions {
        font_data: BTreeMap::new(),
        families: BTreeMap::new(),
    };
    for (name, bytes) in [("sans", SANS), ("semibold", SEMIBOLD), ("mono", MONO)] {
        let data = Arc::new(FontData::from_static(bytes));
        fonts.font_data.insert(name.to_owned(), data);
    }
    // Each falls back on the others: the mono has box drawing and control pictures.
    for (family, names) in [
        (FontFamily::Proportional, &["sans", "mono"][..]),
        (semibold(), &["semibold", "sans", "mono"]),
        (FontFamily::Monospace, &["mono", "sans"]),
    ] {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        fonts.families.insert(family, names);
    }
    fonts
}

pub(super) fn text_styles() -> BTreeMap<TextStyle, FontId> {
    [
        (TextStyle::Small, small()),
        (TextStyle::Body, body()),
        (TextStyle::Button, body()),
        (TextStyle::Monospace, mono()),
        (TextStyle::Heading, bold(TITLE)),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_fonts_have() {
        let mut fonts = egui::epaint::text::Fonts::new(Default::default(), definitions());
        let mut fonts = fonts.with_pixels_per_point(1.0);
        for c in ('\u{80}'..='\u{3100}').filter(|c| !c.is_control()) {
            let has = [body(), mono(), bold(BODY)].map(|font| fonts.has_glyph(&font, c));
            if can_show(c) {
                assert_eq!(has, [true; 3], "U+{:04X}", u32::from(c));
            }
        }
        for c in "aZ~éЖλ…“”→↲≤−█".chars() {
            assert!(can_show(c), "{c}");
        }
        for c in "あ\u{202e}😀\u{7f}".chars() {
            assert!(!can_show(c), "{c}");
        }
    }
}
