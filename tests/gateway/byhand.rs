//! HTTP/1.1 spoken by hand, on either side of the gateway: every byte is the test's own, with rustls around it or
//! without.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ClientConnection;
use socket2::Socket;

use crate::daemon::PATIENCE;

/// One end of a connection, with what was read too early.
pub struct Wire {
    pub socket: Socket,
    /// Around everything that is said and heard.
    pub tls: Option<Box<ClientConnection>>,
    ahead: Vec<u8>,
}

/// An endpoint, or anything else that is connected to.
pub struct Door {
    pub address: String,
    socket: Socket,
}

/// A request or an answer.
#[derive(Debug)]
pub struct Message {
    /// The request line or the status line.
    pub first: String,
    pub fields: Vec<(String, String)>,
    pub content: Vec<u8>,
    /// What follows the last chunk.
    pub trailers: Vec<(String, String)>,
}

impl Door {
    pub fn tcp() -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Door { address, socket: OwnedFd::from(listener).into() }
    }

    pub fn accept(&self) -> Wire {
        readable(&self.socket, "nobody connects");
        Wire::of(self.socket.accept().unwrap().0)
    }

    /// Whether nobody waits to be accepted.
    pub fn is_quiet(&self) -> bool {
        let now = Timespec::default();
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now)).unwrap() == 0
    }
}

fn readable(socket: &Socket, why_not: &str) {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(ready, 1, "{why_not}");
}

impl Wire {
    /// Connects to `127.0.0.1:80` or `unix:/path`.
    pub fn to(address: &str) -> Wire {
        let socket: OwnedFd = match address.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).unwrap().into(),
            None => TcpStream::connect(address).unwrap().into(),
        };
        Wire::of(socket.into())
    }

    pub fn of(socket: Socket) -> Wire {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        // A Unix socket has no such option.
        let _ = socket.set_tcp_nodelay(true);
        Wire { socket, tls: None, ahead: vec![] }
    }

    /// The same with TLS around it, once this side has done all of its handshake.
    pub fn secured(mut self, tls: ClientConnection) -> std::io::Result<Wire> {
        let mut tls = Box::new(tls);
        while tls.is_handshaking() {
            tls.complete_io(&mut self.socket)?;
        }
        Ok(Wire { tls: Some(tls), ..self })
    }

    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.socket).write_all(bytes.as_ref()).unwrap(),
            None => self.socket.write_all(bytes.as_ref()).unwrap(),
        }
        self
    }

    /// Asks and reads the whole answer; the connection is kept.
    pub fn get(&mut self, host: &str, path: &str) -> Message {
        self.ask(host, path).message()
    }

    pub fn ask(&mut self, host: &str, path: &str) -> &mut Wire {
        self.say(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// With a content of known length.
    pub fn post(&mut self, host: &str, path: &str, content: &str) -> Message {
        let length = content.len();
        self.say(format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{content}"
        ));
        self.message()
    }

    /// Answers a request that was read.
    pub fn answer(&mut self, content: &str) -> &mut Wire {
        self.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()))
    }

    /// The next head alone.
    pub fn head(&mut self) -> Message {
        let bytes = self.until("\r\n\r\n");
        let mut lines = bytes.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        Message { first, fields: lines.map(field).collect(), content: vec![], trailers: vec![] }
    }

    /// The next head with its content, as far as it is framed by its length or in chunks.
    pub fn message(&mut self) -> Message {
        let mut message = self.head();
        if message.field("transfer-encoding") == Some("chunked") {
            self.chunks(&mut message);
        } else if let Some(length) = message.field("content-length") {
            message.content = self.exactly(length.parse().unwrap());
        }
        message
    }

    fn chunks(&mut self, message: &mut Message) {
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                break;
            }
            message.content.extend(chunk);
        }
        loop {
            match self.until("\r\n").trim_end() {
                "" => return,
                line => message.trailers.push(field(line)),
            }
        }
    }

    /// The next chunk; what follows the last, empty one is left.
    pub fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(self.until("\r\n").trim_end(), 16).unwrap();
        let chunk = self.exactly(size);
        if size > 0 {
            assert_eq!(self.exactly(2), b"\r\n");
        }
        chunk
    }

    /// Everything up to and with `end`.
    pub fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.ahead.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let rest = self.ahead.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.ahead, rest)).unwrap();
            }
            let came = self.more();
            assert!(
                came > 0,
                "the end came before {end:?}, after {:?}",
                String::from_utf8_lossy(&self.ahead)
            );
        }
    }

    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            assert!(self.more() > 0, "the end came after {} of {count} bytes", self.ahead.len());
        }
        let rest = self.ahead.split_off(count);
        std::mem::replace(&mut self.ahead, rest)
    }

    /// Some bytes, at most as many as are wanted; none at the end.
    pub fn some(&mut self, most: usize) -> Vec<u8> {
        if self.ahead.is_empty() {
            self.more();
        }
        let rest = self.ahead.split_off(most.min(self.ahead.len()));
        std::mem::replace(&mut self.ahead, rest)
    }

    fn more(&mut self) -> usize {
        let mut space = [0; 65_536];
        let count = self.read(&mut space).unwrap();
        self.ahead.extend_from_slice(&space[..count]);
        count
    }

    /// Whatever comes next. An end of TLS without close_notify is an error.
    pub fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.socket).read(space),
            None => self.socket.read(space),
        }
    }

    /// Waits for the other end to close, or to reset; false when it says something instead.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        self.ahead.is_empty()
            && match self.read(&mut byte) {
                Ok(count) => count == 0,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            }
    }

    /// Reads until the other end closes or resets; how many bytes came.
    pub fn drained(&mut self) -> usize {
        let mut space = [0; 65_536];
        let mut came = std::mem::take(&mut self.ahead).len();
        loop {
            match self.read(&mut space) {
                Ok(count) if count > 0 => came += count,
                Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
                _ => return came,
            }
        }
    }

    /// Nothing more is said from here.
    pub fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            tls.complete_io(&mut self.socket).unwrap();
        }
        self.socket.shutdown(Shutdown::Write).unwrap();
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

impl Message {
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|field| field.0 == name).map(|field| field.1.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.content).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// What `/echo` of the sample application saw of a field.
pub fn seen<'a>(echo: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let fields = echo["fields"].as_array().unwrap().iter();
    fields.filter(|field| field[0] == name).map(|field| field[1].as_str().unwrap()).collect()
}
