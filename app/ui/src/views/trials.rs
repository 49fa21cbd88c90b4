//! Experiments: which, how many, on what; and how far they are.

use assay_work::message::{DeviceChoice, ExperimentRequest, PromptLength};
use egui::Ui;

use crate::command::Command;
use crate::jobs::Purpose;
use crate::state::State;
use crate::text;
use crate::theme::{self, Icon};
use crate::trials;
use crate::widgets::{self, Kind};

/// The form; while experiments run, how far they are.
pub(super) fn show(ui: &mut Ui, state: &mut State) {
    if state.trouble.is_some() {
        super::banner::trouble(ui, state);
    }
    let job = state.jobs.long();
    if job.is_some_and(|job| job.purpose == Purpose::Experiment) {
        super::running::show(ui, state);
        let kept = match state.platform.is_browser {
            true => {
                "Finished trials are kept until this page is closed: a run that is stopped goes on where it was."
            }
            false => "Finished trials are kept: a run that is stopped goes on where it was.",
        };
        widgets::muted(ui, kept);
        return;
    }
    let is_running = job.is_some();
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Run experiments");
        widgets::muted(
            ui,
            "How often honest runs pass on this machine’s devices, and dishonest ones are caught. Both of VeriLLM’s rules and Assay’s own verdict, side by side.",
        );
        ui.add_enabled_ui(!is_running, |ui| form(ui, state));
        ui.add_enabled_ui(state.can(Command::RunExperiment), |ui| {
            let facts = Command::RunExperiment.facts();
            if widgets::button(ui, Kind::Primary, Some(Icon::Play), facts.label)
                .on_hover_text(facts.tip)
                .clicked()
            {
                state.run(Command::RunExperiment);
            }
        });
    });
}

fn form(ui: &mut Ui, state: &mut State) {
    let all: Vec<Option<u8>> = (1..=ExperimentRequest::COUNT)
        .map(Some)
        .chain([None])
        .collect();
    let is_narrow = theme::is_narrow(ui.ctx());
    let wide = if is_narrow {
        ui.available_width()
    } else {
        260.0
    };
    ui.horizontal_wrapped(|ui| {
        widgets::labelled(ui, "Experiment", wide, |ui, width| {
            let form = &mut state.trials;
            egui::ComboBox::from_id_salt("experiment")
                .width(width)
                .selected_text(trials::title(form.which).0)
                .show_ui(ui, |ui| {
                    for which in all {
                        let (name, about) = trials::title(which);
                        ui.selectable_value(&mut form.which, which, name)
                            .on_hover_text(about);
                    }
                })
                .response
                .accessible_name("Experiment");
        });
        let others = state.adapters.found.clone();
        widgets::labelled(ui, "Verifiers run on", wide, |ui, width| {
            let chosen = &mut state.trials.verifier;
            egui::ComboBox::from_id_salt("verifiers' device")
                .width(width)
                .selected_text(text::plain(&device(chosen), 40))
                .show_ui(ui, |ui| {
                    let named = others
                        .iter()
                        .filter(|info| info.backend != "Gl")
                        .map(|info| DeviceChoice::Named(info.name.clone()));
                    for each in [DeviceChoice::Best]
                        .into_iter()
                        .chain(named)
                        .chain([DeviceChoice::Cpu])
                    {
                        let label = text::plain(&device(&each), 60);
                        ui.selectable_value(chosen, each, label);
                    }
                })
                .response
                .accessible_name("Verifiers run on");
        });
    });
    widgets::muted(ui, trials::title(state.trials.which).1);
    ui.horizontal_wrapped(|ui| {
        let form = &mut state.trials;
        widgets::field(ui, "Trials", &mut form.trials, "3", 96.0, true);
        widgets::field(
            ui,
            "Verifications of each",
            &mut form.verifiers,
            "3",
            160.0,
            true,
        );
        widgets::field(
            ui,
            "Tokens",
            &mut form.tokens,
            "as prompts say",
            150.0,
            true,
        );
        widgets::labelled(ui, "Prompts", 220.0, |ui, _width| {
            let names = PromptLength::ALL.map(|length| (length, length.name()));
            widgets::segmented(ui, &mut form.prompts, &names);
        });
    });
    ui.horizontal_wrapped(|ui| {
        let model = text::plain(&state.model.source.name(), 40);
        if widgets::button(ui, Kind::Normal, Some(Icon::Folder), &model)
            .on_hover_text("Open another model")
            .clicked()
        {
            state.run(Command::OpenFolder);
        }
        let provers = state.adapters.chosen.as_ref();
        let provers =
            provers.map_or_else(|| device(&state.settings.device), |info| info.name.clone());
        let label = format!("Provers on {}", text::plain(&provers, 40));
        if widgets::button(ui, Kind::Normal, None, &label)
            .on_hover_text(Command::Devices.facts().tip)
            .clicked()
        {
            state.run(Command::Devices);
        }
    });
    if state.model.source.is_key() {
        super::expect::problem(
            ui,
            "A key has no weights: open a model to run experiments on.",
        );
    }
    if let Err(why) = state.trials.request() {
        super::expect::problem(ui, &why);
    }
}

fn device(choice: &DeviceChoice) -> String {
    match choice {
        DeviceChoice::Best => "another device".to_owned(),
        DeviceChoice::Named(name) => name.clone(),
        DeviceChoice::Cpu => "Assay’s CPU kernels".to_owned(),
    }
}
