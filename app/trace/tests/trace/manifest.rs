//! The manifest: one text for each value, and every rule with its own error.

use assay_trace::limits::{MAX_HIDDEN, MAX_LAYERS, MAX_PARAMETERS, MAX_TOKENS, MAX_VOCAB};
use assay_trace::{Decimal, DecimalError, Digest, Manifest, Sampler, TraceError};
use proptest::prelude::*;

use crate::sample;

fn manifest() -> Manifest {
    sample::example().manifest().clone()
}

/// The error of the example's manifest after `edit`.
fn error(edit: impl FnOnce(&mut Manifest)) -> TraceError {
    let mut manifest = manifest();
    edit(&mut manifest);
    Manifest::parse(&manifest.canonical_json()).unwrap_err()
}

#[test]
fn keys_are_sorted_and_nothing_is_a_float() {
    fn walk(value: &serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => map.values().for_each(walk),
            serde_json::Value::Array(list) => list.iter().for_each(walk),
            serde_json::Value::Number(number) => assert!(number.is_u64(), "{number}"),
            _ => {}
        }
    }
    let json = manifest().canonical_json();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    walk(&value);
    // serde_json's own map is sorted, so writing the untyped value again sorts every level.
    assert_eq!(value.to_string(), json);
    assert_eq!(Manifest::parse(&json).unwrap(), manifest());
}

#[test]
fn every_rule_has_its_error() {
    assert_eq!(
        error(|m| m.format = "other".into()),
        TraceError::Format {
            got: "other".into()
        }
    );
    assert_eq!(
        error(|m| m.version = 2),
        TraceError::Version { got: 2, want: 1 }
    );
    assert_eq!(
        error(|m| m.streams = vec!["states".into()]),
        TraceError::Streams {
            got: "states".into()
        }
    );
    assert_eq!(
        error(|m| m.streams.push("masks".into())),
        TraceError::Streams {
            got: "logits,states,masks".into()
        }
    );
    assert_eq!(
        error(|m| m.adapter = "a\u{1b}[2J".into()),
        TraceError::Text {
            field: "adapter",
            offset: 1
        }
    );
    assert_eq!(
        error(|m| m.producer = "é".into()),
        TraceError::Text {
            field: "producer",
            offset: 0
        }
    );
    for got in ["", "F32", "a.b", "seventeen_letters"] {
        assert_eq!(
            error(|m| m.model.dtype = got.into()),
            TraceError::Word {
                field: "model.dtype",
                got: got.into()
            }
        );
    }
    assert_eq!(
        error(|m| m.model.family = "Llama".into()),
        TraceError::Word {
            field: "model.family",
            got: "Llama".into()
        }
    );
    assert_eq!(
        error(|m| m.eos = vec![1, 1]),
        TraceError::NotAscending {
            field: "eos",
            index: 1
        }
    );
    assert_eq!(
        error(|m| m.opened = vec![0, 2, 1]),
        TraceError::NotAscending {
            field: "opened",
            index: 2
        }
    );
    let gumbel = |temperature: &str, top_p: &str| Sampler::Gumbel {
        seed: 0,
        temperature: temperature.parse().unwrap(),
        top_k: 0,
        top_p: top_p.parse().unwrap(),
    };
    assert_eq!(
        error(|m| m.sampler = gumbel("0", "1")),
        TraceError::Temperature { got: Decimal::ZERO }
    );
    assert_eq!(
        error(|m| m.sampler = gumbel("1", "0")),
        TraceError::TopP { got: Decimal::ZERO }
    );
    let above = "1.000000001".parse().unwrap();
    assert_eq!(
        error(|m| m.sampler = gumbel("1", "1.000000001")),
        TraceError::TopP { got: above }
    );
}

#[test]
fn every_number_has_its_range() {
    let check = |field, got: u64, min, max: u64, edit: &dyn Fn(&mut Manifest)| {
        assert_eq!(
            error(edit),
            TraceError::Range {
                field,
                got,
                min,
                max
            }
        );
    };
    check("adapter", 257, 0, 256, &|m| m.adapter = "x".repeat(257));
    check("model.hidden", 0, 1, MAX_HIDDEN.into(), &|m| {
        m.model.hidden = 0;
    });
    check("model.hidden", 65537, 1, MAX_HIDDEN.into(), &|m| {
        m.model.hidden = 65537;
    });
    check("model.layers", 0, 1, MAX_LAYERS.into(), &|m| {
        m.model.layers = 0;
    });
    check("model.layers", 1025, 1, MAX_LAYERS.into(), &|m| {
        m.model.layers = 1025;
    });
    check("model.vocab", 0, 1, MAX_VOCAB.into(), &|m| {
        m.model.vocab = 0;
    });
    check("model.vocab", u32::MAX.into(), 1, MAX_VOCAB.into(), &|m| {
        m.model.vocab = u32::MAX;
    });
    check("model.parameters", 0, 1, MAX_PARAMETERS, &|m| {
        m.model.parameters = 0;
    });
    check("model.parameters", u64::MAX, 1, MAX_PARAMETERS, &|m| {
        m.model.parameters = u64::MAX;
    });
    check("prompt.tokens", 0, 1, MAX_TOKENS.into(), &|m| {
        m.prompt.tokens = 0;
    });
    check("output.tokens", 0, 1, MAX_TOKENS.into(), &|m| {
        m.output.tokens = 0;
    });
    check(
        "output.tokens",
        u32::MAX.into(),
        1,
        MAX_TOKENS.into(),
        &|m| m.output.tokens = u32::MAX,
    );
    let total = "prompt.tokens + output.tokens";
    check(
        total,
        u64::from(MAX_TOKENS) + 2,
        2,
        MAX_TOKENS.into(),
        &|m| m.output.tokens = MAX_TOKENS,
    );
    check("number of eos ids", 65, 0, 64, &|m| {
        m.eos = (0..65).collect();
    });
    check("eos", 5, 0, 4, &|m| m.eos = vec![0, 5]);
    check("opened", 3, 0, 2, &|m| m.opened = vec![0, 3]);
}

#[test]
fn other_spellings_are_not_canonical() {
    let json = manifest().canonical_json();
    let spell = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        Manifest::parse(&json.replacen(from, to, 1)).unwrap_err()
    };
    let offset = |error| match error {
        TraceError::ManifestNotCanonical { offset } => offset,
        other => panic!("{other}"),
    };
    assert_eq!(offset(spell("{", "{ ")), 1);
    assert_eq!(offset(spell("\"adapter\"", "\"\\u0061dapter\"")), 2);
    offset(spell("\"seed\":\"7\"", "\"seed\":\"07\""));
    offset(spell("\"seed\":\"7\"", "\"seed\":\"+7\""));
    offset(spell(",\"tokenizer\":null", "")); // absent is not null
    offset(spell(
        "\"adapter\":\"example adapter\",\"eos\":[4]",
        "\"eos\":[4],\"adapter\":\"example adapter\"",
    ));
    offset(spell("\"version\":1}", "\"version\":1} "));
}

#[test]
fn wrong_fields_do_not_decode() {
    let json = manifest().canonical_json();
    let check = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        let error = Manifest::parse(&json.replacen(from, to, 1)).unwrap_err();
        assert!(matches!(error, TraceError::ManifestJson { .. }), "{error}");
    };
    check("\"version\":1", "\"version\":1,\"zebra\":1");
    check("\"version\":1", "\"version\":1,\"version\":1");
    check("\"version\":1", "\"version\":1.0");
    check("\"version\":1", "\"version\":\"1\"");
    check("\"version\":1", "\"version\":-1");
    check("\"version\":1", "\"version\":4294967296");
    check("\"kind\":\"gumbel\",", "\"kind\":\"beam\",");
    check("\"kind\":\"gumbel\",", "\"kind\":\"gumbel\",\"mood\":1,");
    check("\"seed\":\"7\"", "\"seed\":7");
    check("\"seed\":\"7\"", "\"seed\":\"18446744073709551616\"");
    check("\"temperature\":\"0.8\"", "\"temperature\":\"0.80\"");
    check("\"temperature\":\"0.8\"", "\"temperature\":0.8");
    check("\"class\":\"strict\"", "\"class\":\"vague\"");
    check("\"nonce\":null", "\"nonce\":\"AB\"");
    check("{", "[");
    let deep = "[".repeat(100_000);
    assert!(matches!(
        Manifest::parse(&deep),
        Err(TraceError::ManifestJson { .. })
    ));
}

#[test]
fn greedy_has_no_other_field() {
    let mut manifest = manifest();
    manifest.sampler = Sampler::Greedy;
    let json = manifest.canonical_json();
    assert!(json.contains(r#""sampler":{"kind":"greedy"}"#));
    assert_eq!(Manifest::parse(&json).unwrap(), manifest);
    assert!(Manifest::parse(&json.replace(r#""greedy"}"#, r#""greedy","seed":"1"}"#)).is_err());
}

#[test]
fn messages_escape_hostile_text() {
    let error = error(|m| m.format = format!("\u{1b}[31m\u{202e}{}", "x".repeat(1000)));
    let text = error.to_string();
    assert!(
        text.is_ascii() && !text.contains('\u{1b}') && text.len() < 300,
        "{text}"
    );
    assert_eq!(error.code(), "structure");
}

#[test]
fn default_opened_is_every_eighth_and_the_last() {
    assert_eq!(Manifest::default_opened(1), [0, 1]);
    assert_eq!(Manifest::default_opened(8), [0, 8]);
    assert_eq!(Manifest::default_opened(22), [0, 8, 16, 22]);
}

#[test]
fn printable_fits_the_field() {
    assert_eq!(Manifest::printable("Gerät\n\"x\""), "Ger?t?\"x\"");
    assert_eq!(Manifest::printable(&"é".repeat(300)), "?".repeat(256));
}

#[test]
fn digest_text_is_strict() {
    let digest = Digest::of(b"");
    let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(digest.to_string(), text);
    assert_eq!(text.parse::<Digest>().unwrap(), digest);
    for bad in [
        &text.to_uppercase(),
        &text[1..],
        &format!("{text}0"),
        &text.replace('e', "g"),
        &format!("+{}", &text[1..]),
    ] {
        assert!(bad.parse::<Digest>().is_err(), "{bad}");
    }
}

#[test]
fn decimal_has_one_spelling() {
    for text in [
        "0",
        "1",
        "0.8",
        "0.95",
        "10",
        "999999.999999999",
        "0.000000001",
    ] {
        let decimal: Decimal = text.parse().unwrap();
        assert_eq!(decimal.to_string(), text);
        assert_eq!(decimal.to_f64(), text.parse::<f64>().unwrap());
    }
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "00",
        "01",
        "0.80",
        "1.0",
        "1000000",
        "0.0000000001",
        "-1",
        "+1",
        "1e3",
        " 1",
        "1.2.3",
        "٣",
    ] {
        assert_eq!(
            text.parse::<Decimal>(),
            Err(DecimalError::Spelling),
            "{text}"
        );
    }
    for value in [-1.0, f64::NAN, f64::INFINITY, 1e6, 999_999.999_999_999_9] {
        assert_eq!(
            Decimal::from_f64(value),
            Err(DecimalError::Range),
            "{value}"
        );
    }
    assert_eq!(Decimal::from_f64(-0.0).unwrap(), Decimal::ZERO);
    assert_eq!(Decimal::from_f64(0.7).unwrap().to_string(), "0.7");
}

proptest! {
    #[test]
    fn decimal_survives_f64(units in 0_u32..1_000_000, nanos in 0_u32..1_000_000_000) {
        let text = format!("{units}.{nanos:09}");
        let decimal = Decimal::from_f64(text.parse().unwrap()).unwrap();
        prop_assert_eq!(decimal.to_string().parse::<Decimal>().unwrap(), decimal);
        prop_assert_eq!(decimal.to_f64(), text.parse::<f64>().unwrap());
        prop_assert_eq!(Decimal::from_f64(decimal.to_f64()).unwrap(), decimal);
    }
}
