//! The operator's HTTP door: health, status and reload on sockets that are not public.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the process lives |
//! | `GET /readyz` | 200 when new work should be sent here, otherwise 503 and why not |
//! | `GET /status` | everything, as JSON ([`Status`]) |
//! | `POST /upgrade` | when it is decided, as JSON (`handover::control::Upgrade`), by the keeper; Unix socket only |
//! | `GET /ledger` | what became of every request, as JSON ([`Ledger`], with its sums) |
//! | `POST /breaker/open/SERVICE[/ENDPOINT]`, `close`, `auto` | 200 or 404, in words; Unix socket only |
//! | `POST /gate` | hold, release, drain ([`Wish`]), as JSON ([`Gated`]); Unix socket only |
//! | `POST /fault` | 200, or 422 and why not: faults on purpose ([`Drill`]), in a line of text; Unix socket only |
//! | `POST /reload` | 200 or 422 after the verdict, as JSON ([`Verdict`]); Unix socket only |
//!
//! Promises: bounded in connections, time and size; one request per connection; a slow or hostile
//! client costs one of those connections and nothing else; runs on the control thread, so that it
//! never delays a request, and proves that the control thread lives.
//! Must not know: how the gateway does what the [`Desk`] is asked for.

mod door;
mod fault;
mod gate;
mod status;

pub use door::{Access, Doors};
pub use fault::{Drill, Faulty};
pub use gate::{Gate, Gated, Wish};
pub use status::{
    Certificate, Concurrency, Endpoint, Held, Listener, Reload, Service, Status, Unit, Verdict,
};

use std::os::fd::OwnedFd;

use futures_util::future::LocalBoxFuture;

use crate::telemetry::ledger::Ledger;

/// What an operator wants of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    Open,
    Close,
    Auto,
}

/// Who answers.
pub trait Desk {
    /// Why no new work should be sent here, if so.
    fn readiness(&self) -> Result<(), Vec<String>>;
    fn status(&self) -> Status;
    /// What is to be said to whoever holds the other end of this connection, whose request has been read and whose
    /// answer has begun, comes from the keeper.
    fn upgrade(&self, asker: OwnedFd);
    /// Of this gateway and those before it.
    fn ledger(&self) -> Ledger;
    /// What was done, or why not; of the service as a whole without an endpoint.
    fn breaker(&self, hand: Hand, service: &str, endpoint: Option<&str>) -> Result<String, String>;
    /// Ready when it is as it was asked for, or when its time is over.
    fn gate(&self, wish: Wish) -> LocalBoxFuture<'static, Gated>;
    /// What is to be said of it, or why it cannot be.
    fn fault(&self, drill: Drill) -> Result<String, String>;
    /// Ready when there is a verdict.
    fn reload(&self) -> LocalBoxFuture<'static, Verdict>;
}
