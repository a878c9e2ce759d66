//! A record layer of its own, with nothing of `keys`, that seals whatever it is told to.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;

use crate::handover::record::Half;

pub(super) struct Oracle {
    suite: u16,
    /// TLS 1.3.
    secret: Vec<u8>,
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Oracle {
    pub(super) fn new(suite: u16, half: &Half) -> Oracle {
        let algorithm = match suite {
            0x1301 | 0xc02b | 0xc02f => &aead::AES_128_GCM,
            0x1302 | 0xc02c | 0xc030 => &aead::AES_256_GCM,
            _ => &aead::CHACHA20_POLY1305,
        };
        let (key, iv) = if suite >> 8 == 0x13 {
            let key = expand_label(suite, &half.secret, "key", algorithm.key_len());
            (key, expand_label(suite, &half.secret, "iv", 12))
        } else {
            (half.secret.to_vec(), half.iv.to_vec())
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap());
        let iv = iv.try_into().unwrap();
        Oracle { suite, secret: half.secret.to_vec(), key, iv, number: half.number }
    }

    /// RFC 8446, section 7.2.
    pub(super) fn update(&mut self) {
        let secret = expand_label(self.suite, &self.secret, "traffic upd", self.secret.len());
        *self = Oracle::new(self.suite, &Half { secret: secret[..].into(), ..Half::default() });
    }

    pub(super) fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut inner = content.to_vec();
        let mut header = vec![23, 3, 3];
        let mut explicit = vec![];
        let mut nonce = self.nonce();
        let aad = if self.suite >> 8 == 0x13 {
            inner.push(kind);
            inner.extend(vec![0; padding]);
            header.extend(u16::try_from(inner.len() + 16).unwrap().to_be_bytes());
            header.clone()
        } else {
            header[0] = kind;
            let mut aad = [&self.number.to_be_bytes()[..], &header].concat();
            aad.extend(u16::try_from(inner.len()).unwrap().to_be_bytes());
            if self.is_explicit() {
                // As somebody who chooses it freely does.
                explicit = (self.number ^ 0xface).to_be_bytes().to_vec();
                nonce[4..].copy_from_slice(&explicit);
            }
            header.extend(u16::try_from(explicit.len() + inner.len() + 16).unwrap().to_be_bytes());
            aad
        };
        self.number += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut inner).unwrap();
        [header, explicit, inner].concat()
    }

    /// The kind and the content of a record.
    fn open(&mut self, record: &[u8]) -> (u8, Vec<u8>) {
        let (header, body) = record.split_at(5);
        assert_eq!(header[1..3], [3, 3], "RFC 8446, section 5.1");
        let mut nonce = self.nonce();
        let mut inner = body.to_vec();
        let aad = if self.suite >> 8 == 0x13 {
            header.to_vec()
        } else {
            if self.is_explicit() {
                inner = inner.split_off(8);
                nonce[4..].copy_from_slice(&body[..8]);
            }
            let length = u16::try_from(inner.len() - 16).unwrap().to_be_bytes();
            [&self.number.to_be_bytes(), &header[..3], &length].concat()
        };
        self.number += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let mut inner = self.key.open_in_place(nonce, Aad::from(aad), &mut inner).unwrap().to_vec();
        let kind = if self.suite >> 8 == 0x13 { inner.pop().unwrap() } else { header[0] };
        (kind, inner)
    }

    /// All records in this, by the next key after each KeyUpdate.
    pub(super) fn listen(&mut self, mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut heard = Vec::new();
        while !bytes.is_empty() {
            let length = 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
            let (record, rest) = bytes.split_at(length);
            let (kind, content) = self.open(record);
            if (kind, content.first()) == (22, Some(&24)) {
                self.update();
            }
            heard.push((kind, content));
            bytes = rest;
        }
        heard
    }

    fn is_explicit(&self) -> bool {
        !matches!(self.suite, 0xcca8 | 0xcca9)
    }

    fn nonce(&self) -> [u8; 12] {
        let number = [&[0; 4][..], &self.number.to_be_bytes()].concat();
        std::array::from_fn(|at| self.iv[at] ^ number[at])
    }
}

/// RFC 8446, section 7.1 and RFC 5869, section 2.3, for what is no longer than the hash.
fn expand_label(suite: u16, secret: &[u8], label: &str, length: usize) -> Vec<u8> {
    let algorithm = if suite == 0x1302 { hmac::HMAC_SHA384 } else { hmac::HMAC_SHA256 };
    let label = format!("tls13 {label}");
    let length_of = |length: usize| u8::try_from(length).unwrap();
    let mut info = vec![0, length_of(length), length_of(label.len())];
    info.extend(label.as_bytes());
    info.extend([0, 1]);
    hmac::sign(&hmac::Key::new(algorithm, secret), &info).as_ref()[..length].to_vec()
}
