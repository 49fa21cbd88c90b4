//! The adapters of this machine, opened once for each test binary.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use assay_engine::{AdapterInfo, Device, Gpu, GpuOptions, list_adapters};

/// Adapters that are not OpenGL (which wgpu lists again under Vulkan), best first.
pub fn all() -> &'static [AdapterInfo] {
    static ALL: OnceLock<Vec<AdapterInfo>> = OnceLock::new();
    ALL.get_or_init(|| {
        let all: Vec<_> = pollster::block_on(list_adapters())
            .into_iter()
            .filter(|a| a.backend != "Gl")
            .collect();
        if let Ok(required) = std::env::var("ASSAY_REQUIRE_ADAPTERS") {
            for name in required.split(',').filter(|n| !n.is_empty()) {
                assert!(
                    all.iter().any(|a| a.name.contains(name)),
                    "adapter {name} is required and missing"
                );
            }
        }
        all
    })
}

/// Opens the first adapter whose name holds `name`, once; `None`, with a printed line, if there is none.
pub fn open(name: &str) -> Option<Device> {
    static OPEN: OnceLock<Mutex<HashMap<String, Arc<Gpu>>>> = OnceLock::new();
    let Some(info) = all()
        .iter()
        .find(|a| a.name.to_lowercase().contains(&name.to_lowercase()))
    else {
        println!("skipped: no adapter named {name} on this machine");
        return None;
    };
    let mut open = OPEN.get_or_init(Mutex::default).lock().ok()?;
    let key = format!("{} {}", info.name, info.backend);
    if let Some(gpu) = open.get(&key) {
        return Some(Device::Gpu(Arc::clone(gpu)));
    }
    let options = GpuOptions {
        adapter: Some(key.clone()),
        ..Default::default()
    };
    let gpu = Arc::new(pollster::block_on(Gpu::open(&options)).expect("a listed adapter opens"));
    open.insert(key, Arc::clone(&gpu));
    Some(Device::Gpu(gpu))
}

/// Every device of this machine: all adapters, then the CPU twins.
pub fn devices() -> Vec<(String, Device)> {
    let mut devices: Vec<_> = all()
        .iter()
        .filter_map(|a| Some((a.name.clone(), open(&a.name)?)))
        .collect();
    devices.push(("cpu".to_owned(), Device::Cpu));
    devices
}

/// Two different devices, for a prover and a verifier: two adapters if there are, else one and the twins.
pub fn pair() -> (Device, Device) {
    let mut devices = devices().into_iter().map(|(_, d)| d);
    let first = devices.next().unwrap_or(Device::Cpu);
    let second = devices.next().unwrap_or(Device::Cpu);
    (first, second)
}
