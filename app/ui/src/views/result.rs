//! A verdict and what lies behind it.

use egui::Ui;

use crate::state::{State, Tab};
use crate::{theme, widgets};

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    super::banner::show(ui, state);
    let has_details = state
        .judged
        .as_ref()
        .is_some_and(|judged| !judged.details.tokens.is_empty());
    let all = Tab::ALL.map(|(tab, label)| {
        (
            tab,
            label,
            has_details || matches!(tab, Tab::Overview | Tab::Evidence),
        )
    });
    let mut tab = state.tab;
    if !has_details && matches!(tab, Tab::Tokens | Tab::Figures) {
        tab = Tab::Overview;
    }
    widgets::tabs(ui, &mut tab, &all);
    state.tab = tab;
    match tab {
        Tab::Overview => overview(ui, state),
        Tab::Tokens => tokens(ui, state),
        Tab::Figures => super::figures::show(ui, state),
        Tab::Evidence => super::evidence::show(ui, state),
    }
}

fn overview(ui: &mut Ui, state: &mut State) {
    if theme::is_narrow(ui.ctx()) {
        super::coverage::show(ui, state);
        super::checks::show(ui, state);
        super::profile::timings(ui, state);
    } else {
        super::coverage::show(ui, state);
        super::checks::show(ui, state);
        ui.columns_const(|[left, right]: &mut [Ui; 2]| {
            super::profile::show(left, state);
            super::profile::timings(right, state);
        });
    }
}

fn tokens(ui: &mut Ui, state: &mut State) {
    super::strip::show(ui, state);
    super::place::show(ui, state);
    super::heatmap::show(ui, state);
}
