//! A normal client: a few kept-alive connections, GETs at a fixed rate.
//!
//! Promises: open loop: each request has its time, whatever became of the one before, and its latency
//! counts from that time, so that a stall is seen by every request that it made wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::storm::{self, Stream};

const CONNECTIONS: u32 = 4;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where it asks, with TLS or without.
#[derive(Clone, Copy)]
pub enum Door<'a> {
    Plain(&'a str),
    Secure(&'a str),
}

pub struct Calm {
    notes: Arc<Notes>,
    stops: Vec<Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

type Notes = (Mutex<Vec<Asked>>, Condvar);

/// One request.
struct Asked {
    due: Instant,
    took: Duration,
    failed: bool,
}

/// Some of the requests.
#[derive(Debug, Default, Serialize)]
pub struct Share {
    pub requests: usize,
    pub failed: usize,
    pub p50_us: u64,
    pub p99_us: u64,
    /// In microseconds, in their order.
    #[serde(skip)]
    pub times: Vec<u64>,
}

impl Calm {
    pub fn start(door: Door<'_>, per_second: u32) -> Calm {
        let notes = Arc::new(Notes::default());
        let began = Instant::now();
        let pause = Duration::from_secs(1) / per_second;
        let mut calm = Calm { notes, stops: vec![], threads: vec![] };
        for number in 0..CONNECTIONS {
            let (stop, stopped) = channel();
            let notes = Arc::clone(&calm.notes);
            let (address, secure) = match door {
                Door::Plain(address) => (address.to_owned(), false),
                Door::Secure(address) => (address.to_owned(), true),
            };
            let first = began + pause * number;
            let ask = move || keep_asking((&address, secure), first, pause * CONNECTIONS, &stopped, &notes);
            calm.threads.push(std::thread::spawn(ask));
            calm.stops.push(stop);
        }
        calm
    }

    /// Waits until there were so many requests.
    pub fn wait(&self, count: usize) {
        self.until(|all| all.len() >= count);
    }

    /// Waits until so many of the requests were due after this.
    pub fn wait_since(&self, since: Instant, count: usize) {
        self.until(|all| all.iter().filter(|one| one.due >= since).count() >= count);
    }

    fn until(&self, holds: impl Fn(&[Asked]) -> bool) {
        if let Ok(all) = self.notes.0.lock() {
            drop(self.notes.1.wait_while(all, |all| !holds(all)));
        }
    }

    /// Ends, and tells what was before this moment and what after it.
    pub fn finish(mut self, moment: Instant) -> (Share, Share) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let Ok(all) = self.notes.0.lock() else { return Default::default() };
        let (before, after): (Vec<&Asked>, Vec<&Asked>) = all.iter().partition(|one| one.due < moment);
        (share(&before), share(&after))
    }
}

impl Share {
    /// All of these times, in microseconds, of requests that were answered.
    pub fn of(mut times: Vec<u64>) -> Share {
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
        let (p50_us, p99_us) = (at(50).copied().unwrap_or(0), at(99).copied().unwrap_or(0));
        Share { requests: times.len(), failed: 0, p50_us, p99_us, times }
    }
}

fn share(all: &[&Asked]) -> Share {
    let times = all.iter().map(|one| one.took.as_micros() as u64).collect();
    Share { failed: all.iter().filter(|one| one.failed).count(), ..Share::of(times) }
}

fn keep_asking(door: (&str, bool), first: Instant, pause: Duration, stopped: &Receiver<()>, notes: &Notes) {
    let mut connection = None;
    let mut due = first;
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let answered = ask(&mut connection, door);
        if answered.is_err() {
            connection = None;
        }
        let asked = Asked { due, took: due.elapsed(), failed: answered.is_err() };
        if let Ok(mut all) = notes.0.lock() {
            all.push(asked);
        }
        notes.1.notify_all();
        due += pause;
    }
}

fn ask(connection: &mut Option<Box<dyn Stream>>, (address, secure): (&str, bool)) -> std::io::Result<()> {
    let socket = match connection {
        Some(socket) => socket,
        None => {
            let socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            connection.insert(match secure {
                true => Box::new(storm::connect(socket).map_err(std::io::Error::other)?),
                false => Box::new(socket),
            })
        }
    };
    socket.write_all(b"GET / HTTP/1.1\r\nHost: calm.test\r\n\r\n")?;
    let mut answer = vec![];
    let mut space = [0; 4096];
    while !answer.ends_with(b"\r\n\r\nok") {
        let count = socket.read(&mut space)?;
        if count == 0 || (!answer.is_empty() && !answer.starts_with(b"HTTP/1.1 200 ")) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&space[..count]);
    }
    Ok(())
}
