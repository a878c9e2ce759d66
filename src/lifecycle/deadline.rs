//! PURE: how long a drain may take.
//!
//! Promises: the deadline lies within what the operator allows, and under what systemd allows, with
//! a margin, so that a stop never ends in SIGKILL. An adaptive deadline follows what was seen.
//! Must not know: where the durations and the unit's limit come from.

use std::time::Duration;

use crate::config::settings::{Drain, DrainDeadline};

/// Kept free between the end of the drain and the moment at which systemd kills.
pub const MARGIN: Duration = Duration::from_secs(5);

/// What was seen of the requests so far, for an adaptive deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Nearly all requests were answered within this time.
    pub usual: Duration,
    /// The age of the oldest request in flight.
    pub oldest: Duration,
}

/// The time from the request to stop until what is left is cut, lame-duck time included.
pub fn drain(settings: &Drain, seen: Seen, unit_limit: Option<Duration>) -> Duration {
    let wanted = settings.lame_duck + within_configuration(settings.deadline, seen);
    match unit_limit {
        // With `extend` systemd is asked for more time, as long as there is progress.
        Some(limit) if !settings.extend => wanted.min(limit),
        _ => wanted,
    }
}

/// The longest that [`drain`] may return.
pub fn longest(settings: &Drain, unit_limit: Option<Duration>) -> Duration {
    let wanted = settings.lame_duck + most(settings);
    match unit_limit {
        Some(limit) if !settings.extend => wanted.min(limit),
        _ => wanted,
    }
}

/// How long what can move is waited for in a handover, and how long after that what has to end here, until the
/// rest is cut. Without `seen`, when nobody waits for the end, everything gets the longest that the operator allows.
pub fn handover(settings: &Drain, seen: Option<Seen>, unit_limit: Option<Duration>) -> (Duration, Duration) {
    let settings = Drain { lame_duck: Duration::ZERO, ..settings.clone() };
    let all = match seen {
        Some(seen) => drain(&settings, seen, unit_limit),
        None => longest(&settings, unit_limit),
    };
    let leaving = settings.idle_grace.max(settings.tunnel_jitter).min(all / 2);
    (all - leaving, leaving)
}

/// What is left of the unit's TimeoutStopSec for the drain.
pub fn unit_limit(timeout_stop: Duration) -> Duration {
    // A very short timeout still leaves half of itself for the drain.
    timeout_stop.saturating_sub(MARGIN).max(timeout_stop / 2)
}

/// Why the configured deadline cannot be kept under this TimeoutStopSec, with the remedy.
pub fn conflict(settings: &Drain, timeout_stop: Duration) -> Option<String> {
    let wanted = settings.lame_duck + most(settings);
    if settings.extend || wanted <= unit_limit(timeout_stop) {
        return None;
    }
    let key = match (settings.deadline, settings.lame_duck.is_zero()) {
        (DrainDeadline::Fixed(_), true) => "drain.deadline",
        (DrainDeadline::Fixed(_), false) => "drain.lame-duck + drain.deadline",
        (DrainDeadline::Adaptive { .. }, true) => "drain.deadline-most",
        (DrainDeadline::Adaptive { .. }, false) => "drain.lame-duck + drain.deadline-most",
    };
    Some(format!(
        "{key} is {}, but systemd kills the unit after TimeoutStopSec={}: a drain ends after {} instead; \
         set TimeoutStopSec={} in a drop-in (systemctl edit hitless), or lower {key}",
        seconds(wanted),
        seconds(timeout_stop),
        seconds(unit_limit(timeout_stop)),
        (wanted + MARGIN).as_secs_f64().ceil(),
    ))
}

fn most(settings: &Drain) -> Duration {
    match settings.deadline {
        DrainDeadline::Fixed(deadline) => deadline,
        DrainDeadline::Adaptive { most, .. } => most,
    }
}

/// Twice what nearly all requests took: late enough for an ordinary request that has just begun, early
/// enough that one that hangs does not hold a stop up. A request older than that is already unusual,
/// and gets as long again as it has had.
fn within_configuration(deadline: DrainDeadline, seen: Seen) -> Duration {
    match deadline {
        DrainDeadline::Fixed(deadline) => deadline,
        DrainDeadline::Adaptive { least, most } => (seen.usual * 2).max(seen.oldest).max(least).min(most),
    }
}

fn seconds(duration: Duration) -> String {
    let tenths = (duration.as_secs_f64() * 10.0).round() / 10.0;
    format!("{tenths}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn settings(deadline: DrainDeadline) -> Drain {
        Drain { deadline, idle_grace: s(1), lame_duck: s(0), extend: false, tunnel_jitter: s(1) }
    }

    #[test]
    fn a_drain_ends_before_systemd_kills() {
        let drain_settings = settings(DrainDeadline::Fixed(s(300)));
        assert_eq!(drain(&drain_settings, Seen::default(), Some(unit_limit(s(90)))), s(85));
        assert_eq!(drain(&drain_settings, Seen::default(), Some(unit_limit(s(4)))), s(2));
        assert_eq!(drain(&drain_settings, Seen::default(), None), s(300));
    }

    #[test]
    fn an_adaptive_deadline_follows_what_was_seen_within_its_bounds() {
        let adaptive = settings(DrainDeadline::Adaptive { least: s(5), most: s(75) });
        let after = |usual, oldest| drain(&adaptive, Seen { usual: s(usual), oldest: s(oldest) }, None);
        assert_eq!(after(0, 0), s(5));
        assert_eq!(after(10, 0), s(20));
        assert_eq!(after(10, 40), s(40));
        assert_eq!(after(10, 400), s(75));
        assert_eq!(after(1000, 0), s(75));
    }

    #[test]
    fn the_lame_duck_time_is_part_of_the_stop() {
        let mut settings = settings(DrainDeadline::Fixed(s(20)));
        settings.lame_duck = s(10);
        assert_eq!(drain(&settings, Seen::default(), None), s(30));
        assert_eq!(drain(&settings, Seen::default(), Some(s(25))), s(25));
    }

    #[test]
    fn a_handover_leaves_time_to_end_what_cannot_move() {
        let mut settings = settings(DrainDeadline::Adaptive { least: s(5), most: s(75) });
        assert_eq!(handover(&settings, None, None), (s(74), s(1)));
        assert_eq!(handover(&settings, Some(Seen::default()), None), (s(4), s(1)));
        settings.lame_duck = s(20);
        settings.tunnel_jitter = s(60);
        assert_eq!(handover(&settings, None, Some(s(30))), (s(15), s(15)));
    }

    #[test]
    fn a_deadline_that_systemd_would_not_wait_for_is_explained_with_its_remedy() {
        let fixed = settings(DrainDeadline::Fixed(s(75)));
        assert_eq!(conflict(&fixed, s(90)), None);
        assert_eq!(
            conflict(&fixed, s(30)).unwrap(),
            "drain.deadline is 75s, but systemd kills the unit after TimeoutStopSec=30s: a drain ends after 25s \
             instead; set TimeoutStopSec=80 in a drop-in (systemctl edit hitless), or lower drain.deadline"
        );
        assert_eq!(conflict(&Drain { extend: true, ..fixed }, s(30)), None);
    }
}
