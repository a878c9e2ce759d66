//! The load: connections that ask as fast as they are answered, over two threads with an epoll each.
//!
//! Promises: bounded by whoever started it; every answer is read as a whole and its status looked at; what fails is
//! counted and told; times are exact to a microsecond. Must not know: who answers.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::machine;
use super::wire::{Progress, Reading};

pub const HOST: &str = "bench.example";

/// What is asked, and over what.
#[derive(Clone)]
pub struct Load {
    pub target: SocketAddr,
    pub request: Arc<Vec<u8>>,
    pub connections: usize,
    /// A connection for each request.
    pub fresh: bool,
    pub tls: Option<Arc<ClientConfig>>,
}

/// What has happened so far.
#[derive(Default)]
pub struct Counts {
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    pub handshakes: AtomicU64,
    pub resumed: AtomicU64,
    /// No more than so many requests are begun.
    allowed: AtomicU64,
    begun: AtomicU64,
    measured: AtomicBool,
    over: AtomicBool,
    first_failure: Mutex<Option<String>>,
}

pub struct Generator {
    pub counts: Arc<Counts>,
    threads: Vec<JoinHandle<Vec<u32>>>,
    ends: Receiver<()>,
}

impl Generator {
    /// Begins at once, with at most so many requests.
    pub fn start(load: &Load, processors: &[usize], at_most: u64) -> Generator {
        let counts = Arc::new(Counts { allowed: AtomicU64::new(at_most), ..Counts::default() });
        let (end, ends) = channel();
        let share = load.connections.div_ceil(processors.len());
        let threads = processors.iter().map(|processor| {
            let (load, counts, end, processor) = (load.clone(), counts.clone(), end.clone(), *processor);
            std::thread::spawn(move || {
                let _ = machine::pin(&[processor]);
                let mut thread = Thread { load, counts, times: vec![] };
                if let Err(error) = thread.run(share) {
                    thread.fails(&error.to_string());
                }
                let _ = end.send(());
                thread.times
            })
        });
        Generator { counts: counts.clone(), threads: threads.collect(), ends }
    }

    pub fn measures(&self, whether: bool) {
        self.counts.measured.store(whether, Relaxed);
    }

    /// Until all that was allowed has been answered.
    pub fn wait(&self, patience: Duration) -> anyhow::Result<()> {
        for _ in &self.threads {
            if self.ends.recv_timeout(patience).is_err() {
                bail!("no answer for {} s", patience.as_secs());
            }
        }
        Ok(())
    }

    /// The times in microseconds, sorted; an error when anything failed.
    pub fn finish(self) -> anyhow::Result<Vec<u32>> {
        self.counts.over.store(true, Relaxed);
        let mut times = vec![];
        for thread in self.threads {
            times.append(&mut thread.join().ok().context("a thread of the generator panicked")?);
        }
        times.sort_unstable();
        let first = self.counts.first_failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match first {
            None => Ok(times),
            Some(failure) => {
                bail!("{} requests failed, the first one: {failure}", self.counts.failed.load(Relaxed))
            }
        }
    }
}

struct Thread {
    load: Load,
    counts: Arc<Counts>,
    times: Vec<u32>,
}

impl Thread {
    fn run(&mut self, connections: usize) -> anyhow::Result<()> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut open: Vec<Option<Connection>> = vec![];
        for number in 0..connections {
            open.push(self.opens(poll.as_fd(), number)?);
        }
        let mut space = vec![0; 256 << 10];
        let mut events: Vec<Event> = Vec::with_capacity(256);
        let beat = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        while !self.counts.over.load(Relaxed) && open.iter().any(Option::is_some) {
            events.clear();
            epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&beat))?;
            for event in &events {
                let number = event.data.u64() as usize;
                let Some(connection) = &mut open[number] else { continue };
                match connection.goes_on(&self.load, &mut space) {
                    Ok(Step::Waits) => {}
                    Ok(Step::Answered) => {
                        self.counts(connection.began.elapsed());
                        if !self.may_begin() {
                            open[number] = None;
                        } else if let Err(error) = connection.begins(&self.load) {
                            self.fails(&error.to_string());
                            open[number] = None;
                        }
                    }
                    Ok(Step::Ended(time)) => {
                        self.counts(time);
                        self.looks_at(connection);
                        open[number] = None;
                        open[number] = self.opens(poll.as_fd(), number)?;
                    }
                    Err(error) => {
                        self.fails(&error.to_string());
                        open[number] = None;
                    }
                }
            }
        }
        Ok(())
    }

    fn may_begin(&self) -> bool {
        self.counts.begun.fetch_add(1, Relaxed) < self.counts.allowed.load(Relaxed)
    }

    fn opens(&self, poll: BorrowedFd, number: usize) -> anyhow::Result<Option<Connection>> {
        if !self.may_begin() {
            return Ok(None);
        }
        let began = Instant::now();
        let socket = TcpStream::connect(self.load.target).context("cannot connect")?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(poll, &socket, EventData::new_u64(number as u64), interest)?;
        let tls = match &self.load.tls {
            Some(config) => {
                Some(Box::new(ClientConnection::new(config.clone(), ServerName::try_from(HOST)?)?))
            }
            None => None,
        };
        let mut connection =
            Connection { socket, tls, written: 0, reading: Reading::default(), began, answered: None };
        connection.begins(&self.load)?;
        connection.began = began;
        Ok(Some(connection))
    }

    fn counts(&mut self, time: Duration) {
        self.counts.answered.fetch_add(1, Relaxed);
        if self.counts.measured.load(Relaxed) {
            self.times.push(time.as_micros() as u32);
        }
    }

    fn looks_at(&self, connection: &Connection) {
        if let Some(tls) = &connection.tls {
            self.counts.handshakes.fetch_add(1, Relaxed);
            if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
                self.counts.resumed.fetch_add(1, Relaxed);
            }
        }
    }

    fn fails(&self, why: &str) {
        self.counts.failed.fetch_add(1, Relaxed);
        let mut first = self.counts.first_failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert_with(|| why.to_owned());
    }
}

struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes of the request.
    written: usize,
    reading: Reading,
    began: Instant,
    answered: Option<Duration>,
}

enum Step {
    Waits,
    Answered,
    /// The end of a connection that is for one request, and when its answer was there.
    Ended(Duration),
}

impl Connection {
    fn begins(&mut self, load: &Load) -> io::Result<()> {
        self.began = Instant::now();
        self.written = 0;
        self.reading.next();
        self.answered = None;
        self.sends(&load.request)
    }

    /// As much of the request as the socket takes.
    fn sends(&mut self, request: &[u8]) -> io::Result<()> {
        while self.written < request.len() {
            let rest = &request[self.written..];
            let sent = match &mut self.tls {
                None => self.socket.write(rest),
                Some(tls) => tls.writer().write(rest),
            };
            match sent {
                // rustls holds no more for now.
                Ok(0) => break,
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.flushes()
    }

    fn flushes(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// 0 at the end.
    fn receives(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(space) };
        loop {
            match tls.reader().read(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                decided => return decided,
            }
            let count = tls.read_tls(&mut self.socket)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
            if count == 0 {
                return tls.reader().read(space);
            }
        }
    }

    fn goes_on(&mut self, load: &Load, space: &mut [u8]) -> io::Result<Step> {
        if self.answered.is_none() {
            self.sends(&load.request)?;
        }
        loop {
            let count = match self.receives(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Waits),
                Err(error) => return Err(error),
                Ok(count) => count,
            };
            match self.answered {
                Some(time) if count == 0 => return Ok(Step::Ended(time)),
                Some(_) => return Err(io::Error::other("more than the answer")),
                None if count == 0 => return Err(io::Error::other("the end before the answer")),
                None => {}
            }
            if let Progress::More = self.reading.take(&space[..count]).map_err(io::Error::other)? {
                continue;
            }
            if !self.reading.head().starts_with(b"HTTP/1.1 200 ") {
                let head = String::from_utf8_lossy(self.reading.head());
                return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
            }
            if !load.fresh {
                return Ok(Step::Answered);
            }
            // After the answer comes the end, and only then another connection.
            self.answered = Some(self.began.elapsed());
        }
    }
}
