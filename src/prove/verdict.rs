//! What came of each transition on a user's own host: a table, and a sentence where the promise was not kept.
//!
//! Pure: rows in, text out. The demonstration has more events and promises of its own (`examples/demo/promises.rs`).

use std::fmt::Write;

use super::connection::Kind;
use super::tally::Report;

/// Fewer answers prove nothing.
const ENOUGH: u64 = 20;

/// One transition under load.
pub struct Row {
    /// In an operator's words.
    pub title: String,
    pub report: Report,
    /// Of the command; `None` when nothing was done.
    pub exit: Option<i32>,
    /// What the command said on its standard error.
    pub said: String,
    pub took_ms: u64,
    /// Requests of which hitless does not know what became; `None` when it could not be asked.
    pub residue: Option<i64>,
}

/// Whether the promise was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Kept,
    /// Each way in which it was broken, as a clause.
    Broken(Vec<String>),
    /// Nothing was proved, and why.
    Unmeasured(String),
}

impl Row {
    pub fn verdict(&self) -> Verdict {
        let report = &self.report;
        if report.failed_kinds.contains_key(&Kind::Client) {
            return Verdict::Unmeasured("the load client itself failed".to_owned());
        }
        let answered = report.requests - report.failed;
        if answered < ENOUGH && report.failed == 0 {
            return Verdict::Unmeasured(format!("only {answered} requests were answered"));
        }
        let mut broken = Vec::new();
        let mut must = |holds: bool, otherwise: String| {
            if !holds {
                broken.push(otherwise);
            }
        };
        if let Some(first) = report.details.failures.first() {
            let at = first.began.as_secs_f64();
            let (kind, detail) = (first.kind, &first.detail);
            must(
                false,
                format!("{} requests failed, the first {at:.1} s in: {kind:?}: {detail}", report.failed),
            );
        }
        must(report.idle_closed == 0, format!("{} resting connections were closed", report.idle_closed));
        if let Some(how) = report.lasting.iter().find_map(|lasting| lasting.lost.as_ref()) {
            must(false, format!("the connection that was to last did not: {how}"));
        }
        if let Some(exit) = self.exit.filter(|exit| *exit != 0) {
            must(false, format!("the command failed with {exit}: {}", self.said.trim()));
        }
        let residue = self.residue.unwrap_or(0);
        must(residue == 0, format!("hitless does not know what became of {residue} requests"));
        if broken.is_empty() { Verdict::Kept } else { Verdict::Broken(broken) }
    }
}

pub fn table(rows: &[Row]) -> String {
    let columns = "requests  failed  idle closed  worst stall  no answer for      took  residue  exit";
    let width = rows.iter().map(|row| row.title.len()).max().unwrap_or(0).max(9) + 2;
    let secure = rows.iter().any(|row| row.report.handshakes > 0);
    let mut text = format!("{:width$}{columns}{}\n", "", if secure { "       resumed" } else { "" });
    for row in rows {
        let report = &row.report;
        let milliseconds = |count: u64| format!("{count} ms");
        let resumed = format!("{} of {}", report.resumed, report.handshakes);
        // INVARIANT: writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:width$}{:>8}{:>8}{:>13}{:>13}{:>15}{:>10}{:>9}{:>6}{}",
            row.title,
            report.requests,
            report.failed,
            report.idle_closed,
            milliseconds(report.worst_stall_ms),
            milliseconds(report.outage_ms),
            if row.exit.is_some() { milliseconds(row.took_ms) } else { String::new() },
            row.residue.map_or("unknown".to_owned(), |residue| residue.to_string()),
            row.exit.map_or(String::new(), |exit| exit.to_string()),
            if secure { format!("{resumed:>14}") } else { String::new() },
        );
    }
    for row in rows {
        let word = match row.verdict() {
            Verdict::Kept => "kept",
            Verdict::Broken(_) => "BROKEN",
            Verdict::Unmeasured(_) => "unknown",
        };
        let _ = writeln!(text, "\n{word:<8}{}", row.title);
        let clauses = match row.verdict() {
            Verdict::Kept => vec![],
            Verdict::Broken(clauses) => clauses,
            Verdict::Unmeasured(why) => vec![why],
        };
        for clause in clauses {
            let _ = writeln!(text, "        {clause}");
        }
    }
    text.replace("\n\nkept", "\nkept")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::Lasting;

    fn row() -> Row {
        Row {
            title: "hitless reload".to_owned(),
            report: Report { requests: 500, ..Report::default() },
            exit: Some(0),
            said: String::new(),
            took_ms: 20,
            residue: Some(0),
        }
    }

    #[test]
    fn nothing_lost_is_kept_and_each_loss_breaks_it() {
        assert_eq!(row().verdict(), Verdict::Kept);
        let lasting = Lasting { opened_at: None, ended_at: None, answered: 1, lost: Some("eof".to_owned()) };
        let losses: [fn(&mut Row); 4] = [
            |row| row.report.idle_closed = 1,
            |row| row.exit = Some(1),
            |row| row.residue = Some(-1),
            |row| row.residue = Some(1),
        ];
        for lose in losses {
            let mut row = row();
            lose(&mut row);
            assert!(matches!(row.verdict(), Verdict::Broken(clauses) if clauses.len() == 1));
        }
        let mut row = row();
        row.report.lasting.push(lasting);
        assert!(matches!(row.verdict(), Verdict::Broken(_)));
    }

    #[test]
    fn what_nobody_measured_is_neither() {
        let mut few = row();
        few.report.requests = 3;
        assert!(matches!(few.verdict(), Verdict::Unmeasured(_)));
        let mut own_fault = row();
        own_fault.report.failed_kinds.insert(Kind::Client, 1);
        assert!(matches!(own_fault.verdict(), Verdict::Unmeasured(_)));
    }

    #[test]
    fn the_table_says_how_many_handshakes_were_resumed_when_there_were_any() {
        assert!(!table(&[row()]).contains("resumed"));
        let mut secure = row();
        (secure.report.handshakes, secure.report.resumed) = (40, 38);
        let text = table(&[secure]);
        assert!(text.contains("resumed\n") && text.contains("38 of 40\n"), "{text}");
    }

    #[test]
    fn the_table_has_a_line_and_a_word_for_each_row() {
        let mut lost = row();
        lost.exit = Some(3);
        lost.said = "because\n".to_owned();
        let text = table(&[row(), lost]);
        assert!(text.contains("kept    hitless reload\n"), "{text}");
        assert!(
            text.contains("BROKEN  hitless reload\n        the command failed with 3: because\n"),
            "{text}"
        );
    }
}
