//! One end of a connection that can speak and listen at once, with TLS around it or without.
//!
//! Promises: speaking never blocks on a peer that speaks as well; every byte heard is kept; a peer
//! that neither takes nor says anything for the patience of these tests is an error.
//! Must not know: HTTP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ClientConnection;

use crate::oracle::End;

/// Only guards against hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub type Heard = Arc<Mutex<Vec<u8>>>;

pub struct Peer {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    pub heard: Heard,
    pub end: Option<End>,
    /// Whether each byte is a segment of its own.
    by_bytes: bool,
}

impl Peer {
    pub fn new(socket: TcpStream, heard: Heard, by_bytes: bool) -> Peer {
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
        Peer { socket, tls: None, heard, end: None, by_bytes }
    }

    /// The same inside of TLS, whose handshake comes with the first bytes. A byte of its own is a record of its own.
    pub fn secured(self, tls: ClientConnection) -> Peer {
        Peer { tls: Some(tls), ..self }
    }

    /// Says all of it, unless the other end no longer listens.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        for piece in self.pieces(bytes) {
            let mut rest = piece;
            while !rest.is_empty() {
                match self.turn(rest)? {
                    Some(count) => rest = &rest[count..],
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Single bytes at both ends of what is long, larger pieces of odd length between.
    fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        const EDGE: usize = 600;
        if !self.by_bytes {
            return vec![bytes];
        }
        if bytes.len() <= 3 * EDGE {
            return bytes.chunks(1).collect();
        }
        let (first, rest) = bytes.split_at(EDGE);
        let (middle, last) = rest.split_at(rest.len() - EDGE);
        first.chunks(1).chain(middle.chunks(509)).chain(last.chunks(1)).collect()
    }

    /// Listens until `enough` or the end.
    pub fn hear(&mut self, enough: impl Fn(&[u8], Option<End>) -> bool) -> Result<(), String> {
        loop {
            if enough(&self.heard.lock().unwrap(), self.end) || self.end.is_some() {
                return Ok(());
            }
            self.turn(b"")?;
        }
    }

    /// Waits until something can be done and does it; how much was said, `None` when that is no longer
    /// possible.
    fn turn(&mut self, pending: &[u8]) -> Result<Option<usize>, String> {
        if self.tls.is_some() {
            return self.sealed_turn(pending);
        }
        self.wait(!pending.is_empty())?;
        if self.end.is_none() {
            self.listen();
        }
        if pending.is_empty() {
            return Ok(Some(0));
        }
        match self.socket.write(pending) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Some(0)),
            Err(_) => Ok(None),
        }
    }

    /// Waits until something comes, or until the socket takes something.
    fn wait(&self, speaks: bool) -> Result<(), String> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.end.is_none());
        wanted.set(PollFlags::OUT, speaks);
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.socket, wanted)];
        match poll(&mut fds, Some(&patience)).map_err(|error| error.to_string())? {
            0 => Err("waited in vain".to_owned()),
            _ => Ok(()),
        }
    }

    /// The same in records. What is said is said when the socket has all of it.
    fn sealed_turn(&mut self, pending: &[u8]) -> Result<Option<usize>, String> {
        let mut taken = None;
        loop {
            let Some(tls) = &mut self.tls else { return Ok(None) };
            if taken.is_none() && !pending.is_empty() && !tls.is_handshaking() {
                taken = Some(tls.writer().write(pending).map_err(|error| error.to_string())?);
            }
            let speaks = tls.wants_write();
            if taken.is_some() && !speaks {
                return Ok(taken);
            }
            self.wait(speaks)?;
            if self.end.is_none() {
                self.listen_sealed();
            }
            let Some(tls) = &mut self.tls else { return Ok(None) };
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return Ok(None),
                }
            }
            if pending.is_empty() {
                return Ok(Some(0));
            }
            if self.end.is_some() && tls.is_handshaking() {
                return Ok(None);
            }
        }
    }

    /// An end without close_notify says that something may be missing, as a reset does (RFC 8446, section 6.1).
    fn listen_sealed(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        let came = tls.read_tls(&mut self.socket);
        let state = match (&came, tls.process_new_packets()) {
            (Err(error), _) if error.kind() == ErrorKind::WouldBlock => return,
            (Err(_), _) | (_, Err(_)) => None,
            (Ok(_), Ok(state)) => Some(state),
        };
        let mut plain = vec![0; state.as_ref().map_or(0, |state| state.plaintext_bytes_to_read())];
        if tls.reader().read_exact(&mut plain).is_ok() {
            self.heard.lock().unwrap().extend(plain);
        }
        match state {
            Some(state) if state.peer_has_closed() => self.end = Some(End::Closed),
            Some(_) if !matches!(came, Ok(0)) => {}
            _ => self.end = Some(End::Reset),
        }
    }

    fn listen(&mut self) {
        let mut space = [0; 16_384];
        match self.socket.read(&mut space) {
            Ok(0) => self.end = Some(End::Closed),
            Ok(count) => self.heard.lock().unwrap().extend_from_slice(&space[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.end = Some(End::Reset),
        }
    }

    /// Says that nothing more comes from here.
    pub fn half_close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.turn(b"");
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Ends with a reset instead of an end.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }
}
