//! What is sent back: answers of endpoints made clean, and failures made into answers.
//!
//! [`failure`] is the one table from what went wrong to status, fault, phase and retry; [`answer`]
//! writes the answers of hitless itself; [`hygiene`] makes an endpoint's answer fit for a client;
//! [`head`] says of both what a status demands, and [`date`] when.
//!
//! Promises: a client's fault is a 4xx, an upstream's never; no answer tells a client an address, a
//! file or a cause that only the operator may know.
//! Must not know: sockets, routes, or who asks.

pub mod answer;
pub mod date;
pub mod failure;
pub mod head;
pub mod hygiene;

pub use failure::{Deadline, Failure, Fault, Phase, Retry, Verdict};
