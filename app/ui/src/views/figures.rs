//! Distances and margins as curves and histograms, each with its limit drawn in.

use egui::Ui;

use crate::state::State;
use crate::theme;

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    if theme::is_narrow(ui.ctx()) {
        super::histogram::show(ui, state);
        super::curves::layers(ui, state);
    } else {
        ui.columns_const(|[left, right]: &mut [Ui; 2]| {
            super::histogram::show(left, state);
            super::curves::layers(right, state);
        });
    }
    super::curves::margins(ui, state);
}
