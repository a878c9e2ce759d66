//! Handshakes between this side and that, over a pipe of any width, and what they agree on.

use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{AlertDescription, RootCertStore, SupportedProtocolVersion, version};
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;
use crate::tls::keys::{self, Suite};
use crate::tls::pki::{self, Authority};
use crate::tls::{Channel, SPACE};

/// A pipe of which no more than so much is read at a time.
struct Narrow(DuplexStream, usize);

fn pipe(width: usize) -> (Narrow, Narrow) {
    let (near, far) = duplex(1 << 20);
    (Narrow(near, width), Narrow(far, width))
}

impl AsyncRead for Narrow {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Narrow(pipe, width) = self.get_mut();
        let mut space = vec![0; (*width).min(buffer.remaining())];
        let mut part = ReadBuf::new(&mut space);
        ready!(Pin::new(pipe).poll_read(cx, &mut part))?;
        buffer.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Narrow {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Narrow(pipe, width) = self.get_mut();
        Pin::new(pipe).poll_write(cx, &bytes[..bytes.len().min(*width)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// One configuration, for one name.
struct Only(&'static str, Arc<ServerConfig>);

impl Only {
    fn config(&self, name: Option<&str>) -> Option<Arc<ServerConfig>> {
        (name == Some(self.0)).then(|| Arc::clone(&self.1))
    }
}

type Versions = &'static [&'static SupportedProtocolVersion];

const OLDER: Versions = &[&version::TLS12];
const NEWER: Versions = &[&version::TLS13];

const PROTOCOLS: [Protocol; 2] = [Protocol::Http2, Protocol::Http1];

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    Arc::new(roots)
}

fn provider(suite: Option<rustls::CipherSuite>) -> Arc<rustls::crypto::CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|known| suite.is_none_or(|suite| known.suite() == suite));
    Arc::new(provider)
}

fn server(authority: &Authority, clients: bool) -> Only {
    let pair = authority.leaf(&["shop.test"]).pair();
    let provider = provider(None);
    let verifier = match clients {
        true => WebPkiClientVerifier::builder_with_provider(roots(authority), Arc::clone(&provider))
            .build()
            .unwrap(),
        false => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(pair.certificates(), pair.private_key())
        .unwrap();
    config.alpn_protocols = PROTOCOLS.map(|protocol| protocol.name().to_vec()).to_vec();
    config.key_log = Arc::new(Keys);
    config.enable_secret_extraction = true;
    Only("shop.test", Arc::new(config))
}

fn client(
    authority: &Authority,
    versions: Versions,
    suite: Option<rustls::CipherSuite>,
    named: Option<&pki::Pair>,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(provider(suite))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(authority));
    let mut config = match named {
        Some(pair) => config.with_client_auth_cert(pair.certificates(), pair.private_key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.key_log = Arc::new(Keys);
    config.enable_secret_extraction = true;
    config
}

fn name(name: &'static str) -> ServerName<'static> {
    name.try_into().unwrap()
}

type Outcome = Result<Established, Refused>;

/// What comes of it on the client's and on the server's side, with the pipe between them.
async fn meet(
    directory: &Only,
    config: ClientConfig,
    asked: &'static str,
    width: usize,
) -> (Outcome, Outcome, Narrow, Narrow) {
    let (mut near, mut far) = pipe(width);
    let (client, server) = {
        let config = Arc::new(config);
        let client = async {
            let outcome = connect(&mut near, config, name(asked)).await;
            if outcome.is_err() {
                near.shutdown().await.unwrap();
            }
            outcome
        };
        let server = async {
            let outcome = accept(&mut far, |name| directory.config(name)).await;
            if outcome.is_err() {
                far.shutdown().await.unwrap();
            }
            outcome
        };
        tokio::join!(client, server)
    };
    (client, server, near, far)
}

async fn write(channel: &mut Channel, io: &mut Narrow, bytes: &[u8]) {
    let (mut space, mut rest) = (vec![0; SPACE], bytes);
    while !rest.is_empty() {
        let written =
            poll_fn(|cx| channel.poll_write(io, &[io::IoSlice::new(rest)], &mut space, cx)).await.unwrap();
        rest = &rest[written..];
    }
}

async fn read(channel: &mut Channel, io: &mut Narrow) -> BytesMut {
    let (mut space, mut plain) = (vec![0; SPACE], BytesMut::new());
    poll_fn(|cx| channel.poll_fill(io, &mut plain, &mut space, cx)).await.unwrap();
    plain
}

/// What is said in one direction comes out at the other, both ways.
async fn talk(client: &Seal, server: &Seal, near: &mut Narrow, far: &mut Narrow) {
    let mut client = Channel::adopt(Role::Client, client).unwrap();
    let mut server = Channel::adopt(Role::Server, server).unwrap();
    // The session tickets of the server are in front.
    tokio::join!(write(&mut client, near, b"a question"), async {
        assert_eq!(&read(&mut server, far).await[..], b"a question");
    });
    tokio::join!(write(&mut server, far, b"an answer"), async {
        assert_eq!(&read(&mut client, near).await[..], b"an answer");
    });
}

#[tokio::test]
async fn every_suite_is_shaken_hands_on_and_spoken_whatever_the_width() {
    let authority = Authority::new("one");
    let directory = server(&authority, false);
    for (versions, suite) in [
        (NEWER, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256),
        (NEWER, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384),
        (NEWER, rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (OLDER, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (OLDER, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        (OLDER, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ] {
        for width in [1, 100, 1 << 16] {
            let config = client(&authority, versions, Some(suite), None);
            let (near, far, mut client, mut server) = meet(&directory, config, "shop.test", width).await;
            let (near, far) = (near.unwrap(), far.unwrap());
            assert_eq!((near.seal.suite, far.seal.suite), (suite.into(), suite.into()));
            assert_eq!((near.protocol, far.protocol), (Some(Protocol::Http1), Some(Protocol::Http1)));
            assert_eq!(far.seal.name.as_deref(), Some("shop.test"));
            assert_eq!(far.seal.identity, None);
            talk(&near.seal, &far.seal, &mut client, &mut server).await;
        }
    }
}

/// The traffic secret that was told is the one that the keys are from.
#[tokio::test]
async fn the_keys_that_follow_from_a_secret_are_the_keys_of_rustls() {
    let authority = Authority::new("one");
    let directory = server(&authority, false);
    for suite in aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some()) {
        let (mut near, mut far) = pipe(1 << 16);
        let config = Arc::new(client(&authority, NEWER, Some(suite.suite()), None));
        let (client, _) = tokio::join!(connect(&mut near, config, name("shop.test")), async {
            let mut came = BytesMut::new();
            let hello = hear(&mut far, &mut came).await.unwrap();
            let mut secrets = Secrets::default();
            let mut connection = secrets
                .listen(|| hello.accepted.into_connection(directory.config(Some("shop.test")).unwrap()))
                .unwrap();
            while connection.is_handshaking() {
                let mut words = Vec::new();
                while connection.wants_write() {
                    connection.write_tls(&mut words).unwrap();
                }
                far.write_all(&words).await.unwrap();
                let length = loop {
                    match whole(&came, &mut far).await.unwrap() {
                        Some(length) => break length,
                        None => more(&mut far, &mut came).await.unwrap(),
                    }
                };
                feed(&came.split_to(length), |mut bytes| connection.read_tls(&mut bytes)).unwrap();
                secrets.listen(|| connection.process_new_packets()).unwrap();
            }
            connection.write_tls(&mut Vec::new()).unwrap();
            let (_, known) = Suite::of(suite.suite().into()).unwrap();
            let extracted = connection.dangerous_extract_secrets().unwrap();
            for (secret, (_, keys)) in [(secrets.client, extracted.rx), (secrets.server, extracted.tx)] {
                let half = half(false, None, (0, keys)).unwrap();
                let (key, iv) = keys::Half::derived(known, &secret.unwrap());
                assert_eq!((&half.secret[..], &half.iv[..]), (&key[..], &iv[..]), "{suite:?}");
            }
        });
        client.unwrap();
    }
}

#[tokio::test]
async fn who_the_client_has_proven_to_be_is_known() {
    let authority = Authority::new("one");
    let directory = server(&authority, true);
    let named = authority.client("alice").pair();
    for versions in [OLDER, NEWER] {
        let config = client(&authority, versions, None, Some(&named));
        let (near, far, ..) = meet(&directory, config, "shop.test", 1000).await;
        near.unwrap();
        assert_eq!(far.unwrap().seal.identity, clients::identity(&named.certificates()));
        let nobody = client(&authority, versions, None, None);
        let (_, far, ..) = meet(&directory, nobody, "shop.test", 1000).await;
        assert!(matches!(far, Err(Refused::Tls(rustls::Error::NoCertificatesPresented))), "{far:?}");
    }
}

/// The text of the client's error is its reading of our alert.
#[tokio::test]
async fn who_is_refused_is_told_why() {
    let authority = Authority::new("one");
    let directory = server(&authority, false);
    for versions in [OLDER, NEWER] {
        let config = client(&authority, versions, None, None);
        let (near, far, ..) = meet(&directory, config, "blog.test", 1000).await;
        assert!(matches!(far, Err(Refused::UnknownName(Some(name))) if name == "blog.test"));
        let alert = rustls::Error::AlertReceived(AlertDescription::UnrecognisedName);
        assert!(matches!(near, Err(Refused::Tls(error)) if error == alert));

        let mut config = client(&authority, versions, None, None);
        config.alpn_protocols = vec![b"irc".to_vec()];
        let (near, far, ..) = meet(&directory, config, "shop.test", 1000).await;
        assert!(matches!(far, Err(Refused::Tls(rustls::Error::NoApplicationProtocol))));
        let alert = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert!(matches!(near, Err(Refused::Tls(error)) if error == alert));

        let stranger = client(&Authority::new("two"), versions, None, None);
        let (near, far, ..) = meet(&directory, stranger, "shop.test", 1000).await;
        assert!(matches!(near, Err(Refused::Tls(rustls::Error::InvalidCertificate(_)))));
        let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        assert!(matches!(far, Err(Refused::Tls(error)) if error == alert));
    }
}

/// What it sends is not TLS, or breaks off, or is too much: what becomes of it, and what it is answered.
async fn send(bytes: &[u8]) -> (Refused, BytesMut, Vec<u8>) {
    let (mut near, mut far) = pipe(1 << 20);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let mut came = BytesMut::new();
    let refused = hear(&mut far, &mut came).await.err().unwrap();
    drop(far);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    (refused, came, answer)
}

#[tokio::test]
async fn what_is_no_hello_is_refused() {
    let (refused, came, answer) = send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(matches!(refused, Refused::NotTls));
    assert_eq!((&came[..], answer.len()), (&b"GET / HTTP/1.1\r\n\r\n"[..], 0));

    assert!(matches!(send(b"").await.0, Refused::Gone(_)));
    assert!(matches!(send(&[22, 3, 1, 0, 100, 1]).await.0, Refused::Gone(_)));

    let (refused, _, answer) = send(&[22, 3, 1, 0xff, 0xff]).await;
    assert!(matches!(refused, Refused::Tls(_)));
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 22]);

    // A hello in records of one byte is one that does not end.
    let mut endless = vec![22, 3, 1, 0, 4, 1, 0, 0xff, 0];
    endless.extend([22, 3, 1, 0, 1, 0].repeat(50_000));
    let (refused, ..) = send(&endless).await;
    assert!(matches!(refused, Refused::TooLong | Refused::Tls(_)), "{refused:?}");

    let (refused, _, answer) = send(&[22, 3, 1, 0, 4, 2, 0, 0, 0]).await;
    assert!(matches!(refused, Refused::Tls(_)), "{refused:?}");
    assert_eq!(answer[0], 21);
}

#[tokio::test]
async fn what_came_before_the_hello_was_whole_is_kept_by_whoever_stops_waiting() {
    let authority = Authority::new("one");
    let directory = server(&authority, false);
    let (mut near, mut far) = pipe(100);
    let config = Arc::new(client(&authority, NEWER, None, None));
    let mut came = BytesMut::new();
    let client = connect(&mut near, config, name("shop.test"));
    let server = async {
        // It is given up again and again: each time it begins anew with what came.
        let hello = loop {
            let heard = {
                let mut hearing = std::pin::pin!(hear(&mut far, &mut came));
                poll_fn(|cx| Poll::Ready(hearing.as_mut().poll(cx))).await
            };
            if let Poll::Ready(hello) = heard {
                break hello.unwrap();
            }
            tokio::task::yield_now().await;
        };
        hello.answer(&mut far, came, |name| directory.config(name)).await
    };
    let (near, far) = tokio::join!(client, server);
    near.unwrap();
    far.unwrap();
}
