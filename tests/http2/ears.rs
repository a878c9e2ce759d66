//! The ears of an endpoint: its listening socket, and every connection that it has accepted.
//!
//! ```text
//!   accept ──▶ Busy ──nothing to read──▶ Waiting ──something──▶ Busy … ──dropped──▶ gone
//!                └──deafen──▶ Deaf: never reads again
//! ```
//! Promises: when [`Ears::settle`] returns, everything that had been sent to the endpoint before is noted: nobody
//! waits to be accepted, each connection waits for more with nothing to read, and the kernel has nothing on the way.
//! An ear says that it waits before it looks, and that it is busy before it reads, so that no byte is ever
//! neither in a socket nor in busy hands.
//! Must not know: what is heard.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::daemon::PATIENCE;

#[derive(Clone)]
pub struct Ears(Arc<Shared>);

struct Shared {
    listener: TcpListener,
    known: Mutex<Known>,
    changed: Condvar,
}

/// Every connection that is open, by its number.
#[derive(Default)]
struct Known {
    count: usize,
    open: BTreeMap<usize, Open>,
}

struct Open {
    socket: Arc<TcpStream>,
    /// The port of the other end.
    peer: u16,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Busy,
    Waiting,
    Deaf,
}

/// One connection; gone from the books when it is dropped.
pub struct Ear {
    socket: Arc<TcpStream>,
    number: usize,
    ears: Ears,
}

impl Ears {
    pub fn listening() -> Ears {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Ears(Arc::new(Shared { listener, known: Mutex::default(), changed: Condvar::new() }))
    }

    pub fn address(&self) -> String {
        self.0.listener.local_addr().unwrap().to_string()
    }

    /// The next connection; counted before its place in the queue is free.
    pub fn accept(&self) -> Ear {
        loop {
            let _ = poll(&mut [PollFd::new(&self.0.listener, PollFlags::IN)], None);
            let mut known = self.0.known.lock().unwrap();
            let Ok((socket, peer)) = self.0.listener.accept() else { continue };
            let socket = Arc::new(socket);
            known.count += 1;
            let number = known.count;
            let open = Open { socket: Arc::clone(&socket), peer: peer.port(), state: State::Busy };
            known.open.insert(number, open);
            return Ear { socket, number, ears: self.clone() };
        }
    }

    /// Waits until everything that has been sent was heard, and what came of it is noted.
    pub fn settle(&self) {
        let began = Instant::now();
        let mut known = self.0.known.lock().unwrap();
        while let Err(why) = self.is_settled(&known) {
            assert!(began.elapsed() < PATIENCE, "the endpoint does not settle: {why}");
            // The threads tell; the kernel does not.
            known = self.0.changed.wait_timeout(known, Duration::from_millis(1)).unwrap().0;
        }
    }

    fn is_settled(&self, known: &Known) -> Result<(), String> {
        // What is on the way comes first: it may arrive between the two looks, and is seen then.
        on_the_way(self.0.listener.local_addr().unwrap().port(), known)?;
        if has_something(&self.0.listener) {
            return Err("somebody waits to be accepted".to_owned());
        }
        for Open { socket, peer, state } in known.open.values() {
            match state {
                State::Busy => return Err(format!("the connection of port {peer} is busy")),
                State::Waiting if has_something(&**socket) => {
                    return Err(format!("the connection of port {peer} has something to read"));
                }
                State::Waiting | State::Deaf => {}
            }
        }
        Ok(())
    }
}

/// Without waiting; an end and an error are something as well.
fn has_something(socket: impl std::os::fd::AsFd) -> bool {
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
}

/// Whether the kernel still carries something to this port: on a busy processor the loopback device is emptied when
/// there is time for it. proc_pid_net(5), "/proc/net/tcp".
fn on_the_way(port: u16, known: &Known) -> Result<(), String> {
    const ESTABLISHED: &str = "01";
    const SYN_RECEIVED: &str = "03";
    /// SYN_SENT, FIN_WAIT1, LAST_ACK, CLOSING: something of them is not acknowledged.
    const UNDER_WAY: [&str; 4] = ["02", "04", "09", "0B"];
    let here = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut others = vec![];
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, queues, ..] = words[..] else { continue };
        if local == here && state == SYN_RECEIVED {
            return Err(format!("a connection begins: {line}"));
        }
        if remote != here {
            continue;
        }
        let other = u16::from_str_radix(&local[9..], 16).unwrap();
        let ear = known.open.values().find(|open| open.peer == other).map(|open| open.state);
        others.push(other);
        let untaken = UNDER_WAY.contains(&state) || !queues.starts_with("00000000:");
        let unknown = ear.is_none() && state == ESTABLISHED;
        if ear != Some(State::Deaf) && (untaken || unknown) {
            return Err(format!("something is on the way: {line}"));
        }
    }
    let hears = |open: &&Open| open.state != State::Deaf;
    match known.open.values().filter(hears).find(|open| !others.contains(&open.peer)) {
        Some(open) => Err(format!("the end of the connection of port {} is on the way", open.peer)),
        None => Ok(()),
    }
}

impl Ear {
    /// It never reads again, and nobody waits for it.
    pub fn deafen(&self) {
        self.becomes(State::Deaf);
    }

    fn becomes(&self, state: State) {
        if let Some(open) = self.ears.0.known.lock().unwrap().open.get_mut(&self.number) {
            open.state = state;
        }
        self.ears.0.changed.notify_all();
    }
}

impl Read for Ear {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        // What was taken is acknowledged now instead of 40 ms later, since `on_the_way` waits for it.
        let _ = SockRef::from(&*self.socket).set_tcp_quickack(true);
        self.becomes(State::Waiting);
        let _ = poll(&mut [PollFd::new(&*self.socket, PollFlags::IN)], None);
        self.becomes(State::Busy);
        loop {
            match (&*self.socket).read(space) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ears.0.known.lock().unwrap().open.remove(&self.number);
        self.ears.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that reached its endpoint late was once charged to the row after it.
    #[test]
    fn nothing_is_settled_that_was_sent_and_not_taken() {
        let ears = Ears::listening();
        let settled = || ears.is_settled(&ears.0.known.lock().unwrap());
        assert_eq!(settled(), Ok(()));
        let mut client = TcpStream::connect(ears.address()).unwrap();
        assert!(settled().is_err(), "nobody has accepted it");
        let ear = ears.accept();
        assert!(settled().is_err(), "its thread is busy");
        ear.becomes(State::Waiting);
        ears.settle();
        client.write_all(b"x").unwrap();
        assert!(settled().is_err(), "somewhere there is a byte");
        ear.becomes(State::Busy);
        assert_eq!((&*ear.socket).read(&mut [0; 9]).unwrap(), 1);
        ear.becomes(State::Waiting);
        ears.settle();
        drop(client);
        assert!(settled().is_err(), "somewhere there is an end");
        drop(ear);
        ears.settle();
        let client = TcpStream::connect(ears.address()).unwrap();
        let ear = ears.accept();
        ear.becomes(State::Waiting);
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert!(settled().is_err(), "somewhere there is a reset");
    }
}
