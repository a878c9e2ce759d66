//! The journal as a destination: datagrams to journald's socket.
//!
//! Promises: an entry of any size arrives, in a sealed memfd when it is too large for a datagram
//! (systemd, "Native Journal Protocol"). The socket is found by its path for each entry, so a
//! journald that was restarted, even one that bound its socket anew, is found again.
//! Sending blocks while journald does not read: only a writer thread may do it.
//! Must not know: what an entry says.

use std::env;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg_addr, sendto, socket_with,
};

use super::queue::Sink;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Where the journald of a namespace listens (systemd-journald.service(8)).
pub(super) fn namespace(name: &str) -> PathBuf {
    PathBuf::from(format!("/run/systemd/journal.{name}/socket"))
}

/// Whether what is written to `stderr` ends in the journal, and the journal can be spoken to
/// directly. `stream` is `JOURNAL_STREAM` (systemd.exec(5)): it may be inherited by a process whose
/// stderr goes elsewhere, hence the comparison.
pub(super) fn is_reached_by(stderr: BorrowedFd<'_>, stream: Option<&str>, socket: &Path) -> bool {
    let Ok(stat) = fstat(stderr) else { return false };
    stream == Some(format!("{}:{}", stat.st_dev, stat.st_ino).as_str()) && socket.exists()
}

/// [`is_reached_by`] for this process.
pub(super) fn is_stderr() -> bool {
    let stream = env::var("JOURNAL_STREAM").ok();
    is_reached_by(rustix::stdio::stderr(), stream.as_deref(), Path::new(SOCKET))
}

/// A journald by the path of its socket.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Never connected: a connection would end with the socket it was made to.
    socket: Option<OwnedFd>,
}

impl Journal {
    pub fn at(path: PathBuf) -> Journal {
        Journal { path, socket: None }
    }

    fn send(&mut self, entry: &[u8]) -> rustix::io::Result<()> {
        let address = SocketAddrUnix::new(&self.path)?;
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?,
        };
        let socket = self.socket.insert(socket);
        loop {
            match sendto(&*socket, entry, SendFlags::NOSIGNAL, &address) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::MSGSIZE | Errno::NOBUFS) => return send_sealed(socket.as_fd(), &address, entry),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Sink for Journal {
    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        Ok(self.send(entry)?)
    }
}

/// journald takes a file without looking for a writer when it is sealed against every change.
fn send_sealed(socket: BorrowedFd<'_>, address: &SocketAddrUnix, entry: &[u8]) -> rustix::io::Result<()> {
    let memory = memfd_create("hitless-journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(entry).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    loop {
        match sendmsg_addr(socket, address, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{IoSliceMut, Read, Seek};
    use std::os::unix::net::UnixDatagram;

    use rustix::fs::fcntl_get_seals;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// A journald that does not read before it is asked to.
    pub(in crate::telemetry) struct FakeJournald {
        pub path: PathBuf,
        socket: UnixDatagram,
        _folder: tempfile::TempDir,
    }

    impl FakeJournald {
        pub fn new() -> FakeJournald {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("socket");
            FakeJournald { socket: UnixDatagram::bind(&path).unwrap(), path, _folder: folder }
        }

        /// Nothing is at the path any more.
        pub fn stop(&self) {
            std::fs::remove_file(&self.path).unwrap();
        }

        /// Another socket at the same path.
        pub fn restart(&mut self) {
            self.socket = UnixDatagram::bind(&self.path).unwrap();
        }

        /// Waits for the next entry; out of its memfd, if it came in one.
        pub fn entry(&self) -> Vec<u8> {
            let mut bytes = vec![0; 1 << 18];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let slices = &mut [IoSliceMut::new(&mut bytes)];
            let received = recvmsg(&self.socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
            for message in control.drain() {
                let RecvAncillaryMessage::ScmRights(mut descriptors) = message else { continue };
                assert_eq!(received.bytes, 0, "a memfd comes alone");
                return sealed(File::from(descriptors.next().unwrap()));
            }
            bytes.truncate(received.bytes);
            bytes
        }
    }

    fn sealed(mut file: File) -> Vec<u8> {
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        assert!(fcntl_get_seals(&file).unwrap().contains(seals));
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_entry_too_large_for_a_datagram_comes_in_a_sealed_memfd() {
        let journald = FakeJournald::new();
        let mut journal = Journal::at(journald.path.clone());
        let large = [b"MESSAGE=".as_slice(), &[b'x'; 300_000], b"\n"].concat();
        journal.write(&large).unwrap();
        journal.write(b"MESSAGE=small\n").unwrap();
        assert!(journald.entry() == large);
        assert_eq!(journald.entry(), b"MESSAGE=small\n");
    }

    #[test]
    fn a_restarted_journald_is_found_again() {
        let mut journald = FakeJournald::new();
        let mut journal = Journal::at(journald.path.clone());
        journal.write(b"MESSAGE=1\n").unwrap();
        assert_eq!(journald.entry(), b"MESSAGE=1\n");
        journald.stop();
        journald.restart();
        journal.write(b"MESSAGE=2\n").unwrap();
        assert_eq!(journald.entry(), b"MESSAGE=2\n");
    }

    #[test]
    fn a_journald_that_is_gone_is_an_error_and_no_end() {
        let journald = FakeJournald::new();
        let mut journal = Journal::at(journald.path.clone());
        drop(journald);
        assert_eq!(journal.write(b"MESSAGE=1\n").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn stderr_is_the_journal_only_when_its_inode_is_the_announced_one() {
        let journald = FakeJournald::new();
        let file = tempfile::tempfile().unwrap();
        let stat = fstat(&file).unwrap();
        let here = format!("{}:{}", stat.st_dev, stat.st_ino);
        let reached = |stream, socket: &Path| is_reached_by(file.as_fd(), stream, socket);
        assert!(reached(Some(&here), &journald.path));
        assert!(!reached(Some("1:2"), &journald.path));
        assert!(!reached(None, &journald.path));
        assert!(!reached(Some(&here), Path::new("/nowhere/socket")));
    }
}
