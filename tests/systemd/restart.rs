//! `systemctl restart`: systemd keeps the connections for the next start.

use crate::on_both_releases;
use crate::pki::Authority;
use crate::scene::{self, Gate, Kept, SHOP};

on_both_releases! {
    with scene::shop;

    fn a_restart_keeps_idle_connections_and_tunnels(host: Host) {
        let (mut idle, mut tunnel) = (Kept::open(&host), Kept::websocket(&host));
        let mut late = Kept::open(&host);
        assert_eq!(idle.get("/"), 200);
        for round in 0..3 {
            tunnel.echoes(&format!("before restart {round}"));
            let keeper = scene::keeper(&host);
            let slow = host.get_later(SHOP, "/slow?ms=500");

            host.run(["systemctl", "restart", "hitless"]).ok();

            assert_ne!(scene::keeper(&host), keeper);
            assert_eq!(slow.join().unwrap().unwrap().status, 200);
            assert_eq!(idle.get("/"), 200, "on the same connection");
            tunnel.echoes(&format!("after restart {round}"));
            // The store is empty again, once everything is adopted.
            host.wait_until("the fd store is empty", || host.show("hitless.service", "NFileDescriptorStore") == "0");
        }
        assert_eq!(late.get("/"), 200, "its first request");
        scene::ended_well(&host);
    }

    fn a_restart_waits_for_no_request_in_flight_and_neither_does_the_next_one(host: Host) {
        let gate = Gate::of(&host);
        let mut idle = Kept::open(&host);
        assert_eq!(idle.get("/"), 200);
        let mut slow = gate.asked(&host);
        let outgoing = scene::gateway(&host).unwrap();
        for _ in 0..2 {
            let keeper = scene::keeper(&host);
            host.run(["systemctl", "restart", "hitless"]).ok();
            assert_ne!(scene::keeper(&host), keeper);
            assert_eq!(host.get(SHOP, "/").status, 200, "a newcomer");
            assert_eq!(idle.get("/"), 200, "on the same connection");
            assert_eq!(host.run(["cat", &format!("/proc/{outgoing}/comm")]).ok(), "(hitless)", "it has its request yet");
            let status = host.run(["hitless", "status"]).ok();
            assert!(status.contains(&scene::gateway(&host).unwrap()), "{status}");
        }
        gate.opens(&host);
        let answer = slow.answer();
        assert_eq!((answer.status, answer.field("connection")), (200, ""));
        assert_eq!(slow.get("/"), 200, "on the same connection");
        host.wait_until("its gateway is gone", || host.run(["test", "-d", &format!("/proc/{outgoing}")]).status != 0);
        host.wait_until("the fd store is empty", || host.show("hitless.service", "NFileDescriptorStore") == "0");
        let ledger = host.run(["hitless", "ledger"]).ok();
        assert!(ledger.contains("gateway 3: ") && ledger.contains("every request is accounted for"), "{ledger}");
        scene::ended_well(&host);
    }

    fn a_stop_after_a_restart_leaves_the_request_in_flight_to_the_gateway_that_has_it(host: Host) {
        let gate = Gate::of(&host);
        let mut slow = gate.asked(&host);
        let outgoing = scene::gateway(&host).unwrap();
        host.run(["systemctl", "restart", "hitless"]).ok();
        host.run(["systemctl", "stop", "hitless.socket", "hitless.service"]).ok();
        assert!(host.connect(80).is_err(), "nobody listens");
        host.run(["systemctl", "start", "hitless.socket"]).ok();
        assert_eq!(host.get(SHOP, "/").status, 200, "and nobody holds the port");
        gate.opens(&host);
        assert_eq!(slow.answer().status, 200);
        host.wait_until("its gateway is gone", || host.run(["test", "-d", &format!("/proc/{outgoing}")]).status != 0);
        scene::ended_well(&host);
    }

    // As before there was this way: the unit would kill who stays.
    fn a_restart_of_a_unit_that_kills_every_process_waits_for_the_request_in_flight(host: Host) {
        scene::edit_unit(&host, "KillMode=mixed");
        let slow = host.get_later(SHOP, "/slow?ms=1500");
        host.run(["systemctl", "restart", "hitless"]).ok();
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
        scene::ended_well(&host);
    }

    // Broke: it was an outage until somebody mended the file.
    fn a_restart_over_a_refused_configuration_goes_on_with_what_was_served(host: Host) {
        let (mut idle, mut tunnel) = (Kept::open(&host), Kept::websocket(&host));
        assert_eq!(idle.get("/"), 200);
        tunnel.echoes("before");
        scene::break_configuration(&host);
        for _ in 0..2 {
            host.run(["systemctl", "restart", "hitless"]).ok();
            let status = host.run(["systemctl", "status", "--lines=0", "--full", "hitless"]).ok();
            assert!(status.contains("configuration refused") && status.contains("services.d/shop.toml:"), "{status}");
            assert_eq!(idle.get("/"), 200, "on the same connection");
            tunnel.echoes("after");
        }
        // Nobody is kept over a stop, and so is nothing else.
        host.run(["systemctl", "stop", "hitless.socket", "hitless.service"]).ok();
        let _ = host.run(["systemctl", "start", "hitless"]).fails();
    }

    fn a_restart_over_a_broken_pair_goes_on_with_what_was_shown(host: Host) {
        let authority = Authority::new("restart");
        let pair = authority.leaf(&["shop.example"]).pair();
        host.write("/root/ca.pem", &authority.pem());
        host.write("/etc/hitless/tls/shop.pem", &pair.chain);
        host.write("/etc/hitless/tls/shop.key", &pair.key);
        host.write(
            scene::SHOP_FILE,
            "[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"127.0.0.1:3001\"]\n\
             certificates = [{ chain = \"tls/shop.pem\", key = \"tls/shop.key\" }]\n",
        );
        host.shell("chown -R hitless /etc/hitless/tls && chmod 400 /etc/hitless/tls/*").ok();
        host.shell("systemctl enable hitless-https.socket && systemctl restart hitless").ok();
        let ask = "curl --silent --show-error --fail --cacert /root/ca.pem --resolve shop.example:443:127.0.0.1 https://shop.example/";
        host.shell(ask).ok();
        host.shell("head -c 200 /etc/hitless/tls/shop.pem >/root/half && cat /root/half >/etc/hitless/tls/shop.pem").ok();
        for _ in 0..2 {
            host.run(["systemctl", "restart", "hitless"]).ok();
            host.shell(ask).ok();
        }
        host.run(["systemctl", "stop", "hitless.socket", "hitless.service"]).ok();
        let _ = host.run(["systemctl", "start", "hitless"]).fails();
    }

    fn a_restart_without_a_store_drains(host: Host) {
        scene::edit_unit(&host, "FileDescriptorStoreMax=0");
        let mut idle = Kept::open(&host);
        assert_eq!(idle.get("/"), 200);
        let slow = host.get_later(SHOP, "/slow?ms=1000");
        host.run(["systemctl", "restart", "hitless"]).ok();
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
        assert_eq!(host.get(SHOP, "/").status, 200);
        scene::ended_well(&host);
    }
}
