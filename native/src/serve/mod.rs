//! `assay serve`: a live prover. The engine has the main thread, HTTP another; between them a queue and a store.
//!
//! | file | subject |
//! |---|---|
//! | `args` | flags |
//! | `server` | what both threads share |
//! | `queue` | requests that wait for the engine |
//! | `engine` | the engine's thread: one run after another |
//! | `monitor` | why a run stops before its end |
//! | `retention` | finished runs, until they expire |
//! | `http` | the other thread: connections, and how they end |
//! | `patience` | a connection that is cut when nobody reads |
//! | `router` | routes, and what every request passes through |
//! | `run`, `opening` | the two routes that do something |
//! | `body`, `refusal` | requests' bodies; how to say no |
//! | `guard` | token and origin |
//! | `access_log`, `metrics` | for the operator |

mod access_log;
mod args;
mod body;
mod engine;
mod guard;
mod http;
mod metrics;
mod monitor;
mod opening;
mod patience;
mod queue;
mod refusal;
mod retention;
mod router;
mod run;
mod server;

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, anyhow};

pub use args::Args;

use crate::device_arg::{DeviceArgs, in_a_line};
use crate::exit::Exit;
use crate::model_arg;
use crate::output::{Output, Style};
use crate::progress::Progress;
use crate::token_file::Token;
use engine::Machine;
use server::Server;

/// Serves until it is told to stop.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let token = args.token_file.as_deref().map(Token::read).transpose()?;
    let model = args.model.open(output, false)?;
    // An address that is taken is found out before weights are hashed. Nobody is answered yet.
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let mut progress = Progress::start(true);
    let root = model_arg::root(&model, &mut progress)?;
    let mut machine = Machine::new(device, model, root, args)?;
    let info = pollster::block_on(machine.load(&mut progress))?;
    drop(progress);

    let (claim, sparse) = (machine.claim(), machine.sparse());
    let (limits, config) = (machine.limits(args), machine.config().clone());
    let server = Arc::new(Server::new(
        args, token, limits, claim, sparse, config, &info,
    ));
    if server.token.is_none() && !address.ip().is_loopback() {
        output.note(format_args!(
            "{} anyone who reaches {address} can run the model; --token-file keeps others out",
            output.paint_note(Style::Warn, "note:")
        ));
    }
    output.note_field("model", args.model.name());
    output.note_field("root", root);
    output.note_field("adapter", in_a_line(&info));
    if let Some(sparse) = &server.info.sparse {
        output.note_field(
            "MLPs",
            format_args!(
                "sparse ({}): a verifier must ask for it with --sparse",
                sparse.in_words()
            ),
        );
    }
    let shared = Arc::clone(&server);
    let http = thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || {
            // However this thread ends, the engine's hears of it.
            let _closing = queue::Closing(&shared);
            http::serve(listener, &shared)
        })
        .context("cannot start a thread")?;
    output.line(format_args!("http://{address}"))?;
    machine.work(&server);
    http.join()
        .map_err(|_| anyhow!("the server's thread failed"))??;
    output.note("stopped");
    Ok(Exit::Ok)
}
