use super::*;
use proptest::prelude::*;

/// dim 4, hidden 6, 2 layers, 2 heads, 1 kv head, vocab 5, 3 positions.
const SMALL: [i32; 7] = [4, 6, 2, 2, 1, 5, 3];

fn file(header: [i32; 7]) -> Vec<u8> {
    let [d, h, l, heads, kv_heads, v, t] = header.map(|size| size.unsigned_abs() as usize);
    let head_dim = d / heads;
    let per_layer = d + 2 * d * d + 2 * d * kv_heads * head_dim + d + 3 * d * h;
    let head = if header[5] < 0 { v * d } else { 0 };
    let elements = v * d + l * per_layer + d + t * head_dim + head;
    let mut bytes: Vec<u8> = header
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    bytes.extend((0..elements).flat_map(|at| (at as f32).to_le_bytes()));
    bytes
}

fn read(bytes: Vec<u8>) -> Result<Model, ModelError> {
    parse(Arc::new(bytes), None)
}

#[test]
fn tensors_lie_where_the_format_puts_them() {
    let model = read(file(SMALL)).unwrap();
    let first = |role| model.read_f32(model.tensor(role).unwrap()).unwrap()[0];
    let layer = |layer, role| first(Role::Layer(layer, role));
    assert_eq!(first(Role::Embedding), 0.0);
    assert_eq!(
        (layer(0, LayerRole::AttnNorm), layer(1, LayerRole::AttnNorm)),
        (20.0, 24.0)
    );
    assert_eq!(
        (layer(0, LayerRole::Q), layer(1, LayerRole::Q)),
        (28.0, 44.0)
    );
    assert_eq!(
        (layer(0, LayerRole::K), layer(1, LayerRole::V)),
        (60.0, 84.0)
    );
    assert_eq!(
        (layer(0, LayerRole::O), layer(0, LayerRole::MlpNorm)),
        (92.0, 124.0)
    );
    assert_eq!(layer(0, LayerRole::Gate), 132.0);
    assert_eq!(layer(0, LayerRole::Down), 180.0);
    assert_eq!(model.layer(0, LayerRole::Down).unwrap().shape, [4, 6]);
    assert_eq!(layer(0, LayerRole::Up), 228.0);
    assert_eq!(first(Role::FinalNorm), 276.0);
    assert_eq!(model.tensor(Role::LmHead), model.tensor(Role::Embedding));
    let config = model.config();
    assert_eq!(
        (
            config.rope.unwrap().layout,
            config.eos.as_slice(),
            config.bos
        ),
        (RopeLayout::Interleaved, [1, 2].as_slice(), Some(1))
    );

    let untied = read(file([4, 6, 2, 2, 1, -5, 3])).unwrap();
    let head = untied.tensor(Role::LmHead).unwrap();
    // After the final norm (4) and the tables (3 positions of 2).
    assert_eq!(untied.read_f32(head).unwrap()[0], 286.0);
    assert!(!untied.config().tied_embeddings);
}

#[test]
fn every_other_length_is_refused() {
    let bytes = file(SMALL);
    for len in 0..bytes.len() {
        assert!(
            matches!(
                read(bytes[..len].to_vec()),
                Err(ModelError::Llama2cBytes { .. })
            ),
            "{len}"
        );
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(read(longer), Err(ModelError::Llama2cBytes { got, want }) if got == want + 1));
}

#[test]
fn later_versions_are_refused_by_name() {
    for version in [3i32, 0, -1] {
        let bytes = [b"24ka".as_slice(), &version.to_le_bytes(), &[0; 300]].concat();
        let err = read(bytes).unwrap_err();
        assert!(
            matches!(err, ModelError::Llama2cVersion { version: got } if got == version),
            "{err}"
        );
    }
}

#[test]
fn hostile_headers_are_refused() {
    for at in 0..7 {
        for value in [0, i32::MIN, -1] {
            let mut header = SMALL;
            header[at] = value;
            let bytes: Vec<u8> = header
                .iter()
                .flat_map(|field| field.to_le_bytes())
                .collect();
            let err = read(bytes).unwrap_err();
            let negative_vocab = at == 5 && value == -1;
            let named = matches!(&err, ModelError::Llama2cField { field, got } if *field == FIELDS[at] && *got == value);
            assert!(named || negative_vocab, "{err}");
        }
        let mut header = SMALL;
        header[at] = i32::MAX;
        let bytes: Vec<u8> = header
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        assert!(read(bytes).is_err());
    }
    let odd_heads: Vec<u8> = [4, 6, 2, 3, 1, 5, 3i32]
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    assert!(matches!(
        read(odd_heads),
        Err(ModelError::HeadDimUnknown { .. })
    ));
}

#[cfg(feature = "native")]
#[test]
fn the_tokenizer_beside_is_found_by_its_size() {
    let pieces = |count: u32| {
        let piece = |id: u32| {
            let text = if id == 0 {
                " ".to_owned()
            } else {
                format!("p{id}")
            };
            [
                0f32.to_le_bytes().as_slice(),
                &(text.len() as i32).to_le_bytes(),
                text.as_bytes(),
            ]
            .concat()
        };
        [
            8u32.to_le_bytes().to_vec(),
            (0..count).flat_map(piece).collect(),
        ]
        .concat()
    };
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes).unwrap();
    let model = dir.path().join("model.bin");
    put("model.bin", file([4, 6, 1, 2, 1, 300, 3]));
    let open = || Model::open(&model);
    assert!(open().unwrap().tokenizer().is_none() && open().unwrap().notes().len() == 1);
    put("tok400.bin", pieces(400));
    put("tokens.bin", vec![1, 2, 3]);
    assert!(open().unwrap().tokenizer().is_none());
    put("tok300.bin", pieces(300));
    assert_eq!(open().unwrap().tokenizer().unwrap().vocab_size(), 300);
    put("tokother.bin", pieces(300));
    assert!(matches!(
        open(),
        Err(ModelError::TokenizerChoice {
            got: 2,
            vocab: 300,
            ..
        })
    ));
    let named = Model::open_with_tokenizer(&model, &dir.path().join("tok300.bin")).unwrap();
    assert!(named.tokenizer().is_some());
    let wrong = Model::open_with_tokenizer(&model, &dir.path().join("tok400.bin")).unwrap_err();
    assert!(matches!(
        wrong,
        ModelError::TokenizerVocab {
            got: 400,
            want: 300
        }
    ));
    put("tokenizer.bin", pieces(299));
    assert!(matches!(
        open(),
        Err(ModelError::TokenizerVocab {
            got: 299,
            want: 300
        })
    ));
}

proptest! {
    #[test]
    fn no_header_panics(header in prop::array::uniform7(prop_oneof![any::<i32>(), 0i32..9]), rest in 0usize..2000) {
        let mut bytes: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
        bytes.resize(28 + rest, 0);
        let _ = read(bytes);
    }
}

/// A header of version 1 or 2, and what follows it.
fn later(version: i32, fields: [i32; 7], shared: u8, group: i32, data: usize) -> Vec<u8> {
    let mut bytes = b"24ka".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    bytes.push(shared);
    bytes.extend(group.to_le_bytes());
    bytes.resize(256, 0);
    bytes.extend((0..data).map(|at| (at % 3) as u8));
    bytes
}

#[test]
fn versions_1_and_2_have_norms_first() {
    // dim 8, hidden 12, one layer, 2 heads, 1 KV head, 5 pieces, 3 positions.
    let fields = [8, 12, 1, 2, 1, 5, 3];
    let (norms, matrices) = (3 * 8, 5 * 8 + 2 * 64 + 2 * 32 + 3 * 96);
    let plain = read(later(1, fields, 1, 0, 4 * (norms + matrices))).unwrap();
    assert!(plain.config().tied_embeddings);
    let q = plain.layer(0, LayerRole::Q).unwrap();
    assert_eq!(
        (q.dtype, q.parts[0].offset),
        (Dtype::F32, 256 + 4 * (norms + 40) as u64)
    );
    let untied = read(later(1, fields, 0, 0, 4 * (norms + matrices + 40))).unwrap();
    assert_ne!(untied.tensor(Role::Embedding), untied.tensor(Role::LmHead));

    // Groups of 8 straddle rows of 12, which have groups of 4 then.
    let bytes = later(2, fields, 1, 8, 4 * norms + matrices + matrices / 8 * 4);
    let packed = read(bytes.clone()).unwrap();
    let dtype = |role| packed.layer(0, role).unwrap().dtype;
    assert_eq!(dtype(LayerRole::Q), Dtype::Int8 { group: 8 });
    assert_eq!(dtype(LayerRole::Down), Dtype::Int8 { group: 4 });
    let down = packed.layer(0, LayerRole::Down).unwrap();
    let [quants, scales] = &down.parts[..] else {
        panic!("two parts")
    };
    let at = |offset: u64| offset as usize;
    let scale = |index: usize| {
        let bytes = &bytes[at(scales.offset) + 4 * index..][..4];
        f32::from_le_bytes(bytes.try_into().unwrap())
    };
    let want: Vec<f32> = (0..96)
        .map(|i| scale(i / 8) * f32::from(bytes[at(quants.offset) + i] as i8))
        .collect();
    assert_eq!(packed.read_f32(down).unwrap(), want);
    assert_eq!(packed.read_rows_f32(down, 3..6).unwrap(), want[36..72]);

    for (shared, group) in [(2, 8), (1, 0), (1, -8), (1, 6), (1, 7)] {
        assert!(
            read(later(
                2,
                fields,
                shared,
                group,
                4 * norms + matrices + matrices / 8 * 4
            ))
            .is_err()
        );
    }
    for cut in [1, 40, 256, 300] {
        let err = read(bytes[..bytes.len() - cut].to_vec()).unwrap_err();
        assert!(matches!(err, ModelError::Llama2cBytes { .. }), "{err}");
    }
}
