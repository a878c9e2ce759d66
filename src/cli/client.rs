//! One question to a running hitless, over its admin socket.
//!
//! Promises: the answer is whole or an error, and comes within the limit; while it waits, it notices
//! that the process it was told to watch has ended.
//! Must not know: what is asked.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{DIRECTORY, Fatal, code};

const SOCKET: &str = "/run/hitless/admin.sock";

/// Which hitless to ask.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Where {
    /// The admin socket [default: admin.socket of the configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Where {
    /// The same, for another command line.
    pub fn words(&self) -> Vec<OsString> {
        self.socket.iter().flat_map(|path| ["--socket".into(), path.clone().into()]).collect()
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot reach hitless at '{path}': {cause}; {remedy}")]
    Unreachable { path: PathBuf, cause: String, remedy: &'static str },
    #[error(
        "cannot {verb}: the gateway ended before it answered, another one takes its place; see journalctl -u hitless"
    )]
    GatewayGone { verb: &'static str },
    #[error("cannot {verb}: hitless (process {pid}) has ended; see journalctl -u hitless")]
    KeeperGone { verb: &'static str, pid: i32 },
    #[error("cannot {verb}: no answer within {limit:?}, the gateway may be stuck; see journalctl -u hitless")]
    Silent { verb: &'static str, limit: Duration },
    #[error("cannot {verb}: {cause}")]
    Talk { verb: &'static str, cause: io::Error },
}

impl From<Error> for Fatal {
    fn from(error: Error) -> Fatal {
        let code = match error {
            Error::Unreachable { .. } | Error::KeeperGone { .. } | Error::Silent { .. } => code::UNAVAILABLE,
            Error::GatewayGone { .. } => code::SOFTWARE,
            Error::Talk { .. } => code::IO,
        };
        Fatal::new(code, error)
    }
}

/// Asks, and waits for the answer. `verb` is what the user wanted, for messages.
pub fn ask(
    place: &Where,
    directory: &Path,
    request: &str,
    verb: &'static str,
    limit: Duration,
) -> Result<Answer, Error> {
    exchange(Keeper::of_the_unit(verb, limit)?, place, directory, request, verb)
}

/// The same, where `$MAINPID` is of another unit.
pub fn ask_of_another_unit(
    place: &Where,
    directory: &Path,
    request: &str,
    verb: &'static str,
    limit: Duration,
) -> Result<Answer, Error> {
    let keeper = Keeper { watched: None, verb, limit, began: Instant::now() };
    exchange(keeper, place, directory, request, verb)
}

fn exchange(
    keeper: Keeper,
    place: &Where,
    directory: &Path,
    request: &str,
    verb: &'static str,
) -> Result<Answer, Error> {
    let mut stream = match &place.socket {
        Some(path) => UnixStream::connect(path).map_err(|error| unreachable(path, &error))?,
        None => connect(directory)?,
    };
    let talk = |cause| Error::Talk { verb, cause };
    let head =
        format!("{request} HTTP/1.1\r\nHost: hitless\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // A gateway that dies now is noticed when the answer does not come.
    let _ = stream.write_all(head.as_bytes());
    let mut received = vec![];
    loop {
        keeper.wait_for(&stream)?;
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => received.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(talk(error)),
        }
    }
    parse(&received).ok_or(Error::GatewayGone { verb })
}

/// A connection to the hitless that serves the configuration in `directory`.
pub fn connect(directory: &Path) -> Result<UnixStream, Error> {
    let path = socket_of(directory);
    UnixStream::connect(&path).or_else(|error| {
        // The files may name a socket that only the next start opens.
        let other = (directory == Path::new(DIRECTORY)).then(|| UnixStream::connect(SOCKET).ok());
        other.flatten().ok_or_else(|| unreachable(&path, &error))
    })
}

/// The keeper, when systemd has told which process it is (`ExecReload=`). While that command runs,
/// systemd does not act on the end of the main process, so somebody else must notice it.
struct Keeper {
    watched: Option<(i32, OwnedFd)>,
    verb: &'static str,
    limit: Duration,
    began: Instant,
}

impl Keeper {
    fn of_the_unit(verb: &'static str, limit: Duration) -> Result<Keeper, Error> {
        let keeper = |watched| Ok(Keeper { watched, verb, limit, began: Instant::now() });
        let told = env::var("MAINPID").ok().and_then(|pid| pid.parse().ok());
        let Some(pid) = told.and_then(Pid::from_raw) else { return keeper(None) };
        let number = pid.as_raw_nonzero().get();
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => keeper(Some((number, pidfd))),
            Err(_) => Err(Error::KeeperGone { verb, pid: number }),
        }
    }

    /// Until there is something to read.
    fn wait_for(&self, stream: &UnixStream) -> Result<(), Error> {
        loop {
            let mut fds = vec![PollFd::new(stream, PollFlags::IN)];
            fds.extend(
                self.watched
                    .as_ref()
                    .map(|(_, pidfd)| PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)),
            );
            let left = self.limit.saturating_sub(self.began.elapsed());
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) => return Err(Error::Silent { verb: self.verb, limit: self.limit }),
                Err(error) => return Err(Error::Talk { verb: self.verb, cause: error.into() }),
                Ok(_) => {}
            }
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
            if let Some((pid, _)) = &self.watched {
                return Err(Error::KeeperGone { verb: self.verb, pid: *pid });
            }
        }
    }
}

fn unreachable(path: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "is it running? see systemctl status hitless, or name its socket with --socket"
        }
        io::ErrorKind::PermissionDenied => "use sudo",
        _ => "see systemctl status hitless",
    };
    let cause = error.to_string();
    let cause = cause.split(" (os error").next().unwrap_or_default().to_lowercase();
    Error::Unreachable { path: path.to_owned(), cause, remedy }
}

/// `admin.socket` of the configuration, which may be one that would be refused: that is when a
/// reload is asked for.
fn socket_of(directory: &Path) -> PathBuf {
    let text = std::fs::read_to_string(directory.join("hitless.toml")).unwrap_or_default();
    let table: toml::Table = toml::from_str(&text).unwrap_or_default();
    let socket = table.get("admin").and_then(|admin| admin.get("socket")).and_then(|socket| socket.as_str());
    PathBuf::from(socket.unwrap_or(SOCKET))
}

/// The server is our own: a status line, fields, a body of known length.
fn parse(received: &[u8]) -> Option<Answer> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..end]).ok()?;
    let body = received[end + 4..].to_vec();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    // Without a length it ends with the connection, and whoever reads it sees whether it is whole.
    (body.len() == length.unwrap_or(body.len())).then_some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_answer_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nContent-Length: 3\r\n\r\nyes";
        let answer = parse(whole).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"yes".as_slice()));
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let _stuck = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let place = Where { socket: Some(path) };
        let error = ask(&place, dir.path(), "GET /status", "ask", Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().starts_with("cannot ask: no answer within 20ms"), "{error}");
    }

    #[test]
    fn the_socket_is_found_in_a_configuration_that_would_be_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(socket_of(dir.path()), Path::new(SOCKET));
        std::fs::write(dir.path().join("hitless.toml"), "colour = 1\n[admin]\nsocket = \"/x/y\"\n").unwrap();
        assert_eq!(socket_of(dir.path()), Path::new("/x/y"));
        std::fs::write(dir.path().join("hitless.toml"), "[admin").unwrap();
        assert_eq!(socket_of(dir.path()), Path::new(SOCKET));
    }
}
