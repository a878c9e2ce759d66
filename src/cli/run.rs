//! `hitless run` and, for its children, `hitless gateway` and `hitless self-test`.

use std::path::Path;

use super::{Fatal, code, print};
use crate::{gateway, keeper};

pub fn run(directory: &Path) -> Result<(), Fatal> {
    keeper::run(directory).map_err(|fatal| {
        let code = match fatal {
            keeper::Fatal::Refused(_) => code::CONFIG,
            keeper::Fatal::Unavailable(_) | keeper::Fatal::Start(_) => code::UNAVAILABLE,
            keeper::Fatal::Drain(_) => code::SOFTWARE,
            keeper::Fatal::System(..) | keeper::Fatal::Activation(_) => code::IO,
            keeper::Fatal::Resume(_) => code::SOFTWARE,
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

/// Says what this program can take up, or why it cannot take over.
pub fn self_test() -> Result<(), Fatal> {
    let versions = keeper::self_test().map_err(|reasons| Fatal::new(code::REFUSED, reasons.join("\n")))?;
    let text = serde_json::to_string(&versions);
    print(&text.map_err(|error| Fatal::new(code::SOFTWARE, error))?)
}
