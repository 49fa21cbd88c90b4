//! A verdict and what lies behind it.

use egui::Ui;

use crate::judged::Judged;
use crate::state::{State, Tab};
use crate::{theme, widgets};

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    super::banner::show(ui, state);
    let Some(judged) = &state.judged else { return };
    let is_audit = judged.is_audit();
    let shut = |tab| why_shut(judged, tab);
    let all: Vec<_> = Tab::ALL
        .into_iter()
        // A replay never has an audit; where a tab might be open another time, it stands shut.
        .filter(|(tab, _)| is_audit || *tab != Tab::Audit)
        .map(|(tab, label)| (tab, label, shut(tab)))
        .collect();
    let mut tab = state.tab;
    if !all.iter().any(|(of, _, shut)| *of == tab && shut.is_none()) {
        tab = Tab::Overview;
    }
    widgets::tabs(ui, &mut tab, &all);
    state.tab = tab;
    match tab {
        Tab::Overview => overview(ui, state),
        Tab::Audit => super::audit::show(ui, state),
        Tab::Tokens => tokens(ui, state),
        Tab::Figures => super::figures::show(ui, state),
        Tab::Evidence => super::evidence::show(ui, state),
    }
}

/// Why there is nothing behind a tab, if there is nothing.
fn why_shut(judged: &Judged, tab: Tab) -> Option<&'static str> {
    let early = "The verdict fell before anything was computed";
    match tab {
        Tab::Overview | Tab::Evidence => None,
        Tab::Audit => judged.report.audit.is_none().then_some(early),
        Tab::Tokens | Tab::Figures if judged.is_audit() => Some(super::audit::NO_POSITIONS),
        Tab::Tokens | Tab::Figures => judged.details.tokens.is_empty().then_some(early),
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
