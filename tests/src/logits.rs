//! A model's logits under a rounding of its inputs, and how far two of them lie apart.

use assay_engine::{ActivationType, Device, Engine, EngineError, Numerics, Quiet, Want};
use assay_model::Model;

/// Logits at every position of `ids`, strict.
pub fn logits(
    device: &Device,
    model: &Model,
    ids: &[u32],
    activations: ActivationType,
) -> Vec<f32> {
    let mut quiet = Quiet;
    let strict = Numerics::Strict;
    let engine = Engine::load_rounding(
        device,
        model,
        ids.len(),
        strict,
        activations,
        None,
        &mut quiet,
    );
    let mut engine = pollster::block_on(engine).expect("the model loads");
    let want = Want {
        logits_from: Some(0),
        ..Want::default()
    };
    let mut logits = Vec::new();
    let sink = |outputs: assay_engine::Outputs| -> Result<(), EngineError> {
        logits.extend_from_slice(&outputs.logits);
        Ok(())
    };
    let run = engine.prefill(ids, &want, &mut quiet, sink);
    pollster::block_on(run).expect("the model runs");
    logits
}

/// Relative L2 distance.
pub fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let pairs = got.iter().zip(want);
    let off: f64 = pairs
        .map(|(g, w)| square(f64::from(*g) - f64::from(*w)))
        .sum();
    let norm: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    (off / norm).sqrt()
}
