//! HTTP/1.1 clients inside a host's network, with the sockets in the hands of the test.
//!
//! Promises: plain blocking sockets, so that a test decides what is sent when; a socket is made
//! by a thread that enters the host's network namespace and stays in it for good.

use super::{BOUND, Host};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An answer that was read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and fields.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// A field's value; empty when it is absent.
    pub fn field(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
            .unwrap_or("")
    }
}

impl Host {
    /// A connection to a port of the host.
    pub fn connect(&self, port: u16) -> io::Result<TcpStream> {
        connect(self.leader(), port)
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, authority: &str, path: &str) -> Answer {
        get(self.leader(), authority, path).unwrap_or_else(|error| panic!("GET {authority}{path}: {error}"))
    }

    /// The same beside the test; `join` it for the answer. The request has been written when
    /// this returns.
    pub fn get_later(&self, authority: &str, path: &str) -> JoinHandle<io::Result<Answer>> {
        let mut stream = self.connect(80).unwrap();
        ask(&mut stream, authority, path, "close").unwrap();
        std::thread::spawn(move || read_answer(&mut BufReader::new(stream)))
    }

    /// Requests without a pause, half on fresh connections, half on kept-alive ones, until
    /// [`Steady::stop`].
    pub fn steady(&self, authority: &str, path: &str, clients: usize) -> Steady {
        self.start(authority, path, clients, u64::MAX)
    }

    /// A number of requests by that many clients, without a pause.
    pub fn ask(&self, authority: &str, path: &str, clients: usize, requests: u64) -> Tally {
        self.start(authority, path, clients, requests / clients as u64).end()
    }

    fn start(&self, authority: &str, path: &str, clients: usize, each: u64) -> Steady {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |index: usize| {
            let (leader, stop) = (self.leader(), Arc::clone(&stop));
            let (authority, path) = (authority.to_owned(), path.to_owned());
            std::thread::spawn(move || {
                steady(leader, &authority, &path, index.is_multiple_of(2), each, &stop)
            })
        };
        let clients = (0..clients).map(start).collect();
        Steady { stop, clients }
    }
}

/// Clients that are asking.
pub struct Steady {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Steady {
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.end()
    }

    fn end(self) -> Tally {
        self.clients.into_iter().map(|client| client.join().unwrap()).fold(Tally::default(), Tally::and)
    }
}

/// What became of steady requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered with 200.
    pub answered: u64,
    /// Anything else, in words.
    pub failed: Vec<String>,
    /// The longest that one request took.
    pub worst: Duration,
}

impl Tally {
    fn and(mut self, other: Tally) -> Tally {
        self.failed.extend(other.failed);
        Tally { answered: self.answered + other.answered, worst: self.worst.max(other.worst), ..self }
    }

    fn count(&mut self, result: io::Result<Answer>, began: Instant) {
        self.worst = self.worst.max(began.elapsed());
        match result {
            Ok(answer) if answer.status == 200 => self.answered += 1,
            Ok(answer) => self.failed.push(answer.head.lines().next().unwrap_or("").to_owned()),
            Err(error) => self.failed.push(format!("{error} ({:?})", error.kind())),
        }
    }
}

fn steady(leader: u32, authority: &str, path: &str, fresh: bool, requests: u64, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut kept: Option<BufReader<TcpStream>> = None;
    for _ in 0..requests {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let reuse = kept.take().map_or_else(|| connect(leader, 80).map(BufReader::new), Ok);
        let asked = reuse.and_then(|mut stream| {
            let connection = if fresh { "close" } else { "keep-alive" };
            ask(stream.get_mut(), authority, path, connection)?;
            let answer = read_answer(&mut stream)?;
            Ok((stream, answer))
        });
        let (stream, answer) = asked.map_or_else(|error| (None, Err(error)), |(s, a)| (Some(s), Ok(a)));
        let closes = |answer: &Answer| fresh || answer.field("connection").eq_ignore_ascii_case("close");
        kept = stream.filter(|_| answer.as_ref().is_ok_and(|answer| !closes(answer)));
        tally.count(answer, began);
    }
    tally
}

fn get(leader: u32, authority: &str, path: &str) -> io::Result<Answer> {
    let mut stream = connect(leader, 80)?;
    ask(&mut stream, authority, path, "close")?;
    read_answer(&mut BufReader::new(stream))
}

fn ask(stream: &mut TcpStream, authority: &str, path: &str, connection: &str) -> io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes())
}

/// A socket belongs to the network namespace of the thread that made it.
fn connect(leader: u32, port: u16) -> io::Result<TcpStream> {
    let connecting = std::thread::spawn(move || {
        let network = File::open(format!("/proc/{leader}/ns/net"))?;
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        Ok(stream)
    });
    connecting.join().unwrap()
}

/// Reads one answer with `Content-Length`, chunked, or up to the end of the connection.
pub fn read_answer(stream: &mut impl BufRead) -> io::Result<Answer> {
    let head = read_head(stream)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not an answer: {head:?}")))?;
    let mut answer = Answer { status, head, body: String::new() };
    let mut body = Vec::new();
    if answer.field("transfer-encoding").eq_ignore_ascii_case("chunked") {
        read_chunks(stream, &mut body)?;
    } else if let Ok(length) = answer.field("content-length").parse() {
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
    } else if status != 204 && status != 304 {
        stream.read_to_end(&mut body)?;
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}

fn read_head(stream: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            let said = if head.is_empty() { "closed before an answer" } else { "closed within the head" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, said));
        }
    }
    Ok(head)
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
            .map_err(io::Error::other)?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk[..length]);
        if length == 0 {
            return Ok(());
        }
    }
}
