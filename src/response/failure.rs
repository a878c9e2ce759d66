//! What can go wrong with a request, and the one table from it to a status.
//!
//! Promises: every failure has a fault (who), a phase (when), a retry rule and a status, and the
//! compiler checks that none is missing. A client's fault is a 4xx, an upstream's never is.
//! Must not know: sockets, hyper, or how an answer is written.

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

/// One way in which a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No or an unusable authority, path or field.
    BadRequest(&'static str),
    /// No route fits a host that is served.
    NoRoute,
    /// The authority is not served here (RFC 9110, section 15.5.20).
    Misdirected,
    /// `CONNECT` where no route allows it.
    ConnectRefused,
    /// The client closed or reset before it had the whole answer.
    ClientGone,
    /// The client stopped sending its content in the middle.
    ClientSilent,
    /// The service has no endpoint.
    NoEndpoint,
    /// No connection to the endpoint.
    Unreachable(String),
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
    /// The word for it in logs and metrics.
    pub code: &'static str,
}

impl Failure {
    /// The table. Statuses: RFC 9110, section 15.
    pub fn verdict(&self) -> Verdict {
        use {Fault::*, Phase::*};
        let row = |fault, phase, retry, status, code| Verdict { fault, phase, retry, status, code };
        match self {
            Failure::BadRequest(_) => row(Client, Headers, Retry::Never, 400, "bad-request"),
            Failure::NoRoute => row(Client, Route, Retry::Never, 404, "no-route"),
            Failure::Misdirected => row(Client, Route, Retry::Never, 421, "misdirected"),
            Failure::ConnectRefused => row(Policy, Route, Retry::Never, 405, "connect-refused"),
            Failure::ClientGone => row(Client, Body, Retry::Never, 499, "client-gone"),
            Failure::ClientSilent => row(Client, Body, Retry::Never, 408, "client-silent"),
            Failure::NoEndpoint => row(Upstream, Connect, Retry::Never, 503, "no-endpoint"),
            Failure::Unreachable(_) => row(Upstream, Connect, Retry::Unsent, 502, "unreachable"),
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
            Failure::Drained => row(Hitless, Await, Retry::Never, 503, "drained"),
            Failure::Panicked => row(Hitless, Headers, Retry::Never, 500, "panicked"),
        }
    }
}
