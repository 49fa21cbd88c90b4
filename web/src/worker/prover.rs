//! `fetch` for the exchange with a live prover: bodies as they come, given up at a cancel or when it takes too long.

use std::rc::Rc;
use std::time::Duration;

use assay_live::{Address, Body, Call, Method, Response, Transport, TransportError, routes};
use assay_work::Prover;
use assay_work::message::{Failure, ProverAt};
use eframe::wasm_bindgen::{JsCast as _, JsValue};
use js_sys::{Array, Function, Promise, Reflect, Uint8Array};
use wasm_bindgen_futures::spawn_local;
use web_sys::{AbortController, ReadableStreamDefaultReader, Request, RequestInit, RequestMode};
use web_time::Instant;

use super::handles::words;
use super::net::wait;
use super::scope;

/// A prover says something at least every five seconds, if only that it is there.
const SILENCE: Duration = Duration::from_secs(60);
/// For finding out why nothing came.
const PROBE: Duration = Duration::from_secs(10);
/// How often it is asked whether to stop, milliseconds.
const LOOK_UP: i32 = 100;

/// Whether the user wants it no more.
pub type Stop = Rc<dyn Fn() -> bool>;

/// The way to one prover.
pub struct WebProver {
    base: Address,
    authorization: Option<String>,
    clock: Clock,
    advice: Option<String>,
}

/// Waits for promises, with an eye on what ends the waiting.
#[derive(Clone)]
struct Clock {
    stop: Stop,
    total: Duration,
    until: Instant,
}

impl Clock {
    /// What comes of `promise`, at most `patience` from now.
    async fn wait(
        &self,
        promise: &Promise,
        patience: Duration,
    ) -> Result<Result<JsValue, JsValue>, TransportError> {
        let since = Instant::now();
        loop {
            if (self.stop)() {
                return Err(TransportError::Cancelled);
            }
            let now = Instant::now();
            if now >= self.until {
                let seconds = self.total.as_secs();
                return Err(TransportError::Slow { seconds });
            }
            if now.duration_since(since) >= patience {
                let seconds = patience.as_secs();
                return Err(TransportError::Silent { seconds });
            }
            let pause = Promise::new(&mut |resolve: Function, _reject: Function| {
                let later = scope()
                    .set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, LOOK_UP);
                drop(later);
            });
            let first = Promise::race(&Array::of2(promise, &pause));
            match wait(first.unchecked_into()).await {
                // The pause has no value; everything that is waited for here has one.
                Ok(value) if value.is_undefined() => {}
                done => return Ok(done),
            }
        }
    }
}

/// Ends a request that nobody waits for any more: its prover then stops working on it.
struct Abort(AbortController);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl WebProver {
    /// For the prover at `base`, which is that of `at`. Its time runs from now on.
    ///
    /// # Errors
    /// Where no page may ask there: a browser would not say why.
    pub fn new(base: Address, at: &ProverAt, stop: Stop) -> Result<Self, Failure> {
        let host = base.host();
        // As the page's own policy has it (index.html), which browsers have anyway for pages that came over https.
        let is_here = host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1";
        if !base.is_secure() && !is_here {
            let message =
                "a page may ask over plain http on this very machine only (localhost or 127.0.0.1)";
            return Err(
                Failure::new("live-unreachable", message).with_next(
                    "give the prover an https address, with a proxy before it; or ask it with the desktop program",
                ),
            );
        }
        let total = Duration::from_secs(u64::from(at.seconds));
        Ok(Self {
            base,
            authorization: at
                .token
                .as_ref()
                .map(|token| format!("Bearer {}", token.expose())),
            clock: Clock {
                stop,
                total,
                until: Instant::now() + total,
            },
            advice: None,
        })
    }

    fn request(&self, call: &Call<'_>, init: &RequestInit) -> Result<Request, JsValue> {
        init.set_method(match call.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        });
        for (name, value) in [
            ("cache", "no-store"),
            ("credentials", "omit"),
            ("redirect", "manual"),
            ("referrerPolicy", "no-referrer"),
        ] {
            Reflect::set(init, &name.into(), &value.into())?;
        }
        if let Some(body) = call.body {
            init.set_body(&Uint8Array::from(body));
        }
        let request = Request::new_with_str_and_init(&self.base.route(call.path), init)?;
        if call.body.is_some() {
            request.headers().set("Content-Type", routes::JSON)?;
        }
        if let Some(authorization) = &self.authorization {
            request.headers().set("Authorization", authorization)?;
        }
        Ok(request)
    }

    /// Browsers do not tell scripts why a fetch failed. A second one that may not look at the answer tells the main causes apart: it
    /// succeeds where a server is there and only does not let this page ask.
    async fn unreachable(&mut self, browser_words: &str) -> TransportError {
        let init = RequestInit::new();
        init.set_mode(RequestMode::NoCors);
        let probe = Request::new_with_str_and_init(&self.base.route(routes::INFO), &init);
        let answers = match probe {
            Ok(probe) => {
                let asked = scope().fetch_with_request(&probe);
                match self.clock.wait(asked.unchecked_ref(), PROBE).await {
                    Err(TransportError::Cancelled) => return TransportError::Cancelled,
                    answer => matches!(answer, Ok(Ok(_))),
                }
            }
            Err(_) => false,
        };
        let origin = scope().location().origin();
        let (reason, advice) = match (answers, self.base.is_this_machine()) {
            (true, _) => (
                "a server is there, but it does not let this page ask (CORS)".to_owned(),
                format!(
                    "start it with `--allow-origin {origin}`; a prover other than `assay serve` has to send Access-Control-Allow-Origin"
                ),
            ),
            (false, true) => (
                format!("nobody answers there ({browser_words})"),
                "check that the prover runs, and its port; `assay serve` prints its address. If it does, let this page reach \
                 programs on this machine in the browser’s settings for this site"
                    .to_owned(),
            ),
            (false, false) => (
                format!("nobody answers there ({browser_words})"),
                "check the address and the connection. For a prover in a private network the browser may want your permission"
                    .to_owned(),
            ),
        };
        self.advice = Some(advice);
        TransportError::Unreachable(reason)
    }
}

impl Prover for WebProver {
    fn advice(&self) -> Option<String> {
        self.advice.clone()
    }
}

impl Transport for WebProver {
    type Body = WebBody;

    async fn call(&mut self, call: Call<'_>) -> Result<Response<WebBody>, TransportError> {
        let impossible = |err: JsValue| TransportError::Unreachable(words(err));
        let abort = Abort(AbortController::new().map_err(impossible)?);
        let init = RequestInit::new();
        Reflect::set(&init, &"signal".into(), &abort.0.signal()).map_err(impossible)?;
        let request = self.request(&call, &init).map_err(impossible)?;
        let asked = scope().fetch_with_request(&request);
        let response = match self.clock.wait(asked.unchecked_ref(), SILENCE).await? {
            Ok(response) => response.unchecked_into::<web_sys::Response>(),
            Err(err) => return Err(self.unreachable(&words(err)).await),
        };
        // What a redirect looks like to whoever does not follow it.
        if response.status() == 0 {
            return Err(TransportError::Protocol(
                "it sends the verifier elsewhere".to_owned(),
            ));
        }
        let header = |name: &str| response.headers().get(name).ok().flatten();
        Ok(Response {
            status: response.status(),
            content_type: header("Content-Type").unwrap_or_default(),
            length: header("Content-Length").and_then(|length| length.parse().ok()),
            body: WebBody {
                reader: response
                    .body()
                    .map(|body| body.get_reader().unchecked_into()),
                clock: self.clock.clone(),
                _abort: abort,
            },
        })
    }

    fn notify(&mut self, call: Call<'_>) {
        let init = RequestInit::new();
        if let Ok(request) = self.request(&call, &init) {
            let asked = scope().fetch_with_request(&request);
            spawn_local(async move { drop(wait(asked.unchecked_into()).await) });
        }
    }
}

/// A body as the browser hands it out.
pub struct WebBody {
    reader: Option<ReadableStreamDefaultReader>,
    clock: Clock,
    _abort: Abort,
}

impl Body for WebBody {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        let Some(reader) = &self.reader else {
            return Ok(None);
        };
        let read = reader.read();
        let step = self.clock.wait(read.unchecked_ref(), SILENCE).await?;
        // An end that came too early is an error here as well.
        let step = step.map_err(|err| TransportError::Cut(words(err)))?;
        let get = |name: &str| Reflect::get(&step, &name.into()).unwrap_or(JsValue::UNDEFINED);
        if get("done").is_truthy() {
            return Ok(None);
        }
        Ok(Some(Uint8Array::new(&get("value")).to_vec()))
    }
}
