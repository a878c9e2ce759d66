//! hitless: a systemd-native HTTP gateway that loses no request while things change.
//!
//! A guided tour, in the order in which a request meets the rooms:
//! [`listener`] accepts, [`connection`] speaks HTTP, [`route`] finds who serves it, [`policy`]
//! decides how, [`upstream`] asks an endpoint, [`response`] turns what came back, or what went
//! wrong, into an answer. Beside that stream stand [`lifecycle`] (pure: which phase comes next),
//! [`gateway`] (the composition root of a gateway process) and [`keeper`] (the process that
//! systemd knows). Leaves that know nobody: [`config`], [`systemd`], [`handover`], [`telemetry`], [`version`], and
//! [`http1`] and [`http2`], the bytes of HTTP.
//! [`admin`] and [`cli`] are the operator's two doors; [`doctor`] says what of a host would break the promise,
//! [`prove`] shows on the host itself that it is kept.
//!
//! `ARCHITECTURE.md` says which room may import which; `tests/architecture.rs` holds it.

pub mod admin;
pub mod cli;
pub mod config;
pub mod connection;
pub mod doctor;
pub mod gateway;
pub mod handover;
pub mod http1;
pub mod http2;
pub mod keeper;
pub mod lifecycle;
pub mod listener;
pub mod policy;
pub mod prove;
pub mod response;
pub mod route;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod version;
