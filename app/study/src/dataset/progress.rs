//! `progress.json`: how many rows are complete.

use std::path::Path;

use assay_trace::Digest;
use serde::{Deserialize, Serialize};

use super::PROGRESS;
use crate::error::shown;
use crate::{StudyError, files};

const FORMAT: &str = "assay-sparse-progress";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// SHA-256 of `dataset.json`.
    dataset: Digest,
    format: String,
    rows: u64,
    version: u32,
}

/// The number of complete rows, at most `most`.
pub(super) fn read(folder: &Path, dataset: &Digest, most: u64) -> Result<u64, StudyError> {
    let bytes = files::read_small(&folder.join(PROGRESS), 4096)?;
    let record: Record = serde_json::from_slice(&bytes).map_err(|source| StudyError::Json {
        file: PROGRESS,
        source,
    })?;
    if record.format != FORMAT {
        return Err(StudyError::Format {
            file: PROGRESS,
            got: shown(&record.format),
            want: FORMAT,
        });
    }
    if record.version != 1 {
        return Err(StudyError::Version {
            file: PROGRESS,
            got: record.version,
            want: 1,
        });
    }
    if record.dataset != *dataset {
        return Err(StudyError::OtherProgress {
            got: record.dataset,
            want: *dataset,
        });
    }
    if record.rows > most {
        return Err(StudyError::ProgressRows {
            got: record.rows,
            most,
        });
    }
    Ok(record.rows)
}

/// Records `rows`, at once or not at all.
pub(super) fn write(folder: &Path, dataset: &Digest, rows: u64) -> Result<(), StudyError> {
    let record = Record {
        dataset: *dataset,
        format: FORMAT.to_owned(),
        rows,
        version: 1,
    };
    let mut text = serde_json::to_string(&record).map_err(|source| StudyError::Json {
        file: PROGRESS,
        source,
    })?;
    text.push('\n');
    files::replace_with(&folder.join(PROGRESS), text.as_bytes())
}
