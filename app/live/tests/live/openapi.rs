//! `docs/prover-api.openapi.json` against the types: what is written there is what is sent, field by field.

use std::collections::BTreeSet;

use assay_live::{
    ExchangeError, Fault, FaultCode, Info, Line, OpeningRequest, ReceiptLine, RunId, RunRequest,
    routes,
};
use assay_trace::{Decimal, Digest, Sampler, SparseRule};
use serde::Serialize;
use serde_json::{Value, json};

use crate::prover::{info, rule, wanted};

const TEXT: &str = include_str!("../../../../docs/prover-api.md");

fn document() -> Value {
    serde_json::from_str(include_str!("../../../../docs/prover-api.openapi.json")).unwrap()
}

#[test]
fn every_route_is_written_down() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    let routes = [
        (routes::INFO, "get"),
        (routes::RUNS, "post"),
        (routes::RUN, "delete"),
        (routes::OPENING, "post"),
        (routes::METRICS, "get"),
    ];
    for (path, method) in routes {
        assert!(paths[path][method]["responses"].is_object(), "{path}");
        let word = format!("{} {path}", method.to_uppercase());
        assert!(TEXT.contains(&word), "{word}");
    }
    assert_eq!(paths.len(), routes.len());
    let types = document.to_string();
    for media in [routes::JSON, routes::NDJSON, routes::TRACE] {
        assert!(types.contains(media), "{media}");
    }
}

#[test]
fn every_field_is_written_down() {
    let wanted = wanted();
    let request = |sampler| RunRequest {
        prompt: vec![1, 2],
        max_tokens: 3,
        sampler,
        ignore_eos: false,
        nonce: Digest::ZERO,
    };
    let receipt = ReceiptLine {
        id: RunId::from_random([7; 16]),
        manifest: "{}".to_owned(),
        tokens: vec![1, 2, 3],
        expires_s: 60,
    };
    let fault = Fault::new(FaultCode::Busy, "not now");
    let opening = OpeningRequest {
        states: vec![0],
        layers: vec![1],
        logits: vec![],
    };
    let skips = Info {
        sparse: Some(rule()),
        ..info()
    };
    fits_but_for("Info", &skips, &["sparse"]);
    valid("Info", &info());
    let digest = Digest::ZERO;
    let each = || vec!["0.5".parse().unwrap(), Decimal::ONE];
    for rule in [
        SparseRule::TopK { keep: 3 },
        SparseRule::Given { digest },
        SparseRule::Predicted { digest, keep: 3 },
        SparseRule::Cats { thresholds: each() },
        SparseRule::Teal {
            input: each(),
            neurons: each(),
        },
    ] {
        valid("SparseRule", &rule);
    }
    fits("Limits", &info().limits);
    fits("Model", &info().model);
    fits("RunRequest", &request(wanted.sampler));
    fits("RunRequest", &request(Sampler::Greedy));
    fits("Receipt", &receipt);
    fits("Fault", &fault);
    fits("OpeningRequest", &opening);
    valid("Sampler", &wanted.sampler);
    valid("Sampler", &Sampler::Greedy);
    for line in [
        Line::Token(7),
        Line::Receipt(Box::new(receipt)),
        Line::Error(fault),
    ] {
        valid("Line", &line);
    }
}

#[test]
fn every_code_is_written_down() {
    let listed = &document()["components"]["schemas"]["Fault"]["properties"]["code"]["examples"];
    let listed: BTreeSet<&str> = (listed.as_array().unwrap().iter())
        .map(|word| word.as_str().unwrap())
        .collect();
    let words: BTreeSet<&str> = FaultCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed, words);
    for word in words {
        assert!(TEXT.contains(&format!("| `{word}` |")), "{word}");
    }
    for (code, is_verdict) in ExchangeError::CODES {
        let row = TEXT
            .lines()
            .find(|line| line.starts_with(&format!("| `{code}` |")));
        let said = row.unwrap_or_else(|| panic!("{code} is not in docs/prover-api.md"));
        assert_eq!(said.contains("REJECT"), is_verdict, "{said}");
    }
}

/// `value` has the properties of the schema, all of them and no other, and fits it.
fn fits(name: &str, value: &impl Serialize) {
    fits_but_for(name, value, &[]);
}

/// The same, where some of them need not be there.
fn fits_but_for(name: &str, value: &impl Serialize, optional: &[&str]) {
    let value = serde_json::to_value(value).unwrap();
    let schema = document()["components"]["schemas"][name].clone();
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&value), keys(&schema["properties"]), "{name}");
    let required: BTreeSet<String> = serde_json::from_value(schema["required"].clone()).unwrap();
    let mut needed = keys(&value);
    needed.retain(|key| !optional.contains(&key.as_str()));
    assert_eq!(needed, required, "{name}");
    assert_eq!(schema["additionalProperties"], json!(false), "{name}");
    valid(name, &value);
}

fn valid(name: &str, value: &impl Serialize) {
    let value = serde_json::to_value(value).unwrap();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/schemas/{name}"),
        "components": document()["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> = validator
        .iter_errors(&value)
        .map(|e| e.to_string())
        .collect();
    assert!(problems.is_empty(), "{name}: {problems:?}");
}
