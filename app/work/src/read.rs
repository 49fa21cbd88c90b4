//! Files read whole, in pieces, so that a cancel is heard between them.

use assay_model::ByteSource;

use crate::message::{Failure, Stage};
use crate::monitor::JobMonitor;
use crate::platform::Platform;

/// Bytes read between two chances to cancel.
const PIECE_BYTES: usize = 4 << 20;

/// All bytes of `file`; `None` if memory has no room for them.
pub(crate) async fn whole<P: Platform>(
    platform: &P,
    monitor: &mut JobMonitor<'_, P>,
    file: &dyn ByteSource,
) -> Result<Option<Vec<u8>>, Failure> {
    let total = file.len();
    let mut bytes = Vec::new();
    let Ok(room) = usize::try_from(total) else {
        return Ok(None);
    };
    if bytes.try_reserve_exact(room).is_err() {
        return Ok(None);
    }
    while (bytes.len() as u64) < total {
        monitor.tell(Stage::Read, bytes.len() as u64, total)?;
        platform.breathe().await;
        let at = bytes.len() as u64;
        let len = PIECE_BYTES.min((total - at) as usize);
        bytes.extend_from_slice(&file.read(at, len)?);
    }
    Ok(Some(bytes))
}
