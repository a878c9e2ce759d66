//! Standard error, or anything like it, as a destination.
//!
//! Promises: a line is written whole, also to a pipe that is full and non-blocking for another
//! process's sake. Blocks until its reader reads: only a writer thread may do it.
//! Must not know: the form of the lines.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

use super::queue::Sink;

/// A destination by its file descriptor.
#[derive(Debug)]
pub(super) struct Stream {
    /// `None`: standard error itself.
    descriptor: Option<OwnedFd>,
}

impl Stream {
    pub fn stderr() -> Stream {
        Stream { descriptor: None }
    }

    pub fn to(descriptor: OwnedFd) -> Stream {
        Stream { descriptor: Some(descriptor) }
    }
}

impl Sink for Stream {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match &self.descriptor {
            Some(descriptor) => write_all(descriptor.as_fd(), line),
            None => write_all(rustix::stdio::stderr(), line),
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match rustix::io::write(to, line).map_err(io::Error::from) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(to)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait(to: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::thread;

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    use super::*;

    #[test]
    fn a_line_reaches_a_full_non_blocking_pipe_whole() {
        let (reader, writer) = io::pipe().unwrap();
        let flags = fcntl_getfl(&writer).unwrap();
        fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
        let line = [vec![b'x'; 1 << 20], vec![b'\n']].concat();
        let mut stream = Stream::to(writer.into());
        let sent = line.clone();
        let writing = thread::spawn(move || stream.write(&sent).unwrap());
        let mut received = Vec::new();
        BufReader::new(reader).read_until(b'\n', &mut received).unwrap();
        writing.join().unwrap();
        assert!(received == line);
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_no_end() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(Stream::to(writer.into()).write(b"x\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
