//! Several adapters at once: each is opened once and goes by the name that the user gave it.

use std::collections::BTreeMap;

use assay_engine::{Device, list_adapters};

use crate::device_arg::DeviceArgs;

/// Open devices.
#[derive(Default)]
pub struct Devices {
    open: BTreeMap<String, Device>,
}

impl Devices {
    /// The device that `name` (part of an adapter's name, or `cpu`) means.
    pub async fn get(&mut self, name: &str) -> anyhow::Result<Device> {
        if let Some(device) = self.open.get(name) {
            return Ok(device.clone());
        }
        let args = DeviceArgs {
            adapter: Some(name.to_owned()),
            threads: None,
        };
        let device = args.open().await?;
        self.open.insert(name.to_owned(), device.clone());
        Ok(device)
    }
}

/// Every device of this machine by a name that opens it, the best first and the CPU last. OpenGL is left out: wgpu lists the same
/// adapters again under it.
pub async fn all() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for info in list_adapters().await {
        if info.backend != "Gl" && !names.contains(&info.name) {
            names.push(info.name);
        }
    }
    names.push("cpu".to_owned());
    names
}

/// The first device of this machine that is not `name`.
async fn another(name: &str) -> String {
    let is_same = |other: &String| other.to_lowercase().contains(&name.to_lowercase());
    let others = all().await.into_iter().find(|other| !is_same(other));
    others.unwrap_or_else(|| "cpu".to_owned())
}

/// A prover's device and its verifiers': those that were named, else the best one and another.
pub async fn pair(prover: Option<String>, verifiers: &[String]) -> (String, Vec<String>) {
    let prover = match prover {
        Some(name) => name,
        None => all().await.swap_remove(0),
    };
    let verifiers = match verifiers.is_empty() {
        true => vec![another(&prover).await],
        false => verifiers.to_vec(),
    };
    (prover, verifiers)
}
