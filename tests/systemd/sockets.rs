//! Sockets by name: what systemd passes and what the configuration names must be the same.

use crate::lab::Host;
use crate::on_both_releases;
use crate::scene::{self, SHOP};

const EXTRA_SOCKET: &str = "[Socket]\nListenStream=8081\nFileDescriptorName=extra\nService=hitless.service\n";

/// A socket unit cannot be started while its service runs, so the service's start starts it.
fn add_extra_socket(host: &Host) {
    host.write("/etc/systemd/system/extra.socket", EXTRA_SOCKET);
    host.write(
        "/etc/systemd/system/hitless.service.d/extra.conf",
        "[Unit]\nWants=extra.socket\nAfter=extra.socket\n[Service]\nSockets=hitless.socket extra.socket\n",
    );
    host.run(["systemctl", "daemon-reload"]).ok();
}

/// What systemd and the daemon said about the failed start.
fn last_words(host: &Host) -> String {
    let entries = host.journal(["--unit", "hitless", "--lines=20"]);
    entries.iter().map(|entry| entry.message() + "\n").collect()
}

on_both_releases! {
    with scene::shop;

    fn a_socket_that_the_configuration_does_not_name_is_an_error_with_a_remedy(host: Host) {
        add_extra_socket(&host);

        let _ = host.run(["systemctl", "restart", "hitless"]).fails();

        let said = last_words(&host);
        assert!(said.contains("status=78/CONFIG"), "{said}");
        assert!(said.contains("extra") && said.contains("listener"), "{said}");

        let waiting = host.get_later(SHOP, "/");
        host.write("/etc/hitless/hitless.toml", "[listener.http]\n[listener.extra]\n");
        assert_eq!(waiting.join().unwrap().unwrap().status, 200, "the next attempt takes the mended file");
        host.connect(8081).unwrap();
    }

    fn a_listener_that_systemd_does_not_pass_is_an_error_with_a_remedy(host: Host) {
        host.write("/etc/hitless/hitless.toml", "[listener.http]\n[listener.extra]\n");

        let _ = host.run(["systemctl", "reload", "hitless"]).fails();
        assert_eq!(host.get(SHOP, "/").status, 200, "a reload changes nothing");
        host.run(["systemctl", "restart", "hitless"]).ok();
        assert_eq!(host.get(SHOP, "/").status, 200, "a restart goes on with what was served");
        host.run(["systemctl", "stop", "hitless.service"]).ok();
        let _ = host.run(["systemctl", "start", "hitless"]).fails();

        let said = last_words(&host);
        assert!(said.contains("status=78/CONFIG"), "{said}");
        assert!(said.contains("listener 'extra'") && said.contains("FileDescriptorName=extra"), "{said}");
    }

    fn sockets_of_one_name_are_one_listener(host: Host) {
        host.write("/etc/systemd/system/hitless.socket.d/more.conf", "[Socket]\nListenStream=8080\nListenStream=/run/front.sock\n");
        // Not `restart`: see the comment in hitless.socket.
        host.shell("systemctl daemon-reload && systemctl stop hitless.socket hitless.service").ok();
        // Whoever removes the service's temporary files for systemd 257 has the sockets open for a moment.
        host.wait_until("nobody listens", || {
            host.connect(80).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        host.run(["systemctl", "start", "hitless.socket", "hitless.service"]).ok();
        for way in ["http://127.0.0.1/", "http://[::1]:8080/", "--unix-socket /run/front.sock http://x/"] {
            let words = ["curl", "--silent", "--fail", "--header", "Host: shop.example"];
            host.run(words.into_iter().chain(way.split(' '))).ok();
        }
    }
}
