//! From a manifest and arrays to bytes, in file order.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use crate::body::Body;
use crate::layout;
use crate::limits::{MAX_FILE_BYTES, MAX_HEADER_BYTES};
use crate::{Digest, Manifest, TraceError, header};

/// Rows go to the writer in pieces of this size: a row by itself can be a few bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A trace ready to be written.
#[derive(Debug, Clone)]
pub struct FinishedTrace {
    manifest: Manifest,
    commitment: Digest,
    header: Vec<u8>,
    /// Shared with the sealed trace that it was opened from, and with whatever else was.
    body: Arc<Body>,
}

impl FinishedTrace {
    /// Computes the commitment and the header. `manifest` has its prompt digest and root, and `body` what it opens.
    pub(crate) fn new(manifest: Manifest, body: Arc<Body>) -> Self {
        let header = header::canonical(&manifest.canonical_json(), &layout::tensors(&manifest));
        Self {
            commitment: manifest.commitment(),
            manifest,
            header,
            body,
        }
    }

    /// Refuses what no reader takes.
    pub(crate) fn check_size(&self) -> Result<(), TraceError> {
        let (got, max) = (self.header.len() as u64, MAX_HEADER_BYTES);
        if got > max {
            return Err(TraceError::HeaderTooLarge { got, max });
        }
        check_file_len(self.len())
    }

    /// What the trace claims, root included.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Merkle root over the positions.
    pub fn root(&self) -> Digest {
        self.manifest.root
    }

    /// What a signature covers: binds the manifest, and through it every tensor.
    pub fn commitment(&self) -> Digest {
        self.commitment
    }

    /// Length of the file in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a trace is never empty")]
    pub fn len(&self) -> u64 {
        let data_end = layout::tensors(&self.manifest)
            .last()
            .map_or(0, |tensor| tensor.offsets[1]);
        8 + self.header.len() as u64 + data_end
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        self.write_unbuffered(&mut out)?;
        out.flush()
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Without room in advance the writing grows it, or fails as any allocation does.
        let _ = bytes.try_reserve_exact(usize::try_from(self.len()).unwrap_or_default());
        // Cannot fail: writing to a `Vec` never does.
        let _ = self.write_unbuffered(&mut bytes);
        bytes
    }

    fn write_unbuffered(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&(self.header.len() as u64).to_le_bytes())?;
        out.write_all(&self.header)?;
        for tensor in layout::tensors(&self.manifest) {
            self.body
                .write(&self.manifest, self.commitment, tensor.kind, out)?;
        }
        Ok(())
    }
}

/// Refuses a length above the cap. Reader and writer ask the same question.
pub(crate) fn check_file_len(got: u64) -> Result<(), TraceError> {
    if got > MAX_FILE_BYTES {
        let max = MAX_FILE_BYTES;
        return Err(TraceError::FileTooLarge { got, max });
    }
    Ok(())
}
