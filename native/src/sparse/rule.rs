//! `--sparse`: which neurons of each MLP are computed, in a proof and in its verification alike.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use assay_engine::sparsity::{LowRank, SparseModel};
use assay_model::Model;
use assay_study::labels::Target;
use assay_study::predictor::{Predictor, Query, Wanted};
use assay_trace::{Decimal, Digest};

use super::files::{GivenMasks, Thresholds};

/// The flag, where a command takes it.
#[derive(Debug, clap::Args)]
pub struct SparseArgs {
    /// Compute only some neurons of each MLP: `topk:30%` (or a count), `cats:T`, `cats:FILE`, `teal:FILE`, `predicted:FILE:30%`,
    /// `given:FILE`, or `relu` (what ReLU leaves, which loses nothing). A verifier must give the same
    #[arg(long, value_name = "RULE", value_parser = parse)]
    pub sparse: Option<Rule>,
}

/// How many neurons stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keep {
    /// This many.
    Count(u32),
    /// This share, from 0 to 1.
    Share(f64),
}

/// A rule before the model and its files are at hand.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// The largest activations.
    TopK(Keep),
    /// One threshold for all layers.
    Cats(Decimal),
    /// Thresholds by layer.
    CatsFile(PathBuf),
    /// Thresholds by layer, of inputs too.
    Teal(PathBuf),
    /// The largest scores of a predictor.
    Predicted(PathBuf, Keep),
    /// The same neurons always.
    Given(PathBuf),
    /// What ReLU leaves.
    Relu,
}

const WANT: &str = "want topk:30%, topk:COUNT, cats:T, cats:FILE, teal:FILE, predicted:FILE:30%, given:FILE or relu";

/// Reads the flag's value.
pub fn parse(text: &str) -> Result<Rule, String> {
    if text == "relu" {
        return Ok(Rule::Relu);
    }
    let (kind, rest) = text.split_once(':').ok_or(WANT)?;
    if rest.is_empty() {
        return Err(WANT.to_owned());
    }
    Ok(match kind {
        "topk" => Rule::TopK(keep(rest)?),
        // A number, or else the name of a file.
        "cats" => match rest.parse() {
            Ok(threshold) => Rule::Cats(threshold),
            Err(_) => Rule::CatsFile(rest.into()),
        },
        "teal" => Rule::Teal(rest.into()),
        "predicted" => {
            let (file, share) = rest
                .rsplit_once(':')
                .ok_or("want predicted:FILE:30% (or a count)")?;
            Rule::Predicted(file.into(), keep(share)?)
        }
        "given" => Rule::Given(rest.into()),
        _ => return Err(WANT.to_owned()),
    })
}

fn keep(text: &str) -> Result<Keep, String> {
    const WANT: &str = "want a share such as 30%, or a number of neurons";
    let Some(percent) = text.strip_suffix('%') else {
        return text.parse().map(Keep::Count).map_err(|_| WANT.to_owned());
    };
    match percent.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Keep::Share(percent / 100.0)),
        _ => Err(WANT.to_owned()),
    }
}

impl Keep {
    fn of(self, neurons: usize) -> anyhow::Result<u32> {
        match self {
            Self::Count(count) => {
                ensure!(
                    count as usize <= neurons,
                    "{count} active neurons: the model's MLPs have {neurons}"
                );
                Ok(count)
            }
            Self::Share(share) => Ok((share * neurons as f64).round() as u32),
        }
    }
}

impl SparseArgs {
    /// The rule with its files, for `model`; `root` hashes its weights, if a file must be theirs.
    pub fn load(
        &self,
        model: &Model,
        root: impl FnOnce() -> anyhow::Result<Digest>,
    ) -> anyhow::Result<Option<Arc<SparseModel>>> {
        let Some(rule) = &self.sparse else {
            return Ok(None);
        };
        Ok(Some(Arc::new(rule.load(model, root)?)))
    }
}

impl Rule {
    /// The rule with its files, for `model`; `root` hashes its weights, if a file must be theirs.
    pub fn load(
        &self,
        model: &Model,
        root: impl FnOnce() -> anyhow::Result<Digest>,
    ) -> anyhow::Result<SparseModel> {
        let config = model.config();
        let neurons = config.intermediate;
        Ok(match self {
            Self::TopK(keep) => SparseModel::top_k(keep.of(neurons)?),
            Self::Cats(threshold) => SparseModel::cats(vec![*threshold; config.layers]),
            Self::CatsFile(path) => {
                let file = Thresholds::read(path, config)?;
                ensure!(
                    file.input.is_none(),
                    "{} holds thresholds for TEAL: --sparse teal:{0}",
                    path.display()
                );
                SparseModel::cats(file.neurons)
            }
            Self::Teal(path) => {
                let file = Thresholds::read(path, config)?;
                let input = file.input.with_context(|| {
                    format!("{} holds thresholds for CATS only", path.display())
                })?;
                SparseModel::teal(input, file.neurons)
            }
            Self::Predicted(path, keep) => {
                let wanted = Wanted {
                    root: root()?,
                    target: Target::Mlp,
                    hidden: config.hidden as u32,
                    outputs: neurons as u32,
                    model_layers: config.layers as u32,
                    layers: (0..config.layers as u32).collect(),
                    digest: None,
                };
                let (predictor, digest) = Predictor::load(path, &wanted)?;
                let query = predictor.facts().query;
                ensure!(
                    query == Query::SameLayer,
                    "{} predicts from {}: a run can use same-layer predictors only",
                    path.display(),
                    query.name()
                );
                let low_rank = |layer| -> anyhow::Result<LowRank> {
                    let weights = predictor.weights(layer)?;
                    Ok(LowRank {
                        rank: predictor.facts().rank as usize,
                        down: weights.down.clone(),
                        up: weights.up.clone(),
                    })
                };
                let all: anyhow::Result<Vec<LowRank>> =
                    (0..config.layers as u32).map(low_rank).collect();
                SparseModel::predicted(digest, all?, keep.of(neurons)?)
            }
            Self::Given(path) => {
                let (masks, digest) = GivenMasks::read(path, config)?;
                SparseModel::given(digest, masks)
            }
            Self::Relu => {
                ensure!(
                    !config.family.mlp().has_gate(),
                    "`relu` is for models with ReLU: {} has gated MLPs, of which nothing is zero\ntry --sparse topk:50% or cats:FILE",
                    config.family.as_str()
                );
                SparseModel::cats(vec![Decimal::ZERO; config.layers])
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(parse("topk:30%"), Ok(Rule::TopK(Keep::Share(0.3))));
        assert_eq!(parse("topk:128"), Ok(Rule::TopK(Keep::Count(128))));
        let half = Decimal::from_f64(0.5).expect("a decimal");
        assert_eq!(parse("cats:0.5"), Ok(Rule::Cats(half)));
        assert_eq!(parse("cats:0.50"), Ok(Rule::CatsFile("0.50".into())));
        assert_eq!(parse("cats:a.json"), Ok(Rule::CatsFile("a.json".into())));
        assert_eq!(parse("teal:a.json"), Ok(Rule::Teal("a.json".into())));
        assert_eq!(
            parse("predicted:C:/p:20%"),
            Ok(Rule::Predicted("C:/p".into(), Keep::Share(0.2)))
        );
        assert_eq!(parse("relu"), Ok(Rule::Relu));
        for wrong in [
            "",
            "topk",
            "topk:",
            "topk:-1",
            "topk:101%",
            "topk:x",
            "cats:",
            "other:1",
            "predicted:f",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
