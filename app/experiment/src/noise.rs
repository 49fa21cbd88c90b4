//! verified_llm's noise test, and perplexity by its protocol.
//!
//! Windows of 512 tokens that do not overlap (context 512, stride 512), in batches of 4; documents shorter than a window are left out,
//! and so is the last batch if it is not full. A window's loss is the mean of -ln p of its tokens but the first;
//! ppl = exp(sum of loss x tokens / sum of tokens).

use assay_model::{Model, ModelConfig};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::chart::{Axis, Mark, Panel, Sheet, Table, histogram, short};
use crate::losses::{Probes, Stream};
use crate::plain::{Alter, Plain};
use crate::pooled::percentile;

/// Tokens of a window, unless the model's context is shorter.
pub const CONTEXT: usize = 512;
/// Windows of a batch.
pub const BATCH: usize = 4;
/// The seed's plots drop losses above this.
pub const DROPPED_ABOVE: f64 = 0.01;
/// The seed's threshold on a loss.
pub const THRESHOLD: f64 = assay_verify::audit::stream::SEED_MSE;

/// One loss: a stream of a layer over one batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Which batch.
    pub batch: usize,
    /// Which layer.
    pub layer: usize,
    /// Which product.
    pub stream: Stream,
    /// The mean squared residual.
    pub loss: f64,
}

/// A run with one scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// The noise.
    pub scale: f64,
    /// Windows.
    pub windows: usize,
    /// Predicted tokens.
    pub tokens: usize,
    /// Perplexity.
    pub perplexity: f64,
    /// Running perplexity after each batch, as the seed's log has it.
    pub running: Vec<f64>,
    /// All losses.
    pub losses: Vec<Loss>,
}

/// Windows of documents, as the protocol cuts them, at most `limit`.
///
/// # Errors
/// Not one full batch.
pub fn windows(
    documents: impl Iterator<Item = Result<Vec<u32>, ExperimentError>>,
    config: &ModelConfig,
    limit: usize,
) -> Result<Vec<Vec<u32>>, ExperimentError> {
    let context = CONTEXT.min(config.context);
    let mut all = Vec::new();
    for document in documents {
        let document = document?;
        all.extend(document.chunks_exact(context).map(<[u32]>::to_vec));
        if all.len() >= limit {
            break;
        }
    }
    all.truncate(limit.min(all.len()));
    all.truncate(all.len() / BATCH * BATCH);
    if all.is_empty() {
        return Err(ExperimentError::Config(format!(
            "not one batch of {BATCH} windows of {context} tokens: the text or the limit is too small"
        )));
    }
    Ok(all)
}

/// A model that noise is put on.
pub struct Bench {
    plain: Plain,
    probes: Probes,
}

impl Bench {
    /// Decodes the weights and projects them.
    ///
    /// # Errors
    /// A family that the plain pass does not know.
    pub fn new(model: &Model) -> Result<Self, ExperimentError> {
        let plain = Plain::load(model)?;
        let probes = Probes::new(&plain, CONTEXT.min(plain.config().context));
        Ok(Self { plain, probes })
    }

    /// Runs the windows with one scale of noise. `goes_on` is asked after each batch.
    ///
    /// # Errors
    /// Ids beyond the vocabulary; what `goes_on` says.
    pub fn run(
        &self,
        windows: &[Vec<u32>],
        scale: f64,
        mut goes_on: impl FnMut(usize) -> Result<(), ExperimentError>,
    ) -> Result<Level, ExperimentError> {
        let mut level = Level {
            scale,
            windows: windows.len(),
            tokens: 0,
            perplexity: 0.0,
            running: Vec::new(),
            losses: Vec::new(),
        };
        let layers = self.plain.config().layers;
        let mut sum = 0.0;
        for (batch, windows) in windows.chunks(BATCH).enumerate() {
            goes_on(batch)?;
            let ran = windows
                .par_iter()
                .enumerate()
                .map(|(i, window)| self.window(window, scale, (batch * BATCH + i) as u64))
                .collect::<Result<Vec<_>, ExperimentError>>()?;
            for (loss, tokens, _) in &ran {
                sum += loss;
                level.tokens += tokens;
            }
            level.running.push((sum / level.tokens.max(1) as f64).exp());
            for layer in 0..layers {
                for (s, stream) in Stream::ALL.into_iter().enumerate() {
                    let of = |one: &(f64, usize, Vec<[f64; 9]>)| one.2[layer][s];
                    let loss = ran.iter().map(of).sum::<f64>() / ran.len() as f64;
                    level.losses.push(Loss {
                        batch,
                        layer,
                        stream,
                        loss,
                    });
                }
            }
        }
        level.perplexity = (sum / level.tokens.max(1) as f64).exp();
        Ok(level)
    }

    /// Sum of -ln p over the window, tokens predicted, and losses by layer and stream.
    fn window(
        &self,
        window: &[u32],
        noise: f64,
        seed: u64,
    ) -> Result<(f64, usize, Vec<[f64; 9]>), ExperimentError> {
        let config = self.plain.config();
        let alter = Alter {
            noise,
            seed: seed << 48,
            ..Alter::default()
        };
        let mut losses = self.probes.losses(config.layers);
        let ran = self
            .plain
            .session(alter)
            .run_losing(window, Some(&mut losses))?;
        let mut sum = 0.0;
        for (row, next) in ran
            .logits
            .chunks_exact(config.vocab)
            .zip(window.iter().skip(1))
        {
            sum -= log_likelihood(row, *next as usize);
        }
        let means = (0..config.layers)
            .map(|layer| Stream::ALL.map(|stream| losses.mean(layer, stream)))
            .collect();
        Ok((sum, window.len() - 1, means))
    }
}

/// Natural logarithm of a token's probability.
pub fn log_likelihood(logits: &[f32], token: usize) -> f64 {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - top).exp()).sum();
    let own = logits.get(token).copied().unwrap_or(f32::MIN);
    f64::from(own - top) - sum.ln()
}

impl Level {
    /// The seed's name for this level's files, without an ending: `ppl-llama-noise-{s}-limit-{n}`.
    pub fn file_stem(&self, limit: usize) -> String {
        let scale = if self.scale == 0.0 {
            "0".to_owned()
        } else {
            format!("{:e}", self.scale)
        };
        format!("ppl-llama-noise-{scale}-limit-{limit}")
    }

    /// The log: a line a batch with the running perplexity, then the result.
    pub fn log(&self) -> String {
        let mut log = String::new();
        for (batch, ppl) in self.running.iter().enumerate() {
            log += &format!(
                "batch {batch}: windows {} ppl {ppl:.6}\n",
                (batch + 1) * BATCH
            );
        }
        log + &format!("tokens {} ppl {:.6}\n", self.tokens, self.perplexity)
    }

    /// The lines of the loss log.
    pub fn loss_log(&self) -> String {
        self.losses
            .iter()
            .map(|l| {
                format!(
                    "batch {} layer {} {} loss: {:.6e}\n",
                    l.batch,
                    l.layer,
                    l.stream.name(),
                    l.loss
                )
            })
            .collect()
    }

    /// Losses of one stream in the order of time, those above [`DROPPED_ABOVE`] left out, and how many those are.
    pub fn of_stream(&self, stream: Stream) -> (Vec<f64>, usize) {
        let all: Vec<f64> = self
            .losses
            .iter()
            .filter(|l| l.stream == stream)
            .map(|l| l.loss)
            .collect();
        let kept: Vec<f64> = all
            .iter()
            .copied()
            .filter(|l| *l <= DROPPED_ABOVE)
            .collect();
        let dropped = all.len() - kept.len();
        (kept, dropped)
    }

    /// The seed's four panels: losses in time, boxes, a histogram and a table.
    pub fn sheet(&self, title: &str) -> Sheet {
        let streams: Vec<(Stream, Vec<f64>, usize)> = Stream::ALL
            .into_iter()
            .map(|stream| {
                let (kept, dropped) = self.of_stream(stream);
                (stream, kept, dropped)
            })
            .collect();
        let all = || {
            streams
                .iter()
                .flat_map(|(_, losses, _)| losses.iter().copied())
        };
        let y = Axis::log("loss", all().chain([THRESHOLD]));
        let longest = streams
            .iter()
            .map(|(_, losses, _)| losses.len())
            .max()
            .unwrap_or(1);
        let time = Panel {
            title: "Losses in time (batch by batch, layer by layer)".to_owned(),
            x: Axis::around("sample", [0.0, longest as f64].into_iter()),
            y: y.clone(),
            marks: streams
                .iter()
                .enumerate()
                .map(|(i, (stream, losses, _))| Mark::Line {
                    name: stream.name().to_owned(),
                    series: i,
                    dashed: i >= 5,
                    points: losses
                        .iter()
                        .enumerate()
                        .map(|(t, l)| (t as f64, *l))
                        .collect(),
                })
                .chain([Mark::Level {
                    name: "the seed's threshold".to_owned(),
                    series: 6,
                    from: 0.0,
                    to: longest as f64,
                    y: THRESHOLD,
                }])
                .collect(),
        };
        let names: Vec<&str> = streams.iter().map(|(stream, ..)| stream.name()).collect();
        let boxes = Panel {
            title: "By stream: quartiles, extremes".to_owned(),
            x: Axis::names("stream", &names),
            y,
            marks: streams
                .iter()
                .enumerate()
                .filter(|(_, (_, losses, _))| !losses.is_empty())
                .map(|(i, (_, losses, _))| {
                    let mut sorted = losses.clone();
                    sorted.sort_by(f64::total_cmp);
                    let five = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| percentile(&sorted, share));
                    Mark::Box {
                        series: i,
                        x: i as f64,
                        five,
                    }
                })
                .collect(),
        };
        let bars = histogram(&all().collect::<Vec<_>>(), 30, true);
        // A density over the logarithm: the bars' heights times their width in decades add up to 1.
        let total: f64 = bars.iter().map(|bar| bar.2).sum();
        let density: Vec<(f64, f64, f64)> = bars
            .into_iter()
            .map(|(from, to, n)| {
                (
                    from,
                    to,
                    n / total.max(1.0) / (to / from).log10().max(1e-12),
                )
            })
            .collect();
        let shape = Panel {
            title: "All losses".to_owned(),
            x: Axis::log("loss", all()),
            y: Axis::around(
                "density a decade",
                density.iter().map(|bar| bar.2).chain([0.0]),
            ),
            marks: vec![Mark::Bars {
                series: 0,
                bars: density,
            }],
        };
        let head = ["Loss Type", "Count", "Mean", "Min", "Max"]
            .map(str::to_owned)
            .to_vec();
        let line = |(stream, losses, _): &(Stream, Vec<f64>, usize)| {
            let n = losses.len().max(1) as f64;
            let mean = losses.iter().sum::<f64>() / n;
            let min = losses.iter().copied().fold(f64::INFINITY, f64::min);
            let max = losses.iter().copied().fold(0.0, f64::max);
            vec![
                stream.name().to_owned(),
                losses.len().to_string(),
                short(mean),
                if losses.is_empty() {
                    "-".to_owned()
                } else {
                    short(min)
                },
                short(max),
            ]
        };
        let dropped: usize = streams.iter().map(|(.., dropped)| dropped).sum();
        let mut title_of_table = "Figures".to_owned();
        if dropped > 0 {
            title_of_table +=
                &format!(" ({dropped} above {DROPPED_ABOVE} left out, as the seed does)");
        }
        Sheet {
            title: title.to_owned(),
            panels: vec![time, boxes, shape],
            tables: vec![Table {
                title: title_of_table,
                rows: std::iter::once(head)
                    .chain(streams.iter().map(line))
                    .collect(),
            }],
            columns: 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_the_protocol() {
        let model = Model::demo().unwrap();
        let config = model.config();
        let documents = || {
            [512, 511, 1100, 513, 40, 512]
                .map(|n| Ok(vec![5; n]))
                .into_iter()
        };
        // 1, none, 2, 1, none, 1: five windows, one batch of four.
        assert_eq!(windows(documents(), config, 100).unwrap().len(), 4);
        assert!(windows(documents(), config, 3).is_err());
        assert!(windows(std::iter::empty(), config, 9).is_err());
    }

    /// E[loss] = n s^2 / 3 for noise U[0, 1) s on n columns; q, k, v and o get none.
    #[test]
    fn noise_shows_in_the_losses_as_the_formula_says() {
        let model = Model::demo().unwrap();
        let bench = Bench::new(&model).unwrap();
        let window: Vec<u32> = (0..48).map(|i| 3 + i * 37 % 2000).collect();
        let of = |scale: f64| bench.window(&window, scale, 1).unwrap();
        let (plain, tokens, floor) = of(0.0);
        let (noisy, _, losses) = of(1e-2);
        assert_eq!(tokens, 47);
        assert!((plain - noisy).abs() > 1e-4 && (plain - noisy).abs() < 0.2 * plain);
        let config = model.config();
        for (stream, n) in [
            (Stream::Gate, config.intermediate),
            (Stream::Up, config.intermediate),
            (Stream::Down, config.hidden),
            (Stream::Qk, window.len()),
            (Stream::Kv, config.head_dim),
        ] {
            let got = losses[2][stream as usize];
            let want = n as f64 * (1e-2 * 0.999f64).powi(2) / 3.0;
            // Ten vectors leave the mean's own part of it uncertain by about a factor of two.
            assert!(
                (want * 0.35..want * 3.0).contains(&got),
                "{stream:?}: {got:e}, formula {want:e}"
            );
            assert!(floor[2][stream as usize] < 1e-8, "{stream:?}");
        }
        for stream in [Stream::Q, Stream::K, Stream::V, Stream::O] {
            assert!(losses[2][stream as usize] < 1e-7, "{stream:?}");
        }
    }

    #[test]
    fn logs_have_the_names_and_lines_of_the_seed() {
        let model = Model::demo().unwrap();
        let bench = Bench::new(&model).unwrap();
        let short: Vec<Vec<u32>> = (0..4).map(|i| vec![3 + i, 40, 50, 60]).collect();
        let level = bench.run(&short, 1e-5, |_| Ok(())).unwrap();
        assert_eq!(level.file_stem(200), "ppl-llama-noise-1e-5-limit-200");
        assert_eq!(level.losses.len(), 8 * 9);
        assert!(level.loss_log().lines().all(|line| line.contains("loss")));
        assert!(
            level
                .log()
                .ends_with(&format!("ppl {:.6}\n", level.perplexity))
        );
        assert!(level.sheet("t").standalone().contains("Loss Type"));
    }
}
