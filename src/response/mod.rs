//! What is sent back: answers of endpoints made clean, and failures made into answers.

pub mod failure;

pub use failure::{Deadline, Failure, Fault, Phase, Retry, Verdict};
