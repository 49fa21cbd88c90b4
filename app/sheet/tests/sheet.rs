//! What is written is read back, and what is against a rule is refused by name.

use assay_sheet::{
    Across, Axis, Block, Cell, Chart, MAX_BYTES, Mark, Series, Sheet, SheetError, Style, Table,
};
use serde_json::{Value, json};

fn chart() -> Chart {
    Chart {
        title: "recall by layer".to_owned(),
        x: Axis::linear("layer"),
        y: Axis::log("recall"),
        series: vec![Series {
            name: "predictor".to_owned(),
            style: Style::Line,
            points: vec![[0.0, 0.5], [1.0, 0.25]],
            band: vec![[0.4, 0.6], [0.2, 0.3]],
        }],
        marks: vec![Mark {
            label: "the seed's".to_owned(),
            axis: Across::Y,
            at: 0.95,
        }],
    }
}

fn sheet() -> Sheet {
    let table = Table {
        caption: "Figures".to_owned(),
        columns: vec!["layer".to_owned(), "recall".to_owned()],
        rows: vec![
            vec![Cell::from(0.0), Cell::from(0.5)],
            vec![Cell::from("all"), Cell::from(None)],
        ],
    };
    Sheet::new("A study", "It found something.")
        .fact("adapter", "cpu")
        .section(
            "Layers",
            vec![
                Block::Text("Words.".to_owned()),
                Block::Table(table),
                Block::Chart(chart()),
            ],
        )
}

#[test]
fn what_is_written_is_read_back() {
    let text = sheet().to_json().expect("it keeps to the rules");
    assert!(Sheet::is_sheet(text.as_bytes()));
    assert_eq!(Sheet::parse(text.as_bytes()).expect("the same"), sheet());
    assert!(!Sheet::is_sheet(b"{\"format\":\"assay-predictor\""));
    assert!(!Sheet::is_sheet(b""));
    assert_eq!(Cell::from(f64::NAN), Cell::Nothing);
}

/// The sheet's JSON with the value at `pointer` replaced.
fn with(pointer: &str, value: Value) -> Result<Sheet, SheetError> {
    let mut json = serde_json::to_value(sheet()).expect("json");
    *json.pointer_mut(pointer).expect("it is there") = value;
    Sheet::parse(json.to_string().as_bytes())
}

#[test]
fn each_rule_is_held() {
    let blocks = "/sections/0/blocks";
    let refused = |pointer: &str, value: Value| {
        let pointer = pointer.replace("BLOCKS", blocks);
        with(&pointer, value).expect_err(&pointer)
    };
    for (pointer, value) in [("/format", json!("another")), ("/version", json!(2))] {
        assert!(matches!(
            refused(pointer, value),
            SheetError::Version { .. }
        ));
    }
    let many = |n: usize, of: Value| Value::Array(vec![of; n]);
    for (pointer, value) in [
        ("/title", json!("x".repeat(8193))),
        ("/facts", many(65, json!(["a", "b"]))),
        ("/sections", many(65, json!({"heading": "", "blocks": []}))),
        ("BLOCKS", many(65, json!({"text": ""}))),
        ("BLOCKS/1/table/rows", many(4097, json!([1, 2]))),
        ("BLOCKS/1/table/columns", many(33, json!("c"))),
        (
            "BLOCKS/2/chart/series",
            many(
                9,
                json!({"name": "", "style": "dots", "points": [], "band": []}),
            ),
        ),
        (
            "BLOCKS/2/chart/series/0",
            json!({"name": "", "style": "dots", "points": many(16_385, json!([1, 1])), "band": []}),
        ),
        (
            "BLOCKS/2/chart/marks",
            many(17, json!({"label": "", "axis": "x", "at": 1})),
        ),
    ] {
        let err = refused(pointer, value);
        assert!(
            matches!(err, SheetError::TooMany { .. }),
            "{pointer}: {err}"
        );
    }
    for (pointer, value) in [
        ("BLOCKS/1/table/rows/0", json!([1])),
        ("BLOCKS/2/chart/series/0/band", json!([[1, 2]])),
    ] {
        assert!(matches!(refused(pointer, value), SheetError::Width { .. }));
    }
    for (pointer, value) in [
        ("BLOCKS/1/table/rows/0/0", json!(1e31)),
        ("BLOCKS/2/chart/series/0/points/0/0", json!(-1e31)),
        // On a logarithmic axis.
        ("BLOCKS/2/chart/series/0/points/0/1", json!(0.0)),
        ("BLOCKS/2/chart/marks/0/at", json!(-1.0)),
    ] {
        assert!(matches!(refused(pointer, value), SheetError::Number { .. }));
    }
    assert!(matches!(refused("/lead", json!(3)), SheetError::Json(_)));
}

#[test]
fn what_is_no_sheet_is_refused() {
    for bytes in [
        &b""[..],
        b"{}",
        b"[1,2]",
        b"\xff\xfe",
        b"{\"format\":\"assay-sheet\"}",
    ] {
        assert!(matches!(Sheet::parse(bytes), Err(SheetError::Json(_))));
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(
        Sheet::parse(deep.as_bytes()),
        Err(SheetError::Json(_))
    ));
    let large = vec![b' '; MAX_BYTES as usize + 1];
    assert!(matches!(
        Sheet::parse(&large),
        Err(SheetError::TooLarge { .. })
    ));
}

#[test]
fn a_writer_hears_of_it_too() {
    let mut sheet = sheet();
    sheet.sections[0].blocks = vec![Block::Chart(Chart {
        x: Axis::log("zero"),
        ..chart()
    })];
    assert!(matches!(sheet.to_json(), Err(SheetError::Number { .. })));
}
