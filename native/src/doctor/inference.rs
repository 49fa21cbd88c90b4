//! A few tokens of the demo model, proved on each adapter and verified on the CPU's own kernels, and the other way round.

use std::time::Instant;

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Engine, Numerics, Quiet};
use assay_model::Model;
use assay_prove::{Request, prove};
use assay_verify::{Options, Profiles, Verdict, verify_with};

use super::adapters::Usable;
use super::item::Item;
use crate::text;

const TOKENS: usize = 8;

/// Tries every adapter that works; the CPU's kernels alone where there is none.
pub async fn look(adapters: &[Usable]) -> Vec<Item> {
    let cpu = ("cpu".to_owned(), Device::Cpu);
    let named = adapters.iter().map(|adapter| {
        let info = &adapter.info;
        (
            format!("{}, {}", text::plain(&info.name), info.backend),
            adapter.device.clone(),
        )
    });
    let mut devices: Vec<(String, Device)> = named.collect();
    if devices.is_empty() {
        devices.push(cpu);
    }
    let mut items = Vec::new();
    for (name, device) in devices {
        items.push(match both_ways(&device).await {
            Ok(line) => Item::ok(name, line),
            Err(why) => Item::problem(
                name,
                text::plain(&why),
                "this device computes what another does not confirm: update its driver, or use another with --adapter",
            ),
        });
    }
    items
}

async fn both_ways(device: &Device) -> Result<String, String> {
    let model = Model::demo().map_err(|err| err.to_string())?;
    let started = Instant::now();
    let theirs = proved(&model, device).await?;
    let seconds = started.elapsed().as_secs_f64();
    accepted(&model, &theirs, &Device::Cpu, "verified on the CPU").await?;
    let own = proved(&model, &Device::Cpu).await?;
    accepted(&model, &own, device, "verifying what the CPU proved").await?;
    Ok(format!(
        "{TOKENS} tokens of the demo model proved in {seconds:.1} s and accepted on the CPU, and the other way round"
    ))
}

async fn proved(model: &Model, device: &Device) -> Result<Vec<u8>, String> {
    let run = async {
        let tokenizer = model.tokenizer().ok_or("the demo model has no tokenizer")?;
        let request = Request {
            sampler: SamplerSpec::Greedy,
            prompt: tokenizer.encode("ROMEO:")?,
            max_tokens: TOKENS,
            ignore_eos: true,
            nonce: None,
            opened: None,
            audit: None,
        };
        let root = model.root(&mut |_, _| {})?;
        let capacity = request.capacity(model.config());
        let mut engine = Engine::load(device, model, capacity, Numerics::Fast, &mut Quiet).await?;
        let proved = prove(&mut engine, model, root, &request, &mut Quiet).await?;
        let mut bytes = Vec::new();
        proved.trace.write_to(&mut bytes)?;
        Ok::<_, Box<dyn std::error::Error>>(bytes)
    };
    run.await.map_err(|err| format!("proving: {err}"))
}

async fn accepted(model: &Model, trace: &[u8], device: &Device, what: &str) -> Result<(), String> {
    let profiles = Profiles::embedded();
    let options = Options::default();
    let report = verify_with(&profiles, trace, model, device, &options, &mut Quiet)
        .await
        .map_err(|err| format!("{what}: {err}"))?;
    match report.verdict {
        Verdict::Accept => Ok(()),
        _ => Err(format!("{what}: {}", report.summary)),
    }
}
