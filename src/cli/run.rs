//! `hitless run` and, for its child, `hitless gateway`.

use std::path::Path;

use super::{Fatal, code};
use crate::{gateway, keeper};

pub fn run(directory: &Path) -> Result<(), Fatal> {
    keeper::run(directory).map_err(|fatal| {
        let code = match fatal {
            keeper::Fatal::Refused(_) => code::CONFIG,
            keeper::Fatal::Unavailable(_) | keeper::Fatal::Start(_) => code::UNAVAILABLE,
            keeper::Fatal::Drain(_) => code::SOFTWARE,
            keeper::Fatal::System(..) | keeper::Fatal::Activation(_) => code::IO,
        };
        Fatal::new(code, fatal)
    })
}

pub fn gateway() -> Result<(), Fatal> {
    gateway::run().map_err(|fatal| match fatal {
        gateway::Fatal::NotAChild => Fatal::new(code::USAGE, fatal),
        gateway::Fatal::System(..) => Fatal::new(code::IO, fatal),
        // The keeper prints it.
        gateway::Fatal::Start(_) => Fatal::new(code::UNAVAILABLE, ""),
        // Logged where it happened.
        gateway::Fatal::Panicked | gateway::Fatal::ThreadDied => Fatal::new(code::SOFTWARE, ""),
    })
}
