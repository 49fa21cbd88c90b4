//! Bytes to key: an attacker's file becomes a view whose every access is known to be in bounds.
//!
//! Order: length caps, header, metadata, count of tensors, canonical header, file length, checksum, values. Nothing is allocated from
//! a declared size before the real length was compared with it.

use assay_model::Dtype;
use assay_trace::Digest;
use sha2::{Digest as _, Sha256};

use crate::facts::{Facts, Stored};
use crate::header::{self, BEGINNING, MAX_HEADER_BYTES, RawHeader};
use crate::layout::{Kind, Layout, Places};
use crate::sealed::MAGIC;
use crate::{KeyError, Seed, VerifierKey, exact};

/// As many first bytes of a file as [`VerifierKey::is_key`] needs.
pub const HEAD_BYTES: usize = 8 + BEGINNING.len();

/// How a key lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is: whoever reads the file has the secret.
    Plain,
    /// Under a passphrase.
    Encrypted,
}

impl VerifierKey {
    /// What a file is that begins with `head`, of which [`HEAD_BYTES`] are enough; `None` if it is no key of any version.
    pub fn is_key(head: &[u8]) -> Option<Form> {
        if head.starts_with(MAGIC) {
            return Some(Form::Encrypted);
        }
        let text = head.get(8..)?;
        text.starts_with(BEGINNING.as_bytes())
            .then_some(Form::Plain)
    }

    /// Reads a plain key. The bytes are kept; what they hold is decoded when it is asked for.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`] for any other file, [`KeyError::Encrypted`], and otherwise the first thing that is wrong. Two files that
    /// both parse and hold the same values are the same bytes.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, KeyError> {
        match Self::is_key(&bytes) {
            Some(Form::Plain) => {}
            Some(Form::Encrypted) => return Err(KeyError::Encrypted),
            None => return Err(KeyError::NotAKey),
        }
        let (header, data) = split(&bytes)?;
        let (facts, layout) = read_header(header, data.len() as u64)?;
        let places = layout.places(8 + header.len());
        // The checksum sorts last, so these are the file's last bytes.
        let (covered, checksum) = bytes.split_at(bytes.len() - Digest::LEN);
        let mut hasher = Sha256::new_with_prefix(covered);
        if hasher.clone().finalize().as_slice() != checksum {
            return Err(KeyError::Checksum);
        }
        hasher.update(checksum);
        let id = Digest(hasher.finalize().into());
        check_values(&bytes, &facts, &layout, &places)?;
        let mut seed = [0; 32];
        seed.copy_from_slice(places.get(&bytes, Kind::Seed));
        Ok(Self {
            id,
            seed: Seed::from_bytes(seed),
            bytes,
            facts,
            places,
        })
    }
}

/// Header and data of a file, under the caps.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), KeyError> {
    header::check_file_bytes(bytes.len() as u64)?;
    let (length, rest) = bytes.split_first_chunk().ok_or(KeyError::NotAKey)?;
    let got = u64::from_le_bytes(*length);
    if got > MAX_HEADER_BYTES {
        let most = MAX_HEADER_BYTES;
        return Err(KeyError::HeaderTooLarge { got, most });
    }
    rest.split_at_checked(got as usize)
        .ok_or(KeyError::HeaderPastEnd {
            got,
            have: rest.len() as u64,
        })
}

/// Facts and layout, from a header that `data_bytes` bytes follow.
fn read_header(header: &[u8], data_bytes: u64) -> Result<(Facts, Layout), KeyError> {
    let text = str::from_utf8(header).map_err(|err| KeyError::HeaderUtf8 {
        offset: err.valid_up_to(),
    })?;
    let raw = RawHeader::parse(text)?;
    let facts = Facts::parse(&raw.facts)?;
    let want = Layout::count(&facts);
    if raw.tensors != want {
        let got = raw.tensors;
        return Err(KeyError::Tensors { got, want });
    }
    let layout = Layout::new(&facts);
    let canonical = header::canonical(&facts, &layout);
    if canonical != header {
        let same = canonical.iter().zip(header);
        let offset = same.take_while(|(want, got)| want == got).count();
        return Err(KeyError::HeaderNotCanonical { offset });
    }
    if data_bytes != layout.data_bytes {
        let (got, want) = (data_bytes, layout.data_bytes);
        return Err(KeyError::DataLength { got, want });
    }
    Ok((facts, layout))
}

/// Every number is finite, bounds and norms are not negative, flags are flags.
fn check_values(
    bytes: &[u8],
    facts: &Facts,
    layout: &Layout,
    places: &Places,
) -> Result<(), KeyError> {
    for tensor in &layout.tensors {
        let data = places.get(bytes, tensor.kind);
        let bad = match tensor.kind {
            Kind::Seed | Kind::Checksum => None,
            Kind::Elsewhere => data.iter().position(|flag| *flag > 1),
            Kind::Frobenius => {
                let (norms, _) = data.as_chunks();
                let fine = |norm: f64| norm.is_finite() && norm.is_sign_positive();
                norms
                    .iter()
                    .position(|norm| !fine(f64::from_le_bytes(*norm)))
            }
            Kind::Exact(index) => {
                if facts.stored.get(index) == Some(&Stored::Fixed) {
                    let (residues, _) = data.as_chunks();
                    let stray = |residue: &[u8; 16]| u128::from_le_bytes(*residue) >= exact::P127;
                    residues.iter().position(stray)
                } else {
                    let (residues, _) = data.as_chunks();
                    let stray = |residue: &[u8; 8]| u64::from_le_bytes(*residue) >= exact::P;
                    residues.iter().position(stray)
                }
            }
            Kind::Bound(_) => {
                let (bounds, _) = data.as_chunks();
                let fine = |bound: f32| bound.is_finite() && bound.is_sign_positive();
                bounds
                    .iter()
                    .position(|bound| !fine(f32::from_le_bytes(*bound)))
            }
            Kind::Rows(index) => {
                let stored = facts.stored.get(index).copied();
                stored.and_then(|stored| first_not_finite(data, stored.rows()))
            }
            _ => first_not_finite(data, Dtype::F32),
        };
        if let Some(index) = bad {
            let what = tensor.name.clone();
            return Err(KeyError::Value { what, index });
        }
    }
    Ok(())
}

/// Index of the first element that is an infinity or a NaN: all bits of the exponent set.
fn first_not_finite(bytes: &[u8], dtype: Dtype) -> Option<usize> {
    let halves = |mask: u16| {
        let (halves, _) = bytes.as_chunks();
        halves
            .iter()
            .position(|half| u16::from_le_bytes(*half) & mask == mask)
    };
    match dtype {
        Dtype::F16 => halves(0x7c00),
        Dtype::BF16 => halves(0x7f80),
        _ => {
            let (words, _) = bytes.as_chunks();
            let mask = 0x7f80_0000;
            words
                .iter()
                .position(|word| u32::from_le_bytes(*word) & mask == mask)
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
