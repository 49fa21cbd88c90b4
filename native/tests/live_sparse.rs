//! A live prover that skips neurons, and who asks it, as two processes. Everything runs on `--adapter cpu` with the demo model, so that
//! these tests never skip.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use assay_tests::dishonest::{self, Lie};
use assay_trace::{SparseRule, Trace};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;
use ureq::http::{Request, Response};

/// A server of ours, ended with the test.
struct Server {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_assay"))
            .args(["serve", "--adapter", "cpu", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let url = url.trim_end().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self { child, url, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Response<ureq::Body> {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                agent.run(request.body(body.to_string()).unwrap())
            }
            None => agent.run(request.body(()).unwrap()),
        }
        .unwrap()
    }

    fn info(&self) -> Value {
        let mut response = self.call("GET", "/v1/info", None);
        let text = response.body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Runs six tokens; gives the receipt's line.
    fn run(&self) -> Value {
        let request = json!({
            "prompt": [256, 82, 79], "max_tokens": 6, "sampler": {"kind": "greedy"},
            "ignore_eos": true, "nonce": "ab".repeat(32),
        });
        let response = self.call("POST", "/v1/runs", Some(&request));
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        let last = lines.map_while(Result::ok).last().unwrap();
        let last: Value = serde_json::from_str(&last).unwrap();
        last["receipt"].clone()
    }

    fn open(&self, receipt: &Value, opening: &Value) -> Response<ureq::Body> {
        let path = format!("/v1/runs/{}/opening", receipt["id"].as_str().unwrap());
        self.call("POST", &path, Some(opening))
    }

    fn metric(&self, name: &str) -> f64 {
        let mut response = self.call("GET", "/metrics", None);
        let text = response.body_mut().read_to_string().unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const ASK: [&str; 4] = ["--prompt", "ROMEO:", "-n", "8"];

fn verify(url: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(["--adapter", "cpu", "--verify", url])
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// Exit code, verdict, codes of failed checks; and the whole report.
#[track_caller]
fn verdict(url: &str, args: &[&str]) -> ((i32, String, Vec<String>), Value) {
    let output = verify(url, &[&ASK[..], &["--json"], args].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{args:?}: {}", text(&output.stderr)));
    let failed = report["checks"].as_array().unwrap().iter();
    let failed = failed
        .filter(|check| check["outcome"] == "fail")
        .map(|check| check["code"].as_str().unwrap().to_owned());
    let word = report["verdict"].as_str().unwrap().to_owned();
    let found = (output.status.code().unwrap(), word, failed.collect());
    (found, report)
}

fn accepted() -> (i32, String, Vec<String>) {
    (0, "accept".to_owned(), Vec::new())
}

fn rejected(code: &str) -> (i32, String, Vec<String>) {
    (1, "reject".to_owned(), vec![code.to_owned()])
}

#[test]
fn a_live_prover_that_skips_is_accepted_by_its_own_rule_alone() {
    let server = Server::start(&["--sparse", "topk:50%"]);
    let info = server.info();
    let claim = json!({
        "masks": [{"name": "neurons", "width": 512}],
        "rule": {"kind": "topk", "keep": 256},
    });
    assert_eq!(info["sparse"], claim, "{info}");
    let said = server.log();
    assert!(said.contains("sparse (topk, 256 of 512 neurons)"), "{said}");

    let rule = ["--sparse", "topk:50%"];
    let sampled = [
        &rule[..],
        &["--temperature", "0.8", "--layers", "all", "--logits", "all"],
    ]
    .concat();
    for args in [&rule[..], &["--sparse", "topk:256"], &sampled] {
        let (found, report) = verdict(&server.url, args);
        assert_eq!(found, accepted(), "{args:?}: {report}");
        assert_eq!(report["coverage"]["freshness"], "nonce");
        assert_eq!(report["statistics"]["masks"]["active_fraction"], 0.5);
    }
    for args in [
        &[][..],
        &["--sparse", "topk:40%"],
        &["--sparse", "cats:0.1"],
    ] {
        let (found, report) = verdict(&server.url, args);
        assert_eq!(found, rejected("sparsity"), "{args:?}: {report}");
    }

    // What was kept is a trace like any other, and the terminal says what was done.
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("trace.bin");
    let save = ["--layers", "2", "--save", saved.to_str().unwrap()];
    let output = verify(&server.url, &[&ASK[..], &rule, &save].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in [
        "sparse (topk, 256 of 512 neurons), it says",
        "hidden states 0 ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let bytes = std::fs::read(&saved).unwrap();
    let trace = Trace::parse(&bytes).unwrap();
    let manifest = trace.manifest();
    assert!(manifest.linears.is_none());
    let rule = &manifest.sparse.as_ref().unwrap().rule;
    assert_eq!(*rule, SparseRule::TopK { keep: 256 });
    assert!(
        (3..=5).contains(&manifest.opened.len()),
        "{:?}",
        manifest.opened
    );
    let file = ["--expect-prompt", "ROMEO:", "--sparse", "topk:50%"];
    let output = verify(saved.to_str().unwrap(), &file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// Half of a rule is no rule: who asks for one gets no dense run, and who skips without saying so is caught as any wrong run is.
#[test]
fn a_dense_prover_is_not_what_was_asked_for() {
    let server = Server::start(&[]);
    assert_eq!(
        server.info().get("sparse"),
        None,
        "absent where all compute"
    );
    let (found, report) = verdict(&server.url, &["--sparse", "topk:50%"]);
    assert_eq!(found, rejected("sparsity"), "{report}");
    assert_eq!(verdict(&server.url, &[]).0, accepted());
}

#[test]
fn conduct_is_judged_as_it_is_of_dense_provers() {
    let server = Server::start(&["--sparse", "topk:128"]);
    for (lie, code) in [
        (Lie::OtherModelInReceipt, "live-model"),
        (Lie::OtherNonce, "live-nonce"),
        (Lie::OpenReceipt, "live-receipt"),
        (Lie::SwappedToken, "live-tokens"),
        (Lie::Withhold, "live-withheld"),
        (Lie::OtherRun, "live-changed"),
        (Lie::OtherRoot, "live-changed"),
        (Lie::MoreStates, "live-opening"),
    ] {
        let liar = dishonest::start(&server.url, lie).unwrap();
        let (found, report) = verdict(&liar, &["--sparse", "topk:128"]);
        assert_eq!(found, rejected(code), "{lie:?}: {report}");
    }
    let carrier = dishonest::start(&server.url, Lie::None).unwrap();
    assert_eq!(verdict(&carrier, &["--sparse", "topk:128"]).0, accepted());
}

/// What such a run does not have is refused in words, and what it has is there as often as it is asked for.
#[test]
fn what_cannot_be_opened_is_refused() {
    let server = Server::start(&["--sparse", "cats:0.1"]);
    let receipt = server.run();
    let manifest = receipt["manifest"].as_str().unwrap();
    for part in [
        r#""kind":"cats""#,
        r#""opened":[]"#,
        r#""streams":["logits","masks","states"]"#,
    ] {
        assert!(manifest.contains(part), "{part}: {manifest}");
    }
    // Hidden states of 9 layers and masks of 8 positions: a tenth of what a dense run keeps.
    let kept = server.metric("assay_retained_bytes");
    assert!((50_000.0..90_000.0).contains(&kept), "{kept}");
    let ask = |states: &[u32], layers: &[u32], logits: &[u32]| {
        let opening = json!({"states": states, "layers": layers, "logits": logits});
        server.open(&receipt, &opening)
    };
    for (states, layers, logits, part) in [
        (&[0][..], &[1][..], &[][..], "no layer and no logits"),
        (&[0], &[], &[0], "no layer and no logits"),
        (&[0], &[4_000_000_000], &[], "no layer and no logits"),
        (&[9], &[], &[], "opened"),
        (&[u32::MAX], &[], &[], "opened"),
    ] {
        let mut response = ask(states, layers, logits);
        let body = response.body_mut().read_to_string().unwrap();
        assert_eq!(response.status().as_u16(), 400, "{body}");
        let fault: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(fault["code"], "bad-request");
        let message = fault["message"].as_str().unwrap();
        assert!(message.contains(part), "{part}: {message}");
    }
    for states in [&[][..], &[0, 8], &[0, 1, 2, 3, 4, 5, 6, 7, 8]] {
        let mut response = ask(states, &[], &[]);
        assert_eq!(response.status().as_u16(), 200);
        let mut bytes = Vec::new();
        let mut body = response.body_mut().as_reader();
        body.read_to_end(&mut bytes).unwrap();
        let trace = Trace::parse(&bytes).unwrap();
        trace.check_commitment().unwrap();
        assert_eq!(trace.opened(), states);
        let own = trace.manifest().receipt().unwrap().canonical_json();
        assert_eq!(own, manifest, "the receipt is the same whatever is open");
    }
}

#[test]
fn rules_that_cannot_be_are_errors_with_a_sentence() {
    for (rule, part) in [
        ("topk:101%", "want a share"),
        ("nothing", "want topk:30%"),
        ("topk:9999", "the model's MLPs have 512"),
        ("relu", "for models with ReLU"),
        ("cats:/no/such/file", "/no/such/file"),
    ] {
        let serve = Command::new(env!("CARGO_BIN_EXE_assay"))
            .args(["serve", "--adapter", "cpu", "--listen", "127.0.0.1:0"])
            .args(["--sparse", rule])
            .output()
            .unwrap();
        // Nobody is asked: the address is no prover's.
        let ask = verify(
            "http://127.0.0.1:1",
            &[&ASK[..], &["--sparse", rule]].concat(),
        );
        for output in [serve, ask] {
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{rule}: {said}");
            assert!(said.contains(part), "{part}: {said}");
            assert!(!said.contains("panicked"), "{said}");
            assert_eq!(text(&output.stdout), "", "{rule}");
        }
    }
    // Integer products of a sparse model are not there.
    let both = ["serve", "--adapter", "cpu", "--listen", "127.0.0.1:0"];
    let output = Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(both)
        .args(["--sparse", "topk:50%", "--activations", "ggml"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error: "), "{said}");
}
