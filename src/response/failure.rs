//! What can go wrong with a request, and the one table from it to a status.
//!
//! Promises: every failure has a fault (who), a phase (when), a retry rule and a status, and the
//! compiler checks that none is missing. A client's fault is a 4xx, an upstream's never is.
//! Must not know: sockets, hyper, or how an answer is written.

use std::fmt;
use std::time::Duration;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    Client,
    Upstream,
    Policy,
    Hitless,
}

/// When it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Accept,
    Headers,
    Route,
    Hold,
    Connect,
    Send,
    Await,
    Body,
}

/// Whether another attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    Never,
    /// Nothing of the request has reached an application: any request may be tried again.
    Unsent,
    /// It may have been acted on: only idempotent requests may be tried again.
    Safe,
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deadline {
    Connect,
    FirstByte,
    Idle,
    Request,
}

/// A rate that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Whose requests are counted together, in a word.
    pub by: &'static str,
    /// So many in so much time.
    pub count: u32,
    pub per: Duration,
    /// Until the next one is let through.
    pub wait: Duration,
}

/// One way in which a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No or an unusable authority, path or field.
    BadRequest(&'static str),
    /// No route fits a host that is served.
    NoRoute,
    /// The authority is not served here (RFC 9110, section 15.5.20).
    Misdirected,
    /// The authority is served, but not to who has asked TLS for another name.
    WrongName,
    /// Plain HTTP where TLS is spoken.
    PlainHttp,
    /// `CONNECT` where no route allows it.
    ConnectRefused,
    /// A major version of HTTP that is not spoken here (RFC 9110, section 15.6.6).
    UnsupportedVersion,
    /// A transfer coding other than `chunked` (RFC 9112, section 6.1).
    UnknownCoding,
    /// An expectation other than `100-continue` (RFC 9110, section 10.1.1).
    UnknownExpectation,
    /// The request has been here before (RFC 9110, section 7.6.3).
    Loop,
    /// The request line is longer than this (RFC 9112, section 3).
    LongRequestLine(u64),
    /// All fields together are longer than this (RFC 6585, section 5).
    LongFields(u64),
    /// There are more fields than this.
    ManyFields(u64),
    /// The content is longer than this (RFC 9110, section 15.5.14).
    LongContent(u64),
    /// The head did not come in time.
    SlowHead(Duration),
    /// The content comes with fewer bytes a second than this.
    SlowContent(u64),
    /// The answer is taken with fewer bytes a second than this.
    SlowReader(u64),
    /// There are as many tunnels as there may be.
    ManyTunnels(u64),
    /// The application was away, and the request waited for it as long as it may.
    HeldTooLong(Duration),
    /// The application is away, and no more may wait for it; the key of the limit.
    HoldFull(&'static str),
    /// A rate is reached (RFC 6585, section 4).
    ManyRequests(Quota),
    /// As many requests of the service are under way as may be, and as many wait.
    NoPlace(u32),
    /// It has waited for a place so long.
    LongQueue(Duration),
    /// It waited for a place, and more urgent ones came.
    Shed,
    /// An operator's drill has failed it, with this status.
    Fault(u16),
    /// The client closed or reset before it had the whole answer.
    ClientGone,
    /// The client stopped sending its content in the middle.
    ClientSilent,
    /// The service has no endpoint.
    NoEndpoint,
    /// It has, and none of them gets requests.
    NobodyUp,
    /// The breaker of the service as a whole is open.
    BreakerOpen,
    /// No connection to the endpoint.
    Unreachable(String),
    /// The endpoint is not proven to be the one that it was taken for.
    Untrusted(String),
    /// The endpoint and hitless do not agree on TLS.
    Handshake(String),
    /// The connection broke before anything of the request was taken by the endpoint.
    Unsent(String),
    /// The connection broke after sending, before the answer.
    NoAnswer(String),
    /// The answer is not HTTP.
    BadAnswer(String),
    /// The answer broke off.
    Truncated(String),
    /// The endpoint refused the upgrade it was asked for in a way that cannot be passed on.
    BadUpgrade,
    /// A deadline passed.
    Late(Deadline, Duration),
    /// hitless itself may open no more connections.
    NoDescriptor,
    /// Cut at the drain's deadline.
    Drained,
    /// A panic while serving this request.
    Panicked,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub fault: Fault,
    pub phase: Phase,
    pub retry: Retry,
    /// The status sent when the answer has not begun.
    pub status: u16,
    /// Whether an HTTP/1 connection ends with this answer: what follows on it cannot be trusted to be a
    /// request, or is not waited for (RFC 9112, sections 6.3 and 9.6). HTTP/2 ends the stream only.
    pub close: bool,
    /// The word for it in logs and metrics.
    pub code: &'static str,
}

impl Failure {
    /// The table. Statuses: RFC 9110, section 15.
    pub fn verdict(&self) -> Verdict {
        use {Fault::*, Phase::*};
        let row =
            |fault, phase, retry, status, code| Verdict { fault, phase, retry, status, close: false, code };
        // Of these the rest of the request is not read.
        let last = |fault, phase, status, code| Verdict {
            fault,
            phase,
            retry: Retry::Never,
            status,
            close: true,
            code,
        };
        match self {
            Failure::BadRequest(_) => last(Client, Headers, 400, "bad-request"),
            Failure::NoRoute => row(Client, Route, Retry::Never, 404, "no-route"),
            Failure::Misdirected => row(Client, Route, Retry::Never, 421, "misdirected"),
            Failure::WrongName => row(Client, Route, Retry::Never, 421, "wrong-name"),
            Failure::PlainHttp => last(Client, Headers, 400, "plain-http"),
            Failure::ConnectRefused => row(Policy, Route, Retry::Never, 405, "connect-refused"),
            Failure::UnsupportedVersion => last(Policy, Headers, 505, "unsupported-version"),
            Failure::UnknownCoding => last(Policy, Headers, 501, "unknown-coding"),
            Failure::UnknownExpectation => last(Client, Headers, 417, "unknown-expectation"),
            Failure::Loop => row(Policy, Route, Retry::Never, 508, "loop"),
            Failure::LongRequestLine(_) => last(Client, Headers, 414, "long-request-line"),
            Failure::LongFields(_) => last(Client, Headers, 431, "long-fields"),
            Failure::ManyFields(_) => last(Client, Headers, 431, "many-fields"),
            Failure::LongContent(_) => last(Client, Body, 413, "long-content"),
            Failure::SlowHead(_) => last(Client, Headers, 408, "slow-head"),
            Failure::SlowContent(_) => last(Client, Body, 408, "slow-content"),
            // It is never told: the answer has begun.
            Failure::SlowReader(_) => last(Client, Body, 408, "slow-reader"),
            Failure::ManyTunnels(_) => row(Policy, Route, Retry::Never, 503, "many-tunnels"),
            Failure::HeldTooLong(_) => row(Upstream, Hold, Retry::Never, 503, "held-too-long"),
            Failure::HoldFull(_) => row(Policy, Hold, Retry::Never, 503, "hold-full"),
            Failure::ManyRequests(_) => row(Policy, Route, Retry::Never, 429, "many-requests"),
            Failure::NoPlace(_) => row(Policy, Hold, Retry::Never, 503, "no-place"),
            Failure::LongQueue(_) => row(Policy, Hold, Retry::Never, 503, "long-queue"),
            Failure::Shed => row(Policy, Hold, Retry::Never, 503, "shed"),
            Failure::Fault(status) => row(Policy, Send, Retry::Never, *status, "fault"),
            Failure::ClientGone => last(Client, Body, 499, "client-gone"),
            Failure::ClientSilent => last(Client, Body, 408, "client-silent"),
            Failure::NoEndpoint => row(Upstream, Connect, Retry::Never, 503, "no-endpoint"),
            Failure::NobodyUp => row(Upstream, Connect, Retry::Never, 503, "nobody-up"),
            Failure::BreakerOpen => row(Policy, Connect, Retry::Never, 503, "breaker-open"),
            Failure::Unreachable(_) => row(Upstream, Connect, Retry::Unsent, 502, "unreachable"),
            Failure::Untrusted(_) => row(Upstream, Connect, Retry::Unsent, 502, "untrusted"),
            Failure::Handshake(_) => row(Upstream, Connect, Retry::Unsent, 502, "handshake"),
            Failure::Unsent(_) => row(Upstream, Send, Retry::Unsent, 502, "unsent"),
            Failure::NoAnswer(_) => row(Upstream, Await, Retry::Safe, 502, "no-answer"),
            Failure::BadAnswer(_) => row(Upstream, Await, Retry::Never, 502, "bad-answer"),
            Failure::Truncated(_) => row(Upstream, Body, Retry::Never, 502, "truncated"),
            Failure::BadUpgrade => row(Upstream, Await, Retry::Never, 502, "bad-upgrade"),
            Failure::Late(Deadline::Connect, _) => row(Upstream, Connect, Retry::Unsent, 504, "late-connect"),
            Failure::Late(Deadline::FirstByte, _) => {
                row(Upstream, Await, Retry::Never, 504, "late-first-byte")
            }
            Failure::Late(Deadline::Idle, _) => row(Upstream, Body, Retry::Never, 504, "late-idle"),
            Failure::Late(Deadline::Request, _) => row(Upstream, Await, Retry::Never, 504, "late-request"),
            Failure::NoDescriptor => row(Hitless, Connect, Retry::Never, 503, "no-descriptor"),
            Failure::Drained => row(Hitless, Await, Retry::Never, 503, "drained"),
            Failure::Panicked => row(Hitless, Headers, Retry::Never, 500, "panicked"),
        }
    }
}

impl Failure {
    /// Whether the application was away, and has seen nothing of the request.
    pub fn is_of_one_away(&self) -> bool {
        matches!(self, Failure::Unreachable(_) | Failure::Unsent(_))
    }

    /// Whether no endpoint could be asked: a fallback may stand in for it.
    pub fn asks_nobody(&self) -> bool {
        match self {
            Failure::NoEndpoint | Failure::NobodyUp | Failure::BreakerOpen => true,
            Failure::HeldTooLong(_) | Failure::HoldFull(_) => true,
            Failure::Unreachable(_) | Failure::Untrusted(_) | Failure::Handshake(_) => true,
            Failure::Late(deadline, _) => *deadline == Deadline::Connect,
            _ => false,
        }
    }
}

impl Fault {
    /// The word for it in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Client => "client",
            Fault::Upstream => "upstream",
            Fault::Policy => "policy",
            Fault::Hitless => "hitless",
        }
    }
}

impl Phase {
    /// The word for it in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Accept => "accept",
            Phase::Headers => "headers",
            Phase::Route => "route",
            Phase::Hold => "hold",
            Phase::Connect => "connect",
            Phase::Send => "send",
            Phase::Await => "await",
            Phase::Body => "body",
        }
    }
}

/// One line for the operator's log; a client is told less.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::BadRequest(reason) => write!(f, "bad request: {reason}"),
            Failure::NoRoute => f.write_str("no route fits"),
            Failure::Misdirected => f.write_str("the host is not served here"),
            Failure::WrongName => f.write_str("the connection was made for a host with another certificate"),
            Failure::PlainHttp => f.write_str("plain HTTP where TLS is spoken"),
            Failure::ConnectRefused => f.write_str("no route allows CONNECT"),
            Failure::UnsupportedVersion => f.write_str("the version of HTTP is not spoken here"),
            Failure::UnknownCoding => f.write_str("the transfer coding is not known here"),
            Failure::UnknownExpectation => f.write_str("the expectation is not known here"),
            Failure::Loop => f.write_str("the request has passed through here before, its Via says"),
            Failure::LongRequestLine(limit) => {
                write!(f, "the request line is longer than limits.request-line, {limit} bytes")
            }
            Failure::LongFields(limit) => {
                write!(f, "the fields are longer than limits.fields, {limit} bytes")
            }
            Failure::ManyFields(limit) => {
                write!(f, "there are more fields than limits.field-count, {limit}")
            }
            Failure::LongContent(limit) => {
                write!(f, "the content is longer than limits.content, {limit} bytes")
            }
            Failure::SlowHead(limit) => {
                write!(f, "the head took longer than limits.head-time, {limit:?}")
            }
            Failure::SlowContent(limit) => {
                write!(f, "the content comes slower than limits.content-rate, {limit} bytes a second")
            }
            Failure::SlowReader(limit) => {
                write!(f, "the answer is taken slower than limits.answer-rate, {limit} bytes a second")
            }
            Failure::ManyTunnels(limit) => {
                write!(f, "there are as many tunnels as limits.tunnels allows, {limit}")
            }
            Failure::HeldTooLong(limit) => {
                write!(f, "the application was away for longer than hold.age, {limit:?}")
            }
            Failure::HoldFull(limit) => {
                write!(f, "the application is away, and as many requests wait for it as {limit} allows")
            }
            Failure::ManyRequests(Quota { by, count, per, .. }) => {
                write!(f, "more requests than a rate lets through, {count} in {per:?} (by {by})")
            }
            Failure::NoPlace(limit) => {
                write!(
                    f,
                    "there are as many requests as the concurrency of the service allows, {limit}, and its queue is full"
                )
            }
            Failure::LongQueue(limit) => {
                write!(f, "it waited for a place longer than concurrency.queue-time, {limit:?}")
            }
            Failure::Shed => f.write_str("it waited for a place, and more urgent requests came"),
            Failure::Fault(status) => write!(f, "failed on purpose with {status}, see hitless fault"),
            Failure::ClientGone => f.write_str("the client went away"),
            Failure::ClientSilent => f.write_str("the client stopped sending its content"),
            Failure::NoEndpoint => f.write_str("the service has no endpoint"),
            Failure::NobodyUp => f.write_str("no endpoint of the service is up; see hitless status"),
            Failure::BreakerOpen => f.write_str(
                "the breaker of the service is open; see hitless status, and hitless breaker to set it by hand",
            ),
            Failure::Unreachable(cause) => write!(f, "cannot connect to the endpoint: {cause}"),
            Failure::Untrusted(cause) => write!(f, "cannot trust the endpoint: {cause}"),
            Failure::Handshake(cause) => write!(f, "cannot agree on TLS with the endpoint: {cause}"),
            Failure::Unsent(cause) => write!(f, "cannot send to the endpoint: {cause}"),
            Failure::NoAnswer(cause) => write!(f, "the endpoint closed without an answer: {cause}"),
            Failure::BadAnswer(cause) => write!(f, "the endpoint's answer is not HTTP: {cause}"),
            Failure::Truncated(cause) => write!(f, "the endpoint's answer broke off: {cause}"),
            Failure::BadUpgrade => f.write_str("the endpoint's answer to an upgrade cannot be passed on"),
            Failure::Late(deadline, limit) => write!(f, "{} deadline of {limit:?} passed", deadline.word()),
            Failure::NoDescriptor => f.write_str(
                "cannot connect to the endpoint: no descriptor is left; raise LimitNOFILE= of the unit",
            ),
            Failure::Drained => f.write_str("cut at the drain's deadline"),
            Failure::Panicked => f.write_str("panicked while serving the request"),
        }
    }
}

impl Deadline {
    /// Its key in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Deadline::Connect => "connect",
            Deadline::FirstByte => "first-byte",
            Deadline::Idle => "idle",
            Deadline::Request => "request",
        }
    }
}

/// One of each, with causes that no client may see.
#[cfg(test)]
pub(crate) fn every_failure() -> Vec<Failure> {
    use Failure::*;
    let cause = || "secret cause".to_owned();
    let late = |deadline| Late(deadline, Duration::from_secs(3));
    let all = vec![
        BadRequest("no host"),
        NoRoute,
        Misdirected,
        WrongName,
        PlainHttp,
        ConnectRefused,
        UnsupportedVersion,
        UnknownCoding,
        UnknownExpectation,
        Loop,
        LongRequestLine(7),
        LongFields(7),
        ManyFields(7),
        LongContent(7),
        SlowHead(Duration::from_secs(3)),
        SlowContent(7),
        SlowReader(7),
        ManyTunnels(7),
        HeldTooLong(Duration::from_secs(3)),
        HoldFull("hold.count"),
        ManyRequests(Quota {
            by: "all",
            count: 7,
            per: Duration::from_secs(3),
            wait: Duration::from_millis(1200),
        }),
        NoPlace(7),
        LongQueue(Duration::from_secs(3)),
        Shed,
        Fault(503),
        ClientGone,
        ClientSilent,
        NoEndpoint,
        NobodyUp,
        BreakerOpen,
        Unreachable(cause()),
        Untrusted(cause()),
        Handshake(cause()),
        Unsent(cause()),
        NoAnswer(cause()),
        BadAnswer(cause()),
        Truncated(cause()),
        BadUpgrade,
        late(Deadline::Connect),
        late(Deadline::FirstByte),
        late(Deadline::Idle),
        late(Deadline::Request),
        NoDescriptor,
        Drained,
        Panicked,
    ];
    // A new variant or deadline does not compile here until it has a place above.
    for failure in &all {
        match failure {
            BadRequest(_) | NoRoute | Misdirected | ConnectRefused | ClientGone | ClientSilent => {}
            UnsupportedVersion | UnknownCoding | UnknownExpectation | Loop | ManyTunnels(_) => {}
            LongRequestLine(_) | LongFields(_) | ManyFields(_) | LongContent(_) => {}
            SlowHead(_) | SlowContent(_) | SlowReader(_) | HeldTooLong(_) | HoldFull(_) => {}
            ManyRequests(_) | NoPlace(_) | LongQueue(_) | Shed | Fault(_) => {}
            Untrusted(_) | Handshake(_) | WrongName | PlainHttp => {}
            NobodyUp | BreakerOpen => {}
            NoEndpoint | Unreachable(_) | Unsent(_) | NoAnswer(_) | BadAnswer(_) | Truncated(_) => {}
            Late(Deadline::Connect | Deadline::FirstByte | Deadline::Idle | Deadline::Request, _) => {}
            BadUpgrade | NoDescriptor | Drained | Panicked => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_clients_fault_is_a_4xx_and_an_upstreams_never() {
        for failure in every_failure() {
            let Verdict { fault, status, .. } = failure.verdict();
            match fault {
                Fault::Client => assert!((400..500).contains(&status), "{failure:?}"),
                Fault::Policy => assert!((400..600).contains(&status), "{failure:?}"),
                Fault::Upstream | Fault::Hitless => assert!((500..600).contains(&status), "{failure:?}"),
            }
        }
    }

    #[test]
    fn every_failure_has_its_own_code() {
        let codes: HashSet<_> = every_failure().iter().map(|failure| failure.verdict().code).collect();
        assert_eq!(codes.len(), every_failure().len());
    }

    #[test]
    fn only_an_upstreams_failure_is_tried_again() {
        for failure in every_failure() {
            let verdict = failure.verdict();
            assert!(verdict.retry == Retry::Never || verdict.fault == Fault::Upstream, "{failure:?}");
        }
    }

    #[test]
    fn a_deadline_says_which_one_it_was() {
        for failure in every_failure() {
            if let Failure::Late(deadline, _) = &failure {
                let verdict = failure.verdict();
                assert_eq!(verdict.status, 504, "RFC 9110, section 15.6.5");
                assert!(verdict.code.ends_with(deadline.word()), "{failure:?}");
                assert!(failure.to_string().contains(deadline.word()), "{failure}");
            }
        }
    }
}
