//! Measures honest linear outputs through projections: what `app/verify/profiles/audit.json` holds.
//!
//! ```text
//! calibrate_audit MODEL [TRACE...] [-- MODEL [TRACE...]]...     prints one line for each model, precision and stream
//! calibrate_audit --write app/verify/profiles/audit.json ...    and writes the profile
//! ```
//! MODEL is a checkpoint, or `demo`. Without traces, honest ones are made here, on every adapter. A trace of another program (of
//! `provers/transformers`, say) is taken as honest: make it with the model that stands before it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Quiet};
use assay_key::{KeyMaker, KeyOptions, Seed, VerifierKey};
use assay_model::Model;
use assay_prove::{Open, Request};
use assay_tests::{adapters, prover};
use assay_trace::Trace;
use assay_verify::audit::profile::{AuditProfiles, StreamProfile, unit};

/// What is taken for honest, over the largest that was measured.
const HEADROOM: f64 = 1.25;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let command = format!(
        "cargo run --release -p assay-tests --bin calibrate_audit -- {}",
        args.join(" ")
    );
    let write = args.first().is_some_and(|arg| arg == "--write").then(|| {
        args.remove(0);
        args.remove(0)
    });
    let mut found: BTreeMap<(String, &'static str), StreamProfile> = BTreeMap::new();
    let mut measured = Vec::new();
    for group in args.split(|arg| arg == "--") {
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
            all = made(&model, root);
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
        let profiles = AuditProfiles {
            id: "audit-f32-bf16-f16".to_owned(),
            date: String::from_utf8(date.stdout)?.trim().to_owned(),
            command,
            measured,
            headroom: HEADROOM,
            streams: found.into_values().collect(),
        };
        std::fs::write(path, serde_json::to_string_pretty(&profiles)? + "\n")?;
    }
    Ok(())
}

fn key(model: &Model, root: assay_trace::Digest) -> Result<VerifierKey, Box<dyn Error>> {
    let mut maker = KeyMaker::new(model, root, Seed::from_os()?, &KeyOptions::default())?;
    while !maker.step()? {}
    Ok(maker.finish()?)
}

/// Honest traces of f32 provers: every adapter and the twins, greedy and sampled, short and long.
fn made(model: &Model, root: assay_trace::Digest) -> Vec<(String, Vec<u8>)> {
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
                seed: 5 + i as u64,
                temperature: 0.9,
                top_k: 0,
                top_p: 1.0,
            };
            let request = Request {
                prompt: (0..*prompt as u32)
                    .map(|p| (p * 7919 + 31 * (i as u32 + 1)) % vocab)
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
