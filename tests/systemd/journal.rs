//! What the journal says about requests, and that nothing of it is lost or in the way.

use crate::on_both_releases;
use crate::scene::{self, SHOP};
use hitless::telemetry::event;

on_both_releases! {
    with scene::shop;

    fn a_failed_request_is_in_the_journal_with_its_fields(host: Host) {
        // Otherwise it would be waited for.
        host.write(
            scene::SHOP_FILE,
            "[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"127.0.0.1:3001\"]\nhold.age = \"off\"\n",
        );
        host.run(["systemctl", "reload", "hitless"]).ok();
        host.run(["systemctl", "stop", "sample@3001"]).ok();
        let before = host.journal_end();
        let answer = host.get(SHOP, "/cart?item=7");
        assert_eq!(answer.status, 502);

        let request_id = answer.field("x-request-id");
        let entry = host.wait_journal(&before, |entry| entry.field("HITLESS_REQUEST_ID") == request_id);

        for (name, value) in [
            ("_SYSTEMD_UNIT", "hitless.service"),
            ("SYSLOG_IDENTIFIER", "hitless"),
            ("HITLESS_SERVICE", "shop"),
            ("HITLESS_METHOD", "GET"),
            ("HITLESS_AUTHORITY", "shop.example"),
            ("HITLESS_PATH", "/cart?item=7"),
            ("HITLESS_PROTOCOL", "HTTP/1.1"),
            ("HITLESS_CLIENT", "127.0.0.1"),
            ("HITLESS_ENDPOINT", "127.0.0.1:3001"),
            ("HITLESS_STATUS", "502"),
            ("HITLESS_FAULT", "upstream"),
            ("HITLESS_PHASE", "connect"),
            ("HITLESS_ERROR", "cannot connect to the endpoint: connection refused"),
            ("PRIORITY", "4"),
        ] {
            assert_eq!(entry.field(name), value, "{name} in {entry:?}");
        }
        assert!(entry.field("HITLESS_ERROR").contains("refused"), "{entry:?}");
        assert!(entry.message().contains("refused"), "{entry:?}");
        for name in ["HITLESS_TRACE_ID", "HITLESS_ROUTE", "HITLESS_DURATION_US"] {
            assert!(!entry.field(name).is_empty(), "{name} in {entry:?}");
        }
    }

    fn the_access_log_loses_nothing_to_the_rate_limit_of_the_journal(host: Host) {
        scene::configure(&host, "[log]\naccess = \"all\"\n");
        let before = host.journal_end();
        let wanted = 12_000;
        let tally = host.ask(SHOP, "/", 4, wanted);
        assert_eq!(tally.answered, wanted);

        let mut told = 0;
        host.wait_journal(&before, |entry| {
            assert_ne!(entry.field("MESSAGE_ID"), event::LOGS_DROPPED, "{}", entry.message());
            told += u64::from(entry.field("HITLESS_STATUS") == "200");
            told == wanted
        });
    }

    fn a_stuck_journal_never_holds_up_a_request(host: Host) {
        scene::configure(&host, "[log]\naccess = \"all\"\n");
        host.shell("kill -STOP $(pidof systemd-journald)").ok();
        let tally = host.ask(SHOP, "/", 4, 2_000);
        host.shell("kill -CONT $(pidof systemd-journald)").ok();
        assert_eq!((tally.answered, tally.failed), (2_000, vec![]));
        assert!(tally.worst.as_secs() < 5, "{:?}", tally.worst);
    }

    fn an_access_log_in_a_file_goes_on_after_logrotate(host: Host) {
        let file = "/var/log/hitless/access.log";
        scene::configure(&host, &format!("[log]\naccess = \"all\"\naccess-to = \"file:{file}\"\n"));
        host.get(SHOP, "/before");
        host.wait_until("the first line", || host.run(["grep", "-q", "/before", file]).status == 0);

        host.run(["logrotate", "--force", "/etc/logrotate.d/hitless"]).ok();

        host.get(SHOP, "/after");
        host.wait_until("a line in the new file", || host.run(["grep", "-q", "/after", file]).status == 0);
        host.run(["grep", "-q", "/before", &format!("{file}.1")]).ok();
    }

    fn the_catalog_explains_the_lifecycle(host: Host) {
        let told = host.run(["journalctl", "--unit", "hitless", "--catalog", "--no-pager"]).ok();
        assert!(told.contains("░░ Defined-By: hitless") || told.contains("-- Defined-By: hitless"), "{told}");
    }
}
