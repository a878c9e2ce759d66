//! What hitless promises for each event, and whether a row keeps it.
//!
//! Pure: rows in, sentences out.

use std::fmt::Write;

use crate::rows::Row;
use hitless::prove::{Failure, Kind, What};

/// Fewer requests prove nothing.
const ENOUGH: u64 = 1_000;

/// The promise of an event, as a sentence; `None` for an unknown event.
pub fn promise(event: &str) -> Option<&'static str> {
    Some(match event {
        "reload" => "a reload loses no request, no idle connection and no tunnel",
        "reload-broken" => "a broken configuration is refused with a failing exit code, and changes nothing",
        "reload-other-service" => "changing one service touches nobody",
        "calm" => "nothing is lost when nothing happens",
        "upgrade" => "an upgrade loses nothing, and nobody waits for it",
        "upgrade-broken" => {
            "a program that cannot take over is refused, by reload and by upgrade, and changes nothing"
        }
        "restart" => "a restart loses nothing, and nobody waits longer than the longest request",
        "alternating" => {
            "twenty reloads, upgrades and restarts lose nothing, and one connection lasts through all"
        }
        "app-restart-attached" => "an attached application restarts, and no request notices",
        "app-restart-unattached" => {
            "an application is killed and restarts: only answers in the middle are lost"
        }
        "app-drain" => "an application that takes its time to leave loses nothing",
        "endpoint-kill" => "of a killed endpoint only answers in the middle are lost",
        "tunnels-4000-restart" => "a restart keeps 4,000 tunnels, and every message in its place",
        "tunnels-4000-upgrade" => "an upgrade keeps 4,000 tunnels, and every message in its place",
        "gateway-kill" => "a killed gateway loses only what was in flight: new connections only wait",
        "stop-start" => "a stop answers what is in flight, and refuses only what comes while it is stopped",
        "tls-reload" => "over TLS, a reload loses no request, no idle connection and no tunnel",
        "tls-upgrade" => "over TLS, an upgrade loses nothing, and sessions are resumed as before",
        "tls-restart" => "over TLS, a restart loses nothing, and sessions are resumed as before",
        "tls-certificate-swap" => "a new certificate is shown at once, and no handshake fails",
        "tls-h2-reload" => "over TLS and HTTP/2, a reload loses no request",
        "tls-h2-upgrade" => "over TLS and HTTP/2, an upgrade loses no request",
        "tls-h2-restart" => "over TLS and HTTP/2, a restart loses no request",
        _ => return None,
    })
}

/// The longest that clients may be shown the old certificate: the files are watched, and read when they rest.
const SWAP_MS: u64 = 2_000;
/// Fewer handshakes on either side of an event prove nothing.
const ENOUGH_HANDSHAKES: usize = 20;

/// The longest that a request that was held takes from the moment at which its application is ready.
const READY_MS: u64 = 150;

/// What is within noise of a calm run: the worst stall of a busy machine differs so much from run to run.
const NOISE_MS: u64 = 50;

/// In which ways a row breaks its promise, each as a clause. `rows` has the calm one of the same release.
pub fn broken(row: &Row, rows: &[Row]) -> Vec<String> {
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
    let moved = [report.tunnels_doubled, report.tunnels_reordered, report.tunnels_changed];
    must(moved == [0; 3], format!("messages of tunnels were doubled, reordered, changed: {moved:?}"));
    match row.ledger_residue {
        Some(residue) => must(residue == 0, format!("the ledger cannot account for {residue}")),
        None => must(false, "the ledger could not be asked".to_owned()),
    }
    match report.duplicate_posts {
        Some(0) => {}
        Some(count) => must(false, format!("{count} POSTs were received twice")),
        None => must(false, format!("duplicate POSTs are unknown: {:?}", report.details.posts_unknown)),
    }
    match row.event {
        "reload-broken" => must(row.exit_code != 0, "the broken configuration was accepted".to_owned()),
        "upgrade-broken" => must(row.exit_code != 0, "a broken program was accepted".to_owned()),
        _ => must(row.exit_code == 0, format!("the command failed with {}", row.exit_code)),
    }
    let forgiven: fn(&Row, &Failure) -> bool = match row.event {
        "gateway-kill" => was_in_flight,
        "app-restart-unattached" | "endpoint-kill" => was_being_answered,
        "stop-start" => came_while_stopped,
        _ => |_, _| false,
    };
    let lost: Vec<_> = report.details.failures.iter().filter(|failure| !forgiven(row, failure)).collect();
    if let Some(first) = lost.first() {
        must(false, format!("{} requests were lost, the first: {}", lost.len(), described(row, first)));
    }
    if !matches!(row.event, "gateway-kill" | "stop-start") {
        let lasting = report.lasting.iter().find_map(|lasting| lasting.lost.as_deref());
        must(
            report.lasting_lost == 0,
            format!("the connection that was to last did not: {}", lasting.unwrap_or_default()),
        );
        let same_port = report.lasting.iter().all(|lasting| lasting.opened_at == lasting.ended_at);
        must(same_port || report.lasting_lost > 0, "the lasting connection is another one".to_owned());
        must(report.idle_closed == 0, format!("{} idle connections were closed", report.idle_closed));
        // Those of an application end with it.
        let kept = report.tunnels_dropped == 0 || is_of_the_application(row.event);
        must(kept, format!("{} tunnels were dropped", report.tunnels_dropped));
    }
    if let Some(most) = longest_stall(row, rows) {
        let stall = report.worst_stall_ms;
        must(stall <= most, format!("a client waited {stall} ms, longer than {most} ms"));
    }
    if row.event.contains("upgrade") && row.event != "upgrade-broken" || row.event == "alternating" {
        let most = row.longest_request_ms + 1_000;
        match row.outgoing_ms {
            Some(outgoing) => must(
                outgoing <= most,
                format!(
                    "the outgoing process was gone {outgoing} ms after the command, later than {most} ms"
                ),
            ),
            None => must(false, "the outgoing process stays".to_owned()),
        }
    }
    if row.event == "tls-certificate-swap" {
        let took = row.took_ms;
        must(
            took <= SWAP_MS,
            format!("the new certificate was shown after {took} ms, later than {SWAP_MS} ms"),
        );
        if let Err(why) = swapped(row) {
            must(false, why);
        }
    } else if report.handshakes > 0
        && let Err(why) = resumed_as_before(row)
    {
        must(false, why);
    }
    let tls = row.event.starts_with("tls-") && !row.event.starts_with("tls-h2-");
    must(!tls || report.handshakes > 0, "no handshake was counted".to_owned());
    broken
}

/// Every handshake after the event shows one certificate, and all before it showed another one.
fn swapped(row: &Row) -> Result<(), String> {
    let handshakes = &row.report.details.handshakes;
    let before = handshakes.iter().filter(|one| one.ended < row.began).map(|one| &one.certificate);
    let after = handshakes.iter().filter(|one| one.began > row.ended).map(|one| &one.certificate);
    let (before, after): (Vec<_>, Vec<_>) = (before.collect(), after.collect());
    let fewest = before.len().min(after.len());
    if fewest < ENOUGH_HANDSHAKES {
        return Err(format!("only {fewest} handshakes before or after the swap"));
    }
    let old = after.iter().filter(|certificate| before.contains(certificate)).count();
    let others = after.iter().filter(|certificate| **certificate != after[0]).count();
    match (old, others) {
        (0, 0) => Ok(()),
        _ => Err(format!("{old} handshakes after the swap were shown the old certificate, {others} others")),
    }
}

/// The share of new connections that resume a session is at least what it was before the event. What came before the
/// first one that did had no session to resume.
fn resumed_as_before(row: &Row) -> Result<(), String> {
    let handshakes = &row.report.details.handshakes;
    let Some(first) = handshakes.iter().find(|one| one.resumed) else {
        return Err("no session was ever resumed".to_owned());
    };
    let (mut before, mut after) = ((0, 0), (0, 0));
    for handshake in handshakes.iter().filter(|one| one.began >= first.ended) {
        let side = if handshake.ended < row.began { &mut before } else { &mut after };
        side.0 += usize::from(handshake.resumed);
        side.1 += 1;
    }
    if before.1.min(after.1) < ENOUGH_HANDSHAKES {
        return Err(format!("only {} handshakes before the event, {} after", before.1, after.1));
    }
    if after.0 * before.1 >= before.0 * after.1 {
        return Ok(());
    }
    let ((b, of_b), (a, of_a)) = (before, after);
    Err(format!("{b} of {of_b} handshakes were resumed before the event, {a} of {of_a} since"))
}

/// How long the event may keep a client waiting, in milliseconds; `None` when that is not promised, or when there is
/// no calm run to compare with.
fn longest_stall(row: &Row, rows: &[Row]) -> Option<u64> {
    match row.event {
        "restart" => Some(row.longest_request_ms + 100),
        "upgrade" => {
            let calm = rows.iter().rev().find(|calm| calm.event == "calm" && calm.debian == row.debian)?;
            let usual = calm.report.worst_stall_ms;
            Some((2 * usual).max(usual + NOISE_MS))
        }
        "tunnels-4000-upgrade" => Some(250),
        // The command ends when the application is ready; whoever was held goes on then.
        "app-restart-attached" | "app-drain" => Some(row.took_ms + READY_MS),
        // Some were half done when it was killed, and begin again.
        "app-restart-unattached" => Some(row.took_ms + row.longest_request_ms + READY_MS),
        _ => None,
    }
}

/// Begun before the process was gone, and lost with its connection.
fn was_in_flight(row: &Row, failure: &Failure) -> bool {
    let with_connection = matches!(failure.kind, Kind::Reset | Kind::Eof | Kind::Truncated | Kind::Unclosed);
    with_connection && failure.began <= row.ended && failure.ended >= row.began
}

/// The application itself was changed, not hitless.
fn is_of_the_application(event: &str) -> bool {
    event.starts_with("app-") || event == "endpoint-kill"
}

/// Sent to the application before it was killed: half of its answer came, or nobody knows whether it was acted upon, and
/// it must not be twice.
fn was_being_answered(row: &Row, failure: &Failure) -> bool {
    let at_its_end = failure.began <= row.ended && failure.ended >= row.began;
    let unknown = matches!(failure.what, What::Post | What::Upload)
        && failure.kind == Kind::BadStatus
        && failure.detail.contains("502");
    at_its_end && (failure.kind == Kind::Truncated || unknown)
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
        let broken = broken(row, rows);
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
    use hitless::prove::{Handshake, Report, What};

    fn row(event: &'static str) -> Row {
        let mut report = Report { requests: 5_000, duplicate_posts: Some(0), ..Report::default() };
        if event.starts_with("tls-") && !event.starts_with("tls-h2-") {
            let swap = event == "tls-certificate-swap";
            let shaken = (0..100).map(|place| Handshake {
                resumed: !swap && place > 0,
                certificate: if swap && place >= 50 { "new" } else { "old" }.to_owned(),
                began: Duration::from_millis(50 * place),
                ended: Duration::from_millis(50 * place + 10),
            });
            report.details.handshakes = shaken.collect();
            report.handshakes = 100;
        }
        let exit_code = i32::from(event.ends_with("-broken"));
        Row {
            event,
            debian: 13,
            report,
            exit_code,
            took_ms: 1_000,
            outgoing_ms: Some(0),
            longest_request_ms: 560,
            ledger_residue: Some(0),
            began: Duration::from_secs(2),
            ended: Duration::from_secs(3),
        }
    }

    fn broken(row: &Row) -> Vec<String> {
        super::broken(row, &[])
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
    fn of_a_killed_application_half_an_answer_and_a_post_may_be_lost() {
        for (what, kind, detail, kept) in [
            (What::Stream, Kind::Truncated, "", true),
            (What::Post, Kind::BadStatus, "502 no-answer", true),
            (What::Fresh, Kind::BadStatus, "502 no-answer", false),
            (What::Post, Kind::BadStatus, "503 held-too-long", false),
            (What::KeptAlive, Kind::Eof, "", false),
        ] {
            let mut row = row("endpoint-kill");
            lose(&mut row, kind, false, 2.5);
            for failure in &mut row.report.details.failures {
                (failure.what, failure.detail) = (what, detail.to_owned());
            }
            assert_eq!(broken(&row).is_empty(), kept, "{what:?} {kind:?} {detail}");
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
    fn every_other_loss_breaks_the_promise_too() {
        let losses: [fn(&mut Row); 8] = [
            |row| row.report.idle_closed = 1,
            |row| row.report.tunnels_dropped = 1,
            |row| row.report.tunnels_gap = 1,
            |row| row.report.tunnels_doubled = 1,
            |row| row.report.tunnels_reordered = 1,
            |row| row.report.lasting_lost = 1,
            |row| row.ledger_residue = Some(1),
            |row| row.ledger_residue = None,
        ];
        for event in
            ["reload", "upgrade", "upgrade-broken", "restart", "alternating", "tls-reload", "tls-restart"]
        {
            for lose in losses {
                let mut row = row(event);
                lose(&mut row);
                assert_eq!(broken(&row).len(), 1, "{event}");
            }
        }
    }

    #[test]
    fn a_restart_may_keep_a_client_waiting_for_the_longest_request_and_little_more() {
        let mut row = row("restart");
        row.report.worst_stall_ms = 660;
        assert_eq!(broken(&row).len(), 0);
        row.report.worst_stall_ms = 661;
        assert_eq!(broken(&row).len(), 1);
    }

    #[test]
    fn an_upgrade_is_compared_with_a_calm_run_of_the_same_release() {
        let mut calm = row("calm");
        calm.report.worst_stall_ms = 30;
        let mut upgrade = row("upgrade");
        for (stall, kept) in [(80, true), (81, false)] {
            upgrade.report.worst_stall_ms = stall;
            assert_eq!(super::broken(&upgrade, &[calm.clone()]).is_empty(), kept, "{stall}");
        }
        calm.debian = 12;
        assert!(super::broken(&upgrade, &[calm]).is_empty(), "nothing to compare with");
    }

    #[test]
    fn an_outgoing_process_that_stays_breaks_the_promise() {
        for (outgoing, kept) in [(Some(1_560), true), (Some(1_561), false), (None, false)] {
            let mut row = row("upgrade");
            row.outgoing_ms = outgoing;
            assert_eq!(broken(&row).is_empty(), kept, "{outgoing:?}");
        }
    }

    #[test]
    fn a_session_that_is_not_resumed_after_the_event_breaks_the_promise_of_tls() {
        for event in ["tls-reload", "tls-upgrade", "tls-restart"] {
            for (place, kept) in [(0, true), (10, true), (40, false), (90, false)] {
                let mut row = row(event);
                row.report.details.handshakes[place].resumed = false;
                assert_eq!(broken(&row).is_empty(), kept, "{event}, {place}");
            }
            let mut row = row(event);
            row.report.details.handshakes.truncate(50);
            assert_eq!(broken(&row).len(), 1, "nobody has come since");
            row.report.details.handshakes.iter_mut().for_each(|one| one.resumed = false);
            assert_eq!(broken(&row).len(), 1, "nothing was resumed at all");
        }
    }

    #[test]
    fn an_old_certificate_after_the_swap_breaks_its_promise() {
        for (place, certificate) in [(65, "old"), (99, "old"), (80, "a third one")] {
            let mut row = row("tls-certificate-swap");
            row.report.details.handshakes[place].certificate = certificate.to_owned();
            assert_eq!(broken(&row).len(), 1, "{certificate} at {place}");
        }
        let mut row = row("tls-certificate-swap");
        row.took_ms = 2_001;
        assert_eq!(broken(&row).len(), 1, "late");
    }

    #[test]
    fn duplicates_nobody_could_count_break_the_promise() {
        let mut row = row("restart");
        row.report.duplicate_posts = None;
        assert_eq!(broken(&row).len(), 1);
    }
}
