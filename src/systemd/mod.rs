//! What systemd gives and wants: sockets, notifications, the fd store, the watchdog, the unit, the id of the host.
//!
//! Promises: started by hand, without systemd, everything here is a quiet no-op.
//! Must not know: HTTP, the configuration, who calls it.

pub mod activation;
pub mod machine;
pub mod notify;
pub mod order;
pub mod store;
pub mod unit;
pub mod watch;
pub mod watchdog;
