//! What writers and readers refuse, and the split.

use super::*;

#[test]
fn folders_of_something_else_are_refused_by_name() {
    let facts = facts(9);
    let folder = tempfile::tempdir().unwrap();
    write_chunk(&mut Writer::open(folder.path(), &facts).unwrap(), 0..4);
    let refused = |other: DatasetFacts| Writer::open(folder.path(), &other).err().unwrap();
    let with = |change: &dyn Fn(&mut DatasetFacts)| {
        let mut other = facts.clone();
        change(&mut other);
        refused(other)
    };
    assert!(matches!(
        with(&|f| f.root = Digest::of(b"y")),
        StudyError::OtherModel { .. }
    ));
    assert!(matches!(
        with(&|f| f.text.digest = Digest::of(b"y")),
        StudyError::OtherText { .. }
    ));
    type Change = dyn Fn(&mut DatasetFacts);
    let differs: [(&str, &Change); 10] = [
        ("text.name", &|f| f.text.name = "other".to_owned()),
        ("family", &|f| f.family = "opt".to_owned()),
        ("hidden", &|f| f.hidden = 4),
        ("intermediate", &|f| f.intermediate = 4),
        ("heads", &|f| f.heads = 1),
        ("model_layers", &|f| f.model_layers = 5),
        ("layers", &|f| f.layers = vec![0, 1]),
        ("activation", &|f| f.activation = Activation::Relu),
        ("tokens", &|f| f.tokens = 10),
        ("split", &|f| f.split.seed = 1),
    ];
    for (name, change) in differs {
        let err = with(change);
        assert!(
            matches!(&err, StudyError::Differs { what, .. } if *what == name),
            "{name}: {err}"
        );
    }
    assert!(matches!(
        with(&|f| f.dtype = Stored::F16),
        StudyError::Differs { what: "dtype", .. }
    ));
    assert!(matches!(
        Dataset::open_for(folder.path(), &Digest::of(b"y")),
        Err(StudyError::OtherModel { .. })
    ));
    assert!(Dataset::open_for(folder.path(), &facts.root).is_ok());
    check(folder.path(), 4);
}

#[test]
fn hostile_facts_are_refused_before_anything_is_allocated() {
    let good = facts(9).to_json().unwrap();
    assert_eq!(DatasetFacts::from_json(good.as_bytes()).unwrap(), facts(9));
    for (from, to) in [
        ("\"hidden\": 3", "\"hidden\": 0"),
        ("\"hidden\": 3", "\"hidden\": 4294967295"),
        ("\"hidden\": 3", "\"hidden\": -3"),
        ("\"hidden\": 3", "\"hidden\": 3.5"),
        ("\"heads\": 2", "\"heads\": 5000"),
        ("\"intermediate\": 5", "\"intermediate\": 1048577"),
        ("\"model_layers\": 4", "\"model_layers\": 2"),
        ("\"model_layers\": 4", "\"model_layers\": 1025"),
        ("\"tokens\": 9", "\"tokens\": 16777217"),
        ("\"tokens\": 9", "\"tokens\": 0"),
        ("    0,\n    2", "    2,\n    0"),
        ("    0,\n    2", "    2,\n    2"),
        ("    0,\n    2", ""),
        ("\"block\": 10", "\"block\": 0"),
        ("\"block\": 10", "\"block\": 2"),
        ("\"block\": 10", "\"block\": 4294967295"),
        ("\"test\": 1", "\"test\": 0"),
        ("\"test\": 1", "\"test\": 4294967295"),
        ("\"validation\": 1", "\"validation\": 9"),
        ("\"seed\": 0", "\"seed\": 9007199254740992"),
        ("\"version\": 1", "\"version\": 2"),
        ("assay-sparse-dataset", "assay-sparse-datasets"),
        ("\"llama\"", "\"\""),
        ("\"llama\"", "\"l\\u0007\""),
        ("\"f32\"", "\"f64\""),
        ("\"silu-gated\"", "\"gelu\""),
        ("\"tokens\": 9", "\"tokens\": 9, \"tokens\": 9"),
        ("\"tokens\": 9", "\"tokens\": 9, \"more\": 1"),
        ("\"tokens\": 9,", ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(DatasetFacts::from_json(bad.as_bytes()).is_err(), "{to}");
    }
    let folder = tempfile::tempdir().unwrap();
    drop(Writer::open(folder.path(), &facts(9)).unwrap());
    fs::write(
        folder.path().join("dataset.json"),
        vec![b' '; (1 << 20) + 1],
    )
    .unwrap();
    assert!(matches!(
        Dataset::open(folder.path()),
        Err(StudyError::FileTooLarge { .. })
    ));
}

#[test]
fn chunks_are_complete_or_nothing() {
    let facts = facts(9);
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(folder.path(), &facts).unwrap();
    assert!(matches!(writer.end_chunk(), Err(StudyError::ChunkClosed)));
    assert!(matches!(
        append(&mut writer, 0, 0..1),
        Err(StudyError::ChunkClosed)
    ));
    assert!(matches!(
        writer.begin_chunk(&[]),
        Err(StudyError::ChunkRows { .. })
    ));
    assert!(matches!(
        writer.begin_chunk(&ids(0..10)),
        Err(StudyError::ChunkRows { most: 9, .. })
    ));
    writer.begin_chunk(&ids(0..4)).unwrap();
    assert!(matches!(
        writer.begin_chunk(&ids(0..4)),
        Err(StudyError::ChunkOpen)
    ));
    append(&mut writer, 0, 0..4).unwrap();
    assert!(matches!(
        append(&mut writer, 0, 0..4),
        Err(StudyError::LayerTwice { layer: 0 })
    ));
    writer.begin_chunk(&ids(0..4)).unwrap();
    append(&mut writer, 0, 0..4).unwrap();
    assert!(matches!(
        writer.end_chunk(),
        Err(StudyError::LayerMissing { layer: 2 })
    ));
    writer.begin_chunk(&ids(0..4)).unwrap();
    assert!(matches!(
        append(&mut writer, 1, 0..4),
        Err(StudyError::NoSuchLayer { layer: 1 })
    ));
    writer.begin_chunk(&ids(0..4)).unwrap();
    assert!(matches!(
        append(&mut writer, 0, 0..3),
        Err(StudyError::Length {
            what: "mlp_x",
            got: 9,
            want: 12
        })
    ));
    // Failed chunks leave nothing behind.
    assert_eq!(write_chunk(&mut writer, 0..4), 4);
    check(folder.path(), 4);
    assert!(matches!(
        Writer::open(folder.path(), &facts),
        Err(StudyError::Locked { .. })
    ));
    // Another program's bytes are seen.
    let path = folder.path().join("mlp_y_2");
    let mut stranger = OpenOptions::new().append(true).open(path).unwrap();
    stranger.write_all(b"x").unwrap();
    writer.begin_chunk(&ids(4..9)).unwrap();
    assert!(matches!(
        append(&mut writer, 2, 4..9),
        Err(StudyError::Changed { .. })
    ));
}

#[test]
fn values_must_be_finite_fit_and_norms_have_no_sign() {
    for (dtype, bad) in [
        (Stored::F32, f32::NAN),
        (Stored::F32, f32::INFINITY),
        (Stored::F16, 65520.0),
        (Stored::F16, -1e5),
    ] {
        let facts = DatasetFacts { dtype, ..facts(9) };
        for stream in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            let mut writer = Writer::open(folder.path(), &facts).unwrap();
            let mut values = layer_values(&facts, 0, 0..4);
            let last = values[stream].len() - 1;
            values[stream][last] = bad;
            writer.begin_chunk(&ids(0..4)).unwrap();
            let [mlp_x, mlp_y, att_x, att_y] = &values;
            let err = writer
                .append(&Rows {
                    layer: 0,
                    mlp_x,
                    mlp_y,
                    att_x,
                    att_y,
                })
                .err()
                .unwrap();
            assert!(
                matches!(err, StudyError::Number { index, .. } if index == last),
                "{err}"
            );
            write_chunk(&mut writer, 0..4);
            check(folder.path(), 4);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(folder.path(), &facts(9)).unwrap();
    let [mlp_x, mlp_y, att_x, mut att_y] = layer_values(&facts(9), 0, 0..4);
    att_y[3] = -1.0;
    writer.begin_chunk(&ids(0..4)).unwrap();
    let err = writer
        .append(&Rows {
            layer: 0,
            mlp_x: &mlp_x,
            mlp_y: &mlp_y,
            att_x: &att_x,
            att_y: &att_y,
        })
        .err()
        .unwrap();
    assert!(matches!(err, StudyError::Number { index: 3, .. }), "{err}");
}

#[test]
fn a_reader_refuses_what_is_not_finite() {
    let folder = tempfile::tempdir().unwrap();
    write_chunk(&mut Writer::open(folder.path(), &facts(9)).unwrap(), 0..4);
    let path = folder.path().join("att_x_2");
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 * 4 * 2 + 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let matrix = Dataset::open(folder.path())
        .unwrap()
        .matrix(Stream::AttX, 2)
        .unwrap();
    let mut out = Vec::new();
    matrix.gather(&[0, 1, 3], &mut out).unwrap();
    assert!(matches!(
        matrix.gather(&[2], &mut out),
        Err(StudyError::Number { index: 1, .. })
    ));
    assert!(matches!(
        matrix.gather(&[4], &mut out),
        Err(StudyError::NoSuchRow { row: 4, rows: 4 })
    ));
}

#[test]
fn splits_go_by_document_and_every_block_has_all_parts() {
    let split = Split {
        block: 7,
        seed: 3,
        test: 2,
        validation: 1,
    };
    let mut first_test = std::collections::BTreeSet::new();
    for block in 0..50 {
        let parts: Vec<Part> = (0..7).map(|d| split.part(7 * block + d)).collect();
        let count = |part| parts.iter().filter(|&&p| p == part).count();
        assert_eq!(
            (
                count(Part::Test),
                count(Part::Validation),
                count(Part::Train)
            ),
            (2, 1, 4)
        );
        first_test.insert(parts.iter().position(|&p| p == Part::Test));
    }
    assert!(
        first_test.len() > 3,
        "always the same documents: {first_test:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let facts = DatasetFacts { split, ..facts(60) };
    let mut writer = Writer::open(folder.path(), &facts).unwrap();
    write_chunk(&mut writer, 0..33);
    write_chunk(&mut writer, 33..60);
    let dataset = Dataset::open(folder.path()).unwrap();
    let mut seen = Vec::new();
    for part in [Part::Train, Part::Validation, Part::Test] {
        for row in dataset.rows_of(part).unwrap() {
            assert_eq!(split.part(dataset.id(row.into()).unwrap().document), part);
            seen.push(row);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    // One document cannot be split.
    let folder = tempfile::tempdir().unwrap();
    write_chunk(
        &mut Writer::open(folder.path(), &self::facts(9)).unwrap(),
        0..4,
    );
    let dataset = Dataset::open(folder.path()).unwrap();
    let empty = [Part::Train, Part::Validation, Part::Test]
        .iter()
        .filter(|part| matches!(dataset.rows_of(**part), Err(StudyError::NoRows { .. })))
        .count();
    assert_eq!(empty, 2);
}
