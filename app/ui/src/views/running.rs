//! A long job: its steps, how fast it goes, when it ends. Every line has its place before anything is known, so nothing jumps.

use egui::{Align2, Rect, Sense, Stroke, Ui, vec2};

use crate::command::Command;
use crate::jobs::{Live, Purpose};
use crate::state::State;
use crate::steps::Unit;
use crate::text;
use crate::theme::{self, Icon, fonts, icons};
use crate::widgets::{self, Kind};

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let Some(job) = state.jobs.long().cloned() else {
        return;
    };
    let title = match job.purpose {
        Purpose::Prove => "Generating with a trace".to_owned(),
        Purpose::Experiment => "Running experiments".to_owned(),
        Purpose::Ask | Purpose::AskWithKey => {
            format!("Asking {}", state.asking.host())
        }
        _ => {
            let word = if job.purpose == Purpose::Audit {
                "Auditing"
            } else {
                "Verifying"
            };
            let trace = state
                .trace
                .as_ref()
                .map(|trace| text::plain(&trace.source.name(), 60));
            format!("{word} {}", trace.unwrap_or_default())
        }
    };
    widgets::card(ui, |ui| {
        ui.horizontal(|ui| {
            ui.vertical(|ui| {
                ui.set_width((ui.available_width() - 120.0).max(120.0));
                widgets::card_title(ui, &title);
                let elapsed = text::seconds(job.started.elapsed().as_secs_f64());
                let on = state
                    .adapters
                    .chosen
                    .as_ref()
                    .map(|info| format!(" on {}", text::plain(&info.name, 60)));
                widgets::muted(ui, format!("{elapsed}{}", on.unwrap_or_default()));
            });
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.add_enabled_ui(!job.is_cancelled, |ui| {
                    let label = if job.is_cancelled {
                        "Stopping…"
                    } else {
                        "Cancel"
                    };
                    if widgets::button(ui, Kind::Normal, Some(Icon::Close), label)
                        .on_hover_text("Esc")
                        .clicked()
                    {
                        state.run(Command::Cancel);
                    }
                });
            });
        });
        ui.add_space(4.0);
        steps(ui, &job);
    });
}

/// The list of steps.
pub(super) fn steps(ui: &mut Ui, job: &Live) {
    ui.spacing_mut().item_spacing.y = 0.0;
    for (index, _) in job.steps().iter().enumerate() {
        step(ui, job, index);
    }
}

fn step(ui: &mut Ui, job: &Live, index: usize) {
    let Some(step) = job.steps().get(index) else {
        return;
    };
    let colors = theme::of(ui);
    let is_narrow = theme::is_narrow(ui.ctx());
    let is_done = index < job.step();
    let is_current = index == job.step() && job.stage.is_some();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 56.0), Sense::hover());
    let mark = Rect::from_center_size(
        egui::pos2(rect.min.x + 11.0, rect.center().y),
        theme::square(22.0),
    );
    if index + 1 < job.steps().len() {
        let x = mark.center().x;
        let ink = if is_done {
            colors.good
        } else {
            colors.hairline
        };
        ui.painter().vline(
            x,
            mark.max.y + 4.0..=rect.max.y + rect.height() / 2.0 - 15.0,
            Stroke::new(1.5, ink),
        );
    }
    let painter = ui.painter();
    if is_done {
        icons::paint(painter, mark, Icon::Accept, colors.good);
    } else {
        let ink = if is_current {
            colors.accent
        } else {
            colors.faint
        };
        painter.circle_stroke(mark.center(), 8.5, Stroke::new(1.75, ink));
        if is_current {
            painter.circle_filled(mark.center(), 4.0, colors.accent);
        }
    }
    let ink = if is_done || is_current {
        colors.text
    } else {
        colors.muted
    };
    let left = rect.min.x + 36.0;
    let font = if is_current {
        fonts::bold(fonts::BODY)
    } else {
        fonts::body()
    };
    let label = painter.text(
        egui::pos2(left, rect.center().y - 8.0),
        Align2::LEFT_CENTER,
        step.label,
        font,
        ink,
    );
    // Figures end at the right, in digits of one width.
    let figures = if is_current {
        figures(job, step.unit)
    } else if is_done && job.spent(index) > 0.0 {
        text::seconds(job.spent(index))
    } else {
        String::new()
    };
    let figures = painter.text(
        egui::pos2(rect.max.x, label.center().y),
        Align2::RIGHT_CENTER,
        &figures,
        fonts::mono(),
        if is_current {
            colors.text
        } else {
            colors.muted
        },
    );
    let at = egui::pos2(left + 172.0, label.center().y);
    let tip = painter.layout_no_wrap(step.tip.to_owned(), fonts::small(), colors.muted);
    // Where a card is half as wide, figures may need the room.
    if !is_narrow && at.x + tip.size().x + 12.0 <= figures.min.x {
        let above = vec2(0.0, tip.size().y / 2.0);
        painter.galley(at - above, tip, colors.muted);
    }
    let groove = Rect::from_min_max(
        egui::pos2(left, rect.center().y + 8.0),
        egui::pos2(rect.max.x, rect.center().y + 11.0),
    );
    painter.rect_filled(groove, 2.0, colors.hairline);
    let fraction = if is_done {
        1.0
    } else if is_current {
        job.fraction().unwrap_or(0.0)
    } else {
        0.0
    };
    if fraction > 0.0 {
        let mut filled = groove;
        filled.set_width(groove.width() * fraction);
        painter.rect_filled(
            filled,
            2.0,
            if is_done { colors.good } else { colors.accent },
        );
    }
    let says = if is_done {
        "done"
    } else if is_current {
        "running"
    } else {
        "to come"
    };
    response.widget_info(|| {
        egui::WidgetInfo::labeled(
            egui::Role::ListItem,
            true,
            format!("{}: {says}", step.label),
        )
    });
    if is_current {
        response.ctx.accesskit_node_builder(response.id, |node| {
            node.set_role(egui::Role::ProgressIndicator);
            node.set_numeric_value(f64::from(fraction));
        });
    }
    response.on_hover_text(step.tip);
}

/// Done of all, rate, time left: each in a field of its own width.
fn figures(job: &Live, unit: Unit) -> String {
    if unit == Unit::Nothing {
        return String::new();
    }
    let amount = |n: u64| match unit {
        Unit::Bytes => text::bytes(n),
        _ => text::grouped(n),
    };
    let mut all = vec![if job.total > 0 {
        format!("{} / {}", amount(job.done), amount(job.total))
    } else if job.done > 0 {
        amount(job.done)
    } else {
        String::new()
    }];
    if let Some(rate) = job.rate() {
        all.push(match unit {
            Unit::Bytes => format!("{}/s", text::bytes(rate as u64)),
            Unit::Tokens => format!("{rate:.1} tok/s"),
            Unit::Layers => format!("{rate:.1} layers/s"),
            Unit::Trials => format!("{:.1} trials/min", 60.0 * rate),
            Unit::Checks | Unit::Nothing => String::new(),
        });
    }
    if let Some(left) = job.remaining() {
        all.push(format!("{} left", text::seconds(left)));
    }
    all.retain(|part| !part.is_empty());
    all.join("   ")
}
