//! Clients whose connection is to move, one of rustls and one of OpenSSL, which do the same.
//!
//! ```text
//!   prepare: requests, or frames of a WebSocket, sealed, and sent up to any byte of their records
//!      (the connection moves, or begins to)
//!   finish:  the rest is sent, and every byte that comes back is checked
//! ```
//! Promises: one connection from the beginning to the end; everything random follows from the seed.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fastrand::Rng;
use rustls::CipherSuite;
use rustls::ClientConnection;

use crate::byhand::Wire;
use crate::client::{Client, TLS12, TLS13};

/// Cipher suites as rustls and as OpenSSL call them, with their version.
pub const SUITES: [(CipherSuite, &str, &str); 6] = [
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", "1.3"),
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", "1.3"),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", "1.3"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", "1.2"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", "1.2"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", "1.2"),
];

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Http,
    WebSocket,
}

pub trait Mover {
    /// If it is to keep `still`, too little is sent for a request to begin.
    fn prepare(&mut self, still: bool);
    /// Goes on; [`Mover::finished`] waits for it.
    fn finish(&mut self);
    fn finished(&mut self);
}

/// No head is as short, nor is a frame with its record around it shorter.
const STILL: usize = 36;

/// What is said to open a WebSocket.
pub const OPEN: &str = "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub struct Rustls {
    wire: Wire,
    kind: Kind,
    rng: Rng,
    number: u64,
    rest: Vec<u8>,
    expected: Vec<Vec<u8>>,
    /// TLS 1.3 only.
    renews: bool,
}

impl Rustls {
    pub fn new(address: &str, client: &Client, place: usize, kind: Kind, seed: u64) -> Rustls {
        let (suite, _, version) = SUITES[place];
        let versions = if version == "1.3" { TLS13 } else { TLS12 };
        let client = client.clone().speaking(versions).with(suite);
        let mut wire = client.to(address, "shop.test");
        if kind == Kind::WebSocket {
            wire.say(OPEN);
            assert_eq!(wire.head().status(), 101);
        }
        let rng = Rng::with_seed(seed);
        Rustls { wire, kind, rng, number: 0, rest: vec![], expected: vec![], renews: version == "1.3" }
    }

    fn tls(&mut self) -> &mut ClientConnection {
        self.wire.tls.as_mut().unwrap()
    }

    /// In records of any size.
    fn seal(&mut self, mut plain: &[u8], sealed: &mut Vec<u8>) {
        while !plain.is_empty() {
            let size = self.rng.choice([1, 100, 5000, 16_384]).unwrap();
            let (now, later) = plain.split_at(plain.len().min(size));
            self.tls().writer().write_all(now).unwrap();
            while self.tls().wants_write() {
                self.tls().write_tls(sealed).unwrap();
            }
            plain = later;
        }
    }

    fn some(&mut self, most: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.rng.u8(..)).take(most).collect()
    }
}

impl Mover for Rustls {
    fn prepare(&mut self, still: bool) {
        assert!(self.rest.is_empty() && self.expected.is_empty());
        let mut sealed = vec![];
        if self.renews && self.rng.usize(..50) == 0 {
            self.tls().refresh_traffic_keys().unwrap();
        }
        for _ in 0..self.rng.choice([1, 1, 1, 3]).unwrap() {
            let size = self.rng.choice([0, 10, 125, 3000, 40_000]).unwrap();
            self.number += 1;
            let (said, expected) = match self.kind {
                Kind::Http => {
                    let content = self.some(size);
                    let head = format!(
                        "POST /echo?{} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {size}\r\n\r\n",
                        self.number
                    );
                    ([head.as_bytes(), &content].concat(), content)
                }
                Kind::WebSocket => {
                    let content = [&self.number.to_be_bytes()[..], &self.some(size.min(100))].concat();
                    let frame = [&[0x82, 0x80 | content.len() as u8, 0, 0, 0, 0][..], &content].concat();
                    (frame.clone(), frame)
                }
            };
            self.seal(&said, &mut sealed);
            self.expected.push(expected);
        }
        let cut = match still {
            true => self.rng.usize(..STILL),
            false => {
                let any = self.rng.usize(..sealed.len());
                self.rng.choice([0, 1, 3, sealed.len() - 1, sealed.len(), any]).unwrap()
            }
        };
        self.wire.socket.write_all(&sealed[..cut]).unwrap();
        self.rest = sealed.split_off(cut);
    }

    fn finish(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.wire.socket.write_all(&rest).unwrap();
    }

    fn finished(&mut self) {
        for expected in std::mem::take(&mut self.expected) {
            let came = match self.kind {
                Kind::Http => {
                    let answer = self.wire.message();
                    assert_eq!((answer.status(), answer.field("connection")), (200, None), "{answer:?}");
                    answer.content
                }
                Kind::WebSocket => self.wire.exactly(expected.len()),
            };
            assert!(came == expected, "{}: other content came back", self.number);
        }
    }
}

pub struct OpenSsl {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    about: String,
}

impl OpenSsl {
    /// `openssl.py`, which is this in Python.
    pub fn new(address: &str, folder: &Path, place: usize, kind: Kind, seed: u64) -> OpenSsl {
        let (_, suite, version) = SUITES[place];
        // Python cannot choose among the suites of TLS 1.3, but OpenSSL's own configuration can (config(5ssl)).
        let configuration = folder.join(format!("openssl-{place}.cnf"));
        let text =
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nCiphersuites = SUITE\n";
        let suites = if version == "1.3" { suite } else { "TLS_AES_128_GCM_SHA256" };
        std::fs::write(&configuration, text.replace("SUITE", suites)).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/openssl.py");
        let kind = if kind == Kind::Http { "http" } else { "websocket" };
        let mut child = Command::new("python3")
            .args(["-B", script, address])
            .arg(folder.join("root.pem"))
            .args([version, kind])
            .env("OPENSSL_CONF", configuration)
            .env("CIPHER", suite)
            .env("SEED", seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let about = format!("OpenSSL, {suite}, {kind}, SEED={seed}");
        let mut client = OpenSsl { child, stdin, stdout, about };
        let ready = client.line();
        assert!(ready.starts_with(&format!("ready {suite} ")), "{ready:?} of {}", client.about);
        client
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").unwrap();
    }
}

impl Mover for OpenSsl {
    fn prepare(&mut self, still: bool) {
        self.tell(if still { "still" } else { "prepare" });
        self.finished();
    }

    fn finish(&mut self) {
        self.tell("finish");
    }

    fn finished(&mut self) {
        assert_eq!(self.line(), "done\n", "what {} says is above", self.about);
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `openssl s_client`, which reads commands among what it is to send.
pub struct SClient {
    child: Child,
    stdin: ChildStdin,
    said: PipeReader,
    came: Vec<u8>,
}

impl SClient {
    pub fn to(address: &str, root: &Path, options: &[&str]) -> SClient {
        // What it was told and what it says of itself, in one.
        let (said, says) = std::io::pipe().unwrap();
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", address, "-servername", "shop.test", "-verify_return_error"])
            .arg("-CAfile")
            .arg(root)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(says.try_clone().unwrap())
            .stderr(says)
            .spawn()
            .unwrap();
        SClient { stdin: child.stdin.take().unwrap(), said, child, came: vec![] }
    }

    /// Says this, which s_client reads at once: its commands are recognised at the beginning of what it reads.
    pub fn say(&mut self, text: &str) {
        self.stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for its end.
    pub fn ends(&mut self) {
        let mut rest = vec![];
        self.said.read_to_end(&mut rest).unwrap();
        self.child.wait().unwrap();
    }

    /// Everything up to and with this.
    pub fn hears(&mut self, text: &str) -> String {
        let mut space = [0; 65_536];
        loop {
            let found = self.came.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                let rest = self.came.split_off(at + text.len());
                let came = std::mem::replace(&mut self.came, rest);
                return String::from_utf8_lossy(&came).into_owned();
            }
            let count = self.said.read(&mut space).unwrap();
            assert!(count > 0, "no {text:?} in {}", String::from_utf8_lossy(&self.came));
            self.came.extend_from_slice(&space[..count]);
        }
    }
}

impl Drop for SClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
