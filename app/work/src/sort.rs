//! Traces, checkpoints and keys among files that were chosen or dropped together, told apart by how they begin.

use assay_key::VerifierKey;
use assay_model::ByteSource;
use assay_sheet::Sheet;

use crate::message::{ModelSource, Source};

/// Bytes that are looked at.
const HEAD: usize = 4096;

/// What a file seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A trace, or what should be judged as one.
    Trace,
    /// Part of a checkpoint.
    Model,
    /// A verifier key.
    Key,
    /// What a study found.
    Sheet,
    /// None of them.
    Other,
}

/// Looks at a file's name and beginning.
pub(crate) fn kind(path: &str, source: &dyn ByteSource) -> Kind {
    let name = path
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or(path)
        .to_lowercase();
    let len = usize::try_from(source.len()).unwrap_or(HEAD).min(HEAD);
    let head = source.read(0, len).unwrap_or_default();
    kind_of(&name, &head)
}

fn kind_of(name: &str, head: &[u8]) -> Kind {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    // A plain key is a safetensors file, too.
    if VerifierKey::is_key(head).is_some() {
        return Kind::Key;
    }
    if is_safetensors(head) {
        // A trace has one metadata key, and metadata come first in its one canonical form.
        return match find(head, br#"{"__metadata__":{"assay":"#) {
            true => Kind::Trace,
            false => Kind::Model,
        };
    }
    if head.starts_with(b"GGUF") || ends(&[".gguf", ".safetensors"]) {
        return Kind::Model;
    }
    if Sheet::is_sheet(head) {
        return Kind::Sheet;
    }
    if ends(&[".json", ".model"]) {
        let known = [
            "config",
            "tokenizer",
            "index",
            "special_tokens",
            "vocab",
            "added_tokens",
        ];
        return match known.iter().any(|word| name.contains(word)) {
            true => Kind::Model,
            false => Kind::Other,
        };
    }
    if ends(&[".bin"]) {
        return match is_llama2c(head) || name.starts_with("tok") {
            true => Kind::Model,
            false => Kind::Trace,
        };
    }
    if ends(&[".trace"]) {
        Kind::Trace
    } else {
        Kind::Other
    }
}

fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk() else {
        return false;
    };
    u64::from_le_bytes(*length) < 1 << 32 && rest.first() == Some(&b'{')
}

/// Seven plausible numbers: dim, hidden_dim, layers, heads, kv_heads, vocab (negative for an untied one), seq_len.
fn is_llama2c(head: &[u8]) -> bool {
    let mut fields = head
        .as_chunks()
        .0
        .iter()
        .map(|field| i32::from_le_bytes(*field));
    let most = [
        1 << 16,
        1 << 20,
        1 << 10,
        1 << 12,
        1 << 12,
        1 << 22,
        1 << 24,
    ];
    most.into_iter().all(|most| {
        let field = fields.next().map(i32::unsigned_abs);
        field.is_some_and(|field| (1..=most).contains(&field))
    })
}

fn find(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

/// What came of sorting: traces, what to hold them against, and the names of the rest.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub traces: Vec<Source>,
    pub model: Option<ModelSource>,
    pub sheets: Vec<Source>,
    pub ignored: Vec<String>,
}

/// Sorts files by `kind`; a file that is alone and of no kind is judged as a trace, which says best what is wrong with it. A key is
/// one file that somebody meant to give, so it goes before a checkpoint's files beside it.
pub(crate) fn sorted(files: Vec<(String, Source, Kind)>) -> Sorted {
    let mut sorted = Sorted::default();
    let is_alone = files.len() == 1;
    let mut model: Vec<(String, Source)> = Vec::new();
    let mut key = None;
    for (path, source, kind) in files {
        match kind {
            Kind::Trace => sorted.traces.push(source),
            Kind::Model => model.push((path, source)),
            Kind::Key if key.is_none() => key = Some(ModelSource::key(source)),
            Kind::Key => sorted.ignored.push(path),
            Kind::Sheet => sorted.sheets.push(source),
            Kind::Other if is_alone => sorted.traces.push(source),
            Kind::Other => sorted.ignored.push(path),
        }
    }
    if key.is_some() {
        sorted
            .ignored
            .extend(model.into_iter().map(|(path, _)| path));
        sorted.model = key;
    } else {
        sorted.model = checkpoint(model);
    }
    sorted
}

/// Files by path are opened by path, so that what lies beside them is found; picked files are all there is.
fn checkpoint(files: Vec<(String, Source)>) -> Option<ModelSource> {
    let paths = files.iter().map(|(_, source)| match source {
        Source::Path(path) => Some(path.as_str()),
        _ => None,
    });
    let Some(paths) = paths.collect::<Option<Vec<_>>>() else {
        return Some(ModelSource::Files(files));
    };
    let checkpoint = |path: &&str| {
        let path = path.to_lowercase();
        path.ends_with(".gguf") || path.ends_with(".bin") && !last(&path).starts_with("tok")
    };
    let single = paths.iter().copied().find(|path| checkpoint(path));
    let chosen = single.map(str::to_owned).or_else(|| {
        let first = *paths.first()?;
        // A folder's path ends with a slash here, and is its own parent.
        Some(
            first
                .rsplit_once(['/', '\\'])
                .map_or(".", |(parent, _)| parent)
                .to_owned(),
        )
    })?;
    Some(ModelSource::Path(chosen))
}

fn last(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safetensors(header: &str) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    }

    #[test]
    fn files_are_told_by_their_beginning() {
        let trace = safetensors(r#"{"__metadata__":{"assay":"{}"}}"#);
        let weights = safetensors(r#"{"a":{"dtype":"F32"}}"#);
        let key = safetensors(r#"{"__metadata__":{"assay-key":"{}"}}"#);
        let llama2c: Vec<u8> = [288, 768, 6, 6, 6, -32000, 256]
            .iter()
            .flat_map(|field: &i32| field.to_le_bytes())
            .collect();
        for (name, head, want) in [
            ("trace.bin", &trace[..], Kind::Trace),
            ("whatever", &trace, Kind::Trace),
            ("model.safetensors", &weights, Kind::Model),
            ("demo.SECRET.assay-key", &key, Kind::Key),
            ("model.safetensors", &key, Kind::Key),
            ("x.bin", b"ASSAYKEY\x01\0\0\0", Kind::Key),
            ("stories15m.bin", &llama2c, Kind::Model),
            ("tokenizer.bin", b"", Kind::Model),
            ("x.bin", b"not a trace", Kind::Trace),
            ("x.gguf", b"", Kind::Model),
            ("config.json", b"{}", Kind::Model),
            ("package.json", b"{}", Kind::Other),
            (
                "sheet.json",
                b"{\n  \"format\": \"assay-sheet\",\n",
                Kind::Sheet,
            ),
            ("readme.md", b"# Model", Kind::Other),
        ] {
            assert_eq!(kind_of(name, head), want, "{name}");
        }
    }

    #[test]
    fn a_lone_file_is_judged_as_a_trace() {
        let path = |name: &str| Source::Path(name.to_owned());
        let one = sorted(vec![("a.txt".into(), path("a.txt"), Kind::Other)]);
        assert_eq!(one.traces, [path("a.txt")]);
        let two = sorted(vec![
            ("a.txt".into(), path("/d/a.txt"), Kind::Other),
            ("c".into(), path("/d/config.json"), Kind::Model),
        ]);
        assert!(two.traces.is_empty());
        assert_eq!(two.ignored, ["a.txt"]);
        assert_eq!(two.model, Some(ModelSource::Path("/d".into())));
        let folder = sorted(vec![("d".into(), path("/x/d/"), Kind::Model)]);
        assert_eq!(folder.model, Some(ModelSource::Path("/x/d".into())));
    }

    #[test]
    fn a_key_goes_before_weights() {
        let path = |name: &str| Source::Path(name.to_owned());
        let all = sorted(vec![
            ("t".into(), path("/d/t"), Kind::Trace),
            ("c".into(), path("/d/config.json"), Kind::Model),
            ("k".into(), path("/d/k"), Kind::Key),
            ("l".into(), path("/d/l"), Kind::Key),
        ]);
        assert_eq!(all.traces, [path("/d/t")]);
        assert_eq!(all.model, Some(ModelSource::key(path("/d/k"))));
        assert_eq!(all.ignored, ["l", "c"]);
    }

    #[test]
    fn picked_files_stay_together() {
        let picked = |name: &str| Source::Picked {
            handle: 1,
            name: name.into(),
            bytes: 1,
        };
        let files = vec![("m/config.json".into(), picked("config.json"), Kind::Model)];
        let want = ModelSource::Files(vec![("m/config.json".into(), picked("config.json"))]);
        assert_eq!(sorted(files).model, Some(want));
    }
}
