//! Where to compute: `--adapter NAME|cpu` and `--threads N`, common to all verbs.

use std::sync::Arc;

use anyhow::Context as _;
use assay_engine::{AdapterInfo, Device, Gpu, GpuOptions};

use crate::tune_file;

/// The common flags.
#[derive(Debug, clap::Args)]
pub struct DeviceArgs {
    /// Compute on the first adapter whose name contains NAME, or on `cpu`
    #[arg(
        long,
        value_name = "NAME",
        global = true,
        help_heading = "Common options"
    )]
    pub adapter: Option<String>,

    /// CPU threads for hashing and for `--adapter cpu` [default: one for each core]
    #[arg(long, value_name = "N", global = true, help_heading = "Common options",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl DeviceArgs {
    /// Starts the threads, as many as `--threads` says. Must come before any parallel work, which would start them itself and
    /// panic where the system has no room for them.
    pub fn apply_threads(&self) -> anyhow::Result<()> {
        let threads = self.threads.map_or(0, usize::from); // 0: one for each core
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("cannot start the CPU threads (--threads says how many)")
    }

    /// Opens the device.
    pub async fn open(&self) -> anyhow::Result<Device> {
        self.open_with(false).await
    }

    /// The same, with the device's clock where it has one.
    pub async fn open_timed(&self) -> anyhow::Result<Device> {
        self.open_with(true).await
    }

    async fn open_with(&self, timestamps: bool) -> anyhow::Result<Device> {
        if self.adapter.as_deref() == Some("cpu") {
            return Ok(Device::Cpu);
        }
        let options = GpuOptions {
            adapter: self.adapter.clone(),
            tunings: tune_file::tunings(),
            timestamps,
            ..GpuOptions::default()
        };
        Ok(Device::Gpu(Arc::new(Gpu::open(&options).await?)))
    }
}

/// An adapter in a line: `llvmpipe (LLVM 19.1.7, 256 bits), Vulkan`.
pub fn in_a_line(info: &AdapterInfo) -> String {
    if is_cpu(info) {
        return "cpu (Assay's own CPU kernels)".to_owned();
    }
    format!("{}, {}", crate::text::plain(&info.name), info.backend)
}

/// Whether these are the facts of the CPU twins.
pub fn is_cpu(info: &AdapterInfo) -> bool {
    info.backend == "Cpu"
}
