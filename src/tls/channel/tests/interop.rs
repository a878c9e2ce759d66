//! rustls at the other end, and on our side until the handshake is done.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, KeyLog, RootCertStore,
    ServerConfig, ServerConnection,
};

use super::super::super::keys::traffic_key;
use super::*;

const SUITES: [u16; 6] = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xcca9];

/// Its traffic secrets, by label.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(String, Vec<u8>)>>);

impl KeyLog for Heard {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().push((label.to_owned(), secret.to_vec()));
    }
}

impl Heard {
    fn secret(&self, label: &str) -> Vec<u8> {
        let heard = self.0.lock().unwrap();
        heard.iter().find(|(of, _)| of == label).expect("the label was logged").1.clone()
    }
}

/// A client and a server of this suite whose handshake is done.
fn handshake(suite: u16, heard: &Arc<Heard>) -> (Connection, Connection) {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|offered| u16::from(offered.suite()) == suite);
    let provider: Arc<CryptoProvider> = Arc::new(provider);
    let versions = [if suite >> 8 == 0x13 { &rustls::version::TLS13 } else { &rustls::version::TLS12 }];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["hitless.test".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (client.enable_secret_extraction, server.enable_secret_extraction) = (true, true);
    client.key_log = heard.clone();
    let name = ServerName::try_from("hitless.test").unwrap();
    let mut client = Connection::from(ClientConnection::new(Arc::new(client), name).unwrap());
    let mut server = Connection::from(ServerConnection::new(Arc::new(server)).unwrap());
    while client.wants_write() || server.wants_write() {
        for (from, to) in [(true, false), (false, true)] {
            let (from, to) =
                if from && !to { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let mut bytes = Vec::new();
            while from.wants_write() {
                from.write_tls(&mut bytes).unwrap();
            }
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                to.read_tls(&mut bytes).unwrap();
                to.process_new_packets().unwrap();
            }
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (client, server)
}

fn parts(secrets: &ConnectionTrafficSecrets) -> (Vec<u8>, Vec<u8>) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (key.as_ref().to_vec(), iv.as_ref().to_vec())
        }
        _ => panic!("a suite that is not ours"),
    }
}

/// One half by what rustls gives away; in TLS 1.3 the key that we derive from its secret is the one that it has.
fn half_of(
    suite: u16,
    number: u64,
    secrets: &ConnectionTrafficSecrets,
    secret: impl Fn() -> Vec<u8>,
) -> record::Half {
    let (key, iv) = parts(secrets);
    let (_, known) = Suite::of(suite).unwrap();
    if suite >> 8 != 0x13 {
        return record::Half { secret: Secret::from(&key[..]), iv: Secret::from(&iv[..]), number };
    }
    let secret = secret();
    let derived = traffic_key(known, &secret);
    assert_eq!((derived.0[..].to_vec(), derived.1[..].to_vec()), (key, iv), "{suite:x}");
    record::Half { secret: Secret::from(&secret[..]), iv: Secret::default(), number }
}

/// Goes on where rustls has stopped.
fn take_over(connection: Connection, suite: u16, heard: &Heard) -> Side {
    let role = if matches!(connection, Connection::Client(_)) { Role::Client } else { Role::Server };
    let secrets = connection.dangerous_extract_secrets().unwrap();
    let (ours, theirs) = match role {
        Role::Client => ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"),
        Role::Server => ("SERVER_TRAFFIC_SECRET_0", "CLIENT_TRAFFIC_SECRET_0"),
    };
    let read = half_of(suite, secrets.rx.0, &secrets.rx.1, || heard.secret(theirs));
    let write = half_of(suite, secrets.tx.0, &secrets.tx.1, || heard.secret(ours));
    Side::new(role, &Seal { suite, read, write, ..Seal::default() })
}

/// A channel of ours and rustls, with sockets of this width.
struct Talk {
    ours: Side,
    theirs: Connection,
    width: usize,
}

impl Talk {
    /// What we say they read, whatever moves on the way.
    fn we_say(&mut self, bytes: &[u8]) {
        let (mut said, mut heard) = (0, Vec::new());
        while said < bytes.len() {
            self.ours.takes = self.width;
            match self.ours.write(&bytes[said..]) {
                Poll::Ready(written) => said += written.unwrap(),
                Poll::Pending => self.ours.moves(),
            }
            self.they_take(&mut heard);
        }
        assert!(heard == bytes, "{} of {}", heard.len(), bytes.len());
    }

    /// Everything that we have written.
    fn they_take(&mut self, heard: &mut Vec<u8>) {
        let bytes: Vec<u8> = self.ours.outgoing.bytes.drain(..).collect();
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            self.theirs.read_tls(&mut bytes).unwrap();
            let there = self.theirs.process_new_packets().unwrap().plaintext_bytes_to_read();
            let begin = heard.len();
            heard.resize(begin + there, 0);
            self.theirs.reader().read_exact(&mut heard[begin..]).unwrap();
        }
    }

    fn they_send(&mut self) {
        while self.theirs.wants_write() {
            let mut bytes = Vec::new();
            self.theirs.write_tls(&mut bytes).unwrap();
            self.ours.incoming.bytes.extend(bytes);
        }
    }

    fn they_say(&mut self, bytes: &[u8]) {
        let mut plain = BytesMut::new();
        for bytes in bytes.chunks(10_000) {
            self.theirs.writer().write_all(bytes).unwrap();
            self.they_send();
            self.ours.gives = self.width;
            plain.extend_from_slice(&self.ours.read().0);
            self.ours.moves();
        }
        assert_eq!(plain, bytes);
    }
}

#[test]
fn rustls_reads_what_we_write_and_writes_what_we_read() {
    for (suite, is_client) in SUITES.into_iter().flat_map(|suite| [(suite, true), (suite, false)]) {
        for width in [1, 1000, usize::MAX] {
            let heard = Arc::new(Heard::default());
            let (client, server) = handshake(suite, &heard);
            let (ours, theirs) = if is_client { (client, server) } else { (server, client) };
            let mut talk = Talk { ours: take_over(ours, suite, &heard), theirs, width };
            let content = pattern(if width == 1 { 100 } else { 40_000 });
            for round in 0..2 {
                talk.we_say(b"a");
                talk.they_say(b"b");
                talk.we_say(&content);
                talk.they_say(&content);
                if suite >> 8 == 0x13 && round == 0 {
                    // They go on by their next key, and want ours.
                    talk.theirs.refresh_traffic_keys().unwrap();
                    talk.they_send();
                    assert!(talk.ours.read().1.is_pending());
                    assert!(talk.ours.channel.update_owed);
                } else if suite >> 8 == 0x13 {
                    talk.ours.channel.update_owed = true;
                }
            }
            they_close_and_so_do_we(talk);
        }
    }
}

fn they_close_and_so_do_we(mut talk: Talk) {
    talk.theirs.send_close_notify();
    talk.they_send();
    assert!(matches!(talk.ours.read().1, Poll::Ready(Ok(0))) && !talk.ours.channel.was_cut());
    talk.we_say(b"still");
    talk.ours.takes = usize::MAX;
    assert!(talk.ours.shutdown().is_ready());
    let bytes: Vec<u8> = talk.ours.outgoing.bytes.drain(..).collect();
    talk.theirs.read_tls(&mut &bytes[..]).unwrap();
    assert!(talk.theirs.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn one_connection_moves_a_thousand_times() {
    for suite in [0x1301, 0xc02c] {
        let heard = Arc::new(Heard::default());
        let (client, server) = handshake(suite, &heard);
        let mut talk = Talk { ours: take_over(server, suite, &heard), theirs: client, width: usize::MAX };
        for round in 0..1000_u32 {
            talk.they_say(&round.to_be_bytes());
            talk.we_say(&round.to_le_bytes());
        }
    }
}

#[test]
fn rustls_understands_our_alerts() {
    for suite in SUITES {
        let heard = Arc::new(Heard::default());
        let (client, server) = handshake(suite, &heard);
        let (mut ours, mut theirs) = (take_over(server, suite, &heard), client);
        ours.incoming.bytes.extend([23, 3, 3, 0, 40].into_iter().chain([0; 40]));
        assert!(matches!(ours.read().1, Poll::Ready(Err(_))));
        let bytes: Vec<u8> = ours.outgoing.bytes.drain(..).collect();
        theirs.read_tls(&mut &bytes[..]).unwrap();
        let error = theirs.process_new_packets().unwrap_err();
        assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    }
}
