//! Dialling: from an endpoint's address to a connection, with TLS where the service wants it.
//!
//! Promises: a name whose addresses are not known yet is resolved off this thread and every address it has is tried; TCP
//! sockets have TCP_NODELAY; a Unix socket whose backlog is full is waited for. Nothing is sent of a request
//! before TLS has proven who is there. Must not know: pools, HTTP, deadlines (the caller drops the future).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::line::{Line, Socket};
use crate::config::settings::{Address, Protocol};
use crate::response::Failure;
use crate::tls::handshake::Protocol as Inside;
use crate::tls::{self, Dialled, Outward, Undone};

/// One endpoint, as it is dialled.
#[derive(Clone)]
pub(super) struct Number {
    address: Address,
    tls: Option<Secure>,
}

#[derive(Clone)]
struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Number {
    /// `outward` is what a service with TLS to its endpoints has.
    /// It is proven by the name that was `written`.
    pub(super) fn new(
        address: &Address,
        written: &Address,
        outward: Option<&(Arc<ClientConfig>, Arc<Outward>)>,
    ) -> Number {
        let tls = outward.and_then(|(config, outward)| {
            Some(Secure { config: Arc::clone(config), name: outward.name_of(written)? })
        });
        Number { address: address.clone(), tls }
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    /// Connects by the way that `protocol` says. With TLS one of `inside` is agreed on: `true` if that is HTTP/2.
    pub(super) async fn dial(&self, protocol: Protocol, inside: &[Inside]) -> Result<(Line, bool), Failure> {
        let mut line = connect_to(&self.address).await.map_err(|error| undialled(&error))?;
        if protocol != Protocol::Https {
            return Ok((line, protocol == Protocol::H2c));
        }
        let Some(Secure { config, name }) = &self.tls else {
            let told = "its endpoint-tls could not be read when hitless started, as the log said then; mend it and reload";
            return Err(Failure::Handshake(told.to_owned()));
        };
        match tls::dial(&mut line, Arc::clone(config), name.clone(), inside).await {
            Ok(Dialled { channel, protocol }) => Ok((line.secured(channel), protocol == Some(Inside::Http2))),
            Err(Undone::Untrusted(told)) => Err(Failure::Untrusted(told)),
            Err(Undone::Disagreed(told)) => Err(Failure::Handshake(told)),
        }
    }
}

/// Running out of descriptors is no fault of the endpoint.
fn undialled(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Failure::NoDescriptor,
        _ => unreachable(error),
    }
}

/// No connection was made; the endpoint is named beside the failure.
pub(super) fn unreachable(error: &dyn std::error::Error) -> Failure {
    let cause = error.to_string();
    let cause = cause.split(" (os error").next().unwrap_or_default();
    Failure::Unreachable(cause.to_lowercase())
}

pub(super) async fn connect_to(address: &Address) -> io::Result<Line> {
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
