//! Several devices at once: each is opened once and goes by the name that the user gave it.

use std::collections::BTreeMap;

use assay_engine::{Device, EngineError, Gpu, GpuOptions};

/// What Assay's own CPU kernels go by.
pub const CPU: &str = "cpu";

/// The devices of this machine, opened as they are asked for.
#[derive(Default)]
pub struct Devices {
    options: GpuOptions,
    open: BTreeMap<String, Device>,
    names: Option<Vec<String>>,
}

impl Devices {
    /// Those that are found here, opened with `options`.
    pub fn new(options: GpuOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// These and no others, the best first.
    pub fn of(devices: impl IntoIterator<Item = (String, Device)>) -> Self {
        let (mut names, mut open) = (Vec::new(), BTreeMap::new());
        for (name, device) in devices {
            names.push(name.clone());
            open.insert(name, device);
        }
        Self {
            open,
            names: Some(names),
            ..Self::default()
        }
    }

    /// Takes a device that is open already, under its own name, which it gives.
    pub fn put(&mut self, device: Device) -> String {
        let name = device.info().name;
        self.open.insert(name.clone(), device);
        name
    }

    /// The device that `name` (part of an adapter's name, or [`CPU`]) means.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub async fn get(&mut self, name: &str) -> Result<Device, EngineError> {
        if let Some(device) = self.open.get(name) {
            return Ok(device.clone());
        }
        let device = match name {
            CPU => Device::Cpu,
            name => {
                let options = GpuOptions {
                    adapter: Some(name.to_owned()),
                    ..self.options.clone()
                };
                Device::Gpu(Gpu::open(&options).await?.into())
            }
        };
        self.open.insert(name.to_owned(), device.clone());
        Ok(device)
    }

    /// Every device by a name that opens it, the best first and the CPU last. OpenGL is left out: wgpu lists the same adapters again
    /// under it.
    pub async fn names(&mut self) -> &[String] {
        if self.names.is_none() {
            let mut names: Vec<String> = Vec::new();
            for info in Gpu::list(&self.options).await {
                if info.backend != "Gl" && !names.contains(&info.name) {
                    names.push(info.name);
                }
            }
            names.push(CPU.to_owned());
            self.names = Some(names);
        }
        self.names.as_deref().unwrap_or_default()
    }

    /// The first device that is not `name`.
    async fn another(&mut self, name: &str) -> String {
        let name = name.to_lowercase();
        let mut all = self.names().await.iter();
        let other = all.find(|other| !other.to_lowercase().contains(&name));
        other.map_or_else(|| CPU.to_owned(), String::clone)
    }

    /// A prover's device and its verifiers': those that were named, else the best one and another.
    pub async fn pair(
        &mut self,
        prover: Option<String>,
        verifiers: &[String],
    ) -> (String, Vec<String>) {
        let prover = match prover {
            Some(name) => name,
            None => {
                let best = self.names().await.first();
                best.map_or_else(|| CPU.to_owned(), String::clone)
            }
        };
        let verifiers = match verifiers.is_empty() {
            true => vec![self.another(&prover).await],
            false => verifiers.to_vec(),
        };
        (prover, verifiers)
    }
}
