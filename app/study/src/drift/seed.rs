//! The seed's words and rule (`measure_embedding_drift.py` of the Llama port of DejaVu).

use serde::{Deserialize, Serialize};

use super::Drift;

/// The seed's JSON, with its keys, from our figures. Two differences: means are over tokens, not over the means of texts; and index 0 of
/// the second list is 1.0, where the seed has 0.0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedVerdict {
    /// The model's name.
    pub model: String,
    /// Layers.
    pub num_layers: u32,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Mean of the next list but one.
    pub avg_consecutive_cosine: f64,
    /// Last state with state 0.
    pub final_layer_to_layer0_cosine: f64,
    /// Each state with the one before.
    pub consecutive_cosine_per_layer: Vec<f64>,
    /// Each state with state 0.
    pub from_layer0_cosine_per_layer: Vec<f64>,
    /// The seed's rule: last with first below 0.70, or consecutive below 0.90 on average. Nearly every trained model meets
    /// the first, so this is no evidence that predictors fail.
    pub hypothesis_verified: bool,
    /// The seed's words for `hypothesis_verified`, marked as its own.
    pub interpretation: String,
}

impl SeedVerdict {
    /// Of a drift with at least two states; `None` with fewer.
    pub fn of(model: &str, drift: &Drift) -> Option<Self> {
        let consecutive: Vec<f64> = drift
            .states
            .iter()
            .filter_map(|state| state.cosine_to_previous)
            .map(|moments| moments.mean)
            .collect();
        let from_first: Vec<f64> = drift
            .states
            .iter()
            .map(|state| state.cosine_to_first.mean)
            .collect();
        if consecutive.is_empty() {
            return None;
        }
        let average = consecutive.iter().sum::<f64>() / consecutive.len() as f64;
        let last = from_first.last().copied()?;
        let fails = last < 0.70 || average < 0.90;
        let says = if fails { "FAILS" } else { "may hold" };
        Some(Self {
            model: model.to_owned(),
            num_layers: drift.model_layers,
            hidden_size: drift.hidden,
            avg_consecutive_cosine: average,
            final_layer_to_layer0_cosine: last,
            consecutive_cosine_per_layer: consecutive,
            from_layer0_cosine_per_layer: from_first,
            hypothesis_verified: fails,
            interpretation: format!(
                "By the seed's rule (final against layer 0 below 0.70, or consecutive below 0.90 on average), DejaVu's assumption \
                 {says} here. The rule looks at no predictor."
            ),
        })
    }

    /// The seed's word for a cosine with the state before.
    pub fn consecutive_word(cosine: f64) -> &'static str {
        match cosine {
            c if c > 0.95 => "Stable",
            c if c > 0.85 => "Moderate drift",
            c if c > 0.70 => "Significant drift",
            _ => "Severe drift",
        }
    }

    /// The seed's word for a cosine with state 0.
    pub fn first_word(cosine: f64) -> &'static str {
        match cosine {
            c if c > 0.90 => "Close to original",
            c if c > 0.70 => "Moderate",
            c if c > 0.50 => "Significant",
            _ => "Very different",
        }
    }
}
