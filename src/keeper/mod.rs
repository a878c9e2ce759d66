//! The process that systemd knows: owns the sockets, spawns and watches the gateway, reports for it.
