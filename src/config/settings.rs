//! What is true: the typed settings that every other room reads.
//!
//! Promises: a value in here has been checked, has its default, and is plain data (`Clone`,
//! `PartialEq`, `Send`, `Sync`), so that two generations can be compared service by service.
//! Must not know: files, TOML, or who reads it.

mod endpoints;
mod hold;
mod turnstile;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use endpoints::{Balance, Breaker, Endpoint, HashKey, Health, HealthKind, Retry, RetryOn, RetryWay, Way};
pub use hold::{Hold, Unit};
pub use turnstile::{Concurrency, Fallback, Rate, RateBy};

/// The whole configuration of one generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub daemon: Daemon,
    pub listeners: Vec<Listener>,
    pub admin: Admin,
    pub drain: Drain,
    pub upgrade: Upgrade,
    pub log: Log,
    pub limits: Limits,
    pub tls: Tls,
    /// For answers that belong to no service.
    pub errors: Arc<ErrorPages>,
    /// Networks whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<Network>,
    /// In the order of their names.
    pub services: Vec<Arc<Service>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Daemon {
    /// Data threads; never 0 (`"auto"` is resolved to the number of processors).
    pub threads: usize,
    /// Reload by itself when a configuration file changes.
    pub reload_on_change: bool,
}

/// A listening socket by its name (systemd's `FileDescriptorName=`).
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    /// Where to bind when systemd did not pass a socket of this name; may be empty.
    pub listen: Vec<Address>,
    /// The backlog of sockets that hitless binds itself.
    pub backlog: u32,
    /// Whether its connections begin with a TLS handshake.
    pub tls: bool,
    /// Those who connect from here begin with a PROXY header, all others do not.
    pub proxy: Vec<Network>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// The Unix socket of `hitless status`, `hitless reload`.
    pub socket: PathBuf,
    /// More addresses that answer `/healthz`, `/readyz` and `/status`, read-only.
    pub listen: Vec<Address>,
    /// Whether `hitless fault` may be used.
    pub faults: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    pub deadline: DrainDeadline,
    /// How long an idle or just accepted connection is still served after the drain began.
    pub idle_grace: Duration,
    /// How long readiness fails, with everything still served, before the drain begins.
    pub lame_duck: Duration,
    /// Whether systemd may be asked for more time while requests make progress.
    pub extend: bool,
    /// WebSockets are closed at a random moment within this time from the start of the drain.
    pub tunnel_jitter: Duration,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Upgrade {
    /// How long the new gateway is watched, with the old program at hand.
    pub probation: Duration,
    /// How many outgoing gateways may still finish what they have.
    pub outgoing: usize,
    /// The longest that one of them may take.
    pub deadline: Duration,
}

/// The longest that requests in flight are waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DrainDeadline {
    Fixed(Duration),
    /// Derived from the durations and ages seen, within bounds.
    Adaptive {
        least: Duration,
        most: Duration,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub level: LogLevel,
    pub access: AccessLog,
    pub access_to: AccessSink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AccessLog {
    Off,
    /// This share of requests, 0.0 to 1.0, and every failure.
    Sampled(f64),
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AccessSink {
    /// The journal, or one of its namespaces (journald.conf(5)).
    Journal {
        namespace: Option<String>,
    },
    File(PathBuf),
}

/// What a client may ask of the daemon as a whole; `None` is no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a request line, or of `:method`, `:scheme`, `:authority` and `:path` together.
    pub request_line: u64,
    /// Bytes of all field lines of a head or of trailers, without the request line.
    pub fields: u64,
    /// Field lines of a head or of trailers.
    pub field_count: u64,
    /// From accept, or the first byte of a head, to its end.
    pub head_time: Duration,
    /// How long a connection without a request is kept.
    pub keep_alive: Option<Duration>,
    /// Requests on one connection.
    pub keep_alive_requests: Option<u64>,
    /// Connections in all.
    pub connections: Option<u64>,
    /// Connections from one address.
    pub connections_per_address: Option<u64>,
    /// Concurrent streams of one HTTP/2 connection.
    pub streams: u64,
    /// Tunnels in all.
    pub tunnels: Option<u64>,
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_line: 8 * 1024,
            fields: 32 * 1024,
            field_count: 100,
            head_time: Duration::from_secs(10),
            keep_alive: Some(Duration::from_secs(75)),
            keep_alive_requests: None,
            connections: None,
            connections_per_address: None,
            streams: 128,
            tunnels: None,
        }
    }
}

/// What holds for every TLS handshake; `None` is no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    pub oldest: TlsVersion,
    /// From accept to the end of the handshake.
    pub handshake_time: Duration,
    /// Handshakes at a time, in all.
    pub handshakes: Option<u64>,
    /// For hosts of services without their own; the first one is the default.
    pub certificates: Vec<Pair>,
    /// Whether a TLS connection moves in a handover, or is drained.
    pub moves: bool,
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Tls {
    fn default() -> Tls {
        Tls {
            oldest: TlsVersion::Tls12,
            handshake_time: Duration::from_secs(10),
            handshakes: Some(1000),
            certificates: Vec::new(),
            moves: true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// A certificate chain and its key, in files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    pub chain: Place,
    pub key: Place,
}

/// Where something lies that is not kept in memory with the configuration, because it is secret or changes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    File(PathBuf),
    /// By its name in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
    Credential(String),
}

/// What a service says about TLS to its hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceTls {
    /// Empty: those of [`Tls`].
    pub certificates: Vec<Pair>,
    pub clients: Clients,
    /// The authorities that clients' certificates are from; there is one unless `clients` is off.
    pub client_ca: Option<Place>,
    /// The field, in lower case, in which the application is told who the client is.
    pub client_field: Option<String>,
}

/// Whether clients prove by a certificate who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clients {
    #[default]
    Off,
    Optional,
    Required,
}

/// How a service has its clients come by TLS only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Https {
    /// What comes without TLS is sent there.
    pub redirect: bool,
    pub hsts: Option<Hsts>,
}

/// HTTP Strict Transport Security (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    pub age: Duration,
    pub subdomains: bool,
    pub preload: bool,
}

/// As `Strict-Transport-Security` says it (RFC 6797, section 6.1).
impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subdomains = if self.subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        write!(f, "max-age={}{subdomains}{preload}", self.age.as_secs())
    }
}

/// What a client may send as the content of one request, and how it takes the answer; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentLimits {
    /// Bytes.
    pub content: Option<u64>,
    /// Bytes a second while content is awaited, after a grace for its first bytes.
    pub content_rate: Option<u64>,
    /// Bytes a second while the answer waits for its client, after the same grace.
    pub answer_rate: Option<u64>,
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for ContentLimits {
    fn default() -> ContentLimits {
        ContentLimits { content: None, content_rate: None, answer_rate: Some(240) }
    }
}

/// How much of the content of a request is kept until its answer begins, to be sent again if need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes beyond that, in a file; `None`: what is longer is not kept.
    pub file: Option<u64>,
    /// Bytes in the files of all requests.
    pub together: Option<u64>,
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Replay {
    fn default() -> Replay {
        Replay { memory: 64 * 1024, file: None, together: Some(1 << 30) }
    }
}

impl Replay {
    /// Whether to begin with content of this length; what has none may still turn out too long.
    pub fn keeps(&self, length: Option<u64>) -> bool {
        match (length, self.file) {
            (Some(length), file) => length <= self.memory.saturating_add(file.unwrap_or(0)),
            (None, file) => file.is_some(),
        }
    }
}

/// How an error is written. A tie goes to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Text,
    /// Problem details (RFC 9457).
    Problem,
    Html,
}

/// The bodies of error answers; a form that is not in here is built in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages(pub BTreeMap<(Form, PageFor), ErrorPage>);

/// The answers for which a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageFor {
    Status(u16),
    /// The first digit of the status.
    Class(u16),
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage(pub Vec<Piece>);

/// A part of a page: as it was written, or to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Status,
    Title,
    Detail,
    Code,
    RequestId,
}

impl ErrorPages {
    /// The page for exactly this status, otherwise for its class, otherwise for all.
    pub fn find(&self, form: Form, status: u16) -> Option<&ErrorPage> {
        let wanted = [PageFor::Status(status), PageFor::Class(status / 100), PageFor::Any];
        wanted.into_iter().find_map(|wanted| self.0.get(&(form, wanted)))
    }
}

impl ErrorPage {
    /// `say` is asked for what stands in place of each piece that is no text.
    pub fn fill(&self, say: impl Fn(&Piece) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            other => say(other),
        };
        self.0.iter().map(piece).collect()
    }
}

/// An application behind the door.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: String,
    pub endpoints: Vec<Endpoint>,
    /// How often the addresses of names are looked up.
    pub resolve: Duration,
    pub balance: Balance,
    /// `None`: nobody asks them.
    pub health: Option<Health>,
    pub breaker: Breaker,
    pub protocol: Protocol,
    /// Of [`Protocol::Https`] only.
    pub endpoint_tls: EndpointTls,
    pub pool: Pool,
    pub hold: Hold,
    pub unit: Unit,
    pub errors: Arc<ErrorPages>,
    pub tls: ServiceTls,
    pub https: Https,
    /// For the requests of all of its routes together.
    pub rates: Vec<Rate>,
    pub concurrency: Concurrency,
    /// The field, in lower case, in which the application is told how long a request may still take.
    pub deadline_field: Option<String>,
    /// Never empty.
    pub routes: Vec<Route>,
}

/// TLS to the endpoints of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointTls {
    /// What their certificates must be for; `None`: the host of each.
    pub name: Option<String>,
    pub verify: bool,
    /// The authorities; `None`: those of the system.
    pub ca: Option<Place>,
    /// What they are shown.
    pub pair: Option<Pair>,
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for EndpointTls {
    fn default() -> EndpointTls {
        EndpointTls { name: None, verify: true, ca: None, pair: None }
    }
}

/// The protocol spoken to the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http1,
    /// HTTP/2 with prior knowledge over cleartext (RFC 9113, section 3.3).
    H2c,
    /// TLS, with what its handshake agrees on inside (RFC 7301).
    Https,
}

/// Kept-alive connections to one endpoint, per data thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub idle: Duration,
    pub max_idle: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `service[index]`: the word for this route in logs and metrics.
    pub id: String,
    /// Names of the listeners it is reachable on; empty: all.
    pub listeners: Vec<String>,
    /// Never empty.
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    /// Upper case; empty: any.
    pub methods: Vec<String>,
    /// Field name in lower case → exact value that the request must carry.
    pub fields: BTreeMap<String, String>,
    pub action: Action,
    /// Replace the first path (a whole-segment prefix) by the second before forwarding; the second may be empty (strip).
    pub rewrite: Option<(String, String)>,
    /// Whether `CONNECT` may open a tunnel to the endpoint.
    pub connect: bool,
    pub timeout: Timeout,
    pub retry: Retry,
    pub limits: ContentLimits,
    /// For its own requests, beside those of its service.
    pub rates: Vec<Rate>,
    pub fallback: Option<Fallback>,
    pub replay: Replay,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Forward,
    /// `Location` is this text with `{host}`, `{path}` (with its leading slash) and `{query}` (with its `?`, or empty) filled in.
    Redirect {
        to: String,
        status: u16,
    },
    Answer {
        status: u16,
        content_type: String,
        body: String,
    },
}

/// Deadlines of one request; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// To have a connection to the endpoint.
    pub connect: Duration,
    /// From the end of sending the request to the head of the answer.
    pub first_byte: Option<Duration>,
    /// Between two bytes of a body, in either direction.
    pub idle: Option<Duration>,
    /// From the head of the request to the end of the answer.
    pub request: Option<Duration>,
    /// Silence in both directions of a tunnel.
    pub tunnel_idle: Option<Duration>,
}

/// Lower case, without port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    Exact(String),
    /// `*.example.com`, kept as `example.com`: any name below it, at any depth, not itself.
    Suffix(String),
    Any,
}

/// A path as configured: `/a/b` exact, `/users/{id}` with parameters, `/static/*` a prefix
/// (`/static`, `/static/` and everything below), `/*` everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPattern(pub String);

/// Where to listen or connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Ip(SocketAddr),
    /// Resolved at each connection; only for endpoints.
    Name {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// An address block such as `10.0.0.0/8`, or every peer of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Block { address: IpAddr, prefix: u8 },
    Unix,
}

impl Network {
    /// Whether `address` lies in this block; IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let Network::Block { address: base, prefix } = *self else { return false };
        match (base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                u32::from(base) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                u128::from(base) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => write!(f, "{address}"),
            Address::Name { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Suffix(host) => write!(f, "*.{host}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Block { address, prefix } => write!(f, "{address}/{prefix}"),
            Network::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let net = Network::Block { address: "10.1.0.0".parse().unwrap(), prefix: 16 };
        assert!(net.contains("10.1.255.1".parse().unwrap()));
        assert!(net.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!net.contains("10.2.0.0".parse().unwrap()));
        let all = Network::Block { address: "::".parse().unwrap(), prefix: 0 };
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(!all.contains("10.0.0.1".parse().unwrap()));
    }
}
