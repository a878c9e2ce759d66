//! A client of rustls: what it offers, and whom it trusts.
//!
//! Promises: nothing is offered that a test has not asked for, but what rustls offers anyway; nothing is resumed unless
//! a test keeps the client's memory.
//! Must not know: sockets.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, SupportedProtocolVersion, version,
};

use crate::pki::{Authority, Pair};

#[derive(Clone)]
pub struct Client {
    /// `None`: anybody, under any name.
    trusts: Option<CertificateDer<'static>>,
    versions: &'static [&'static SupportedProtocolVersion],
    suite: Option<CipherSuite>,
    signatures: Option<&'static [SignatureScheme]>,
    protocols: &'static [&'static str],
    shows: Option<Pair>,
    memory: Option<Memory>,
}

/// rustls resumes a session only with the very verifier that it began with, so the configuration is kept as well.
type Memory = Arc<OnceLock<Arc<ClientConfig>>>;

pub const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
pub const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

impl Client {
    pub fn trusting(root: &Authority) -> Client {
        Client { trusts: Some(root.certificate()), ..Client::trusting_anybody() }
    }

    /// To see which certificate comes, whoever it is for.
    pub fn trusting_anybody() -> Client {
        Client {
            trusts: None,
            versions: rustls::ALL_VERSIONS,
            suite: None,
            signatures: None,
            protocols: &[],
            shows: None,
            memory: None,
        }
    }

    pub fn speaking(self, versions: &'static [&'static SupportedProtocolVersion]) -> Client {
        Client { versions, ..self }
    }

    /// With this one cipher suite.
    pub fn with(self, suite: CipherSuite) -> Client {
        Client { suite: Some(suite), ..self }
    }

    /// That can check only these signatures of a handshake.
    pub fn checking(self, signatures: &'static [SignatureScheme]) -> Client {
        Client { signatures: Some(signatures), ..self }
    }

    pub fn offering(self, protocols: &'static [&'static str]) -> Client {
        Client { protocols, ..self }
    }

    pub fn showing(self, pair: &Pair) -> Client {
        Client { shows: Some(pair.clone()), ..self }
    }

    /// That resumes where it has been before; its copies share what they know.
    pub fn remembering(self) -> Client {
        Client { memory: Some(Memory::default()), ..self }
    }

    pub fn config(&self) -> ClientConfig {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(suite) = self.suite {
            provider.cipher_suites.retain(|one| one.suite() == suite);
        }
        let provider = Arc::new(provider);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(self.versions).unwrap();
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Verifier {
            inner: self.trusts.as_ref().map(|root| {
                let mut roots = RootCertStore::empty();
                roots.add(root.clone()).unwrap();
                let roots = Arc::new(roots);
                rustls::client::WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .unwrap()
            }),
            signatures: self.signatures,
            provider,
        });
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &self.shows {
            Some(pair) => builder.with_client_auth_cert(pair.certificates(), pair.private_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = match &self.memory {
            Some(_) => Resumption::in_memory_sessions(64),
            None => Resumption::disabled(),
        };
        config
    }

    /// A connection that has said nothing yet; without a name the extension is not sent.
    pub fn tls(&self, name: Option<&str>) -> ClientConnection {
        let fresh = || {
            let mut config = self.config();
            config.enable_sni = name.is_some();
            Arc::new(config)
        };
        let config = match &self.memory {
            Some(memory) => Arc::clone(memory.get_or_init(fresh)),
            None => fresh(),
        };
        let name = ServerName::try_from(name.unwrap_or("nobody.test").to_owned()).unwrap();
        ClientConnection::new(config, name).unwrap()
    }
}

#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<rustls::client::WebPkiServerVerifier>>,
    signatures: Option<&'static [SignatureScheme]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.inner {
            Some(inner) => inner.verify_server_cert(leaf, between, name, ocsp, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = || self.provider.signature_verification_algorithms.supported_schemes();
        self.signatures.map_or_else(all, <[SignatureScheme]>::to_vec)
    }
}
