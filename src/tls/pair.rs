//! A certificate chain and its key, as files say them.
//!
//! Promises: a pair that is accepted can make a handshake that a client of its names has no reason to refuse: it is
//! whole, in order, of one key, and the time is right for it. A pair that is not has one message, with what to do.
//! Must not know: where the files are from, who is served with it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::der::{Certificate, Name};
use super::material::{Fault, Material};
use crate::config::settings::Place;
use crate::handover::secret::Secret;

#[derive(Debug)]
pub(super) struct Pair {
    certified: Arc<CertifiedKey>,
    facts: Certificate,
}

impl Material for Pair {
    const SECRET: Option<usize> = Some(1);

    fn check(places: &[Place], contents: &[Secret]) -> Result<Pair, Fault> {
        // INVARIANT: a pair is opened with two places, and contents are as many as places.
        let ([chain_place, key_place], [chain, key]) = (places, contents) else {
            unreachable!("a pair is two files")
        };
        let chain = certificates(chain_place, chain)?;
        let facts = in_order(chain_place, &chain)?;
        let key = private_key(key_place, key)?;
        let key = any_supported_type(&key).map_err(|_| {
            Fault::new(
                key_place,
                "the key is of a kind that TLS does not use, or damaged",
                "use an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 to 8192 bits) key",
            )
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Pair { certified: Arc::new(certified), facts }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(Fault::new(
                key_place,
                format!("the key is of another certificate than the one in {chain_place}"),
                "name the key that this certificate was made for",
            )),
            Err(_) => Err(unreadable(chain_place, 1)),
        }
    }

    fn timely(&self, places: &[Place], now: SystemTime) -> Result<(), Fault> {
        let now = seconds(now);
        let date =
            |at: i64| jiff::Timestamp::from_second(at).map_or_else(|_| "?".into(), |at| at.to_string());
        if now > self.facts.not_after {
            let found = format!("the certificate has expired, on {}", date(self.facts.not_after));
            return Err(Fault::new(&places[0], found, "renew it"));
        }
        if now < self.facts.not_before {
            let found = format!("the certificate is not valid before {}", date(self.facts.not_before));
            return Err(Fault::new(&places[0], found, "look at the clock of this host, or wait"));
        }
        Ok(())
    }
}

impl Pair {
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// Whether it is for this host, by its own name or a wildcard (RFC 9525, section 6.3).
    pub fn covers(&self, host: &str) -> bool {
        let below = host.split_once('.').map(|(_, below)| below);
        self.facts.names.iter().any(|name| match name {
            Name::Dns(name) => {
                name == host || (name.strip_prefix("*.").is_some_and(|suffix| Some(suffix) == below))
            }
            Name::Ip(address) => host.parse() == Ok(*address),
            Name::Other(_) => false,
        })
    }

    /// Whether a client with these signatures can be shown it.
    pub fn suits(&self, schemes: &[SignatureScheme]) -> bool {
        self.certified.key.choose_scheme(schemes).is_some()
    }

    /// Whether its signatures cost more than those of others.
    pub fn is_slow(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    pub fn names(&self) -> Vec<String> {
        self.facts.names.iter().map(ToString::to_string).collect()
    }

    /// Seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.facts.not_after
    }
}

pub(super) fn seconds(now: SystemTime) -> i64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// All certificates of a file in PEM.
pub(super) fn certificates(place: &Place, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let sections = sections(place, content, "openssl x509 -inform DER -in OLD -out NEW")?;
    let keys = sections.iter().any(|(kind, _)| is_key(*kind));
    let certificates: Vec<_> = sections
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
        .collect();
    if certificates.is_empty() {
        let found = if keys { "found a key, and no certificate" } else { "found no certificate in it" };
        let remedy =
            if keys { "look whether 'chain' and 'key' are swapped" } else { "name the file of the chain" };
        return Err(Fault::new(place, found, remedy));
    }
    Ok(certificates)
}

fn is_key(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
}

type Section = (SectionKind, Vec<u8>);

/// The parts of a file in PEM (RFC 7468).
fn sections(place: &Place, content: &[u8], convert: &str) -> Result<Vec<Section>, Fault> {
    if content.trim_ascii().is_empty() {
        return Err(Fault::new(
            place,
            "the file is empty",
            "write it again, and rename it into place when it is whole",
        ));
    }
    if !content.windows(11).any(|window| window == b"-----BEGIN ") {
        let convert = format!("convert it: {convert}");
        return Err(Fault::new(place, "found no PEM in it", convert));
    }
    let parts: Result<Vec<Section>, pem::Error> = <Section as PemObject>::pem_slice_iter(content).collect();
    parts.map_err(|error| {
        let found = match error {
            pem::Error::MissingSectionEnd { .. } => "the file ends in the middle",
            _ => "the file is damaged: what is in it is no base64",
        };
        Fault::new(place, found, "write it again, and rename it into place when it is whole")
    })
}

/// The facts of the leaf, when each certificate is signed by the next one, by its name.
fn in_order(place: &Place, chain: &[CertificateDer<'static>]) -> Result<Certificate, Fault> {
    let read = |(index, der): (usize, &CertificateDer<'_>)| {
        Certificate::read(der).ok_or_else(|| unreadable(place, index + 1))
    };
    let facts = chain.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    for (index, two) in facts.windows(2).enumerate() {
        if two[0].issuer != two[1].subject {
            return Err(Fault::new(
                place,
                format!("certificate {} in it is not signed by certificate {}", index + 1, index + 2),
                "put the certificate of the server first, and behind each the one that signed it",
            ));
        }
    }
    // INVARIANT: a chain is not empty.
    facts.into_iter().next().ok_or_else(|| unreadable(place, 1))
}

fn unreadable(place: &Place, number: usize) -> Fault {
    Fault::new(
        place,
        format!("certificate {number} in it is no X.509 certificate"),
        "write it again, and rename it into place when it is whole",
    )
}

fn private_key(place: &Place, content: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    let says = |words: &[u8]| content.windows(words.len()).any(|window| window == words);
    if says(b"BEGIN ENCRYPTED PRIVATE KEY") || says(b"Proc-Type: 4,ENCRYPTED") {
        return Err(Fault::new(
            place,
            "the key is encrypted, and nobody types its passphrase when the daemon starts",
            "store it without one, for the daemon alone: openssl pkey -in OLD -out NEW",
        ));
    }
    let sections = sections(place, content, "openssl pkey -inform DER -in OLD -out NEW")?;
    let certificates =
        !sections.is_empty() && sections.iter().all(|(kind, _)| *kind == SectionKind::Certificate);
    let key = sections.into_iter().find_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
    key.ok_or_else(|| match certificates {
        true => {
            Fault::new(place, "found a certificate, and no key", "look whether 'chain' and 'key' are swapped")
        }
        false => Fault::new(place, "found no private key in it", "name the file of the key"),
    })
}
