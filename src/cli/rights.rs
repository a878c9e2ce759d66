//! The rights of the daemon, for a check that must see what the daemon would see.
//!
//! Promises: root becomes the user of the hitless that runs, with its groups, or stays what it was;
//! nobody else changes.
//! Must not know: what is read with them.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use rustix::process::{Gid, RawGid, Uid, geteuid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

/// A file that only root can read passes root's check and is refused by the daemon: at a restart
/// that is an outage. To be called before any thread is started.
///
/// # Errors
/// When the rights could not be taken; those that are left are at least less than before.
pub fn take_those_behind(admin: &UnixStream) -> io::Result<()> {
    // Of a listening socket the kernel keeps who has bound it: the keeper.
    let keeper = peer(admin)?;
    // Number 0: it is in another pid namespace, and its groups cannot be known.
    if !geteuid().is_root() || keeper.uid == 0 || keeper.pid == 0 {
        return Ok(());
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", keeper.pid))?;
    set_thread_groups(&groups(&status))?;
    set_thread_gid(Gid::from_raw(keeper.gid))?;
    Ok(set_thread_uid(Uid::from_raw(keeper.uid))?)
}

/// Not rustix's `socket_peercred`: it takes the number 0 for impossible.
fn peer(socket: &UnixStream) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes, and `peer` has as many.
    let done = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &raw mut length)
    };
    if done == 0 { Ok(peer) } else { Err(io::Error::last_os_error()) }
}

/// The supplementary groups in proc_pid_status(5).
fn groups(status: &str) -> Vec<Gid> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    line.split_whitespace().filter_map(|group| group.parse::<RawGid>().ok()).map(Gid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_process_are_read_from_its_status() {
        let status = "Name:\thitless\nGid:\t997\t997\t997\t997\nGroups:\t42 997 \nNSpid:\t1\n";
        assert_eq!(groups(status), [Gid::from_raw(42), Gid::from_raw(997)]);
        assert_eq!(groups("Groups:\t \n"), []);
    }
}
