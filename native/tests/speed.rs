//! `assay bench` and `assay tune` as scripts see them.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use assay_engine::gpu::{Choice, Tuning};
use assay_sheet::{Block, Sheet};
use serde_json::{Value, json};

/// Runs where nothing of the user's is: `home` has what is remembered.
fn run(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command
        .args(args)
        .current_dir(home)
        .env("XDG_DATA_HOME", home)
        .env("HOME", home)
        .env("APPDATA", home);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn works(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn fails(output: &Output, part: &str) {
    let shown = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(shown.contains(part), "{part:?} is not in: {shown}");
    assert!(!shown.contains("panicked"), "{shown}");
}

/// The first software adapter, which is quick to open; `None`, with a printed line, where there is none.
fn adapter(home: &Path) -> Option<Value> {
    let listing = works(&run(home, &["adapters", "--json"]));
    let all = listing["adapters"].as_array().unwrap();
    let found = all
        .iter()
        .find(|a| a["software"] == true && a["backend"] == "Vulkan");
    if found.is_none() {
        println!("skipped: no software adapter with Vulkan");
    }
    found.cloned()
}

#[test]
fn the_cpu_is_measured_without_a_profile() {
    let home = tempfile::tempdir().unwrap();
    let bench = |more: &[&str]| {
        let args = [
            "bench",
            "--adapter",
            "cpu",
            "-p",
            "9",
            "-n",
            "2",
            "--rounds",
            "1",
            "--json",
        ];
        run(home.path(), &[&args[..], more].concat())
    };
    let measured = works(&bench(&[]));
    assert_eq!(measured["adapter"]["name"], "cpu");
    assert_eq!(measured["numerics"], "strict");
    for figure in ["prefill_tokens_per_s", "decode_tokens_per_s", "load_s"] {
        assert!(measured[figure].as_f64().unwrap() > 0.0, "{figure}");
    }
    assert!(measured.get("profile").is_none());
    fails(&bench(&["--profile"]), "CPU twins");
    fails(&bench(&["--svg", "a.svg"]), "--profile");
    let long = run(home.path(), &["bench", "--adapter", "cpu", "-p", "100000"]);
    fails(&long, "context");
}

#[test]
fn a_profile_has_every_dispatch() {
    let home = tempfile::tempdir().unwrap();
    let Some(adapter) = adapter(home.path()) else {
        return;
    };
    let name = adapter["name"].as_str().unwrap();
    let args = [
        "bench",
        "--adapter",
        name,
        "-p",
        "9",
        "-n",
        "1",
        "--rounds",
        "1",
        "--profile",
        "--json",
        "--svg",
        "flame.svg",
        "--sheet",
        "sheet.json",
    ];
    let measured = works(&run(home.path(), &args));
    let profile = &measured["profile"];
    let has_clock = adapter["features"]
        .as_array()
        .unwrap()
        .contains(&json!("timestamp-query"));
    let clock = if has_clock { "timestamps" } else { "submits" };
    assert_eq!(profile["clock"], clock);
    for part in ["prefill", "decode"] {
        let spans = profile[part]["spans"].as_array().unwrap();
        let stages = |name: &str| spans.iter().filter(|span| span["stage"] == name).count();
        assert_eq!(stages("embedding"), 1);
        // A norm and a product.
        assert_eq!(stages("logits"), 2, "{part}");
        // qkv, rotation, attention, output, gate-up-silu, down, and two norms. Where norms add residuals, each layer ends with the next
        // one's first norm, so that layer 0 has one more. Gate, up and their product are two more where they are apart. Where products take
        // textures, what qkv, output, gate and up, and down take is put there; so are keys and values where attention takes such.
        let has = |kernel: &str| spans.iter().any(|span| span["kernel"] == kernel);
        let in_norms = usize::from(has("add_rmsnorm"));
        let apart = usize::from(has("silu_mul"));
        let in_texels = 4 * usize::from(has("rows_to_texels"));
        let cached = usize::from(has("kv_write"));
        let of_layer = 8 + 2 * apart + in_texels + cached;
        assert_eq!(stages("layer 0"), of_layer + in_norms, "{part}");
        assert_eq!(stages("layer 1"), of_layer, "{part}");
        let sum: f64 = spans.iter().map(|s| s["seconds"].as_f64().unwrap()).sum();
        assert!((sum - profile[part]["seconds"].as_f64().unwrap()).abs() < 1e-9);
        assert!(sum > 0.0);
        let down = spans
            .iter()
            .filter(|s| s["multiply_adds"].as_u64() > Some(0));
        // Four products (one more where gate and up are apart) and attention a layer, and logits.
        let layers = spans.iter().filter(|s| s["kernel"] == "rope_kv").count();
        assert_eq!(down.count(), (5 + apart) * layers + 1, "{part}");
    }
    let svg = fs::read_to_string(home.path().join("flame.svg")).unwrap();
    assert!(svg.contains("layer 1") && svg.ends_with("</svg>\n"));
    let sheet = fs::read(home.path().join("sheet.json")).unwrap();
    let sheet = Sheet::parse(&sheet).unwrap();
    let flames = sheet.sections.iter().flat_map(|section| &section.blocks);
    assert_eq!(flames.filter(|b| matches!(b, Block::Flame(_))).count(), 2);
}

#[test]
fn what_is_remembered_is_shown_taken_and_forgotten() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(
        works(&run(home.path(), &["tune", "--show", "--json"])),
        json!([])
    );
    fails(&run(home.path(), &["tune", "--adapter", "cpu"]), "twins");
    let Some(adapter) = adapter(home.path()) else {
        return;
    };
    let info: assay_engine::AdapterInfo = serde_json::from_value(adapter).unwrap();
    let name = info.name.clone();
    let before = Choice::of(&info);
    let choice = Choice {
        matmul: assay_engine::gpu::MatmulKernel::Shared,
        ..before
    };
    // As `assay tune` writes it; where that is, differs by system.
    let write = |choice: Choice, edit: fn(&mut Value)| {
        let tuning = Tuning::new(&info, choice);
        let mut file = json!({
            "schema_version": 1, "program": env!("CARGO_PKG_VERSION"), "tunings": [tuning]
        });
        edit(&mut file);
        let shown = run(home.path(), &["tune", "--show"]);
        let path = text(&shown.stderr);
        let path = path.rsplit("file").next().unwrap().trim().to_owned();
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, file.to_string()).unwrap();
    };
    let taken = || {
        let listing = works(&run(
            home.path(),
            &["adapters", "--json", "--adapter", &name],
        ));
        let entry = &listing["adapters"][0];
        (entry["tuned"] == true, entry["variants"]["matmul"].clone())
    };
    write(choice, |_| {});
    assert_eq!(taken(), (true, json!("shared")));
    let shown = works(&run(home.path(), &["tune", "--show", "--json"]));
    assert_eq!(shown[0]["choice"]["matmul"], "shared");

    // Kernels that are no candidates, and other drivers, are not taken; a file of another form is said to be one, where it is asked for.
    let own = serde_json::to_value(before.matmul).unwrap();
    write(choice, |file| {
        file["tunings"][0]["choice"]["matmul"] = json!({"tile": {"m": 200, "n": 200}});
    });
    assert_eq!(taken(), (false, own.clone()));
    write(choice, |file| {
        file["tunings"][0]["driver"] = json!("another");
    });
    assert_eq!(taken(), (false, own.clone()));
    write(choice, |file| {
        file["tunings"][0]["choice"]["matmul"] = json!("fastest");
    });
    assert_eq!(taken(), (false, own.clone()));
    fails(&run(home.path(), &["tune", "--show"]), "tune.json");

    let forgot = run(home.path(), &["tune", "--forget"]);
    assert_eq!(forgot.status.code(), Some(0), "{}", text(&forgot.stderr));
    assert_eq!(
        works(&run(home.path(), &["tune", "--show", "--json"])),
        json!([])
    );
    assert_eq!(taken(), (false, own));
}
