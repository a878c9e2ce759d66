//! Applications that restart, with real units: what systemd knows reaches the requests before the application is gone.

use crate::lab::{Entry, Host};
use crate::on_both_releases;
use crate::scene::{self, SHOP, SHOP_FILE};

const UNIT: &str = "sample@3001.service";

/// The shop knows its unit, which is away for two seconds when it is restarted.
fn with_unit(host: &Host) {
    scene::shop(host);
    host.write("/etc/systemd/system/sample@.service.d/away.conf", "[Service]\nExecStartPre=/bin/sleep 2\n");
    host.write(
        SHOP_FILE,
        "[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"127.0.0.1:3001\"]\nunit = \"sample@3001.service\"\n",
    );
    host.shell("systemctl daemon-reload && systemctl reload hitless").ok();
    host.wait_until("the unit is seen", || shop(host)["unit"]["state"] == "running");
}

/// What `hitless status` says of the shop.
fn shop(host: &Host) -> serde_json::Value {
    let status = host.run(["hitless", "status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
    status["services"][0].clone()
}

fn held(host: &Host) -> u64 {
    shop(host)["held"]["now"].as_u64().unwrap_or(0)
}

fn is_message(text: &'static str) -> impl Fn(&Entry) -> bool {
    move |entry| entry.message().contains(text)
}

on_both_releases! {
    with with_unit;

    fn an_attached_application_restarts_and_nobody_notices(host: Host) {
        let said = host.run(["hitless", "attach", UNIT]).ok();
        assert!(said.contains("is drained before it is stopped"), "{said}");
        let slow = host.get_later(SHOP, "/slow?ms=1500");
        let steady = host.steady(SHOP, "/", 8);

        host.run(["systemctl", "restart", UNIT]).ok();

        host.wait_until("those who waited go on", || held(&host) == 0);
        let tally = steady.stop();
        assert_eq!(tally.failed, Vec::<String>::new(), "of {}", tally.answered);
        assert_eq!(slow.join().unwrap().unwrap().status, 200, "it was answered before the signal");
        assert!(shop(&host)["held"]["total"].as_u64() > Some(0), "{}", shop(&host));
        assert_eq!(host.get(SHOP, "/").status, 200);
        let said = host.journal(["--unit=sample@3001.service"]);
        assert!(said.iter().any(is_message("drained shop: nothing is in flight")), "{said:#?}");
    }

    fn one_that_is_not_attached_is_waited_for_too(host: Host) {
        let steady = host.steady(SHOP, "/", 8);

        host.run(["systemctl", "restart", UNIT]).ok();

        host.wait_until("those who waited go on", || held(&host) == 0);
        let tally = steady.stop();
        assert_eq!(tally.failed, Vec::<String>::new(), "of {}", tally.answered);
        assert!(shop(&host)["held"]["total"].as_u64() > Some(0), "{}", shop(&host));
    }

    fn one_that_is_killed_is_waited_for_until_it_is_back(host: Host) {
        host.run(["systemctl", "kill", "--signal=KILL", UNIT]).ok();
        assert_eq!(host.get(SHOP, "/").status, 200, "after its own restart");
    }

    fn attach_and_detach_leave_the_unit_as_it_was(host: Host) {
        host.write("/etc/systemd/system/sample@.service.d/own.conf", "[Service]\nExecStop=/bin/echo its own, %i\n");
        host.run(["systemctl", "daemon-reload"]).ok();
        let before = host.run(["systemctl", "cat", UNIT]).ok();
        let stops = |host: &Host| host.show(UNIT, "ExecStop");
        let own = stops(&host);
        for unit in [UNIT, "sample@.service"] {
            host.run(["hitless", "attach", unit]).ok();
            host.run(["hitless", "attach", unit]).ok();
            let attached = stops(&host);
            let (ours, theirs) = (attached.find("hitless").unwrap(), attached.find("its own").unwrap());
            assert!(ours < theirs, "{attached}");
            assert!(!host.path("/etc/systemd/system").join(format!("{unit}.d/50-hitless.conf")).is_symlink());
            host.run(["hitless", "detach", unit]).ok();
            assert_eq!(stops(&host).split(" ; start_time").next(), own.split(" ; start_time").next());
        }
        assert_eq!(host.run(["systemctl", "cat", UNIT]).ok(), before);
        assert_eq!(host.run(["hitless", "detach", UNIT]).status, 1);
        assert_eq!(host.run(["hitless", "attach", "nobody.service"]).status, 1);
    }

    fn an_attached_application_stops_also_when_hitless_does_not_run(host: Host) {
        host.run(["hitless", "attach", UNIT]).ok();
        host.run(["systemctl", "stop", "hitless.socket", "hitless.service"]).ok();
        host.run(["systemctl", "restart", UNIT]).ok();
        assert_eq!(host.show(UNIT, "Result"), "success");
        host.run(["systemctl", "start", "hitless.socket", "hitless.service"]).ok();
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    fn requests_are_held_and_released_by_hand_over_a_restart_of_hitless(host: Host) {
        host.run(["hitless", "hold", "shop"]).ok();
        let waiting = host.get_later(SHOP, "/");
        host.wait_until("it waits", || held(&host) == 1);
        let status = host.run(["hitless", "status"]).ok();
        assert!(status.contains("held: 1 requests wait") && status.contains("held by the operator"), "{status}");
        host.run(["hitless", "release", "shop"]).ok();
        assert_eq!(waiting.join().unwrap().unwrap().status, 200);

        host.run(["hitless", "hold", "shop"]).ok();
        host.run(["systemctl", "restart", "hitless"]).ok();
        let waiting = host.get_later(SHOP, "/");
        host.wait_until("it waits after a restart too", || held(&host) == 1);
        host.run(["hitless", "upgrade"]).ok();
        let later = host.get_later(SHOP, "/");
        host.wait_until("the next one waits at the next gateway", || held(&host) == 1);
        host.run(["hitless", "release", "shop"]).ok();
        assert_eq!(waiting.join().unwrap().unwrap().status, 200, "at the outgoing gateway");
        assert_eq!(later.join().unwrap().unwrap().status, 200);
        assert_eq!(host.run(["hitless", "hold", "nobody"]).status, 1);
    }

    fn restart_tells_its_steps_and_releases_whatever_happens(host: Host) {
        let steady = host.steady(SHOP, "/", 4);
        let said = host.run(["hitless", "restart", "shop", "--json"]).ok();
        let steps: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
        assert_eq!(names, ["holding", "drained", "restarted", "released"]);
        host.wait_until("those who waited go on", || held(&host) == 0);
        let tally = steady.stop();
        assert_eq!(tally.failed, Vec::<String>::new(), "of {}", tally.answered);

        host.write("/etc/systemd/system/sample@.service.d/broken.conf", "[Service]\nExecStartPre=/bin/false\n");
        host.run(["systemctl", "daemon-reload"]).ok();
        assert_eq!(host.run(["hitless", "restart", "shop"]).status, 1);
        assert!(!host.path("/run/hitless/held/shop").exists(), "released");
    }

    fn a_unit_that_nobody_uses_is_stopped_and_started_by_the_next_request(host: Host) {
        let denied = host.journal_end();
        host.shell(&format!("echo 'idle-stop = \"2s\"' >>{SHOP_FILE} && systemctl reload hitless")).ok();
        host.wait_journal(&denied, is_message("hitless polkit"));
        let rules = "mkdir -p /etc/polkit-1/rules.d && hitless polkit >/etc/polkit-1/rules.d/50-hitless.rules";
        if host.shell(&format!("systemctl cat polkit.service && {rules}")).status != 0 {
            // Without polkit nobody but root may; that was shown.
            return;
        }
        host.wait_until("it is stopped", || host.show(UNIT, "ActiveState") == "inactive");
        assert_eq!(host.get(SHOP, "/").status, 200);
        assert_eq!(host.show(UNIT, "ActiveState"), "active");
    }
}
