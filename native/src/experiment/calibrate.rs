//! `assay calibrate`: distributions of many trials, VeriLLM's thresholds from them, and a profile for `assay --verify --profile`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use assay_engine::{Device, Engine, Numerics};
use assay_experiment::alter::Weights;
use assay_experiment::config::Layers;
use assay_experiment::page;
use assay_experiment::pooled::{Analysis, Pooled, Recommended};
use assay_experiment::run::{self, Step};
use assay_experiment::store::Place;
use assay_experiment::trial::{Trial, run_prover};
use assay_experiment::{Experiment, Setup};
use assay_prove::Request;
use assay_verify::calibrate::{Case, Kind, Plan, measure};
use assay_verify::{Profile, Profiles, statement};

use super::setup::{self, SetupArgs};
use super::store::{self, Folder};
use super::teller::Terminal;
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;

/// Cheats that a profile's limits are tried on.
const CHEATS: [(Weights, &str); 4] = [
    (Weights::Int8, "int8"),
    (Weights::Int4, "int4"),
    (Weights::Fp8, "fp8"),
    (Weights::FineTune, "fine_tune_1_percent"),
];

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which experiment's trials to pool: exp1 to exp6, or all
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = ["exp1", "exp2", "exp3", "exp4", "exp5", "exp6", "all"])]
    experiment: String,

    #[command(flatten)]
    setup: SetupArgs,

    /// Write the profile here, for `assay --verify --profile FILE`; one of the same name in the file is replaced
    #[arg(long, value_name = "FILE")]
    apply: Option<PathBuf>,

    /// The profile's name [default: local- and the date]
    #[arg(long, value_name = "NAME")]
    id: Option<String>,

    /// Factor between the largest honest distance and the limit; the shipped profiles have 8
    #[arg(long, value_name = "X", default_value_t = 8.0)]
    headroom: f64,
}

/// Calibrates.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    if !(args.headroom >= 1.0 && args.headroom <= 1e6) {
        bail!(
            "a headroom of {} makes no limits: want 1 or more",
            args.headroom
        );
    }
    let mut progress = Progress::start(true);
    pollster::block_on(calibrate(args, device, output, &mut progress))
}

async fn calibrate(
    args: &Args,
    device: &DeviceArgs,
    output: &Output,
    progress: &mut Progress,
) -> anyhow::Result<Exit> {
    let experiments: Vec<Experiment> = match Experiment::named(&args.experiment) {
        Some(one) => vec![one],
        None => Experiment::ALL.to_vec(),
    };
    let mut setup = args
        .setup
        .open(&experiments, device, output, progress)
        .await?;
    if args.setup.layers.is_none() {
        // A limit for each depth needs rows of each depth.
        setup.config.run.layers = Layers::All;
    }
    let out = args.setup.out.as_path();
    let (mut store, mut devices) = (Folder::new(out.to_owned()), setup::devices());
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let timestamp = statement::rfc3339(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let mut recommended: BTreeMap<&str, Recommended> = BTreeMap::new();
    let mut pages = page::Page::new("Calibration", &format!("{timestamp}; {}", setup.full.name));
    let mut honest = Vec::new();
    for &experiment in &experiments {
        let trials = run::experiment(
            &setup,
            experiment,
            Step::Whole,
            &mut devices,
            &mut store,
            &mut Terminal { output, progress },
        )
        .await?;
        let pooled = Pooled::of(&trials);
        let analysis = Analysis::of(experiment, &pooled, timestamp.clone());
        let name = experiment.long_name();
        let file = |ending: &str| out.join(format!("{name}_{ending}"));
        store::write_json(&file("threshold_optimization.json"), &analysis)?;
        let sheet = page::sheet(
            &pooled,
            &format!("{name}: distributions over {} trials", trials.len()),
        );
        store::write(&file("distribution.svg"), sheet.standalone().as_bytes())?;
        output.line(page::banner(name, &analysis.recommended_thresholds))?;
        pages.section(name);
        pages.sheet(&sheet);
        pages.table(&places(&analysis));
        recommended.insert(name, analysis.recommended_thresholds);
        if !experiment.differs_in_weights() {
            honest.extend(trials);
        }
    }
    store::write_json(
        &out.join("threshold_recommendations_summary.json"),
        &recommended,
    )?;
    if honest.is_empty() {
        output.note("no honest trials, so no profile: it takes exp1, exp2 or exp6");
    } else {
        let id = args
            .id
            .clone()
            .unwrap_or_else(|| format!("local-{}", &timestamp[..10]));
        let profile = profile(
            &setup,
            &store,
            &honest,
            id,
            args.headroom,
            timestamp[..10].to_owned(),
            progress,
        )
        .await?;
        progress.clear();
        tell(&profile, output)?;
        pages.section("Profile");
        pages.text(&in_words(&profile));
        store::write_json(&out.join("profile.json"), &[&profile])?;
        if let Some(fault) = profile.fault() {
            bail!(
                "the profile must not be used: {fault}\nit is in {} for a look; a smaller --headroom, or other devices, may help",
                out.join("profile.json").display()
            );
        }
        if let Some(path) = &args.apply {
            apply(path, profile)?;
            output.note_field(
                "profile",
                format_args!(
                    "{} (use it: assay --verify TRACE --profile {0})",
                    path.display()
                ),
            );
        }
    }
    store::write(&out.join("calibration.html"), pages.finish().as_bytes())?;
    output.note_field("files", out.display());
    Ok(Exit::Ok)
}

fn places(analysis: &Analysis) -> Vec<Vec<String>> {
    let head = [
        "layer and tokens",
        "figure",
        "mean",
        "sd",
        "p50",
        "p90",
        "p95",
        "p99",
        "max",
        "count",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (place, figures) in &analysis.by_layer_and_position {
        for (name, m) in figures {
            let mut row = vec![place.clone(), name.clone()];
            row.extend(
                [m.mean, m.std, m.p50, m.p90, m.p95, m.p99, m.max].map(|v| format!("{v:.3e}")),
            );
            row.push(m.count.to_string());
            rows.push(row);
        }
    }
    rows
}

/// A profile from the traces of honest trials, tried on cheats with the same prompts.
async fn profile(
    setup: &Setup,
    store: &Folder,
    honest: &[Trial],
    id: String,
    headroom: f64,
    date: String,
    progress: &mut Progress,
) -> anyhow::Result<Profile> {
    let mut devices = setup::devices();
    // One case for each trace and each device that verified it.
    let mut found: Vec<(Vec<u8>, Device, Device, Kind)> = Vec::new();
    for trial in honest {
        let proven = &trial.proven;
        let Some(experiment) = Experiment::named(&proven.experiment) else {
            continue;
        };
        let file = store.trace(Place {
            experiment,
            direction: proven.direction,
            number: proven.trial_id,
        });
        let trace =
            std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let prover = devices.get(&proven.inference_device).await?;
        let mut names: Vec<&str> = Vec::new();
        for one in &trial.verifications {
            if !names.contains(&one.verification_device.as_str()) {
                names.push(&one.verification_device);
            }
        }
        for name in names {
            let verifier = devices.get(name).await?;
            found.push((trace.clone(), verifier, prover.clone(), Kind::Honest));
        }
    }
    let layers = setup.full.model.config().layers as u32;
    for (number, (weights, name)) in CHEATS.into_iter().enumerate() {
        interrupt::check()?;
        let model = weights.of(&setup.full.model)?;
        let Some((_, verifier, prover, _)) = found.first() else {
            break;
        };
        let (verifier, prover) = (verifier.clone(), prover.clone());
        let mut engine =
            Engine::load(&prover, &model, setup.capacity()?, Numerics::Fast, progress).await?;
        let count = setup
            .config
            .run
            .trials
            .min(setup.config.prompts()?.texts.len());
        for trial in 0..count {
            let (_, prompt, max_tokens) = setup.prompt(trial)?;
            let request = Request {
                prompt,
                max_tokens,
                sampler: setup.sampler(100 * (number + 1) + trial),
                ignore_eos: true,
                nonce: None,
                opened: Some((0..=layers).collect()),
                audit: None,
            };
            let made =
                run_prover(&mut engine, &model, &setup.full.claim, &request, progress).await?;
            found.push((
                made.0,
                verifier.clone(),
                prover.clone(),
                Kind::Cheat(name.to_owned()),
            ));
        }
    }
    let cases: Vec<Case> = found
        .iter()
        .map(|(trace, verifier, prover, kind)| Case {
            trace,
            model: &setup.full.model,
            model_name: &setup.full.name,
            verifier,
            prover: (*kind == Kind::Honest).then_some(prover),
            kind: kind.clone(),
        })
        .collect();
    let plan = Plan {
        id,
        date,
        command: "assay calibrate".to_owned(),
        headroom,
        logit_headroom: headroom,
        hides: Vec::new(),
        numerics: Numerics::Fast,
    };
    Ok(measure(&cases, &plan, progress).await?)
}

fn in_words(profile: &Profile) -> String {
    let deepest = profile
        .limits
        .rel_l2
        .last()
        .map_or(0.0, |depth| depth.rel_l2);
    let nearest = profile
        .nearest_cheat
        .as_ref()
        .map_or_else(String::new, |cheat| {
            format!(
                " The nearest cheat, {}, lies at {:.1} times its limit.",
                cheat.name, cheat.times_limit
            )
        });
    format!(
        "Profile {}: {} honest traces, {} of them rejected by limits from the others; false rejects below {:.2} % (95 %, Clopper-Pearson). \
         Largest distance that is let through at the last layer: {deepest:.2e}, a headroom of {} over the largest measured.{nearest}",
        profile.id,
        profile.honest.traces,
        profile.honest.false_rejects,
        100.0 * profile.false_reject_upper_bound(),
        profile.limits.headroom
    )
}

fn tell(profile: &Profile, output: &Output) -> anyhow::Result<()> {
    output.line(in_words(profile))?;
    for (name, tried) in &profile.null_forgery {
        output.line(format_args!(
            "  {name:<24} accepted {} of {}",
            tried.accepted, tried.of
        ))?;
    }
    Ok(())
}

/// Puts a profile into a file of profiles.
fn apply(path: &std::path::Path, profile: Profile) -> anyhow::Result<()> {
    let mut all = match std::fs::read_to_string(path) {
        Ok(text) => {
            Profiles::from_json(&text)
                .with_context(|| format!("{} is there and holds no profiles", path.display()))?
                .0
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(err) => return Err(err).with_context(|| format!("cannot read {}", path.display())),
    };
    match all.iter_mut().find(|known| known.id == profile.id) {
        Some(known) => *known = profile,
        None => all.push(profile),
    }
    store::write_json(path, &all)
}
