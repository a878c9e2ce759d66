//! Each flood for a moment: its offenders are ended, memory is bounded, and the calm client loses nothing.
//!
//! Promises: bounded by count; waits for the ends, for the answers of the calm client, and never for time. How slow the
//! calm client became is judged by `make floods`, on a machine that does nothing else.

#[allow(dead_code, reason = "the command line uses more of it")]
#[path = "../examples/flood/engine/mod.rs"]
mod engine;

use std::path::Path;
use std::time::Duration;

use engine::{Bounds, KINDS};

/// Short, so that what is ended by time is ended soon.
const LIMITS: &str = "head-time = \"500ms\"\nkeep-alive = \"500ms\"\ncontent-rate = \"1KiB\"\n\
    [defaults.timeout]\nidle = \"2s\"\n[tls]\nhandshake-time = \"500ms\"";
/// Far more than it takes to be ended; a gateway that ends nobody fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

fn holds(name: &str) {
    let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
    let limits = if needs_limits(name) { LIMITS } else { "" };
    let time = if kind.must_end { PATIENCE } else { Duration::from_secs(2) };
    let bounds = Bounds { time, units: 200_000, returns: false, calm: 50 };
    let report = engine::run(kind, Path::new(env!("CARGO_BIN_EXE_hitless")), limits, bounds).unwrap();
    let mut faults = report.faults();
    if kind.must_end && report.ended < report.connections {
        faults.push(format!("{} of {} offenders were ended", report.ended, report.connections));
    }
    assert!(faults.is_empty(), "{faults:?}: {report:?}");
}

/// Whether it is ended by a time that is long unless it is configured.
fn needs_limits(name: &str) -> bool {
    const SLOW: [&str; 8] = [
        "slowloris-head",
        "slow-body",
        "slow-reader",
        "slow-reader-h2",
        "h2-window-stall",
        "idle-hold",
        "tls-stalled",
        "tls-dribble",
    ];
    SLOW.contains(&name)
}

macro_rules! floods {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { holds($name); })*

        #[test]
        fn every_kind_has_a_test() {
            assert!(KINDS.iter().map(|kind| kind.name).eq([$($name),*]));
        }
    };
}

floods! {
    a_slow_head_is_ended: "slowloris-head",
    a_slow_content_is_ended: "slow-body",
    a_client_that_does_not_read_is_ended: "slow-reader",
    a_client_that_hardly_opens_its_windows_is_ended: "slow-reader-h2",
    a_client_that_never_opens_its_windows_is_ended: "h2-window-stall",
    rapid_resets_are_ended: "rapid-reset",
    resets_that_the_gateway_is_made_to_send_are_ended: "made-you-reset",
    a_field_block_without_end_is_ended: "continuation",
    a_field_block_of_nothing_is_ended: "empty-continuation",
    empty_data_is_ended: "empty-data",
    empty_headers_are_ended: "empty-headers",
    pings_are_ended: "ping",
    settings_are_ended: "settings",
    priorities_are_ended: "priority",
    window_updates_are_ended: "window-update",
    a_compression_bomb_is_ended: "hpack-bomb",
    table_size_updates_are_ended: "hpack-resize",
    churn_is_borne: "churn",
    pipelined_requests_whose_answers_are_not_read_are_borne: "pipelining",
    chunks_of_a_byte_are_borne: "chunk-flood",
    idle_connections_are_ended: "idle-hold",
    handshakes_that_stop_are_ended: "tls-stalled",
    a_slow_client_hello_is_ended: "tls-dribble",
    handshakes_without_end_are_borne: "tls-handshake",
    renegotiation_is_ended: "tls-renegotiation",
    key_updates_are_ended: "tls-key-update",
    empty_records_are_ended: "tls-empty",
}
