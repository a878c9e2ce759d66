//! Keeper and gateway as real processes: how they serve, reload, die and stop.
//!
//! Promises: every test has its own folder, ports and notify socket, waits for events (a
//! notification, an answer, the end of a process), and leaves no process behind.

mod access;
mod activation;
mod bodies;
#[allow(dead_code, reason = "the tests of TLS use more of it")]
mod byhand;
mod check;
mod daemon;
mod deadlines;
mod death;
mod endpoints;
mod errors;
mod fields;
mod http2;
mod identity;
mod ledger;
mod limits;
mod origin;
mod protocols;
mod prove;
mod reload;
mod routes;
mod sample;
mod stale;
mod start;
mod stop;
mod streams;
mod tunnels;
mod upgrade;
#[path = "../../examples/wire/mod.rs"]
mod wire;
