//! A platform that records what it is asked for, a worker without a thread, and a harness around the app.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use assay_engine::sampler::SamplerSpec;
use assay_engine::{AdapterInfo, Device, GpuOptions};
use assay_live::Address;
use assay_model::{ByteSource, Model};
use assay_trace::reroot;
use assay_ui::{App, Input, Pick, Platform, Settings, Shell, Start};
use assay_work::message::{
    DeviceChoice, Event, Failure, Job, JobId, ModelSource, News, Outcome, ProveRequest, ProverAt,
    Sample, Source, Stage, ToWorker,
};
use assay_work::{Fetched, LocalFuture, Worker};
use egui_kittest::Harness;
use serde_json::Value;

use crate::prover::{InMemory, Lie};
use crate::raster::{Raster, Textures};

/// What the app asked of its platform, and what it is to be told.
#[derive(Default)]
pub struct Log {
    pub sent: Vec<ToWorker>,
    pub inputs: Vec<Input>,
    pub picks: Vec<Pick>,
    pub saved: Vec<(String, String, Vec<u8>)>,
    pub said: Vec<(String, bool)>,
    pub links: Vec<String>,
}

pub type Shared = Rc<RefCell<Log>>;

struct Recorder {
    log: Shared,
    platform: Platform,
}

impl Shell for Recorder {
    fn send(&mut self, message: ToWorker) {
        self.log.borrow_mut().sent.push(message);
    }

    fn receive(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.log.borrow_mut().inputs)
    }

    fn pick(&mut self, what: Pick) {
        self.log.borrow_mut().picks.push(what);
    }

    fn save(&mut self, name: &str, mime: &str, bytes: Vec<u8>) {
        self.log
            .borrow_mut()
            .saved
            .push((name.to_owned(), mime.to_owned(), bytes));
    }

    fn announce(&mut self, text: &str, assertive: bool) {
        self.log
            .borrow_mut()
            .said
            .push((text.to_owned(), assertive));
    }

    fn set_link(&mut self, fragment: &str) {
        self.log.borrow_mut().links.push(fragment.to_owned());
    }

    fn random(&mut self) -> [u8; 32] {
        std::array::from_fn(|i| i as u8 * 7 + 1)
    }

    fn platform(&self) -> &Platform {
        &self.platform
    }
}

/// Files in memory, by path.
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    events: RefCell<Vec<Event>>,
    /// Where the next live prover lies.
    lie: Cell<Lie>,
}

impl assay_work::Platform for Memory {
    type Prover = InMemory;

    fn prover(&self, _: JobId, _: &Address, at: &ProverAt) -> Result<InMemory, Failure> {
        let token = at.token.as_ref().map(|token| token.expose().to_owned());
        Ok(InMemory::new(self.lie.get(), token, Rc::new(|| false)))
    }

    fn random(&self, bytes: &mut [u8; 32]) -> Result<(), String> {
        *bytes = [7; 32];
        Ok(())
    }

    fn open<'a>(
        &'a self,
        source: &'a Source,
        _: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Arc<dyn ByteSource>, Failure>> {
        let name = match source {
            Source::Sample(sample) => sample.name().to_owned(),
            Source::Path(path) => path.clone(),
            other => other.name(),
        };
        let found = self.files.get(&name).cloned();
        let found = found.map(|bytes| Arc::new(bytes) as Arc<dyn ByteSource>);
        let missing = Failure::new("not-found", format!("there is no file `{name}`"))
            .with_next("choose it again");
        Box::pin(std::future::ready(found.ok_or(missing)))
    }

    fn open_model<'a>(
        &'a self,
        model: &'a ModelSource,
        _: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Model, Failure>> {
        let opened = match model {
            ModelSource::Demo => {
                Model::demo().map_err(|err| Failure::new("model", err.to_string()))
            }
            other => Err(Failure::new(
                "model",
                format!("`{}` has no config.json", other.name()),
            )),
        };
        Box::pin(std::future::ready(opened))
    }

    fn gpu_options(&self) -> LocalFuture<'_, GpuOptions> {
        Box::pin(std::future::ready(GpuOptions::default()))
    }

    fn say(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }

    fn is_cancelled(&self, _: JobId) -> bool {
        false
    }

    fn breathe(&self) -> LocalFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn max_trace_bytes(&self) -> u64 {
        1 << 30
    }
}

/// The samples, proven once for all tests: honest, with a swapped token, with a flipped byte, beyond any profile.
fn samples() -> &'static BTreeMap<String, Vec<u8>> {
    static SAMPLES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        // As another device would have it: the last layer off by a little.
        let noisy = |trace: &mut assay_trace::EditableTrace| {
            trace.manifest.numerics.class = assay_trace::NumericsClass::Fast;
            let Some(rows) = trace.states.get_mut(&8) else {
                return;
            };
            let mut random = 1u32;
            for value in rows {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value *= 1.0 + (random >> 8) as f32 / 16_777_216.0 * 1.5e-6;
            }
        };
        let honest = reroot(&prove(), noisy).unwrap();
        let swapped = reroot(&honest, |trace| {
            let index = trace.tokens.len() - 1;
            trace.tokens[index] += 1;
        });
        let uncovered = reroot(&honest, |trace| {
            trace.manifest.numerics.compute = assay_trace::Compute::Bf16;
        });
        let mut flipped = honest.clone();
        let last = flipped.len() - 40;
        flipped[last] ^= 1;
        [
            (Sample::SwappedToken.name(), swapped.unwrap()),
            ("uncovered.bin", uncovered.unwrap()),
            (Sample::FlippedByte.name(), flipped),
            (Sample::Honest.name(), honest),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .into()
    })
}

fn prove() -> Vec<u8> {
    let mut worker = Worker::new(Memory {
        files: BTreeMap::new(),
        events: RefCell::default(),
        lie: Cell::default(),
    });
    let request = ProveRequest {
        prompt: "To be, or not".to_owned(),
        max_tokens: 40,
        sampler: SamplerSpec::Gumbel {
            seed: 7,
            temperature: 0.8,
            top_k: 0,
            top_p: 1.0,
        },
        nonce: None,
        ignore_eos: false,
        strict: false,
    };
    let job = Job::Prove {
        model: ModelSource::Demo,
        request,
        device: DeviceChoice::Cpu,
    };
    pollster::block_on(worker.run(1, job));
    pollster::block_on(worker.run(2, Job::Bytes { kept: 1 }));
    let last = worker.platform().events.borrow_mut().pop();
    match last.map(|event| event.news) {
        Some(News::Done(Ok(outcome))) => match *outcome {
            Outcome::Bytes(bytes) => bytes,
            other => panic!("no bytes: {other:?}"),
        },
        other => panic!("no trace: {other:?}"),
    }
}

/// A software rasteriser, for the panels about devices.
pub fn adapter() -> AdapterInfo {
    AdapterInfo {
        name: "llvmpipe (LLVM 15.0.6, 256 bits)".to_owned(),
        backend: "Vulkan".to_owned(),
        device_type: "Cpu".to_owned(),
        driver: "llvmpipe Mesa 22.3.6".to_owned(),
        software: true,
        subgroup: 0,
        features: vec!["shader-f16".to_owned(), "subgroup".to_owned()],
        max_binding: 128 << 20,
        max_buffer: 2 << 30,
        max_storage_buffers: 16,
        max_invocations: 1024,
        max_workgroup_memory: 32 << 10,
        max_workgroups: 65_535,
        max_loop_iterations: 65_535,
        ..Device::Cpu.info()
    }
}

/// The app's state before its first frame, on a system of that theme.
pub fn state_at_start(settings: Settings, theme: Option<egui::Theme>) -> Value {
    let recorder = Recorder {
        log: Shared::default(),
        platform: Platform {
            is_browser: false,
            build: String::new(),
            theme,
        },
    };
    let ctx = egui::Context::default();
    let app = App::new(&ctx, Box::new(recorder), settings, Start::default());
    serde_json::from_str(&app.state_json()).unwrap()
}

/// The app in a harness.
pub struct Rig {
    pub harness: Harness<'static, App>,
    pub log: Shared,
    pub textures: Textures,
    worker: Worker<Memory>,
}

pub const WIDE: (f32, f32) = (1280.0, 800.0);
pub const NARROW: (f32, f32) = (390.0, 844.0);

impl Rig {
    pub fn new() -> Self {
        Self::with(WIDE, Settings::default(), Start::default())
    }

    pub fn with((width, height): (f32, f32), settings: Settings, start: Start) -> Self {
        let log = Shared::default();
        let platform = Platform {
            is_browser: false,
            build: "0.1.0 (test)".to_owned(),
            theme: None,
        };
        let recorder = Recorder {
            log: Rc::clone(&log),
            platform,
        };
        let slot: Rc<RefCell<Option<App>>> = Rc::default();
        let theme = if settings.theme == assay_ui::ThemeChoice::Light {
            egui::Theme::Light
        } else {
            egui::Theme::Dark
        };
        let textures = Textures::default();
        let builder = Harness::builder()
            .with_size(egui::vec2(width, height))
            .with_theme(theme)
            .with_max_steps(12)
            .renderer(Raster(Rc::clone(&textures)));
        // Fonts must be there before the first frame, as they are in eframe.
        let ctx_slot: Rc<RefCell<Option<egui::Context>>> = Rc::default();
        let (give, keep) = (Rc::clone(&ctx_slot), Rc::clone(&slot));
        let builder = builder.with_context_setup(move |ctx| {
            *give.borrow_mut() = Some(ctx.clone());
            *keep.borrow_mut() = Some(App::new(ctx, Box::new(recorder), settings, start));
        });
        // The state is made after the context: it starts as a stand-in that the first frame replaces.
        let stand_in = {
            let ctx = egui::Context::default();
            let platform = Platform {
                is_browser: false,
                build: String::new(),
                theme: None,
            };
            App::new(
                &ctx,
                Box::new(Recorder {
                    log: Shared::default(),
                    platform,
                }),
                Settings::default(),
                Start::default(),
            )
        };
        let harness = builder.build_ui_state(
            move |ui, app: &mut App| {
                if let Some(real) = slot.borrow_mut().take() {
                    *app = real;
                }
                app.logic(ui.ctx());
                app.ui(ui);
            },
            stand_in,
        );
        let mut files = samples().clone();
        files.extend(crate::keys::files().clone());
        files.extend(crate::studies::files().clone());
        Self {
            harness,
            log,
            textures,
            worker: Worker::new(Memory {
                files,
                events: RefCell::default(),
                lie: Cell::default(),
            }),
        }
    }

    /// Where the next live prover that is asked lies.
    pub fn lie(&self, lie: Lie) {
        self.worker.platform().lie.set(lie);
    }

    /// The app's state, as the page sees it.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.harness.state().state_json()).unwrap()
    }

    /// Tells the app something, and lets it draw until it is still.
    pub fn tell(&mut self, input: Input) {
        self.log.borrow_mut().inputs.push(input);
        self.harness.run();
    }

    pub fn news(&mut self, id: JobId, news: News) {
        self.tell(Input::Event(Event { id, news }));
    }

    pub fn command(&mut self, name: &str) {
        assert!(
            self.harness.state_mut().command(name),
            "{name} makes no sense now"
        );
        self.harness.run();
    }

    /// Jobs that were sent and not done, taken out.
    pub fn jobs(&mut self) -> Vec<(JobId, Job)> {
        let sent = std::mem::take(&mut self.log.borrow_mut().sent);
        sent.into_iter()
            .filter_map(|message| match message {
                ToWorker::Start { id, job } => Some((id, job)),
                ToWorker::Cancel { .. } => None,
            })
            .collect()
    }

    /// Does every job that was sent, and those that follow from them.
    pub fn work(&mut self) {
        for _ in 0..8 {
            let jobs = self.jobs();
            if jobs.is_empty() {
                return;
            }
            for (id, mut job) in jobs {
                match &mut job {
                    Job::Adapters { .. } => {
                        let outcome = Outcome::Adapters {
                            found: vec![adapter()],
                            chosen: Some(adapter()),
                            fault: None,
                        };
                        self.news(id, News::Done(Ok(Box::new(outcome))));
                        continue;
                    }
                    Job::Verify { device, .. }
                    | Job::Prove { device, .. }
                    | Job::Ask { device, .. } => {
                        *device = DeviceChoice::Cpu;
                    }
                    Job::Experiment {
                        request, device, ..
                    } => {
                        *device = DeviceChoice::Cpu;
                        (request.which, request.trials) = (Some(1), 1);
                        request.tokens = Some(2);
                    }
                    _ => {}
                }
                pollster::block_on(self.worker.run(id, job));
                let events = std::mem::take(&mut *self.worker.platform().events.borrow_mut());
                // All at once: an app that was hidden hears it so.
                self.log
                    .borrow_mut()
                    .inputs
                    .extend(events.into_iter().map(Input::Event));
                self.harness.run();
            }
        }
        panic!("there is always another job");
    }

    /// The id of the last job of its kind.
    pub fn last(&mut self, is: impl Fn(&Job) -> bool) -> JobId {
        let jobs = self.jobs();
        jobs.iter()
            .rev()
            .find(|(_, job)| is(job))
            .map(|(id, _)| *id)
            .expect("no such job")
    }

    /// A verification that is on its way, at `stage`.
    pub fn running(&mut self, stage: Stage, done: u64, total: u64) -> JobId {
        self.work();
        self.command("verify-sample");
        let id = self.last(|job| matches!(job, Job::Verify { .. }));
        self.news(id, News::Progress { stage, done, total });
        id
    }
}
