//! PURE: what to do to a request on its way.
//!
//! [`identity`] says who a request is in every log, [`fields`] what is in its head when it leaves for
//! an endpoint, [`upgrade`] whether it asks for another protocol, [`retry`] whether it may be sent
//! again.
//!
//! Promises: every decision is a function of its arguments; time and randomness come in as arguments.
//! Must not know: sockets, threads, routes.

pub mod fields;
pub mod identity;
pub mod retry;
pub mod upgrade;

pub use fields::Client;
pub use identity::{Identity, Trace};
pub use upgrade::Upgrade;
