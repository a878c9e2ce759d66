//! `systemctl restart`: systemd keeps the connections for the next start.

use crate::on_both_releases;
use crate::scene::{self, Kept, SHOP};

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
