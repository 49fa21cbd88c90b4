//! A table: as wide as it must be, scrolled sideways where there is no room, and down where it is long.

use assay_sheet::{Cell, Table};
use egui::{Align2, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use crate::text;
use crate::theme::{self, fonts};
use crate::widgets;

const ROW: f32 = 28.0;
const GAP: f32 = 20.0;
/// Widest that a column gets; longer words end in dots.
const WIDEST: f32 = 320.0;
/// Rows that are measured for the columns' widths, and shown without a scroll bar of their own.
const MEASURED: usize = 48;

pub(super) fn show(ui: &mut Ui, table: &Table) {
    if !table.caption.is_empty() {
        widgets::muted(ui, text::lines(&table.caption, 2000));
    }
    let columns = columns(ui, table);
    let total = columns.iter().map(|column| column.width + GAP).sum::<f32>();
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        egui::ScrollArea::horizontal()
            .id_salt("sideways")
            .auto_shrink([false, true])
            .show(ui, |ui| {
                let width = total.max(ui.available_width());
                ui.set_min_width(width);
                line(ui, table, &columns, None, width);
                let rows = table.rows.len();
                let part = |ui: &mut Ui, range: std::ops::Range<usize>| {
                    for row in range {
                        line(ui, table, &columns, Some(row), width);
                    }
                };
                if rows <= MEASURED {
                    part(ui, 0..rows);
                } else {
                    egui::ScrollArea::vertical()
                        .id_salt("down")
                        .max_height(ROW * MEASURED as f32 / 2.0)
                        .auto_shrink([false, true])
                        .show_rows(ui, ROW, rows, part);
                }
            });
    });
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Number(value) => super::number(*value),
        Cell::Text(words) => text::plain(words, 60),
        Cell::Nothing => "–".to_owned(),
    }
}

fn is_number(table: &Table, column: usize) -> bool {
    let mut cells = table.rows.iter().filter_map(|row| row.get(column));
    cells.all(|cell| !matches!(cell, Cell::Text(_)))
}

/// What all rows share.
struct Column {
    width: f32,
    is_number: bool,
}

fn columns(ui: &Ui, table: &Table) -> Vec<Column> {
    let of = |words: String, font| {
        let color = theme::of(ui).text;
        ui.painter().layout_no_wrap(words, font, color).size().x
    };
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(column, name)| {
            let rows = table.rows.iter().take(MEASURED);
            let cells = rows.filter_map(|row| row.get(column));
            let widest = cells
                .map(|cell| of(shown(cell), fonts::small()))
                .fold(of(text::plain(name, 40), fonts::small()), f32::max);
            Column {
                width: widest.min(WIDEST),
                is_number: is_number(table, column),
            }
        })
        .collect()
}

/// One row, or the head.
fn line(ui: &mut Ui, table: &Table, columns: &[Column], row: Option<usize>, width: f32) {
    let (rect, response) = ui.allocate_exact_size(vec2(width, ROW), Sense::hover());
    let cells = row.and_then(|row| table.rows.get(row));
    response.widget_info(|| {
        let names = table.columns.iter().map(|name| text::plain(name, 40));
        let words: Vec<String> = match cells {
            Some(cells) => names
                .zip(cells)
                .map(|(name, cell)| format!("{name} {}", shown(cell)))
                .collect(),
            None => names.collect(),
        };
        WidgetInfo::labeled(Role::Row, true, words.join(", "))
    });
    if !ui.is_rect_visible(rect) {
        return;
    }
    let colors = theme::of(ui);
    if row.is_some() && response.hovered() {
        ui.painter().rect_filled(rect, 0.0, colors.hover);
    }
    let mut x = rect.min.x;
    for (column, Column { width, is_number }) in columns.iter().enumerate() {
        let words = match cells {
            Some(cells) => cells.get(column).map(shown).unwrap_or_default(),
            None => table
                .columns
                .get(column)
                .map(|name| text::plain(name, 40))
                .unwrap_or_default(),
        };
        let (at, align) = match *is_number {
            true => (x + width, Align2::RIGHT_CENTER),
            false => (x, Align2::LEFT_CENTER),
        };
        let ink = if row.is_some() {
            colors.text
        } else {
            colors.muted
        };
        let clip = Rect::from_x_y_ranges(x - 1.0..=x + width + GAP / 2.0, rect.y_range());
        let painter = ui.painter().with_clip_rect(clip.intersect(ui.clip_rect()));
        painter.text(pos2(at, rect.center().y), align, words, fonts::small(), ink);
        x += width + GAP;
    }
    ui.painter().hline(
        rect.x_range(),
        rect.max.y,
        egui::Stroke::new(1.0, colors.hairline),
    );
}
