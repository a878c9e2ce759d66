//! The signals that tell the keeper what to do, as something to wait for (signalfd(2)).
//!
//! Promises: none is lost, also not while the keeper executes another program in its place: a blocked signal that
//! nobody has read stays pending across execve(2). A handler would have taken it, and died with it.
//! Must not know: what they mean.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use libc::SIGHUP;
use libc::{SIGINT, SIGTERM};

pub struct Signals {
    fd: AsyncFd<OwnedFd>,
}

/// They wait from here on. To be called before any thread is started, because each thread has a mask of its own.
pub fn block() -> io::Result<()> {
    // SAFETY: `set` outlives the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &ours(), std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// For a child that is to begin as any program does. Async-signal-safe.
pub fn unblock() -> io::Result<()> {
    // SAFETY: `set` outlives the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &ours(), std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn ours() -> libc::sigset_t {
    // SAFETY: sigemptyset(3) makes a set of whatever was there.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

impl Signals {
    /// Needs a tokio runtime, and [`block`] before.
    pub fn new() -> io::Result<Signals> {
        // SAFETY: a new descriptor that nobody else owns.
        let fd = match unsafe { libc::signalfd(-1, &ours(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) } {
            -1 => return Err(io::Error::last_os_error()),
            fd => unsafe { OwnedFd::from_raw_fd(fd) },
        };
        // SAFETY: an OwnedFd names the same open file until the AsyncFd that owns it is gone.
        Ok(Signals { fd: unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }? })
    }

    /// The next one. May be cancelled without losing it.
    pub async fn next(&self) -> io::Result<i32> {
        loop {
            let mut readable = self.fd.readable().await?;
            if let Ok(signal) = readable.try_io(|fd| read(fd.get_ref())) {
                return signal;
            }
        }
    }
}

fn read(fd: &OwnedFd) -> io::Result<i32> {
    let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
    rustix::io::read(fd, &mut record)?;
    // The number is its first field.
    let [a, b, c, d, ..] = record;
    Ok(i32::from_ne_bytes([a, b, c, d]))
}
