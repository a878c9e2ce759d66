//! What handshakes with the endpoints of a service are made with: whom they trust, and who they say that we are.
//!
//! ```text
//!   endpoint-tls.{ca, certificate, key} ─read─▶ Outward ─on each data thread─▶ rustls::ClientConfig ─▶ dial
//! ```
//! Promises: everything is looked at when it is read, and all that is wrong is told with its key. Nobody is trusted whom
//! the operator has not named, unless by the system's list. Two of one content are equal, so that connections outlive a
//! reload that changed nothing. Sessions are resumed on one thread only, so that threads share no lock.
//! Must not know: sockets, endpoints.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use zeroize::Zeroizing;

use super::handshake::Keys;
use crate::config::settings::{Address, EndpointTls, Pair, Place, Protocol, Service, Settings};

/// The authorities of a Debian system (update-ca-certificates(8)).
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The biggest file that is read.
const LARGEST: u64 = 4 << 20;
/// Sessions that are remembered, by thread and service.
const SESSIONS: usize = 64;

/// What handshakes with the endpoints of one service are made with.
#[derive(Clone, Debug)]
pub struct Outward {
    config: ClientConfig,
    name: Option<ServerName<'static>>,
    /// Of all that was read.
    print: [u8; digest::SHA256_OUTPUT_LEN],
}

impl PartialEq for Outward {
    fn eq(&self, other: &Outward) -> bool {
        self.name == other.name && self.print == other.print
    }
}

/// Of every service, in their order, what its endpoints are dialled with: `None` where there is no TLS, or where
/// something is wrong with it. All of that, each with its key and what to do.
pub fn outward(settings: &Settings) -> (Vec<Option<Arc<Outward>>>, Vec<String>) {
    let mut system = None;
    let mut wrong = Vec::new();
    let read = settings.services.iter().map(|service| {
        if service.protocol != Protocol::Https {
            return None;
        }
        let read = Outward::read(service, &mut system);
        read.map(Arc::new).map_err(|errors| wrong.extend(errors)).ok()
    });
    (read.collect(), wrong)
}

/// The system's authorities, when somebody has asked for them.
type System = Option<Result<Authorities, String>>;

#[derive(Clone)]
struct Authorities {
    roots: Arc<RootCertStore>,
    print: [u8; digest::SHA256_OUTPUT_LEN],
}

impl Outward {
    fn read(service: &Service, system: &mut System) -> Result<Outward, Vec<String>> {
        let tls = &service.endpoint_tls;
        let mut wrong = Vec::new();
        let mut note = |key: &str, error: String| {
            wrong.push(format!("service.{}.endpoint-tls.{key}: {error}", service.name));
        };
        let name = tls.name.as_ref().and_then(|name| match server_name(name) {
            Ok(name) => Some(name),
            Err(error) => {
                note("name", error);
                None
            }
        });
        if name.is_none() {
            for endpoint in &service.endpoints {
                if let Address::Name { host, .. } = &endpoint.address
                    && let Err(error) = server_name(host)
                {
                    note("name", error);
                }
            }
        }
        let trusted = match (tls.verify, &tls.ca) {
            (false, _) => Ok(None),
            (true, Some(place)) => authorities(place).map(Some),
            (true, None) => {
                let place = || authorities(&Place::File(PathBuf::from(SYSTEM)));
                system.get_or_insert_with(place).clone().map(Some).map_err(|error| {
                    format!("{error}; install the package ca-certificates, or name a file of your own")
                })
            }
        };
        let trusted = trusted.map_err(|error| note("ca", error)).ok().flatten();
        let shown =
            tls.pair.as_ref().and_then(|pair| shown(pair).map_err(|(key, error)| note(key, error)).ok());
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Outward::new(tls, name, trusted, shown)
            .map_err(|error| vec![format!("service.{}.endpoint-tls.certificate: {error}", service.name)])
    }

    fn new(
        tls: &EndpointTls,
        name: Option<ServerName<'static>>,
        trusted: Option<Authorities>,
        shown: Option<Shown>,
    ) -> Result<Outward, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let versions = versions.map_err(|error| error.to_string())?;
        let mut print = digest::Context::new(&digest::SHA256);
        print.update(&[u8::from(tls.verify)]);
        let verifier: Arc<dyn ServerCertVerifier> = match trusted {
            None => Arc::new(Anybody(Arc::clone(&provider))),
            Some(Authorities { roots, print: of_roots }) => {
                print.update(&of_roots);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                verifier.map_err(|error| error.to_string())?
            }
        };
        let verified = versions.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match shown {
            None => verified.with_no_client_auth(),
            Some(Shown { chain, key, print: of_pair }) => {
                print.update(&of_pair);
                verified.with_client_auth_cert(chain, key).map_err(|error| match error {
                    Error::InconsistentKeys(_) => {
                        "it is not the certificate of endpoint-tls.key; write the two that belong together"
                            .to_owned()
                    }
                    other => format!("cannot use it: {other}"),
                })?
            }
        };
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Keys);
        let print = print.finish().as_ref().try_into().map_err(|_| "its digest has another length")?;
        Ok(Outward { config, name, print })
    }

    /// For one thread, with a memory for sessions of its own.
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Arc::new(config)
    }

    /// What an endpoint at `address` must be called. On a Unix socket it may have no name when nobody looks: an address is
    /// not asked for.
    pub fn name_of(&self, address: &Address) -> Option<ServerName<'static>> {
        match (&self.name, address) {
            (Some(name), _) => Some(name.clone()),
            (None, Address::Ip(address)) => Some(ServerName::from(address.ip())),
            (None, Address::Name { host, .. }) => server_name(host).ok(),
            (None, Address::Unix(_)) => Some(ServerName::from(std::net::Ipv4Addr::LOCALHOST)),
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("'{name}' is no name that a certificate can have; write the one that it has"))
}

fn authorities(place: &Place) -> Result<Authorities, String> {
    let text = read(place)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| not_pem(place, &error))?;
        // The system's list may hold what webpki does not understand.
        if let Err(error) = roots.add(certificate)
            && *place != Place::File(PathBuf::from(SYSTEM))
        {
            return Err(format!("'{place}' holds a certificate that cannot be used: {error}; remove it"));
        }
    }
    if roots.is_empty() {
        return Err(format!(
            "'{place}' holds no certificate; write it in PEM, beginning with BEGIN CERTIFICATE"
        ));
    }
    Ok(Authorities { roots: Arc::new(roots), print: print_of(&text) })
}

struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    print: [u8; digest::SHA256_OUTPUT_LEN],
}

/// What is wrong comes with its key.
fn shown(pair: &Pair) -> Result<Shown, (&'static str, String)> {
    let text = read(&pair.chain).map_err(|error| ("certificate", error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| ("certificate", not_pem(&pair.chain, &error)))?;
    if chain.is_empty() {
        let error = format!(
            "'{}' holds no certificate; write it in PEM, beginning with BEGIN CERTIFICATE",
            pair.chain
        );
        return Err(("certificate", error));
    }
    let secret = read(&pair.key).map_err(|error| ("key", error))?;
    let key = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| {
        let remedy = "write it in PEM, without a passphrase, beginning with BEGIN PRIVATE KEY";
        ("key", format!("'{}' holds no key; {remedy}", pair.key))
    })?;
    if let Place::File(path) = &pair.key
        && let Some(mode) = open_to_others(path)
    {
        let remedy = format!("chmod 640 {}", path.display());
        return Err(("key", format!("'{}' can be read by everybody (mode {mode:03o}); {remedy}", pair.key)));
    }
    let mut both = Zeroizing::new(text.to_vec());
    both.extend_from_slice(&secret);
    Ok(Shown { chain, key, print: print_of(&both) })
}

/// The mode of a file that anybody may read.
fn open_to_others(path: &Path) -> Option<u32> {
    let mode = path.metadata().ok()?.mode() & 0o777;
    (mode & 0o004 != 0).then_some(mode)
}

fn print_of(bytes: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut print = [0; digest::SHA256_OUTPUT_LEN];
    print.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    print
}

fn not_pem(place: &Place, error: &dyn Display) -> String {
    format!("'{place}' is not PEM: {error}; write it anew")
}

fn read(place: &Place) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = match place {
        Place::File(path) => path.clone(),
        Place::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(folder) => Path::new(&folder).join(name),
            None => {
                return Err(format!(
                    "'{place}' is not there; write LoadCredential={name}:PATH into the unit"
                ));
            }
        },
    };
    let mut content = Zeroizing::new(Vec::new());
    let read = File::open(&path).and_then(|file| match file.metadata()?.is_file() {
        true => file.take(LARGEST + 1).read_to_end(&mut content),
        false => Err(io::Error::other("it is no file")),
    });
    match read {
        Ok(length) if length as u64 <= LARGEST => Ok(content),
        Ok(_) => Err(format!("'{place}' is longer than {} MiB; name the file that is meant", LARGEST >> 20)),
        Err(error) => {
            let text = error.to_string().to_lowercase();
            let cause = text.split(" (os error").next().unwrap_or_default();
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => "let the user of hitless read it",
                _ => "write it, or name another one",
            };
            Err(format!("cannot read '{place}': {cause}; {remedy}"))
        }
    }
}

/// Takes whoever is there for the endpoint, as the operator has asked for. That it has the key of the certificate that
/// it shows is still looked at.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
