//! `assay doctor`: whether this machine can verify, and what to do where it cannot.
//!
//! | file | subject |
//! |---|---|
//! | `item` | one finding with its next step |
//! | `adapters` | adapters, their limits, their kernels' self-tests |
//! | `inference` | a proof and its verification on each adapter |
//! | `models` | checkpoints that lie about |
//! | `host` | memory, disk, display |
//! | `tools` | what the page is built and opened with |
//! | `print` | all of it for people |

mod adapters;
mod host;
mod inference;
mod item;
mod models;
mod print;
mod tools;

use serde::Serialize;

use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::output::Output;
use item::{Item, Status};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also prove and verify a few tokens of the demo model on each adapter
    #[arg(long)]
    test_inference: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// All findings.
#[derive(Serialize)]
pub struct Findings {
    schema_version: u32,
    /// Whether nothing stands in the way of verifying.
    pub ready: bool,
    pub version: &'static str,
    pub system: String,
    pub sections: Vec<Section>,
}

/// Findings on one subject.
#[derive(Serialize)]
pub struct Section {
    pub id: &'static str,
    pub items: Vec<Item>,
}

/// Looks at everything. Exit code 1 if there is a problem; warnings are none.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let note = |what: &str| {
        if !args.json {
            output.note_progress(what);
        }
    };
    note("adapters and kernels");
    let (found, mut items) = pollster::block_on(adapters::look(device.adapter.as_deref()));
    let mut sections = vec![Section {
        id: "adapters",
        items: std::mem::take(&mut items),
    }];
    if args.test_inference {
        note("inference");
        sections.push(Section {
            id: "inference",
            items: pollster::block_on(inference::look(&found)),
        });
    }
    note("models, memory, disk, tools");
    for (id, items) in [
        ("models", models::look()),
        ("host", host::look()),
        ("page", tools::look()),
    ] {
        sections.push(Section { id, items });
    }
    output.clear_progress();
    let problem = |section: &Section| section.items.iter().any(|i| i.status == Status::Problem);
    let findings = Findings {
        schema_version: 1,
        ready: !sections.iter().any(problem),
        version: env!("CARGO_PKG_VERSION"),
        system: format!("{}, {}", std::env::consts::OS, std::env::consts::ARCH),
        sections,
    };
    if args.json {
        output.json(&findings)?;
    } else {
        print::print(&findings, output)?;
    }
    Ok(if findings.ready {
        Exit::Ok
    } else {
        Exit::Reject
    })
}
