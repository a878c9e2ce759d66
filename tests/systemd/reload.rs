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

    // Broke: ExecReload= repeated in the journal what the gateway had just written there.
    fn a_refusal_stands_in_the_journal_once(host: Host) {
        let before = host.journal_end();
        scene::break_configuration(&host);
        let _ = host.run(["systemctl", "reload", "hitless"]).fails();
        host.wait_journal(&before, |entry| entry.message().contains("Reload failed"));
        let said = host.journal_since(&before, "hitless");
        assert_eq!(said.iter().filter(|entry| entry.message().contains("configuration refused")).count(), 1);
        let said = host.run(["hitless", "reload"]).fails();
        assert!(said.stderr.contains("services.d/shop.toml:3"), "a person is told: {}", said.stderr);
    }

    // Broke: root's check accepted what the daemon then could not read, and a restart was an outage.
    fn a_file_that_only_root_can_read_is_refused_by_the_check_of_root_too(host: Host) {
        host.shell("cd /etc/hitless/services.d && sed s/shop/blog/ shop.toml >blog.toml && chmod 600 blog.toml").ok();
        let check = host.run(["hitless", "check"]).fails();
        assert!(check.stderr.contains("blog.toml: cannot read the file: permission denied"), "{}", check.stderr);
        let _ = host.run(["systemctl", "reload", "hitless"]).fails();
        // Somebody's draft is read with the rights of whoever checks it.
        host.shell("umask 077 && cp -r /etc/hitless /root/draft && hitless check /root/draft").ok();
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    // Broke: systemd made an empty folder in its place, and the reload served nothing from then on.
    fn a_configuration_folder_that_is_gone_is_no_empty_configuration(host: Host) {
        host.run(["mv", "/etc/hitless", "/etc/elsewhere"]).ok();
        let _ = host.run(["systemctl", "reload", "hitless"]).fails();
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    // Broke: the question went to the socket that only the next start opens.
    fn another_admin_socket_in_the_files_is_refused_with_its_remedy(host: Host) {
        host.write("/etc/hitless/hitless.toml", "[admin]\nsocket = \"/run/hitless/other.sock\"\n");
        let said = host.run(["hitless", "reload"]).fails().stderr;
        assert!(said.contains("admin: changes the admin sockets"), "{said}");
        assert!(said.ends_with("systemctl restart hitless\n"), "{said}");
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
