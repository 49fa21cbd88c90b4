//! Turns the sources of the page into what is deployed: `index.html` with its style and first script inlined and its policy
//! to match, and scripts that know the names of the files beside them.

use anyhow::{Context as _, Result, ensure};

use crate::digest;

/// What the page's own scripts are told about this build; `index.html` carries it as JSON.
pub struct Build<'a> {
    /// The workspace's version.
    pub version: &'a str,
    /// Tells builds apart.
    pub id: &'a str,
    /// Name of the glue.
    pub glue: &'a str,
    /// Name of the module.
    pub module: &'a str,
    /// Its length as the browser counts it: after any `Content-Encoding` is undone.
    pub module_bytes: usize,
    /// Name of the worker's script.
    pub worker: &'a str,
}

/// The deployed `index.html`, from the source's, its style, its first script and the name of its module script.
pub fn index(source: &str, style: &str, early: &str, boot: &str, build: &Build) -> Result<String> {
    let facts = format!(
        r#"{{"version":"{}","id":"{}","glue":"{}","wasm":"{}","wasmBytes":{},"worker":"{}"}}"#,
        build.version, build.id, build.glue, build.module, build.module_bytes, build.worker
    );
    let style = style.trim();
    let early = early.trim();
    for (what, text) in [("style", style), ("script", early), ("facts", &facts)] {
        ensure!(
            !text.contains("</"),
            "the page's inline {what} would end early: it has </ in it"
        );
    }
    let edits = [
        (
            r#"<link rel="stylesheet" href="web/page/page.css">"#.to_owned(),
            format!("<style>{style}</style>"),
        ),
        (
            r#"<script src="web/page/early.js"></script>"#.to_owned(),
            format!("<script>{early}</script>"),
        ),
        (
            r#"id="assay-build">{}<"#.to_owned(),
            format!(r#"id="assay-build">{facts}<"#),
        ),
        (
            r#"src="web/page/boot.js""#.to_owned(),
            format!(r#"src="{boot}""#),
        ),
        (
            r#"href="web/page/icon.svg""#.to_owned(),
            r#"href="icon.svg""#.to_owned(),
        ),
        (
            r#"href="web/page/manifest.webmanifest""#.to_owned(),
            r#"href="manifest.webmanifest""#.to_owned(),
        ),
        (
            "script-src 'self'".to_owned(),
            format!("script-src 'self' {}", digest::policy_source(early)),
        ),
        (
            "style-src 'self'".to_owned(),
            format!("style-src 'self' {}", digest::policy_source(style)),
        ),
    ];
    let mut page = source.to_owned();
    for (from, to) in edits {
        page = replace_once(&page, &from, &to).context("index.html")?;
    }
    ensure!(
        !page.contains("web/page/"),
        "index.html still names a source under web/page/"
    );
    Ok(page)
}

/// A script that imports the glue, made to import it under its deployed name.
pub fn importing(source: &str, glue: &str) -> Result<String> {
    replace_once(source, r#""./assay.js""#, &format!("\"./{glue}\""))
}

/// The service worker of these files, each with its digest.
pub fn service_worker(source: &str, files: &[(String, String)]) -> Result<String> {
    let listed: Vec<String> = files
        .iter()
        .map(|(name, digest)| format!("  \"{name}\": \"{digest}\",\n"))
        .collect();
    let version = digest::short(listed.concat().as_bytes());
    let source = replace_once(
        source,
        r#"const VERSION = "";"#,
        &format!("const VERSION = \"{version}\";"),
    )?;
    replace_once(
        &source,
        "const FILES = {};",
        &format!("const FILES = {{\n{}}};", listed.concat()),
    )
}

fn replace_once(text: &str, from: &str, to: &str) -> Result<String> {
    let times = text.matches(from).count();
    ensure!(times == 1, "want `{from}` once, found it {times} times");
    Ok(text.replacen(from, to, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_each() {
        assert_eq!(replace_once("a b c", "b", "x").expect("once"), "a x c");
        assert!(replace_once("a b b", "b", "x").is_err());
        assert!(replace_once("a", "b", "x").is_err());
    }

    #[test]
    fn the_version_is_that_of_the_files() {
        let source = "const VERSION = \"\";\nconst FILES = {};";
        let with = |digest: &str| {
            service_worker(source, &[("a.js".to_owned(), digest.to_owned())]).expect("filled")
        };
        assert!(with("00").contains("\"a.js\": \"00\""));
        assert_ne!(with("00").lines().next(), with("01").lines().next());
    }
}
