//! Adapters: there at all, large enough, and right.

use std::sync::Arc;

use assay_engine::{AdapterInfo, Device, Gpu, GpuOptions, Numerics, list_adapters, selftest};

use super::item::{Item, Status};
use crate::text;

/// What the portable kernels ask of an adapter: WebGPU's own defaults.
const STORAGE_BUFFERS: u32 = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_MEMORY: u32 = 16 << 10;
const BINDING: u64 = 128 << 20;

/// An adapter whose kernels are right.
pub struct Usable {
    pub info: AdapterInfo,
    pub device: Device,
}

/// Looks at every adapter whose name holds `filter`. Adapters that work come back, opened.
pub async fn look(filter: Option<&str>) -> (Vec<Usable>, Vec<Item>) {
    if filter == Some("cpu") {
        return (Vec::new(), vec![twins()]);
    }
    let needle = filter.unwrap_or_default().to_lowercase();
    let all = list_adapters().await;
    let any = !all.is_empty();
    let (mut usable, mut items) = (Vec::new(), Vec::new());
    for info in all {
        if !full_name(&info).to_lowercase().contains(&needle) {
            continue;
        }
        let (item, found) = examine(&info).await;
        items.push(item);
        usable.extend(found);
    }
    if items.is_empty() {
        items.push(match filter.filter(|_| any) {
            Some(name) => Item::problem(
                "adapter",
                format!("no adapter has {} in its name", text::quoted(name)),
                "`assay adapters` lists those that there are",
            ),
            None => Item::problem("adapter", "there is none", crate::errors::NO_ADAPTER_HINT),
        });
    } else if usable.is_empty() {
        items.push(Item::problem(
            "adapter",
            "none of them works",
            "update the driver, or compute on the CPU: --adapter cpu",
        ));
    }
    items.push(twins());
    (usable, items)
}

fn twins() -> Item {
    Item::ok(
        "cpu",
        "Assay's own CPU kernels, the device of last resort: --adapter cpu",
    )
}

pub fn full_name(info: &AdapterInfo) -> String {
    format!("{} {}", info.name, info.backend)
}

async fn examine(info: &AdapterInfo) -> (Item, Option<Usable>) {
    let name = format!("{}, {}", text::plain(&info.name), info.backend);
    let facts = format!(
        "{} a binding, {} buffers a stage, {} invocations, {} of workgroup memory",
        text::bytes(info.max_binding),
        info.max_storage_buffers,
        text::grouped(info.max_invocations.into()),
        text::bytes(info.max_workgroup_memory.into())
    );
    let short = too_small(info);
    if !short.is_empty() {
        let item = Item::warning(name, facts, "use another adapter, or --adapter cpu")
            .line(format!("too small for the kernels: {}", short.join(", ")));
        return (item, None);
    }
    let tested = match open(info).await {
        Ok(device) => selftest::run(&device, Numerics::Fast)
            .await
            .map(|result| (device, result)),
        Err(err) => Err(err),
    };
    match tested {
        Ok((device, result)) => {
            let kernels = format!(
                "{} give their known answers, worst relative error {:.1e}",
                text::count(result.kernels.len() as u64, "kernel"),
                result.worst()
            );
            let mut item = Item::ok(name, facts).line(kernels);
            if info.software {
                item = item.line(
                    "a software rasteriser: right, but slow, and no evidence about real GPUs",
                );
            }
            let info = info.clone();
            (item, Some(Usable { info, device }))
        }
        Err(err) => {
            // One bad adapter among good ones is no reason not to verify on those.
            let item = Item {
                status: Status::Warning,
                ..Item::problem(
                    name,
                    facts,
                    "update its driver, or name another adapter with --adapter: nothing is judged on this one",
                )
            };
            (item.line(text::plain(&err.to_string())), None)
        }
    }
}

async fn open(info: &AdapterInfo) -> Result<Device, assay_engine::EngineError> {
    let options = GpuOptions {
        adapter: Some(full_name(info)),
        tunings: crate::tune_file::tunings(),
        ..GpuOptions::default()
    };
    Ok(Device::Gpu(Arc::new(Gpu::open(&options).await?)))
}

fn too_small(info: &AdapterInfo) -> Vec<String> {
    let wants = [
        (
            "buffers a stage",
            u64::from(info.max_storage_buffers),
            u64::from(STORAGE_BUFFERS),
        ),
        (
            "invocations",
            u64::from(info.max_invocations),
            u64::from(INVOCATIONS),
        ),
        (
            "bytes of workgroup memory",
            u64::from(info.max_workgroup_memory),
            u64::from(WORKGROUP_MEMORY),
        ),
        ("bytes a binding", info.max_binding, BINDING),
    ];
    let short = wants.into_iter().filter(|(_, got, want)| got < want);
    short
        .map(|(what, got, want)| format!("{got} {what}, want {want}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_below_webgpus_are_named() {
        let enough = AdapterInfo {
            max_storage_buffers: 8,
            max_invocations: 256,
            max_workgroup_memory: 16 << 10,
            max_binding: 128 << 20,
            ..AdapterInfo::cpu()
        };
        assert!(too_small(&enough).is_empty());
        let small = AdapterInfo {
            max_storage_buffers: 4,
            max_binding: 1 << 20,
            ..enough
        };
        assert_eq!(
            too_small(&small),
            [
                "4 buffers a stage, want 8",
                "1048576 bytes a binding, want 134217728"
            ]
        );
    }
}
