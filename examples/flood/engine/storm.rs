//! What an offender says inside of TLS that no library would say, or not as often.
//!
//! ```text
//!   handshake by rustls ─▶ its keys ─▶ any record, again and again
//! ```
//! Promises: sound records, as far as sealing goes, of any content; nothing that comes back is opened.
//! Must not know: what becomes of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, DigitallySignedStruct, Error,
    ProtocolVersion, SignatureScheme, StreamOwned, SupportedCipherSuite, version,
};

/// What is said again and again.
#[derive(Clone, Copy, PartialEq)]
pub enum Storm {
    /// Records without content.
    Empty,
    /// KeyUpdate, each asking for another one.
    KeyUpdates,
    /// TLS 1.2: ClientHello after the handshake.
    Renegotiation,
}

/// One connection of an offender.
pub struct Stormy {
    storm: Storm,
    tls: ClientConnection,
    sealer: Option<Sealer>,
}

struct Sealer {
    cipher: Box<dyn MessageEncrypter>,
    number: u64,
}

/// The first words of a client.
pub fn client_hello() -> Vec<u8> {
    let mut hello = vec![];
    if let Ok(mut client) = client(Storm::Empty) {
        // Writing to memory does not fail.
        let _ = client.write_tls(&mut hello);
    }
    hello
}

/// A client that trusts anybody, for the calm.
pub fn connect(socket: TcpStream) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut stream = StreamOwned::new(client(Storm::KeyUpdates)?, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn client(storm: Storm) -> anyhow::Result<ClientConnection> {
    let mut provider = aws_lc_rs::default_provider();
    // Of each version the suite whose keys are the easiest to go on with.
    provider.cipher_suites = vec![
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    let versions = if storm == Storm::Renegotiation { &version::TLS12 } else { &version::TLS13 };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[versions])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from("calm.test")?)?)
}

impl Stormy {
    /// Shakes hands.
    pub fn start(storm: Storm, socket: &mut TcpStream) -> anyhow::Result<Stormy> {
        let mut tls = client(storm)?;
        while tls.is_handshaking() {
            tls.complete_io(socket)?;
        }
        if storm == Storm::KeyUpdates {
            return Ok(Stormy { storm, tls, sealer: None });
        }
        let suite = tls.negotiated_cipher_suite().context("no suite")?;
        let (number, secrets) = tls.dangerous_extract_secrets()?.tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else { bail!("another suite") };
        let cipher = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => suite.aead_alg.encrypter(key, iv.as_ref(), &[]),
        };
        // The connection is another one from now on; rustls' is not used any more.
        Ok(Stormy { storm, tls: client(storm)?, sealer: Some(Sealer { cipher, number }) })
    }

    /// What comes next.
    pub fn unit(&mut self) -> Vec<u8> {
        let hello;
        let (content, payload) = match self.storm {
            Storm::KeyUpdates => return self.key_update().unwrap_or_default(),
            Storm::Empty => (ContentType::ApplicationData, &[][..]),
            Storm::Renegotiation => {
                hello = client_hello();
                // Without the header of its record.
                (ContentType::Handshake, hello.get(5..).unwrap_or_default())
            }
        };
        self.sealer.as_mut().and_then(|sealer| sealer.seal(content, payload)).unwrap_or_default()
    }

    fn key_update(&mut self) -> Option<Vec<u8>> {
        let mut said = vec![];
        self.tls.refresh_traffic_keys().ok()?;
        while self.tls.wants_write() {
            self.tls.write_tls(&mut said).ok()?;
        }
        Some(said)
    }
}

impl Sealer {
    fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Option<Vec<u8>> {
        let payload = OutboundChunks::Single(payload);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let sealed = self.cipher.encrypt(message, self.number).ok()?;
        self.number += 1;
        Some(sealed.encode())
    }
}

/// Something to read from and to write to.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// Who is asked is known: it was started a moment ago.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
