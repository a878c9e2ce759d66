//! The systemd tier: promises that only the built package on a booted systemd can prove.
//!
//! Each test has a host of its own (see `tests/lab`) and runs on Debian 12 and 13. It needs
//! `make deb` first, and root; `make test` sees to both.

#[path = "../lab/mod.rs"]
mod lab;
#[allow(dead_code, reason = "the tests of TLS use more of it")]
#[path = "../tls/pki.rs"]
mod pki;

mod applications;
mod crash;
mod doctor;
mod drain;
mod host;
mod install;
mod journal;
mod reload;
mod restart;
mod scene;
mod sockets;
mod units;
mod upgrade;
mod watchdog;
