//! The checks that need no inference: what the manifest says against the verifier's model and the verifier's wishes.

use assay_engine::sampler::SamplerSpec;
use assay_engine::{ActivationType, linear_widths};
use assay_trace::{Compute, Digest, Linear, Manifest, Sampler, StopReason, Trace};

use crate::facts::Facts;
use crate::report::{Check, Outcome, Where};

/// A manifest's sampler as the engine runs it.
pub fn sampler_spec(sampler: &Sampler) -> SamplerSpec {
    match *sampler {
        Sampler::Greedy => SamplerSpec::Greedy,
        Sampler::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        } => SamplerSpec::Gumbel {
            seed,
            temperature: temperature.to_f64(),
            top_k,
            top_p: top_p.to_f64(),
        },
    }
}

/// Does the trace hold the nonce that was asked for?
pub(crate) fn nonce(manifest: &Manifest, wanted: Option<[u8; 32]>) -> Check {
    const ID: &str = "nonce";
    match (wanted, manifest.nonce) {
        (None, _) => Check::skipped(ID, "no nonce was asked for"),
        (Some(wanted), Some(got)) if wanted == got.0 => {
            Check::pass(ID, "the nonce is the one asked for")
        }
        (Some(_), Some(_)) => Check::fail(
            ID,
            "nonce",
            "the trace answers another nonce: a replay, or another request",
        ),
        (Some(_), None) => Check::fail(ID, "nonce", "the trace has no nonce"),
    }
}

/// Does the trace name the verifier's model? `of` says what its root was taken from.
pub(crate) fn model_root(manifest: &Manifest, own: Digest, of: &str) -> Check {
    const ID: &str = "model-root";
    let claimed = manifest.model.root;
    if claimed == own {
        return Check::pass(ID, format!("the trace names {of}"));
    }
    let detail = format!("the trace names the weights {claimed}, the verifier has {own}");
    Check::fail(ID, "model-root", detail)
}

/// Is the prover's tokenizer the verifier's? Only ids are ever compared, so this concerns what a text means.
pub(crate) fn tokenizer(manifest: &Manifest, facts: &Facts) -> Check {
    const ID: &str = "tokenizer";
    match (manifest.tokenizer, facts.tokenizer) {
        (Some(claimed), Some(own)) if claimed == own => {
            Check::pass(ID, "the tokenizer is the verifier's")
        }
        (Some(claimed), Some(own)) => Check::fail(
            ID,
            "tokenizer",
            format!("the tokenizer is {claimed}, the verifier has {own}"),
        ),
        (None, _) => Check::skipped(ID, "the trace names no tokenizer"),
        (_, None) => Check::skipped(ID, "the verifier's model has no tokenizer"),
    }
}

/// Do the claimed sizes agree with the model whose root they come with?
pub(crate) fn shape(manifest: &Manifest, facts: &Facts) -> Check {
    const ID: &str = "model-shape";
    let (claim, config) = (&manifest.model, &facts.config);
    let sizes = [
        ("hidden", u64::from(claim.hidden), config.hidden as u64),
        ("layers", u64::from(claim.layers), config.layers as u64),
        ("vocab", u64::from(claim.vocab), config.vocab as u64),
        ("parameters", claim.parameters, facts.parameters),
    ];
    if let Some((what, got, want)) = sizes.into_iter().find(|(_, got, want)| got != want) {
        return Check::fail(
            ID,
            "model-shape",
            format!("`{what}` is {got}, the model has {want}"),
        )
        .numbers(got as f64, want as f64);
    }
    // A row of another width than the model's would not fit what it is compared with.
    if let Some(linears) = &manifest.linears {
        let own = Linear::ALL.into_iter().zip(linear_widths(config));
        let claimed = linears.products.iter().map(|p| (p.name, p.width as usize));
        if !claimed.eq(own) {
            let detail = "the linear products are not those of the model";
            return Check::fail(ID, "model-shape", detail);
        }
    }
    let words = [
        ("family", claim.family.as_str(), config.family.as_str()),
        ("dtype", claim.dtype.as_str(), facts.dtype.as_str()),
    ];
    match words.into_iter().find(|(_, got, want)| got != want) {
        Some((what, got, want)) => Check::fail(
            ID,
            "model-shape",
            format!("`{what}` is `{got}`, the model has `{want}`"),
        ),
        None => Check::pass(ID, "sizes and types are the model's"),
    }
}

/// Is it the precision that was asked for? A trace that claims a lower one is judged with that one's tolerances, in which more can hide.
pub(crate) fn precision(manifest: &Manifest, wanted: Option<Compute>) -> Check {
    const ID: &str = "precision";
    let claimed = manifest.numerics.compute;
    match wanted {
        None => Check::skipped(
            ID,
            format!(
                "not asked for: judged as {}, which it claims",
                claimed.name()
            ),
        ),
        Some(wanted) if wanted == claimed => Check::pass(
            ID,
            format!("the trace claims {}, which was asked for", claimed.name()),
        ),
        Some(wanted) => {
            let detail = format!(
                "the trace claims to have computed in {}, asked for was {}",
                claimed.name(),
                wanted.name()
            );
            Check::fail(ID, "precision-mismatch", detail)
        }
    }
}

/// Does the trace round the inputs of products as was asked for, which is not at all unless somebody asked?
pub(crate) fn activations(manifest: &Manifest, wanted: ActivationType) -> Check {
    const ID: &str = "activations";
    let claimed = ActivationType::of(manifest.numerics.activations);
    if claimed == wanted {
        let detail = match claimed {
            ActivationType::Float => "the trace claims products of floats".to_owned(),
            other => format!(
                "the trace claims the rounding of inputs that was asked for, `{}`",
                other.as_str()
            ),
        };
        return Check::pass(ID, detail);
    }
    let detail = format!(
        "the trace says that products took inputs of type `{}`, asked for was `{}`: that is another function",
        claimed.as_str(),
        wanted.as_str()
    );
    Check::fail(ID, "activations", detail)
}

/// Is it the prompt that was asked?
pub(crate) fn prompt(trace: &Trace<'_>, wanted: Option<&[u32]>) -> Check {
    const ID: &str = "prompt";
    let Some(wanted) = wanted else {
        return Check::skipped(ID, "no prompt was given to compare with");
    };
    let got = trace.prompt();
    if got == wanted {
        return Check::pass(
            ID,
            format!("the {} prompt ids are those asked for", got.len()),
        );
    }
    let position = got
        .iter()
        .zip(wanted)
        .take_while(|(got, want)| got == want)
        .count();
    let detail = format!(
        "prompts differ from position {position} (got {} ids, want {})",
        got.len(),
        wanted.len()
    );
    let place = Where {
        position: Some(position),
        token: got.get(position).copied(),
        ..Where::default()
    };
    Check::fail(ID, "prompt-mismatch", detail).at(place)
}

/// Is it the sampler that was asked for?
pub(crate) fn sampler(manifest: &Manifest, wanted: Option<&SamplerSpec>) -> Check {
    const ID: &str = "sampler";
    match wanted {
        None => Check::skipped(ID, "no sampler was given to compare with"),
        Some(wanted) if *wanted == sampler_spec(&manifest.sampler) => {
            Check::pass(ID, "the sampler is the one asked for")
        }
        Some(wanted) => {
            let detail = format!(
                "the trace claims {:?}, asked for was {wanted:?}",
                sampler_spec(&manifest.sampler)
            );
            Check::fail(ID, "sampler-mismatch", detail)
        }
    }
}

/// Does the trace fit the model's context?
pub(crate) fn context(manifest: &Manifest, facts: &Facts) -> Check {
    const ID: &str = "context";
    let (got, limit) = (manifest.total_tokens(), facts.config.context);
    let check = if got <= limit {
        Check::pass(ID, format!("{got} tokens fit the context of {limit}"))
    } else {
        Check::fail(
            ID,
            "context",
            format!("{got} tokens, the model's context has room for {limit}"),
        )
    };
    check.numbers(got as f64, limit as f64)
}

/// Did the output end where and why it says?
pub(crate) fn stop_reason(trace: &Trace<'_>, facts: &Facts) -> Check {
    stop_reason_of(
        trace.manifest(),
        trace.output(),
        &facts.config.eos,
        facts.config.context,
    )
}

fn stop_reason_of(manifest: &Manifest, output: &[u32], own_eos: &[u32], context: usize) -> Check {
    const ID: &str = "stop-reason";
    const CODE: &str = "stop-reason";
    let ends = |token: &u32| manifest.eos.contains(token);
    let offset = manifest.prompt.tokens as usize;
    if !manifest.ignore_eos
        && let Some((body, _last)) = output.split_last().map(|(last, body)| (body, last))
        && let Some(at) = body.iter().position(ends)
    {
        let place = Where {
            position: Some(offset + at),
            token: body.get(at).copied(),
            ..Where::default()
        };
        return Check::fail(
            ID,
            CODE,
            "the output goes on after an end-of-sequence token",
        )
        .at(place);
    }
    let ends_with_eos = output.last().is_some_and(ends);
    let wrong = match manifest.output.stop {
        StopReason::Eos if manifest.ignore_eos => {
            Some("claims to end at a token that it claims to ignore")
        }
        StopReason::Eos if !ends_with_eos => {
            Some("claims an end-of-sequence token, but does not end with one")
        }
        StopReason::Length | StopReason::Context if ends_with_eos && !manifest.ignore_eos => {
            Some("ends with an end-of-sequence token, but claims another reason")
        }
        StopReason::Context if manifest.total_tokens() < context => {
            Some("claims a full context, but the context is not full")
        }
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Check::fail(ID, CODE, wrong).at(Where {
            position: manifest.total_tokens().checked_sub(1),
            ..Where::default()
        });
    }
    if manifest.eos != own_eos {
        let detail = format!(
            "the trace ends sequences at {:?}, the verifier's model at {own_eos:?}",
            manifest.eos
        );
        return Check::new(ID, Outcome::Inconclusive, "eos-ids", detail);
    }
    Check::pass(ID, "the output ends where and why it says")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn nonces() {
        let mut manifest = testing::manifest();
        assert_eq!(nonce(&manifest, None).outcome, Outcome::Skipped);
        assert_eq!(nonce(&manifest, Some([1; 32])).code, "nonce");
        manifest.nonce = Some(Digest([1; 32]));
        assert_eq!(nonce(&manifest, Some([1; 32])).outcome, Outcome::Pass);
        assert_eq!(nonce(&manifest, Some([2; 32])).code, "nonce");
    }

    #[test]
    fn precisions() {
        let mut manifest = testing::manifest();
        for claimed in Compute::ALL {
            manifest.numerics.compute = claimed;
            let unasked = precision(&manifest, None);
            assert_eq!(unasked.outcome, Outcome::Skipped);
            assert!(unasked.detail.contains(claimed.name()));
            for wanted in Compute::ALL {
                let check = precision(&manifest, Some(wanted));
                let code = if wanted == claimed {
                    "ok"
                } else {
                    "precision-mismatch"
                };
                assert_eq!(check.code, code, "{claimed:?} for {wanted:?}");
            }
        }
    }

    #[test]
    fn expected_prompt_and_sampler() {
        let bytes = testing::trace_of(
            &[1, 2, 3, 4, 5],
            3,
            50,
            Sampler::Greedy,
            &[vec![0.0; 50], vec![0.0; 50]],
        );
        let trace = Trace::parse(&bytes).unwrap();
        assert_eq!(prompt(&trace, None).outcome, Outcome::Skipped);
        assert_eq!(prompt(&trace, Some(&[1, 2, 3])).outcome, Outcome::Pass);
        for (other, at) in [
            (&[1, 9, 3][..], 1),
            (&[1, 2][..], 2),
            (&[1, 2, 3, 4][..], 3),
        ] {
            let check = prompt(&trace, Some(other));
            assert_eq!(
                (check.code, check.place.unwrap().position),
                ("prompt-mismatch", Some(at))
            );
        }
        assert_eq!(
            sampler(trace.manifest(), Some(&SamplerSpec::Greedy)).outcome,
            Outcome::Pass
        );
        let other = SamplerSpec::Gumbel {
            seed: 1,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
        };
        assert_eq!(
            sampler(trace.manifest(), Some(&other)).code,
            "sampler-mismatch"
        );
    }

    #[test]
    fn stop_reasons() {
        let check = |stop, ignore_eos, output: &[u32], own: &[u32], context| {
            let mut manifest = testing::manifest();
            manifest.eos = vec![9];
            manifest.output.stop = stop;
            manifest.output.tokens = output.len() as u32;
            manifest.ignore_eos = ignore_eos;
            stop_reason_of(&manifest, output, own, context).code
        };
        use StopReason::{Context, Eos, Length};
        let prompt = testing::manifest().prompt.tokens as usize;
        assert_eq!(check(Eos, false, &[1, 9], &[9], 99), "ok");
        assert_eq!(check(Eos, false, &[1, 2], &[9], 99), "stop-reason");
        assert_eq!(check(Eos, true, &[1, 9], &[9], 99), "stop-reason");
        assert_eq!(check(Length, false, &[1, 2], &[9], 99), "ok");
        assert_eq!(check(Length, false, &[9, 2], &[9], 99), "stop-reason");
        assert_eq!(check(Length, false, &[1, 9], &[9], 99), "stop-reason");
        assert_eq!(check(Length, true, &[9, 9], &[9], 99), "ok");
        assert_eq!(check(Context, false, &[1, 2], &[9], 99), "stop-reason");
        assert_eq!(check(Context, false, &[1, 2], &[9], prompt + 2), "ok");
        assert_eq!(check(Length, false, &[1, 2], &[8], 99), "eos-ids");
    }

    #[test]
    fn claims_against_the_demo_model() {
        let model = assay_model::Model::demo().unwrap();
        let mut manifest = testing::demo_manifest(&model);
        let facts = Facts::of_model(&model);
        assert_eq!(shape(&manifest, &facts).outcome, Outcome::Pass);
        assert_eq!(tokenizer(&manifest, &facts).outcome, Outcome::Pass);
        assert_eq!(context(&manifest, &facts).outcome, Outcome::Pass);
        let wrong: [fn(&mut Manifest); 6] = [
            |m| m.model.hidden += 1,
            |m| m.model.layers += 1,
            |m| m.model.vocab += 1,
            |m| m.model.parameters += 1,
            |m| m.model.family = "mistral".into(),
            |m| m.model.dtype = "f32".into(),
        ];
        for change in wrong {
            let mut manifest = manifest.clone();
            change(&mut manifest);
            assert_eq!(shape(&manifest, &facts).code, "model-shape");
        }
        manifest.tokenizer = Some(Digest::ZERO);
        assert_eq!(tokenizer(&manifest, &facts).code, "tokenizer");
        manifest.tokenizer = None;
        assert_eq!(tokenizer(&manifest, &facts).outcome, Outcome::Skipped);
        manifest.prompt.tokens = 1 << 19;
        assert_eq!(context(&manifest, &facts).code, "context");
    }
}
