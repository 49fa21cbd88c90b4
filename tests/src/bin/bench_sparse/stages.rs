//! Stages of one submit by the device's own clock: what a stage takes where it runs, without what it costs to submit it alone.

use assay_engine::gpu::Gpu;

use crate::setup::Step;

/// Room for timestamps: two a step.
const MOST: u32 = 16;

/// The device's clock.
pub struct Clock {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    ms_a_tick: f64,
}

impl Clock {
    /// `None` where the device has none.
    pub fn new(gpu: &Gpu) -> Option<Self> {
        use wgpu::BufferUsages as U;
        let period = f64::from(gpu.queue.get_timestamp_period());
        let features = gpu.device.features();
        if !features.contains(wgpu::Features::TIMESTAMP_QUERY) || period <= 0.0 {
            return None;
        }
        let bytes = u64::from(MOST) * 8;
        let buffer = |usage| pollster::block_on(gpu.buffer("timestamps", bytes, usage));
        Some(Self {
            set: gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: MOST,
            }),
            resolved: buffer(U::QUERY_RESOLVE | U::COPY_SRC).expect("memory"),
            staging: buffer(U::COPY_DST | U::MAP_READ).expect("memory"),
            ms_a_tick: period * 1e-6,
        })
    }

    /// Milliseconds of each step, all of them in one submit, each a pass.
    pub fn time(&self, gpu: &Gpu, steps: &[Step]) -> Vec<f64> {
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (i, step) in steps.iter().enumerate() {
            let at = 2 * i as u32;
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: &self.set,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            };
            step.record(
                &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(step.name),
                    timestamp_writes: Some(writes),
                }),
            );
        }
        let count = 2 * steps.len() as u32;
        let bytes = u64::from(count) * 8;
        encoder.resolve_query_set(&self.set, 0..count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, bytes);
        gpu.queue.submit([encoder.finish()]);
        let read = pollster::block_on(gpu.read(&self.staging, bytes)).expect("the device lives");
        let ticks: Vec<u64> = read
            .as_chunks::<8>()
            .0
            .iter()
            .map(|tick| u64::from_le_bytes(*tick))
            .collect();
        ticks
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[begin, end]| end.saturating_sub(*begin) as f64 * self.ms_a_tick)
            .collect()
    }
}

/// The middle of each step's times.
pub fn medians(rounds: &[Vec<f64>]) -> Vec<f64> {
    let steps = rounds.first().map_or(0, Vec::len);
    (0..steps)
        .map(|i| {
            let mut all: Vec<f64> = rounds.iter().map(|times| times[i]).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        })
        .collect()
}
