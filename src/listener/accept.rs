//! Accepting on one listening socket, on one data thread.
//!
//! Promises: when there are as many connections as there may be, it leaves newcomers in the kernel
//! and sleeps until one has gone. When accepting is impossible for now (no descriptors, no memory) it
//! pauses until a connection of this thread has gone or a moment has passed. Either is said once for
//! all threads; it never spins. A connection too many from one address is reset before it is read.
//! What one connection did wrong before it was accepted is nobody else's problem.
//! Must not know: what is done with a connection.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::capacity::{Capacity, Slot};
use crate::connection::Accepted;
use crate::telemetry::counters::Counters;

/// When the kernel asks a silent client whether it is still there, how often, and how many times. Nothing
/// else ends the idle connection of a client that vanished without a word.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(15);
const ASK_TIMES: u32 = 4;

/// How much of what was written for a client the kernel holds before it has room to be sent. Without it a client that
/// reads nothing is given all of `net.ipv4.tcp_wmem` (4 MiB by default), which the endpoint has to make first.
const UNSENT: u32 = 256 * 1024;

/// How long a pause lasts when no connection goes before.
const PAUSE: Duration = Duration::from_millis(250);

/// One listening socket, registered with this thread's reactor.
pub(super) struct Acceptor {
    name: Arc<str>,
    socket: AsyncFd<Rc<OwnedFd>>,
    capacity: Arc<Capacity>,
    counters: Arc<Counters>,
}

/// What an error of accept(2) calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    Retry,
    Pause,
    /// It does not listen any more: somebody has shut it down.
    End,
}

impl Acceptor {
    pub(super) fn new(
        name: Arc<str>,
        socket: Rc<OwnedFd>,
        capacity: Arc<Capacity>,
        counters: Arc<Counters>,
    ) -> io::Result<Acceptor> {
        rustix::io::ioctl_fionbio(&*socket, true)?;
        prepare(&socket);
        // SAFETY: the descriptor is open, and neither replaced nor closed while the AsyncFd shares
        // it: nothing here takes it out again.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Acceptor { name, socket, capacity, counters })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The next connection. `one_left` resolves when a connection of this thread goes; who is `introduced` will say
    /// later whose connection it is, and does not count for anybody until then.
    pub(super) async fn next(
        &self,
        one_left: impl AsyncFn(),
        introduced: impl Fn(Option<IpAddr>) -> bool,
    ) -> Accepted {
        loop {
            match self.accept().await {
                Ok((socket, address, slot)) => {
                    self.resumed();
                    let counts = address.filter(|_| !introduced(address));
                    match self.admit(socket, address, counts, slot) {
                        Some(accepted) => return accepted,
                        None => continue,
                    }
                }
                Err(error) => match remedy(error) {
                    Remedy::Retry => {}
                    Remedy::Pause => {
                        self.tell_pause(error);
                        let _ = tokio::time::timeout(PAUSE, one_left()).await;
                    }
                    // This loop is about to be ended.
                    Remedy::End => std::future::pending().await,
                },
            }
        }
    }

    /// Only with a slot: who cannot be served waits in the kernel's queue, and knows nothing of it.
    async fn accept(&self) -> Result<(OwnedFd, Option<IpAddr>, Slot), Errno> {
        loop {
            let mut ready = match self.socket.readable().await {
                Ok(ready) => ready,
                // The reactor is shutting down with the thread.
                Err(_) => std::future::pending().await,
            };
            let Some(slot) = self.capacity.take() else {
                if has_newcomer(self.socket.get_ref()) {
                    drop(ready);
                    self.capacity.room(&self.counters).await;
                } else {
                    ready.clear_ready();
                }
                continue;
            };
            match one(self.socket.get_ref()) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error),
                Ok((socket, address)) => return Ok((socket, address, slot)),
            }
        }
    }

    fn admit(
        &self,
        socket: OwnedFd,
        address: Option<IpAddr>,
        counts: Option<IpAddr>,
        mut slot: Slot,
    ) -> Option<Accepted> {
        if slot.admit(counts) {
            let kept = Some(Box::new(slot) as _);
            return Some(Accepted { socket, address, listener: Arc::clone(&self.name), kept });
        }
        // A reset keeps nothing in the kernel: no answer that a client may not fetch, no TIME-WAIT. Not
        // being able to set it leaves an ordinary close.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        drop((socket, slot));
        if let Some(address) = address {
            self.capacity.refused(address, &self.counters);
        }
        None
    }

    fn tell_pause(&self, error: Errno) {
        if self.capacity.fell_short(&self.counters) {
            tracing::warn!(
                listener = &*self.name,
                "cannot accept a connection on '{}': {}, pausing until one has gone; raise LimitNOFILE= if this goes on",
                self.name,
                io::Error::from(error),
            );
        }
    }

    fn resumed(&self) {
        if self.capacity.has_enough() {
            tracing::info!(listener = &*self.name, "accepting connections on '{}' again", self.name);
        }
    }
}

/// What is set on a listening socket holds for each connection, without a call for each. A Unix socket
/// does not know it, and does not need it.
fn prepare(socket: &OwnedFd) {
    let socket = SockRef::from(socket);
    let asks = TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_EVERY).with_retries(ASK_TIMES);
    let _ = socket.set_tcp_keepalive(&asks);
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
}

/// Whether a connection waits.
fn has_newcomer(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    // What cannot be told is treated as if somebody waited: it is looked at again when a slot is free.
    !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

/// The next connection that waits.
pub(super) fn one(socket: &OwnedFd) -> Result<(OwnedFd, Option<IpAddr>), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, address) = rustix::net::acceptfrom_with(socket, flags)?;
    Ok((socket, ip_of(address)))
}

fn ip_of(address: Option<SocketAddrAny>) -> Option<IpAddr> {
    let address: std::net::SocketAddr = address?.try_into().ok()?;
    Some(address.ip().to_canonical())
}

/// accept(2): errors that are pending on the new socket are passed on and are to be retried.
pub(super) fn remedy(error: Errno) -> Remedy {
    match error {
        Errno::INTR
        | Errno::CONNABORTED
        | Errno::PROTO
        | Errno::NETDOWN
        | Errno::NOPROTOOPT
        | Errno::HOSTDOWN
        | Errno::NONET
        | Errno::HOSTUNREACH
        | Errno::OPNOTSUPP
        | Errno::NETUNREACH
        | Errno::PERM => Remedy::Retry,
        Errno::INVAL => Remedy::End,
        _ => Remedy::Pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection accepted from a socket that was prepared.
    fn accepted() -> (std::net::TcpStream, OwnedFd) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = OwnedFd::from(listener);
        prepare(&listener);
        let client = std::net::TcpStream::connect(address).unwrap();
        (client, rustix::net::accept(&listener).unwrap())
    }

    /// The idle connections of vanished clients stayed for ever.
    #[test]
    fn the_kernel_asks_silent_clients_whether_they_are_there() {
        let (_client, accepted) = accepted();
        assert!(SockRef::from(&accepted).keepalive().unwrap());
        assert_eq!(SockRef::from(&accepted).tcp_keepalive_time().unwrap(), ASK_AFTER);
    }

    #[test]
    fn a_client_that_reads_nothing_is_not_given_all_that_the_kernel_could_hold() {
        let (_client, accepted) = accepted();
        assert_eq!(SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), UNSENT);
        rustix::io::ioctl_fionbio(&accepted, true).unwrap();
        let mut held = 0;
        while let Ok(count) = rustix::io::write(&accepted, &[0; 64 * 1024]) {
            held += count;
        }
        // With what the client's kernel takes by itself.
        assert!(held < 4 * UNSENT as usize, "{held}");
    }

    #[test]
    fn running_out_of_anything_is_a_pause_and_a_broken_newcomer_is_not() {
        assert_eq!(remedy(Errno::INVAL), Remedy::End);
        for error in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(remedy(error), Remedy::Pause, "{error}");
        }
        for error in [Errno::CONNABORTED, Errno::INTR, Errno::NETUNREACH, Errno::PERM] {
            assert_eq!(remedy(error), Remedy::Retry, "{error}");
        }
    }
}
