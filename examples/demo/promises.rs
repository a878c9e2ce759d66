//! What hitless promises for each event, and whether a row keeps it.
//!
//! Pure: rows in, sentences out.

use std::fmt::Write;

use crate::rows::Row;
use hitless::prove::{Failure, Kind};

/// Fewer requests prove nothing.
const ENOUGH: u64 = 1_000;

/// The promise of an event, as a sentence; `None` for an unknown event.
pub fn promise(event: &str) -> Option<&'static str> {
    Some(match event {
        "reload" => "a reload loses no request, no idle connection and no tunnel",
        "reload-broken" => "a broken configuration is refused with a failing exit code, and changes nothing",
        "reload-other-service" => "changing one service touches nobody",
        "restart" => "a restart loses no request: new connections only wait",
        "gateway-kill" => "a killed gateway loses only what was in flight: new connections only wait",
        "stop-start" => "a stop answers what is in flight, and refuses only what comes while it is stopped",
        _ => return None,
    })
}

/// In which ways a row breaks its promise, each as a clause.
pub fn broken(row: &Row) -> Vec<String> {
    let report = &row.report;
    let mut broken = Vec::new();
    let mut must = |holds: bool, otherwise: String| {
        if !holds {
            broken.push(otherwise);
        }
    };
    must(report.requests >= ENOUGH, format!("only {} requests were made", report.requests));
    must(!report.failed_kinds.contains_key(&Kind::Client), "the load client itself failed".to_owned());
    must(report.tunnels_gap == 0, format!("{} messages of tunnels were lost", report.tunnels_gap));
    match report.duplicate_posts {
        Some(0) => {}
        Some(count) => must(false, format!("{count} POSTs were received twice")),
        None => must(false, format!("duplicate POSTs are unknown: {:?}", report.details.posts_unknown)),
    }
    match row.event {
        "reload-broken" => must(row.exit_code != 0, "the broken configuration was accepted".to_owned()),
        _ => must(row.exit_code == 0, format!("the command failed with {}", row.exit_code)),
    }
    let forgiven: fn(&Row, &Failure) -> bool = match row.event {
        "gateway-kill" => was_in_flight,
        "stop-start" => came_while_stopped,
        _ => |_, _| false,
    };
    let lost: Vec<_> = report.details.failures.iter().filter(|failure| !forgiven(row, failure)).collect();
    if let Some(first) = lost.first() {
        must(false, format!("{} requests were lost, the first: {}", lost.len(), described(row, first)));
    }
    if row.event.starts_with("reload") {
        must(report.idle_closed == 0, format!("{} idle connections were closed", report.idle_closed));
        must(report.tunnels_dropped == 0, format!("{} tunnels were dropped", report.tunnels_dropped));
    }
    broken
}

/// Begun before the process was gone, and lost with its connection.
fn was_in_flight(row: &Row, failure: &Failure) -> bool {
    let with_connection = matches!(failure.kind, Kind::Reset | Kind::Eof | Kind::Truncated);
    with_connection && failure.began <= row.ended && failure.ended >= row.began
}

/// Never got in: whoever got in, also only as far as a queue, has a right to an answer.
fn came_while_stopped(row: &Row, failure: &Failure) -> bool {
    failure.kind == Kind::Refused && failure.ended >= row.began && failure.began <= row.ended
}

fn described(row: &Row, failure: &Failure) -> String {
    let since = failure.began.as_secs_f64() - row.began.as_secs_f64();
    format!("{:?}, {:?} ({}), begun {since:+.3} s from the event", failure.what, failure.kind, failure.detail)
}

/// A line for each promise and release; whether all were kept.
pub fn verdicts(rows: &[Row]) -> (String, bool) {
    let mut text = String::new();
    let mut all_kept = true;
    for row in rows {
        let broken = broken(row);
        let word = if broken.is_empty() { "kept  " } else { "BROKEN" };
        let promise = promise(row.event).unwrap_or("no promise is known for this event");
        let _ = writeln!(text, "{word}  Debian {}  {promise}", row.debian);
        for clause in &broken {
            let _ = writeln!(text, "          {clause}");
        }
        all_kept &= broken.is_empty();
    }
    (text, all_kept)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::events::EVENTS;
    use hitless::prove::{Report, What};

    fn row(event: &'static str) -> Row {
        let report = Report { requests: 5_000, duplicate_posts: Some(0), ..Report::default() };
        let exit_code = i32::from(event == "reload-broken");
        Row {
            event,
            debian: 13,
            report,
            exit_code,
            began: Duration::from_secs(2),
            ended: Duration::from_secs(3),
        }
    }

    fn lose(row: &mut Row, kind: Kind, reused: bool, began: f64) {
        row.report.failed += 1;
        *row.report.failed_kinds.entry(kind).or_default() += 1;
        row.report.details.failures.push(Failure {
            what: What::Fresh,
            kind,
            detail: String::new(),
            reused,
            began: Duration::from_secs_f64(began),
            ended: Duration::from_secs_f64(began + 0.5),
        });
    }

    #[test]
    fn every_event_has_a_promise_and_keeps_it_when_nothing_is_lost() {
        for event in EVENTS {
            assert!(promise(event.name).is_some(), "{}", event.name);
            assert_eq!(broken(&row(event.name)), Vec::<String>::new(), "{}", event.name);
        }
    }

    #[test]
    fn one_lost_request_breaks_every_promise_but_that_of_a_kill() {
        for event in EVENTS {
            let mut row = row(event.name);
            lose(&mut row, Kind::Reset, false, 2.5);
            assert_eq!(broken(&row).is_empty(), event.name == "gateway-kill", "{}", event.name);
        }
    }

    #[test]
    fn a_kill_may_lose_what_was_in_flight_and_nothing_else() {
        for (kind, began, kept) in [
            (Kind::Eof, 1.9, true),
            (Kind::Truncated, 2.9, true),
            (Kind::Eof, 1.0, false),
            (Kind::Reset, 3.1, false),
            (Kind::Refused, 2.5, false),
            (Kind::BadStatus, 2.5, false),
            (Kind::Timeout, 2.5, false),
        ] {
            let mut row = row("gateway-kill");
            lose(&mut row, kind, true, began);
            assert_eq!(broken(&row).is_empty(), kept, "{kind:?} at {began}");
        }
    }

    #[test]
    fn a_stop_may_refuse_but_not_cut_what_it_took() {
        for (kind, reused, kept) in [
            (Kind::Refused, false, true),
            (Kind::Reset, false, false),
            (Kind::Reset, true, false),
            (Kind::Eof, false, false),
            (Kind::Truncated, false, false),
        ] {
            let mut row = row("stop-start");
            lose(&mut row, kind, reused, 2.5);
            assert_eq!(broken(&row).is_empty(), kept, "{kind:?}, reused: {reused}");
        }
    }

    #[test]
    fn a_broken_configuration_that_is_accepted_breaks_the_promise() {
        let mut row = row("reload-broken");
        row.exit_code = 0;
        assert_eq!(broken(&row).len(), 1);
    }

    #[test]
    fn duplicates_nobody_could_count_break_the_promise() {
        let mut row = row("restart");
        row.report.duplicate_posts = None;
        assert_eq!(broken(&row).len(), 1);
    }
}
