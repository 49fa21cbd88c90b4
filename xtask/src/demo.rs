//! What Assay does, in a minute: an honest trace accepted on another implementation, a damaged and a lying one rejected, and an audit
//! with a key instead of the model.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::adapters::Adapters;
use crate::command::{self, cargo, root, shown};
use crate::setup::{self, Wanted};

const ACCEPT: i32 = 0;
const REJECT: i32 = 1;

/// Shows it, and fails if anything came out differently than it should.
pub fn run() -> Result<()> {
    let demo = Demo::prepare()?;
    let (prover, verifier) = choose(&demo.list()?);
    println!("Proving on `{prover}`, verifying on `{verifier}`.");
    if prover == verifier {
        println!(
            "There is only one device here, so this shows no agreement between different ones."
        );
    }
    if let Some(export) = demo.adapters.export() {
        println!("So that your own shell sees the same adapters:\n\n$ {export}");
    }
    let (honest, damaged, lying) = (
        demo.file("trace.bin"),
        demo.file("damaged.bin"),
        demo.file("lying.bin"),
    );

    demo.heading("1. Someone runs the model and keeps a trace");
    let sampling = [
        "--prompt",
        "To be, or not",
        "-n",
        "40",
        "--temperature",
        "0.8",
        "--seed",
        "7",
    ];
    let mut prove = demo.assay(&["prove"]);
    prove
        .args(sampling)
        .args(["--adapter", &prover])
        .arg("--trace")
        .arg(&honest);
    demo.expect(&mut prove, 0)?;

    demo.heading("2. You check it on another device");
    demo.verify(&honest, &verifier, ACCEPT)?;

    demo.heading("3. One byte of the file changes on the way");
    demo.expect(
        demo.assay(&["tamper"])
            .arg(&honest)
            .arg("--flip-byte")
            .arg("--out")
            .arg(&damaged),
        0,
    )?;
    demo.verify(&damaged, &verifier, REJECT)?;

    demo.heading("4. One word of the answer is replaced, and every hash made to fit");
    demo.expect(
        demo.assay(&["tamper"])
            .arg(&honest)
            .arg("--swap-token")
            .arg("--out")
            .arg(&lying),
        0,
    )?;
    demo.verify(&lying, &verifier, REJECT)?;

    demo.heading("5. Someone who cannot hold the model keeps a key of it, and audits layers that the prover opens");
    let (opened, key) = (demo.file("opened.bin"), demo.file("demo.SECRET.assay-key"));
    demo.expect(demo.assay(&["keygen"]).arg("--out").arg(&key), 0)?;
    let mut prove = demo.assay(&["prove"]);
    prove
        .args(sampling)
        .args(["--open", "all", "--adapter", &prover])
        .arg("--trace")
        .arg(&opened);
    demo.expect(&mut prove, 0)?;
    let mut audit = demo.assay(&["--verify"]);
    audit.arg(&opened).arg("--key").arg(&key);
    demo.expect(audit.args(["--adapter", &verifier]), ACCEPT)?;

    println!(
        "\nAll as it should be: the honest traces were accepted, the damaged and the lying one were rejected."
    );
    println!(
        "The traces are in {}; look into one with",
        demo.shown_path(&demo.folder).display()
    );
    println!("$ {}", shown(demo.assay(&["explain"]).arg(&honest)));
    Ok(())
}

struct Demo {
    adapters: Adapters,
    binary: PathBuf,
    folder: PathBuf,
}

impl Demo {
    /// Installs, builds, and makes room for the traces.
    fn prepare() -> Result<Self> {
        let adapters = setup::run(Wanted::Demo)?;
        println!("Building `assay` (a first build takes some minutes).");
        command::run(&mut cargo(&[
            "build", "--quiet", "-p", "assay", "--bin", "assay",
        ]))?;
        // This program lies beside the one that was just built, wherever the target folder is.
        let own = std::env::current_exe().context("cannot tell where this program is")?;
        let built = own.parent().context("this program is in no folder")?;
        let binary = built.join(format!("assay{}", std::env::consts::EXE_SUFFIX));
        ensure!(binary.is_file(), "cargo built no {}", binary.display());
        let folder = built.with_file_name("demo");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self {
            adapters,
            binary,
            folder,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.shown_path(&self.folder.join(name))
    }

    /// As seen from the workspace, where the commands run.
    fn shown_path(&self, path: &Path) -> PathBuf {
        path.strip_prefix(root()).unwrap_or(path).to_owned()
    }

    fn assay(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.shown_path(&self.binary));
        command.args(args).current_dir(root());
        self.adapters.set(&mut command);
        command
    }

    fn heading(&self, text: &str) {
        println!("\n--- {text}");
    }

    fn verify(&self, trace: &Path, adapter: &str, want: i32) -> Result<()> {
        self.expect(
            self.assay(&["--verify"])
                .arg(trace)
                .args(["--adapter", adapter]),
            want,
        )
    }

    /// Prints the command, runs it, and compares its exit code.
    fn expect(&self, command: &mut Command, want: i32) -> Result<()> {
        println!("\n$ {}", shown(command));
        let status = command
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot start {}", shown(command)))?;
        if status.code() != Some(want) {
            bail!(
                "the demo went wrong: want exit code {want}, got {status}: {}",
                shown(command)
            );
        }
        Ok(())
    }

    /// The adapters, as the program itself sees them.
    fn list(&self) -> Result<Vec<Adapter>> {
        let mut list = self.assay(&["adapters", "--json"]);
        let out = list
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", shown(&list)))?;
        ensure!(
            out.status.success(),
            "{}: {}",
            shown(&list),
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(parse(&String::from_utf8_lossy(&out.stdout)))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Adapter {
    name: String,
    backend: String,
    software: bool,
}

/// Reads the pretty-printed list, one key a line; a JSON library would be this program's largest part.
fn parse(json: &str) -> Vec<Adapter> {
    let mut adapters: Vec<Adapter> = Vec::new();
    for line in json.lines() {
        let Some((key, value)) = line.trim().trim_end_matches(',').split_once(": ") else {
            continue;
        };
        let text = value.trim_matches('"');
        match (key, adapters.last_mut()) {
            ("\"name\"", _) => adapters.push(Adapter {
                name: text.to_owned(),
                ..Adapter::default()
            }),
            ("\"backend\"", Some(last)) => last.backend = text.to_owned(),
            ("\"software\"", Some(last)) => last.software = text == "true",
            _ => {}
        }
    }
    adapters
}

/// Who proves and who verifies, as arguments of `--adapter`: two implementations that differ as much as they can. A real
/// GPU verifies what a software adapter proved; two software adapters are taken in their order; one adapter has the CPU
/// kernels for a partner.
fn choose(adapters: &[Adapter]) -> (String, String) {
    let mut devices: Vec<&Adapter> = Vec::new();
    for adapter in adapters.iter().filter(|adapter| adapter.backend != "Cpu") {
        // The same device shows up once for each API; the better one comes first.
        if devices.iter().all(|known| word(known) != word(adapter)) {
            devices.push(adapter);
        }
    }
    let cpu = || "cpu".to_owned();
    let software = devices.iter().find(|device| device.software);
    match (devices.as_slice(), software) {
        ([], _) => (cpu(), cpu()),
        ([only], _) => (word(only), cpu()),
        ([first, ..], Some(software)) if !first.software => (word(software), word(first)),
        ([first, second, ..], _) => (word(first), word(second)),
    }
}

/// The first word of a name is enough to find it again.
fn word(adapter: &Adapter) -> String {
    adapter
        .name
        .split_whitespace()
        .next()
        .unwrap_or("cpu")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, backend: &str, software: bool) -> Adapter {
        Adapter {
            name: name.to_owned(),
            backend: backend.to_owned(),
            software,
        }
    }

    #[test]
    fn different_implementations_are_preferred() {
        let llvmpipe = adapter("llvmpipe (LLVM 19.1.7, 256 bits)", "Vulkan", true);
        let again = adapter("llvmpipe (LLVM 19.1.7, 256 bits)", "Gl", true);
        let swift = adapter("SwiftShader Device (LLVM 10.0.0)", "Vulkan", true);
        let gpu = adapter("NVIDIA H200", "Vulkan", false);
        let cpu = adapter("cpu", "Cpu", true);
        let chosen = |list: &[&Adapter]| {
            choose(
                &list
                    .iter()
                    .map(|adapter| (*adapter).clone())
                    .collect::<Vec<_>>(),
            )
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(chosen(&[&cpu]), pair("cpu", "cpu"));
        assert_eq!(chosen(&[&llvmpipe, &again, &cpu]), pair("llvmpipe", "cpu"));
        assert_eq!(
            chosen(&[&llvmpipe, &swift, &again, &cpu]),
            pair("llvmpipe", "SwiftShader")
        );
        assert_eq!(
            chosen(&[&gpu, &llvmpipe, &swift, &cpu]),
            pair("llvmpipe", "NVIDIA")
        );
        assert_eq!(chosen(&[&gpu, &cpu]), pair("NVIDIA", "cpu"));
    }

    #[test]
    fn lists_are_read() {
        let json = "{\n  \"adapters\": [\n    {\n      \"name\": \"A B\",\n      \"backend\": \"Vulkan\",\n      \
                    \"software\": true,\n      \"features\": []\n    },\n    {\n      \"name\": \"cpu\",\n      \
                    \"backend\": \"Cpu\"\n    }\n  ]\n}";
        assert_eq!(
            parse(json),
            [adapter("A B", "Vulkan", true), adapter("cpu", "Cpu", false)]
        );
    }
}
