//! Handovers between real gateway processes, with the test in the place of their keeper, and of the other side
//! where something must happen at an exact moment.
//!
//! Promises: every test has its own folder, ports and processes, waits for events, and leaves no process
//! behind. What a client's socket says of its own port is what is meant by "the same connection".

mod alone;
#[allow(dead_code, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/byhand.rs"]
mod byhand;
#[allow(dead_code, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/daemon.rs"]
mod daemon;
mod ends;
mod failures;
mod house;
mod ledger;
mod load;
mod moves;
#[allow(dead_code, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/origin.rs"]
mod origin;
mod store;
mod tunnels;
