//! PURE: what to do to a request on its way.
//!
//! [`identity`] says who a request is in every log, [`via`] whether it goes in circles, [`hops`] how far
//! it may go, [`expect`] what it waits for, [`upgrade`] whether it asks for another protocol, [`fields`]
//! what is in its head when it leaves for an endpoint, [`https`] whether it has to come by TLS, [`retry`] whether it may be sent again,
//! [`mod@origin`] from whom it really is and [`mod@urgency`] how urgent, [`remaining`] how long it may still take.
//!
//! Others decide with a memory that all threads share, a [`Turnstile`] for each service: [`bucket`] how often, [`crowd`]
//! how many at a time, [`adaptive`] how many that should be, [`fault`] what goes wrong on purpose.
//!
//! Promises: every decision is a function of its arguments and of what was decided before; time and randomness come in as arguments.
//! Must not know: sockets, threads, routes.

pub mod adaptive;
pub mod bucket;
pub mod crowd;
pub mod expect;
pub mod fault;
pub mod fields;
pub mod hops;
pub mod https;
pub mod identity;
pub mod origin;
pub mod remaining;
pub mod retry;
pub mod turnstile;
pub mod upgrade;
pub mod urgency;
pub mod via;

pub use fields::Client;
pub use identity::{Identity, Trace};
pub use turnstile::Turnstile;
pub use upgrade::Upgrade;
pub use via::Via;
