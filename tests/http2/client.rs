//! A client that says what the table tells it, byte by byte, and notes how the gateway takes it. With TLS or without.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::daemon::PATIENCE;
use crate::frames::*;
use crate::hpack::Decoder;
use crate::offer;
use rustls::{ClientConnection, StreamOwned};

pub struct Client {
    pub socket: TcpStream,
    /// Around everything that is said and heard.
    tls: Option<Box<StreamOwned<ClientConnection, TcpStream>>>,
    decoder: Decoder,
    streams: BTreeMap<u32, Stream>,
    /// The gateway's own settings.
    pub settings: BTreeMap<u16, u32>,
    /// What answers to PING carried.
    pub pongs: Vec<Vec<u8>>,
    /// How often the gateway said that our settings hold.
    pub acks: usize,
    goaway: Option<u32>,
    /// A GOAWAY without an error.
    pub leaves: bool,
    end: Option<Outcome>,
    /// With what error a stream was reset that had ended already.
    late: Option<u32>,
}

#[derive(Default)]
struct Stream {
    answer: Answer,
    ended: bool,
    reset: Option<u32>,
}

/// What came on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub interim: Vec<u16>,
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub content: String,
    pub trailers: Vec<(String, String)>,
    /// Reset with this code after the head, before the end.
    pub broken: Option<u32>,
}

/// How a stream, or the connection, came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answer(Answer),
    Reset(u32),
    Goaway(u32),
    Closed,
    /// The connection answers a PING as if nothing had happened.
    Alive,
    /// Nothing came for as long as anybody would wait.
    Silence,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }
}

impl Client {
    /// Has said nothing yet.
    pub fn silent(address: &str) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            socket,
            tls: None,
            decoder: Decoder::default(),
            streams: BTreeMap::new(),
            settings: BTreeMap::new(),
            pongs: vec![],
            acks: 0,
            goaway: None,
            leaves: false,
            end: None,
            late: None,
        }
    }

    /// The same inside of TLS, where HTTP/2 has been agreed on.
    pub fn silent_over_tls(address: &str) -> Client {
        let mut client = Client::silent(address);
        let tls = offer::Client::trusting_anybody().offering(&["h2"]).tls(None);
        let mut tls = StreamOwned::new(tls, client.socket.try_clone().unwrap());
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).unwrap();
        }
        assert_eq!(tls.conn.alpn_protocol(), Some(&b"h2"[..]));
        client.tls = Some(Box::new(tls));
        client
    }

    /// Has said the preface, and knows the gateway's settings.
    pub fn to(address: &str) -> Client {
        Client::silent(address).greeted()
    }

    /// The same of one that has said nothing yet.
    pub fn greeted(self) -> Client {
        let mut client = self;
        // Without a dynamic table on our side.
        client.say(&hello(&[(1, 0)]));
        while client.acks == 0 && client.end.is_none() {
            client.step();
        }
        client
    }

    /// What cannot be written any more, since the gateway has closed, shows in the outcome.
    pub fn say(&mut self, bytes: &[u8]) -> &mut Client {
        let _ = match &mut self.tls {
            Some(tls) => tls.write_all(bytes),
            None => self.socket.write_all(bytes),
        };
        self
    }

    pub fn get(&mut self, stream: u32, host: &str, path: &str) -> &mut Client {
        self.say(&headers(
            stream,
            END_STREAM,
            &[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", host)],
        ))
    }

    /// The end of this stream; of stream 0: of the connection, if it comes before the answer to a PING.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        if stream == 0 {
            self.say(&ping(0, *b"barrier!"));
        }
        loop {
            if let Some(found) = self.found(stream) {
                return found;
            }
            self.step();
        }
    }

    fn found(&self, stream: u32) -> Option<Outcome> {
        if let Some(found) = self.streams.get(&stream) {
            match (found.answer.status, found.ended, found.reset) {
                (_, true, _) => return Some(Outcome::Answer(found.answer.clone())),
                (0, false, Some(code)) => return Some(Outcome::Reset(code)),
                (_, false, Some(code)) => {
                    return Some(Outcome::Answer(Answer { broken: Some(code), ..found.answer.clone() }));
                }
                _ => {}
            }
        }
        let goaway = self.goaway.map(Outcome::Goaway);
        let alive = stream == 0 && self.pongs.iter().any(|pong| pong == b"barrier!");
        goaway
            .or_else(|| self.end.clone())
            .or_else(|| alive.then(|| self.late.map_or(Outcome::Alive, Outcome::Reset)))
    }

    /// Reads until this stream has been reset, also after its end; none when the connection ended instead.
    pub fn reset_of(&mut self, stream: u32) -> Option<u32> {
        loop {
            let reset = self.streams.get(&stream).and_then(|stream| stream.reset);
            if reset.is_some() || self.end.is_some() {
                return reset;
            }
            self.step();
        }
    }

    /// Whether nothing more can be asked on this connection.
    pub fn is_over(&self) -> bool {
        self.goaway.is_some() || self.end.is_some() || self.leaves
    }

    /// Reads until the gateway has closed.
    pub fn closes(&mut self) {
        while self.end.is_none() {
            self.step();
        }
        assert_eq!(self.end, Some(Outcome::Closed));
    }

    /// Reads until this interim answer has come, or the end of the stream.
    pub fn interim(&mut self, stream: u32, status: u16) -> bool {
        loop {
            if self.streams.get(&stream).is_some_and(|stream| stream.answer.interim.contains(&status)) {
                return true;
            }
            if self.found(stream).is_some() {
                return false;
            }
            self.step();
        }
    }

    /// Reads until the head of the final answer has come.
    pub fn head(&mut self, stream: u32) -> u16 {
        loop {
            match self.streams.get(&stream) {
                Some(stream) if stream.answer.status > 0 => return stream.answer.status,
                _ if self.found(stream).is_some() => return 0,
                _ => self.step(),
            }
        }
    }

    /// How much content has come so far.
    pub fn received(&self, stream: u32) -> usize {
        self.streams.get(&stream).map_or(0, |stream| stream.answer.content.len())
    }

    /// Reads one frame.
    pub fn step(&mut self) {
        let frame = match self.frame() {
            Ok(Some(frame)) => frame,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
                self.end = Some(Outcome::Silence);
                return;
            }
            _ => {
                self.end = Some(Outcome::Closed);
                return;
            }
        };
        match frame.kind {
            SETTINGS if frame.has(ACK) => self.acks += 1,
            SETTINGS => {
                for six in frame.payload.chunks(6) {
                    let id = u16::from_be_bytes([six[0], six[1]]);
                    let value = u32::from_be_bytes(six[2..].try_into().unwrap());
                    self.settings.insert(id, value);
                }
                self.say(&crate::frames::frame(SETTINGS, ACK, 0, &[]));
            }
            PING if frame.has(ACK) => self.pongs.push(frame.payload),
            PING => _ = self.say(&crate::frames::frame(PING, ACK, 0, &frame.payload)),
            GOAWAY => match frame.number(4) {
                0 => self.leaves = true,
                code => self.goaway = Some(code),
            },
            RST_STREAM => {
                let code = frame.number(0);
                let stream = self.streams.entry(frame.stream).or_default();
                if stream.ended && code != 0 {
                    self.late = Some(code);
                }
                stream.reset = Some(code);
            }
            HEADERS => self.take_head(frame),
            DATA => {
                let stream = self.streams.entry(frame.stream).or_default();
                stream.answer.content.extend(frame.payload.iter().map(|byte| char::from(*byte)));
                stream.ended |= frame.has(END_STREAM);
            }
            _ => {}
        }
    }

    fn frame(&mut self) -> std::io::Result<Option<Frame>> {
        let from: &mut dyn Read = match &mut self.tls {
            Some(tls) => tls,
            None => &mut self.socket,
        };
        Frame::read(from)
    }

    fn take_head(&mut self, mut frame: Frame) {
        while !frame.has(END_HEADERS) {
            let Ok(Some(more)) = self.frame() else {
                self.end = Some(Outcome::Closed);
                return;
            };
            frame.payload.extend(more.payload);
            frame.flags |= more.flags & END_HEADERS;
        }
        let mut fields = self.decoder.fields(&frame.payload);
        let stream = self.streams.entry(frame.stream).or_default();
        let status = fields.iter().find(|field| field.0 == ":status");
        let status = status.map(|field| field.1.parse::<u16>().unwrap());
        fields.retain(|field| field.0 != ":status");
        match status {
            Some(interim @ 100..200) => stream.answer.interim.push(interim),
            Some(status) => {
                stream.answer.status = status;
                stream.answer.fields = fields;
            }
            None => stream.answer.trailers = fields,
        }
        stream.ended |= frame.has(END_STREAM);
    }
}
