//! Races: candidates take turns at the same work, and the one with the least time over all races of its class is chosen.

use std::collections::HashMap;
use std::time::Duration;

use web_time::Instant;

use super::Timing;
use crate::gpu::{Bound, Gpu, Kernel, PipelineKey, Texels};
use crate::kernels::{Grid, ParamBytes, rows_to_texels};
use crate::{EngineError, Monitor, Phase};
use std::sync::Arc;

/// Bytes of the buffers by binding, from 1 on: the second holds weights, those of gate and up together at most, the others activations of
/// 128 rows at most.
const BUFFERS: [u64; 6] = [8 << 20, 64 << 20, 8 << 20, 8 << 20, 8 << 20, 8 << 20];
/// Which of them is what a product takes.
const TAKEN: u32 = 1;
/// Which of them is the weights.
const WEIGHTS: u32 = 2;
/// Binding of attention's values, which lie as its keys do.
const VALUES: u32 = 3;
/// A submit that is timed takes this long at least, where a kernel takes less it runs several times.
const LEAST: Duration = Duration::from_millis(3);
/// And so many times at most.
const MOST_TIMES: u32 = 200;
/// So much slower than the best in a race, and a candidate is out of the next ones of its class.
const OUT: f64 = 2.0;

/// One dispatch, with buffers of its own for each of `bindings`.
pub(super) struct Dispatch {
    pub key: PipelineKey,
    pub params: ParamBytes,
    pub grid: Grid,
    pub bindings: &'static [u32],
    /// Bytes of a row of its weights, or of keys and values, if they are textures; of `rows_to_texels`, of what it puts out.
    pub texel_row: Option<usize>,
    /// Columns of what it takes, if that is a texture.
    pub rows: Option<u32>,
}

/// The same work done by each candidate, which may take several dispatches for it.
pub(super) struct Race {
    pub name: String,
    /// Multiply-adds.
    pub work: u64,
    /// One a candidate.
    pub heats: Vec<Vec<Dispatch>>,
}

/// A heat that can be run.
struct Ready {
    steps: Vec<(Arc<Kernel>, wgpu::BindGroup, Grid)>,
    times: u32,
}

/// Runs races on a device.
pub(super) struct Runner<'a> {
    gpu: &'a Gpu,
    rounds: usize,
    monitor: &'a mut dyn Monitor,
    /// By binding; contents are small numbers whatever type they are taken for.
    buffers: Vec<wgpu::Buffer>,
    /// The same as weights in textures, by bytes of a row.
    textures: HashMap<usize, Texels>,
    done: u64,
    best_rate: f64,
    pub timings: Vec<Timing>,
}

impl<'a> Runner<'a> {
    /// Makes buffers.
    pub async fn new(
        gpu: &'a Gpu,
        rounds: usize,
        monitor: &'a mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        let mut buffers = Vec::new();
        // 0x3c3c is 0.0115 as bf16 and 1.06 as f16; four of these bytes are 0.0115 as f32.
        let piece = vec![0x3c; 1 << 20];
        for bytes in BUFFERS {
            let buffer = gpu.storage("tuning", bytes).await?;
            let mut pending = 0;
            for at in (0..bytes).step_by(piece.len()) {
                gpu.write(&buffer, at, &piece);
                pending += piece.len() as u64;
                gpu.flush_uploads(&mut pending, false).await?;
            }
            gpu.flush_uploads(&mut pending, true).await?;
            buffers.push(buffer);
        }
        Ok(Self {
            gpu,
            rounds: rounds.max(1),
            monitor,
            buffers,
            textures: HashMap::new(),
            done: 0,
            best_rate: 0.0,
            timings: Vec::new(),
        })
    }

    /// The most multiply-adds a second of any race so far.
    pub fn best_rate(&self) -> u64 {
        self.best_rate as u64
    }

    /// Runs `races` and gives the candidate with the least geometric mean of times among those that finished them all.
    pub async fn run(
        &mut self,
        class: &'static str,
        names: &[String],
        races: &[Race],
    ) -> Result<usize, EngineError> {
        let mut logs = vec![Some(0.0); names.len()];
        let from = self.timings.len();
        for race in races {
            let takes_part: Vec<bool> = logs.iter().map(Option::is_some).collect();
            let seconds = self.race(race, &takes_part).await?;
            let best = seconds.iter().flatten().copied().fold(f64::MAX, f64::min);
            self.best_rate = self.best_rate.max(race.work as f64 / best);
            for ((name, seconds), log) in names.iter().zip(seconds).zip(&mut logs) {
                self.timings.push(Timing {
                    class,
                    race: race.name.clone(),
                    candidate: name.clone(),
                    seconds,
                    gflops: seconds.map(|s| 2e-9 * race.work as f64 / s),
                    chosen: false,
                });
                *log = match (seconds, *log) {
                    (Some(seconds), Some(sum)) if seconds <= OUT * best => Some(sum + seconds.ln()),
                    _ => None,
                };
            }
        }
        let least = |(i, log): (usize, &Option<f64>)| log.map(|log| (i, log));
        let chosen = logs
            .iter()
            .enumerate()
            .filter_map(least)
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(0, |(i, _)| i);
        for timing in &mut self.timings[from..] {
            timing.chosen = timing.candidate == names[chosen];
        }
        Ok(chosen)
    }

    /// Median seconds of each candidate that takes part.
    async fn race(
        &mut self,
        race: &Race,
        takes_part: &[bool],
    ) -> Result<Vec<Option<f64>>, EngineError> {
        self.done += 1;
        self.monitor.progress(Phase::Checks, self.done, RACES)?;
        let mut ready = Vec::new();
        for (heat, takes_part) in race.heats.iter().zip(takes_part) {
            ready.push(match takes_part {
                true => Some(self.ready(heat).await?),
                false => None,
            });
        }
        let mut seconds = vec![Vec::with_capacity(self.rounds); ready.len()];
        for _ in 0..self.rounds {
            self.monitor.alive()?;
            for (ready, seconds) in ready.iter().zip(&mut seconds) {
                if let Some(ready) = ready {
                    seconds.push(self.time(ready).await?.as_secs_f64() / f64::from(ready.times));
                }
            }
        }
        Ok(seconds
            .into_iter()
            .map(|mut seconds| {
                seconds.sort_by(f64::total_cmp);
                seconds.get(seconds.len() / 2).map(|s| s.max(1e-9))
            })
            .collect())
    }

    /// Compiles, binds, and finds out how often it must run to take a while.
    async fn ready(&mut self, heat: &[Dispatch]) -> Result<Ready, EngineError> {
        use wgpu::BufferUsages as U;
        let mut steps = Vec::with_capacity(heat.len());
        for dispatch in heat {
            let kernel = self.gpu.kernel(&dispatch.key).await?;
            let params = self
                .gpu
                .buffer("parameters", 256, U::UNIFORM | U::COPY_DST)
                .await?;
            self.gpu.write(&params, 0, &dispatch.params);
            let rows = dispatch.rows.map(|k| rows_to_texels::row_bytes(k as usize));
            for row_bytes in [dispatch.texel_row, rows].into_iter().flatten() {
                self.make_texture(row_bytes).await?;
            }
            let bound = |binding: u32| {
                let row_bytes = match binding {
                    TAKEN => rows,
                    WEIGHTS => dispatch.texel_row,
                    VALUES if dispatch.key.kernel == "attention_subgroup" => dispatch.texel_row,
                    _ => None,
                };
                match row_bytes.and_then(|row| self.textures.get(&row)) {
                    Some(texels) => texels.into(),
                    None => (&self.buffers[binding as usize - 1]).into(),
                }
            };
            let buffers: Vec<(u32, Bound<'_>)> = dispatch
                .bindings
                .iter()
                .map(|binding| (*binding, bound(*binding)))
                .collect();
            let bind = self.gpu.bind(&kernel, &params, 0, &buffers);
            steps.push((kernel, bind, dispatch.grid));
        }
        let mut ready = Ready { steps, times: 1 };
        // The first run compiles on some drivers.
        self.time(&ready).await?;
        let once = self.time(&ready).await?.as_secs_f64().max(1e-6);
        let times = (LEAST.as_secs_f64() / once).ceil() as u32;
        ready.times = times.clamp(1, MOST_TIMES);
        Ok(ready)
    }

    /// Makes a texture as large as the buffer of weights.
    async fn make_texture(&mut self, row_bytes: usize) -> Result<(), EngineError> {
        if self.textures.contains_key(&row_bytes) {
            return Ok(());
        }
        let bytes = BUFFERS[WEIGHTS as usize - 1] as usize;
        let rows = (bytes / row_bytes).min(self.gpu.most_texels());
        let texels = self.gpu.texels("tuning", rows, row_bytes).await?;
        let step = ((1 << 20) / row_bytes).max(1);
        let piece = vec![0x3c; step * row_bytes];
        let mut pending = 0;
        for first in (0..rows).step_by(step) {
            let rows = step.min(rows - first);
            self.gpu
                .write_texels(&texels, first, &piece[..rows * row_bytes]);
            pending += (rows * row_bytes) as u64;
            self.gpu.flush_uploads(&mut pending, false).await?;
        }
        self.gpu.flush_uploads(&mut pending, true).await?;
        self.textures.insert(row_bytes, texels);
        Ok(())
    }

    async fn time(&self, ready: &Ready) -> Result<Duration, EngineError> {
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for _ in 0..ready.times {
            for (kernel, bind, grid) in &ready.steps {
                pass.set_pipeline(&kernel.pipeline);
                pass.set_bind_group(0, bind, &[]);
                pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
            }
        }
        drop(pass);
        let started = Instant::now();
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.settle().await?;
        Ok(started.elapsed())
    }
}

/// How many races there are in all, for progress: three batch sizes and one of products, in eight each, three and one of either fusion,
/// and two of attention.
const RACES: u64 = 4 * 8 + 4 * 2 + 2;
