//! One direction of an established TLS connection: its traffic key, and the number of its next record.
//!
//! ```text
//!   secret (TLS 1.3) ──HKDF-Expand-Label──▶ key, iv        nonce = iv XOR number of the record
//!   key, iv (TLS 1.2: the key block of the handshake)
//! ```
//! Promises: a record is sealed under a nonce that no other record of this key had; a record that is
//! not what its peer sealed in this place of the stream does not open. What is secret is wiped when it is
//! dropped and never shown by `Debug`. Sources: RFC 8446, sections 5.2 to 5.5 and 7.2; RFC 5246,
//! section 6.2.3.3; RFC 5288; RFC 7905.
//! Must not know: what is in a record, sockets.

use std::fmt;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, KeyType};
use bytes::BytesMut;
use zeroize::Zeroizing;

use crate::handover::record;
use crate::handover::secret::Secret;

/// The kind of a record (RFC 8446, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    ChangeCipherSpec = 20,
    Alert = 21,
    Handshake = 22,
    Data = 23,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// Why a record cannot be opened or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a record that its sender did not seal")]
    BadRecord,
    #[error("a record that is too long")]
    TooLong,
    #[error("a record without a kind")]
    NoContent,
    #[error("a key that was used for as many records as is safe")]
    WornOut,
}

/// The plaintext of one record is no longer than this (RFC 8446, section 5.1).
pub(super) const PLAIN: usize = 1 << 14;
/// Type, version and length in front of each record.
pub(super) const HEADER: usize = 5;
/// The most that a record can be longer than its plaintext here (RFC 8446, section 5.2).
pub(super) const OVERHEAD: usize = 256;
/// As any other version looks on the wire (RFC 8446, section 5.1).
const ON_THE_WIRE: [u8; 2] = [3, 3];
const TAG: usize = 16;
/// The part of a nonce that TLS 1.2 sends along with AES-GCM (RFC 5288, section 3).
const EXPLICIT: usize = 8;

/// How many records one AES-GCM key may seal: RFC 8446, section 5.5 says 2^24.5 of full size.
const WORN_OUT: u64 = 1 << 24;
/// From here on its successor is asked for.
const WORN: u64 = WORN_OUT - (1 << 16);

pub(super) struct Half {
    version: Version,
    suite: Suite,
    material: Material,
    key: LessSafeKey,
    iv: Zeroizing<[u8; aead::NONCE_LEN]>,
    /// Of the next record.
    number: u64,
}

/// What the key comes from, and goes elsewhere as.
enum Material {
    /// TLS 1.3: the traffic secret.
    Secret(Secret),
    /// TLS 1.2: the key.
    Key(Secret),
}

/// Lengths that HKDF is asked for.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Suite {
    /// By its number, together with the version that it is of (RFC 8446, appendix B.4, RFC 5289, RFC 7905).
    pub fn of(number: u16) -> Option<(Version, Suite)> {
        Some(match number {
            0x1301 => (Version::Tls13, Suite::Aes128Gcm),
            0x1302 => (Version::Tls13, Suite::Aes256Gcm),
            0x1303 => (Version::Tls13, Suite::ChaCha20Poly1305),
            0xc02b | 0xc02f => (Version::Tls12, Suite::Aes128Gcm),
            0xc02c | 0xc030 => (Version::Tls12, Suite::Aes256Gcm),
            0xcca8 | 0xcca9 => (Version::Tls12, Suite::ChaCha20Poly1305),
            _ => return None,
        })
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Suite::Aes128Gcm => &aead::AES_128_GCM,
            Suite::Aes256Gcm => &aead::AES_256_GCM,
            Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Suite::Aes256Gcm => hkdf::HKDF_SHA384,
            Suite::Aes128Gcm | Suite::ChaCha20Poly1305 => hkdf::HKDF_SHA256,
        }
    }

    /// Of TLS 1.3.
    fn secret_len(self) -> usize {
        match self {
            Suite::Aes256Gcm => 48,
            Suite::Aes128Gcm | Suite::ChaCha20Poly1305 => 32,
        }
    }
}

impl Half {
    /// TLS 1.3, at the record `number` of this secret. `None` if it has not the length that the suite says.
    pub(super) fn tls13(suite: Suite, secret: Secret, number: u64) -> Option<Half> {
        if secret.len() != suite.secret_len() {
            return None;
        }
        let mut key = Zeroizing::new(vec![0; suite.algorithm().key_len()]);
        expand_label(suite, &secret, b"key", &mut key);
        let mut iv = Zeroizing::new([0; aead::NONCE_LEN]);
        expand_label(suite, &secret, b"iv", &mut iv[..]);
        let key = cipher(suite, &key)?;
        Some(Half { version: Version::Tls13, suite, material: Material::Secret(secret), key, iv, number })
    }

    /// The key and the iv of a secret of TLS 1.3.
    #[cfg(test)]
    pub(super) fn derived(suite: Suite, secret: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut iv) = (vec![0; suite.algorithm().key_len()], vec![0; aead::NONCE_LEN]);
        expand_label(suite, secret, b"key", &mut key);
        expand_label(suite, secret, b"iv", &mut iv);
        (key, iv)
    }

    /// TLS 1.2, at the record `number`. For AES-GCM `iv` is the salt and what the explicit nonces begin at.
    pub(super) fn tls12(suite: Suite, key: Secret, iv: [u8; aead::NONCE_LEN], number: u64) -> Option<Half> {
        let cipher = cipher(suite, &key)?;
        let (material, iv) = (Material::Key(key), Zeroizing::new(iv));
        Some(Half { version: Version::Tls12, suite, material, key: cipher, iv, number })
    }

    pub(super) fn adopt(version: Version, suite: Suite, half: &record::Half) -> Option<Half> {
        match version {
            Version::Tls13 => Half::tls13(suite, half.secret.clone(), half.number),
            Version::Tls12 => {
                Half::tls12(suite, half.secret.clone(), half.iv[..].try_into().ok()?, half.number)
            }
        }
    }

    pub(super) fn record(&self) -> record::Half {
        let (secret, iv) = match &self.material {
            Material::Secret(secret) => (secret.clone(), Secret::default()),
            Material::Key(key) => (key.clone(), Secret::from(&self.iv[..])),
        };
        record::Half { secret, iv, number: self.number }
    }

    /// Whether the next secret is to be taken into use before long (TLS 1.3).
    pub(super) fn is_worn(&self) -> bool {
        self.suite != Suite::ChaCha20Poly1305 && self.number >= WORN
    }

    /// The next secret (RFC 8446, section 7.2). False where there is none, in TLS 1.2.
    pub(super) fn update(&mut self) -> bool {
        let Material::Secret(secret) = &self.material else { return false };
        let mut next = Zeroizing::new(vec![0; self.suite.secret_len()]);
        expand_label(self.suite, secret, b"traffic upd", &mut next);
        let Some(half) = Half::tls13(self.suite, Secret::from(&next[..]), 0) else { return false };
        *self = half;
        true
    }

    /// How much longer a record is than its plaintext.
    pub(super) fn overhead(&self) -> usize {
        HEADER
            + TAG
            + match (self.version, self.suite) {
                (Version::Tls13, _) => 1,
                (Version::Tls12, Suite::ChaCha20Poly1305) => 0,
                (Version::Tls12, _) => EXPLICIT,
            }
    }

    /// Where the plaintext is to be in a record that is to be sealed.
    pub(super) fn plain_at(&self) -> usize {
        match (self.version, self.suite) {
            (Version::Tls13, _) | (Version::Tls12, Suite::ChaCha20Poly1305) => HEADER,
            (Version::Tls12, _) => HEADER + EXPLICIT,
        }
    }

    /// Seals `record`, which is of the length of its plaintext, at [`Half::plain_at`], and [`Half::overhead`].
    pub(super) fn seal(&mut self, content: Content, record: &mut [u8]) -> Result<(), Fault> {
        let (at, length) = (self.plain_at(), record.len() - self.overhead());
        if length > PLAIN {
            return Err(Fault::TooLong);
        }
        if self.suite != Suite::ChaCha20Poly1305 && self.number >= WORN_OUT {
            return Err(Fault::WornOut);
        }
        let nonce = self.nonce();
        let (head, rest) = record.split_at_mut(at);
        head[0] = if self.version == Version::Tls13 { Content::Data as u8 } else { content as u8 };
        head[1..3].copy_from_slice(&ON_THE_WIRE);
        head[3..HEADER].copy_from_slice(&length_of(at - HEADER + rest.len()));
        head[HEADER..].copy_from_slice(&nonce[aead::NONCE_LEN - (at - HEADER)..]);
        let (plain, tail) = rest.split_at_mut(length);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = match self.version {
            Version::Tls13 => {
                let header: [u8; HEADER] = head.try_into().expect("the plaintext is behind the header");
                self.key.seal_in_place_scatter(nonce, Aad::from(header), plain, &[content as u8], tail)
            }
            Version::Tls12 => {
                let aad = Aad::from(self.aad12(content as u8, length));
                self.key.seal_in_place_scatter(nonce, aad, plain, &[], tail)
            }
        };
        sealed.map_err(|_| Fault::WornOut)?;
        self.number += 1;
        Ok(())
    }

    /// Opens a whole `record` to the end of `plain`: what it is. How much it is, is how much longer `plain` is.
    pub(super) fn open(&mut self, record: &[u8], plain: &mut BytesMut) -> Result<Content, Fault> {
        let (header, sealed) = record.split_at(HEADER);
        if sealed.len() > PLAIN + OVERHEAD {
            return Err(Fault::TooLong);
        }
        let mut nonce = self.nonce();
        let explicit = self.plain_at() - HEADER;
        if sealed.len() < explicit + TAG {
            return Err(Fault::BadRecord);
        }
        if self.version == Version::Tls12 && explicit > 0 {
            nonce[aead::NONCE_LEN - explicit..].copy_from_slice(&sealed[..explicit]);
        }
        let (sealed, tag) = sealed[explicit..].split_at(sealed.len() - explicit - TAG);
        let begin = plain.len();
        plain.resize(begin + sealed.len(), 0);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = match self.version {
            Version::Tls13 => {
                let header: [u8; HEADER] = header.try_into().expect("it was split there");
                self.key.open_separate_gather(nonce, Aad::from(header), sealed, tag, &mut plain[begin..])
            }
            Version::Tls12 => {
                let aad = Aad::from(self.aad12(header[0], sealed.len()));
                self.key.open_separate_gather(nonce, aad, sealed, tag, &mut plain[begin..])
            }
        };
        if opened.is_err() {
            plain.truncate(begin);
            return Err(Fault::BadRecord);
        }
        self.number += 1;
        let kind = match self.version {
            Version::Tls12 => header[0],
            // The last byte that is not padding (RFC 8446, section 5.4).
            Version::Tls13 => {
                let inner = &plain[begin..];
                let Some(at) = inner.iter().rposition(|byte| *byte != 0) else {
                    plain.truncate(begin);
                    return Err(Fault::NoContent);
                };
                let kind = inner[at];
                plain.truncate(begin + at);
                kind
            }
        };
        if plain.len() - begin > PLAIN {
            plain.truncate(begin);
            return Err(Fault::TooLong);
        }
        Content::of(kind).ok_or_else(|| {
            plain.truncate(begin);
            Fault::NoContent
        })
    }

    fn nonce(&self) -> [u8; aead::NONCE_LEN] {
        let mut nonce = *self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// RFC 5246, section 6.2.3.3.
    fn aad12(&self, kind: u8, length: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.number.to_be_bytes());
        aad[8] = kind;
        aad[9..11].copy_from_slice(&ON_THE_WIRE);
        aad[11..].copy_from_slice(&length_of(length));
        aad
    }
}

impl Content {
    pub(super) fn of(kind: u8) -> Option<Content> {
        [Content::ChangeCipherSpec, Content::Alert, Content::Handshake, Content::Data]
            .into_iter()
            .find(|content| *content as u8 == kind)
    }
}

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} at record {}", self.version, self.suite, self.number)
    }
}

/// As a record says it; records are bounded by [`PLAIN`].
fn length_of(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn cipher(suite: Suite, key: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(suite.algorithm(), key).ok()?))
}

/// RFC 8446, section 7.1, with an empty context.
fn expand_label(suite: Suite, secret: &[u8], label: &[u8], out: &mut [u8]) {
    const PREFIX: &[u8] = b"tls13 ";
    let length = length_of(out.len());
    let label_length = [u8::try_from(PREFIX.len() + label.len()).expect("labels are short")];
    let info: [&[u8]; 5] = [&length, &label_length, PREFIX, label, &[0]];
    hkdf::Prk::new_less_safe(suite.hkdf(), secret)
        .expand(&info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("neither is longer than HKDF allows");
}
