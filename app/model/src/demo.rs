//! The demonstration model, compiled in: 3.5 million parameters trained on Shakespeare (see `demo-llama/README.md`).
use crate::{Model, ModelError};
use std::sync::Arc;

const CONFIG: &[u8] = include_bytes!("../demo-llama/config.json");
const GENERATION_CONFIG: &[u8] = include_bytes!("../demo-llama/generation_config.json");
const WEIGHTS: &[u8] = include_bytes!("../demo-llama/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../demo-llama/tokenizer.json");

impl Model {
    /// The demo model's `tokenizer.json` and `generation_config.json`, by name.
    pub fn demo_files() -> [(&'static str, &'static [u8]); 2] {
        [
            ("tokenizer.json", TOKENIZER),
            ("generation_config.json", GENERATION_CONFIG),
        ]
    }

    /// The model that is compiled into the program: small, trained, and free of anyone's rights.
    pub fn demo() -> Result<Self, ModelError> {
        Self::from_memory(
            CONFIG,
            Some(GENERATION_CONFIG),
            vec![Arc::new(WEIGHTS)],
            Some(TOKENIZER),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn demo_opens() {
        let model = Model::demo().unwrap();
        assert_eq!(model.parameters(), 3_542_208);
        assert_eq!((model.dtype(), model.bytes()), ("bf16", 2 * 3_542_208));
        assert_eq!(model.tensor(Role::LmHead), model.tensor(Role::Embedding));
        assert_eq!(model.config().eos, [1]);
        assert!(model.notes().is_empty(), "{:?}", model.notes());
    }

    #[test]
    fn demo_prompts_encode_as_in_its_reference() {
        let model = Model::demo().unwrap();
        let tokenizer = model.tokenizer().unwrap();
        let reference: serde_json::Value =
            serde_json::from_slice(include_bytes!("../demo-llama/reference.json")).unwrap();
        for case in reference["cases"].as_array().unwrap() {
            let ids: Vec<u32> = serde_json::from_value(case["prompt_ids"].clone()).unwrap();
            let greedy: Vec<u32> = serde_json::from_value(case["greedy_ids"].clone()).unwrap();
            let prompt = case["prompt"].as_str().unwrap();
            assert_eq!(tokenizer.encode(prompt).unwrap(), ids);
            assert_eq!(tokenizer.decode(&ids), prompt);
            assert_eq!(
                tokenizer.decode(&greedy),
                case["greedy_text"].as_str().unwrap()
            );
        }
    }
}
