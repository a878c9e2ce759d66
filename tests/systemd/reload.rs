//! `systemctl reload`: its verdict, and what is left after a refusal.

use crate::on_both_releases;
use crate::scene::{self, SHOP};
use hitless::telemetry::event;

on_both_releases! {
    with scene::shop;

    fn a_broken_reload_exits_non_zero_is_explained_and_changes_nothing(host: Host) {
        let (keeper, gateway) = (scene::keeper(&host), scene::gateway(&host));
        let before = host.journal_end();
        scene::break_configuration(&host);

        let reload = host.run(["systemctl", "reload", "hitless"]).fails();

        assert!(reload.stderr.contains("hitless"), "{}", reload.stderr);
        let status = host.run(["systemctl", "status", "--lines=0", "--full", "hitless"]).ok();
        assert!(status.contains("services.d/shop.toml:"), "{status}");
        assert!(status.contains("active (running)"), "{status}");
        let refused = host.wait_journal(&before, |entry| entry.field("MESSAGE_ID") == event::RELOAD_REFUSED);
        assert!(refused.message().contains("endpoints"), "names what was meant: {}", refused.message());
        assert_eq!((scene::keeper(&host), scene::gateway(&host)), (keeper, gateway));
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    fn a_mended_configuration_is_taken_after_a_refusal(host: Host) {
        scene::break_configuration(&host);
        let _ = host.run(["systemctl", "reload", "hitless"]).fails();
        let file = "[service.blog]\nhosts = [\"blog.example\"]\nendpoints = [\"127.0.0.1:3001\"]\n";
        host.write("/etc/hitless/services.d/shop.toml", file);

        host.run(["systemctl", "reload", "hitless"]).ok();

        assert_eq!(host.get("blog.example", "/").status, 200);
        assert_eq!(host.get(SHOP, "/").status, 421);
        assert!(host.show("hitless.service", "StatusText").starts_with("serving 1 service"));
    }

    fn a_sighup_reloads_too(host: Host) {
        let before = host.journal_end();
        host.run(["systemctl", "kill", "--kill-whom=main", "--signal=HUP", "hitless"]).ok();
        host.wait_journal(&before, |entry| entry.field("MESSAGE_ID") == event::RELOADED);
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    fn reloads_lose_no_request(host: Host) {
        let steady = host.steady(SHOP, "/", 4);
        for _ in 0..20 {
            host.run(["systemctl", "reload", "hitless"]).ok();
        }
        let tally = steady.stop();
        assert_eq!(tally.failed, Vec::<String>::new(), "of {}", tally.answered);
    }
}
