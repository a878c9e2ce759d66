//! The stable names of lifecycle events: 128-bit ids that `journalctl MESSAGE_ID=` finds.
//!
//! Promises: an id never changes its meaning and is never used again; each has a text in
//! `systemd/usr/lib/systemd/catalog/hitless.catalog` (shown by `journalctl -x`).
//! Written as `tracing::info!(message_id = event::READY, "serving 3 services on http")`.
//! Must not know: who raises them.

/// A process of hitless began its work.
pub const STARTED: &str = "8eb7b29cfdf61974ace7a4e3002f3cc4";
/// Every listener accepts.
pub const READY: &str = "7c364b26f9f4b2f8fd996fcdd9db41ec";
/// A new generation serves.
pub const RELOADED: &str = "00f6244cb76ad294f882894780b38556";
/// A configuration was refused; the old generation serves on.
pub const RELOAD_REFUSED: &str = "4fccc1d7244c6b0ef84f527c53ba239d";
/// No new connections; those in flight are finished.
pub const DRAINING: &str = "0d86496cd38364e7f435fbe61257cea2";
/// Nothing is in flight any more.
pub const DRAINED: &str = "2ec3107ed3043e338f210971c61ff2fd";
/// A request or tunnel was cut at the drain's deadline.
pub const CUT: &str = "02c4d13f3086c86b32fccad493ce9fb9";
/// The gateway process ended without having been told to.
pub const GATEWAY_DIED: &str = "d3c873db04f38ceb985c98851d806db8";
/// Another gateway process serves in the place of one that died.
pub const GATEWAY_REPLACED: &str = "65adfe42eb0b06b13919f56e12e3aa26";
/// A gateway of another program serves, and is watched.
pub const UPGRADED: &str = "7a6ef6d63ddc4c9b866bbd5ae58d92fe";
/// Another program could not take over; everything is as it was.
pub const UPGRADE_REFUSED: &str = "3d73918bf1b042d18cf0792fae97ba25";
/// A gateway of another program served and died on probation; the old program serves again.
pub const UPGRADE_UNDONE: &str = "f173531de13b4425af52d80876e270db";
/// A process of hitless ended as it was told.
pub const STOPPED: &str = "96b57d5367d5891f51fc765e77bdde45";
/// The configured drain does not fit into the unit's `TimeoutStopSec=`.
pub const DEADLINE_CONFLICT: &str = "cfd5198d421fa61d558400cae5c9e972";
/// Log lines were dropped because their reader was too slow.
pub const LOGS_DROPPED: &str = "00c1eb0704da8e1e3f3aa13be4144060";
/// A drain or a handover is over: what moved, what was finished, what was cut.
pub const TRANSITION: &str = "9b15eda0872e3f0789491e412400725c";
/// The gateway process gives its connections to another one, or keeps them for the next start.
pub const HANDING_OVER: &str = "e0b1e87ad42e4b46a8c5e0dd79e4372e";
/// Nothing is left in the gateway process that has handed over.
pub const HANDED_OVER: &str = "9798382462dd47babc598476f81df031";
/// The gateway process has taken over connections of another one.
pub const ADOPTED: &str = "69019115d6994dedacfb792a2888ad14";
/// The other process of a handover is gone: the gateway serves on.
pub const TAKEN_BACK: &str = "b580e41a9e844f7f86cc00f312189400";
/// A changed certificate is shown from now on.
pub const CERTIFICATE_TAKEN: &str = "4b47a595a3d2461095ff76b6a2fcc1ff";
/// A changed certificate cannot be used; the one before it is shown.
pub const CERTIFICATE_REFUSED: &str = "23cea30dca1444f2932f29e300715aff";
/// An endpoint answers questions about its health as it should.
pub const ENDPOINT_HEALTHY: &str = "25f00a4dc35b1113e952d79f79c47370";
/// An endpoint has failed to answer questions about its health, and gets no requests.
pub const ENDPOINT_UNHEALTHY: &str = "a0695f36244aafa2ce75f3804c1ede62";
/// The breaker of an endpoint, or of a service, opened, is tried, or closed.
pub const BREAKER: &str = "2ec98dc2bf9a19be9d0292259a3bcd51";

/// All of them, by name.
pub const ALL: [(&str, &str); 25] = [
    ("started", STARTED),
    ("ready", READY),
    ("reloaded", RELOADED),
    ("reload_refused", RELOAD_REFUSED),
    ("draining", DRAINING),
    ("drained", DRAINED),
    ("cut", CUT),
    ("gateway_died", GATEWAY_DIED),
    ("gateway_replaced", GATEWAY_REPLACED),
    ("upgraded", UPGRADED),
    ("upgrade_refused", UPGRADE_REFUSED),
    ("upgrade_undone", UPGRADE_UNDONE),
    ("stopped", STOPPED),
    ("deadline_conflict", DEADLINE_CONFLICT),
    ("logs_dropped", LOGS_DROPPED),
    ("transition", TRANSITION),
    ("handing_over", HANDING_OVER),
    ("handed_over", HANDED_OVER),
    ("adopted", ADOPTED),
    ("taken_back", TAKEN_BACK),
    ("certificate_taken", CERTIFICATE_TAKEN),
    ("certificate_refused", CERTIFICATE_REFUSED),
    ("endpoint_healthy", ENDPOINT_HEALTHY),
    ("endpoint_unhealthy", ENDPOINT_UNHEALTHY),
    ("breaker", BREAKER),
];

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOG: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/usr/lib/systemd/catalog/hitless.catalog"));

    #[test]
    fn ids_are_128_bits_in_lower_case_hex_and_differ() {
        for (name, id) in ALL {
            assert_eq!(id.len(), 32, "{name}");
            assert!(id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{name}");
            assert_eq!(ALL.iter().filter(|(_, other)| *other == id).count(), 1, "{name}");
        }
    }

    #[test]
    fn every_event_has_a_catalog_text_and_every_catalog_text_an_event() {
        let told: Vec<&str> = CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let ids: Vec<&str> = ALL.iter().map(|(_, id)| *id).collect();
        assert_eq!(told, ids, "in the same order");
        assert_eq!(CATALOG.matches("\nSubject: ").count(), ALL.len());
        assert_eq!(CATALOG.matches("\nDefined-By: hitless\n").count(), ALL.len());
    }
}
