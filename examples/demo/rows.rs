//! The rows of the demonstration: as JSON for programs, as a table for people.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::events::EVENTS;
use hitless::prove::Report;

pub const OPENING: &str = "\
hitless under load. On each Debian release a throw-away host is booted, the package installed, and two
applications put behind it. Then, for each event, clients send about 1,250 requests a second (kept-alive and
new connections, slow requests, uploads, downloads, streams, POSTs), hold 16 WebSockets and 86 silent
connections, and never retry: whatever goes wrong is counted. The events named TLS are the same over TLS 1.3,
every fourth connection over TLS 1.2.
";

const LEGEND: &str = "\
failed            requests without their right and complete answer
idle closed       connections that were resting and were closed without `Connection: close` before
tunnels dropped   WebSockets that ended before their client closed them; each is opened anew and may end again
duplicate POSTs   POSTs that the application received more than once
resumed           new connections over TLS that took up an earlier session, of those that could
worst stall       the longest that an answer kept a client waiting, beyond what was asked to be slow
no answer for     the longest time in which no client got any answer
took              how long the command took, and the process that served before, to its end
residue           requests, connections and tunnels that the ledger cannot account for
exit              exit code of the command
";

/// One event on one release.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub event: &'static str,
    pub debian: u32,
    #[serde(flatten)]
    pub report: Report,
    pub exit_code: i32,
    /// How long the event took, from its command to the end of the outgoing process.
    pub took_ms: u64,
    /// How long after the command the outgoing process was gone.
    pub outgoing_ms: Option<u64>,
    /// How long the longest request of the load takes by itself.
    pub longest_request_ms: u64,
    /// Requests, connections and tunnels that the ledger cannot account for; `None` when it could not be asked.
    pub ledger_residue: Option<u64>,
    /// When the event began and when its command ended, since the load began.
    #[serde(skip)]
    pub began: Duration,
    #[serde(skip)]
    pub ended: Duration,
}

pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub fn write(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(rows).context("cannot write the rows as JSON")?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create '{}'", folder.display()))?;
    }
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write '{}'", path.display()))
}

pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut debian = 0;
    for row in rows {
        if row.debian != debian {
            debian = row.debian;
            let _ = writeln!(text, "{}", heading(debian));
        }
        let _ = writeln!(text, "{}", line(row));
    }
    format!("{text}\n{LEGEND}")
}

fn heading(debian: u32) -> String {
    let columns = "requests  failed  idle closed  tunnels dropped  duplicate POSTs         resumed  worst stall  no answer for      took  residue  exit";
    format!("{:<42}{columns}", format!("Debian {debian}"))
}

fn line(row: &Row) -> String {
    let report = &row.report;
    let title = EVENTS.iter().find(|event| event.name == row.event).map_or(row.event, |event| event.title);
    let resumed = match report.handshakes {
        0 => "-".to_owned(),
        all => format!("{} of {}", thousands(report.resumed), thousands(all)),
    };
    let duplicates = report.duplicate_posts.map_or("unknown".to_owned(), |count| count.to_string());
    format!(
        "{title:<42}{:>8}{:>8}{:>13}{:>17}{duplicates:>17}{resumed:>16}{:>13}{:>15}{:>10}{:>9}{:>6}",
        thousands(report.requests),
        thousands(report.failed),
        report.idle_closed,
        format!("{} of {}", report.tunnels_dropped, report.tunnels),
        format!("{} ms", thousands(report.worst_stall_ms)),
        format!("{} ms", thousands(report.outage_ms)),
        format!("{} ms", thousands(row.took_ms)),
        row.ledger_residue.map_or("unknown".to_owned(), thousands),
        row.exit_code,
    )
}

fn thousands(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_written_with_the_names_that_others_read() {
        let row = Row {
            event: "reload",
            debian: 12,
            report: Report::default(),
            exit_code: 0,
            took_ms: 0,
            outgoing_ms: None,
            longest_request_ms: 0,
            ledger_residue: Some(0),
            began: Duration::ZERO,
            ended: Duration::ZERO,
        };
        let value = serde_json::to_value(&row).unwrap();
        let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut wanted = [
            "event",
            "debian",
            "requests",
            "failed",
            "failed_kinds",
            "idle_closed",
            "tunnels",
            "tunnels_dropped",
            "tunnels_gap",
            "tunnels_doubled",
            "tunnels_reordered",
            "tunnels_changed",
            "lasting",
            "lasting_lost",
            "handshakes",
            "resumed",
            "took_ms",
            "outgoing_ms",
            "longest_request_ms",
            "ledger_residue",
            "duplicate_posts",
            "worst_stall_ms",
            "outage_ms",
            "exit_code",
        ];
        wanted.sort_unstable();
        assert_eq!(names, wanted);
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
