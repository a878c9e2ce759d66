//! What is sent back: answers of endpoints made clean, and failures made into answers.

pub mod answer;
pub mod failure;
pub mod hygiene;

pub use failure::{Deadline, Failure, Fault, Phase, Retry, Verdict};
