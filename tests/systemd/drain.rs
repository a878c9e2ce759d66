//! Stop and restart: what is in flight is answered, the deadline holds, and systemd never has to
//! kill anything.

use crate::lab::Entry;
use crate::on_both_releases;
use crate::scene::{self, SHOP};
use hitless::telemetry::event;
use std::time::{Duration, Instant};

const STOP: [&str; 4] = ["systemctl", "stop", "hitless.socket", "hitless.service"];

const REFUSED: std::io::ErrorKind = std::io::ErrorKind::ConnectionRefused;

fn find<'a>(entries: &'a [Entry], id: &str) -> &'a Entry {
    let found = entries.iter().find(|entry| entry.field("MESSAGE_ID") == id);
    found.unwrap_or_else(|| {
        panic!("no event {id} in {:#?}", entries.iter().map(Entry::message).collect::<Vec<_>>())
    })
}

on_both_releases! {
    with scene::shop;

    fn a_stop_ends_with_the_last_request(host: Host) {
        let before = host.journal_end();
        let slow = host.get_later(SHOP, "/slow?ms=2000");
        host.run(["curl", "--silent", "--fail", "--header", "Host: shop.example", "http://127.0.0.1/"]).ok();
        let began = Instant::now();

        host.run(STOP).ok();

        // The deadline is 75 s.
        assert!(began.elapsed() < Duration::from_secs(60), "not at the deadline: {:?}", began.elapsed());
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
        assert!(host.connect(80).is_err(), "closed");
        let said = host.journal_since(&before, "hitless.service");
        find(&said, event::DRAINING);
        find(&said, event::DRAINED);
        scene::ended_well(&host);
    }

    fn a_restart_loses_no_request(host: Host) {
        let steady = host.steady(SHOP, "/", 4);
        let slow = host.get_later(SHOP, "/slow?ms=1500");

        host.run(["systemctl", "restart", "hitless"]).ok();

        let tally = steady.stop();
        assert_eq!(tally.failed, Vec::<String>::new(), "of {}", tally.answered);
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
        scene::ended_well(&host);
    }

    fn a_request_beyond_the_deadline_is_answered_503_and_reported_with_its_age(host: Host) {
        scene::configure(&host, "[drain]\ndeadline = \"1s\"\n");
        let before = host.journal_end();
        let slow = host.get_later(SHOP, "/slow?ms=60000");

        host.run(STOP).ok();

        assert_eq!(slow.join().unwrap().unwrap().status, 503);
        let said = host.journal_since(&before, "hitless.service");
        let cut = find(&said, event::CUT);
        assert!(!cut.field("HITLESS_AGE_MS").is_empty(), "{cut:?}");
        assert_eq!(cut.field("HITLESS_SERVICE"), "shop");
        scene::ended_well(&host);
    }

    fn the_deadline_stays_under_the_units_own_and_a_conflict_is_named(host: Host) {
        let before = host.journal_end();
        scene::edit_unit(&host, "TimeoutStopSec=5");
        let conflict = host.wait_journal(&before, |entry| entry.field("MESSAGE_ID") == event::DEADLINE_CONFLICT);
        let remedy = "set TimeoutStopSec=80 in a drop-in (systemctl edit hitless), or lower drain.deadline";
        assert!(conflict.message().contains("TimeoutStopSec=5s"), "{}", conflict.message());
        assert!(conflict.message().ends_with(remedy), "{}", conflict.message());
        assert_eq!(conflict.field("PRIORITY"), "4");
        let slow = host.get_later(SHOP, "/slow?ms=60000");

        host.run(STOP).ok();

        assert_eq!(slow.join().unwrap().unwrap().status, 503);
        scene::ended_well(&host);
    }

    fn a_stop_of_the_socket_too_refuses_newcomers_while_it_drains(host: Host) {
        let before = host.journal_end();
        let slow = host.get_later(SHOP, "/slow?ms=4000");
        host.run(["systemctl", "stop", "--no-block", "hitless.socket", "hitless.service"]).ok();
        host.wait_journal(&before, |entry| entry.field("MESSAGE_ID") == event::DRAINING);

        host.wait_until("a newcomer is refused", || host.connect(80).is_err_and(|error| error.kind() == REFUSED));
        assert_eq!(host.show("hitless.service", "ActiveState"), "deactivating", "it drains meanwhile");

        assert_eq!(slow.join().unwrap().unwrap().status, 200);
        host.run(STOP).ok();
        scene::ended_well(&host);
        let socket = host.journal_since(&before, "hitless.socket");
        assert!(!socket.iter().any(|entry| entry.message().contains("POLLHUP")), "{socket:#?}");
        assert_eq!(host.show("hitless.socket", "Result"), "success");
        host.run(["systemctl", "start", "hitless.socket", "hitless.service"]).ok();
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    fn a_stop_of_the_service_alone_refuses_nobody(host: Host) {
        let steady = host.steady(SHOP, "/", 4);
        let slow = host.get_later(SHOP, "/slow?ms=1500");

        host.run(["systemctl", "stop", "hitless.service"]).ok();

        assert_eq!(host.get(SHOP, "/").status, 200, "the next connection has started it again");
        let tally = steady.stop();
        assert_eq!(tally.failed, Vec::<String>::new(), "of {}", tally.answered);
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
        scene::ended_well(&host);
    }

    fn a_drain_with_progress_outlasts_the_units_own_time_when_that_is_allowed(host: Host) {
        scene::configure(&host, "[drain]\ndeadline = \"60s\"\nextend = true\n");
        let before = host.journal_end();
        scene::edit_unit(&host, "TimeoutStopSec=3");
        // An event each second, for far longer than systemd waits by itself, and than one extension.
        let stream = host.get_later(SHOP, "/events?n=16&ms=1000");

        host.run(STOP).ok();

        let answer = stream.join().unwrap().unwrap();
        assert!(answer.status == 200 && answer.body.contains("id: 15"), "{answer:?}");
        let said = host.journal_since(&before, "hitless.service");
        assert!(!said.iter().any(|entry| entry.field("MESSAGE_ID") == event::DEADLINE_CONFLICT));
        scene::ended_well(&host);
    }

    fn a_drain_without_progress_is_cut_before_systemd_kills(host: Host) {
        scene::configure(&host, "[drain]\ndeadline = \"60s\"\nextend = true\n");
        scene::edit_unit(&host, "TimeoutStopSec=3");
        let slow = host.get_later(SHOP, "/slow?ms=60000");

        host.run(STOP).ok();

        assert_eq!(slow.join().unwrap().unwrap().status, 503);
        scene::ended_well(&host);
    }

    fn a_second_signal_ends_at_once(host: Host) {
        let before = host.journal_end();
        let slow = host.get_later(SHOP, "/slow?ms=60000");
        host.run(["systemctl", "stop", "--no-block", "hitless.socket", "hitless.service"]).ok();
        host.wait_journal(&before, |entry| entry.field("MESSAGE_ID") == event::DRAINING);

        host.run(["systemctl", "kill", "--kill-whom=main", "--signal=TERM", "hitless"]).ok();

        host.run(STOP).ok();
        assert!(slow.join().unwrap().is_ok_and(|answer| answer.status == 503));
        scene::ended_well(&host);
    }

    fn a_drain_says_in_the_status_what_it_waits_for(host: Host) {
        let before = host.journal_end();
        let slow = host.get_later(SHOP, "/slow?ms=4000");
        host.run(["systemctl", "stop", "--no-block", "hitless.socket", "hitless.service"]).ok();
        host.wait_journal(&before, |entry| entry.field("MESSAGE_ID") == event::DRAINING);
        host.wait_until("a status with the request in flight", || {
            host.show("hitless.service", "StatusText").contains("1 request")
        });
        host.run(STOP).ok();
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
    }
}
