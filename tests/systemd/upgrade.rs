//! An upgrade of the package while requests are served.

use crate::lab::{self, Host};
use crate::on_both_releases;
use crate::scene::{self, Kept, SHOP};
use std::path::Path;

/// The same package under the next version's number. Its program says the same version, but is another file.
fn newer_package(host: &Host) {
    host.put(&lab::package(), "/root/old.deb");
    host.shell(
        "cd /root && dpkg-deb --raw-extract old.deb new &&
         sed -i 's/^Version: .*/&+next/' new/DEBIAN/control && dpkg-deb -Znone --build new new.deb",
    )
    .ok();
}

/// A script in the newer package, with the program beside it.
fn instead_of_the_program(host: &Host, words: &str) {
    host.shell("cd /root/new/usr/sbin && mv hitless hitless.real").ok();
    host.write("/root/new/usr/sbin/hitless", &format!("#!/bin/sh\n{words}\n"));
    host.shell("cd /root && chmod 755 new/usr/sbin/hitless && dpkg-deb -Znone --build new new.deb").ok();
}

/// The file of the program that a process runs, and of the one that is installed.
fn runs_what_is_installed(host: &Host, pid: &str) -> bool {
    let number = |path: &str| host.run(["stat", "--dereference", "--format=%d:%i", path]).ok();
    number(&format!("/proc/{pid}/exe")) == number("/usr/sbin/hitless")
}

on_both_releases! {
    with scene::shop;

    fn an_upgrade_keeps_every_connection_and_never_touches_the_socket(host: Host) {
        newer_package(&host);
        scene::configure(&host, "[upgrade]\nprobation = \"1s\"\n");
        let (keeper, gateway) = (scene::keeper(&host), scene::gateway(&host));
        let opened = host.show("hitless.socket", "ActiveEnterTimestampMonotonic");
        let (mut idle, mut tunnel) = (Kept::open(&host), Kept::websocket(&host));
        assert_eq!(idle.get("/"), 200);
        tunnel.echoes("before");
        let steady = host.steady(SHOP, "/", 4);
        let slow = host.get_later(SHOP, "/slow?ms=1500");

        host.run(["dpkg", "--force-confold", "--install", "/root/new.deb"]).ok();

        let tally = steady.stop();
        assert_eq!(tally.failed, Vec::<String>::new(), "of {}", tally.answered);
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
        assert_eq!(idle.get("/"), 200, "on the same connection");
        tunnel.echoes("after");
        assert_eq!(scene::keeper(&host), keeper, "systemd knows the same process");
        host.wait_until("the keeper is the new program", || runs_what_is_installed(&host, &keeper));
        host.wait_until("one gateway is left", || host.run(["pgrep", "--parent", &keeper]).stdout.lines().count() == 1);
        assert_ne!(scene::gateway(&host), gateway);
        assert_eq!(host.show("hitless.socket", "ActiveEnterTimestampMonotonic"), opened);
        assert_eq!(host.show("hitless.service", "NRestarts"), "0");
        scene::ended_well(&host);
    }

    fn a_package_with_a_program_that_does_not_run_is_installed_and_changes_nothing(host: Host) {
        newer_package(&host);
        // What is run by the maintainer script works, what is to take over does not.
        let words = "case $1 in check | reload) exec /usr/sbin/hitless.real \"$@\" ;; *) exit 1 ;; esac";
        instead_of_the_program(&host, words);
        let (keeper, gateway) = (scene::keeper(&host), scene::gateway(&host));

        let said = host.run(["dpkg", "--install", "/root/new.deb"]).ok();

        assert!(said.contains("could not take over, so the previous version serves on"), "{said}");
        assert!(said.contains("its self-test exited with code 1"), "{said}");
        assert_eq!((scene::keeper(&host), scene::gateway(&host)), (keeper, gateway));
        assert_eq!(host.get(SHOP, "/").status, 200);
    }

    fn a_package_that_speaks_another_language_is_restarted_and_keeps_connections(host: Host) {
        newer_package(&host);
        let mut idle = Kept::open(&host);
        assert_eq!(idle.get("/"), 200);
        let versions = r#"{"version":"9","control":99,"record":1,"state":1}"#;
        let words = format!(
            "case $1 in self-test) echo '{versions}' ;; *) exec /usr/sbin/hitless.real \"$@\" ;; esac"
        );
        instead_of_the_program(&host, &words);
        let keeper = scene::keeper(&host);

        let said = host.run(["dpkg", "--install", "/root/new.deb"]).ok();

        assert!(said.contains("cannot speak with each other: restarting"), "{said}");
        assert_ne!(scene::keeper(&host), keeper);
        assert_eq!(idle.get("/"), 200, "on the same connection");
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
