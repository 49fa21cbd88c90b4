//! `assay bench`: how fast a model runs on a device, and where its time goes.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::atomic_file::AtomicFile;
use crate::bench::{self, Plan};
use crate::device_arg::{DeviceArgs, in_a_line};
use crate::exit::Exit;
use crate::model_arg::ModelArgs;
use crate::numerics_arg::NumericsArgs;
use crate::output::{Output, Style};
use crate::progress::Progress;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    numerics: NumericsArgs,

    /// Tokens of the prompt
    #[arg(short = 'p', long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    prompt_tokens: u32,

    /// Tokens to decode after it
    #[arg(short = 'n', long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    tokens: u32,

    /// Rounds of prompt and decoding; medians count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=999))]
    rounds: u16,

    /// Time every kernel, too: of one more prompt and one more token
    #[arg(long)]
    profile: bool,

    /// Write the profile as a flame chart
    #[arg(long, value_name = "FILE", requires = "profile")]
    svg: Option<PathBuf>,

    /// Write figures and flame chart as a sheet, which the window and the page draw
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let model = args.model.open(output, args.json)?;
    let plan = Plan {
        numerics: args.numerics.class(),
        prompt: args.prompt_tokens as usize,
        tokens: args.tokens as usize,
        rounds: args.rounds.into(),
        profile: args.profile,
    };
    let context = model.config().context;
    // One more token for the profile of a decode step.
    let need = plan.capacity();
    ensure!(
        need <= context,
        "{need} positions do not fit: {} has a context of {context}\nask for fewer with -p and -n",
        args.model.name()
    );
    // Folders that cannot be written to are found out before the work is done.
    let open = |path: &Option<PathBuf>| path.as_deref().map(AtomicFile::create).transpose();
    let (svg, sheet) = (open(&args.svg)?, open(&args.sheet)?);
    let mut progress = Progress::start(!args.json);
    let name = args.model.name();
    let measured = pollster::block_on(bench::measure(&plan, &model, &name, device, &mut progress))?;
    progress.clear();
    if let (Some(file), Some(profile)) = (svg, &measured.profile) {
        let flame = bench::sheet::flame(&profile.prefill);
        write(file, &flame.svg(), args.svg.as_deref(), output)?;
    }
    if let Some(file) = sheet {
        let text = bench::sheet::of(&measured)
            .to_json()
            .context("the sheet breaks a rule of its own format")?;
        write(file, &text, args.sheet.as_deref(), output)?;
    }
    if args.json {
        output.json(&measured)?;
        return Ok(Exit::Ok);
    }
    let adapter = in_a_line(&measured.adapter);
    output.line(output.paint(Style::Strong, format_args!("{name} on {adapter}")))?;
    for (label, value) in measured.figures() {
        output.line(output.field(label, value))?;
    }
    if let Some(profile) = &measured.profile {
        bench::table::print(profile, output)?;
    }
    Ok(Exit::Ok)
}

fn write(file: AtomicFile, text: &str, path: Option<&Path>, output: &Output) -> anyhow::Result<()> {
    file.finish(|file| file.write_all(text.as_bytes()))?;
    if let Some(path) = path {
        output.note(format_args!("wrote {}", path.display()));
    }
    Ok(())
}
