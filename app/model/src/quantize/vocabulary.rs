//! A `tokenizer.json` as GGUF's metadata has it, where llama.cpp has a name for how it splits text.
use super::gguf::Header;
use crate::ModelConfig;
use serde_json::Value;

/// Byte-level BPE.
pub(super) struct Vocabulary {
    pre: &'static str,
    /// By id; one that no token has is unused.
    tokens: Vec<String>,
    /// llama.cpp's types: 1 normal, 3 control, 4 user-defined, 5 unused.
    kinds: Vec<i32>,
    merges: Vec<String>,
    add_bos: bool,
}

/// What the file describes, or why it is left out.
pub(super) fn read(tokenizer_json: &[u8]) -> Result<Vocabulary, String> {
    let json: Value = serde_json::from_slice(tokenizer_json).map_err(|err| err.to_string())?;
    let model = &json["model"];
    if model["type"] != "BPE" || model["byte_fallback"] == true {
        return Err("it is no byte-level BPE".to_owned());
    }
    if !json["normalizer"].is_null() {
        return Err("it normalises text".to_owned());
    }
    let pre = splitting(&json["pre_tokenizer"], model["ignore_merges"] == true)?;
    let vocab = model["vocab"].as_object().ok_or("it has no vocabulary")?;
    let added = json["added_tokens"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let id_of = |token: &Value| token["id"].as_u64().and_then(|id| usize::try_from(id).ok());
    let most = vocab.len() + added.len();
    let mut tokens: Vec<String> = Vec::new();
    let mut kinds: Vec<i32> = Vec::new();
    let mut put = |id: usize, token: &str, kind: i32| {
        if id >= most {
            return Err(format!("token {id} leaves a gap before it"));
        }
        if tokens.len() <= id {
            for gap in tokens.len()..=id {
                tokens.push(format!("[PAD{gap}]"));
                kinds.push(5);
            }
        }
        token.clone_into(&mut tokens[id]);
        kinds[id] = kind;
        Ok(())
    };
    for (token, id) in vocab {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        put(id.ok_or("an id is no number")?, token, 1)?;
    }
    for token in added {
        let (Some(id), Some(content)) = (id_of(token), token["content"].as_str()) else {
            return Err("an added token has no id or content".to_owned());
        };
        for flag in ["lstrip", "rstrip", "single_word"] {
            if token[flag] == true {
                return Err(format!("an added token has `{flag}`"));
            }
        }
        put(id, content, if token["special"] == true { 3 } else { 4 })?;
    }
    let merges = model["merges"].as_array().ok_or("it has no merges")?;
    let merge = |merge: &Value| match merge {
        Value::String(merge) => Some(merge.clone()),
        Value::Array(two) => Some(format!(
            "{} {}",
            two.first()?.as_str()?,
            two.get(1)?.as_str()?
        )),
        _ => None,
    };
    let merges: Option<Vec<String>> = merges.iter().map(merge).collect();
    Ok(Vocabulary {
        pre,
        tokens,
        kinds,
        merges: merges.ok_or("a merge is not two tokens")?,
        add_bos: begins_with_special(&json["post_processor"])?,
    })
}

fn splitting(steps: &Value, ignores_merges: bool) -> Result<&'static str, String> {
    let is_bytes = |step: &Value, regex: bool| {
        step["type"] == "ByteLevel"
            && step["add_prefix_space"] != true
            && step["use_regex"].as_bool().unwrap_or(true) == regex
    };
    if is_bytes(steps, true) && !ignores_merges {
        return Ok("gpt-2");
    }
    let known = |name| format!("it splits text in a way that llama.cpp has no name for ({name})");
    let Some([first, second]) = steps["pretokenizers"].as_array().map(Vec::as_slice) else {
        return Err(known("not two steps"));
    };
    match first["type"].as_str() {
        Some("Split")
            if first["pattern"]["Regex"] == crate::gguf::LLAMA_3
                && first["behavior"] == "Isolated"
                && is_bytes(second, false)
                && ignores_merges =>
        {
            Ok("llama-bpe")
        }
        Some("Digits")
            if first["individual_digits"] == true && is_bytes(second, true) && !ignores_merges =>
        {
            Ok("smollm")
        }
        _ => Err(known("other steps")),
    }
}

/// Whether a text begins with a special token; anything more is not understood.
fn begins_with_special(post: &Value) -> Result<bool, String> {
    let steps = match post["type"].as_str() {
        None | Some("ByteLevel") => return Ok(false),
        Some("TemplateProcessing") => &post["single"],
        Some("Sequence") => {
            let all = post["processors"].as_array().map_or(&[][..], Vec::as_slice);
            let template = all.iter().find(|step| step["type"] == "TemplateProcessing");
            match template {
                Some(template) => &template["single"],
                None => return Ok(false),
            }
        }
        Some(other) => return Err(format!("it processes ids by `{other}`")),
    };
    let steps = steps.as_array().map_or(&[][..], Vec::as_slice);
    match steps {
        [text] if !text["Sequence"].is_null() => Ok(false),
        [special, text] if !special["SpecialToken"].is_null() && !text["Sequence"].is_null() => {
            Ok(true)
        }
        _ => Err("it puts more than one id around a text".to_owned()),
    }
}

impl Vocabulary {
    pub fn put(mut self, config: &ModelConfig, header: &mut Header) {
        // The table of embeddings is often longer than the vocabulary.
        for id in self.tokens.len()..config.vocab {
            self.tokens.push(format!("[PAD{id}]"));
            self.kinds.push(5);
        }
        header.text("tokenizer.ggml.model", "gpt2");
        header.text("tokenizer.ggml.pre", self.pre);
        header.texts(
            "tokenizer.ggml.tokens",
            self.tokens.iter().map(String::as_str),
        );
        header.integers("tokenizer.ggml.token_type", &self.kinds);
        header.texts(
            "tokenizer.ggml.merges",
            self.merges.iter().map(String::as_str),
        );
        if let Some(bos) = config.bos {
            header.u32("tokenizer.ggml.bos_token_id", bos);
        }
        if let Some(eos) = config.eos.first() {
            header.u32("tokenizer.ggml.eos_token_id", *eos);
        }
        header.flag("tokenizer.ggml.add_bos_token", self.add_bos);
    }
}
