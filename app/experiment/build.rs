//! Writes the defaults as Rust, so that a program that reads no configuration needs no reader of TOML or JSON for it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, error, fs};

use toml::{Table, Value};

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=defaults.toml");
    let home = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let defaults: Table = toml::from_str(&fs::read_to_string(home.join("defaults.toml"))?)?;
    let table = |name: &str| {
        defaults
            .get(name)
            .and_then(Value::as_table)
            .ok_or("no table")
    };
    let mut text = String::from("Config {\n");
    for (name, of) in [
        ("models", "Models"),
        ("run", "Run"),
        ("repo", "Limits"),
        ("paper", "Limits"),
    ] {
        writeln!(text, "    {name}: {of} {{")?;
        for (key, value) in table(name)? {
            writeln!(text, "        {key}: {},", field(key, value)?)?;
        }
        writeln!(text, "    }},")?;
    }
    writeln!(text, "    accept_rate: named(&[")?;
    for (name, rate) in table("accept_rate")? {
        writeln!(text, "        ({name:?}, {}),", field(name, rate)?)?;
    }
    writeln!(text, "    ]),\n    prompts: prompts(&[")?;
    for (name, prompts) in table("prompts")? {
        let (tokens, texts) = (prompts.get("max_tokens"), prompts.get("texts"));
        let tokens = tokens.and_then(Value::as_integer).ok_or("no max_tokens")?;
        let texts = texts.and_then(Value::as_array).ok_or("no texts")?;
        let texts: Option<Vec<&str>> = texts.iter().map(Value::as_str).collect();
        let texts = texts.ok_or("a prompt that is no text")?;
        writeln!(text, "        ({name:?}, {tokens}, &{texts:?}),")?;
    }
    writeln!(text, "    ]),\n}}")?;
    fs::write(out.join("defaults.rs"), text)?;
    Ok(())
}

fn field(key: &str, value: &Value) -> Result<String, &'static str> {
    Ok(match value {
        Value::String(word) if key == "layers" && word == "every8" => "Layers::Every8".to_owned(),
        Value::String(word) if key == "layers" && word == "all" => "Layers::All".to_owned(),
        Value::String(text) => format!("{text:?}.to_owned()"),
        Value::Integer(n) => n.to_string(),
        Value::Float(x) => format!("{x:?}"),
        _ => return Err("neither text nor a number"),
    })
}
