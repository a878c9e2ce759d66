//! PURE: what to do to a request on its way.
//!
//! [`identity`] says who a request is in every log, [`via`] whether it goes in circles, [`hops`] how far
//! it may go, [`expect`] what it waits for, [`upgrade`] whether it asks for another protocol, [`fields`]
//! what is in its head when it leaves for an endpoint, [`https`] whether it has to come by TLS, [`retry`] whether it may be sent again.
//!
//! Promises: every decision is a function of its arguments; time and randomness come in as arguments.
//! Must not know: sockets, threads, routes.

pub mod expect;
pub mod fields;
pub mod hops;
pub mod https;
pub mod identity;
pub mod retry;
pub mod upgrade;
pub mod via;

pub use fields::Client;
pub use identity::{Identity, Trace};
pub use upgrade::Upgrade;
pub use via::Via;
