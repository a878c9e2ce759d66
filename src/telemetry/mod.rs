//! What is told to the outside: the journal, the access log, the counters.
//!
//! [`log`] is where events go, [`event`] their stable names, [`access`] a line per request,
//! [`counters`] the numbers. A line is built by the thread that has something to say and handed
//! to a queue; another thread writes it, so that no reader of logs, however slow, holds up a request.

pub mod access;
pub mod counters;
pub mod event;
pub mod log;
