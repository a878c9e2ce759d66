//! An upgrade of the package while requests are served.

use crate::lab::{self, Host};
use crate::on_both_releases;
use crate::scene::{self, SHOP};
use std::path::Path;

/// The same package under the next version's number.
fn newer_package(host: &Host) {
    host.put(&lab::package(), "/root/old.deb");
    host.shell(
        "cd /root && dpkg-deb --raw-extract old.deb new &&
         sed -i 's/^Version: .*/&+next/' new/DEBIAN/control && dpkg-deb -Znone --build new new.deb",
    )
    .ok();
}

on_both_releases! {
    with scene::shop;

    fn an_upgrade_loses_no_request_and_never_touches_the_socket(host: Host) {
        newer_package(&host);
        let keeper = scene::keeper(&host);
        let opened = host.show("hitless.socket", "ActiveEnterTimestampMonotonic");
        let steady = host.steady(SHOP, "/", 4);
        let slow = host.get_later(SHOP, "/slow?ms=1500");

        host.run(["dpkg", "--install", "/root/new.deb"]).ok();

        let tally = steady.stop();
        assert_eq!(tally.failed, Vec::<String>::new(), "of {}", tally.answered);
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
        assert_ne!(scene::keeper(&host), keeper, "the new binary runs");
        assert_eq!(host.show("hitless.socket", "ActiveEnterTimestampMonotonic"), opened);
        scene::ended_well(&host);
    }

    fn an_upgrade_over_a_broken_configuration_lets_the_old_version_serve_on(host: Host) {
        newer_package(&host);
        let keeper = scene::keeper(&host);
        scene::break_configuration(&host);

        let said = host.run(["dpkg", "--install", "/root/new.deb"]).ok();

        assert!(said.contains("services.d/shop.toml:3"), "{said}");
        assert_eq!(scene::keeper(&host), keeper);
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    // Broke: the maintainer script checked as root, restarted, and the port went unserved.
    fn an_upgrade_over_a_file_that_only_root_can_read_lets_the_old_version_serve_on(host: Host) {
        newer_package(&host);
        let keeper = scene::keeper(&host);
        host.shell("cd /etc/hitless/services.d && sed s/shop/blog/ shop.toml >blog.toml && chmod 600 blog.toml").ok();

        let said = host.run(["dpkg", "--install", "/root/new.deb"]).ok();

        assert!(said.contains("services.d/blog.toml: cannot read the file"), "{said}");
        assert_eq!(scene::keeper(&host), keeper);
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    fn an_upgrade_keeps_what_the_operator_wrote(host: Host) {
        newer_package(&host);
        host.write("/etc/hitless/hitless.toml", "[drain]\ndeadline = \"7s\"\n");
        host.run(["dpkg", "--force-confold", "--install", "/root/new.deb"]).ok();
        assert!(host.run(["cat", "/etc/hitless/hitless.toml"]).ok().contains("7s"));
        assert!(Path::new(&host.path("/etc/hitless/services.d/shop.toml")).exists());
    }
}
