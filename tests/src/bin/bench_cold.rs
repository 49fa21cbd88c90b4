//! How long a first verdict takes: from starting the program to its printed report. `bench_cold [ADAPTER] [ROUNDS] [SHAPE]`.
//!
//! Runs the `assay` that lies beside this program, on a trace of the demo model and on one of a synthetic checkpoint (`none` leaves it out).
//! Cold means that no driver has compiled anything before: Mesa's shader cache is an empty folder, or off. Warm means that an earlier run
//! filled that folder. Files are in the page cache in all of them. Runs take turns and medians count; prints a Markdown section.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use assay_engine::selftest::{self, Warming};
use assay_engine::{ActivationType, Device, Gpu, GpuOptions, Numerics};
use assay_model::{Dtype, Model, synth};

/// What a driver may know from before.
#[derive(Clone, Copy, PartialEq)]
enum Cache {
    Off,
    Empty,
    Filled,
}

const CACHES: [(Cache, &str); 3] = [
    (Cache::Off, "off"),
    (Cache::Empty, "empty"),
    (Cache::Filled, "filled"),
];

/// Where runs find their model, their trace and their adapter.
struct Setup {
    adapter: String,
    folder: PathBuf,
}

impl Setup {
    /// A run of `program` with that cache.
    fn command(&self, program: &Path, cache: Cache) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.join("shaders");
        if cache == Cache::Empty {
            drop(std::fs::remove_dir_all(&folder));
        }
        let filled = match cache {
            Cache::Filled => self.folder.join("filled"),
            _ => folder,
        };
        std::fs::create_dir_all(&filled).expect("a folder");
        command
            .env("MESA_SHADER_CACHE_DIR", filled)
            .env(
                "MESA_SHADER_CACHE_DISABLE",
                (cache == Cache::Off).to_string(),
            )
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        command
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let adapter = args.next().unwrap_or_default();
    if adapter == "--compile" {
        return compile(args.next().as_deref(), args.next().as_deref());
    }
    let rounds: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(5);
    let shape = args.next().unwrap_or_else(|| "llama-3.2-1b".to_owned());
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup {
        adapter,
        folder: folder.path().to_owned(),
    };
    let mut models = vec![("demo".to_owned(), None)];
    if shape != "none" {
        let path = folder.path().join(&shape);
        let named = synth::Shape::named(&shape).expect("the shape");
        synth::write(&named, Dtype::BF16, 1, &path).expect("it is written");
        models.push((shape, Some(path)));
    }
    println!("## Time to a first verdict on `{}`\n", setup.adapter);
    for (name, model) in &models {
        verdicts(&setup, name, model.as_deref(), rounds);
    }
    for (name, model) in &models {
        compiling(&setup, name, model.as_deref(), rounds);
    }
}

/// The program beside this one.
fn assay() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    own.with_file_name(format!("assay{}", std::env::consts::EXE_SUFFIX))
}

/// Adds `--model` where it is not the demo model.
fn of_model(command: &mut Command, model: Option<&Path>) {
    if let Some(model) = model {
        command.arg("--model").arg(model);
    }
}

fn verdicts(setup: &Setup, name: &str, model: Option<&Path>, rounds: usize) {
    let trace = setup.folder.join(format!("{name}.trace"));
    let mut prove = setup.command(&assay(), Cache::Filled);
    prove
        .args([
            "prove",
            "-n",
            "8",
            "--ignore-eos",
            "--adapter",
            &setup.adapter,
        ])
        .args([
            "--prompt-ids",
            "1,5,9,13,17,21,25,29,33,37,41,45,49,53,57,61",
        ])
        .arg("--trace")
        .arg(&trace)
        .stdout(Stdio::null());
    of_model(&mut prove, model);
    let proved = prove.stderr(Stdio::piped()).output().expect("it starts");
    let words = String::from_utf8_lossy(&proved.stderr);
    assert!(proved.status.success(), "{words}");
    let verify = |cache| {
        let mut verify = setup.command(&assay(), cache);
        verify.args(["--json", "--adapter", &setup.adapter, "--verify"]);
        verify.arg(&trace);
        of_model(&mut verify, model);
        Run::of(&mut verify)
    };
    verify(Cache::Filled);
    let mut runs: [Vec<Run>; 3] = Default::default();
    for _ in 0..rounds {
        for (runs, (cache, _)) in runs.iter_mut().zip(CACHES) {
            runs.push(verify(cache));
        }
    }
    let verdict = &runs[0][0].verdict;
    println!("{name}, 16 + 8 tokens, verdict {verdict}, medians of {rounds} runs in turns:\n");
    println!(
        "| shader cache | start to verdict, s | least and most | self-test and load | run | hashing and checks | before and after | processor, s |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (runs, (_, cache)) in runs.iter().zip(CACHES) {
        let middle = |of: fn(&Run) -> f64| median(runs.iter().map(of).collect());
        let walls: Vec<f64> = runs.iter().map(|run| run.wall).collect();
        let (least, most) = walls
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(a, b), w| (a.min(*w), b.max(*w)));
        println!(
            "| {cache} | {:.2} | {least:.2} to {most:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            middle(|run| run.wall),
            middle(|run| run.load),
            middle(|run| run.prefill),
            middle(|run| run.checks),
            middle(|run| run.wall - run.total),
            middle(|run| run.processor),
        );
    }
    println!();
}

/// One verification, as whoever started it sees it.
struct Run {
    wall: f64,
    processor: f64,
    load: f64,
    prefill: f64,
    checks: f64,
    total: f64,
    verdict: String,
}

impl Run {
    fn of(command: &mut Command) -> Self {
        let (begun, processor) = (Instant::now(), children_s());
        let output = command.output().expect("it starts");
        let wall = begun.elapsed().as_secs_f64();
        let processor = children_s() - processor;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        let seconds = |name: &str| report["timings"][name].as_f64().expect("a time");
        Self {
            wall,
            processor,
            load: seconds("load_s"),
            prefill: seconds("prefill_s"),
            checks: seconds("checks_s"),
            total: seconds("total_s"),
            verdict: report["verdict"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// Processor time of children that have ended, in steps of 10 ms; 0 where there is no /proc.
fn children_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; then come numbers, of which the 14th and 15th are the children's.
    let numbers = stat.rsplit(')').next().unwrap_or_default();
    let ticks = numbers.split_whitespace().skip(13).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// What of it is compiling, in processes of their own.
fn compiling(setup: &Setup, name: &str, model: Option<&Path>, rounds: usize) {
    let own = std::env::current_exe().expect("a path");
    let one = |cache| -> Vec<f64> {
        let mut command = setup.command(&own, cache);
        command.args(["--compile", &setup.adapter]).args(model);
        let output = command.output().expect("it starts");
        let text = String::from_utf8(output.stdout).expect("numbers");
        text.split_whitespace()
            .map(|n| n.parse().expect("a number"))
            .collect()
    };
    one(Cache::Filled);
    let mut runs: [Vec<Vec<f64>>; 3] = Default::default();
    for _ in 0..rounds {
        for (runs, (cache, _)) in runs.iter_mut().zip(CACHES) {
            runs.push(one(cache));
        }
    }
    println!("{name}, the self-test of its pipelines, medians of {rounds} runs in turns:\n");
    println!(
        "| shader cache | pipelines | opening the adapter, s | first time, s | once more, s |"
    );
    println!("|---|---|---|---|---|");
    for (runs, (_, cache)) in runs.iter().zip(CACHES) {
        let middle = |i: usize| median(runs.iter().map(|run| run[i]).collect());
        println!(
            "| {cache} | {:.0} | {:.2} | {:.2} | {:.3} |",
            middle(0),
            middle(1),
            middle(2),
            middle(3)
        );
    }
    println!();
}

/// Prints pipelines, and seconds of: opening the adapter, the self-test as a verification begins it, and the same when all is compiled.
fn compile(adapter: Option<&str>, model: Option<&str>) {
    let model = match model {
        Some(path) => Model::open(Path::new(path)),
        None => Model::demo(),
    };
    let model = model.expect("the model opens");
    let options = GpuOptions {
        adapter: adapter.map(str::to_owned),
        ..GpuOptions::default()
    };
    let open = || Arc::new(pollster::block_on(Gpu::open(&options)).expect("an adapter"));
    let plain = ActivationType::Float;
    let (opened, gpu) = timed(open);
    let device = Device::Gpu(Arc::clone(&gpu));
    let (first, _) = timed(|| {
        let warming = Warming::begin(&device, Numerics::Fast, &model, plain, None);
        let tested = pollster::block_on(warming.finish()).expect("threads");
        tested.expect("it passes")
    });
    let pipelines = gpu.compiled();
    let again = || {
        let tested = selftest::run_for(&device, Numerics::Fast, &model, plain, None);
        pollster::block_on(tested).expect("it passes")
    };
    let (again, _) = timed(again);
    println!("{pipelines} {opened} {first} {again}");
}

fn timed<T>(what: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let made = what();
    (begun.elapsed().as_secs_f64(), made)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
