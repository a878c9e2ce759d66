//! Certificates for tests: authorities, and pairs of a chain and a key that they have signed.
//!
//! ```text
//!   Authority::new("one").leaf(&["blog.test", "*.shop.test"]).rsa().expired().pair()  ->  Pair { chain, key }
//! ```
//! Promises: every authority has a key of its own, so that two of one name trust nothing of each other; the key of an
//! ordinary pair is ECDSA P-256; files are PEM, for their owner alone (0600).
//! Must not know: hitless, who uses them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, RsaKeySize, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Who signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What a leaf is followed by: the intermediate authorities, without the root.
    between: String,
}

/// A certificate that is still to be signed.
pub struct Leaf<'a> {
    authority: &'a Authority,
    params: CertificateParams,
    key: Option<KeyPair>,
}

/// A chain, the leaf first, and the key of the leaf: each as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub chain: String,
    pub key: String,
}

impl Authority {
    /// A root of its own.
    pub fn new(name: &str) -> Authority {
        let issuer = CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, between: String::new() }
    }

    /// One that this one has signed. What it signs comes with its certificate.
    pub fn intermediate(&self, name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(authority(name), key, &self.issuer).unwrap();
        let between = issuer.pem() + &self.between;
        Authority { issuer, between }
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Writes its own certificate.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        secret(&folder.join(format!("{name}.pem")), &self.pem())
    }

    /// For a server of these names, which may be wildcards or IP addresses. The first one is the subject's too.
    pub fn leaf(&self, names: &[&str]) -> Leaf<'_> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let subject = names.first().cloned().unwrap_or_default();
        self.any(&subject, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For a client whose subject is `CN=name`.
    pub fn client(&self, name: &str) -> Leaf<'_> {
        self.any(name, vec![], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn any(&self, subject: &str, names: Vec<String>, usage: ExtendedKeyUsagePurpose) -> Leaf<'_> {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Leaf { authority: self, params, key: None }.valid((2020, 1, 1), (2120, 1, 1))
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
    params
}

impl Leaf<'_> {
    /// From one day (year, month, day) to another.
    pub fn valid(mut self, from: (i32, u8, u8), until: (i32, u8, u8)) -> Self {
        self.params.not_before = date_time_ymd(from.0, from.1, from.2);
        self.params.not_after = date_time_ymd(until.0, until.1, until.2);
        self
    }

    pub fn expired(self) -> Self {
        self.valid((2020, 1, 1), (2021, 1, 1))
    }

    pub fn not_yet_valid(self) -> Self {
        self.valid((2110, 1, 1), (2120, 1, 1))
    }

    /// With an RSA key of 2048 bits.
    pub fn rsa(self) -> Self {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        Leaf { key: Some(key), ..self }
    }

    pub fn pair(self) -> Pair {
        let key = self.key.unwrap_or_else(|| KeyPair::generate().unwrap());
        let leaf = self.params.signed_by(&key, &self.authority.issuer).unwrap();
        Pair { chain: leaf.pem() + &self.authority.between, key: key.serialize_pem() }
    }
}

impl Pair {
    /// Writes `NAME.pem` and `NAME.key`, each whole or not at all.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let chain = secret(&folder.join(format!("{name}.pem")), &self.chain);
        (chain, secret(&folder.join(format!("{name}.key")), &self.key))
    }

    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes()).map(Result::unwrap).collect()
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// Writes a file that only its owner can read.
fn secret(path: &Path, text: &str) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file =
        fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::rename(&new, path).unwrap();
    path.to_owned()
}
