//! Checking beside a run, step by step: verified_llm's setting, where a device computes and a CPU that is trusted checks.
//!
//! Only the *outputs* of linear layers come from the device. Every input is the checker's own chain: the embedding of the tokens, then
//! norms, rotation, attention over its own cache of checked keys and values, the gated product, the residual sums. So a lie in any
//! step between the products is a wrong input to the next one, and shows there.

use assay_engine::audit::{CpuAuditor, HeadProbe, LayerProbe, OwnedRows};
use assay_engine::{Outputs, Rounding};
use assay_key::{Part, VerifierKey};
use assay_model::LayerRole;
use assay_trace::Compute;

use super::attention::AttentionError;
use super::energy::Energy;
use super::layer::{self, Held, NAMES, Tests, with_bias};
use super::profile::AuditProfiles;
use super::run::ALPHA;
use super::stream::{Honest, Tally};

/// Rows that one run may have, for the significance of each: a bound, since how long it gets is not known before.
const MOST_ROWS: f64 = 1e6;

/// A checker of an f32 run, with a key.
pub struct StagedAudit {
    profiles: AuditProfiles,
    layers: Vec<StagedLayer>,
    head: Held,
    head_auditor: CpuAuditor,
    final_norm: Vec<f32>,
    hidden: usize,
    row: Energy,
    pooled: Energy,
    tallies: [Tally; 8],
}

struct StagedLayer {
    held: [Held; 7],
    attn_norm: Vec<f32>,
    mlp_norm: Vec<f32>,
    auditor: CpuAuditor,
    attention: AttentionError,
}

impl StagedAudit {
    /// Makes room for `capacity` positions. `None` if the key lacks a layer: a chain has no holes.
    pub fn new(key: &VerifierKey, capacity: usize) -> Option<Self> {
        let config = key.config();
        let mut layers = Vec::with_capacity(config.layers);
        for l in 0..config.layers as u32 {
            let held: Vec<Held> = LayerRole::LINEARS
                .iter()
                .filter_map(|role| Held::of(key, Part::Layer(l, *role), key.bias(l, *role)))
                .collect();
            let held: [Held; 7] = held.try_into().ok()?;
            layers.push(StagedLayer {
                attention: layer::attention_error(config, Rounding::Keep, &held[3]),
                auditor: CpuAuditor::for_layer(config, Rounding::Keep, capacity).ok()?,
                attn_norm: key.attn_norm(l)?,
                mlp_norm: key.mlp_norm(l)?,
                held,
            });
        }
        Some(Self {
            profiles: AuditProfiles::embedded(),
            layers,
            head: Held::of(key, Part::Head, None)?,
            head_auditor: CpuAuditor::for_layer(config, Rounding::Keep, 1).ok()?,
            final_norm: key.final_norm(),
            hidden: config.hidden,
            row: Energy::new(key.projections(), ALPHA / MOST_ROWS),
            pooled: Energy::new(key.projections(), ALPHA / MOST_ROWS),
            tallies: [Tally::default(); 8],
        })
    }

    /// Checks one step: `embedded` are the embedding's rows of its tokens, read by the checker itself, and `outputs` what the device
    /// handed back, with linear outputs of every layer. True if everything so far is within limits.
    pub fn check(&mut self, embedded: &[f32], outputs: &Outputs) -> bool {
        let honest = |stream: &str, k: usize| -> Option<Honest> {
            self.profiles.honest(Compute::F32, stream, k)
        };
        let tests = Tests {
            rounding: Rounding::Keep,
            row: &self.row,
            pooled: &self.pooled,
            honest: &honest,
        };
        let mut chain = embedded.to_vec();
        let pos0 = outputs.pos0;
        for (layer, linears) in self.layers.iter_mut().zip(&outputs.linears) {
            let rows = OwnedRows {
                before: std::mem::take(&mut chain),
                outputs: linears.clone(),
            };
            let probe = LayerProbe {
                attn_norm: &layer.attn_norm,
                mlp_norm: &layer.mlp_norm,
                products: std::array::from_fn(|i| layer.held[i].probe()),
            };
            let seen = layer.auditor.layer(&probe, pos0, rows.view());
            let held = &layer.held;
            let [q, k, v] = [0, 1, 2].map(|i| with_bias(&rows.outputs[i], held[i].bias.as_deref()));
            let input = layer.attention.add(pos0, &q, &k, &v);
            let errors = layer::input_errors(layer.auditor.config(), Rounding::Keep);
            for i in 0..NAMES.len() {
                let mut judge = held[i].judge(NAMES[i], errors[i], &tests);
                let input = (i == 3).then_some(&input);
                judge.add(pos0, &seen.products[i], &rows.outputs[i], input);
                self.tallies[i].merge(&judge.finish());
            }
            chain = seen.after;
        }
        if !outputs.logits.is_empty() {
            let first = (outputs.logits_pos0 - pos0) * self.hidden;
            let probe = HeadProbe {
                norm: &self.final_norm,
                product: self.head.probe(),
            };
            let seen = self
                .head_auditor
                .head(&probe, &chain[first..], &outputs.logits);
            let error = layer::input_errors(self.head_auditor.config(), Rounding::Keep)[0];
            let mut judge = self.head.judge("logits", error, &tests);
            judge.add(outputs.logits_pos0, &seen, &outputs.logits, None);
            self.tallies[7].merge(&judge.finish());
        }
        self.tallies.iter().all(|tally| {
            let worsts = [tally.row, tally.pooled, tally.element, tally.certified];
            worsts.iter().all(|worst| worst.over <= 1.0)
        })
    }

    /// What each stream came to: the seven products, then the logits.
    pub fn streams(&self) -> impl Iterator<Item = (&'static str, &Tally)> {
        NAMES.into_iter().chain(["logits"]).zip(&self.tallies)
    }
}
