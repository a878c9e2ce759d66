//! What is told to the outside: the journal, the access log, the counters.
//!
//! ```text
//!   tracing events ─▶ log ────┐                     ┌─▶ journal   (datagrams, systemd)
//!                             ├─▶ line ─▶ queue ────┼─▶ stderr    (text on a terminal, else JSON)
//!   access entries ─▶ access ─┘   bounded, never    └─▶ file      (JSON lines, may be rotated)
//!                                 waits             one writer thread per destination
//! ```
//!
//! Promises: a line is built by the thread that has something to say and handed over without
//! waiting; a reader of logs, however slow, holds up no request. What is dropped for that is
//! counted and told.
//! Must not know: what the events mean. Imports `config::settings` only.

pub mod access;
pub mod counters;
pub mod event;
mod events;
mod file;
mod journal;
pub mod ledger;
mod line;
pub mod log;
mod queue;
mod stderr;
mod tally;

/// Whether stderr leads to the journal, where a line may begin with its `<priority>` (sd-daemon(3)).
pub fn stderr_is_journal() -> bool {
    journal::is_stderr()
}
