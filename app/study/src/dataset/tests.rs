use super::*;
use crate::{Stored, StudyError};
use assay_trace::Digest;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

pub(crate) fn facts(tokens: u64) -> DatasetFacts {
    DatasetFacts {
        activation: Activation::SiluGated,
        dtype: Stored::F32,
        family: "llama".to_owned(),
        format: DatasetFacts::FORMAT.to_owned(),
        heads: 2,
        hidden: 3,
        intermediate: 5,
        layers: vec![0, 2],
        model_layers: 4,
        root: Digest::of(b"root"),
        split: Split::default(),
        text: TextFacts {
            digest: Digest::of(b"text"),
            name: "a test".to_owned(),
        },
        tokens,
        version: DatasetFacts::VERSION,
    }
}

/// The value that belongs at a place: another one everywhere.
fn value(stream: Stream, layer: u32, row: u64, column: usize) -> f32 {
    (stream as u32 as f32) * 1000.0 + layer as f32 * 100.0 + row as f32 + column as f32 / 16.0
}

fn ids(rows: std::ops::Range<u64>) -> Vec<RowId> {
    rows.map(|row| RowId {
        token: 7 * row as u32,
        position: row as u32 % 4,
        document: row as u32 / 4,
    })
    .collect()
}

fn layer_values(facts: &DatasetFacts, layer: u32, rows: std::ops::Range<u64>) -> [Vec<f32>; 4] {
    Stream::ALL.map(|stream| {
        rows.clone()
            .flat_map(|row| (0..facts.columns(stream)).map(move |c| value(stream, layer, row, c)))
            .collect()
    })
}

fn append(writer: &mut Writer, layer: u32, rows: std::ops::Range<u64>) -> Result<(), StudyError> {
    let [mlp_x, mlp_y, att_x, att_y] = layer_values(writer.facts(), layer, rows);
    writer.append(&Rows {
        layer,
        mlp_x: &mlp_x,
        mlp_y: &mlp_y,
        att_x: &att_x,
        att_y: &att_y,
    })
}

fn write_chunk(writer: &mut Writer, rows: std::ops::Range<u64>) -> u64 {
    writer.begin_chunk(&ids(rows.clone())).unwrap();
    // Any order of layers.
    append(writer, 2, rows.clone()).unwrap();
    append(writer, 0, rows).unwrap();
    writer.end_chunk().unwrap()
}

fn check(folder: &Path, rows: u64) {
    let dataset = Dataset::open(folder).unwrap();
    assert_eq!(dataset.rows(), rows);
    let all: Vec<u32> = (0..rows as u32).rev().collect();
    let mut out = Vec::new();
    for &layer in &dataset.facts().layers {
        for stream in Stream::ALL {
            let matrix = dataset.matrix(stream, layer).unwrap();
            matrix.gather(&all, &mut out).unwrap();
            assert_eq!(out.len(), all.len() * matrix.columns());
            for (row, values) in all.iter().zip(out.chunks(matrix.columns())) {
                for (column, got) in values.iter().enumerate() {
                    let want =
                        dataset
                            .facts()
                            .dtype
                            .round(value(stream, layer, u64::from(*row), column));
                    assert_eq!(*got, want, "{stream:?} {layer} {row} {column}");
                }
            }
        }
    }
    for (row, want) in (0..rows).zip(ids(0..rows)) {
        assert_eq!(dataset.id(row).unwrap(), want);
    }
    assert!(matches!(
        dataset.id(rows),
        Err(StudyError::NoSuchRow { .. })
    ));
}

fn files(facts: &DatasetFacts) -> Vec<(String, u64)> {
    let mut files = vec![("rows".to_owned(), RowId::BYTES as u64)];
    for &layer in &facts.layers {
        for stream in Stream::ALL {
            files.push((stream.file(layer), facts.row_bytes(stream)));
        }
    }
    files
}

#[test]
fn chunks_come_back_in_both_types() {
    for dtype in [Stored::F16, Stored::F32] {
        let folder = tempfile::tempdir().unwrap();
        let facts = DatasetFacts { dtype, ..facts(9) };
        let mut writer = Writer::open(folder.path(), &facts).unwrap();
        assert_eq!(write_chunk(&mut writer, 0..4), 4);
        assert!(!Dataset::open(folder.path()).unwrap().is_complete());
        assert_eq!(write_chunk(&mut writer, 4..9), 9);
        assert_eq!(writer.remaining(), 0);
        assert!(matches!(
            writer.begin_chunk(&ids(0..1)),
            Err(StudyError::ChunkRows { got: 1, most: 0 })
        ));
        check(folder.path(), 9);
        let dataset = Dataset::open(folder.path()).unwrap();
        assert!(dataset.is_complete());
        assert_eq!(dataset.digest(), writer.digest());
        let on_disk: u64 = files(&facts)
            .iter()
            .map(|(name, _)| fs::metadata(folder.path().join(name)).unwrap().len())
            .sum();
        assert_eq!(on_disk, facts.total_bytes());
    }
}

#[test]
fn a_killed_run_goes_on_wherever_it_was_torn() {
    let facts = facts(9);
    // After each layer of the second chunk, with every file torn at: nothing more, one byte, inside a value, a value, inside a row,
    // all but a byte of a row, a row, beyond it.
    for layers in 0..=2usize {
        for (file, row_bytes) in files(&facts) {
            let ends = [
                0,
                1,
                3,
                4,
                row_bytes / 2,
                row_bytes - 1,
                row_bytes,
                row_bytes + 1,
                9 * row_bytes,
            ];
            for extra in ends {
                let folder = tempfile::tempdir().unwrap();
                let mut writer = Writer::open(folder.path(), &facts).unwrap();
                write_chunk(&mut writer, 0..4);
                writer.begin_chunk(&ids(4..9)).unwrap();
                for &layer in facts.layers.iter().take(layers) {
                    append(&mut writer, layer, 4..9).unwrap();
                }
                drop(writer);
                let path = folder.path().join(&file);
                let torn = OpenOptions::new().write(true).open(&path).unwrap();
                torn.set_len(4 * row_bytes).unwrap();
                drop(torn);
                let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
                torn.write_all(&vec![0xff; extra as usize]).unwrap();
                drop(torn);
                // A reader sees the complete rows and changes nothing.
                check(folder.path(), 4);
                assert_eq!(fs::metadata(&path).unwrap().len(), 4 * row_bytes + extra);
                let mut writer = Writer::open(folder.path(), &facts).unwrap();
                assert_eq!(writer.rows(), 4);
                assert_eq!(fs::metadata(&path).unwrap().len(), 4 * row_bytes);
                write_chunk(&mut writer, 4..9);
                check(folder.path(), 9);
            }
        }
    }
}

#[test]
fn lost_bytes_are_an_error_and_stay_lost() {
    let facts = facts(9);
    for (file, row_bytes) in files(&facts) {
        for lost in [1, row_bytes, 4 * row_bytes] {
            let folder = tempfile::tempdir().unwrap();
            write_chunk(&mut Writer::open(folder.path(), &facts).unwrap(), 0..4);
            let path = folder.path().join(&file);
            let short = OpenOptions::new().write(true).open(&path).unwrap();
            short.set_len(4 * row_bytes - lost).unwrap();
            let err = Dataset::open(folder.path()).err().unwrap();
            assert!(matches!(err, StudyError::Truncated { .. }), "{err}");
            let err = Writer::open(folder.path(), &facts).err().unwrap();
            assert!(matches!(err, StudyError::Truncated { .. }), "{err}");
        }
    }
}

#[test]
fn progress_is_atomic_and_bound_to_its_dataset() {
    let facts = facts(9);
    let folder = tempfile::tempdir().unwrap();
    write_chunk(&mut Writer::open(folder.path(), &facts).unwrap(), 0..4);
    let progress = folder.path().join("progress.json");
    let good = fs::read_to_string(&progress).unwrap();
    // What a kill during the replacement leaves: the old record, and a part of the new one beside it.
    fs::write(folder.path().join("progress.json.part"), &good[..20]).unwrap();
    check(folder.path(), 4);
    assert_eq!(Writer::open(folder.path(), &facts).unwrap().rows(), 4);
    // Any cut of the record itself is refused, not taken for zero rows.
    for cut in 0..good.len() - 1 {
        fs::write(&progress, &good[..cut]).unwrap();
        assert!(Dataset::open(folder.path()).is_err(), "{cut}");
        assert!(Writer::open(folder.path(), &facts).is_err(), "{cut}");
    }
    for (from, to) in [
        ("\"rows\":4", "\"rows\":10"),
        ("\"rows\":4", "\"rows\":18446744073709551615"),
        ("\"rows\":4", "\"rows\":-1"),
        ("\"rows\":4", "\"rows\":5"),
        ("\"version\":1", "\"version\":2"),
        ("assay-sparse-progress", "something-else"),
        ("\"rows\":4", "\"rows\":4,\"more\":1"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        fs::write(&progress, bad).unwrap();
        assert!(Dataset::open(folder.path()).is_err(), "{to}");
        assert!(Writer::open(folder.path(), &facts).is_err(), "{to}");
    }
    let other = good.replace(&Dataset::digest_text(&facts), &Digest::of(b"x").to_string());
    assert_ne!(other, good);
    fs::write(&progress, other).unwrap();
    assert!(matches!(
        Dataset::open(folder.path()),
        Err(StudyError::OtherProgress { .. })
    ));
    fs::remove_file(&progress).unwrap();
    assert!(Dataset::open(folder.path()).is_err());
    assert!(
        Writer::open(folder.path(), &facts).is_err(),
        "rows of nobody's count are not cut off"
    );
    fs::write(&progress, &good).unwrap();
    check(folder.path(), 4);
}

impl Dataset {
    fn digest_text(facts: &DatasetFacts) -> String {
        Digest::of(facts.to_json().unwrap().as_bytes()).to_string()
    }
}

#[test]
fn a_first_attempt_that_was_killed_is_begun_again() {
    let facts = facts(9);
    for leave in [
        &["progress.json"][..],
        &["progress.json", "dataset.json.part"],
        &["lock"],
        &[],
    ] {
        let folder = tempfile::tempdir().unwrap();
        for name in leave {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        assert!(Dataset::open(folder.path()).is_err());
        assert_eq!(Writer::open(folder.path(), &facts).unwrap().rows(), 0);
        assert_eq!(Dataset::open(folder.path()).unwrap().rows(), 0);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("diary.txt"), "mine").unwrap();
    assert!(matches!(
        Writer::open(folder.path(), &facts),
        Err(StudyError::NotADataset { .. })
    ));
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing was added"
    );
}

mod refusals;
