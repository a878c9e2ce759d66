//! Processes that die: the port stays open, and what waits is served.

use crate::lab::Host;
use crate::on_both_releases;
use crate::scene::{self, Gate, SHOP};
use hitless::telemetry::event;

fn kill(host: &Host, pid: &str) {
    host.run(["kill", "-KILL", pid]).ok();
}

on_both_releases! {
    with scene::shop;

    fn a_killed_gateway_is_replaced_and_only_what_was_in_flight_is_lost(host: Host) {
        let keeper = scene::keeper(&host);
        let before = host.journal_end();
        let clients = 4;
        let steady = host.steady(SHOP, "/", clients);

        kill(&host, &scene::gateway(&host).unwrap());

        host.wait_journal(&before, |entry| entry.field("MESSAGE_ID") == event::GATEWAY_DIED);
        host.wait_journal(&before, |entry| entry.field("MESSAGE_ID") == event::GATEWAY_REPLACED);
        assert_eq!(host.get(SHOP, "/").status, 200);
        let tally = steady.stop();
        assert!(tally.failed.len() <= clients, "{:?}", tally.failed);
        assert!(!tally.failed.iter().any(|failure| failure.contains("refused")), "{:?}", tally.failed);
        assert_eq!(scene::keeper(&host), keeper, "the daemon itself was not restarted");
        assert_eq!(host.show("hitless.service", "NRestarts"), "0");
    }

    fn a_crash_loop_of_the_gateway_does_not_close_the_port(host: Host) {
        let keeper = scene::keeper(&host);
        for _ in 0..8 {
            let mut born = None;
            host.wait_until("a gateway to kill", || {
                born = scene::gateway(&host);
                born.is_some()
            });
            kill(&host, &born.unwrap());
            host.connect(80).expect("the port is open whatever happens behind it");
        }
        assert_eq!(host.get(SHOP, "/").status, 200, "waited for the next gateway, and was served");
        assert_eq!(scene::keeper(&host), keeper);
        assert_eq!(host.run(["systemctl", "is-active", "hitless.socket"]).ok(), "active");
    }

    fn a_killed_keeper_is_started_again_and_connections_wait_for_it(host: Host) {
        let keeper = scene::keeper(&host);
        let before = host.journal_end();
        kill(&host, &keeper);
        host.wait_journal(&before, |entry| entry.message().contains("Scheduled restart job"));
        assert_eq!(host.get(SHOP, "/").status, 200);
        assert_ne!(scene::keeper(&host), keeper);
        assert_eq!(host.show("hitless.service", "NRestarts"), "1");
    }

    fn a_killed_keeper_costs_no_request_in_flight(host: Host) {
        let gate = Gate::of(&host);
        let mut slow = gate.asked(&host);
        let outgoing = scene::gateway(&host).unwrap();
        let before = host.journal_end();
        kill(&host, &scene::keeper(&host));
        host.wait_journal(&before, |entry| entry.message().contains("Scheduled restart job"));
        assert_eq!(host.get(SHOP, "/").status, 200);
        assert_ne!(scene::gateway(&host).as_ref(), Some(&outgoing));
        gate.opens(&host);
        assert_eq!(slow.answer().status, 200);
        host.wait_until("its gateway is gone", || host.run(["test", "-d", &format!("/proc/{outgoing}")]).status != 0);
    }

    fn all_processes_can_be_killed_at_once(host: Host) {
        let gate = Gate::of(&host);
        let _slow = gate.asked(&host);
        let outgoing = scene::gateway(&host).unwrap();
        host.run(["systemctl", "restart", "hitless"]).ok();
        host.run(["systemctl", "kill", "--signal=KILL", "hitless"]).ok();
        host.wait_until("it is gone", || host.run(["test", "-d", &format!("/proc/{outgoing}")]).status != 0);
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    fn a_daemon_that_cannot_start_does_not_close_the_port(host: Host) {
        scene::break_configuration(&host);
        let before = host.journal_end();
        // A restart would go on with what was served.
        host.run(["systemctl", "stop", "hitless.service"]).ok();
        let _ = host.run(["systemctl", "start", "hitless"]).fails();
        // Well beyond the five failures that systemd allows by default.
        let mut failures = 0;
        host.wait_journal(&before, |entry| {
            failures += usize::from(entry.message().contains("status=78/CONFIG"));
            failures >= 8
        });
        let waiting = host.get_later(SHOP, "/");
        host.write(
            "/etc/hitless/services.d/shop.toml",
            "[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"127.0.0.1:3001\"]\n",
        );
        assert_eq!(waiting.join().unwrap().unwrap().status, 200);
    }
}
