//! The raw endpoint: it records every byte of every connection and answers by script.
//!
//! One listening socket serves all rows: each run of a row has a loopback address of its own
//! (127.1.x.y), so what it receives is its own as well.
//! Promises: nothing received is lost, whatever becomes of its connection; a request is answered when
//! its script says, not before.
//! Must not know: what a row expects.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, spawn};

use crate::oracle::{self, find};
use crate::peer::{Heard, PATIENCE, Peer};
use crate::row::{Act, HOST, OK, Row, Step};

/// One run of a row.
pub struct Lane {
    pub row: Arc<Row>,
    pub by_bytes: bool,
    /// Whether the client comes over TLS.
    pub secure: bool,
    number: usize,
    next: Mutex<usize>,
    /// What came over each connection.
    pub connections: Mutex<Vec<Heard>>,
    marks: Mutex<BTreeSet<&'static str>>,
    marked: Condvar,
}

impl Lane {
    pub fn new(row: Arc<Row>, by_bytes: bool, secure: bool, number: usize) -> Lane {
        Lane {
            row,
            by_bytes,
            secure,
            number,
            next: Mutex::default(),
            connections: Mutex::default(),
            marks: Mutex::default(),
            marked: Condvar::new(),
        }
    }

    pub fn host(&self) -> String {
        format!("a{:04}.test", self.number)
    }

    pub fn address(&self) -> Ipv4Addr {
        let [.., high, low] = (self.number as u32).to_be_bytes();
        Ipv4Addr::new(127, 1, high, low)
    }

    /// With this run's own host, in either case.
    pub fn own(&self, bytes: &[u8]) -> Vec<u8> {
        let (mut own, host) = (bytes.to_vec(), self.host());
        for (theirs, ours) in [(HOST.to_owned(), host.clone()), (HOST.to_uppercase(), host.to_uppercase())] {
            let mut at = 0;
            while let Some(place) = find(&own[at..], theirs.as_bytes()) {
                own[at + place..at + place + ours.len()].copy_from_slice(ours.as_bytes());
                at += place + ours.len();
            }
        }
        own
    }

    pub fn own_text(&self, text: &str) -> String {
        text.replace(HOST, &self.host())
    }

    pub fn mark(&self, name: &'static str) {
        self.marks.lock().unwrap().insert(name);
        self.marked.notify_all();
    }

    pub fn await_mark(&self, name: &str) -> Result<(), String> {
        let marks = self.marks.lock().unwrap();
        let waiting = self.marked.wait_timeout_while(marks, PATIENCE, |marks| !marks.contains(name));
        if waiting.unwrap().1.timed_out() { Err(format!("{name:?} never came to pass")) } else { Ok(()) }
    }

    /// Everything that the client of this row says, for a report.
    pub fn said(&self) -> Vec<u8> {
        let said = self.row.steps.iter().filter_map(|step| match step {
            Step::Say(bytes) => Some(self.own(bytes)),
            _ => None,
        });
        said.collect::<Vec<_>>().concat()
    }

    fn following(&self) -> usize {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        *next - 1
    }
}

pub struct Endpoint {
    pub port: u16,
    /// Returns every connection that was made.
    accepting: JoinHandle<Vec<JoinHandle<()>>>,
}

impl Endpoint {
    pub fn bind() -> (TcpListener, u16) {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    pub fn start(listener: TcpListener, lanes: Vec<Arc<Lane>>) -> Endpoint {
        let port = listener.local_addr().unwrap().port();
        let accepting = spawn(move || {
            let mut serving = vec![];
            for stream in listener.incoming().map_while(Result::ok) {
                let local = stream.local_addr().unwrap().ip();
                let of = |lane: &&Arc<Lane>| IpAddr::V4(lane.address()) == local;
                let Some(lane) = lanes.iter().find(of).cloned() else { break };
                serving.push(spawn(move || serve(stream, &lane)));
            }
            serving
        });
        Endpoint { port, accepting }
    }

    /// Waits until every connection has been accepted and has ended; there must be nobody left to make one.
    pub fn ends(self) {
        // An address that belongs to no row ends the accepting, after all that wait before it.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        for thread in self.accepting.join().unwrap() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, lane: &Lane) {
    let heard = Heard::default();
    lane.connections.lock().unwrap().push(Arc::clone(&heard));
    let mut peer = Peer::new(stream, heard, lane.by_bytes);
    // A script that cannot go on leaves the connection to its end, for the record.
    let mut at = 0;
    loop {
        match exchange(&mut peer, lane, at) {
            Ok(Next::Request(after)) => at = after,
            Ok(Next::Reset) => return peer.reset(),
            Ok(Next::End) | Err(_) => break,
        }
    }
    while peer.end.is_none() && peer.hear(|_, end| end.is_some()).is_ok() {}
}

/// What comes after a script.
enum Next {
    /// Another request, which begins here.
    Request(usize),
    Reset,
    End,
}

/// One request and its script.
fn exchange(peer: &mut Peer, lane: &Lane, at: usize) -> Result<Next, String> {
    let there = |bytes: &[u8]| oracle::request(&bytes[at..], lane.row.tunnels);
    // Wrong bytes end the waiting as well.
    peer.hear(|bytes, _| !matches!(there(bytes), Ok(None)))?;
    if there(&peer.heard.lock().unwrap())?.is_none() {
        return Ok(Next::End);
    }
    let plain = [Act::Whole, crate::row::say(OK)];
    let script = lane.row.scripts.get(lane.following()).map_or(&plain[..], |script| &script[..]);
    for act in script {
        match act {
            Act::Whole => peer.hear(|bytes, _| there(bytes).is_err() || is_whole(there(bytes)))?,
            Act::Heard(text) => peer.hear(|bytes, _| find(&bytes[at..], text.as_bytes()).is_some())?,
            Act::Say(bytes) => peer.say(&lane.own(bytes))?,
            Act::Close => {
                peer.half_close();
                return Ok(Next::End);
            }
            Act::Reset => return Ok(Next::Reset),
            Act::Mark(name) => lane.mark(name),
            Act::Await(name) => lane.await_mark(name)?,
        }
    }
    // An early answer: the rest of this request comes before the next one.
    peer.hear(|bytes, _| there(bytes).is_err() || is_whole(there(bytes)))?;
    let request = there(&peer.heard.lock().unwrap())?;
    let whole = request.filter(|(message, _)| message.whole);
    Ok(whole.map_or(Next::End, |(_, length)| Next::Request(at + length)))
}

fn is_whole(request: Result<Option<(oracle::Message, usize)>, String>) -> bool {
    matches!(request, Ok(Some((message, _))) if message.whole)
}
