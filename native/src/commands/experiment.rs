//! `assay experiment`: VeriLLM's experiments, what each statistic detects, and the sequential test's error rates.

use assay_experiment::run::{self, Step};
use assay_experiment::summary::Summary;
use assay_experiment::trial::Trial;
use assay_experiment::{Experiment, Store as _, found};

use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::experiment::setup::{self, SetupArgs};
use crate::experiment::store::Folder;
use crate::experiment::teller::Terminal;
use crate::experiment::{detect, stop};
use crate::output::{Output, Style};
use crate::progress::Progress;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// exp1 to exp6, all, detection (what each statistic catches), or sequential (error rates of the stopping rule)
    #[arg(value_name = "NAME", value_parser = ["exp1", "exp2", "exp3", "exp4", "exp5", "exp6", "all", "detection", "sequential"])]
    name: String,

    #[command(flatten)]
    setup: SetupArgs,

    /// One half of each trial, with a folder between machines: prove leaves traces in --out, verify takes them from there
    #[arg(long, value_name = "STEP", value_parser = ["prove", "verify"])]
    step: Option<String>,

    /// Print the summaries as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    detection: detect::DetectionArgs,
}

/// Runs what was named.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    if args.name == "sequential" {
        let profiles = setup::profiles(args.setup.profile.as_deref())?;
        return stop::run(&profiles, &args.setup.out, output);
    }
    let mut progress = Progress::start(!args.json);
    pollster::block_on(experiments(args, device, output, &mut progress))
}

async fn experiments(
    args: &Args,
    device: &DeviceArgs,
    output: &Output,
    progress: &mut Progress,
) -> anyhow::Result<Exit> {
    let which: Vec<Experiment> = match args.name.as_str() {
        "all" => Experiment::ALL.to_vec(),
        name => Experiment::named(name).into_iter().collect(),
    };
    let setup = args.setup.open(&which, device, output, progress).await?;
    if args.name == "detection" {
        let verifiers = &args.setup.verifier_adapter;
        let out = &args.setup.out;
        return detect::run(&args.detection, &setup, verifiers, out, output, progress).await;
    }
    let step = match args.step.as_deref() {
        Some("prove") => Step::Prove,
        Some(_) => Step::Verify,
        None => Step::Whole,
    };
    let out = &args.setup.out;
    let (mut store, mut devices) = (Folder::new(out.clone()), setup::devices());
    let mut terminal = Terminal { output, progress };
    let ran = run::experiments(
        &setup,
        &which,
        step,
        &mut devices,
        &mut store,
        &mut terminal,
    );
    let all = ran.await?;
    progress.clear();
    if step == Step::Prove {
        output.note_field("traces", out.display());
        return Ok(Exit::Ok);
    }
    store.finish(&setup, &all, &found::sheet(&setup, &all))?;
    if args.json {
        let summaries: Vec<&Summary> = all.iter().map(|(summary, _)| summary).collect();
        output.json(&summaries)?;
    } else {
        print(&all, output)?;
    }
    output.note_field("report", out.join("report.html").display());
    Ok(Exit::Ok)
}

fn print(all: &[(Summary, Vec<Trial>)], output: &Output) -> anyhow::Result<()> {
    output.line(output.paint(
        Style::Strong,
        "       trials  accept rate   no embedding   paper    pass   own: accept reject open",
    ))?;
    for (summary, _) in all {
        let a = &summary.aggregate;
        let share =
            |rate: Option<f64>| rate.map_or("-".to_owned(), |r| format!("{:.1} %", 100.0 * r));
        output.line(format_args!(
            "{:<6} {:>6} {:>11}  {:>13} {:>8} {:>7} {:>13} {:>6} {:>4}",
            summary.experiment.name(),
            a.trials,
            share(Some(a.avg_accept_rate)),
            share(a.avg_accept_rate_without_embedding),
            share(Some(a.avg_paper_accept_rate)),
            share(Some(a.pass_rate.repo)),
            a.own.accept,
            a.own.reject,
            a.own.inconclusive
        ))?;
        if let Some(r) = &summary.readings {
            output.line(format_args!(
                "         should pass: {:.0} % do; must be caught: {:.0} % by the repo rule, {:.0} % by assay's own verdict",
                100.0 * r.should_pass,
                100.0 * r.caught,
                100.0 * r.own_caught
            ))?;
        }
    }
    Ok(())
}
