//! The package: installed, removed, purged, and installed where somebody else has the port.

use crate::lab;
use crate::on_both_releases;
use crate::scene;
use hitless::telemetry::event;

on_both_releases! {
    with scene::bare;

    fn an_installed_package_runs_answers_404_and_says_what_to_do_next(host: Host) {
        let said = host.install(&lab::package()).ok();
        assert!(!said.contains("hitless:"), "nothing to explain: {said}");
        for unit in ["hitless.socket", "hitless.service"] {
            assert_eq!(host.run(["systemctl", "is-active", unit]).ok(), "active");
            assert_eq!(host.run(["systemctl", "is-enabled", unit]).ok(), "enabled");
        }
        assert_eq!(host.get("anything.example", "/").status, 404);
        assert!(host.run(["hitless", "status"]).ok().contains("/etc/hitless/services.d"));
        assert!(host.show("hitless.service", "StatusText").contains("/etc/hitless/services.d"));
    }

    fn an_installed_package_has_its_user_its_directories_and_its_texts(host: Host) {
        host.install(&lab::package()).ok();
        let mode = |path: &str| host.run(["stat", "--format=%U %a", path]).ok();
        assert_eq!(mode("/var/lib/hitless"), "hitless 700");
        assert_eq!(mode("/run/hitless"), "hitless 755");
        assert_eq!(mode("/etc/hitless/services.d"), "root 755");
        assert_eq!(host.shell("ps -o user= -p $(systemctl show -P MainPID hitless)").ok(), "hitless");
        host.run(["journalctl", "--dump-catalog", event::READY]).ok();
        host.run(["test", "-s", "/etc/hitless/services.d/README"]).ok();
        // Not "exe", which the gateway is started as.
        let name = host.shell("cat /proc/$(pgrep -P $(systemctl show -P MainPID hitless))/comm").ok();
        assert!(name.starts_with("hitless"), "{name}");
        for text in [
            "man/man8/hitless.8.gz",
            "man/man5/hitless.toml.5.gz",
            "bash-completion/completions/hitless",
            "zsh/vendor-completions/_hitless",
            "fish/vendor_completions.d/hitless.fish",
        ] {
            host.run(["test", "-s", &format!("/usr/share/{text}")]).ok();
        }
    }

    fn a_busy_port_is_explained_and_does_not_fail_the_installation(host: Host) {
        let other = host.spawn(["python3", "-u", "-m", "http.server", "80"]);
        other.wait_for(|line| line.contains("port 80").then_some(()));

        let said = host.install(&lab::package()).ok();
        assert!(said.contains("port 80 is held by python3 (pid "), "{said}");
        assert!(said.contains("systemctl edit hitless.socket"), "{said}");
        assert_eq!(host.run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "hitless"]).ok(), "ii");

        // The remedy that it names.
        host.write("/etc/systemd/system/hitless.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream=8080\n");
        host.shell("systemctl daemon-reload && systemctl start hitless.socket hitless.service").ok();
        host.connect(8080).unwrap();
    }

    fn a_removed_package_closes_its_port_and_keeps_its_configuration(host: Host) {
        host.install(&lab::package()).ok();
        host.write("/etc/hitless/hitless.toml", "# mine\n");
        host.run(["dpkg", "--remove", "hitless"]).ok();
        assert!(host.connect(80).is_err());
        assert_eq!(host.run(["cat", "/etc/hitless/hitless.toml"]).ok(), "# mine");

        host.install(&lab::package()).ok();
        assert_eq!(host.run(["cat", "/etc/hitless/hitless.toml"]).ok(), "# mine");
        assert_eq!(host.get("anything.example", "/").status, 404);
    }

    fn a_purged_package_leaves_nothing_but_its_user(host: Host) {
        host.install(&lab::package()).ok();
        host.write("/etc/hitless/services.d/mine.toml", "# an unused service\n");
        host.write("/var/log/hitless/access.log", "a line\n");
        host.run(["rm", "/root/package.deb"]).ok();
        host.run(["dpkg", "--purge", "hitless"]).ok();
        let left = "find / -xdev ( -path /proc -o -path /sys ) -prune -o -iname *hitless* -print";
        assert_eq!(host.run(left.split(' ')).ok(), "");
        assert_eq!(host.run(["find", "/run", "-iname", "*hitless*"]).ok(), "");
        assert!(host.run(["getent", "passwd", "hitless"]).ok().contains("/usr/sbin/nologin"));
        assert_eq!(host.run(["systemctl", "--failed", "--no-legend"]).ok(), "");
    }

    fn a_purge_succeeds_where_the_logs_are_a_file_system_of_their_own(host: Host) {
        host.install(&lab::package()).ok();
        host.shell("mount -t tmpfs logs /var/log/hitless && echo line >/var/log/hitless/access.log").ok();
        host.run(["dpkg", "--purge", "hitless"]).ok();
        assert_eq!(host.run(["ls", "/var/log/hitless"]).ok(), "");
    }

    fn a_purge_leaves_the_services_of_other_packages(host: Host) {
        host.install(&lab::package()).ok();
        host.shell("mkdir -p /tmp/blog/DEBIAN /tmp/blog/etc/hitless/services.d && cd /tmp &&
            printf 'Package: blog\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@example.org>\\nDescription: b\\n' \
                >blog/DEBIAN/control &&
            printf '[service.blog]\\nendpoints = [\"127.0.0.1:3000\"]\\n' >blog/etc/hitless/services.d/blog.toml &&
            dpkg-deb --build blog && dpkg --install blog.deb && dpkg --purge hitless").ok();
        assert_eq!(host.run(["ls", "/etc/hitless/services.d"]).ok(), "blog.toml");
    }
}
