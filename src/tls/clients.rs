//! Clients that prove by a certificate who they are.
//!
//! Promises: whoever is asked for a certificate and shows one has shown one that is signed by the authorities of the
//! service; [`identity`] is a field value that a client cannot bend.
//! Must not know: which field an application reads it from.

use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::der::Certificate;
use super::material::{Fault, Material};
use super::pair;
use crate::config::settings::{Clients, Place};
use crate::handover::secret::Secret;

/// The authorities that clients' certificates are from.
#[derive(Debug)]
pub(super) struct Authorities {
    roots: Arc<RootCertStore>,
    /// Of the whole bundle.
    print: Vec<u8>,
}

impl Material for Authorities {
    const SECRET: Option<usize> = None;

    fn check(places: &[Place], contents: &[Secret]) -> Result<Authorities, Fault> {
        let place = &places[0];
        let mut roots = RootCertStore::empty();
        for (index, authority) in pair::certificates(place, &contents[0])?.into_iter().enumerate() {
            roots.add(authority).map_err(|_| {
                let found = format!("certificate {} in it is no authority that can be used", index + 1);
                Fault::new(place, found, "put certificates of authorities there, and nothing else")
            })?;
        }
        let print = digest::digest(&digest::SHA256, &contents[0]).as_ref().to_vec();
        Ok(Authorities { roots: Arc::new(roots), print })
    }
}

impl Authorities {
    pub fn print(&self) -> &[u8] {
        &self.print
    }

    pub fn verifier(&self, clients: Clients) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let roots = Arc::clone(&self.roots);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, super::directory::provider());
        let builder = if clients == Clients::Optional { builder.allow_unauthenticated() } else { builder };
        builder.build().map(|verifier| verifier as _).map_err(|error| error.to_string())
    }
}

/// Who a client has proven to be: the common name of its certificate, or else its first alternative name, and the SHA-256
/// of the certificate: `alice; sha256=9f86…`. What is not a letter, a digit or one of `-._@` is written as in a URL.
pub fn identity(chain: &[CertificateDer<'_>]) -> Option<String> {
    let leaf = chain.first()?;
    let facts = Certificate::read(leaf);
    let name =
        facts.and_then(|facts| facts.common_name.or_else(|| facts.names.first().map(ToString::to_string)));
    let mut text = String::new();
    for byte in name.unwrap_or_default().bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'@' => {
                text.push(char::from(byte))
            }
            // INVARIANT: writing to a string does not fail.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text.push_str("; sha256=");
    for byte in digest::digest(&digest::SHA256, leaf).as_ref() {
        _ = write!(text, "{byte:02x}");
    }
    Some(text)
}
