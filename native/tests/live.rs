//! A live prover and who asks it, as two processes: honest ones, dishonest ones between them, and what an operator relies on.
//! Everything runs on `--adapter cpu` with the demo model, so that these tests never skip.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assay_tests::dishonest::{self, Lie};
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

    fn get(&self, path: &str) -> Response<ureq::Body> {
        call(self.request("GET", path), None)
    }

    fn post(&self, path: &str, body: &Value) -> Response<ureq::Body> {
        call(self.request("POST", path), Some(body))
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
    }

    /// A figure of /metrics.
    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body_mut().read_to_string().unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.map_or(0.0, |line| {
            line.rsplit(' ').next().unwrap().parse().unwrap()
        })
    }

    /// Waits for a figure.
    #[track_caller]
    fn wait_for(&self, name: &str, value: f64) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.metric(name) != value {
            assert!(Instant::now() < until, "{name} is {}", self.metric(name));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal; gives the exit code.
    #[cfg(unix)]
    fn signal(&mut self, name: &str) -> i32 {
        signal(&self.child, name);
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

fn call(request: ureq::http::request::Builder, body: Option<&Value>) -> Response<ureq::Body> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .proxy(None)
        .build()
        .into();
    match body {
        Some(body) => {
            let request = request.header("Content-Type", "application/json");
            agent.run(request.body(body.to_string()).unwrap())
        }
        None => agent.run(request.body(()).unwrap()),
    }
    .unwrap()
}

fn status(response: &Response<ureq::Body>) -> u16 {
    response.status().as_u16()
}

/// Status and code of a refusal.
fn refused(mut response: Response<ureq::Body>) -> (u16, String) {
    let body = response.body_mut().read_to_string().unwrap();
    let fault: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}"));
    assert_eq!(fault.as_object().unwrap().len(), 2, "{fault}");
    assert!(fault["message"].is_string());
    (
        status(&response),
        fault["code"].as_str().unwrap().to_owned(),
    )
}

/// The lines of a run's answer, to its end.
fn lines(response: Response<ureq::Body>) -> Vec<Value> {
    assert_eq!(status(&response), 200);
    BufReader::new(response.into_body().into_reader())
        .lines()
        .map_while(Result::ok)
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect()
}

fn request(prompt: &[u32], max_tokens: u32) -> Value {
    json!({
        "prompt": prompt, "max_tokens": max_tokens, "sampler": {"kind": "greedy"},
        "ignore_eos": true, "nonce": "ab".repeat(32),
    })
}

fn opening(receipt: &Value) -> String {
    format!("/v1/runs/{}/opening", receipt["id"].as_str().unwrap())
}

fn all_closed() -> Value {
    json!({"states": [0], "layers": [], "logits": []})
}

fn verifier(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command
        .args(["--adapter", "cpu", "--verify", url])
        .args(args)
        .env_remove("NO_COLOR");
    command
}

fn verify(url: &str, args: &[&str]) -> Output {
    verifier(url, args).output().unwrap()
}

const ASK: [&str; 4] = ["--prompt", "ROMEO:", "-n", "12"];

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn shown(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn an_honest_prover_is_accepted() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("trace.bin");
    let sampled = ["--temperature", "0.8", "--layers", "2", "--logits", "all"];
    let save = ["--json", "--save", saved.to_str().unwrap()];
    for args in [&[][..], &sampled, &["--layers", "all"], &save] {
        let output = verify(&server.url, &[&ASK, args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        if args.first() == Some(&"--json") {
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(report["verdict"], "accept");
            assert_eq!(report["coverage"]["freshness"], "nonce");
            assert_eq!(text(&output.stderr), "");
        } else {
            assert!(
                text(&output.stdout).starts_with("✓ ACCEPT\n"),
                "{}",
                shown(&output)
            );
            for part in ["receipt", "challenge", "answer", "assay 0"] {
                assert!(
                    text(&output.stderr).contains(part),
                    "{part}: {}",
                    shown(&output)
                );
            }
        }
    }
    // What was kept is a trace like any other.
    let output = verify(saved.to_str().unwrap(), &["--expect-prompt", "ROMEO:"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    // The verifier said that it has what it needs.
    server.wait_for("assay_retained_runs", 0.0);
    assert_eq!(server.metric("assay_openings_total"), 4.0);
    let log = server.log();
    assert!(log.contains("POST /v1/runs 200"), "{log}");
    assert!(log.contains("/v1/runs/{id}/opening 200"), "{log}");
}

/// Through the real program: exit code, report, and the code in both.
#[test]
fn dishonest_provers_are_told_apart() {
    let server = Server::start(&[]);
    let verdicts = [
        (Lie::OtherModel, "live-model"),
        (Lie::OtherModelInReceipt, "live-model"),
        (Lie::OtherNonce, "live-nonce"),
        (Lie::OtherPrompt, "live-prompt"),
        (Lie::OtherSampler, "live-sampler"),
        (Lie::OtherEosRule, "live-sampler"),
        (Lie::FewerTokens, "live-receipt"),
        (Lie::OpenReceipt, "live-receipt"),
        (Lie::SwappedToken, "live-tokens"),
        (Lie::MoreTokens, "live-tokens"),
        (Lie::Withhold, "live-withheld"),
        (Lie::OtherRun, "live-changed"),
        (Lie::OtherRoot, "live-changed"),
        (Lie::OtherLayer, "live-opening"),
        (Lie::FewerLayers, "live-opening"),
        (Lie::MoreLayers, "live-opening"),
        (Lie::NoLogits, "live-opening"),
        (Lie::GarbageOpening, "live-opening"),
        (Lie::HugeOpening, "live-opening"),
        (Lie::EndlessOpening, "live-opening"),
    ];
    for (lie, code) in verdicts {
        let liar = dishonest::start(&server.url, lie).unwrap();
        let args = ["--temperature", "0.8", "--seed", "7", "--json"];
        let output = verify(&liar, &[&ASK[..], &args].concat());
        assert_eq!(output.status.code(), Some(1), "{lie:?}: {}", shown(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["verdict"], "reject");
        let failed: Vec<&Value> = (report["checks"].as_array().unwrap().iter())
            .filter(|check| check["outcome"] == "fail")
            .collect();
        assert_eq!(failed.len(), 1, "{report}");
        assert_eq!(failed[0]["id"], "live");
        assert_eq!(failed[0]["code"], code, "{lie:?}: {report}");
        assert!(
            report["summary"]
                .as_str()
                .unwrap()
                .starts_with(&format!("rejected, {code}: "))
        );
    }
    let errors = [
        (Lie::Refuse, "live-refused"),
        (Lie::NoHttp, "live-protocol"),
        (Lie::Redirect, "live-protocol"),
        (Lie::Html, "live-protocol"),
        (Lie::Garbage, "live-protocol"),
        (Lie::EndlessLine, "live-protocol"),
        (Lie::NoReceipt, "live-protocol"),
        (Lie::CutStream, "live-cut"),
        (Lie::StallStream, "live-stalled"),
        (Lie::CutOpening, "live-cut"),
        (Lie::StallOpening, "live-stalled"),
    ];
    for (lie, code) in errors {
        let liar = dishonest::start(&server.url, lie).unwrap();
        let output = verify(&liar, &[&ASK[..], &["--timeout", "2"]].concat());
        assert_eq!(output.status.code(), Some(2), "{lie:?}: {}", shown(&output));
        assert_eq!(text(&output.stdout), "", "{lie:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!("error: {code}: ")),
            "{lie:?}: {said}"
        );
        assert!(!said.contains('\u{1b}'), "{said}");
        let after_challenge = matches!(lie, Lie::CutOpening | Lie::StallOpening);
        assert_eq!(
            said.contains("take it for a rejection"),
            after_challenge,
            "{said}"
        );
    }
    // Who only carries is no liar, and a verdict on the terminal has the code too.
    let carrier = dishonest::start(&server.url, Lie::None).unwrap();
    assert_eq!(verify(&carrier, &ASK).status.code(), Some(0));
    let liar = dishonest::start(&server.url, Lie::OtherRun).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let evidence = folder.path().join("evidence.bin");
    let save = ["--save", evidence.to_str().unwrap()];
    let output = verify(&liar, &[&ASK[..], &save].concat());
    assert!(
        text(&output.stdout).starts_with("✗ REJECT  live-changed\n"),
        "{}",
        shown(&output)
    );
    assert!(evidence.is_file(), "what the prover sent is kept");
}

#[test]
fn unreachable_provers_and_wrong_usage_are_errors() {
    let output = verify("http://127.0.0.1:1", &ASK);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("error: live-unreachable: "),
        "{}",
        shown(&output)
    );
    let usage: [(&str, &[&str], &str); 6] = [
        ("http://127.0.0.1:1", &[], "a live prover needs a prompt"),
        (
            "http://127.0.0.1:1",
            &["--prompt", "x", "--nonce", &"ab".repeat(32)],
            "--nonce is for a trace in a file",
        ),
        (
            "http://127.0.0.1:1",
            &["--prompt", "x", "--layers", "many"],
            "want a number, or `all`",
        ),
        (
            "http://user:x@host",
            &["--prompt", "x"],
            "not the address of a prover",
        ),
        (
            "trace.bin",
            &["--prompt", "x"],
            "--prompt is for a live prover",
        ),
        (
            "trace.bin",
            &["--temperature", "1"],
            "--temperature is for a live prover",
        ),
    ];
    for (file, args, part) in usage {
        let output = verify(file, args);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(
            text(&output.stderr).contains(part),
            "{part}: {}",
            shown(&output)
        );
    }
}

#[test]
fn two_at_once_are_both_answered() {
    let server = Server::start(&[]);
    let children: Vec<Child> = (0..2)
        .map(|_| {
            let mut command = verifier(&server.url, &ASK);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    }
}

/// Whatever ran in between, the same request gives the same run; and its name cannot be guessed from another.
#[test]
fn a_run_sees_nothing_of_another() {
    let server = Server::start(&[]);
    let receipt = |prompt: &[u32]| -> Value {
        let all = lines(server.post("/v1/runs", &request(prompt, 20)));
        let (last, tokens) = all.split_last().unwrap();
        let receipt = last["receipt"].clone();
        let sent: Vec<&Value> = tokens.iter().map(|line| &line["token"]).collect();
        let kept: Vec<&Value> = receipt["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .skip(prompt.len())
            .collect();
        assert_eq!(sent, kept);
        receipt
    };
    let first = receipt(&[5, 6, 7]);
    let other = receipt(&[9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let again = receipt(&[5, 6, 7]);
    assert_eq!(first["manifest"], again["manifest"], "root and all");
    assert_eq!(first["tokens"], again["tokens"]);
    assert_ne!(first["manifest"], other["manifest"]);
    let ids: Vec<&str> = [&first, &other, &again]
        .iter()
        .map(|receipt| receipt["id"].as_str().unwrap())
        .collect();
    assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
    assert!(ids.iter().all(|id| id.len() == 32));
    assert!(
        ids.iter().all(|id| !server.log().contains(id)),
        "ids are secrets"
    );
    // Each opens its own run, as often as it likes, until it is forgotten.
    for (receipt, n_tokens) in [(&first, 23), (&other, 29), (&first, 23)] {
        let mut response = server.post(&opening(receipt), &all_closed());
        assert_eq!(status(&response), 200);
        let mut bytes = Vec::new();
        response
            .body_mut()
            .as_reader()
            .read_to_end(&mut bytes)
            .unwrap();
        let trace = assay_trace::Trace::parse(&bytes).unwrap();
        trace.check_commitment().unwrap();
        assert_eq!(trace.tokens().len(), n_tokens);
        let own = trace.manifest().receipt().unwrap().canonical_json();
        assert_eq!(receipt["manifest"], own);
    }
    let forget = format!("/v1/runs/{}", ids[0]);
    assert_eq!(status(&call(server.request("DELETE", &forget), None)), 204);
    assert_eq!(
        refused(server.post(&opening(&first), &all_closed())),
        (404, "not-found".to_owned())
    );
    assert_eq!(
        refused(call(server.request("DELETE", &forget), None)).0,
        404
    );
    assert_eq!(status(&server.post(&opening(&other), &all_closed())), 200);
}

#[test]
fn what_is_not_taken_is_refused_with_a_code() {
    let server = Server::start(&["--max-tokens", "20", "--max-prompt", "10"]);
    let with = |field: &str, value: Value| {
        let mut request = request(&[1, 2], 3);
        request[field] = value;
        request
    };
    let cases = [
        (with("prompt", json!([])), 400, "bad-request"),
        (with("prompt", json!([2048])), 400, "bad-request"),
        (with("prompt", json!(vec![1; 11])), 413, "too-large"),
        (with("prompt", json!(vec![1; 5000])), 413, "too-large"),
        (with("max_tokens", json!(0)), 400, "bad-request"),
        (with("max_tokens", json!(21)), 413, "too-large"),
        (with("max_tokens", json!(-1)), 400, "bad-request"),
        (with("nonce", json!("ab")), 400, "bad-request"),
        (with("sampler", json!({"kind": "beam"})), 400, "bad-request"),
        (
            with(
                "sampler",
                json!({"kind": "gumbel", "seed": "1", "temperature": "0", "top_k": 0, "top_p": "1"}),
            ),
            400,
            "bad-request",
        ),
        (with("more", json!(1)), 400, "bad-request"),
    ];
    for (body, status, code) in cases {
        assert_eq!(
            refused(server.post("/v1/runs", &body)),
            (status, code.to_owned()),
            "{body}"
        );
    }
    let plain = server
        .request("POST", "/v1/runs")
        .header("Content-Type", "text/plain");
    assert_eq!(refused(call(plain, None)), (415, "media-type".to_owned()));
    assert_eq!(refused(server.get("/v1/runs")), (405, "method".to_owned()));
    assert_eq!(refused(server.get("/")), (404, "not-found".to_owned()));
    for id in ["0", "..%2f..%2finfo", &"ab".repeat(16)] {
        let response = server.post(&format!("/v1/runs/{id}/opening"), &all_closed());
        assert_eq!(refused(response).0, 404, "{id}");
    }
    let run = lines(server.post("/v1/runs", &request(&[1, 2], 3)));
    let path = opening(&run.last().unwrap()["receipt"]);
    for (states, layers, logits) in [
        (json!([9]), json!([]), json!([])),
        (json!([0]), json!([8]), json!([])),
        (json!([0]), json!([]), json!([3])),
        (json!([0]), json!("all"), json!([])),
        (json!(vec![0; 100_000]), json!([]), json!([])),
    ] {
        let body = json!({"states": states, "layers": layers, "logits": logits});
        let (status, code) = refused(server.post(&path, &body));
        assert!(
            matches!(
                (status, code.as_str()),
                (400, "bad-request") | (413, "too-large")
            ),
            "{status} {code}"
        );
    }
    // All that is written down is there.
    let document: Value =
        serde_json::from_str(include_str!("../../docs/prover-api.openapi.json")).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete"]
            .iter()
            .filter(|m| methods[m].is_object())
        {
            let path = path.replace("{id}", &"ab".repeat(16));
            let mut response = call(server.request(&method.to_uppercase(), &path), None);
            let body = response.body_mut().read_to_string().unwrap();
            assert!(
                !body.contains("no such route") && status(&response) != 405,
                "{path}: {body}"
            );
        }
    }
}

#[test]
fn a_full_queue_says_so_and_who_hangs_up_is_not_worked_for() {
    let server = Server::start(&["--queue", "1"]);
    let long = request(&[1, 2, 3], 500);
    let first = server.post("/v1/runs", &long);
    server.wait_for("assay_queue_length", 0.0);
    let second = server.post("/v1/runs", &long);
    server.wait_for("assay_queue_length", 1.0);
    let third = server.post("/v1/runs", &long);
    assert_eq!(third.headers()["Retry-After"], "10");
    assert_eq!(refused(third), (503, "busy".to_owned()));
    // One that waits makes room when it hangs up, one that runs is ended.
    drop(second);
    thread::sleep(Duration::from_millis(200));
    let fourth = server.post("/v1/runs", &request(&[1, 2, 3], 2));
    assert_eq!(status(&fourth), 200);
    drop(first);
    let answered = lines(fourth);
    assert!(
        answered.last().unwrap()["receipt"].is_object(),
        "{answered:?}"
    );
    server.wait_for("assay_runs_total{ending=\"gone\"}", 1.0);
    server.wait_for("assay_runs_total{ending=\"finished\"}", 1.0);
    assert!(server.log().contains("gone, "), "{}", server.log());
}

#[test]
fn runs_are_kept_for_as_long_as_was_said() {
    let server = Server::start(&["--retain-seconds", "2", "--retain-runs", "1"]);
    let info: Value =
        serde_json::from_str(&server.get("/v1/info").body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(info["limits"]["retention_s"], 2);
    let run = lines(server.post("/v1/runs", &request(&[1, 2], 3)));
    let receipt = &run.last().unwrap()["receipt"];
    assert_eq!(receipt["expires_s"], 2);
    // Nobody else's run ends the promise.
    let full = server.post("/v1/runs", &request(&[1, 2], 3));
    assert_eq!(refused(full), (503, "full".to_owned()));
    assert_eq!(status(&server.post(&opening(receipt), &all_closed())), 200);
    server.wait_for("assay_retained_runs", 0.0);
    assert_eq!(
        refused(server.post(&opening(receipt), &all_closed())).0,
        404
    );
    assert_eq!(server.metric("assay_retained_bytes"), 0.0);
    assert_eq!(status(&server.post("/v1/runs", &request(&[1, 2], 3))), 200);
}

#[test]
fn runs_that_take_too_long_or_too_much_are_ended() {
    let server = Server::start(&["--run-seconds", "1", "--retain-mib", "40"]);
    let run = lines(server.post("/v1/runs", &request(&[1, 2], 400)));
    let last = run.last().unwrap();
    // A fast machine may well be done.
    assert!(
        last["error"]["code"] == "timeout" || last["receipt"].is_object(),
        "{last}"
    );
    let tiny = Server::start(&["--retain-mib", "1"]);
    let refusal = refused(tiny.post("/v1/runs", &request(&[1, 2], 400)));
    assert_eq!(refusal, (413, "too-large".to_owned()));
}

#[test]
fn a_token_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, token: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{token}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (
        file("right", "0123456789abcdef"),
        file("wrong", "0123456789abcdeF"),
    );
    let server = Server::start(&[
        "--token-file",
        &right,
        "--allow-origin",
        "https://example.org",
    ]);
    for path in ["/v1/info", "/metrics", "/nowhere"] {
        let response = server.get(path);
        assert_eq!(response.headers()["WWW-Authenticate"], "Bearer");
        assert_eq!(
            refused(response),
            (401, "unauthorized".to_owned()),
            "{path}"
        );
    }
    for given in [
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcdeF",
        "Basic 0123456789abcdef",
        "Bearer 0123456789abcdef0",
    ] {
        let request = server
            .request("GET", "/v1/info")
            .header("Authorization", given);
        assert_eq!(refused(call(request, None)).0, 401, "{given}");
    }
    assert_eq!(refused(server.post("/v1/runs", &request(&[1], 1))).0, 401);
    for (args, code) in [
        (vec!["--token-file", &right], 0),
        (vec!["--token-file", &wrong], 2),
        (vec![], 2),
    ] {
        let output = verify(&server.url, &[&ASK[..], &args].concat());
        assert_eq!(output.status.code(), Some(code), "{}", shown(&output));
        if code == 2 {
            assert!(
                text(&output.stderr).contains("live-refused: the prover refused: unauthorized"),
                "{}",
                shown(&output)
            );
        }
    }
    // A preflight has no token.
    assert_eq!(status(&preflight(&server, "https://example.org")), 200);
    assert!(!server.log().contains("0123456789"), "tokens are secrets");
    // Files that hold no token.
    let short = file("short", "short");
    for path in [&short, "/no/such/file"] {
        let output = Command::new(env!("CARGO_BIN_EXE_assay"))
            .args(["serve", "--adapter", "cpu", "--token-file", path])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    }
}

fn preflight(server: &Server, origin: &str) -> Response<ureq::Body> {
    let request = server
        .request("OPTIONS", "/v1/runs")
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header(
            "Access-Control-Request-Headers",
            "content-type,authorization",
        )
        .header("Access-Control-Request-Private-Network", "true");
    call(request, None)
}

#[test]
fn pages_ask_only_where_they_are_invited() {
    let header = |response: &Response<ureq::Body>, name: &str| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let page = |server: &Server, origin: &str| {
        call(
            server.request("GET", "/v1/info").header("Origin", origin),
            None,
        )
    };
    let (good, bad) = ("https://example.org", "https://evil.example");
    let server = Server::start(&[
        "--allow-origin",
        good,
        "--allow-origin",
        "http://localhost:8080",
    ]);
    for origin in [good, "http://localhost:8080"] {
        let response = preflight(&server, origin);
        assert_eq!(
            header(&response, "Access-Control-Allow-Origin").as_deref(),
            Some(origin)
        );
        assert_eq!(
            header(&response, "Access-Control-Allow-Private-Network").as_deref(),
            Some("true")
        );
        let headers = header(&response, "Access-Control-Allow-Headers").unwrap();
        assert!(
            headers.contains("authorization") && headers.contains("content-type"),
            "{headers}"
        );
        let response = page(&server, origin);
        assert_eq!(status(&response), 200);
        assert_eq!(
            header(&response, "Access-Control-Allow-Origin").as_deref(),
            Some(origin)
        );
    }
    assert_eq!(
        header(&preflight(&server, bad), "Access-Control-Allow-Origin"),
        None
    );
    assert_eq!(refused(page(&server, bad)), (403, "origin".to_owned()));
    // A refusal can be read by who may ask at all.
    let response = call(
        server.request("GET", "/nowhere").header("Origin", good),
        None,
    );
    assert_eq!(
        header(&response, "Access-Control-Allow-Origin").as_deref(),
        Some(good)
    );
    // By default no page may, and there is no CORS at all.
    let server = Server::start(&[]);
    assert_eq!(
        header(&preflight(&server, good), "Access-Control-Allow-Origin"),
        None
    );
    assert_eq!(refused(page(&server, good)).0, 403);
    assert_eq!(
        status(&server.get("/v1/info")),
        200,
        "programs send no origin"
    );
    let server = Server::start(&["--allow-origin", "*"]);
    assert_eq!(
        header(&page(&server, bad), "Access-Control-Allow-Origin").as_deref(),
        Some("*")
    );
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_run_in_good_order() {
    for name in ["-INT", "-TERM"] {
        let mut server = Server::start(&[]);
        let running = server.post("/v1/runs", &request(&[1, 2, 3], 500));
        let waiting = server.post("/v1/runs", &request(&[1, 2, 3], 500));
        server.wait_for("assay_queue_length", 1.0);
        let started = Instant::now();
        let readers = [running, waiting].map(|response| thread::spawn(|| lines(response)));
        assert_eq!(server.signal(name), 0, "{}", server.log());
        assert!(started.elapsed() < Duration::from_secs(10));
        for reader in readers {
            let answered = reader.join().unwrap();
            let last = answered.last().unwrap();
            assert_eq!(last["error"]["code"], "stopping", "{last}");
        }
        assert!(server.log().ends_with("stopped\n"), "{}", server.log());
    }
}

/// A verifier that waits for a silent prover hears its user.
#[cfg(unix)]
#[test]
fn a_waiting_verifier_can_be_interrupted() {
    let server = Server::start(&[]);
    let liar = dishonest::start(&server.url, Lie::StallStream).unwrap();
    let mut command = verifier(&liar, &ASK);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_for("assay_runs_total{ending=\"finished\"}", 1.0);
    thread::sleep(Duration::from_millis(200));
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", shown(&output));
    assert!(
        text(&output.stderr).contains("interrupted"),
        "{}",
        shown(&output)
    );
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let server = Server::start(&[]);
    let address = server.url.strip_prefix("http://").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(["serve", "--adapter", "cpu", "--listen", address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("cannot listen on"),
        "{}",
        shown(&output)
    );
}

/// A key of the demo model in `folder`, made with `args`.
fn key(folder: &TempDir, name: &str, args: &[&str]) -> String {
    let path = folder.path().join(name);
    let path = path.to_str().unwrap().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(["keygen", "--out", &path])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    path
}

/// Who has a key and no weights asks as well: what is opened is audited, and conduct is judged alike.
#[test]
fn a_key_is_enough_to_ask() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let ask = |url: &str, key: &str, args: &[&str]| {
        let ids = [
            "--prompt-ids",
            "256,75,73,78,71",
            "-n",
            "12",
            "--json",
            "--key",
            key,
        ];
        let output = verify(url, &[&ids[..], args].concat());
        let report: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        (
            output.status.code(),
            report.unwrap_or_default(),
            shown(&output),
        )
    };
    let all = key(&folder, "all.key", &[]);
    for args in [
        &[][..],
        &["--temperature", "0.8", "--seed", "7", "--layers", "all"],
    ] {
        let (code, report, said) = ask(&server.url, &all, args);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(
            (
                &report["verdict"],
                &report["method"],
                &report["checks"][0]["id"]
            ),
            (&json!("accept"), &json!("audit"), &json!("live")),
            "{said}"
        );
        assert_eq!(report["checks"][0]["outcome"], "pass");
        let layers = report["audit"]["layers"].as_array().unwrap().len();
        assert_eq!(layers, if args.is_empty() { 4 } else { 8 });
    }
    for (lie, code) in [
        (Lie::OtherNonce, "live-nonce"),
        (Lie::SwappedToken, "live-tokens"),
        (Lie::OtherRun, "live-changed"),
        (Lie::OtherRoot, "live-changed"),
        (Lie::FewerLayers, "live-opening"),
        (Lie::Withhold, "live-withheld"),
    ] {
        let liar = dishonest::start(&server.url, lie).unwrap();
        let (exit, report, said) = ask(&liar, &all, &[]);
        assert_eq!(exit, Some(1), "{lie:?}: {said}");
        assert_eq!(
            (
                &report["verdict"],
                &report["method"],
                &report["checks"][0]["code"]
            ),
            (&json!("reject"), &json!("audit"), &json!(code)),
            "{lie:?}: {said}"
        );
    }
    // Only what the key can judge is asked for.
    let some = key(&folder, "some.key", &["--layers", "0,3"]);
    let (exit, report, said) = ask(&server.url, &some, &["--layers", "all"]);
    assert_eq!(
        (exit, &report["audit"]["layers"]),
        (Some(0), &json!([0, 3])),
        "{said}"
    );
    // It has no words, and the prover is not asked for nothing.
    let output = verify(&server.url, &["--key", &some, "--prompt", "ROMEO:"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("a key has no tokenizer"),
        "{}",
        shown(&output)
    );
}
