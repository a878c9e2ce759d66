//! Handshakes: rustls speaks them, one record at a time, and what they agree on becomes a [`Seal`].
//!
//! ```text
//!   socket ─▶ came ─a whole record─▶ rustls ─▶ answers ─▶ socket
//!                                       └─ done ─▶ secrets, numbers, what came behind ─▶ Seal ─▶ Channel
//! ```
//! Promises: rustls gets no byte behind the handshake, and everything that it has to say has been written when a
//! handshake is done. A peer that is refused is told why by an alert, as far as it listens. Until the client's hello
//! is whole nothing is done with what came, and whoever stops waiting for it has all of it. What one peer can make
//! us hold is bounded by [`MOST`]. Sources: RFC 8446, RFC 5246, RFC 6066, section 3.
//! Must not know: sockets, how long somebody waits, where certificates come from.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{
    CipherSuite, ClientConfig, ConnectionTrafficSecrets, ExtractedSecrets, KeyLog, ProtocolVersion,
    ServerConfig,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::channel::Role;
use super::clients;
use crate::handover::record::{Half, Seal};
use crate::handover::secret::Secret;

/// How many bytes a handshake may take in each direction. rustls bounds a message by half of it.
const MOST: usize = 128 * 1024;

/// How much is read at once.
const GULP: usize = 4096;

const HEADER: usize = 5;
/// The longest record: with all that TLS 1.2 allows beyond its plaintext (RFC 5246, section 6.2.3).
const LONGEST: usize = (1 << 14) + 2048;
/// What a record of a handshake begins with.
const HANDSHAKE: u8 = 22;

const RECORD_OVERFLOW: u8 = 22;
const UNRECOGNIZED_NAME: u8 = 112;

/// What is spoken inside, as ALPN calls it (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What a handshake has come to.
#[derive(Debug)]
pub struct Established {
    /// With the name that was asked for and who the other side has proven to be.
    pub seal: Seal,
    /// `None`: it was not spoken of, or is one that we did not offer.
    pub protocol: Option<Protocol>,
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It ended, or broke.
    #[error("the connection ended: {0}")]
    Gone(#[from] io::Error),
    /// Nothing has been taken of it.
    #[error("it does not speak TLS")]
    NotTls,
    #[error("no certificate for '{}'", .0.as_deref().unwrap_or("-"))]
    UnknownName(Option<String>),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("a handshake of more than {MOST} bytes")]
    TooLong,
}

/// What a client offers that speaks nothing newer (RFC 7301, section 6); connections are told apart no further.
pub(super) const HTTP_1_0: &[u8] = b"http/1.0";

impl Protocol {
    pub const fn name(self) -> &'static [u8] {
        match self {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        }
    }

    pub fn of(name: &[u8]) -> Option<Protocol> {
        match name {
            HTTP_1_0 => Some(Protocol::Http1),
            name => [Protocol::Http1, Protocol::Http2].into_iter().find(|protocol| protocol.name() == name),
        }
    }
}

/// The traffic secrets of TLS 1.3, which rustls tells to nobody but its log of keys.
#[derive(Default)]
pub(super) struct Secrets {
    client: Option<Secret>,
    server: Option<Secret>,
}

thread_local! {
    /// Filled while rustls runs, and taken by whoever let it run: before anybody else does.
    static TOLD: RefCell<Secrets> = RefCell::default();
}

/// What every configuration has as its `key_log`, along with `enable_secret_extraction`.
#[derive(Debug)]
pub struct Keys;

impl KeyLog for Keys {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        TOLD.with_borrow_mut(|told| match label {
            "CLIENT_TRAFFIC_SECRET_0" => told.client = Some(secret.into()),
            "SERVER_TRAFFIC_SECRET_0" => told.server = Some(secret.into()),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }
}

impl Secrets {
    /// Lets rustls `run`, and keeps what it told meanwhile.
    pub(super) fn listen<T>(&mut self, run: impl FnOnce() -> T) -> T {
        drop(TOLD.take());
        let ran = run();
        let told = TOLD.take();
        self.client = told.client.or(self.client.take());
        self.server = told.server.or(self.server.take());
        ran
    }

    /// Together with what else rustls gives away; `newer` is TLS 1.3. `came` is what came behind the handshake.
    pub(super) fn seal(
        self,
        role: Role,
        suite: CipherSuite,
        newer: bool,
        extracted: ExtractedSecrets,
        came: BytesMut,
    ) -> Result<Seal, rustls::Error> {
        let (theirs, ours) = match role {
            Role::Client => (self.server, self.client),
            Role::Server => (self.client, self.server),
        };
        Ok(Seal {
            suite: suite.into(),
            read: half(newer, theirs, extracted.rx)?,
            write: half(newer, ours, extracted.tx)?,
            partial: came.into(),
            ..Seal::default()
        })
    }
}

/// The first words of a client.
pub struct Hello {
    accepted: Accepted,
    /// The name that it asks for, in lower case.
    name: Option<String>,
}

/// Reads until a client's hello is whole. `came` is what was read before, and then what came behind the hello. If
/// this is dropped before it is ready, or it refuses with [`Refused::NotTls`], `came` is everything that was read.
pub async fn hear(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    came: &mut BytesMut,
) -> Result<Hello, Refused> {
    let (mut acceptor, mut fed) = (Acceptor::default(), 0);
    loop {
        if came.first().is_some_and(|first| *first != HANDSHAKE) {
            return Err(Refused::NotTls);
        }
        let Some(length) = whole(&came[fed..], io).await? else {
            more(io, came).await?;
            continue;
        };
        let heard = feed(&came[fed..fed + length], |mut bytes| acceptor.read_tls(&mut bytes));
        fed += length;
        let accepted = match heard.map(|()| acceptor.accept()) {
            Ok(Ok(None)) if fed <= MOST => continue,
            Ok(Ok(None)) | Err(_) => return Err(Refused::TooLong),
            Ok(Ok(Some(accepted))) => accepted,
            Ok(Err((error, alert))) => return Err(refuse(io, error, alert).await),
        };
        came.advance(fed);
        let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
        return Ok(Hello { accepted, name });
    }
}

impl Hello {
    /// The rest of the handshake, by the configuration for the name that is asked for. `came` is what came behind the hello.
    pub async fn answer(
        self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        came: BytesMut,
        choose: impl FnOnce(Option<&str>) -> Option<Arc<ServerConfig>>,
    ) -> Result<Established, Refused> {
        let Some(config) = choose(self.name.as_deref()) else {
            alert(io, UNRECOGNIZED_NAME).await;
            return Err(Refused::UnknownName(self.name));
        };
        let mut secrets = Secrets::default();
        let connection = match secrets.listen(|| self.accepted.into_connection(config)) {
            Ok(connection) => connection,
            Err((error, alert)) => return Err(refuse(io, error, alert).await),
        };
        let mut established = finish(io, connection.into(), secrets, came).await?;
        established.seal.name = self.name;
        Ok(established)
    }
}

/// All of the handshake with a client.
pub async fn accept(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    choose: impl FnOnce(Option<&str>) -> Option<Arc<ServerConfig>>,
) -> Result<Established, Refused> {
    let mut came = BytesMut::new();
    let hello = hear(io, &mut came).await?;
    hello.answer(io, came, choose).await
}

/// All of the handshake with a server.
pub async fn connect(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Established, Refused> {
    let mut secrets = Secrets::default();
    let connection = secrets.listen(|| rustls::ClientConnection::new(config, name))?;
    finish(io, connection.into(), secrets, BytesMut::new()).await
}

/// Drives a handshake that has begun to its end.
async fn finish(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut connection: rustls::Connection,
    mut secrets: Secrets,
    mut came: BytesMut,
) -> Result<Established, Refused> {
    let mut fed = 0;
    loop {
        say(io, &mut connection).await?;
        if !connection.is_handshaking() {
            return settle(connection, secrets, came);
        }
        let Some(length) = whole(&came, io).await? else {
            more(io, &mut came).await?;
            continue;
        };
        fed += length;
        if fed > MOST {
            return Err(Refused::TooLong);
        }
        let record = came.split_to(length);
        feed(&record, |mut bytes| connection.read_tls(&mut bytes))?;
        if let Err(error) = secrets.listen(|| connection.process_new_packets()) {
            // The alert; it is the error that counts.
            let _ = say(io, &mut connection).await;
            return Err(error.into());
        }
    }
}

/// How long the first record of `came` is, if it is there.
pub(super) async fn whole(came: &[u8], io: &mut (impl AsyncWrite + Unpin)) -> Result<Option<usize>, Refused> {
    let [_, _, _, high, low, ..] = came else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > LONGEST {
        alert(io, RECORD_OVERFLOW).await;
        return Err(rustls::Error::InvalidMessage(rustls::InvalidMessage::MessageTooLarge).into());
    }
    Ok((came.len() >= HEADER + length).then_some(HEADER + length))
}

/// Reads once. While nothing comes no buffer is held for it.
pub(super) async fn more(io: &mut (impl AsyncRead + Unpin), came: &mut BytesMut) -> Result<(), Refused> {
    poll_fn(|cx| {
        let mut space = [0; GULP];
        let mut buffer = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()).into();
        }
        came.extend_from_slice(buffer.filled());
        Ok(()).into()
    })
    .await
}

/// rustls takes it piece by piece.
fn feed(record: &[u8], mut read: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    let mut rest = record;
    while !rest.is_empty() {
        match read(rest)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            taken => rest = &rest[taken..],
        }
    }
    Ok(())
}

/// Writes everything that rustls wants to say.
async fn say(io: &mut (impl AsyncWrite + Unpin), connection: &mut rustls::Connection) -> io::Result<()> {
    let mut words = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut words)?;
    }
    if words.is_empty() {
        return Ok(());
    }
    io.write_all(&words).await?;
    io.flush().await
}

async fn refuse(
    io: &mut (impl AsyncWrite + Unpin),
    error: rustls::Error,
    mut alert: AcceptedAlert,
) -> Refused {
    let mut words = Vec::new();
    if alert.write_all(&mut words).is_ok() {
        // Whoever has gone has lost it.
        let _ = io.write_all(&words).await;
    }
    error.into()
}

/// A fatal alert before there are keys.
async fn alert(io: &mut (impl AsyncWrite + Unpin), description: u8) {
    let _ = io.write_all(&[21, 3, 3, 0, 2, 2, description]).await;
}

/// What has been agreed on.
fn settle(connection: rustls::Connection, secrets: Secrets, came: BytesMut) -> Result<Established, Refused> {
    let role = match &connection {
        rustls::Connection::Client(_) => Role::Client,
        rustls::Connection::Server(_) => Role::Server,
    };
    let protocol = connection.alpn_protocol().and_then(Protocol::of);
    let suite = connection.negotiated_cipher_suite().ok_or(rustls::Error::HandshakeNotComplete)?.suite();
    let newer = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    // Of a server it has been verified, and nobody asks.
    let identity = match (role, connection.peer_certificates()) {
        (Role::Server, Some(chain)) => clients::identity(chain),
        _ => None,
    };
    let extracted = connection.dangerous_extract_secrets()?;
    let mut seal = secrets.seal(role, suite, newer, extracted, came)?;
    seal.identity = identity;
    Ok(Established { seal, protocol })
}

fn half(
    newer: bool,
    secret: Option<Secret>,
    (number, keys): (u64, ConnectionTrafficSecrets),
) -> Result<Half, rustls::Error> {
    if newer {
        let secret = secret.ok_or(rustls::Error::General("its traffic secret was not told".into()))?;
        return Ok(Half { secret, iv: Secret::default(), number });
    }
    let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
    | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
    | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = keys
    else {
        return Err(rustls::Error::General("its cipher is not known".into()));
    };
    Ok(Half { secret: key.as_ref().into(), iv: iv.as_ref().into(), number })
}

#[cfg(test)]
mod tests;
