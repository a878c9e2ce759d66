//! What moves to another process: connections, as records with their descriptors, and the ledger.
//!
//! ```text
//!   Parcel = Record (what it is, the bytes that were read and not used) + its descriptors
//! ```
//! Promises: a record says everything that whoever adopts it needs, and nothing by the number or the address of
//! a descriptor; a kind of record that this version does not know is [`Record::Unknown`], so that it can be refused
//! by itself. Times are ages, because clocks of two processes agree on nothing else.
//! Must not know: sockets, HTTP, how parcels travel.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use crate::telemetry::ledger::Ledger;

/// Raised when a record of the version before would be misunderstood; a new optional field raises nothing.
pub const VERSION: u32 = 1;

/// A record and its descriptors, in the order that the record's kind says.
#[derive(Debug)]
pub struct Parcel {
    pub record: Record,
    pub fds: Vec<OwnedFd>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// An HTTP/1 connection between two requests. Descriptors: the client's.
    Connection(Connection),
    /// Descriptors: the client's, the endpoint's.
    Tunnel(Box<Tunnel>),
    /// The last word of the outgoing gateway: what became of everything it and those before it had. No descriptors.
    Ledger(Box<Ledger>),
    /// So that whoever comes next resumes its session: the first word of the outgoing gateway. No descriptors.
    Tickets(Box<Tickets>),
    /// How endpoints are, so that none has to be asked first. No descriptors.
    Health(Box<Health>),
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

impl Record {
    /// How many descriptors a parcel of this kind has.
    pub fn descriptors(&self) -> Option<usize> {
        match self {
            Record::Connection(_) => Some(1),
            Record::Tunnel(_) => Some(2),
            Record::Ledger(_) | Record::Tickets(_) | Record::Health(_) => Some(0),
            Record::Unknown => None,
        }
    }

    /// The client's side; `None` of what has none, or is not known.
    pub fn client(&self) -> Option<&Connection> {
        match self {
            Record::Connection(client) => Some(client),
            Record::Tunnel(tunnel) => Some(&tunnel.client),
            Record::Ledger(_) | Record::Tickets(_) | Record::Health(_) | Record::Unknown => None,
        }
    }
}

/// The client's side of what moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// The name of the listener that accepted it, which may be gone.
    pub listener: String,
    /// `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// Read from the client and not used: the beginning of a head, or of what a tunnel carries.
    #[serde(with = "super::hex", default)]
    pub unread: Vec<u8>,
    /// Requests admitted on it so far.
    pub requests: u64,
    /// Since it was accepted.
    pub age_ms: u64,
    /// Since its last request was answered, or since the bytes in `unread` began to come.
    pub idle_ms: u64,
    /// A PROXY header is still to come, in front of everything else, and `unread` is the beginning of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub header: bool,
    /// Its TLS handshake is still to come, and `unread` is the beginning of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub greeting: bool,
    /// The TLS connection around it, if there is one. `unread` is of its plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Box<Seal>>,
}

/// An established TLS connection: everything that its next record depends on. With it any of its states can move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seal {
    /// The number of the cipher suite, which is of one version of TLS only.
    pub suite: u16,
    pub read: Half,
    pub write: Half,
    /// Read from the socket and not opened: the beginning of a record.
    #[serde(with = "super::hex", default)]
    pub partial: Vec<u8>,
    /// The beginning of a handshake message that goes on in the next record.
    #[serde(with = "super::hex", default)]
    pub message: Vec<u8>,
    /// Sealed, and not yet taken by the socket: in front of everything else.
    #[serde(with = "super::hex", default)]
    pub unsent: Vec<u8>,
    /// How many bytes of plaintext are in `unsent` that whoever writes next believes to be unwritten.
    pub promised: usize,
    /// The other side has closed its direction with close_notify.
    pub ended: bool,
    /// This side has.
    pub shut: bool,
    /// The other side has asked for the next key, and not got it yet.
    pub update_owed: bool,
    /// The name that the client asked for.
    #[serde(default)]
    pub name: Option<String>,
    /// Who the client has proven to be.
    #[serde(default)]
    pub identity: Option<String>,
}

/// One direction of a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Half {
    /// TLS 1.3: the traffic secret. TLS 1.2: the key.
    pub secret: Secret,
    /// TLS 1.2 only: in TLS 1.3 it follows from the secret.
    #[serde(default)]
    pub iv: Secret,
    /// Of the next record.
    pub number: u64,
}

/// What another gateway knows of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub endpoints: Vec<EndpointHealth>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointHealth {
    pub service: String,
    /// By its name in logs and status.
    pub endpoint: String,
    /// By an active check; one that nobody has asked yet is not told.
    pub healthy: Option<bool>,
    #[serde(default)]
    pub drained: bool,
    /// `open` or `close` when an operator holds its breaker so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<String>,
}

/// The keys of session tickets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tickets {
    pub keys: Vec<TicketKey>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TicketKey {
    /// What a ticket begins with.
    #[serde(with = "super::hex")]
    pub name: Vec<u8>,
    pub secret: Secret,
    pub age_ms: u64,
}

/// Two connections between which bytes of another protocol go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tunnel {
    pub client: Connection,
    /// Read from the endpoint and not used, in front of everything that is still in its socket.
    #[serde(with = "super::hex", default)]
    pub ahead: Vec<u8>,
    /// From the client to the endpoint.
    pub up: Direction,
    pub down: Direction,
    /// Its frames are followed, so that it can be closed in its own way.
    pub websocket: bool,
    /// The longest silence in both directions.
    pub idle_ms: Option<u64>,
    pub story: Story,
    /// The TLS connection around the endpoint's side; `ahead` is of its plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Box<Seal>>,
}

/// One direction of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// Read from one side and not yet taken by the other: the first to be written.
    #[serde(with = "super::hex", default)]
    pub pending: Vec<u8>,
    /// Bytes relayed so far, `pending` included.
    pub carried: u64,
    /// The side that is read has said its end.
    pub ended: bool,
    /// The end has been passed on.
    pub shut: bool,
    /// The part of a frame's header that has been read (RFC 6455, section 5.2). In the middle of its payload the
    /// first byte, which says whether it is a close frame.
    #[serde(with = "super::hex", default)]
    pub header: Vec<u8>,
    /// Bytes of the current frame still to come.
    pub left: u64,
    /// A close frame has gone by.
    pub closed: bool,
}

/// What the access log will say of the request that a tunnel began with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub request_id: String,
    pub trace_id: String,
    /// By name: the configuration may have changed.
    pub service: Option<String>,
    pub route: Option<String>,
    pub endpoint: Option<String>,
    pub method: String,
    pub authority: String,
    pub path: String,
    pub protocol: String,
    pub status: u16,
    pub age_ms: u64,
    /// Content of HTTP, before the tunnel.
    pub sent: u64,
    pub received: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::ledger::{Account, Page};

    #[test]
    fn a_record_comes_back_as_it_was_whatever_its_bytes() {
        let unread: Vec<u8> = (0..=255).collect();
        let client = Connection { listener: "http".into(), unread, requests: 7, ..Connection::default() };
        let up =
            Direction { pending: b"\0\xff".to_vec(), left: 3, header: vec![0x82], ..Direction::default() };
        let tunnel = Tunnel {
            client: client.clone(),
            ahead: vec![],
            up,
            down: Direction::default(),
            websocket: true,
            idle_ms: Some(60_000),
            story: Story { path: "/chat?a=\u{1f980}".into(), ..Story::default() },
            seal: Some(Box::new(Seal { suite: 0x1301, promised: 3, ..Seal::default() })),
        };
        let account = Account { admitted: 2, answered: 2, ..Account::default() };
        let services = [("shop".to_owned(), account)].into_iter().collect();
        let ledger = Ledger { gateways: vec![Page { gateway: 4, services, ..Page::default() }] };
        let key = TicketKey { name: vec![0, 255], secret: Secret::from(&[7][..]), age_ms: 3 };
        for record in [
            Record::Connection(client),
            Record::Tunnel(Box::new(tunnel)),
            Record::Ledger(Box::new(ledger)),
            Record::Tickets(Box::new(Tickets { keys: vec![key] })),
            Record::Health(Box::new(Health { endpoints: vec![EndpointHealth::default()] })),
        ] {
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_unknown_and_what_is_more_is_left_aside() {
        let later: Record = serde_json::from_str(r#"{"kind":"teleport","to":[1,2]}"#).unwrap();
        assert_eq!(later, Record::Unknown);
        let more = r#"{"kind":"connection","listener":"http","address":null,"unread":"4745","requests":1,
                       "age_ms":5,"idle_ms":2,"colour":"blue"}"#;
        let Record::Connection(connection) = serde_json::from_str(more).unwrap() else { panic!() };
        assert_eq!(connection.unread, b"GE");
        assert!(serde_json::from_str::<Record>(&more.replace("4745", "474")).is_err());
        assert!(serde_json::from_str::<Record>(&more.replace("4745", "4z")).is_err());
    }
}
