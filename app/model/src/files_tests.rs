use super::*;
use crate::synth::{self, Shape};
use crate::{Dtype, Role};
use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const DEMO: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../demo-llama/config.json")),
    (
        "generation_config.json",
        include_bytes!("../demo-llama/generation_config.json"),
    ),
    (
        "model.safetensors",
        include_bytes!("../demo-llama/model.safetensors"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../demo-llama/tokenizer.json"),
    ),
];

fn named(path: &str, bytes: impl Into<Vec<u8>>) -> NamedSource {
    NamedSource {
        path: path.to_owned(),
        source: Arc::new(bytes.into()),
    }
}

fn demo_in(folder: &str) -> Vec<NamedSource> {
    let file = |(name, bytes)| named(&format!("{folder}{name}"), bytes);
    DEMO.map(file).into()
}

fn without(files: &[NamedSource], end: &str) -> Vec<NamedSource> {
    let others = files.iter().filter(|file| !file.path.ends_with(end));
    others.cloned().collect()
}

/// dim 4, hidden 6, 1 layer, 2 heads, 1 kv head, 300 pieces, 3 positions.
fn llama2c_file() -> Vec<u8> {
    let header = [4, 6, 1, 2, 1, 300, 3i32];
    let elements = 300 * 4 + (4 + 16 + 8 + 8 + 16 + 4 + 3 * 24) + 4 + 3 * 2;
    let mut bytes: Vec<u8> = header
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect();
    bytes.resize(28 + 4 * elements, 1);
    bytes
}

fn llama2c_tokenizer(pieces: usize) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for piece in 0..pieces {
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        bytes.push(if piece == 0 { b' ' } else { b'a' });
    }
    bytes
}

#[test]
fn dropped_files_are_the_model_that_they_are_on_disk() {
    let demo = Model::demo().unwrap();
    let root = |model: &Model| model.root(&mut |_, _| {}).unwrap();
    for folder in ["", "Llama-3.2-1B/", "/models/./x/"] {
        let mut files = demo_in(folder);
        for other in [
            "README.md",
            ".git/config.json",
            ".git/model.safetensors",
            ".cache/huggingface/x.bin",
            "original/params.json",
            "original/consolidated.00.pth",
            "pytorch_model.bin",
            "onnx/config.json",
            "",
        ] {
            files.push(named(&format!("{folder}{other}"), *b"whatever"));
        }
        files.reverse();
        let model = Model::open_files(files).unwrap();
        assert_eq!(model.config(), demo.config());
        assert_eq!(root(&model), root(&demo));
        assert_eq!(
            model.tokenizer().unwrap().digest(),
            demo.tokenizer().unwrap().digest()
        );
    }
    let bare = without(&demo_in(""), "tokenizer.json");
    let bare = without(&bare, "generation_config.json");
    assert!(Model::open_files(bare).unwrap().tokenizer().is_none());
}

#[test]
fn weights_may_have_another_name_or_be_in_shards() {
    let mut files = demo_in("a/");
    files[2].path = "a/weights-f16.safetensors".to_owned();
    assert!(Model::open_files(files.clone()).is_ok());
    files.push(named("a/more.safetensors", *b"x"));
    assert!(matches!(
        Model::open_files(files.clone()),
        Err(ModelError::IndexMissing { got: 2, .. })
    ));
    files.push(named("a/model.safetensors", DEMO[2].1));
    assert!(Model::open_files(files).is_ok());

    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::named("tiny").unwrap();
    synth::write(&shape, Dtype::F32, 1, &dir.path().join("m")).unwrap();
    let read = |name: &str| std::fs::read(dir.path().join("m").join(name)).unwrap();
    let names = Model::open(&dir.path().join("m")).unwrap();
    let map: serde_json::Map<_, _> = names
        .tensors()
        .iter()
        .map(|tensor| (tensor.name.clone(), "x-1.safetensors".into()))
        .collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    let files = vec![
        named("m/config.json", read("config.json")),
        named("m/model.safetensors.index.json", index),
        named("m/x-1.safetensors", read("model.safetensors")),
        named("m/unrelated.safetensors", *b"x"),
    ];
    let model = Model::open_files(files.clone()).unwrap();
    assert_eq!(model.tensors(), names.tensors());
    assert!(matches!(
        Model::open_files(without(&files, "x-1.safetensors")),
        Err(ModelError::FileMissing { name }) if name == "x-1.safetensors"
    ));
    let twice = [&files[..], &files[2..3]].concat();
    assert!(matches!(
        Model::open_files(twice),
        Err(ModelError::FileTwice { name }) if name == "x-1.safetensors"
    ));
}

#[test]
fn a_llama2c_file_is_known_by_its_header_and_its_tokenizer_by_its_size() {
    let files = [
        named("a/tok300.bin", llama2c_tokenizer(300)),
        named("a/model.bin", llama2c_file()),
        named("a/tok400.bin", llama2c_tokenizer(400)),
    ];
    let model = Model::open_files(files.to_vec()).unwrap();
    assert_eq!(model.tokenizer().unwrap().vocab_size(), 300);
    assert_eq!(model.tensor(Role::Embedding).unwrap().shape, [300, 4]);
    let alone = Model::open_files(files[1..].to_vec()).unwrap();
    assert!(alone.tokenizer().is_none() && alone.notes().len() == 1);
    let both = [&files[..], &[named("a/tok.bin", llama2c_tokenizer(300))]].concat();
    assert!(matches!(
        Model::open_files(both),
        Err(ModelError::TokenizerChoice {
            got: 2,
            vocab: 300,
            ..
        })
    ));
    // Nothing is a checkpoint, but one file was meant to be.
    let mut short = files.to_vec();
    short[1] = named("a/model.bin", [b"24ka".as_slice(), &[2; 60]].concat());
    assert!(matches!(
        Model::open_files(short.clone()),
        Err(ModelError::Llama2cVersion { .. })
    ));
    short[1] = named("a/model.bin", &llama2c_file()[1..]);
    assert!(Model::open_files(short).is_err());
}

#[test]
fn none_or_several_are_errors_that_say_what_was_found() {
    let message = |files: Vec<NamedSource>| Model::open_files(files).unwrap_err().to_string();
    assert!(message(Vec::new()).contains("got nothing, want `config.json`"));
    let many = (0..20).map(|n| named(&format!("d/{n:02}.txt"), *b"x"));
    assert!(message(many.collect()).contains("`d/07.txt` and 12 more"));
    let demo = demo_in("a/");
    let no_config = without(&demo, "/config.json");
    assert!(message(no_config).contains("`a/model.safetensors`"));
    assert!(matches!(
        Model::open_files(without(&demo, "model.safetensors")),
        Err(ModelError::NothingToOpen { .. })
    ));
    let mut pickle = without(&demo, "model.safetensors");
    pickle.push(named("a/pytorch_model.bin", *b"x"));
    assert!(matches!(
        Model::open_files(pickle),
        Err(ModelError::UnsupportedFormat { .. })
    ));

    let two = [demo.clone(), demo_in("b/")].concat();
    assert!(message(two).ends_with("got `a/config.json`, `b/config.json`, want one"));
    let mixed = [demo.clone(), vec![named("x.bin", llama2c_file())]].concat();
    assert!(matches!(
        Model::open_files(mixed),
        Err(ModelError::SeveralCheckpoints { .. })
    ));
    let twice = [&demo[..], &demo[..1]].concat();
    assert!(matches!(
        Model::open_files(twice),
        Err(ModelError::FileTwice { name }) if name == "config.json"
    ));
}

#[test]
fn a_folder_on_disk_is_searched_alike() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    assert!(matches!(
        Model::open(dir.path()),
        Err(ModelError::NoCheckpoint { .. })
    ));
    std::fs::create_dir(dir.path().join("folder.bin")).unwrap();
    put("model.bin", &llama2c_file());
    put("tok300.bin", &llama2c_tokenizer(300));
    assert!(Model::open(dir.path()).unwrap().tokenizer().is_some());
    put("other.bin", &llama2c_file());
    let err = Model::open(dir.path()).unwrap_err();
    assert!(
        matches!(&err, ModelError::SeveralCheckpoints { found } if found.contains("other.bin"))
    );
    // A config says what the folder is, whatever else lies in it.
    DEMO.iter().for_each(|(name, bytes)| put(name, bytes));
    assert_eq!(Model::open(dir.path()).unwrap().dtype(), "bf16");
    std::fs::rename(
        dir.path().join("model.safetensors"),
        dir.path().join("y.safetensors"),
    )
    .unwrap();
    assert_eq!(Model::open(dir.path()).unwrap().dtype(), "bf16");
    assert!(open_folder(Path::new("/nonexistent"), None).is_err());
}

#[test]
fn opening_reads_no_weights() {
    struct Counted(Vec<u8>, Arc<AtomicU64>);
    impl ByteSource for Counted {
        fn len(&self) -> u64 {
            ByteSource::len(&self.0)
        }
        fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, ModelError> {
            self.1.fetch_add(len as u64, Ordering::Relaxed);
            self.0.read(offset, len)
        }
    }
    let read = Arc::new(AtomicU64::new(0));
    let mut files = demo_in("");
    let big = vec![0; 40 << 20];
    files.push(named("pytorch_model.bin", big.clone()));
    files.push(named("training.gz", big));
    for file in &mut files {
        let bytes = file.source.read(0, file.source.len() as usize).unwrap();
        file.source = Arc::new(Counted(bytes.into_owned(), read.clone()));
    }
    Model::open_files(files).unwrap();
    let small: usize = [0, 1, 3].iter().map(|at| DEMO[*at].1.len()).sum();
    let header = u64::from_le_bytes(*DEMO[2].1.first_chunk().unwrap());
    // And 28 bytes of each `.bin`.
    assert_eq!(read.load(Ordering::Relaxed), small as u64 + 8 + header + 28);
}
