//! Encryption at rest: a fixed head, then the plain file as one XChaCha20-Poly1305 message under a key that Argon2id makes of a
//! passphrase.
//!
//! The head is bound as associated data. It also has 16 bytes from the same Argon2id output, so that a wrong passphrase is told from
//! a damaged file, and no file opens under two passphrases. They help nobody guess: a guess costs a full Argon2id either way.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::{Form, KeyError, VerifierKey, header};

/// The first bytes of every encrypted key.
pub(crate) const MAGIC: &[u8; 8] = b"ASSAYKEY";
const VERSION: u32 = 1;
/// Magic, version, memory, passes, lanes, salt, check, nonce.
const HEAD: usize = 8 + 4 * 4 + 16 + 16 + 24;
const TAG: usize = 16;

/// Argon2id's costs, as a file states them.
struct Costs {
    /// KiB.
    memory: u32,
    passes: u32,
    lanes: u32,
}

/// 64 MiB, three passes: RFC 9106's choice where memory is scarce, but one lane, since a browser has one thread. About a fifth of a second.
const COSTS: Costs = Costs {
    memory: 64 << 10,
    passes: 3,
    lanes: 1,
};

impl Costs {
    /// The most that a file may ask of its reader: 256 MiB, and seconds.
    fn check(&self) -> Result<(), KeyError> {
        for (what, got, least, most) in [
            ("lanes", self.lanes, 1, 16),
            ("memory", self.memory, 8 * self.lanes.min(16), 256 << 10),
            ("passes", self.passes, 1, 16),
        ] {
            if !(least..=most).contains(&got) {
                return Err(KeyError::SealedParameter {
                    what,
                    got,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// The head, decoded.
struct Head {
    costs: Costs,
    salt: [u8; 16],
    check: [u8; 16],
    nonce: [u8; 24],
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let Costs {
            memory,
            passes,
            lanes,
        } = self.costs;
        let mut bytes = MAGIC.to_vec();
        for number in [VERSION, memory, passes, lanes] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.salt);
        bytes.extend(self.check);
        bytes.extend(self.nonce);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), KeyError> {
        let mut rest = bytes;
        let _: [u8; 8] = take(&mut rest, bytes)?;
        let mut number = || Ok::<u32, KeyError>(u32::from_le_bytes(take(&mut rest, bytes)?));
        let version = number()?;
        if version != VERSION {
            return Err(KeyError::Version {
                got: version.into(),
                want: VERSION,
            });
        }
        let costs = Costs {
            memory: number()?,
            passes: number()?,
            lanes: number()?,
        };
        costs.check()?;
        let head = Self {
            costs,
            salt: take(&mut rest, bytes)?,
            check: take(&mut rest, bytes)?,
            nonce: take(&mut rest, bytes)?,
        };
        Ok((head, rest))
    }

    /// Cipher key and check.
    fn derive(&self, passphrase: &str) -> Result<Zeroizing<[u8; 48]>, KeyError> {
        let Costs {
            memory,
            passes,
            lanes,
        } = self.costs;
        let failed = |_| KeyError::Internal {
            what: "Argon2id refused its parameters",
        };
        let params = Params::new(memory, passes, lanes, Some(48)).map_err(failed)?;
        let mut out = Zeroizing::new([0; 48]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &self.salt, out.as_mut_slice())
            .map_err(|err| match err {
                argon2::Error::OutOfMemory => KeyError::Memory {
                    bytes: u64::from(memory) << 10,
                },
                other => failed(other),
            })?;
        Ok(out)
    }
}

/// Takes the next bytes off `rest`; `whole` is what it came from.
fn take<const N: usize>(rest: &mut &[u8], whole: &[u8]) -> Result<[u8; N], KeyError> {
    let (taken, left) = rest.split_first_chunk().ok_or(KeyError::SealedTooShort {
        got: whole.len(),
        want: HEAD + TAG,
    })?;
    *rest = left;
    Ok(*taken)
}

impl VerifierKey {
    /// The key under a passphrase, which is taken as its UTF-8 bytes. Salt and nonce are fresh, so no two results are the same.
    ///
    /// # Errors
    /// [`KeyError::PassphraseEmpty`], [`KeyError::Randomness`], [`KeyError::Memory`].
    pub fn encrypt(&self, passphrase: &str) -> Result<Vec<u8>, KeyError> {
        if passphrase.is_empty() {
            return Err(KeyError::PassphraseEmpty);
        }
        let mut head = Head {
            costs: COSTS,
            salt: [0; 16],
            check: [0; 16],
            nonce: [0; 24],
        };
        for bytes in [&mut head.salt[..], &mut head.nonce[..]] {
            getrandom::fill(bytes).map_err(|source| KeyError::Randomness { source })?;
        }
        let derived = head.derive(passphrase)?;
        let (key, check) = derived.split_at(32);
        head.check.copy_from_slice(check);
        let mut out = Vec::new();
        let len = HEAD + self.bytes.len() + TAG;
        if out.try_reserve_exact(len).is_err() {
            return Err(KeyError::Memory { bytes: len as u64 });
        }
        let associated = head.encode();
        out.extend(&associated);
        out.extend(&self.bytes);
        let message = &mut out[associated.len()..];
        let tag = cipher(key)?
            .encrypt_inout_detached(&XNonce::from(head.nonce), &associated, message.into())
            .map_err(|_| KeyError::Internal {
                what: "a key is too long for its cipher",
            })?;
        out.extend(tag);
        Ok(out)
    }

    /// Opens what [`VerifierKey::encrypt`] made.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`], [`KeyError::NotEncrypted`]; [`KeyError::SealedParameter`] if the file asks for more memory or time than
    /// any key should; [`KeyError::Passphrase`] if it is the wrong one; [`KeyError::SealedDamaged`] if it is right; and those of
    /// [`VerifierKey::parse`].
    pub fn decrypt(bytes: &[u8], passphrase: &str) -> Result<Self, KeyError> {
        match Self::is_key(bytes) {
            Some(Form::Encrypted) => {}
            Some(Form::Plain) => return Err(KeyError::NotEncrypted),
            None => return Err(KeyError::NotAKey),
        }
        let (head, sealed) = Head::parse(bytes)?;
        let Some((sealed, tag)) = sealed.split_last_chunk::<TAG>() else {
            return Err(KeyError::SealedTooShort {
                got: bytes.len(),
                want: HEAD + TAG,
            });
        };
        header::check_file_bytes(sealed.len() as u64)?;
        let derived = head.derive(passphrase)?;
        let (key, check) = derived.split_at(32);
        // Not in constant time: whoever can measure this has the file, and with it the bytes compared.
        if check != head.check {
            return Err(KeyError::Passphrase);
        }
        let mut plain = Vec::new();
        if plain.try_reserve_exact(sealed.len()).is_err() {
            let bytes = sealed.len() as u64;
            return Err(KeyError::Memory { bytes });
        }
        plain.extend(sealed);
        let associated = &bytes[..HEAD];
        cipher(key)?
            .decrypt_inout_detached(
                &XNonce::from(head.nonce),
                associated,
                plain.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| KeyError::SealedDamaged)?;
        Self::parse(plain)
    }
}

fn cipher(key: &[u8]) -> Result<XChaCha20Poly1305, KeyError> {
    XChaCha20Poly1305::new_from_slice(key).map_err(|_| KeyError::Internal {
        what: "a cipher key has the wrong length",
    })
}
