//! TLS as the load client speaks it: rustls from the first byte to the last, never hitless' own records.
//!
//! Promises: a ticket is offered once, the oldest first, so that sessions from before a change are offered long
//! after it. What a server says wrong is told; nothing is tried again with less.
//! Must not know: what is asked for, or how losses are counted.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, NamedGroup, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::{Kind, Loss};
use super::options::{Tls, Trust};
use super::socket::{Now, Socket};

/// What Debian's ca-certificates makes of all authorities that this host trusts.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Of one name. What comes beyond is not taken: the oldest are to be offered first.
const TICKETS: usize = 256;

/// What all handshakes of one load share.
pub struct Handshakes {
    name: Option<String>,
    usual: TlsConnector,
    old: TlsConnector,
    old_every: u32,
    made: Cell<u32>,
}

/// How a connection was secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    /// Without a certificate: an earlier session was taken up again.
    pub resumed: bool,
    /// The certificate's SHA-256 digest; of the first handshake, when the session was resumed.
    pub certificate: String,
}

impl Handshakes {
    /// `protocol` is offered by ALPN, RFC 7301.
    ///
    /// # Errors
    /// When the trusted certificates cannot be read.
    pub fn ready(tls: &Tls, protocol: &[u8]) -> io::Result<Handshakes> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verifier(&tls.trust, &provider)?;
        let connector = |versions: &[&'static SupportedProtocolVersion]| {
            let config = ClientConfig::builder_with_provider(provider.clone());
            let config = config.with_protocol_versions(versions).map_err(io::Error::other)?;
            let config = config.dangerous().with_custom_certificate_verifier(verifier.clone());
            let mut config = config.with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            config.resumption = match tls.resume {
                true => Resumption::store(Arc::new(Sessions::default())),
                false => Resumption::disabled(),
            };
            io::Result::Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Handshakes {
            name: tls.name.clone(),
            usual: connector(&[&rustls::version::TLS13, &rustls::version::TLS12])?,
            old: connector(&[&rustls::version::TLS12])?,
            old_every: tls.old_every,
            made: Cell::new(0),
        })
    }

    /// `host` is the one that is asked for, with its port if it has one.
    pub async fn shake(&self, socket: Socket, host: &str) -> Result<Box<TlsStream<Socket>>, Loss> {
        let name = self.name.as_deref().unwrap_or_else(|| without_port(host));
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Loss::new(Kind::Client, format!("'{name}' is no name that a certificate can have"))
        })?;
        let made = self.made.get() + 1;
        self.made.set(made);
        let old = self.old_every > 0 && made.is_multiple_of(self.old_every);
        let connector = if old { &self.old } else { &self.usual };
        match connector.connect(name, socket).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Loss::new(Kind::Eof, "closed within the handshake of TLS"))
            }
            Err(error) => Err(Loss::of(&error)),
        }
    }
}

fn without_port(host: &str) -> &str {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |it| it.0);
    name.trim_start_matches('[').trim_end_matches(']')
}

pub fn secured(stream: &TlsStream<Socket>) -> Secured {
    let (_, session) = stream.get_ref();
    let digest = |leaf: &CertificateDer<'_>| -> [u8; 32] { Sha256::digest(leaf).into() };
    let leaf = session.peer_certificates().and_then(|chain| chain.first()).map(digest).unwrap_or_default();
    Secured {
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        certificate: leaf.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// How the connection ended while nothing was asked; `None` while it is open and silent. Tickets and new keys,
/// which a server may send at any time, are taken.
pub fn ended(stream: &mut TlsStream<Socket>) -> Option<Kind> {
    let (socket, session) = stream.get_mut();
    loop {
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() > 0 => return Some(Kind::Malformed),
            Ok(state) if state.peer_has_closed() => return Some(Kind::Eof),
            Ok(_) => {}
            Err(_) => return Some(Kind::Tls),
        }
        match session.read_tls(&mut Now(socket)) {
            Ok(0) => return Some(Kind::Unclosed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(Loss::of(&error).kind),
        }
    }
}

/// Says that nothing more comes (RFC 8446, section 6.1), as far as that is possible at once.
pub fn close(stream: &mut TlsStream<Socket>) {
    let (socket, session) = stream.get_mut();
    session.send_close_notify();
    while session.wants_write() && session.write_tls(&mut Now(socket)).is_ok_and(|count| count > 0) {}
}

fn verifier(trust: &Trust, provider: &Arc<CryptoProvider>) -> io::Result<Arc<dyn ServerCertVerifier>> {
    let file = match trust {
        Trust::Anyone => return Ok(Arc::new(Anyone(provider.signature_verification_algorithms))),
        Trust::System => SYSTEM.as_ref(),
        Trust::File(path) => path.as_path(),
    };
    let wrong = |why: String| io::Error::other(format!("cannot read '{}': {why}", file.display()));
    let text = fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add_parsable_certificates([certificate.map_err(|error| wrong(error.to_string()))?]);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
    Ok(verifier.build().map_err(|error| wrong(error.to_string()))?)
}

/// Believes every certificate, but not one whose key the server does not have.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Sessions to resume. rustls' own store has room for eight tickets of a name, the newest: a burst of new
/// connections empties it, and one that comes after a restart would hardly offer a ticket from before.
#[derive(Debug)]
struct Sessions {
    others: ClientSessionMemoryCache,
    tickets: Mutex<HashMap<ServerName<'static>, VecDeque<Tls13ClientSessionValue>>>,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions { others: ClientSessionMemoryCache::new(TICKETS), tickets: Mutex::default() }
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.others.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.others.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.others.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.others.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.others.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = tickets.entry(name).or_default();
        if of_name.len() < TICKETS {
            of_name.push_back(ticket);
        }
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.get_mut(name)?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_stands_before_the_port() {
        for (host, name) in
            [("a.example", "a.example"), ("a.example:8443", "a.example"), ("[::1]:8443", "::1")]
        {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn certificates_that_cannot_be_read_are_told_with_their_file() {
        let tls = Tls { trust: Trust::File("/nowhere/ca.pem".into()), ..Tls::default() };
        let error = Handshakes::ready(&tls, b"h2").err().unwrap().to_string();
        assert!(error.starts_with("cannot read '/nowhere/ca.pem': "), "{error}");
    }
}
