//! The layers once more, for a run that hands back what each linear product put out: products alone, then biases and residuals as
//! steps of their own. The sums are the same ones in the same order, so hidden states keep their bits under strict numerics.

use super::planner::Planner;
use super::upload::GpuMatrix;
use crate::engine::linear_widths;
use crate::gpu::MatmulKernel;
use crate::kernels::add::{self, Addend};
use crate::plan::{Draft, Rows, Stage, Submit, Work};
use crate::{ActivationType, EngineError, Monitor, Rounding};

/// One layer: up to its products of the normed hidden state, and from the rotation on.
struct Recorded {
    before: Stage,
    after: Stage,
    /// Without a bias or scales nothing moves the queries to where they are rotated.
    move_queries: bool,
}

/// Layers that keep their products' outputs.
pub(super) struct Recorder {
    /// f32, i32 or i64 [chunk, width] each, in the order of `LINEARS`.
    raw: [wgpu::Buffer; 7],
    widths: [usize; 7],
    /// Words of an element.
    words: usize,
    many: Vec<Recorded>,
    one: Vec<Recorded>,
}

impl Recorder {
    /// Plans `planner`'s layers for `chunk` rows, by `many` and by `one` row at a time.
    pub async fn new(
        planner: &Planner<'_>,
        chunk: usize,
        many: MatmulKernel,
        one: MatmulKernel,
    ) -> Result<Self, EngineError> {
        let widths = linear_widths(planner.config);
        let words = match planner.activations {
            ActivationType::Blocks => 2,
            _ => 1,
        };
        let mut raw = Vec::with_capacity(7);
        for width in widths {
            let bytes = (chunk * width * words * 4) as u64;
            raw.push(planner.gpu.storage("linear outputs", bytes).await?);
        }
        let raw: [wgpu::Buffer; 7] = raw
            .try_into()
            .map_err(|_| EngineError::Device("seven buffers are not seven".to_owned()))?;
        let (mut manys, mut ones) = (Vec::new(), Vec::new());
        for l in 0..planner.layers.len() {
            manys.push(recorded(planner, l, many, &raw).await?);
            ones.push(recorded(planner, l, one, &raw).await?);
        }
        Ok(Self {
            raw,
            widths,
            words,
            many: manys,
            one: ones,
        })
    }

    fn layer(&self, layer: usize, rows: usize) -> &Recorded {
        let layers = if rows == 1 { &self.one } else { &self.many };
        &layers[layer]
    }

    /// The stages of `layer`, for their parameters.
    pub fn stages(&self, layer: usize, rows: usize) -> [&Stage; 2] {
        let layer = self.layer(layer, rows);
        [&layer.before, &layer.after]
    }

    /// Where the last encoded layer's outputs stand, with their widths in words.
    pub fn outputs(&self) -> [(&wgpu::Buffer, usize); 7] {
        std::array::from_fn(|i| (&self.raw[i], self.widths[i] * self.words))
    }

    /// Encodes `layer`.
    pub async fn run(
        &self,
        submit: &mut Submit<'_>,
        layer: usize,
        queries: &wgpu::Buffer,
        rows: Rows,
        monitor: &mut dyn Monitor,
    ) -> Result<(), EngineError> {
        let recorded = self.layer(layer, rows.count as usize);
        submit.stage(&recorded.before, rows, monitor).await?;
        if recorded.move_queries {
            let bytes = u64::from(rows.count) * self.widths[0] as u64 * 4;
            submit.copy(&self.raw[0], queries, 0, bytes);
        }
        submit.stage(&recorded.after, rows, monitor).await
    }
}

async fn recorded<'a>(
    planner: &Planner<'a>,
    l: usize,
    path: MatmulKernel,
    raw: &'a [wgpu::Buffer; 7],
) -> Result<Recorded, EngineError> {
    let layer = &planner.layers[l];
    let Some(gate_weight) = &layer.gate else {
        return Err(EngineError::Unsupported(
            "linear outputs of an MLP without a gate".to_owned(),
        ));
    };
    let a = planner.acts;
    let [raw_q, raw_k, raw_v, raw_o, raw_gate, raw_up, raw_down] = raw;
    let [q_width, kv_width, _, hidden, wide, ..] = linear_widths(planner.config);
    let mut before = Vec::new();
    planner.begin(&mut before, l);
    product(
        planner,
        &mut before,
        path,
        &layer.q,
        &a.x,
        raw_q,
        &a.q,
        q_width,
    );
    let k = product(
        planner,
        &mut before,
        path,
        &layer.k,
        &a.x,
        raw_k,
        &a.k,
        kv_width,
    );
    let v = product(
        planner,
        &mut before,
        path,
        &layer.v,
        &a.x,
        raw_v,
        &a.v,
        kv_width,
    );

    let mut after = Vec::new();
    planner.cache(&mut after, k, v, layer);
    after.push(planner.attention(layer));
    let o = product(
        planner,
        &mut after,
        path,
        &layer.o,
        &a.attended,
        raw_o,
        &a.x,
        hidden,
    );
    planner.sum_and_norm(&mut after, &a.h, o, &a.mid, &layer.mlp_norm);
    let gate = product(
        planner,
        &mut after,
        path,
        gate_weight,
        &a.x,
        raw_gate,
        &a.gate,
        wide,
    );
    let up = product(
        planner, &mut after, path, &layer.up, &a.x, raw_up, &a.up, wide,
    );
    after.push(planner.silu(gate, up));
    let down = product(
        planner,
        &mut after,
        path,
        &layer.down,
        &a.gated,
        raw_down,
        &a.x,
        hidden,
    );
    planner.end(&mut after, l, down);
    Ok(Recorded {
        before: Stage::new(planner.gpu, before).await?,
        after: Stage::new(planner.gpu, after).await?,
        move_queries: layer.q.bias.is_none() && layer.q.sums.is_none(),
    })
}

/// A product without its bias into `raw`, and the bias as a step of its own into `to`; gives the buffer with the sum. A product of
/// integers leaves those in `raw`, and its numbers are always in `to`.
fn product<'a>(
    planner: &Planner<'a>,
    steps: &mut Vec<Draft<'a>>,
    path: MatmulKernel,
    w: &'a GpuMatrix,
    x: &'a wgpu::Buffer,
    raw: &'a wgpu::Buffer,
    to: &'a wgpu::Buffer,
    width: usize,
) -> &'a wgpu::Buffer {
    if w.sums.is_some() {
        planner.sums(steps, path, w, x, raw);
        planner.scaled(steps, w, raw, (w.bias.as_ref(), None), to);
        return to;
    }
    planner.bare_product(steps, path, w, x, raw);
    let Some(bias) = &w.bias else { return raw };
    steps.push(Draft::new(
        add::key(Addend::Bias, planner.numerics, Rounding::Keep),
        vec![(1, raw), (2, bias), (3, to)],
        Work::Element {
            width: width as u32,
        },
    ));
    to
}
