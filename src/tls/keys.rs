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
/// As long is the number of a record.
const NUMBER: usize = 8;
/// The part of a nonce that TLS 1.2 sends along with AES-GCM (RFC 5288, section 3).
const EXPLICIT: usize = 8;

/// How many records of data one AES-GCM key may seal: RFC 8446, section 5.5 says 2^24.5 of full size.
const GCM_LIMIT: u64 = 1 << 24;
/// The same for ChaCha20-Poly1305, which the section does not limit: numbers must not wrap (section 5.3).
const CHACHA_LIMIT: u64 = 1 << 48;
/// So many records before its limit a key is worn.
const WORN: u64 = 1 << 16;

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
        let (key, iv) = traffic_key(suite, &secret);
        let key = cipher(suite, &key)?;
        Some(Half { version: Version::Tls13, suite, material: Material::Secret(secret), key, iv, number })
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

    /// Whether its last record of data is near.
    pub(super) fn is_worn(&self) -> bool {
        self.number >= self.limit() - WORN
    }

    fn limit(&self) -> u64 {
        match self.suite {
            Suite::Aes128Gcm | Suite::Aes256Gcm => GCM_LIMIT,
            Suite::ChaCha20Poly1305 => CHACHA_LIMIT,
        }
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

    /// Seals `record`, which is of the length of its plaintext, at [`Half::plain_at`], and [`Half::overhead`]. What is
    /// not data may be sealed past the limit: the few words that end the use of a key.
    pub(super) fn seal(&mut self, content: Content, record: &mut [u8]) -> Result<(), Fault> {
        let (at, length) = (self.plain_at(), record.len() - self.overhead());
        if length > PLAIN {
            return Err(Fault::TooLong);
        }
        let next = self.number.checked_add(1).ok_or(Fault::WornOut)?;
        if content == Content::Data && self.number >= self.limit() {
            return Err(Fault::WornOut);
        }
        let nonce = self.nonce();
        let (inner, outer) = match self.version {
            Version::Tls13 => (&[content as u8][..], Content::Data),
            Version::Tls12 => (&[][..], content),
        };
        let (front, rest) = record.split_at_mut(at);
        front[0] = outer as u8;
        front[1..3].copy_from_slice(&ON_THE_WIRE);
        front[3..HEADER].copy_from_slice(&length_of(at - HEADER + rest.len()));
        front[HEADER..].copy_from_slice(&nonce[aead::NONCE_LEN - (at - HEADER)..]);
        let aad = self.aad(&front[..HEADER], length);
        let (plain, tail) = rest.split_at_mut(length);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.key.seal_in_place_scatter(nonce, Aad::from(self.aad_of(&aad)), plain, inner, tail);
        sealed.map_err(|_| Fault::WornOut)?;
        self.number = next;
        Ok(())
    }

    /// Opens a whole `record` where it is: of what kind it is, and its plaintext.
    pub(super) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<(Content, &'a [u8]), Fault> {
        let next = self.number.checked_add(1).ok_or(Fault::WornOut)?;
        let at = self.plain_at();
        let length = record.len().checked_sub(at + TAG).ok_or(Fault::BadRecord)?;
        // In TLS 1.3 padding and kind are a part of it (RFC 8446, section 5.4).
        if length > PLAIN + usize::from(self.version == Version::Tls13) {
            return Err(Fault::TooLong);
        }
        let (front, sealed) = record.split_at_mut(at);
        let mut nonce = self.nonce();
        let explicit = &front[HEADER..];
        nonce[aead::NONCE_LEN - explicit.len()..].copy_from_slice(explicit);
        let aad = self.aad(&front[..HEADER], length);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(self.aad_of(&aad)), sealed);
        let inner = &*opened.map_err(|_| Fault::BadRecord)?;
        self.number = next;
        let (kind, plain) = match self.version {
            Version::Tls12 => (front[0], inner),
            // The last byte that is not padding (RFC 8446, section 5.4).
            Version::Tls13 => {
                let at = inner.iter().rposition(|byte| *byte != 0).ok_or(Fault::NoContent)?;
                (inner[at], &inner[..at])
            }
        };
        Ok((Content::of(kind).ok_or(Fault::NoContent)?, plain))
    }

    fn nonce(&self) -> [u8; aead::NONCE_LEN] {
        let mut nonce = *self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// What is sealed along with the plaintext, behind what only TLS 1.2 has.
    fn aad(&self, header: &[u8], length: usize) -> [u8; NUMBER + HEADER] {
        let mut aad = [0; NUMBER + HEADER];
        aad[..NUMBER].copy_from_slice(&self.number.to_be_bytes());
        aad[NUMBER..].copy_from_slice(header);
        if self.version == Version::Tls12 {
            aad[NUMBER + 3..].copy_from_slice(&length_of(length));
        }
        aad
    }

    /// The header of the record (RFC 8446, section 5.2), in TLS 1.2 behind its number and with the length of the
    /// plaintext (RFC 5246, section 6.2.3.3).
    fn aad_of<'a>(&self, aad: &'a [u8; NUMBER + HEADER]) -> &'a [u8] {
        if self.version == Version::Tls12 { aad } else { &aad[NUMBER..] }
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

/// The key and the iv of a traffic secret (RFC 8446, section 7.3).
pub(super) fn traffic_key(
    suite: Suite,
    secret: &[u8],
) -> (Zeroizing<Vec<u8>>, Zeroizing<[u8; aead::NONCE_LEN]>) {
    let mut key = Zeroizing::new(vec![0; suite.algorithm().key_len()]);
    expand_label(suite, secret, b"key", &mut key);
    let mut iv = Zeroizing::new([0; aead::NONCE_LEN]);
    expand_label(suite, secret, b"iv", &mut iv[..]);
    (key, iv)
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
