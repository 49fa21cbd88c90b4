//! Embeds the kernels without their comments and indentation: a browser downloads them, and its compiler reads none. Lines stay where they are, so that a
//! compiler's complaint names the line of the file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let home = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut arms = String::new();
    for (folder, prefix) in [("kernels", ""), ("include", "include/")] {
        println!("cargo:rerun-if-changed={folder}");
        fs::create_dir_all(out.join(folder))?;
        for path in sorted(&home.join(folder))? {
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
                continue;
            };
            let place = format!("{folder}/{name}.wgsl");
            fs::write(out.join(&place), bare(&fs::read_to_string(&path)?))?;
            // A string that cannot be written to is no string.
            let _ = writeln!(
                arms,
                "        \"{prefix}{name}\" => include_str!(concat!(env!(\"OUT_DIR\"), \"/{place}\")),"
            );
        }
    }
    let text = format!(
        "/// The text of a kernel, or of an include named `include/NAME`, without its comments.\n\
         pub fn source(name: &str) -> Option<&'static str> {{\n    Some(match name {{\n{arms}        _ => return None,\n    }})\n}}\n"
    );
    fs::write(out.join("sources.rs"), text)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "wgsl"));
    paths.sort();
    Ok(paths)
}

/// WGSL has no strings, so `//` always begins a comment.
fn bare(text: &str) -> String {
    let code = |line: &str| match line.split_once("//") {
        Some((code, _)) => code.trim().to_owned(),
        None => line.trim().to_owned(),
    };
    let lines: Vec<String> = text.lines().map(code).collect();
    lines.join("\n") + "\n"
}
