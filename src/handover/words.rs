//! Messages of [`super::control`] in an operator's words: for the status line and for the log.
//!
//! Promises: one line, the same words in both processes.
//! Must not know: where it is shown.

use std::path::Path;

use super::control::{Moved, Progress, Summary};

impl Summary {
    /// What is served, or what to do so that something is.
    pub fn line(&self, directory: &Path) -> String {
        if self.services == 0 {
            let folder = directory.join("services.d");
            return format!("no service yet: put a file into {}, see hitless.toml(5)", folder.display());
        }
        let services = count(self.services as u64, "service");
        let sockets = count(self.sockets as u64, "socket");
        let names = self.listeners.join(", ");
        format!("serving {services} on {names} ({sockets}), generation {}", self.generation)
    }
}

impl Progress {
    /// What is waited for.
    pub fn line(&self) -> String {
        let mut waits = vec![];
        if self.requests > 0 {
            waits.push(count(self.requests, "request"));
        }
        if self.tunnels > 0 {
            waits.push(count(self.tunnels, "tunnel"));
        }
        if waits.is_empty() {
            waits.push(match self.connections {
                0 => "nothing in flight".into(),
                connections => count(connections, "idle connection"),
            });
        }
        let oldest = match self.oldest.as_secs_f64() {
            0.0 => String::new(),
            age => format!("oldest {age:.1} s, "),
        };
        let what = if self.handing_over { "handing over" } else { "draining" };
        format!("{what}: {}, {oldest}{:.0} s left", waits.join(", "), self.left.as_secs_f64())
    }
}

impl Moved {
    /// What has gone from one gateway to another, after "handed over:" or "adopted:".
    pub fn line(&self) -> String {
        let connections = count(self.connections, "connection");
        let tunnels = count(self.tunnels, "tunnel");
        let refused = match self.refused {
            0 => String::new(),
            refused => format!(", {refused} refused"),
        };
        format!("{connections} and {tunnels} in {:.1} s{refused}", self.took.as_secs_f64())
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_drain_says_what_it_waits_for_and_how_long_yet() {
        let progress = Progress {
            handing_over: false,
            requests: 3,
            tunnels: 0,
            connections: 5,
            oldest: Duration::from_millis(2100),
            left: Duration::from_secs(40),
            moved: true,
        };
        assert_eq!(progress.line(), "draining: 3 requests, oldest 2.1 s, 40 s left");
        let idle = Progress { requests: 0, oldest: Duration::ZERO, ..progress };
        assert_eq!(idle.line(), "draining: 5 idle connections, 40 s left");
        let handing_over = Progress { handing_over: true, requests: 12, tunnels: 1, ..idle };
        assert_eq!(handing_over.line(), "handing over: 12 requests, 1 tunnel, 40 s left");
    }

    #[test]
    fn a_handover_says_what_moved_and_what_was_refused() {
        let moved = Moved { connections: 812, tunnels: 1, refused: 0, took: Duration::from_millis(340) };
        assert_eq!(moved.line(), "812 connections and 1 tunnel in 0.3 s");
        let some = Moved { refused: 2, ..moved };
        assert_eq!(some.line(), "812 connections and 1 tunnel in 0.3 s, 2 refused");
    }
}
