//! `assay --verify FILE`: hold a trace against a model on this machine, and say what came of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use assay_engine::sampler::SamplerSpec;
use assay_engine::sparsity::SparseModel;
use assay_engine::{ActivationType, Device};
use assay_key::VerifierKey;
use assay_model::Model;
use assay_trace::{Compute, Digest, Trace};
use assay_verify::audit::audit;
use assay_verify::{Profiles, Suspect, Verdict, Verified, statement, verify_in_detail};

use crate::atomic_file::AtomicFile;
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::key_arg::{self, PassphraseArgs};
use crate::model_arg::{self, ModelArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::sparse::rule::Rule;
use crate::{live, llama2rs, prompt_arg, sampler_arg, suspect_arg, trace_file, verdict};

/// `assay verify FILE`, the same thing as a verb.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Trace to verify; `-` reads it from stdin, http://HOST:PORT asks a live prover
    #[arg(id = "verify", value_name = "FILE")]
    pub verify: PathBuf,

    #[command(flatten)]
    pub options: Options,
}

/// Its flags, which belong to `--verify`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Verification")]
pub struct Options {
    #[command(flatten)]
    model: ModelArgs,

    /// Verify with this key instead of a model: audits the layers that the trace opens, and needs no weights
    #[arg(
        long,
        value_name = "FILE",
        requires = "verify",
        conflicts_with = "model"
    )]
    key: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    /// The nonce that the trace must answer: 64 hex digits
    #[arg(long, value_name = "HEX", requires = "verify", value_parser = super::prove::nonce)]
    nonce: Option<Digest>,

    /// The prompt that must have been answered, as text
    #[arg(
        long,
        value_name = "TEXT",
        requires = "verify",
        conflicts_with = "expect_prompt_ids",
        allow_hyphen_values = true
    )]
    expect_prompt: Option<String>,

    /// The prompt that must have been answered, as token ids
    #[arg(long, value_name = "IDS", requires = "verify")]
    expect_prompt_ids: Option<String>,

    /// The temperature that must have been used; 0 is greedy
    #[arg(
        long,
        value_name = "T",
        requires = "verify",
        allow_hyphen_values = true
    )]
    expect_temperature: Option<f64>,

    /// The top-p that must have been used [default: 1]
    #[arg(long, value_name = "P", requires = "expect_temperature")]
    expect_top_p: Option<f64>,

    /// The top-k that must have been used [default: 0]
    #[arg(long, value_name = "K", requires = "expect_temperature")]
    expect_top_k: Option<u32>,

    /// The seed that must have been used; needed with a temperature above 0
    #[arg(long, value_name = "S", requires = "expect_temperature")]
    expect_seed: Option<u64>,

    /// The precision that values must have been kept in between operations: f32, bf16 or f16. Without it a trace is judged as one of
    /// the precision that it claims, and more can hide in a lower one
    #[arg(long, value_name = "TYPE", requires = "verify", value_parser = crate::compute_arg::parse)]
    pub expect_compute: Option<Compute>,

    /// The rule for active neurons of a sparse MLP that was asked for, as in `assay prove`; without one every neuron must have been
    /// computed
    #[arg(long, value_name = "RULE", requires = "verify", conflicts_with = "key", value_parser = crate::sparse::rule::parse)]
    sparse: Option<Rule>,

    /// What linear products were asked to round their inputs to, as in `assay prove` [default: float, or what the key was made for]
    #[arg(long, value_name = "TYPE", requires = "verify", value_parser = crate::activations_arg::parse)]
    activations: Option<ActivationType>,

    /// Calibration profiles to use before the shipped ones; `assay calibrate --apply FILE` makes such a file
    #[arg(long, value_name = "FILE", requires = "verify", conflicts_with = "key")]
    profile: Option<PathBuf>,

    /// What may have been run in place of the claimed model: its weights rounded (round:int8, round:q8_0, round:fp8, round:int4,
    /// round:q4_0), its KV cache rounded (kv:int8, kv:fp8, kv:int4), or another checkpoint, by its path. Repeat it for several; each is run,
    /// too. Finds in half precision what distances cannot
    #[arg(long, value_name = "WHAT", requires = "verify", conflicts_with_all = ["key", "sparse"])]
    pub suspect: Vec<String>,

    /// Stop at the first evidence that suffices for REJECT; positions after it are left out, and the report says so
    #[arg(long, requires = "verify", conflicts_with = "key")]
    pub stop_early: bool,

    /// Print the report as one JSON object
    #[arg(long, requires = "verify")]
    json: bool,

    /// Print no text: the exit code is the answer
    #[arg(short, long, requires = "verify")]
    quiet: bool,

    /// Also write the JSON report to this file
    #[arg(long, value_name = "FILE", requires = "verify")]
    report: Option<PathBuf>,

    /// Also write figures by position to this file, as CSV
    #[arg(long, value_name = "FILE", requires = "verify")]
    csv: Option<PathBuf>,

    /// Also write an unsigned in-toto statement of the verdict to this file
    #[arg(long, value_name = "FILE", requires = "verify")]
    statement: Option<PathBuf>,

    #[command(flatten)]
    llama2rs: llama2rs::Llama2RsArgs,

    #[command(flatten)]
    pub live: live::LiveArgs,
}

/// What a trace is held against.
pub enum Against {
    /// The weights.
    Model(Box<Model>),
    /// What was kept of them.
    Key(Box<VerifierKey>),
}

/// Verifies. The verdict's exit code stands also where nobody reads the text.
pub fn run(
    file: &Path,
    options: &Options,
    device: &DeviceArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let results = Results::create(options)?;
    let against = options.against(output)?;
    if let Some(address) = live::address(file) {
        return live::verify(address, results, &against, options, device, output);
    }
    let trace = trace_file::read(file);
    if let Ok(bytes) = &trace
        && assay_llama2rs::looks_like(bytes)
    {
        return llama2rs(bytes, results, &against, options, device, output);
    }
    options.live.refuse_given()?;
    let expected = options.expected(&against)?;
    let trace = trace?;
    options.llama2rs.refuse_given()?;
    results.conclude(&trace, &against, &expected, options, device, output)
}

/// The same for a trace of llama2-rs.
fn llama2rs(
    trace: &[u8],
    results: Results,
    against: &Against,
    options: &Options,
    device: &DeviceArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let Against::Model(model) = against else {
        bail!(
            "a trace of llama2-rs has nothing that a key could audit\ngive the checkpoint with --model FILE.bin"
        );
    };
    let asked = options.asked_of_llama2rs(model)?;
    let shown = llama2rs::Shown {
        model_name: &options.name(),
        json: options.json,
        quiet: options.quiet,
    };
    llama2rs::verify(
        trace,
        model,
        &asked,
        device,
        &shown,
        output,
        |json| match results.report {
            Some(file) => file.finish(|file| writeln!(file, "{json}")),
            None => Ok(()),
        },
    )
}

/// Where a verdict goes besides the terminal. Paths that cannot be written are found out before the work.
pub struct Results {
    report: Option<AtomicFile>,
    csv: Option<AtomicFile>,
    statement: Option<AtomicFile>,
    profiles: Profiles,
}

impl Results {
    /// Makes the files that `options` ask for.
    pub fn create(options: &Options) -> anyhow::Result<Self> {
        let create = |path: &Option<PathBuf>| path.as_deref().map(AtomicFile::create).transpose();
        Ok(Self {
            report: create(&options.report)?,
            csv: create(&options.csv)?,
            statement: create(&options.statement)?,
            profiles: crate::experiment::setup::profiles(options.profile.as_deref())?,
        })
    }

    /// Judges a trace's bytes, writes what is asked for, and prints.
    pub fn conclude(
        self,
        trace: &[u8],
        against: &Against,
        expected: &assay_verify::Options,
        options: &Options,
        device: &DeviceArgs,
        output: &Output,
    ) -> anyhow::Result<Exit> {
        let judged = judge(
            &self.profiles,
            trace,
            against,
            expected,
            device,
            options.quiet,
        );
        let judged = pollster::block_on(judged)?;
        self.tell(&judged, options, output)
    }

    /// Writes a verdict wherever it is asked for, and prints it.
    pub fn tell(
        self,
        Verified { report, details }: &Verified,
        options: &Options,
        output: &Output,
    ) -> anyhow::Result<Exit> {
        let json = report.to_json().context("the report has no JSON form")?;
        if let Some(report_file) = self.report {
            report_file.finish(|file| writeln!(file, "{json}"))?;
        }
        if let Some(csv_file) = self.csv {
            csv_file.finish(|file| file.write_all(details.to_csv().as_bytes()))?;
        }
        if let Some(statement_file) = self.statement {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            let build = env!("CARGO_PKG_VERSION");
            let statement = statement::in_toto(report, build, &statement::rfc3339(now));
            let text = serde_json::to_string_pretty(&statement)?;
            statement_file.finish(|file| writeln!(file, "{text}"))?;
        }
        let printed = if options.json {
            output.line(&json)
        } else if options.quiet {
            Ok(())
        } else {
            verdict::print(report, &options.name(), output)
        };
        match printed {
            Err(err) if !err.is_closed() => Err(err.into()),
            _ => Ok(exit_of(report.verdict)),
        }
    }
}

/// Holds a trace against a model or a key.
pub async fn judge(
    profiles: &Profiles,
    trace: &[u8],
    against: &Against,
    expected: &assay_verify::Options,
    device: &DeviceArgs,
    quiet: bool,
) -> anyhow::Result<Verified> {
    let mut progress = Progress::start(!quiet);
    // A file that is no trace is rejected on any machine, also on one without an adapter.
    let device = if Trace::parse(trace).is_ok() {
        device.open().await?
    } else {
        Device::Cpu
    };
    Ok(match against {
        Against::Model(model) => {
            verify_in_detail(profiles, trace, model, &device, expected, &mut progress).await?
        }
        Against::Key(key) => audit(trace, key, &device, expected, &mut progress).await?,
    })
}

fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Accept => Exit::Ok,
        Verdict::Reject => Exit::Reject,
        Verdict::Inconclusive => Exit::Inconclusive,
    }
}

impl Options {
    /// Opens the model or the key.
    pub fn against(&self, output: &Output) -> anyhow::Result<Against> {
        Ok(match &self.key {
            Some(path) => Against::Key(Box::new(key_arg::read(path, &self.passphrase)?)),
            None => {
                let quiet = self.quiet || self.json;
                Against::Model(Box::new(self.model.open(output, quiet)?))
            }
        })
    }

    /// Whether nothing but results is to be printed.
    pub fn is_quiet(&self) -> bool {
        self.quiet || self.json
    }

    /// Refuses what a trace in a file is held against: a live prover is told.
    pub fn refuse_expectations(&self) -> anyhow::Result<()> {
        let given = [
            ("--nonce", self.nonce.is_some()),
            ("--expect-prompt", self.expect_prompt.is_some()),
            ("--expect-prompt-ids", self.expect_prompt_ids.is_some()),
            ("--expect-temperature", self.expect_temperature.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => bail!(
                "{flag} is for a trace in a file\na live prover is sent --prompt, --temperature and a fresh nonce, and held to them"
            ),
            None => Ok(()),
        }
    }

    /// What a trace of llama2-rs is held against. Its sampler and prompt may be given under either of their names.
    fn asked_of_llama2rs(&self, model: &Model) -> anyhow::Result<llama2rs::Asked> {
        let given = [
            ("--nonce", self.nonce.is_some()),
            ("--sparse", self.sparse.is_some()),
            ("--activations", self.activations.is_some()),
            ("--expect-compute", self.expect_compute.is_some()),
            ("--csv", self.csv.is_some()),
            ("--stop-early", self.stop_early),
            ("--suspect", !self.suspect.is_empty()),
            ("--statement", self.statement.is_some()),
            ("--expect-top-k", self.expect_top_k.is_some()),
        ];
        if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
            bail!("{flag} means nothing for a trace of llama2-rs");
        }
        let sampler = &self.live.sampler;
        let numbers = llama2rs::SamplerNumbers {
            temperature: self.expect_temperature.or(sampler.temperature),
            top_p: self.expect_top_p.or(sampler.top_p),
            seed: self.expect_seed.or(sampler.seed),
        };
        let (text, ids) = self.live.given_prompt();
        let text = self.expect_prompt.as_deref().or(text);
        let ids = self.expect_prompt_ids.as_deref().or(ids);
        let prompt = match (text, ids) {
            (None, None) => None,
            (text, ids) => Some(prompt_arg::ids(text, ids, model)?),
        };
        self.live.refuse_for_llama2rs()?;
        Ok(self.llama2rs.asked(numbers.spec()?, prompt))
    }

    /// How the user called it.
    fn name(&self) -> String {
        match &self.key {
            Some(path) => format!("the key {}", path.display()),
            None => self.model.name(),
        }
    }

    /// What a trace must have answered.
    pub fn expected(&self, against: &Against) -> anyhow::Result<assay_verify::Options> {
        let (text, ids) = (
            self.expect_prompt.as_deref(),
            self.expect_prompt_ids.as_deref(),
        );
        let expect_prompt = match (text, ids, against) {
            (None, None, _) => None,
            (text, ids, Against::Model(model)) => Some(prompt_arg::ids(text, ids, model)?),
            (None, Some(ids), Against::Key(_)) => Some(prompt_arg::listed(ids)?),
            (Some(_), _, Against::Key(_)) => bail!(
                "a key has no tokenizer, so a prompt cannot be compared as text\ngive it as --expect-prompt-ids 1,2,3"
            ),
        };
        Ok(assay_verify::Options {
            nonce: self.nonce.map(|nonce| nonce.0),
            expect_compute: self.expect_compute,
            activations: self.activations(against),
            sparse: self.sparse(against)?,
            suspects: self.suspects(against)?,
            stop_early: self.stop_early,
            expect_prompt,
            expect_sampler: self
                .expect_temperature
                .map(|temperature| self.sampler(temperature))
                .transpose()?,
            ..assay_verify::Options::default()
        })
    }

    /// The rule for active neurons that must have been followed, with its files.
    pub fn sparse(&self, against: &Against) -> anyhow::Result<Option<Arc<SparseModel>>> {
        let (Some(rule), Against::Model(model)) = (&self.sparse, against) else {
            return Ok(None);
        };
        let root = || model_arg::root(model, &mut Progress::start(!self.is_quiet()));
        Ok(Some(Arc::new(rule.load(model, root)?)))
    }

    /// What may have been run in place of the claimed model.
    pub fn suspects(&self, against: &Against) -> anyhow::Result<Vec<Suspect>> {
        let Against::Model(claimed) = against else {
            return Ok(Vec::new());
        };
        let open = |name: &String| suspect_arg::open(claimed, name);
        self.suspect.iter().map(open).collect()
    }

    /// What linear products must have rounded their inputs to: what the user says, or what the key was made for.
    pub fn activations(&self, against: &Against) -> ActivationType {
        let of_key = || match against {
            Against::Key(key) => ActivationType::of(key.activations()),
            Against::Model(_) => ActivationType::Float,
        };
        self.activations.unwrap_or_else(of_key)
    }

    fn sampler(&self, temperature: f64) -> anyhow::Result<SamplerSpec> {
        sampler_arg::spec(temperature, self.expect_top_p, self.expect_top_k, || {
            self.expect_seed
                .context("a sampler has a seed\ngive it with --expect-seed")
        })
    }
}
