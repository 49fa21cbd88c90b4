//! A prover in memory. What it computes is made up, but committed to as it should be; then it lies in one place.

use std::collections::VecDeque;

use assay_live::{
    Amount, Ask, Body, Call, Fault, FaultCode, Info, Limits, Line, Method, OpeningRequest,
    PROTOCOL, ReceiptLine, Response, RunId, RunRequest, Transport, TransportError, Wanted, routes,
};
use assay_trace::{
    Compute, Decimal, Digest, EditableTrace, Keep, Linear, LinearsSpec, Manifest, MaskClaim,
    MaskName, ModelClaim, NumericsClaim, NumericsClass, Opening, PositionInput, ProductClaim,
    Sampler, SealedTrace, SparseClaim, SparseRule, StateDtype, StopReason, Trace, TraceBuilder,
    TraceSpec,
};

pub const LAYERS: u32 = 6;
const HIDDEN: usize = 4;
const VOCAB: u32 = 16;
const WIDTHS: [u32; 7] = [4, 2, 2, 4, 5, 5, 4];

/// Where the prover lies, or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    None,
    /// Honest, and its MLPs are sparse.
    Skips,
    // Before the receipt.
    OtherProtocol,
    OtherModel,
    OversizedInfo,
    ControlCharacters,
    Refuse,
    RefuseInHtml,
    Unreachable,
    ErrorLine,
    Garbage,
    UnknownField,
    EndlessLine,
    EmptyLines,
    EndWithoutReceipt,
    Cut,
    Silent,
    WrongType,
    // The receipt.
    NoNonce,
    OtherNonce,
    OtherPrompt,
    LongerPrompt,
    OtherSampler,
    OtherEosRule,
    OtherModelInReceipt,
    OtherSizesInReceipt,
    NotCanonical,
    OpensByItself,
    ChoosesByItself,
    NoLinears,
    SkipsUnsaid,
    SaysSkips,
    OtherRule,
    TooManyTokens,
    SaysAllTokens,
    TokenSwapped,
    TokenMissing,
    ListTooShort,
    PromptSwappedInList,
    StreamedTooMany,
    AfterReceipt,
    // The opening.
    Withhold,
    SilentOpening,
    CutOpening,
    OpeningInHtml,
    OtherRoot,
    OtherMasks,
    OtherTokens,
    OtherLength,
    NoLinearsOpened,
    SaysChosen,
    OtherLayer,
    FewerLayers,
    MoreStates,
    OtherLogits,
    GarbageOpening,
    TooLongByHead,
    TooLongByBody,
}

pub struct Prover {
    pub lie: Lie,
    sealed: Option<SealedTrace>,
    pub asked: Option<OpeningRequest>,
    pub forgotten: bool,
}

pub struct Pieces(VecDeque<Result<Vec<u8>, TransportError>>, bool);

impl Body for Pieces {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        match self.0.pop_front() {
            // Without end: the first piece again and again.
            Some(Ok(piece)) if self.1 && self.0.is_empty() => {
                self.0.push_back(Ok(piece.clone()));
                Ok(Some(piece))
            }
            Some(piece) => piece.map(Some),
            None => Ok(None),
        }
    }
}

pub fn wanted() -> Wanted {
    Wanted {
        prompt: vec![3, 1, 4],
        max_tokens: 5,
        sampler: Sampler::Gumbel {
            seed: 7,
            temperature: "0.8".parse().unwrap(),
            top_k: 0,
            top_p: Decimal::ONE,
        },
        ignore_eos: false,
        root: Some(model().root),
        ask: Ask {
            among: None,
            layers: Amount::Count(2),
            logits: Amount::Count(3),
        },
        max_bytes: 1 << 30,
    }
}

pub fn model() -> ModelClaim {
    ModelClaim {
        dtype: "f32".to_owned(),
        family: "llama".to_owned(),
        hidden: HIDDEN as u32,
        layers: LAYERS,
        parameters: 1000,
        root: Digest::of(b"model"),
        vocab: VOCAB,
    }
}

pub fn info() -> Info {
    Info {
        protocol: PROTOCOL,
        producer: "a test".to_owned(),
        adapter: "memory".to_owned(),
        model: model(),
        sparse: None,
        limits: Limits {
            max_prompt: 100,
            max_tokens: 100,
            retention_s: 60,
        },
    }
}

/// The rule of those that skip: two of twelve neurons.
pub fn rule() -> SparseClaim {
    SparseClaim {
        masks: vec![MaskClaim {
            name: MaskName::Neurons,
            width: 12,
        }],
        rule: SparseRule::TopK { keep: 2 },
    }
}

/// A run as it should be, but for what is made up: `salt` makes another of it.
pub fn run(
    request: &RunRequest,
    stop: StopReason,
    tokens: usize,
    salt: f32,
) -> (SealedTrace, Vec<u32>) {
    run_by(None, request, stop, tokens, salt)
}

/// The same by a rule for active neurons: with masks, then, and without linear outputs.
pub fn run_by(
    sparse: Option<SparseClaim>,
    request: &RunRequest,
    stop: StopReason,
    tokens: usize,
    salt: f32,
) -> (SealedTrace, Vec<u32>) {
    let is_dense = sparse.is_none();
    let masks: Vec<u8> = (sparse.iter())
        .flat_map(|_| (0..LAYERS as u8).flat_map(|layer| [3 << (layer + salt as u8), 0]))
        .collect();
    let products = Linear::ALL.into_iter().zip(WIDTHS);
    let spec = TraceSpec {
        adapter: "memory".to_owned(),
        eos: vec![0],
        ignore_eos: request.ignore_eos,
        model: model(),
        nonce: Some(request.nonce),
        numerics: NumericsClaim {
            activations: None,
            class: NumericsClass::Strict,
            compute: Compute::F32,
        },
        opened: match is_dense {
            true => Vec::new(),
            false => (0..=LAYERS).collect(),
        },
        producer: "a test".to_owned(),
        linears: is_dense.then(|| LinearsSpec {
            products: products
                .map(|(name, width)| ProductClaim { name, width })
                .collect(),
            keep: Keep::Everything,
        }),
        prompt: request.prompt.clone(),
        sampler: request.sampler,
        sparse,
        state_dtype: StateDtype::F32,
        tokenizer: None,
    };
    let mut builder = TraceBuilder::new(spec).unwrap();
    let output: Vec<u32> = (0..tokens as u32).map(|i| (5 + 3 * i) % VOCAB).collect();
    let all = [&request.prompt[..], &output].concat();
    for (position, &token) in all.iter().enumerate().take(all.len() - 1) {
        let row = |width: usize, layer: usize| -> Vec<f32> {
            (0..width)
                .map(|c| salt + (position + 10 * layer + 100 * c) as f32)
                .collect()
        };
        let states: Vec<Vec<f32>> = (0..=LAYERS as usize).map(|l| row(HIDDEN, l)).collect();
        let linears: Vec<Vec<Vec<f32>>> = (0..LAYERS as usize)
            .filter(|_| is_dense)
            .map(|l| WIDTHS.iter().map(|w| row(*w as usize, l)).collect())
            .collect();
        let states: Vec<&[f32]> = states.iter().map(Vec::as_slice).collect();
        let linears: Vec<Vec<&[f32]>> = linears
            .iter()
            .map(|layer| layer.iter().map(Vec::as_slice).collect())
            .collect();
        let logits = row(VOCAB as usize, 0);
        let logits = (position + 1 >= request.prompt.len()).then_some(&logits[..]);
        let input = PositionInput {
            states: &states,
            linears: &linears,
            sums: &[],
            masks: &masks,
            logits,
        };
        builder.push_position(token, input).unwrap();
    }
    let sealed = builder.seal(*all.last().unwrap(), stop).unwrap();
    (sealed, output)
}

fn pieces(bytes: &[u8]) -> VecDeque<Result<Vec<u8>, TransportError>> {
    // Cut where it hurts.
    bytes.chunks(7).map(|piece| Ok(piece.to_vec())).collect()
}

fn answer(status: u16, content_type: &str, bytes: &[u8]) -> Response<Pieces> {
    Response {
        status,
        content_type: content_type.to_owned(),
        length: Some(bytes.len() as u64),
        body: Pieces(pieces(bytes), false),
    }
}

fn refusal() -> Response<Pieces> {
    let fault = Fault::new(FaultCode::Busy, "not now\u{1b}[2J");
    answer(503, routes::JSON, &serde_json::to_vec(&fault).unwrap())
}

impl Prover {
    pub fn new(lie: Lie) -> Self {
        Self {
            lie,
            sealed: None,
            asked: None,
            forgotten: false,
        }
    }

    fn skips(&self) -> bool {
        matches!(self.lie, Lie::Skips | Lie::OtherRule | Lie::OtherMasks)
    }

    fn info(&self) -> Response<Pieces> {
        let mut info = info();
        match self.lie {
            Lie::OtherProtocol => info.protocol = 2,
            Lie::OtherModel => info.model.root = Digest::of(b"another"),
            Lie::SaysSkips => info.sparse = Some(rule()),
            _ if self.skips() => info.sparse = Some(rule()),
            Lie::ControlCharacters => info.adapter = "\u{1b}[2J".to_owned(),
            _ => {}
        }
        let mut json = serde_json::to_vec(&info).unwrap();
        if self.lie == Lie::OversizedInfo {
            json.extend(vec![b' '; 1 << 20]);
        }
        answer(200, routes::JSON, &json)
    }

    fn run(&mut self, request: &[u8]) -> Result<Response<Pieces>, TransportError> {
        let mut request: RunRequest = serde_json::from_slice(request).unwrap();
        let honest = request.clone();
        let (mut tokens, mut stop) = (request.max_tokens as usize, StopReason::Length);
        match self.lie {
            Lie::Refuse => return Ok(refusal()),
            Lie::RefuseInHtml => return Ok(answer(502, "text/html", b"<h1>Bad Gateway</h1>")),
            Lie::Unreachable => return Err(TransportError::Unreachable("nobody".to_owned())),
            Lie::OtherNonce => request.nonce = Digest::of(b"another"),
            Lie::OtherPrompt => request.prompt[1] += 1,
            Lie::LongerPrompt => request.prompt.insert(0, 9),
            Lie::OtherSampler => request.sampler = Sampler::Greedy,
            Lie::OtherEosRule => request.ignore_eos = !request.ignore_eos,
            Lie::TooManyTokens => tokens += 1,
            Lie::SaysAllTokens => tokens -= 1,
            Lie::None if request.max_tokens == 4 => (tokens, stop) = (2, StopReason::Eos),
            _ => {}
        }
        let sparse = (self.skips() || self.lie == Lie::SkipsUnsaid).then(rule);
        let (sealed, output) = run_by(sparse, &request, stop, tokens, 0.0);
        let mut manifest = sealed.receipt().unwrap();
        let mut list = [&honest.prompt[..], &output].concat();
        match self.lie {
            Lie::NoNonce => manifest.nonce = None,
            Lie::OtherModelInReceipt => manifest.model.root = Digest::of(b"another"),
            Lie::OtherSizesInReceipt => manifest.model.parameters += 1,
            Lie::OpensByItself => manifest.opened = vec![0],
            Lie::ChoosesByItself => {
                manifest.linears.as_mut().unwrap().challenge = assay_trace::Challenge::Chosen;
            }
            Lie::NoLinears => {
                manifest.linears = None;
                manifest.streams.remove(0);
            }
            Lie::OtherRule => {
                manifest.sparse.as_mut().unwrap().rule = SparseRule::TopK { keep: 1 };
            }
            Lie::ListTooShort => drop(list.pop()),
            Lie::PromptSwappedInList => list.swap(0, 1),
            _ => {}
        }
        self.sealed = Some(sealed);
        let mut sent = output.clone();
        match self.lie {
            Lie::TokenSwapped => sent[2] ^= 1,
            Lie::TokenMissing => drop(sent.pop()),
            Lie::StreamedTooMany => sent.push(1),
            _ => {}
        }
        let mut text = Vec::new();
        for token in sent {
            text.extend(Line::Token(token).to_bytes());
            text.extend(b"\n");
        }
        let mut manifest = manifest.canonical_json();
        if self.lie == Lie::NotCanonical {
            manifest = manifest.replace("\"version\":1", "\"version\": 1");
        }
        let receipt = Line::Receipt(Box::new(ReceiptLine {
            id: RunId::from_random([7; 16]),
            manifest,
            tokens: list,
            expires_s: 60,
        }));
        match self.lie {
            Lie::ErrorLine => {
                let fault = Fault::new(FaultCode::Device, "it is lost");
                text.extend(Line::Error(fault).to_bytes());
            }
            Lie::Garbage => text.extend(b"<html>\n"),
            Lie::UnknownField => text.extend(b"{\"token\":1,\"x\":2}\n"),
            Lie::EndWithoutReceipt | Lie::Cut | Lie::Silent => {}
            _ => text.extend(receipt.to_bytes()),
        }
        if self.lie == Lie::AfterReceipt {
            text.extend(b"x");
        }
        let mut response = answer(200, routes::NDJSON, &text);
        response.length = None;
        let cut = TransportError::Cut("reset".to_owned());
        match self.lie {
            Lie::Cut => response.body.0.push_back(Err(cut)),
            Lie::Silent => response
                .body
                .0
                .push_back(Err(TransportError::Silent { seconds: 9 })),
            Lie::EndlessLine => response.body = Pieces([Ok(vec![b' '; 4096])].into(), true),
            Lie::EmptyLines => response.body = Pieces([Ok(b"\n".to_vec())].into(), true),
            Lie::WrongType => response.content_type = "text/html".to_owned(),
            _ => {}
        }
        Ok(response)
    }

    fn opening(&mut self, request: &[u8]) -> Result<Response<Pieces>, TransportError> {
        let mut request: OpeningRequest = serde_json::from_slice(request).unwrap();
        self.asked = Some(request.clone());
        let mut sealed = self.sealed.clone().unwrap();
        let manifest = sealed.receipt().unwrap();
        let other = |list: &mut Vec<u32>, of: u32| {
            let free = (0..of).find(|i| !list.contains(i)).unwrap();
            list.pop();
            list.push(free);
            list.sort_unstable();
        };
        let again = |salt: f32, prompt: &[u32], tokens: usize| {
            let wanted = wanted();
            let request = RunRequest {
                prompt: prompt.to_vec(),
                max_tokens: wanted.max_tokens,
                sampler: manifest.sampler,
                ignore_eos: manifest.ignore_eos,
                nonce: manifest.nonce.unwrap(),
            };
            run_by(
                manifest.sparse.clone(),
                &request,
                StopReason::Length,
                tokens,
                salt,
            )
            .0
        };
        match self.lie {
            Lie::Withhold => return Ok(refusal()),
            Lie::SilentOpening => return Err(TransportError::Silent { seconds: 9 }),
            Lie::OpeningInHtml => return Ok(answer(200, "text/html", b"hello")),
            Lie::OtherRoot => sealed = again(0.5, &wanted().prompt, 5),
            Lie::OtherMasks => sealed = again(1.0, &wanted().prompt, 5),
            Lie::OtherLength => sealed = again(0.0, &wanted().prompt, 4),
            Lie::OtherLayer => other(&mut request.layers, LAYERS),
            Lie::FewerLayers => drop(request.layers.pop()),
            Lie::MoreStates => request.states = (0..=LAYERS).collect(),
            Lie::OtherLogits => other(&mut request.logits, 5),
            _ => {}
        }
        let mut opening: Opening = request.into();
        if self.lie == Lie::SaysChosen {
            opening.challenge = assay_trace::Challenge::Chosen;
        }
        let mut bytes = sealed.open(&opening).unwrap().to_bytes();
        let edited = |edit: &dyn Fn(&mut EditableTrace)| {
            let mut trace = EditableTrace::from_trace(&Trace::parse(&bytes).unwrap());
            edit(&mut trace);
            trace.seal().unwrap()
        };
        match self.lie {
            Lie::OtherTokens => {
                // Under the receipt's own root, whose hashes then do not fit: the first glance must see it already.
                let text = manifest_text(&bytes);
                let swapped = edited(&|trace| trace.tokens[4] ^= 1);
                let other = manifest_text(&swapped);
                bytes = replace(&swapped, &other, &text);
            }
            Lie::NoLinearsOpened => bytes = edited(&EditableTrace::remove_linears),
            Lie::GarbageOpening => bytes = vec![7; bytes.len()],
            _ => {}
        }
        let mut response = answer(200, routes::TRACE, &bytes);
        match self.lie {
            Lie::CutOpening => {
                response.body.0.truncate(3);
                let cut = TransportError::Cut("reset".to_owned());
                response.body.0.push_back(Err(cut));
            }
            Lie::TooLongByHead => response.length = Some(1 << 40),
            Lie::TooLongByBody => {
                response.length = None;
                response.body = Pieces([Ok(vec![0; 1 << 16])].into(), true);
            }
            _ => {}
        }
        Ok(response)
    }
}

/// The manifest as it stands in a file's header, escaped.
fn manifest_text(file: &[u8]) -> Vec<u8> {
    let manifest: Manifest = Trace::parse(file).unwrap().manifest().clone();
    manifest.canonical_json().replace('"', "\\\"").into_bytes()
}

fn replace(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = file
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    [&file[..at], to, &file[at + to.len()..]].concat()
}

impl Transport for Prover {
    type Body = Pieces;

    async fn call(&mut self, call: Call<'_>) -> Result<Response<Pieces>, TransportError> {
        match (call.method, call.path) {
            (Method::Get, routes::INFO) => Ok(self.info()),
            (Method::Post, routes::RUNS) => self.run(call.body.unwrap()),
            (Method::Post, path) => {
                assert_eq!(path, format!("/v1/runs/{}/opening", "07".repeat(16)));
                self.opening(call.body.unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    fn notify(&mut self, call: Call<'_>) {
        assert_eq!(call.method, Method::Delete);
        assert_eq!(call.path, format!("/v1/runs/{}", "07".repeat(16)));
        self.forgotten = true;
    }
}
