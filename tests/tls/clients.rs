//! Clients that prove who they are, and those that do not.

use rustls::AlertDescription;

use crate::byhand::Door;
use crate::client::{TLS12, TLS13};
use crate::pki::Authority;
use crate::site::{Gateway, Site};

/// In front of this endpoint, for clients of this authority.
fn asking(verify: &str, door: &Door, clients: &Authority) -> Gateway {
    let site = Site::new();
    clients.write(site.folder.path(), "clients");
    let pair = site.pair("shop", &site.root.leaf(&["shop.test"]).pair());
    let lines = format!(
        "certificates = [{pair}]\nclients = {{ verify = \"{verify}\", ca = \"clients.pem\", field = \"X-Client\" }}"
    );
    site.folder.passing_with("shop", &door.address, &lines);
    site.start()
}

/// What arrived in the field, when the client has said it itself as well.
fn seen(gateway: &Gateway, door: &Door, client: &crate::client::Client) -> Vec<String> {
    let mut wire = client.to(&gateway.address, "shop.test");
    wire.say("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Client: CN=root\r\nx-client: CN=root\r\n\r\n");
    let mut endpoint = door.accept();
    let head = endpoint.head();
    endpoint.answer("done");
    assert_eq!(wire.message().text(), "done");
    head.all("x-client").into_iter().map(str::to_owned).collect()
}

#[test]
fn a_required_certificate_is_checked_and_named_to_the_endpoint() {
    let (door, clients) = (Door::tcp(), Authority::new("clients"));
    let gateway = asking("required", &door, &clients);
    for versions in [TLS12, TLS13] {
        let client = gateway.client().speaking(versions);
        let alice = client.clone().showing(&clients.client("alice").pair());
        let came = seen(&gateway, &door, &alice);
        assert!(came.len() == 1 && came[0].contains("alice"), "{came:?}");

        let nobody = client.refusal(&gateway.address, Some("shop.test"));
        let expected = if versions == TLS13 {
            AlertDescription::CertificateRequired
        } else {
            AlertDescription::HandshakeFailure
        };
        assert!([expected, AlertDescription::CertificateRequired].contains(&nobody), "{nobody:?}");
        let other = Authority::new("clients").client("alice").pair();
        let other = client.clone().showing(&other).refusal(&gateway.address, Some("shop.test"));
        assert!(
            [AlertDescription::UnknownCA, AlertDescription::BadCertificate, AlertDescription::DecryptError]
                .contains(&other),
            "{other:?}"
        );
        let expired = clients.client("alice").expired().pair();
        let expired = client.clone().showing(&expired).refusal(&gateway.address, Some("shop.test"));
        assert_eq!(expired, AlertDescription::CertificateExpired);
        // A server's certificate is no client's.
        let server = clients.leaf(&["alice"]).pair();
        let server = client.clone().showing(&server).refusal(&gateway.address, Some("shop.test"));
        assert!(
            [AlertDescription::UnsupportedCertificate, AlertDescription::BadCertificate].contains(&server),
            "{server:?}"
        );
    }
    assert!(door.is_quiet(), "nobody who was refused came through");
}

#[test]
fn an_optional_certificate_is_named_if_there_is_one_and_a_wrong_one_is_refused() {
    let (door, clients) = (Door::tcp(), Authority::new("clients"));
    let gateway = asking("optional", &door, &clients);
    for versions in [TLS12, TLS13] {
        let client = gateway.client().speaking(versions);
        assert_eq!(
            seen(&gateway, &door, &client),
            [""; 0],
            "what a client says of itself counts for nothing"
        );
        let alice = client.clone().showing(&clients.client("alice").pair());
        assert!(seen(&gateway, &door, &alice)[0].contains("alice"));
        let other = Authority::new("other").client("alice").pair();
        let other = client.showing(&other).refusal(&gateway.address, Some("shop.test"));
        assert_eq!(other, AlertDescription::UnknownCA);
    }
}

/// Over a connection that another service has let in, one that asks for certificates is not reached.
#[test]
fn a_host_that_asks_for_certificates_is_not_reached_under_another_name() {
    let clients = Authority::new("clients");
    let site = Site::new();
    clients.write(site.folder.path(), "clients");
    site.serves("open", &["open.test"], "");
    let verify = "clients = { verify = \"required\", ca = \"clients.pem\" }";
    site.serves("closed", &["closed.test"], verify);
    let gateway = site.start();
    let mut wire = gateway.client().to(&gateway.address, "open.test");
    assert_eq!(wire.get("closed.test", "/").status(), 421);
    assert_eq!(wire.get("open.test", "/").text(), "open");
    let alice = gateway.client().showing(&clients.client("alice").pair());
    assert_eq!(gateway.says(&alice, "closed.test"), "closed");
}

#[test]
fn a_host_that_would_have_had_another_certificate_is_misdirected() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    site.serves("shop", &["shop.test", "*.shop.test"], "");
    let gateway = site.start();
    let mut wire = gateway.client().to(&gateway.address, "shop.test");
    // RFC 9110, section 15.5.20.
    assert_eq!(wire.get("blog.test", "/").status(), 421);
    assert_eq!(wire.get("www.shop.test", "/").text(), "shop", "the same certificate");
    assert_eq!(wire.get("shop.test:443", "/").text(), "shop");
    assert_eq!(wire.get("nobody.test", "/").status(), 421);
}
