//! Asking and judging in one go.

use assay_model::Model;
use assay_verify::{Profiles, Verified};

use super::ask::{Answered, Asked, Known, ask};
use crate::commands::verify::{Against, Options, Results, judge};
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::Progress;
use crate::{model_arg, text};

/// Asks the prover at `address`, and judges what it opens as if it had come in a file.
pub fn verify(
    address: &str,
    results: Results,
    against: &Against,
    options: &Options,
    device: &DeviceArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    options.refuse_expectations()?;
    let quiet = options.is_quiet();
    // A rule that cannot be is told before anybody is asked.
    let sparse = options.sparse(against)?;
    let (model, known) = match against {
        Against::Model(model) => {
            let known = Known {
                prompt: options.live.prompt(Some(model))?,
                root: model_arg::root(model, &mut Progress::start(!quiet))?,
                layers: None,
            };
            (Some(&**model), known)
        }
        Against::Key(key) => {
            let known = Known {
                prompt: options.live.prompt(None)?,
                root: key.model_root(),
                layers: Some(key.layers().to_vec()),
            };
            (None, known)
        }
    };
    // A suspect that cannot be opened is found out before anybody is asked.
    let suspects = options.suspects(against)?;
    match ask(address, &options.live, known, output, quiet)? {
        Asked::Answered(answered) => {
            if !quiet {
                output.note_field("answer", said(&answered, model));
            }
            let Answered {
                trace,
                mut expected,
                ..
            } = *answered;
            expected.stop_early = options.stop_early;
            expected.expect_compute = options.expect_compute;
            expected.suspects = suspects;
            expected.activations = options.activations(against);
            expected.sparse = sparse;
            results.conclude(&trace, against, &expected, options, device, output)
        }
        Asked::Rejected(failed) => {
            // A report on no bytes at all says who the verifier is.
            let nothing = assay_verify::Options::default();
            let profiles = Profiles::default();
            let judged = judge(&profiles, &[], against, &nothing, device, true);
            let Verified { report, details } = pollster::block_on(judged)?;
            let report = assay_work::live::rejection(report, &failed);
            results.tell(&Verified { report, details }, options, output)
        }
    }
}

/// What the prover said, before it is judged: the text, or the ids where there is no tokenizer.
fn said(answered: &Answered, model: Option<&Model>) -> String {
    let prompt = (answered.expected.expect_prompt.as_ref()).map_or(0, Vec::len);
    let said = answered.tokens.get(prompt..).unwrap_or_default();
    match model.and_then(Model::tokenizer) {
        Some(tokenizer) => text::quoted(&tokenizer.decode(said)),
        None => {
            let ids: Vec<String> = said.iter().map(u32::to_string).collect();
            ids.join(",")
        }
    }
}
