//! A socket that carries datagrams with file descriptors (unix(7), `SCM_RIGHTS`).
//!
//! Promises: a letter arrives whole and once, with all its descriptors, close-on-exec, or there is
//! an error: one that was truncated is never delivered in part. The end of the other side is
//! `None`, not an error. Letters keep their order.
//! Must not know: what is in a letter.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use tokio::io::unix::AsyncFd;

/// The longest letter. Well under the smallest send buffer (SOCK_MIN_SNDBUF times the default).
pub const MOST_BYTES: usize = 128 * 1024;
/// `SCM_MAX_FD` of the kernel.
pub const MOST_FDS: usize = 253;

/// One end of the socket.
#[derive(Debug)]
pub struct Mailbox {
    socket: AsyncFd<OwnedFd>,
}

/// What was received.
#[derive(Debug)]
pub struct Letter {
    pub content: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

/// The two ends, non-blocking and close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

impl Mailbox {
    /// Needs a tokio runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Mailbox> {
        let flags = rustix::fs::fcntl_getfl(&socket)?;
        rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
        // SAFETY: an OwnedFd names the same open socket until the AsyncFd that owns it is gone.
        Ok(Mailbox { socket: unsafe { AsyncFd::register(socket) }? })
    }

    /// Waits while the other side does not read.
    pub async fn send(&self, content: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        fits(content, fds)?;
        loop {
            let mut writable = self.socket.writable().await?;
            match writable.try_io(|socket| send(socket.as_fd(), content, fds)) {
                Ok(result) => return result,
                Err(_would_block) => continue,
            }
        }
    }

    /// Sends now, or fails with [`io::ErrorKind::WouldBlock`]: for a reader that may never come.
    pub fn try_send(&self, content: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        fits(content, fds)?;
        send(self.socket.as_fd(), content, fds)
    }

    /// The next letter; `None` when the other side is gone. May be cancelled without losing one.
    pub async fn receive(&self) -> io::Result<Option<Letter>> {
        loop {
            let mut readable = self.socket.readable().await?;
            match readable.try_io(|socket| receive(socket.as_fd())) {
                Ok(result) => return result,
                Err(_would_block) => continue,
            }
        }
    }
}

fn fits(content: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if content.is_empty() || content.len() > MOST_BYTES || fds.len() > MOST_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "a letter of {} bytes with {} descriptors (1 to {MOST_BYTES} bytes and {MOST_FDS} descriptors fit)",
                content.len(),
                fds.len()
            ),
        ));
    }
    Ok(())
}

fn send(socket: BorrowedFd<'_>, content: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        // INVARIANT: `space` is for MOST_FDS, and `Mailbox::send` allows no more.
        unreachable!("{} descriptors do not fit", fds.len());
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(content)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == content.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Letter>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut content = vec![0; MOST_BYTES];
    let mut read = || {
        let mut into = [IoSliceMut::new(&mut content)];
        rustix::net::recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    };
    let received = match read() {
        // The other side went and left letters of ours unread. The kernel says so once, ahead of what it
        // had sent itself.
        Err(rustix::io::Errno::CONNRESET) => read()?,
        result => result?,
    };
    let fds: Vec<OwnedFd> = ancillary.drain().filter_map(rights).flatten().collect();
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        // What did arrive is closed here: half a letter is worse than none.
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a letter was truncated"));
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    content.truncate(received.bytes);
    content.shrink_to_fit();
    Ok(Some(Letter { content, fds }))
}

fn rights(message: RecvAncillaryMessage<'_>) -> Option<impl Iterator<Item = OwnedFd>> {
    match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    fn mailboxes() -> (Mailbox, Mailbox) {
        let (one, two) = pair().unwrap();
        (Mailbox::new(one).unwrap(), Mailbox::new(two).unwrap())
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_letter_arrives_whole_with_its_descriptors_in_order_and_close_on_exec() {
        run(async {
            let (sender, receiver) = mailboxes();
            let mut files: Vec<File> = (0..MOST_FDS).map(|_| tempfile::tempfile().unwrap()).collect();
            for (index, file) in files.iter_mut().enumerate() {
                write!(file, "{index}").unwrap();
                file.rewind().unwrap();
            }
            let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
            sender.send(&[7; MOST_BYTES], &fds).await.unwrap();
            let letter = receiver.receive().await.unwrap().unwrap();
            assert_eq!((letter.content.len(), letter.fds.len()), (MOST_BYTES, MOST_FDS));
            for (index, fd) in letter.fds.into_iter().enumerate() {
                let flags = rustix::io::fcntl_getfd(&fd).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                let mut text = String::new();
                File::from(fd).read_to_string(&mut text).unwrap();
                assert_eq!(text, index.to_string());
            }
        });
    }

    #[test]
    fn the_end_of_the_other_side_is_not_an_error() {
        run(async {
            let (sender, receiver) = mailboxes();
            sender.send(b"last words", &[]).await.unwrap();
            drop(sender);
            assert_eq!(receiver.receive().await.unwrap().unwrap().content, b"last words");
            assert!(receiver.receive().await.unwrap().is_none());
            assert!(receiver.send(b"anybody?", &[]).await.is_err());
        });
    }

    #[test]
    fn an_end_that_left_letters_unread_is_not_an_error_and_what_it_sent_arrives() {
        run(async {
            let (sender, receiver) = mailboxes();
            receiver.send(b"never read", &[]).await.unwrap();
            sender.send(b"last words", &[]).await.unwrap();
            drop(sender);
            assert_eq!(receiver.receive().await.unwrap().unwrap().content, b"last words");
            assert!(receiver.receive().await.unwrap().is_none());
        });
    }

    #[test]
    fn a_letter_that_finds_no_room_now_can_be_refused_instead_of_waiting() {
        run(async {
            let (sender, receiver) = mailboxes();
            let full = loop {
                if let Err(error) = sender.try_send(&[0; 10_000], &[]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
            receiver.receive().await.unwrap().unwrap();
            sender.try_send(&[0; 10_000], &[]).unwrap();
        });
    }

    #[test]
    fn what_does_not_fit_is_refused_by_the_sender() {
        run(async {
            let (sender, _receiver) = mailboxes();
            let file = tempfile::tempfile().unwrap();
            assert!(sender.send(&[0; MOST_BYTES + 1], &[]).await.is_err());
            assert!(sender.send(&[], &[]).await.is_err());
            assert!(sender.send(b"x", &vec![file.as_fd(); MOST_FDS + 1]).await.is_err());
        });
    }

    #[test]
    fn a_truncated_letter_is_an_error_and_the_next_one_is_not() {
        run(async {
            let (foreign, ours) = pair().unwrap();
            let receiver = Mailbox::new(ours).unwrap();
            let long = vec![1; MOST_BYTES + 1];
            rustix::net::send(&foreign, &long, SendFlags::empty()).unwrap();
            rustix::net::send(&foreign, b"short", SendFlags::empty()).unwrap();
            assert_eq!(receiver.receive().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert_eq!(receiver.receive().await.unwrap().unwrap().content, b"short");
        });
    }

    #[test]
    fn a_sender_waits_for_a_slow_reader_and_loses_nothing() {
        run(async {
            let (sender, receiver) = mailboxes();
            let send = async {
                for n in 0..100u8 {
                    sender.send(&[n; 10_000], &[]).await.unwrap();
                }
            };
            let receive = async {
                for n in 0..100u8 {
                    assert_eq!(receiver.receive().await.unwrap().unwrap().content[0], n);
                }
            };
            futures_util::future::join(send, receive).await;
        });
    }
}
