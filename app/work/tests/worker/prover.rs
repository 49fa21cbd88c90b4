//! A live prover in memory: the demo model on the CPU twins, which lies or fails in one place. The UI's tests ask it, too.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use assay_engine::sparsity::SparseModel;
use assay_engine::{Device, Engine, Numerics, Quiet};
use assay_live::{
    Body, Call, Fault, FaultCode, Info, Limits, Line, Method, OpeningRequest, PROTOCOL,
    ReceiptLine, Response, RunId, RunRequest, Transport, TransportError, routes,
};
use assay_model::Model;
use assay_prove::{Open, Request, seal};
use assay_trace::{Digest, ModelClaim, Opening, SealedTrace};

/// Where it lies, or fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(dead_code, reason = "two crates of tests tell different ones")]
pub enum Lie {
    #[default]
    None,
    /// An honest one that skips neurons, and says so.
    Skips,
    Unreachable,
    WantsToken,
    Refuse,
    OtherModel,
    OtherNonce,
    SwappedToken,
    CutStream,
    Withhold,
    OtherRun,
    FewerLayers,
    GarbageOpening,
    CutOpening,
}

/// The token that [`Lie::WantsToken`] wants.
pub const TOKEN: &str = "correct-horse-battery";

type Stop = Rc<dyn Fn() -> bool>;

pub struct InMemory {
    lie: Lie,
    token: Option<String>,
    is_stopped: Stop,
    sealed: Option<SealedTrace>,
}

pub struct Pieces {
    pieces: VecDeque<Result<Vec<u8>, TransportError>>,
    is_stopped: Stop,
}

impl Body for Pieces {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        if (self.is_stopped)() {
            return Err(TransportError::Cancelled);
        }
        self.pieces.pop_front().transpose()
    }
}

fn answer(status: u16, content_type: &str, bytes: &[u8]) -> Response<Pieces> {
    Response {
        status,
        content_type: content_type.to_owned(),
        length: None,
        body: Pieces {
            pieces: bytes
                .chunks(50_000)
                .map(|piece| Ok(piece.to_vec()))
                .collect(),
            is_stopped: Rc::new(|| false),
        },
    }
}

fn refusal(code: FaultCode, status: u16) -> Response<Pieces> {
    let fault = Fault::new(code, "not for you, not now");
    answer(status, routes::JSON, &serde_json::to_vec(&fault).unwrap())
}

impl InMemory {
    pub fn new(lie: Lie, token: Option<String>, is_stopped: Stop) -> Self {
        Self {
            lie,
            token,
            is_stopped,
            sealed: None,
        }
    }

    fn info(&self) -> Info {
        let (model, root) = demo();
        let config = model.config();
        Info {
            protocol: PROTOCOL,
            producer: "a test".to_owned(),
            adapter: "memory".to_owned(),
            model: ModelClaim {
                dtype: model.dtype().to_owned(),
                family: config.family.as_str().to_owned(),
                hidden: config.hidden as u32,
                layers: config.layers as u32,
                parameters: model.parameters(),
                root: match self.lie {
                    Lie::OtherModel => Digest::of(b"another"),
                    _ => root,
                },
                vocab: config.vocab as u32,
            },
            sparse: rule(self.lie).map(|rule| rule.claim(config)),
            limits: Limits {
                max_prompt: 100,
                max_tokens: 100,
                retention_s: 60,
            },
        }
    }

    async fn run(&mut self, request: &[u8]) -> Response<Pieces> {
        let mut request: RunRequest = serde_json::from_slice(request).unwrap();
        match self.lie {
            Lie::Refuse => return refusal(FaultCode::Busy, 503),
            Lie::OtherNonce => request.nonce = Digest::of(b"another"),
            _ => {}
        }
        let (sealed, output) = run(&request, rule(self.lie)).await;
        let manifest = sealed.receipt().unwrap();
        self.sealed = Some(sealed);
        let mut text = Vec::new();
        for (index, &token) in output.iter().enumerate() {
            let twist = u32::from(self.lie == Lie::SwappedToken && index == 0);
            text.extend(Line::Token(token ^ twist).to_bytes());
        }
        let cut = self.lie == Lie::CutStream;
        if !cut {
            let receipt = ReceiptLine {
                id: RunId::from_random([7; 16]),
                manifest: manifest.canonical_json(),
                tokens: [&request.prompt[..], &output].concat(),
                expires_s: 60,
            };
            text.extend(Line::Receipt(Box::new(receipt)).to_bytes());
        }
        let mut response = answer(200, routes::NDJSON, &text);
        if cut {
            let cut = TransportError::Cut("reset".to_owned());
            response.body.pieces.push_back(Err(cut));
        }
        response
    }

    async fn opening(&mut self, request: &[u8]) -> Response<Pieces> {
        let mut request: OpeningRequest = serde_json::from_slice(request).unwrap();
        let mut sealed = self.sealed.clone().unwrap();
        match self.lie {
            Lie::Withhold => return refusal(FaultCode::NotFound, 404),
            Lie::FewerLayers => drop(request.layers.pop()),
            Lie::OtherRun => {
                let manifest = sealed.receipt().unwrap();
                let other = RunRequest {
                    prompt: vec![1; manifest.prompt.tokens as usize],
                    max_tokens: manifest.output.tokens,
                    sampler: manifest.sampler,
                    ignore_eos: true,
                    nonce: manifest.nonce.unwrap(),
                };
                sealed = run(&other, rule(self.lie)).await.0;
            }
            _ => {}
        }
        let mut bytes = sealed.open(&Opening::from(request)).unwrap().to_bytes();
        if self.lie == Lie::GarbageOpening {
            bytes.fill(7);
        }
        let mut response = answer(200, routes::TRACE, &bytes);
        if self.lie == Lie::CutOpening {
            response.body.pieces.pop_back();
            let cut = TransportError::Cut("reset".to_owned());
            response.body.pieces.push_back(Err(cut));
        }
        response
    }
}

fn demo() -> (Model, Digest) {
    let model = Model::demo().unwrap();
    let mut hasher = model.root_hasher();
    while !hasher.step().unwrap() {}
    let root = hasher.finish().unwrap();
    (model, root)
}

/// Half of the neurons, where it skips.
fn rule(lie: Lie) -> Option<Arc<SparseModel>> {
    (lie == Lie::Skips).then(|| Arc::new(SparseModel::top_k(256)))
}

async fn run(request: &RunRequest, sparse: Option<Arc<SparseModel>>) -> (SealedTrace, Vec<u32>) {
    let (model, root) = demo();
    let states = 0..=model.config().layers as u32;
    let request = Request {
        prompt: request.prompt.clone(),
        max_tokens: request.max_tokens as usize,
        sampler: assay_verify::sampler_spec(&request.sampler),
        ignore_eos: request.ignore_eos,
        nonce: Some(request.nonce.0),
        opened: Some(sparse.iter().flat_map(|_| states.clone()).collect()),
        audit: sparse.is_none().then_some(Open::Later),
    };
    let capacity = request.capacity(model.config());
    let mut quiet = Quiet;
    let loading = Engine::load_with(
        &Device::Cpu,
        &model,
        capacity,
        Numerics::Fast,
        sparse,
        &mut quiet,
    );
    let mut engine = loading.await.unwrap();
    let sealed = seal(&mut engine, &model, root, &request, &mut quiet).await;
    let sealed = sealed.unwrap();
    (sealed.trace, sealed.output)
}

impl Transport for InMemory {
    type Body = Pieces;

    async fn call(&mut self, call: Call<'_>) -> Result<Response<Pieces>, TransportError> {
        if (self.is_stopped)() {
            return Err(TransportError::Cancelled);
        }
        let mut response = match (call.method, call.path) {
            _ if self.lie == Lie::Unreachable => {
                return Err(TransportError::Unreachable("nobody listens".to_owned()));
            }
            _ if self.lie == Lie::WantsToken && self.token.as_deref() != Some(TOKEN) => {
                refusal(FaultCode::Unauthorized, 401)
            }
            (Method::Get, routes::INFO) => {
                let json = serde_json::to_vec(&self.info()).unwrap();
                answer(200, routes::JSON, &json)
            }
            (Method::Post, routes::RUNS) => self.run(call.body.unwrap()).await,
            (Method::Post, _) => self.opening(call.body.unwrap()).await,
            other => panic!("{other:?}"),
        };
        response.body.is_stopped = Rc::clone(&self.is_stopped);
        Ok(response)
    }

    fn notify(&mut self, call: Call<'_>) {
        assert_eq!(call.method, Method::Delete);
        self.sealed = None;
    }
}

impl assay_work::Prover for InMemory {
    fn advice(&self) -> Option<String> {
        Some("ask somebody who is there".to_owned())
    }
}
