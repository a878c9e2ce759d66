//! Keeper and gateway as real processes: how they start, reload, die and stop.
//!
//! Promises: every test has its own folder, ports and notify socket, waits for events (a
//! notification, an answer, the end of a process), and leaves no process behind.

mod activation;
mod daemon;
mod death;
mod origin;
mod reload;
mod start;
mod stop;
