//! Handshakes with endpoints: rustls speaks them, one record at a time, and what they agree on becomes a [`Channel`].
//!
//! ```text
//!   socket ─▶ came ─a whole record─▶ rustls ─▶ words ─▶ socket
//!                                       ├─ done ─▶ secrets, numbers, what came behind ─▶ Channel
//!                                       └─ what takes the tickets ◀───────────────────────┘
//! ```
//! Promises: rustls gets no byte behind the handshake, and everything that it has to say has been written when that is
//! done. Why it is not, is told in words that say what to do. What an endpoint can make us hold is bounded by
//! [`MOST`]. Sources: RFC 8446, RFC 5246, RFC 7301.
//! Must not know: sockets, how long somebody waits, where certificates come from.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage, PeerIncompatible,
    ProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::channel::{Channel, Role};
use super::handshake::{Protocol, Refused, Secrets, more, whole};

/// How many bytes of the endpoint's a handshake may take.
const MOST: usize = 128 * 1024;

/// What a handshake has come to.
pub struct Dialled {
    /// It gives the tickets that come to those who will dial again.
    pub channel: Channel,
    /// `None`: it was not spoken of.
    pub protocol: Option<Protocol>,
}

/// Why a handshake came to nothing, in words for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// The endpoint has not proven to be the one that was meant.
    #[error("{0}")]
    Untrusted(String),
    #[error("{0}")]
    Disagreed(String),
}

/// All of the handshake with an endpoint called `name`, which may speak one of `protocols` inside.
pub async fn dial(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    protocols: &[Protocol],
) -> Result<Dialled, Undone> {
    let offered = protocols.iter().map(|protocol| protocol.name().to_vec()).collect();
    let connection = UnbufferedClientConnection::new_with_alpn(config, name.clone(), offered);
    let mut dialling = match connection {
        Ok(connection) => Dialling {
            connection,
            secrets: Secrets::default(),
            given: Vec::new(),
            words: Vec::new(),
            came: BytesMut::new(),
        },
        Err(error) => return Err(undone(&error, &name)),
    };
    match dialling.drive(io).await {
        Ok(()) => dialling.settle().map_err(|error| undone(&error, &name)),
        Err(Broken::Tls(error)) => {
            dialling.say_why(io).await;
            Err(undone(&error, &name))
        }
        Err(Broken::Ended(error)) => Err(Undone::Disagreed(ended(&error))),
    }
}

struct Dialling {
    connection: UnbufferedClientConnection,
    secrets: Secrets,
    /// Records that rustls has not done with.
    given: Vec<u8>,
    words: Vec<u8>,
    /// Read, and not given to rustls.
    came: BytesMut,
}

enum Broken {
    Tls(Error),
    Ended(io::Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken::Tls(error)
    }
}

impl From<Refused> for Broken {
    fn from(refused: Refused) -> Broken {
        match refused {
            Refused::Gone(error) => Broken::Ended(error),
            Refused::Tls(error) => Broken::Tls(error),
            other => Broken::Tls(Error::General(other.to_string())),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Ended(error)
    }
}

impl Dialling {
    async fn drive(&mut self, io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Broken> {
        let mut fed = 0;
        loop {
            let (connection, given) = (&mut self.connection, &mut self.given[..]);
            let status = self.secrets.listen(move || connection.process_tls_records(given));
            let discard = status.discard;
            let waits = match status.state? {
                ConnectionState::EncodeTlsData(mut words) => {
                    put(&mut words, &mut self.words)?;
                    false
                }
                ConnectionState::TransmitTlsData(transmitted) => {
                    io.write_all(&self.words).await?;
                    io.flush().await?;
                    self.words.clear();
                    transmitted.done();
                    false
                }
                ConnectionState::BlockedHandshake => true,
                ConnectionState::WriteTraffic(_) => return Ok(()),
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                _ => return Err(Error::General("it sends data before the handshake is over".into()).into()),
            };
            self.given.drain(..discard);
            if !waits {
                continue;
            }
            let length = loop {
                if let Some(kind) = self.came.first()
                    && !(20..=23).contains(kind)
                {
                    return Err(Error::InvalidMessage(InvalidMessage::InvalidContentType).into());
                }
                match whole(&self.came, io).await? {
                    Some(length) => break length,
                    None => more(io, &mut self.came).await?,
                }
            };
            fed += length;
            if fed > MOST {
                return Err(Error::General(format!("it takes more than {MOST} bytes")).into());
            }
            self.given.extend_from_slice(&self.came.split_to(length));
        }
    }

    /// The alert, as far as the endpoint listens. It is the first that rustls has to say; asked for more, it would look
    /// for the rest of what it has refused.
    async fn say_why(&mut self, io: &mut (impl AsyncWrite + Unpin)) {
        if let Ok(ConnectionState::EncodeTlsData(mut words)) =
            self.connection.process_tls_records(&mut []).state
            && put(&mut words, &mut self.words).is_ok()
        {
            // It is the error that counts.
            let _ = io.write_all(&self.words).await;
        }
    }

    fn settle(self) -> Result<Dialled, Error> {
        let Dialling { connection, secrets, came, .. } = self;
        let protocol = connection.alpn_protocol().and_then(Protocol::of);
        let suite = connection.negotiated_cipher_suite().ok_or(Error::HandshakeNotComplete)?.suite();
        let newer = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let (extracted, mut session) = connection.dangerous_into_kernel_connection()?;
        let seal = secrets.seal(Role::Client, suite, newer, extracted, came)?;
        let channel = Channel::adopt(Role::Client, &seal);
        let mut channel = channel.ok_or_else(|| Error::General("its cipher is not known".into()))?;
        channel.keep_tickets(Box::new(move |ticket| {
            // One that cannot be read is of no use, and does no harm.
            let _ = session.handle_new_session_ticket(ticket);
        }));
        Ok(Dialled { channel, protocol })
    }
}

/// Puts what rustls wants to say behind `words`.
fn put<Data>(from: &mut EncodeTlsData<'_, Data>, words: &mut Vec<u8>) -> Result<(), Error> {
    let begin = words.len();
    loop {
        let room = words.len() - begin;
        match from.encode(&mut words[begin..]) {
            Ok(length) => {
                words.truncate(begin + length);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > room =>
            {
                words.resize(begin + required_size, 0);
            }
            Err(error) => return Err(Error::General(error.to_string())),
        }
    }
}

/// Why there is no handshake, and what to do about it.
fn undone(error: &Error, name: &ServerName<'_>) -> Undone {
    match error {
        Error::InvalidCertificate(error) => Undone::Untrusted(untrusted(error, &name.to_str())),
        Error::NoCertificatesPresented => Undone::Untrusted("it shows no certificate".into()),
        Error::AlertReceived(alert) => Undone::Disagreed(refused(*alert, &name.to_str())),
        Error::NoApplicationProtocol => {
            Undone::Disagreed(refused(AlertDescription::NoApplicationProtocol, ""))
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => Undone::Disagreed("it does not speak TLS; write protocol = \"http1\" if that is meant".into()),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => Undone::Disagreed("it speaks no version of TLS from 1.2 on".into()),
        other => Undone::Disagreed(other.to_string()),
    }
}

fn untrusted(error: &CertificateError, name: &str) -> String {
    match error {
        // The second is from somebody who is called like one who is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is from nobody who is trusted; write the file of its authority \
                                            into endpoint-tls.ca of the service"
                .into()
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!("its certificate is for no name at all, and '{name}' is asked for; give it that name")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            // As rustls says it: DnsName("a.example").
            let names: Vec<&str> =
                presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).take(8).collect();
            format!(
                "its certificate is for '{}' and not for '{name}'; write one of its names into endpoint-tls.name of the service",
                names.join("', '")
            )
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired on {}; renew it", day(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "its certificate is not valid before {}; look at the clocks of both sides",
                day(*not_before)
            )
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority (CA:TRUE); make one that is not".into()
        }
        other => format!("its certificate is not accepted: {other}"),
    }
}

/// The endpoint's last word.
fn refused(alert: AlertDescription, name: &str) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::NoApplicationProtocol => "no protocol in common; it speaks neither h2 nor http/1.1".into(),
        Alert::UnrecognisedName => {
            format!(
                "it has no certificate for '{name}'; write the name that it has one for into endpoint-tls.name of the service"
            )
        }
        Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
            format!("no version or cipher of TLS in common (alert {alert:?}); it must speak TLS 1.2 or 1.3")
        }
        other => refusal(other.into()),
    }
}

/// In words, the alert by which an endpoint has refused who we are.
pub fn refusal(alert: u8) -> String {
    match AlertDescription::from(alert) {
        alert @ (AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied) => format!(
            "it refuses the certificate that it is shown, or the lack of one (alert {alert:?}); write one that it accepts into \
             endpoint-tls.certificate and endpoint-tls.key of the service"
        ),
        alert => format!("it refuses the handshake (alert {alert:?})"),
    }
}

fn ended(error: &io::Error) -> String {
    if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) {
        return "it closed the connection in the middle of the handshake".into();
    }
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn day(time: UnixTime) -> String {
    let second =
        i64::try_from(time.as_secs()).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
    second.map_or_else(|| "a day that no calendar has".into(), |time| time.strftime("%Y-%m-%d").to_string())
}
