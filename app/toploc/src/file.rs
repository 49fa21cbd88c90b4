//! A list of proofs in JSON: ours, which says what rows they are of, or the bare list of base64 strings that the package returns.

use serde::{Deserialize, Serialize};

use crate::chunks::BATCH;
use crate::error::ToplocError;
use crate::proof::Proof;
use crate::top::TOP;

/// The largest list that is read: a proof takes 344 characters, so 40,000 of them, over a million tokens.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
const FORMAT: &str = "assay-toploc";
const VERSION: u32 = 1;
/// Most points of a proof: interpolation takes their square.
const MOST_TOP: usize = 4096;

/// Proofs of a run, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// Points of each.
    pub top: usize,
    /// Decode steps of a chunk.
    pub batch: usize,
    /// Rows of the prefill chunk; `None` where the file does not say.
    pub prompt_rows: Option<usize>,
    /// One for each chunk.
    pub proofs: Vec<Proof>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Ours(Ours),
    Package(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    format: String,
    version: u32,
    top: usize,
    batch: usize,
    prompt_rows: Option<usize>,
    proofs: Vec<String>,
}

impl ProofFile {
    /// Reads either form; the package's has 128 points and 32 steps a chunk.
    pub fn parse(bytes: &[u8]) -> Result<Self, ToplocError> {
        let (got, most) = (bytes.len() as u64, MAX_FILE_BYTES);
        if got > most {
            return Err(ToplocError::TooLarge { got, most });
        }
        // What serde says may hold the file's own words.
        let json = |err: serde_json::Error| {
            let words = err.to_string();
            ToplocError::Json(
                words
                    .chars()
                    .take(200)
                    .flat_map(char::escape_debug)
                    .collect(),
            )
        };
        let ours = match serde_json::from_slice(bytes).map_err(json)? {
            Stored::Ours(ours) => ours,
            Stored::Package(proofs) => Ours {
                format: FORMAT.to_owned(),
                version: VERSION,
                top: TOP,
                batch: BATCH,
                prompt_rows: None,
                proofs,
            },
        };
        if ours.format != FORMAT || ours.version != VERSION {
            return Err(ToplocError::Format {
                got: ours.format.chars().take(64).collect(),
                version: ours.version,
            });
        }
        let range = |name, got, want| Err(ToplocError::Range { name, got, want });
        if ours.top == 0 || ours.top > MOST_TOP {
            return range("number of points", ours.top, "1 to 4096");
        }
        if ours.batch == 0 {
            return range("rows of a chunk", ours.batch, "1 or more");
        }
        let parse = |text: &String| Proof::from_base64(text, ours.top);
        let proofs: Vec<Proof> = ours.proofs.iter().map(parse).collect::<Result<_, _>>()?;
        if proofs.is_empty() {
            return Err(ToplocError::Nothing);
        }
        Ok(Self {
            top: ours.top,
            batch: ours.batch,
            prompt_rows: ours.prompt_rows,
            proofs,
        })
    }

    /// Our form.
    pub fn to_json(&self) -> String {
        let stored = Ours {
            format: FORMAT.to_owned(),
            version: VERSION,
            top: self.top,
            batch: self.batch,
            prompt_rows: self.prompt_rows,
            proofs: self.proofs.iter().map(Proof::to_base64).collect(),
        };
        serde_json::to_string_pretty(&stored).unwrap_or_default() // numbers and strings always have a JSON form
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let proof = Proof::of(&(0..128).map(|i| (i, 7 * i as u16)).collect::<Vec<_>>()).unwrap();
        let package = format!("[\"{0}\", \"{0}\"]", proof.to_base64());
        let read = ProofFile::parse(package.as_bytes()).unwrap();
        assert_eq!((read.top, read.batch, read.prompt_rows), (128, 32, None));
        assert_eq!(read.proofs.len(), 2);
        let ours = ProofFile {
            prompt_rows: Some(5),
            ..read
        };
        assert_eq!(
            ProofFile::parse(ours.to_json().as_bytes()),
            Ok(ours.clone())
        );
        let bent =
            |from: &str, to: &str| ProofFile::parse(ours.to_json().replace(from, to).as_bytes());
        assert!(matches!(
            bent("\"version\": 1", "\"version\": 2"),
            Err(ToplocError::Format { .. })
        ));
        assert!(matches!(
            bent("\"top\": 128", "\"top\": 127"),
            Err(ToplocError::Length { .. })
        ));
        assert!(matches!(
            bent("\"top\": 128", "\"top\": 0"),
            Err(ToplocError::Range { .. })
        ));
        assert!(matches!(
            bent("\"batch\": 32", "\"batch\": 0"),
            Err(ToplocError::Range { .. })
        ));
    }

    /// A verifier that loops over no proofs finds no fault: TOPLOC's `all()` of nothing is true.
    #[test]
    fn no_proof_is_refused() {
        assert_eq!(ProofFile::parse(b"[]"), Err(ToplocError::Nothing));
        let null = format!("[\"{}\"]", "A".repeat(344));
        assert!(matches!(
            ProofFile::parse(null.as_bytes()),
            Err(ToplocError::Modulus { got: 0, .. })
        ));
        for bytes in [
            b"".as_slice(),
            b"{}",
            b"[1]",
            b"\"x\"",
            b"[\"/9k=\"]",
            b"\xff",
        ] {
            assert!(ProofFile::parse(bytes).is_err());
        }
    }
}
