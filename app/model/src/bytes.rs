//! Where a checkpoint's bytes come from. A source promises only its length and ranges of bytes: a mapped file lends them, memory
//! lends them, and a browser may copy them from wherever it keeps them.
use crate::ModelError;
use std::borrow::Cow;

/// Random access to the bytes of one file.
pub trait ByteSource: Send + Sync {
    /// Length in bytes; it never changes.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` bytes from `offset`, borrowed where they already lie in memory. Outside the source is an error, never a short read.
    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, ModelError>;

    /// A hint that this range will not be read again soon, so that it need not stay resident.
    fn release(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, ModelError> {
        slice(self, offset, len).map(Cow::Borrowed)
    }
}

impl ByteSource for &'static [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, ModelError> {
        slice(self, offset, len).map(Cow::Borrowed)
    }
}

fn slice(bytes: &[u8], offset: u64, len: usize) -> Result<&[u8], ModelError> {
    let end = offset.saturating_add(len as u64);
    let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
    range
        .and_then(|(begin, end)| bytes.get(begin..end))
        .ok_or(ModelError::ReadOutside {
            begin: offset,
            end,
            most: bytes.len() as u64,
        })
}

#[cfg(feature = "native")]
pub use mapped::MappedFile;

#[cfg(feature = "native")]
#[allow(
    unsafe_code,
    reason = "a checkpoint is larger than memory; mapping it has no safe interface"
)]
mod mapped {
    use super::{ByteSource, slice};
    use crate::ModelError;
    use std::{borrow::Cow, fs::File, path::Path};

    /// A file mapped read-only. Whoever may shorten the file while it is open can stop the process (SIGBUS), as with any mapping;
    /// the checkpoint is the user's own copy, and its bytes are hashed, not trusted.
    pub struct MappedFile {
        /// `None` for an empty file, which cannot be mapped.
        map: Option<memmap2::Mmap>,
    }

    impl MappedFile {
        /// Maps `path`, which must be a regular file: a pipe or a device would block or never end.
        pub fn open(path: &Path) -> Result<Self, ModelError> {
            let file_type =
                std::fs::metadata(path).map_err(|err| ModelError::io("open", path, err))?;
            if !file_type.is_file() {
                return Err(ModelError::NotAFile {
                    path: path.to_owned(),
                });
            }
            let file = File::open(path).map_err(|err| ModelError::io("open", path, err))?;
            if file_type.len() == 0 {
                return Ok(Self { map: None });
            }
            // SAFETY: the mapping is read-only and this crate never writes to a file it reads. Another process that changes the
            // bytes changes what we read, which the model root is there to notice; every access is bounds-checked against the
            // length at the time of mapping.
            let map = unsafe { memmap2::Mmap::map(&file) }
                .map_err(|err| ModelError::io("map", path, err))?;
            Ok(Self { map: Some(map) })
        }
    }

    impl ByteSource for MappedFile {
        fn len(&self) -> u64 {
            self.map.as_ref().map_or(0, |map| map.len() as u64)
        }

        fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, ModelError> {
            slice(self.map.as_deref().unwrap_or_default(), offset, len).map(Cow::Borrowed)
        }

        #[cfg(unix)]
        fn release(&self, offset: u64, len: u64) {
            let Some(map) = &self.map else { return };
            if slice(map, offset, usize::try_from(len).unwrap_or(usize::MAX)).is_err() {
                return;
            }
            // SAFETY: the range was checked to lie inside the mapping, which is shared, read-only and backed by a file: dropping
            // its pages makes the next access read them again from the file and changes no byte that a borrower can see.
            let advised = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    offset as usize,
                    len as usize,
                )
            };
            // It is only a hint: a kernel that declines it leaves the pages resident, and nothing is wrong.
            drop(advised);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_refuses_ranges_outside() {
        let source = vec![1u8, 2, 3];
        assert_eq!(&*ByteSource::read(&source, 1, 2).unwrap(), &[2, 3]);
        for (offset, len) in [
            (0, 4),
            (3, 1),
            (4, 0),
            (u64::MAX, 1),
            (u64::MAX, usize::MAX),
        ] {
            let err = ByteSource::read(&source, offset, len).unwrap_err();
            assert!(
                matches!(err, ModelError::ReadOutside { most: 3, .. }),
                "{err}"
            );
        }
        let fixed: &'static [u8] = b"abc";
        assert_eq!(ByteSource::len(&fixed), 3);
        assert!(!ByteSource::is_empty(&fixed));
    }

    #[cfg(feature = "native")]
    #[test]
    fn mapped_file_reads_releases_and_reads_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let map = MappedFile::open(&path).unwrap();
        let lent = map.read(7, 50_000).unwrap();
        map.release(0, map.len());
        map.release(0, u64::MAX);
        assert_eq!(&*lent, &bytes[7..50_007]);
        assert!(map.read(99_999, 2).is_err());

        std::fs::write(&path, b"").unwrap();
        assert!(MappedFile::open(&path).unwrap().is_empty());
        assert!(matches!(
            MappedFile::open(dir.path()),
            Err(ModelError::NotAFile { .. })
        ));
        assert!(matches!(
            MappedFile::open(&dir.path().join("none")),
            Err(ModelError::Io { .. })
        ));
    }
}
