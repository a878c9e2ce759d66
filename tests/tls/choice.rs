//! Which certificate, version and protocol a client gets, and what it is refused with.

use rustls::{AlertDescription, ProtocolVersion, SignatureScheme};

use crate::byhand::Wire;
use crate::client::{Client, TLS12, TLS13};
use crate::dialogue::Secured;
use crate::site::Site;

const RSA: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
];
const ECDSA: &[SignatureScheme] =
    &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ECDSA_NISTP384_SHA384];

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let site = Site::new();
    let blog = site.serves("blog", &["blog.test"], "");
    let shop = site.serves("shop", &["shop.test", "*.shop.test"], "");
    let deep = site.serves("deep", &["deep.shop.test"], "");
    let gateway = site.start();
    for client in [gateway.client().speaking(TLS12), gateway.client().speaking(TLS13)] {
        for (name, pair, answer) in [
            ("blog.test", &blog, "blog"),
            ("shop.test", &shop, "shop"),
            ("www.shop.test", &shop, "shop"),
            ("deep.shop.test", &deep, "deep"),
            // Names are compared without regard to case (RFC 6066, section 3).
            ("BLOG.test", &blog, "blog"),
        ] {
            let mut wire = client.to(&gateway.address, name);
            assert_eq!(wire.certificate(), pair.certificates()[0], "{name}");
            assert_eq!(wire.get(name, "/").text(), answer);
        }
    }
}

#[test]
fn an_intermediate_authority_comes_with_the_certificate() {
    let site = Site::new();
    let pair = site.root.intermediate("one").intermediate("two").leaf(&["blog.test"]).pair();
    assert_eq!(pair.certificates().len(), 3);
    let certificates = format!("certificates = [{}]", site.pair("blog", &pair));
    site.answers("blog", &["blog.test"], &certificates);
    let gateway = site.start();
    assert_eq!(gateway.says(&gateway.client(), "blog.test"), "blog");
}

#[test]
fn a_name_that_nobody_has_is_refused_with_an_alert() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    for versions in [TLS12, TLS13] {
        let client = Client::trusting_anybody().speaking(versions);
        let refused = client.refusal(&gateway.address, Some("other.test"));
        assert_eq!(refused, AlertDescription::UnrecognisedName);
        let refused = client.refusal(&gateway.address, Some("a.blog.test"));
        assert_eq!(refused, AlertDescription::UnrecognisedName);
    }
    assert_eq!(gateway.says(&gateway.client(), "blog.test"), "blog");
}

#[test]
fn who_asks_for_no_name_gets_the_default_if_there_is_one() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let default = site.root.leaf(&["default.test"]).pair();
    let certificates = site.pair("default", &default);
    site.folder.append("hitless.toml", &format!("[tls]\ncertificates = [{certificates}]\n"));
    site.answers("rest", &["*"], "");
    let gateway = site.start();
    let anybody = Client::trusting_anybody();
    for versions in [TLS12, TLS13] {
        let client = anybody.clone().speaking(versions);
        for name in [None, Some("other.test")] {
            let mut wire = client.try_to(&gateway.address, name).unwrap();
            assert_eq!(wire.certificate(), default.certificates()[0], "{name:?}");
            assert_eq!(wire.get("other.test", "/").text(), "rest");
        }
    }
}

#[test]
fn the_client_s_algorithms_choose_between_ecdsa_and_rsa() {
    let site = Site::new();
    let ecdsa = site.root.leaf(&["blog.test"]).pair();
    let rsa = site.root.leaf(&["blog.test"]).rsa().pair();
    let certificates = format!("certificates = [{}, {}]", site.pair("ecdsa", &ecdsa), site.pair("rsa", &rsa));
    site.answers("blog", &["blog.test"], &certificates);
    let gateway = site.start();
    for versions in [TLS12, TLS13] {
        for (signatures, pair) in [(ECDSA, &ecdsa), (RSA, &rsa)] {
            let client = gateway.client().speaking(versions).checking(signatures);
            let mut wire = client.to(&gateway.address, "blog.test");
            assert_eq!(wire.certificate(), pair.certificates()[0]);
            assert_eq!(wire.get("blog.test", "/").text(), "blog");
        }
        // Who can do both gets the one that costs less.
        let both = gateway.client().speaking(versions).to(&gateway.address, "blog.test");
        assert_eq!(both.certificate(), ecdsa.certificates()[0]);
    }
}

#[test]
fn the_protocol_is_agreed_on_by_alpn() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    for versions in [TLS12, TLS13] {
        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["http/1.1", "h2"], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&["h2"], Some("h2")),
            (&["spdy/3", "http/1.1"], Some("http/1.1")),
            (&[], None),
        ] {
            let client = gateway.client().speaking(versions).offering(offered);
            let mut wire = client.to(&gateway.address, "blog.test");
            assert_eq!(wire.protocol(), agreed, "{offered:?}");
            if agreed == Some("h2") {
                wire.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
                assert_eq!(wire.exactly(9)[3], 4, "SETTINGS come first (RFC 9113, section 3.4)");
            } else {
                assert_eq!(wire.get("blog.test", "/").text(), "blog");
            }
        }
        // RFC 7301, section 3.2.
        let strange = gateway.client().speaking(versions).offering(&["smtp"]);
        let refused = strange.refusal(&gateway.address, Some("blog.test"));
        assert_eq!(refused, AlertDescription::NoApplicationProtocol);
    }
}

#[test]
fn the_oldest_version_can_be_raised() {
    let site = Site::with("[tls]\noldest = \"1.3\"");
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    let old = gateway.client().speaking(TLS12).refusal(&gateway.address, Some("blog.test"));
    assert_eq!(old, AlertDescription::ProtocolVersion);
    let wire = gateway.client().to(&gateway.address, "blog.test");
    assert_eq!(wire.tls.as_ref().unwrap().protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn plain_http_at_the_door_of_tls_is_told_so_or_closed_and_nobody_is_asked() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    let mut plain = Wire::to(&gateway.address);
    plain.say("GET / HTTP/1.1\r\nHost: blog.test\r\n\r\n");
    let mut came = vec![];
    let mut space = [0; 4096];
    while let Ok(count @ 1..) = plain.read(&mut space) {
        came.extend_from_slice(&space[..count]);
    }
    assert!(!came.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&came));
    assert_eq!(gateway.says(&gateway.client(), "blog.test"), "blog");
}
