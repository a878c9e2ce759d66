//! Where the application listens: TCP and Unix sockets, its own or systemd's, and which HTTP a connection speaks.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};

/// RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection whose first bytes may already have been read.
pub struct Wire {
    first: BytesMut,
    stream: Box<dyn Stream>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Address::Unix(path.into())),
            Some(_) => Err("the path of a Unix socket must begin with '/'".to_owned()),
            None => {
                text.parse().map(Address::Tcp).map_err(|_| "must be ADDRESS:PORT or unix:/PATH".to_owned())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Every listening socket that systemd passed (sd_listen_fds(3)).
pub fn from_systemd() -> io::Result<Vec<Socket>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        if let Ok(Some(tcp)) = passed.take_tcp_listener(index) {
            tcp.set_nonblocking(true)?;
            sockets.push(Socket::Tcp(TcpListener::from_std(tcp)?));
        } else if let Some(unix) = passed.take_unix_listener(index)? {
            unix.set_nonblocking(true)?;
            sockets.push(Socket::Unix(UnixListener::from_std(unix)?));
        }
    }
    Ok(sockets)
}

/// A Unix socket may be opened by everyone, as the gateway runs as another user; one left behind is replaced.
pub fn bind(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Socket::Tcp(TcpListener::from_std(listener)?))
        }
        Address::Unix(path) => {
            remove(&Address::Unix(path.clone()));
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
            Ok(Socket::Unix(listener))
        }
    }
}

/// Removes the file of a Unix socket, and only that.
pub fn remove(address: &Address) {
    let Address::Unix(path) = address else { return };
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        // One that is gone already is what was asked for; else binding it again will say why not.
        let _ = std::fs::remove_file(path);
    }
}

impl Socket {
    pub async fn accept(&self) -> io::Result<Wire> {
        let stream: Box<dyn Stream> = match self {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Socket::Unix(listener) => Box::new(listener.accept().await?.0),
        };
        Ok(Wire { first: BytesMut::new(), stream })
    }
}

/// Reads until it is clear whether the client began HTTP/2 with prior knowledge.
pub async fn sniff(mut wire: Wire) -> io::Result<(bool, Wire)> {
    while wire.first.len() < PREFACE.len() && PREFACE.starts_with(&wire.first) {
        if wire.stream.read_buf(&mut wire.first).await? == 0 {
            break;
        }
    }
    Ok((wire.first.starts_with(PREFACE), wire))
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let count = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
