//! What a study found, drawn from its sheet.

mod chart;
mod flame;
mod table;

use assay_sheet::{Block, Sheet};
use egui::Ui;

use crate::state::State;
use crate::text;
use crate::theme;
use crate::widgets;

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    super::trials::show(ui, state);
    // Put back below: charts remember where they are in the same state.
    let Some(sheet) = state.study.take() else {
        widgets::card(ui, |ui| {
            widgets::card_title(ui, "Study");
            widgets::muted(
                ui,
                "What `assay sparse` and other studies write as sheet.json. Drop one anywhere.",
            );
        });
        return;
    };
    head(ui, &sheet);
    for (index, section) in sheet.sections.iter().enumerate() {
        ui.push_id(index, |ui| {
            widgets::card(ui, |ui| {
                widgets::card_title(ui, &text::plain(&section.heading, 200));
                for (index, block) in section.blocks.iter().enumerate() {
                    ui.push_id(index, |ui| match block {
                        Block::Text(words) => {
                            widgets::paragraph(ui, &text::lines(words, 8192));
                        }
                        Block::Table(of) => table::show(ui, of),
                        Block::Chart(of) => chart::show(ui, of, &mut state.view),
                        Block::Flame(of) => flame::show(ui, of),
                    });
                    ui.add_space(8.0);
                }
            });
        });
    }
    state.study = Some(sheet);
}

/// Three digits, without zeros that say nothing.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || value.fract() == 0.0 && size < 1e6 {
        return format!("{value}");
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let places = (2 - size.log10().floor() as i32).max(0) as usize;
    let shown = format!("{value:.places$}");
    match shown.contains('.') {
        true => shown.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => shown,
    }
}

fn head(ui: &mut Ui, sheet: &Sheet) {
    widgets::card(ui, |ui| {
        widgets::heading(ui, &text::plain(&sheet.title, 200), theme::fonts::LARGE);
        widgets::paragraph(ui, &text::lines(&sheet.lead, 8192));
        let facts: Vec<(String, String)> = sheet
            .facts
            .iter()
            .map(|(name, value)| (text::plain(name, 40), text::plain(value, 400)))
            .collect();
        widgets::facts(
            ui,
            facts
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone())),
        );
        widgets::muted(
            ui,
            "Figures of a study. Nothing here was checked, and no verdict rests on it.",
        );
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_have_three_digits() {
        for (value, want) in [
            (0.0, "0"),
            (8.0, "8"),
            (0.95, "0.95"),
            (0.12345, "0.123"),
            (12.345, "12.3"),
            (99.96, "100"),
            (1234.5, "1234"),
            (1e-7, "1.00e-7"),
            (-0.0456, "-0.0456"),
            (2.5e8, "2.50e8"),
        ] {
            assert_eq!(super::number(value), want);
        }
    }
}
