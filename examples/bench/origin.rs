//! The application behind every subject: canned answers, read and written by two threads.
//!
//! `/1k`, `/100k` and `/1m` are answered with as many bytes; a POST once all of its content is there. Promises:
//! loopback only, connections are kept; its threads end with it.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::machine;
use super::wire::{Progress, Reading};

const MORE: usize = 4096;

pub struct Origin {
    pub address: SocketAddr,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Origin {
    pub fn start(processors: &[usize]) -> anyhow::Result<Origin> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        rustix::net::listen(&listener, MORE as i32)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(Answers::new());
        let threads = processors.iter().map(|processor| {
            let (listener, ended, answers) = (listener.try_clone()?, ended.clone(), answers.clone());
            let processor = *processor;
            Ok(std::thread::spawn(move || {
                let _ = machine::pin(&[processor]);
                if let Err(error) = serve(&listener, &answers, &ended) {
                    eprintln!("the origin has ended: {error}");
                }
            }))
        });
        let threads = threads.collect::<anyhow::Result<_>>()?;
        Ok(Origin { address, ended, threads })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Each with its head.
struct Answers {
    small: Vec<u8>,
    middle: Vec<u8>,
    large: Vec<u8>,
    posted: Vec<u8>,
}

impl Answers {
    fn new() -> Answers {
        let of = |size: usize| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\
                 ETag: \"bench\"\r\nCache-Control: max-age=60\r\n\r\n"
            );
            let mut answer = head.into_bytes();
            answer.resize(answer.len() + size, b'x');
            answer
        };
        Answers { small: of(1 << 10), middle: of(100 << 10), large: of(1 << 20), posted: of(2) }
    }

    fn to(&self, head: &[u8]) -> &[u8] {
        match head {
            _ if head.starts_with(b"POST ") => &self.posted,
            _ if head.starts_with(b"GET /1m ") => &self.large,
            _ if head.starts_with(b"GET /100k ") => &self.middle,
            _ => &self.small,
        }
    }
}

struct Connection {
    socket: TcpStream,
    reading: Reading,
    /// How much of the answer has been written, while one is due.
    written: Option<usize>,
}

fn serve(listener: &TcpListener, answers: &Answers, ended: &AtomicBool) -> std::io::Result<()> {
    const DOOR: u64 = u64::MAX;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, EventData::new_u64(DOOR), EventFlags::IN | EventFlags::EXCLUSIVE)?;
    let mut connections: HashMap<RawFd, Connection> = HashMap::new();
    let mut space = vec![0; 256 << 10];
    let mut events: Vec<Event> = Vec::with_capacity(256);
    let beat = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !ended.load(Ordering::Relaxed) {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&beat))?;
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            if data.u64() != DOOR {
                let number = data.u64() as RawFd;
                let Some(connection) = connections.get_mut(&number) else { continue };
                if !connection.goes_on(answers, &mut space, flags.contains(EventFlags::RDHUP)) {
                    connections.remove(&number);
                }
                continue;
            }
            let Ok((socket, _)) = listener.accept() else { continue };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let number = socket.as_raw_fd();
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&poll, &socket, EventData::new_u64(number as u64), interest)?;
            connections.insert(number, Connection { socket, reading: Reading::default(), written: None });
        }
    }
    Ok(())
}

impl Connection {
    /// Whether it is still open.
    fn goes_on(&mut self, answers: &Answers, space: &mut [u8], ends: bool) -> bool {
        loop {
            if let Some(written) = self.written {
                let answer = answers.to(self.reading.head());
                match self.socket.write(&answer[written..]) {
                    Ok(count) if written + count == answer.len() => {
                        self.written = None;
                        self.reading.next();
                        if !ends {
                            return true;
                        }
                    }
                    Ok(count) => self.written = Some(written + count),
                    Err(error) => return error.kind() == ErrorKind::WouldBlock,
                }
                continue;
            }
            let count = match self.socket.read(space) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            match self.reading.take(&space[..count]) {
                Ok(Progress::Whole) => self.written = Some(0),
                Ok(Progress::More) => {}
                Err(_) => return false,
            }
        }
    }
}
