//! Measures honest linear outputs through projections: what `app/verify/profiles/audit.json` holds.
//!
//! ```text
//! calibrate_audit MODEL [TRACE...] [-- MODEL [TRACE...]]...     prints one line for each model, precision and stream
//! calibrate_audit --wide FOLDER                               writes a checkpoint with long sums
//! calibrate_audit --null PROFILE                               tries openings that hold nothing against it, again
//! calibrate_audit --write app/verify/profiles/audit.json ...    and writes the profile
//! ```
//! A last group `-- --trials N MODEL [TRACE...]` audits honest traces that calibrated nothing, N times in all, each with a key of its
//! own, and counts rejections; and openings that hold nothing of the model.
//!
//! MODEL is a checkpoint, or `demo`. Without traces, honest ones are made here, on every adapter. A trace of another program (of
//! `provers/transformers`, say) is taken as honest: make it with the model that stands before it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Quiet};
use assay_key::{KeyMaker, KeyOptions, Seed, VerifierKey};
use assay_model::synth::Shape;
use assay_model::{Dtype, Model};
use assay_prove::{Open, Request};
use assay_tests::cheats::Cheat;
use assay_tests::{adapters, null, prover};
use assay_trace::{Compute, Trace};
use assay_verify::audit::ALPHA;
use assay_verify::audit::audit_with;
use assay_verify::audit::energy::Energy;
use assay_verify::audit::profile::{AuditProfiles, StreamProfile, unit};
use assay_verify::{Options, Verdict};

/// What is taken for honest, over the largest that was measured.
const HEADROOM: f64 = 1.25;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("calibrate_audit {}", globbed(&args).join(" "));
    let write = args.first().is_some_and(|arg| arg == "--write").then(|| {
        args.remove(0);
        args.remove(0)
    });
    if let [flag, path] = &args[..]
        && flag == "--null"
    {
        let mut profiles: AuditProfiles = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        try_nothing(&mut profiles)?;
        return Ok(std::fs::write(
            path,
            serde_json::to_string_pretty(&profiles)? + "\n",
        )?);
    }
    if let [flag, folder] = &args[..]
        && flag == "--wide"
    {
        return wide(Path::new(folder));
    }
    let mut found: BTreeMap<(String, &'static str), StreamProfile> = BTreeMap::new();
    let mut measured = Vec::new();
    let mut trials = None;
    for group in args.split(|arg| arg == "--") {
        if let [flag, rest @ ..] = group
            && flag == "--trials"
        {
            trials = Some(rest);
            continue;
        }
        let Some((name, traces)) = group.split_first() else {
            continue;
        };
        let model = if name == "demo" {
            Model::demo()?
        } else {
            Model::open(Path::new(name))?
        };
        let root = prover::root(&model);
        let mut all: Vec<(String, Vec<u8>)> = Vec::new();
        for path in traces {
            all.push((path.clone(), std::fs::read(path)?));
        }
        if traces.is_empty() {
            all = made(&model, root, 0);
        }
        // Two keys, since each shows an error through other projections.
        let keys = [key(&model, root)?, key(&model, root)?];
        let devices = adapters::devices();
        for (i, (label, bytes)) in all.iter().enumerate() {
            let trace = Trace::parse(bytes)?;
            trace.check_commitment()?;
            let compute = trace.manifest().numerics.compute;
            let key = &keys[i % 2];
            let (_, device) = &devices[i % devices.len()];
            let tallies =
                pollster::block_on(assay_verify::audit::measure(bytes, key, device, &mut Quiet))?;
            for (stream, k, tally) in tallies {
                let entry = found
                    .entry((format!("{compute:?}"), stream))
                    .or_insert_with(|| StreamProfile {
                        compute,
                        stream: stream.to_owned(),
                        row: 0.0,
                        pooled: 0.0,
                        audits: 0,
                        rows: 0,
                        longest: 0,
                    });
                let unit = unit(compute, k);
                if std::env::var_os("EACH").is_some() {
                    println!(
                        "{label} {stream} k={k} row {:.3} pooled {:.3} bound {:.2e} {:.2e}",
                        tally.worst_relative / unit,
                        tally.pooled_relative / unit,
                        tally.certified.over,
                        tally.element.over
                    );
                }
                entry.row = entry.row.max(tally.worst_relative / unit);
                entry.pooled = entry.pooled.max(tally.pooled_relative / unit);
                entry.audits += 1;
                entry.rows += tally.rows as u64;
                entry.longest = entry.longest.max(k);
                if tally.certified.over > 1.0 || tally.element.over > 1.0 {
                    return Err(format!("{label}: {stream} breaks a certified bound").into());
                }
            }
        }
        let name = Path::new(name)
            .file_name()
            .map_or_else(|| name.clone(), |n| n.to_string_lossy().into_owned());
        let adapters: Vec<_> = all
            .iter()
            .filter_map(|(_, b)| Some(Trace::parse(b).ok()?.manifest().adapter.clone()))
            .collect();
        let mut unique = adapters.clone();
        unique.sort();
        unique.dedup();
        measured.push(format!(
            "{name}: {} traces by {}",
            all.len(),
            unique.join(", ")
        ));
    }
    for ((compute, stream), p) in &found {
        println!(
            "{compute:<5}{stream:<8} row {:>8.4} pooled {:>8.4} ({} audits, {} rows, k to {})",
            p.row, p.pooled, p.audits, p.rows, p.longest
        );
    }
    if let Some(path) = write {
        let date = std::process::Command::new("date").arg("-I").output()?;
        let mut profiles = AuditProfiles {
            id: "audit-f32-bf16-f16".to_owned(),
            date: String::from_utf8(date.stdout)?.trim().to_owned(),
            command,
            measured,
            headroom: HEADROOM,
            trials: 0,
            false_rejects: 0,
            null_forgery: BTreeMap::new(),
            streams: found.into_values().collect(),
        };
        if let Some([count, name, traces @ ..]) = trials {
            try_it(&mut profiles, count.parse()?, name, traces)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(&profiles)? + "\n")?;
    }
    Ok(())
}

/// Files of one folder as one word.
fn globbed(args: &[String]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for arg in args {
        let folder = Path::new(arg).parent().map(|p| p.display().to_string());
        let word = match folder {
            Some(folder) if arg.ends_with(".bin") => format!("{folder}/*.bin"),
            _ => arg.clone(),
        };
        if words.last() != Some(&word) {
            words.push(word);
        }
    }
    words
}

/// Honest audits with keys of their own, and openings of nothing.
fn try_it(
    profiles: &mut AuditProfiles,
    count: u64,
    name: &str,
    traces: &[String],
) -> Result<(), Box<dyn Error>> {
    let model = if name == "demo" {
        Model::demo()?
    } else {
        Model::open(Path::new(name))?
    };
    let root = prover::root(&model);
    let mut all = made(&model, root, 1000);
    for path in traces {
        all.push((path.clone(), std::fs::read(path)?));
    }
    let devices = adapters::devices();
    for i in 0..count {
        let (label, bytes) = &all[i as usize % all.len()];
        let (device_name, device) = &devices[(i as usize / all.len()) % devices.len()];
        let key = key(&model, root)?;
        let options = Options::default();
        let mut quiet = Quiet;
        let judged = audit_with(profiles, bytes, &key, device, &options, &mut quiet);
        let report = pollster::block_on(judged)?.report;
        profiles.trials += 1;
        if report.verdict == Verdict::Reject {
            profiles.false_rejects += 1;
            println!("false reject: {label} on {device_name}: {}", report.summary);
        }
    }
    println!(
        "{} honest audits, {} rejected",
        profiles.trials, profiles.false_rejects
    );
    try_nothing(profiles)
}

/// Openings that hold nothing of the demo model: layers that the energy test accepts whole.
fn try_nothing(profiles: &mut AuditProfiles) -> Result<(), Box<dyn Error>> {
    let model = Model::demo()?;
    let root = prover::root(&model);
    let key = key(&model, root)?;
    let request = prover::request("To be, or not", 24, SamplerSpec::Greedy);
    let request = Request {
        audit: Some(Open::All),
        ignore_eos: true,
        ..request
    };
    let (device, _) = adapters::pair();
    let honest = prover::prove_as(&device, &model, root, &request);
    let other = assay_tests::cheats::demo(Cheat::Other);
    let other = prover::prove_as(&device, &other, root, &request);
    profiles.null_forgery.clear();
    for kind in null::KINDS {
        let forged = null::forged(&honest, &other, kind);
        let mut quiet = Quiet;
        let measured = assay_verify::audit::measure(&forged, &key, &Device::Cpu, &mut quiet);
        let tallies = pollster::block_on(measured)?;
        let layers = model.config().layers;
        let entry = profiles.null_forgery.entry(kind.to_owned()).or_default();
        for layer in tallies[..7 * layers].chunks_exact(7) {
            entry.of += 1;
            let passes = layer.iter().all(|(stream, k, tally)| {
                let honest = profiles
                    .streams
                    .iter()
                    .find(|s| s.compute == Compute::F32 && s.stream == *stream);
                let tests = (7 * layers * tally.rows) as f64;
                let quantile = Energy::new(key.projections(), ALPHA / tests).quantile();
                honest.is_none_or(|honest| {
                    let most = HEADROOM * honest.row * unit(Compute::F32, *k);
                    tally.worst_relative <= most * (quantile / key.projections() as f64).sqrt()
                })
            });
            entry.accepted += u64::from(passes);
        }
        println!(
            "null openings, {kind}: {} of {} layers accepted",
            entry.accepted, entry.of
        );
    }
    Ok(())
}

/// Two layers as wide as Llama-3.2-1B's, bf16: sums of 2048 and 8192 terms.
fn wide(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut config = Shape::named("llama-3.2-1b").ok_or("no such shape")?.config;
    config.layers = 2;
    config.vocab = 8192;
    config.bos = None;
    config.eos.clear();
    let shape = Shape::custom("wide", config)?;
    Ok(assay_model::synth::write(&shape, Dtype::BF16, 1, folder)?)
}

fn key(model: &Model, root: assay_trace::Digest) -> Result<VerifierKey, Box<dyn Error>> {
    let mut maker = KeyMaker::new(model, root, Seed::from_os()?, &KeyOptions::default())?;
    while !maker.step()? {}
    Ok(maker.finish()?)
}

/// Honest traces of f32 provers: every adapter and the twins, greedy and sampled, short and long.
fn made(model: &Model, root: assay_trace::Digest, offset: u64) -> Vec<(String, Vec<u8>)> {
    let vocab = model.config().vocab as u32;
    let mut all = Vec::new();
    let big = model.parameters() > 100_000_000;
    let shapes: &[(usize, usize)] = if big {
        &[(6, 3)]
    } else {
        &[(4, 12), (40, 24), (200, 30), (17, 60)]
    };
    for (name, device) in adapters::devices() {
        if big && matches!(device, Device::Cpu) {
            continue;
        }
        for (i, (prompt, output)) in shapes.iter().enumerate() {
            let sampler = SamplerSpec::Gumbel {
                seed: 5 + i as u64 + offset,
                temperature: 0.9,
                top_k: 0,
                top_p: 1.0,
            };
            let request = Request {
                prompt: (0..*prompt as u32)
                    .map(|p| (p * 7919 + 31 * (i as u32 + 1 + offset as u32)) % vocab)
                    .collect(),
                max_tokens: *output,
                sampler: if i % 2 == 0 {
                    sampler
                } else {
                    SamplerSpec::Greedy
                },
                ignore_eos: true,
                nonce: None,
                opened: None,
                audit: Some(Open::All),
            };
            all.push((
                format!("{name} {prompt}+{output}"),
                prover::prove_as(&device, model, root, &request),
            ));
        }
    }
    all
}
