//! Dialling: from an endpoint's address to a connected socket.
//!
//! Promises: a name is resolved off this thread at each dial and every address it has is tried; TCP
//! sockets have TCP_NODELAY. Must not know: pools, HTTP, deadlines (the caller drops the future).

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::line::{Line, Socket};
use crate::config::settings::Address;

/// Connects to `address`.
pub(super) async fn dial(address: &Address) -> io::Result<Line> {
    let socket = match address {
        Address::Ip(address) => Socket::Tcp(connect(*address).await?),
        Address::Name { host, port } => Socket::Tcp(connect_by_name(host, *port).await?),
        Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
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

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    // A request is written whole or streamed; waiting to coalesce (RFC 896) only adds latency.
    socket.set_nodelay(true)?;
    Ok(socket)
}
