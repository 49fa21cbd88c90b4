//! Jobs begun: what is sent to the worker, and what is forgotten for it.

use assay_work::message::{
    Expect, Job, JobId, ModelSource, ProveRequest, Sample, Source, ToWorker,
};

use super::App;
use crate::jobs::Purpose;
use crate::settings;
use crate::state::{ModelInput, Page, TraceInput};
use crate::text;

/// Why a prompt cannot be compared in an audit.
pub(crate) const PROMPT_NEEDS_MODEL: &str =
    "a key has no tokenizer, so a prompt cannot be compared as text: leave it empty";

impl App {
    pub(super) fn start(&mut self, purpose: Purpose, job: Job) -> JobId {
        if purpose.is_long() {
            self.meter.reset();
            self.shell.announce(crate::jobs::title(&job), false);
        }
        if purpose.is_awaited() {
            self.state.trouble = None;
        }
        let id = self.state.jobs.start(purpose);
        self.shell.send(ToWorker::Start { id, job });
        id
    }

    pub(super) fn set_trace(&mut self, source: Source) {
        self.state.page = Page::Verify;
        self.state.judged = None;
        self.state.selected = None;
        self.state.hashes = None;
        self.state.trace = Some(TraceInput {
            source: source.clone(),
            claims: None,
            manifest: None,
        });
        self.inspecting = Some(self.start(Purpose::Inspect, Job::Inspect { trace: source }));
    }

    pub(super) fn set_study(&mut self, source: Source) {
        self.start(Purpose::Sheet, Job::Sheet { sheet: source });
    }

    pub(super) fn set_model(&mut self, source: ModelSource) {
        // A verdict against another model is none.
        self.state.judged = None;
        self.state.model = ModelInput::chosen(source);
        self.open_model();
    }

    /// Sends the typed passphrase, once: the worker keeps what it opens.
    pub(super) fn unlock(&mut self) {
        let passphrase = std::mem::take(&mut self.state.model.passphrase);
        let ModelSource::Key { source, .. } = &self.state.model.source else {
            return;
        };
        let model = ModelSource::Key {
            source: source.clone(),
            passphrase: Some(passphrase),
        };
        self.opening = Some(self.start(Purpose::OpenModel, Job::OpenModel { model }));
    }

    pub(super) fn open_model(&mut self) {
        let model = self.state.model.source.clone();
        self.opening = Some(self.start(Purpose::OpenModel, Job::OpenModel { model }));
    }

    pub(super) fn verify(&mut self) {
        let Some(trace) = self.state.trace.as_ref().map(|trace| trace.source.clone()) else {
            return;
        };
        let expect = match expectation(&self.state.expect, &self.state.model.source) {
            Ok(expect) => expect,
            Err(why) => {
                self.state.expect.is_open = true;
                self.state.judged = None;
                self.state.toast(why, true);
                return;
            }
        };
        let model = self.state.model.source.clone();
        let name = text::plain(&trace.name(), 80);
        let mut against = text::plain(&model.name(), 80);
        let purpose = if model.is_key() {
            against.insert_str(0, "the key ");
            Purpose::Audit
        } else {
            Purpose::Verify
        };
        self.verifying = Some((name, against));
        self.state.judged = None;
        self.state.page = Page::Verify;
        let device = self.state.settings.device.clone();
        self.start(
            purpose,
            Job::Verify {
                trace,
                model,
                expect,
                device,
            },
        );
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        self.state.model = ModelInput::default();
        self.opening = None;
        self.state.expect = Default::default();
        self.is_eager = false;
        self.set_trace(Source::Sample(sample));
        // Before the long job, so that nothing is left to do once there is a verdict.
        self.open_model();
        self.verify();
    }

    pub(super) fn ask_prover(&mut self) {
        let model = self.state.model.source.clone();
        let asked = self.state.asking.request(&model, &self.state.settings);
        let (prover, request) = match asked {
            Ok(asked) => asked,
            Err(why) => {
                self.state.page = Page::Ask;
                self.state.toast(why, true);
                return;
            }
        };
        let (settings, asking) = (&mut self.state.settings, &mut self.state.asking);
        settings.prover.clone_from(&prover.address);
        settings.max_tokens = request.max_tokens;
        asking.told = Default::default();
        let mut against = text::plain(&model.name(), 80);
        let purpose = if model.is_key() {
            against.insert_str(0, "the key ");
            Purpose::AskWithKey
        } else {
            Purpose::Ask
        };
        self.verifying = Some((answer_of(&asking.host()), against));
        // What was judged before is of another request.
        self.state.judged = None;
        self.state.page = Page::Ask;
        let device = self.state.settings.device.clone();
        self.start(
            purpose,
            Job::Ask {
                prover,
                model,
                request,
                device,
            },
        );
    }

    pub(super) fn experiment(&mut self) {
        match self.state.trials.request() {
            Ok(request) => {
                self.state.page = Page::Study;
                self.state.settings.experiments = Some(request.clone());
                let job = Job::Experiment {
                    model: self.state.model.source.clone(),
                    request,
                    device: self.state.settings.device.clone(),
                };
                self.start(Purpose::Experiment, job);
            }
            Err(why) => self.state.toast(why, true),
        }
    }

    pub(super) fn prove(&mut self) {
        let form = &self.state.prove;
        let request = (|| {
            let max_tokens = form.max_tokens.trim().parse().ok().filter(|n| *n > 0);
            Ok::<_, String>(ProveRequest {
                prompt: if form.prompt.is_empty() {
                    return Err("a prompt is needed".to_owned());
                } else {
                    form.prompt.clone()
                },
                max_tokens: max_tokens
                    .ok_or("the number of tokens must be a whole number above 0")?,
                sampler: self.state.settings.sampler.spec()?,
                nonce: settings::nonce(&form.nonce)?,
                ignore_eos: false,
                strict: form.strict,
            })
        })();
        match request {
            Ok(request) => {
                self.state.settings.max_tokens = request.max_tokens;
                self.state.page = Page::Prove;
                self.state.prove.text.clear();
                self.state.prove.done = None;
                let (model, device) = (
                    self.state.model.source.clone(),
                    self.state.settings.device.clone(),
                );
                self.start(
                    Purpose::Prove,
                    Job::Prove {
                        model,
                        request,
                        device,
                    },
                );
            }
            Err(why) => self.state.toast(why, true),
        }
    }
}

/// What an answer is called that comes from `host`.
fn answer_of(host: &str) -> String {
    format!("the answer of {host}")
}

/// What the user says was asked for, or which field is wrong.
fn expectation(form: &crate::state::ExpectForm, model: &ModelSource) -> Result<Expect, String> {
    if model.is_key() && !form.prompt.is_empty() {
        return Err(PROMPT_NEEDS_MODEL.to_owned());
    }
    Ok(Expect {
        nonce: settings::nonce(&form.nonce)?,
        prompt: (!form.prompt.is_empty()).then(|| form.prompt.clone()),
        sampler: if form.with_sampler {
            Some(form.sampler.spec()?)
        } else {
            None
        },
        skips: form.skips,
        arithmetic: form.arithmetic,
        suspects: match model.is_key() {
            true => Vec::new(),
            false => form.suspects.clone(),
        },
    })
}
