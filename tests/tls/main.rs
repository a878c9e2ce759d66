//! TLS as others see it: the real binary in front of clients of rustls and of OpenSSL.
//!
//! Promises: every test has its own folder, ports, authorities and processes, waits for events, and leaves no process
//! behind.

#[allow(dead_code, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/byhand.rs"]
mod byhand;
mod choice;
mod client;
mod clients;
#[allow(dead_code, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/daemon.rs"]
mod daemon;
mod dialogue;
mod echo;
mod hostile;
#[allow(dead_code, reason = "the tests of handovers use more of it")]
#[path = "../handover/house.rs"]
mod house;
mod https;
mod movers;
mod moves;
#[allow(dead_code, reason = "other tests use more of it")]
mod pki;
mod proxy;
mod shapes;
mod site;
mod swap;
mod tickets;
