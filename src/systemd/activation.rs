//! The sockets that systemd passed (sd_listen_fds(3)), by name.
//!
//! Promises: descriptors meant for another process are left alone; every one taken is
//! close-on-exec and, when it listens, non-blocking; the environment is cleaned, so that no child
//! takes them for its own. Listening sockets and what came back from the fd store are told apart.
//! Must not know: which names the configuration has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use listenfd::ListenFd;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{FdFlags, fcntl_setfd};

/// A descriptor that systemd passed.
#[derive(Debug)]
pub struct Passed {
    /// `FileDescriptorName=` or `FDNAME=`; systemd's default is the name of the socket unit.
    pub name: String,
    pub kind: Kind,
    pub fd: OwnedFd,
}

impl Passed {
    /// Another descriptor of the same.
    pub fn try_clone(&self) -> io::Result<Passed> {
        Ok(Passed { name: self.name.clone(), kind: self.kind, fd: self.fd.try_clone()? })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A listening stream socket, TCP or Unix.
    Listening,
    /// Anything else: it was put into the fd store by an earlier start.
    Stored,
}

/// Why the sockets could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read LISTEN_FDS: {0}")]
    Environment(#[source] io::Error),
    #[error("cannot take the sockets passed by systemd: {0} threads are running already")]
    TooLate(usize),
    #[error("cannot take descriptor {index} '{name}': {cause}")]
    Descriptor { index: usize, name: String, cause: io::Error },
}

/// Takes what systemd passed to this process; empty without systemd. Once, and before any thread.
pub fn take() -> Result<Vec<Passed>, Error> {
    let threads = running_threads();
    if threads > 1 {
        return Err(Error::TooLate(threads));
    }
    // listenfd's own extension, which systemd never sets.
    // SAFETY: this is the only thread, see above.
    unsafe { std::env::remove_var("LISTEN_FDS_FIRST_FD") };
    let names = if meant_for_us() { names()? } else { vec![] };
    let mut sockets = if names.is_empty() { ListenFd::empty() } else { ListenFd::from_env() };
    forget_environment();
    names.into_iter().enumerate().map(|(index, name)| own(&mut sockets, index, name)).collect()
}

/// listenfd takes a missing LISTEN_PID for ours, and sd-notify takes names without descriptors of
/// ours for an error.
fn meant_for_us() -> bool {
    let pid = std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse::<u32>().ok());
    pid == Some(std::process::id())
}

/// One name per descriptor; sd-notify knows them, listenfd does not.
fn names() -> Result<Vec<String>, Error> {
    let named = sd_notify::listen_fds_with_names().map_err(Error::Environment)?;
    Ok(named.map(|(_, name)| name).collect())
}

fn own(sockets: &mut ListenFd, index: usize, name: String) -> Result<Passed, Error> {
    let taken = sockets.take_raw_fd(index).and_then(|fd| {
        let fd = fd.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // SAFETY: systemd opened it for this process, and ListenFd hands each descriptor out once.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        let kind = kind_of(fd.as_fd());
        if kind == Kind::Listening {
            fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        }
        Ok((kind, fd))
    });
    match taken {
        Ok((kind, fd)) => Ok(Passed { name, kind, fd }),
        Err(cause) => Err(Error::Descriptor { index, name, cause }),
    }
}

fn kind_of(fd: BorrowedFd<'_>) -> Kind {
    let stream =
        rustix::net::sockopt::socket_type(fd).is_ok_and(|kind| kind == rustix::net::SocketType::STREAM);
    let listens = rustix::net::sockopt::socket_acceptconn(fd).unwrap_or(false);
    if stream && listens { Kind::Listening } else { Kind::Stored }
}

/// `LISTEN_FDS` of another process (a shell that was itself activated) is removed as well: a child
/// with our pid number would believe it.
fn forget_environment() {
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"] {
        // SAFETY: `take` has checked that this is the only thread.
        unsafe { std::env::remove_var(name) };
    }
}

/// Linux shows one directory per thread (proc_pid_task(5)); without /proc we must believe the caller.
fn running_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, |threads| threads.count())
}
