//! That the certificates of these tests are what their names say, by rustls' own opinion.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};

use crate::pki::{Authority, Pair};

/// What somebody who trusts `root` says of it under this name.
fn opinion(root: &Authority, pair: &Pair, name: &str) -> Result<(), CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let (chain, name) = (pair.certificates(), ServerName::try_from(name.to_owned()).unwrap());
    match verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(wrong)) => Err(wrong),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn certificates_are_what_they_are_called() {
    let (root, other) = (Authority::new("one"), Authority::new("one"));
    let between = root.intermediate("between");
    let names = ["blog.test", "*.shop.test", "127.0.0.1"];
    for pair in [root.leaf(&names).pair(), root.leaf(&names).rsa().pair(), between.leaf(&names).pair()] {
        for name in ["blog.test", "www.shop.test", "127.0.0.1"] {
            assert_eq!(opinion(&root, &pair, name), Ok(()));
            assert_eq!(opinion(&other, &pair, name), Err(CertificateError::BadSignature));
        }
        let wrong = opinion(&root, &pair, "a.b.shop.test");
        assert!(matches!(wrong, Err(CertificateError::NotValidForNameContext { .. })), "{wrong:?}");
        aws_lc_rs::sign::any_supported_type(&pair.private_key()).unwrap();
    }
    let expired = opinion(&root, &root.leaf(&names).expired().pair(), "blog.test");
    assert!(matches!(expired, Err(CertificateError::ExpiredContext { .. })), "{expired:?}");
    let early = opinion(&root, &root.leaf(&names).not_yet_valid().pair(), "blog.test");
    assert!(matches!(early, Err(CertificateError::NotValidYetContext { .. })), "{early:?}");
    let client = opinion(&root, &root.client("alice").pair(), "alice");
    assert!(client.is_err(), "a client is no server");
}

#[test]
fn their_files_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, key) = Authority::new("one").leaf(&["blog.test"]).pair().write(dir.path(), "blog");
    for path in [chain, key] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
