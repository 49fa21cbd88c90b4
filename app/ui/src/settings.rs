//! What a user chose once and finds again. The platform keeps it.

use assay_engine::sampler::SamplerSpec;
use assay_trace::Decimal;
use assay_work::message::{DeviceChoice, ExperimentRequest};
use serde::{Deserialize, Serialize};

/// Bounds of the zoom factor.
const ZOOM: (f32, f32) = (0.5, 3.0);

/// Kept from one start to the next. Anything missing or unknown takes its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Light, dark or as the system has it.
    pub theme: ThemeChoice,
    /// Size of everything; 1 is normal.
    pub zoom: f32,
    /// Where to compute.
    pub device: DeviceChoice,
    /// The sampler that was last used for proving.
    pub sampler: SamplerForm,
    /// Most tokens that were last asked for.
    pub max_tokens: u32,
    /// The live prover that was last asked. Its token is never kept.
    pub prover: String,
    /// The experiments that were last run.
    pub experiments: Option<ExperimentRequest>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::System,
            zoom: 1.0,
            device: DeviceChoice::Best,
            sampler: SamplerForm::default(),
            max_tokens: 64,
            prover: String::new(),
            experiments: None,
        }
    }
}

impl Settings {
    /// The zoom factor within its bounds.
    pub(crate) fn zoom(&self) -> f32 {
        if self.zoom.is_finite() {
            self.zoom.clamp(ZOOM.0, ZOOM.1)
        } else {
            1.0
        }
    }
}

/// Which theme.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThemeChoice {
    /// As the system has it.
    #[default]
    System,
    /// Dark.
    Dark,
    /// Light.
    Light,
}

impl ThemeChoice {
    pub(crate) fn preference(self) -> egui::ThemePreference {
        match self {
            Self::System => egui::ThemePreference::System,
            Self::Dark => egui::ThemePreference::Dark,
            Self::Light => egui::ThemePreference::Light,
        }
    }
}

/// A sampler as it is typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplerForm {
    /// Always the likeliest token.
    pub greedy: bool,
    /// Divides logits.
    pub temperature: String,
    /// Keep so many; empty or 0 keeps all.
    pub top_k: String,
    /// Keep so much probability; empty or 1 keeps all.
    pub top_p: String,
    /// Key of the noise.
    pub seed: String,
}

impl Default for SamplerForm {
    fn default() -> Self {
        Self {
            greedy: false,
            temperature: "0.8".to_owned(),
            top_k: String::new(),
            top_p: String::new(),
            seed: "7".to_owned(),
        }
    }
}

impl SamplerForm {
    /// The sampler, in the numbers that a trace keeps; or which field is wrong.
    pub fn spec(&self) -> Result<SamplerSpec, String> {
        if self.greedy {
            return Ok(SamplerSpec::Greedy);
        }
        let temperature = decimal("temperature", &self.temperature, "0.8")?;
        if temperature <= 0.0 {
            return Err("temperature must be above 0; choose greedy instead".to_owned());
        }
        let top_p = decimal("top-p", &self.top_p, "1")?;
        if top_p <= 0.0 || top_p > 1.0 {
            return Err("top-p must be above 0 and at most 1".to_owned());
        }
        Ok(SamplerSpec::Gumbel {
            seed: whole("seed", &self.seed)?
                .ok_or_else(|| "a seed is needed: any whole number".to_owned())?,
            temperature,
            top_k: whole("top-k", &self.top_k)?.unwrap_or(0),
            top_p,
        })
    }
}

fn decimal(name: &str, text: &str, empty: &str) -> Result<f64, String> {
    let text = text.trim();
    let text = if text.is_empty() { empty } else { text };
    let value = text
        .parse::<f64>()
        .ok()
        .and_then(|value| Decimal::from_f64(value).ok());
    value
        .map(Decimal::to_f64)
        .ok_or_else(|| format!("{name} must be a number such as {empty}"))
}

fn whole<T: std::str::FromStr>(name: &str, text: &str) -> Result<Option<T>, String> {
    match text.trim() {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| format!("{name} must be a whole number")),
    }
}

/// A nonce of 64 hexadecimal digits; `None` if nothing was typed.
pub(crate) fn nonce(text: &str) -> Result<Option<String>, String> {
    let text = text.trim();
    if text.is_empty() {
        Ok(None)
    } else if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(Some(text.to_ascii_lowercase()))
    } else {
        Err("a nonce is 64 hexadecimal digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_round_trip_and_older_versions() {
        let settings = Settings {
            theme: ThemeChoice::Light,
            zoom: 1.25,
            device: DeviceChoice::Named("llvmpipe".to_owned()),
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        assert_eq!(
            serde_json::from_str::<Settings>("{\"gone\":1}").unwrap(),
            Settings::default()
        );
        assert_eq!(
            Settings {
                zoom: f32::NAN,
                ..Settings::default()
            }
            .zoom(),
            1.0
        );
    }

    #[test]
    fn samplers_and_nonces() {
        let form = SamplerForm {
            top_k: "40".to_owned(),
            top_p: "0.95".to_owned(),
            ..SamplerForm::default()
        };
        assert_eq!(
            form.spec(),
            Ok(SamplerSpec::Gumbel {
                seed: 7,
                temperature: 0.8,
                top_k: 40,
                top_p: 0.95
            })
        );
        for bad in ["0", "-1", "NaN", "x", "1e9"] {
            assert!(
                SamplerForm {
                    temperature: bad.to_owned(),
                    ..SamplerForm::default()
                }
                .spec()
                .is_err(),
                "{bad}"
            );
        }
        assert!(
            SamplerForm {
                seed: String::new(),
                ..SamplerForm::default()
            }
            .spec()
            .is_err()
        );
        assert!(
            SamplerForm {
                top_p: "1.5".to_owned(),
                ..SamplerForm::default()
            }
            .spec()
            .is_err()
        );
        assert_eq!(nonce(""), Ok(None));
        assert_eq!(nonce(&"AB".repeat(32)), Ok(Some("ab".repeat(32))));
        assert!(nonce("abc").is_err() && nonce(&"é".repeat(32)).is_err());
    }
}
