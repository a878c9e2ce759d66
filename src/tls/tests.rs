//! Directories under handshakes of a real client: rustls on both sides, without a socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection, SupportedProtocolVersion,
    version,
};

use super::directory::{Around, Change, Directory};
use super::material::Kept;
use super::pki::{Authority, Pair};
use super::tickets::Tickets;
use crate::config::{self, Source, Sources};

/// A folder with a configuration and pairs.
struct House {
    folder: tempfile::TempDir,
    authority: Authority,
    tickets: Arc<Tickets>,
}

fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    House { folder, authority: Authority::new("root"), tickets: Arc::default() }
}

const LISTENERS: &str = "[listener.http]\n[listener.https]\ntls = true\n";

impl House {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn put(&self, name: &str, pair: &Pair) {
        pair.write(self.path(), name);
    }

    fn leaf(&self, name: &str, hosts: &[&str]) {
        self.put(name, &self.authority.leaf(hosts).pair());
    }

    fn load(
        &self,
        text: &str,
        before: Option<&Directory>,
        kept: &Kept,
    ) -> Result<(Directory, Vec<String>), Vec<String>> {
        let name = self.path().join("hitless.toml").display().to_string();
        let sources = Sources(vec![Source { name, text: format!("{LISTENERS}{text}") }]);
        let settings = config::parse(&sources).unwrap().settings;
        let around = Around { before, kept, tickets: &self.tickets, now: SystemTime::now() };
        let plain = |line: String| self.plain(&line);
        match Directory::load(&settings, &around) {
            Ok((directory, warnings)) => Ok((directory, warnings.into_iter().map(plain).collect())),
            Err(faults) => Err(faults.iter().map(ToString::to_string).map(plain).collect()),
        }
    }

    fn directory(&self, text: &str) -> Directory {
        let (directory, warnings) = self.load(text, None, &Kept::default()).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        directory
    }

    fn plain(&self, line: &str) -> String {
        line.replace(&format!("{}/", self.path().display()), "")
    }
}

fn service(name: &str, hosts: &[&str], rest: &str) -> String {
    format!("[service.{name}]\nhosts = {hosts:?}\nendpoints = [\"a:1\"]\n{rest}\n")
}

fn shows(names: &[&str]) -> String {
    let pairs: Vec<String> =
        names.iter().map(|n| format!("{{ chain = \"{n}.pem\", key = \"{n}.key\" }}")).collect();
    format!("certificates = [{}]", pairs.join(", "))
}

struct Client {
    config: Arc<ClientConfig>,
}

/// What a handshake has come to, as the client sees it.
#[derive(Debug)]
struct Met {
    leaf: CertificateDer<'static>,
    kind: HandshakeKind,
    /// Whom the server has seen.
    identity: Option<String>,
}

impl House {
    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Client {
        self.client_with(versions, None)
    }

    fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate()).unwrap();
        let builder = ClientConfig::builder_with_provider(super::directory::provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        };
        Client { config: Arc::new(config) }
    }
}

impl Client {
    fn meets(&self, directory: &Directory, name: &str) -> Result<Met, String> {
        let server = directory.config(Some(name)).ok_or("unrecognized name")?;
        let mut server = ServerConnection::new(server).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        for _ in 0..10 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets().map_err(|error| format!("server: {error}"))?;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().map_err(|error| format!("client: {error}"))?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(Met {
            leaf: client.peer_certificates().unwrap()[0].clone().into_owned(),
            kind: client.handshake_kind().unwrap(),
            identity: server.peer_certificates().and_then(super::identity),
        })
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

#[test]
fn each_name_is_shown_its_own_pair_and_others_are_refused() {
    let house = house();
    for (file, hosts) in [
        ("shop", &["shop.example", "*.shop.example"][..]),
        ("api", &["api.shop.example"]),
        ("common", &["blog.example", "lonely.example"]),
    ] {
        house.leaf(file, hosts);
    }
    let directory = house.directory(
        &[
            format!("[tls]\n{}", shows(&["common"])),
            service("shop", &["shop.example", "*.shop.example"], &shows(&["shop"])),
            service("api", &["api.shop.example"], &shows(&["api"])),
            service("blog", &["blog.example"], ""),
        ]
        .join("\n"),
    );
    let client = house.client(BOTH);
    let leaf = |file: &str| {
        let text = fs::read(house.path().join(file).with_extension("pem")).unwrap();
        rustls::pki_types::pem::PemObject::from_pem_slice(&text).unwrap()
    };
    for (name, file) in [
        ("shop.example", "shop"),
        ("www.shop.example", "shop"),
        ("api.shop.example", "api"),
        ("blog.example", "common"),
        ("lonely.example", "common"),
    ] {
        let expected: CertificateDer<'static> = leaf(file);
        assert_eq!(client.meets(&directory, name).unwrap().leaf, expected, "{name}");
    }
    for name in ["other.example", "example", "shop", "xshop.example"] {
        assert!(directory.config(Some(name)).is_none(), "{name}");
    }
    assert!(directory.config(None).is_some(), "the first of [tls]");
    for (name, host, agrees) in [
        (Some("shop.example"), "shop.example", true),
        (Some("shop.example"), "WWW.shop.example.", true),
        (Some("shop.example"), "api.shop.example", false),
        (Some("blog.example"), "shop.example", false),
        (Some("blog.example"), "lonely.example", true),
        (Some("shop.example"), "other.example", false),
        (None, "blog.example", true),
        (None, "10.0.0.1", true),
        (None, "[::1]", true),
        (None, "shop.example", false),
        (Some("blog.example"), "10.0.0.1", true),
        (Some("shop.example"), "10.0.0.1", false),
    ] {
        assert_eq!(directory.agrees(name, host), agrees, "{name:?} for {host}");
    }
}

#[test]
fn without_a_common_pair_nobody_is_served_without_a_name() {
    let house = house();
    house.leaf("shop", &["shop.example"]);
    let directory = house.directory(&service("shop", &["shop.example"], &shows(&["shop"])));
    assert!(directory.config(None).is_none() && !directory.agrees(None, "shop.example"));
    assert!(Directory::default().config(Some("shop.example")).is_none());
}

#[test]
fn of_two_pairs_for_a_name_the_clients_signatures_decide() {
    let house = house();
    house.put("rsa", &house.authority.leaf(&["shop.example"]).rsa().pair());
    house.leaf("ecdsa", &["shop.example"]);
    let directory = house.directory(&service("shop", &["shop.example"], &shows(&["rsa", "ecdsa"])));
    let read =
        |file: &str| Pair { chain: fs::read_to_string(house.path().join(file)).unwrap(), key: String::new() };
    let (rsa, ecdsa) = (read("rsa.pem").certificates(), read("ecdsa.pem").certificates());
    assert_eq!(house.client(BOTH).meets(&directory, "shop.example").unwrap().leaf, ecdsa[0]);
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("ECDHE_RSA"));
    let mut roots = RootCertStore::empty();
    roots.add(house.authority.certificate()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let old = Client { config: Arc::new(config) };
    assert_eq!(old.meets(&directory, "shop.example").unwrap().leaf, rsa[0]);
}

#[test]
fn who_a_client_is_is_asked_and_told() {
    let house = house();
    house.leaf("shop", &["shop.example", "open.example", "maybe.example"]);
    house.authority.write(house.path(), "clients");
    let clients = |verify: &str| {
        format!(
            "{}\nclients = {{ verify = \"{verify}\", ca = \"clients.pem\" }}\nlisteners = [\"https\"]",
            shows(&["shop"])
        )
    };
    let directory = house.directory(
        &[
            service("shop", &["shop.example"], &clients("required")),
            service("maybe", &["maybe.example"], &clients("optional")),
            service("open", &["open.example"], &shows(&["shop"])),
        ]
        .join("\n"),
    );
    let alice = house.authority.client("Alice, \"A\"").pair();
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        let nobody = house.client(versions);
        let known = house.client_with(versions, Some((alice.certificates(), alice.private_key())));
        let stranger = Authority::new("root").client("alice").pair();
        let stranger = house.client_with(versions, Some((stranger.certificates(), stranger.private_key())));
        assert!(nobody.meets(&directory, "shop.example").unwrap_err().contains("server: "));
        assert_eq!(nobody.meets(&directory, "maybe.example").unwrap().identity, None);
        assert_eq!(nobody.meets(&directory, "open.example").unwrap().identity, None);
        assert_eq!(known.meets(&directory, "open.example").unwrap().identity, None);
        for name in ["shop.example", "maybe.example"] {
            let identity = known.meets(&directory, name).unwrap().identity.unwrap();
            let (name, print) = identity.split_once("; sha256=").unwrap();
            assert_eq!((name, print.len()), ("Alice%2C%20%22A%22", 64));
            assert!(stranger.meets(&directory, "shop.example").unwrap_err().contains("server: "));
            // Once more, by its ticket.
            let again = known.meets(&directory, "shop.example").unwrap();
            assert_eq!((again.kind, again.identity), (HandshakeKind::Resumed, Some(identity)));
        }
    }
    assert!(!directory.agrees(Some("open.example"), "shop.example"));
    assert!(!directory.agrees(Some("maybe.example"), "shop.example"));
}

#[test]
fn a_session_is_resumed_in_the_next_generation_and_the_next_process() {
    let house = house();
    house.leaf("shop", &["shop.example"]);
    let text = service("shop", &["shop.example"], &shows(&["shop"]));
    let directory = house.directory(&text);
    let other_process = House {
        folder: tempfile::tempdir().unwrap(),
        authority: Authority::new("x"),
        tickets: Arc::default(),
    };
    for name in ["shop.pem", "shop.key"] {
        fs::copy(house.path().join(name), other_process.path().join(name)).unwrap();
    }
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        let client = house.client(versions);
        let kind = |directory: &Directory| client.meets(directory, "shop.example").unwrap().kind;
        assert_eq!(kind(&directory), HandshakeKind::Full);
        assert_eq!(kind(&directory), HandshakeKind::Resumed);
        let (next, _) = house.load(&text, Some(&directory), &Kept::default()).unwrap();
        assert_eq!(kind(&next), HandshakeKind::Resumed);
        let incoming = other_process.directory(&text);
        let record = serde_json::to_string(&house.tickets.record()).unwrap();
        other_process.tickets.adopt(serde_json::from_str(&record).unwrap());
        assert_eq!(kind(&incoming), HandshakeKind::Resumed);
    }
}

#[test]
fn a_session_from_before_clients_were_asked_is_not_resumed() {
    let house = house();
    house.leaf("shop", &["shop.example"]);
    house.authority.write(house.path(), "clients");
    let open = house.directory(&service("shop", &["shop.example"], &shows(&["shop"])));
    let clients = "\nclients = { verify = \"required\", ca = \"clients.pem\" }\nlisteners = [\"https\"]";
    let asking = house.directory(&service("shop", &["shop.example"], &(shows(&["shop"]) + clients)));
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        let client = house.client(versions);
        assert_eq!(client.meets(&open, "shop.example").unwrap().kind, HandshakeKind::Full);
        assert!(client.meets(&asking, "shop.example").unwrap_err().contains("server: "));
    }
}

#[test]
fn a_changed_pair_is_shown_at_once_and_a_bad_one_is_told_of_once() {
    let house = house();
    house.leaf("shop", &["shop.example"]);
    let directory = house.directory(&service("shop", &["shop.example"], &shows(&["shop"])));
    let client = || house.client(BOTH).meets(&directory, "shop.example").unwrap().leaf;
    let refresh = || directory.refresh(SystemTime::now());
    let first = client();
    assert!(refresh().is_empty(), "nothing has changed");
    house.leaf("shop", &["shop.example"]);
    assert!(matches!(&refresh()[..], [Change::Taken(_)]));
    let second = client();
    assert_ne!(first, second);
    let chain = fs::read_to_string(house.path().join("shop.pem")).unwrap();
    fs::write(house.path().join("shop.pem"), &chain[..chain.len() / 2]).unwrap();
    let [Change::Refused(fault)] = &refresh()[..] else { panic!() };
    assert_eq!(
        house.plain(&fault.to_string()),
        "shop.pem: the file ends in the middle; write it again, and rename it into place when it is whole"
    );
    assert!(refresh().is_empty(), "told once");
    assert_eq!(client(), second, "the one before it stays");
    assert!(directory.shown(SystemTime::now())[0].fault.is_some());
    fs::remove_file(house.path().join("shop.pem")).unwrap();
    assert!(matches!(&refresh()[..], [Change::Refused(_)]), "another fault");
    fs::write(house.path().join("shop.pem"), &chain).unwrap();
    assert!(matches!(&refresh()[..], [Change::Taken(_)]));
    assert_eq!(directory.shown(SystemTime::now())[0].fault, None);
}

#[test]
fn new_authorities_hold_for_the_next_handshake() {
    let house = house();
    house.leaf("shop", &["shop.example"]);
    let other = Authority::new("other");
    house.authority.write(house.path(), "clients");
    let rest = format!(
        "{}\nclients = {{ verify = \"required\", ca = \"clients.pem\" }}\nlisteners = [\"https\"]",
        shows(&["shop"])
    );
    let directory = house.directory(&service("shop", &["shop.example"], &rest));
    let client = |authority: &Authority| {
        let pair = authority.client("alice").pair();
        house.client_with(BOTH, Some((pair.certificates(), pair.private_key())))
    };
    let (ours, theirs) = (client(&house.authority), client(&other));
    ours.meets(&directory, "shop.example").unwrap();
    assert!(theirs.meets(&directory, "shop.example").is_err());
    other.write(house.path(), "clients");
    assert!(matches!(&directory.refresh(SystemTime::now())[..], [Change::Taken(_)]));
    theirs.meets(&directory, "shop.example").unwrap();
    assert!(ours.meets(&directory, "shop.example").is_err(), "nor is its ticket good any more");
}

/// The messages are the product: they are reviewed here as they are read.
#[test]
fn every_pair_that_cannot_be_used_is_explained() {
    let house = house();
    let text = service("shop", &["shop.example"], &shows(&["shop"]));
    let good = house.authority.intermediate("between").leaf(&["shop.example"]).pair();
    let other = house.authority.leaf(&["shop.example"]).pair();
    let chain = |chain: &str| Pair { chain: chain.into(), ..good.clone() };
    let key = |key: &str| Pair { key: key.into(), ..good.clone() };
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let halves: Vec<&str> = good.chain.split_inclusive("-----END CERTIFICATE-----\n").collect();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let nonsense = good.chain.replacen("MII", "!!!", 1);
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let cases: Vec<(&str, Pair)> = vec![
        ("an empty file", chain("")),
        ("not PEM", chain("\u{30}\u{82}")),
        ("half a chain", chain(&half(&good.chain))),
        ("a chain of nonsense", chain(&nonsense)),
        ("no certificate", chain(empty)),
        ("a key for the chain", chain(&good.key)),
        ("nothing of use", chain(&encrypted.replace("ENCRYPTED PRIVATE KEY", "X509 CRL"))),
        ("upside down", chain(&[halves[1], halves[0]].concat())),
        ("a hole", chain(&(halves[0].to_owned() + &house.authority.pem()))),
        ("half a key", key(&half(&good.key))),
        ("an empty key", key("\n")),
        ("a key that is DER", key("\u{30}")),
        ("a chain for the key", key(&good.chain)),
        ("an encrypted key", key(encrypted)),
        ("an old encrypted key", key("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n")),
        ("a damaged key", key("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")),
        ("another key", key(&other.key)),
        ("expired", house.authority.leaf(&["shop.example"]).expired().pair()),
        ("not yet valid", house.authority.leaf(&["shop.example"]).not_yet_valid().pair()),
    ];
    let mut said = String::new();
    let mut say = |what: &str, house: &House| {
        let errors = house.load(&text, None, &Kept::default());
        let line = match errors {
            Err(errors) => errors.join("\n"),
            // Time alone keeps no gateway from starting.
            Ok((_, warnings)) => format!("(warning) {}", warnings.join("\n")),
        };
        assert!(!line.is_empty());
        said.push_str(&format!("{what}\n    {}\n", line.replace(&house.path().display().to_string(), "DIR")));
    };
    say("no files", &house);
    for (what, pair) in cases {
        house.put("shop", &pair);
        say(what, &house);
    }
    house.put("shop", &good);
    let mode = |mode: u32| {
        let key = house.path().join("shop.key");
        fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    say("a key for everybody", &house);
    mode(0o600);
    fs::remove_file(house.path().join("shop.pem")).unwrap();
    fs::create_dir(house.path().join("shop.pem")).unwrap();
    say("a folder", &house);
    fs::remove_dir(house.path().join("shop.pem")).unwrap();
    house.leaf("shop", &["www.shop.example"]);
    say("a certificate for another name", &house);
    is_as_written("refusals.txt", &said);
}

fn is_as_written(name: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name);
    if std::env::var_os("HITLESS_BLESS").is_some() {
        fs::write(&path, now).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, now, "{name} says something else now; HITLESS_BLESS=1 writes it");
}

#[test]
fn a_pair_that_served_is_kept_over_a_reload_and_by_the_next_process() {
    let house = house();
    house.leaf("shop", &["shop.example"]);
    let text = service("shop", &["shop.example"], &shows(&["shop"]));
    let directory = house.directory(&text);
    let leaf = |directory: &Directory| house.client(BOTH).meets(directory, "shop.example").unwrap().leaf;
    let first = leaf(&directory);
    fs::write(house.path().join("shop.key"), "").unwrap();
    let [fault] = &house.load(&text, None, &Kept::default()).err().unwrap()[..] else { panic!() };
    assert!(fault.starts_with("shop.key: the file is empty"), "{fault}");
    let (next, warnings) = house.load(&text, Some(&directory), &Kept::default()).unwrap();
    assert!(warnings[0].ends_with("; until then the one before it stays"), "{warnings:?}");
    assert_eq!(leaf(&next), first);
    let kept = serde_json::to_string(&next.keep()).unwrap();
    let (replacement, warnings) = house.load(&text, None, &serde_json::from_str(&kept).unwrap()).unwrap();
    assert_eq!((leaf(&replacement), warnings.len()), (first, 1));
    house.leaf("shop", &["shop.example"]);
    let (replacement, warnings) = house.load(&text, None, &serde_json::from_str(&kept).unwrap()).unwrap();
    assert!(warnings.is_empty() && leaf(&replacement) != leaf(&next), "what is on the disk goes first");
}
