//! The fd store: what systemd keeps for the next start of this unit (sd_notify(3), `FDSTORE=1`).
//!
//! Promises: what [`keep`] was given is open until the next start, which gets it among the passed sockets, or until the
//! unit is stopped for good; after a [`Barrier`] systemd has read all that was said before. FDPOLL=0: a socket
//! whose other end is closed is kept all the same, because what was written into it is still there.
//! Must not know: what is kept.

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Keeps `fd` for the next start, under this name.
pub fn keep(name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    say(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), fd)
}

/// Forgets all that was kept under this name.
pub fn forget(name: &str) {
    let name = format!("FDNAME={name}");
    let removed = ["FDSTOREREMOVE=1", &name].map(sd_notify::NotifyState::Custom);
    // Whatever is kept too long is adopted, and found to be empty, by the next start.
    let _ = sd_notify::notify(&removed);
}

/// Passed when systemd has read everything that was said before it.
pub struct Barrier(OwnedFd);

pub fn barrier() -> io::Result<Barrier> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    say("BARRIER=1", theirs.as_fd())?;
    // systemd closes its copy, which is the last one.
    Ok(Barrier(ours))
}

impl Barrier {
    /// Waits until it is passed, or `limit` has.
    pub fn pass(&self, limit: Duration) -> io::Result<()> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&limit))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

/// sd-notify does this with one more crate only.
fn say(text: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    let path = env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotConnected)?;
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
