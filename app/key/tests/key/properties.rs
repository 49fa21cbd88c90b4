//! Any shape, any options: the key fits its model and survives its file.

use assay_key::{KeyOptions, VerifierKey};
use assay_model::{Dtype, ModelConfig};
use proptest::prelude::*;

use crate::sample::{make, sample, thin};

fn config() -> impl Strategy<Value = ModelConfig> {
    let sizes = (
        1..40usize,
        1..70usize,
        1..4usize,
        1..3usize,
        1..3usize,
        1..5usize,
        3..90usize,
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (sizes, flags).prop_map(|(sizes, flags)| ModelConfig {
        hidden: sizes.0,
        intermediate: sizes.1,
        layers: sizes.2,
        kv_heads: sizes.3,
        heads: sizes.3 * sizes.4,
        head_dim: 2 * sizes.5,
        vocab: sizes.6,
        tied_embeddings: flags.0,
        attention_bias: flags.1,
        mlp_bias: flags.2,
        ..thin()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_key_of_any_shape(
        config in config(),
        dtype in prop::sample::select(vec![Dtype::F32, Dtype::F16, Dtype::BF16]),
        sizes in (8..20usize, 1..12usize, 1..17usize),
        only_last in any::<bool>(),
        seed in any::<u8>(),
    ) {
        let options = KeyOptions {
            projections: sizes.0,
            rows: sizes.1,
            sketch: sizes.2,
            activations: None,
            layers: only_last.then(|| vec![config.layers as u32 - 1]),
        };
        let sample = sample(&config, dtype);
        let key = make(&sample.model, seed, &options);
        crate::oracle::check(&sample.model, &key);
        prop_assert_eq!(options.file_bytes(&config, dtype).unwrap() as usize, key.as_bytes().len());
        prop_assert_eq!(key.parameters(), sample.model.parameters());
        let again = VerifierKey::parse(key.as_bytes().to_vec()).unwrap();
        prop_assert_eq!(again.id(), key.id());
        crate::oracle::check(&sample.model, &again);
    }
}
