//! Time by dispatch: by the device's own clock where it lets kernels be timed, else by a submit for each dispatch and this program's.
//!
//! A profiled run is slower than a plain one: each dispatch is a pass of its own, and each stage is waited for. Shares and rates within it
//! are what it is for.

use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::{EngineError, Gpu};

/// Dispatches between two readings: WebGPU allows 4096 timestamps in a set, two a dispatch; a layer has about a dozen dispatches.
const MOST: u32 = 1024;

/// What timed a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The device, at the beginning and the end of a pass.
    Timestamps,
    /// This program, around a submit of one dispatch; what it takes to submit is in it.
    Submits,
}

/// One dispatch of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// "embedding", "layer 0" and so on, "logits".
    pub stage: String,
    /// The kernel's file name.
    pub kernel: &'static str,
    /// Its variant.
    pub variant: String,
    /// Rows and columns of its weights, "8192 x 2048"; empty where it has none.
    pub shape: String,
    /// How long it took.
    pub seconds: f64,
    /// Multiply-adds of products and attention; 0 of what is not counted.
    pub multiply_adds: u64,
    /// Bytes that it must read and write at least: weights in their stored type, activations once each.
    pub bytes: u64,
}

/// A dispatch that is about to be timed.
pub(crate) struct Timed {
    pub kernel: &'static str,
    pub variant: String,
    pub shape: String,
    pub multiply_adds: u64,
    pub bytes: u64,
}

/// Times dispatches.
pub(crate) struct Profiler {
    device: Option<Timestamps>,
    stage: String,
    waiting: Vec<Timed>,
    spans: Vec<Span>,
}

/// Where the device writes its clock.
struct Timestamps {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    seconds_a_tick: f64,
}

impl Profiler {
    /// By timestamps, if `gpu` was opened with them and they count time.
    pub async fn new(gpu: &Gpu) -> Result<Self, EngineError> {
        use wgpu::BufferUsages as U;
        let period = f64::from(gpu.queue.get_timestamp_period());
        let has = gpu
            .device
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY)
            && period > 0.0;
        let device = match has {
            true => {
                let descriptor = wgpu::QuerySetDescriptor {
                    label: Some("profile"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2 * MOST,
                };
                let bytes = u64::from(2 * MOST) * 8;
                let resolve = U::QUERY_RESOLVE | U::COPY_SRC;
                Some(Timestamps {
                    set: gpu.device.create_query_set(&descriptor),
                    resolved: gpu.buffer("timestamps", bytes, resolve).await?,
                    staging: gpu
                        .buffer("timestamps read back", bytes, U::COPY_DST | U::MAP_READ)
                        .await?,
                    seconds_a_tick: period * 1e-9,
                })
            }
            false => None,
        };
        Ok(Self {
            device,
            stage: String::new(),
            waiting: Vec::new(),
            spans: Vec::new(),
        })
    }

    /// What times.
    pub fn clock(&self) -> Clock {
        match self.device {
            Some(_) => Clock::Timestamps,
            None => Clock::Submits,
        }
    }

    /// What comes next.
    pub fn name(&mut self, stage: String) {
        self.stage = stage;
    }

    /// All spans so far, which are forgotten.
    pub fn take(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    /// Runs one dispatch, which `record` encodes. By the device's clock it only joins `encoder`; else it is submitted and waited for.
    pub async fn run(
        &mut self,
        gpu: &Gpu,
        encoder: &mut Option<wgpu::CommandEncoder>,
        timed: Timed,
        record: impl FnOnce(&mut wgpu::ComputePass<'_>),
    ) -> Result<(), EngineError> {
        let new = || {
            let descriptor = wgpu::CommandEncoderDescriptor::default();
            gpu.device.create_command_encoder(&descriptor)
        };
        let Some(device) = &self.device else {
            // What was encoded before must not be timed with it.
            let before = encoder.take().map(wgpu::CommandEncoder::finish);
            gpu.queue.submit(before);
            gpu.settle().await?;
            let mut own = new();
            record(&mut own.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
            let own = own.finish();
            let begun = Instant::now();
            gpu.queue.submit([own]);
            gpu.settle().await?;
            let seconds = begun.elapsed().as_secs_f64();
            self.spans.push(span(self.stage.clone(), timed, seconds));
            return Ok(());
        };
        let at = 2 * self.waiting.len() as u32;
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &device.set,
            beginning_of_pass_write_index: Some(at),
            end_of_pass_write_index: Some(at + 1),
        };
        let mut pass =
            encoder
                .get_or_insert_with(new)
                .begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(timed.kernel),
                    timestamp_writes: Some(writes),
                });
        record(&mut pass);
        drop(pass);
        self.waiting.push(timed);
        if self.waiting.len() as u32 == MOST {
            self.read(gpu, encoder).await?;
        }
        Ok(())
    }

    /// Sends off what is encoded and reads the device's clock.
    pub async fn read(
        &mut self,
        gpu: &Gpu,
        encoder: &mut Option<wgpu::CommandEncoder>,
    ) -> Result<(), EngineError> {
        let (Some(device), Some(mut encoded)) = (&self.device, encoder.take()) else {
            return Ok(());
        };
        let count = 2 * self.waiting.len() as u32;
        let bytes = u64::from(count) * 8;
        if count > 0 {
            encoded.resolve_query_set(&device.set, 0..count, &device.resolved, 0);
            encoded.copy_buffer_to_buffer(&device.resolved, 0, &device.staging, 0, bytes);
        }
        gpu.queue.submit([encoded.finish()]);
        let ticks = gpu.read(&device.staging, bytes).await?;
        let ticks: Vec<u64> = ticks
            .as_chunks::<8>()
            .0
            .iter()
            .map(|tick| u64::from_le_bytes(*tick))
            .collect();
        for (timed, ends) in self.waiting.drain(..).zip(ticks.as_chunks::<2>().0) {
            // A clock that goes backwards says nothing.
            let ticks = ends[1].saturating_sub(ends[0]);
            let seconds = ticks as f64 * device.seconds_a_tick;
            self.spans.push(span(self.stage.clone(), timed, seconds));
        }
        Ok(())
    }
}

fn span(stage: String, timed: Timed, seconds: f64) -> Span {
    let Timed {
        kernel,
        variant,
        shape,
        multiply_adds,
        bytes,
    } = timed;
    Span {
        stage,
        kernel,
        variant,
        shape,
        seconds,
        multiply_adds,
        bytes,
    }
}
