//! What systemd gives and wants: sockets, notifications, the watchdog, the unit.
