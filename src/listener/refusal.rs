//! Turning newcomers away, without losing one that has come in already.
//!
//! ```text
//!   TCP:  no way in: refused at once ─▶ handshakes begun end ─▶ accept what waits
//!   Unix: shut down: refused at once ─▶ accept what waits
//! ```
//! TCP has no call for "listen no more, but keep what waits": shutdown(2), like close(2), resets
//! it, and to systemd a socket of its own that does not listen is a failure. So the listening
//! socket is bound to a network interface that does not exist: it still listens, but no segment
//! from any interface is for it, and the kernel refuses on behalf of nobody. That cannot be undone
//! without CAP_NET_RAW. (A socket filter would need CAP_NET_ADMIN with recent kernels.)
//!
//! A Unix socket that systemd passed is only emptied: systemd (seen with 252) turns in circles,
//! and never comes to closing it, when it is shut down.
//!
//! Promises: a connection that its client saw established is accepted, as far as its handshake
//! ends within [`HANDSHAKE`]; whoever comes later is refused by the kernel.
//! Must not know: why, or what is done with a connection.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::Shutdown;
use socket2::{Domain, SockRef};

use super::accept::{self, Remedy};
use super::crew::{Command, Crew};
use super::threads::Socket;
use crate::connection::Accepted;

/// The round trip that a handshake may still take when no new one can begin.
const HANDSHAKE: Duration = Duration::from_millis(250);

/// The kernel numbers interfaces from 1.
const NO_INTERFACE: libc::c_int = libc::c_int::MAX;

/// A listening socket, from outside the threads that accept on it.
pub(super) struct Gate {
    name: Arc<str>,
    pub(super) passed: bool,
    socket: OwnedFd,
}

impl Gate {
    pub(super) fn of(socket: Socket) -> Gate {
        Gate { name: socket.name, passed: socket.passed, socket: socket.fd }
    }

    fn is_tcp(&self) -> bool {
        SockRef::from(&self.socket).domain().is_ok_and(|domain| domain != Domain::UNIX)
    }

    /// From here on connect(2) is answered with ECONNREFUSED.
    fn close(&self) {
        if !self.is_tcp() {
            return self.shut_down();
        }
        if let Err(error) = bind_to(&self.socket, NO_INTERFACE) {
            tracing::warn!(
                listener = &*self.name,
                "cannot refuse newcomers on '{}': {error}, they wait until the socket is closed",
                self.name,
            );
        }
    }

    /// Nobody is left in it, so nobody is reset. Its address can be listened on by others.
    fn shut_down(&self) {
        if !self.passed {
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        }
    }

    /// Hands over everything that waits.
    fn empty(&self, crew: &Crew) {
        loop {
            match accept::one(&self.socket) {
                Ok((socket, address)) => {
                    // It has waited already, and there is nobody else to serve it.
                    let kept = Some(Box::new(crew.capacity.take_beyond()) as _);
                    crew.admit(Accepted { socket, address, listener: Arc::clone(&self.name), kept });
                }
                Err(Errno::AGAIN) => return,
                Err(error) => match accept::remedy(error) {
                    Remedy::Retry => {}
                    Remedy::End => return,
                    Remedy::Pause => {
                        return tracing::warn!(
                            listener = &*self.name,
                            "cannot accept what waits on '{}': {}, it is lost",
                            self.name,
                            io::Error::from(error),
                        );
                    }
                },
            }
        }
    }
}

/// socket(7), SO_BINDTODEVICE; by number it needs no name, and since Linux 5.7 no privilege.
fn bind_to(socket: &OwnedFd, interface: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&interface) as libc::socklen_t;
    // SAFETY: the descriptor is open for the length of the call, which reads one int.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            (&raw const interface).cast(),
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Everybody who came is served, everybody who comes is refused. `crew` is not over before.
pub(super) async fn refuse(gates: Vec<Arc<Gate>>, crew: Arc<Crew>) {
    for gate in &gates {
        gate.close();
        gate.empty(&crew);
    }
    if gates.iter().any(|gate| gate.is_tcp()) {
        tokio::time::sleep(HANDSHAKE).await;
    }
    for gate in &gates {
        gate.empty(&crew);
        gate.shut_down();
    }
}

/// As long as it lives, connections may still come to the threads.
pub(super) struct Arriving(Arc<Crew>);

impl Arriving {
    pub(super) fn at(crew: &Arc<Crew>) -> Arriving {
        crew.arriving(1);
        Arriving(Arc::clone(crew))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving(-1);
    }
}

impl Crew {
    /// To the thread with the fewest connections; with no thread left there is nobody to serve it.
    fn admit(&self, accepted: Accepted) {
        let Some(chosen) = self.least_loaded() else { return };
        self.joined(chosen);
        if self.members[chosen].commands.send(Command::Admit(accepted)).is_err() {
            self.left(chosen);
        }
    }
}
