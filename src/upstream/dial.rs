//! Dialling: from an endpoint's address to a connected socket.
//!
//! Promises: a name is resolved off this thread at each dial and every address it has is tried; TCP
//! sockets have TCP_NODELAY; a Unix socket whose backlog is full is waited for. Must not know: pools, HTTP, deadlines (the caller drops the future).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::line::{Line, Socket};
use crate::config::settings::Address;

/// Connects to `address`.
pub(super) async fn dial(address: &Address) -> io::Result<Line> {
    let socket = match address {
        Address::Ip(address) => Socket::Tcp(connect(*address).await?),
        Address::Name { host, port } => Socket::Tcp(connect_by_name(host, *port).await?),
        Address::Unix(path) => Socket::Unix(connect_to_path(path).await?),
    };
    Ok(Line::new(socket))
}

async fn connect_by_name(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A listening Unix socket whose backlog is full answers EAGAIN at once (unix(7)), and the kernel
/// tells nobody when there is room again, so asking once more is all that can be done.
async fn connect_to_path(path: &Path) -> io::Result<UnixStream> {
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(32));
            }
            result => return result,
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    // A request is written whole or streamed; waiting to coalesce (RFC 896) only adds latency.
    socket.set_nodelay(true)?;
    Ok(socket)
}
