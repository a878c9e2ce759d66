//! The line that `systemctl status` shows, in an operator's words.
//!
//! Promises: it says what is true now, and keeps saying what an operator should not miss: a refused
//! configuration until the next good one, an upgrade that failed until one succeeds, gateways that died.
//! Must not know: how it is sent.

use std::path::Path;

use jiff::Zoned;
use serde::{Deserialize, Serialize};

use crate::handover::control::Summary;

/// What there is to say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    summary: Summary,
    /// When an upgrade failed, and why, until one succeeds.
    not_upgraded: Option<(String, String)>,
    refused: Option<(String, String)>,
    deaths: u64,
    last_death: Option<(String, String)>,
}

impl Report {
    pub fn serves(&mut self, summary: Summary) {
        self.summary = summary;
    }

    /// A new generation serves, so what was refused is history.
    pub fn reloaded(&mut self, summary: Summary) {
        self.summary = summary;
        self.refused = None;
    }

    pub fn refused(&mut self, reason: String, messages: usize) {
        let more = if messages > 1 { format!(" (and {} more)", messages - 1) } else { String::new() };
        self.refused = Some((now(), reason + &more));
    }

    pub fn upgraded(&mut self) {
        self.not_upgraded = None;
    }

    pub fn not_upgraded(&mut self, reason: &str) {
        self.not_upgraded = Some((now(), reason.to_owned()));
    }

    pub fn died(&mut self, how: &str) {
        self.deaths += 1;
        self.last_death = Some((now(), how.to_owned()));
    }

    pub fn deaths(&self) -> u64 {
        self.deaths
    }

    pub fn serving(&self, directory: &Path) -> String {
        let generation = self.summary.generation;
        let head = match &self.refused {
            Some((at, reason)) => {
                format!("configuration refused at {at}, generation {generation} serves on: {reason}")
            }
            None => self.summary.line(directory),
        };
        head + &self.history()
    }

    pub fn replacing(&self) -> String {
        format!("replacing the gateway{}", self.history())
    }

    fn history(&self) -> String {
        let mut history = String::new();
        if let Some((at, how)) = &self.last_death {
            let times = if self.deaths == 1 { "once".into() } else { format!("{} times", self.deaths) };
            history = format!("; the gateway died {times}, last at {at}: it {how}");
        }
        if let Some((at, reason)) = &self.not_upgraded {
            history.push_str(&format!("; not upgraded at {at}: {reason}"));
        }
        history
    }
}

fn now() -> String {
    Zoned::now().strftime("%H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(services: usize) -> Summary {
        Summary { generation: 4, services, listeners: vec!["http".into()], sockets: 2 }
    }

    #[test]
    fn the_status_says_what_is_served_or_what_to_do_next() {
        let mut report = Report::default();
        report.serves(summary(3));
        let dir = Path::new("/etc/hitless");
        assert_eq!(report.serving(dir), "serving 3 services on http (2 sockets), generation 4");
        report.serves(summary(0));
        assert_eq!(
            report.serving(dir),
            "no service yet: put a file into /etc/hitless/services.d, see hitless.toml(5)"
        );
    }

    #[test]
    fn a_refusal_stays_until_the_next_good_reload_and_deaths_stay() {
        let dir = Path::new("/etc/hitless");
        let mut report = Report::default();
        report.serves(summary(1));
        report.refused("shop.toml:3:1: port: found 'x'".into(), 3);
        report.died("was killed by signal 9");
        let text = report.serving(dir);
        assert!(text.starts_with("configuration refused at "), "{text}");
        assert!(
            text.contains(", generation 4 serves on: shop.toml:3:1: port: found 'x' (and 2 more); "),
            "{text}"
        );
        report.reloaded(summary(1));
        let text = report.serving(dir);
        assert!(
            text.starts_with("serving 1 service on http (2 sockets), generation 4; the gateway died once, ")
        );
        assert!(text.ends_with(": it was killed by signal 9"), "{text}");
    }
}
