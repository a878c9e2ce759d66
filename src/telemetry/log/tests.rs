//! What the log promises, on a journald and a stderr of our own.

use std::io::{BufRead, BufReader, PipeReader};

use tracing::subscriber::with_default;
use tracing::{debug, error, info, warn};

use super::*;
use crate::telemetry::journal::tests::FakeJournald;
use crate::telemetry::line::tests::{fields, only};

const LIMIT: Duration = Duration::from_secs(20);

fn to(journald: &FakeJournald, level: LogLevel) -> (Handle, Events) {
    open("gateway", level, Output::Journal(journald.path.clone()))
}

fn lines(form: fn(OwnedFd) -> Output) -> (Handle, Events, BufReader<PipeReader>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (handle, events) = open("keeper", LogLevel::Info, form(writer.into()));
    (handle, events, BufReader::new(reader))
}

fn line(reader: &mut BufReader<PipeReader>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

/// The number in `dropped N log lines`.
fn lost(message: &str) -> Option<u64> {
    message.strip_prefix("dropped ")?.strip_suffix(" log lines")?.parse().ok()
}

#[test]
fn an_event_becomes_a_journal_entry_with_its_fields() {
    let journald = FakeJournald::new();
    let (_log, events) = to(&journald, LogLevel::Info);
    let cause = std::io::Error::other("no such host");
    with_default(events, || {
        error!(
            request_id = "r-1",
            status = 502_u16,
            hold.phase = "connect",
            fine = false,
            load = f64::NAN,
            error = &cause as &dyn std::error::Error,
            endpoint = %"127.0.0.1:1",
            "cannot connect to '{}'",
            "shop"
        );
    });
    let expected = [
        ("MESSAGE", "cannot connect to 'shop'"),
        ("PRIORITY", "3"),
        ("SYSLOG_IDENTIFIER", "hitless"),
        ("HITLESS_PROCESS", "gateway"),
        ("HITLESS_REQUEST_ID", "r-1"),
        ("HITLESS_STATUS", "502"),
        ("HITLESS_HOLD_PHASE", "connect"),
        ("HITLESS_FINE", "false"),
        ("HITLESS_LOAD", "NaN"),
        ("HITLESS_ERROR", "no such host"),
        ("HITLESS_ENDPOINT", "127.0.0.1:1"),
    ];
    let found = fields(&journald.entry());
    let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn priorities_are_those_of_the_style() {
    let journald = FakeJournald::new();
    let (_log, events) = to(&journald, LogLevel::Debug);
    with_default(events, || {
        error!("3");
        warn!("4");
        info!(message_id = event::READY, "5");
        info!("6");
        debug!("7");
        warn!(message_id = event::DEADLINE_CONFLICT, "4");
    });
    for id in [None, None, Some(event::READY), None, None, Some(event::DEADLINE_CONFLICT)] {
        let entry = journald.entry();
        assert_eq!(only(&entry, "PRIORITY"), only(&entry, "MESSAGE"));
        assert_eq!(only(&entry, "MESSAGE_ID").as_deref(), id);
    }
}

#[test]
fn the_level_changes_while_it_runs() {
    let journald = FakeJournald::new();
    let (log, events) = to(&journald, LogLevel::Notice);
    let say = |level| {
        log.set_level(level);
        info!("info after {level:?}");
        debug!("debug after {level:?}");
        info!(message_id = event::STARTED, "notice after {level:?}");
    };
    with_default(events, || {
        say(LogLevel::Notice);
        say(LogLevel::Debug);
        say(LogLevel::Error);
        say(LogLevel::Info);
    });
    let said: Vec<String> = (0..6).map(|_| only(&journald.entry(), "MESSAGE").unwrap()).collect();
    assert_eq!(
        said,
        [
            "notice after Notice",
            "info after Debug",
            "debug after Debug",
            "notice after Debug",
            "info after Info",
            "notice after Info",
        ]
    );
}

#[test]
fn other_crates_are_heard_from_warning_on() {
    let journald = FakeJournald::new();
    let (_log, events) = to(&journald, LogLevel::Debug);
    with_default(events, || {
        info!(target: "zbus", "chatter");
        info!(target: "hitlessly", "chatter");
        warn!(target: "zbus", "trouble");
        info!(target: "hitless", "ours");
    });
    assert_eq!(only(&journald.entry(), "MESSAGE").as_deref(), Some("trouble"));
    assert_eq!(only(&journald.entry(), "MESSAGE").as_deref(), Some("ours"));
}

#[test]
fn a_stuck_journald_holds_nobody_up_and_every_lost_line_is_counted_and_told() {
    const SAID: u64 = 20_000;
    let journald = FakeJournald::new();
    let (log, events) = to(&journald, LogLevel::Info);
    with_default(events, || (0..SAID).for_each(|n| info!(n, "said")));
    let dropped = log.dropped();
    assert!(dropped > 0 && dropped < SAID, "{dropped}");
    assert!(!log.flush(Duration::from_millis(1)), "it is stuck");

    let (mut told, mut read) = (0, 0);
    while told + read < SAID {
        let entry = journald.entry();
        match lost(&only(&entry, "MESSAGE").unwrap()) {
            Some(lost) => {
                told += lost;
                assert_eq!(only(&entry, "MESSAGE_ID").as_deref(), Some(event::LOGS_DROPPED));
                assert_eq!(only(&entry, "PRIORITY").as_deref(), Some("4"));
            }
            None => read += 1,
        }
    }
    assert_eq!((told, read), (dropped, SAID - dropped));
    assert!(log.flush(LIMIT));
}

#[test]
fn what_waits_is_bounded_in_bytes_too() {
    let journald = FakeJournald::new();
    let (log, events) = to(&journald, LogLevel::Info);
    let large = "x".repeat(1 << 20);
    with_default(events, || (0..64).for_each(|_| info!("{large}")));
    assert!(log.dropped() >= 64 - 8 - 12, "8 MiB wait, a dozen are with journald: {}", log.dropped());
}

#[test]
fn a_journald_that_was_gone_is_told_what_it_missed() {
    let mut journald = FakeJournald::new();
    let (log, events) = to(&journald, LogLevel::Info);
    journald.stop();
    with_default(events, || {
        info!("missed");
        assert!(log.flush(LIMIT));
        assert_eq!(log.dropped(), 1);
        journald.restart();
        info!("back");
    });
    assert_eq!(only(&journald.entry(), "MESSAGE").as_deref(), Some("back"));
    assert_eq!(only(&journald.entry(), "MESSAGE").as_deref(), Some("dropped 1 log line"));
}

#[test]
fn a_reader_of_stderr_that_does_not_read_holds_nobody_up() {
    let (log, events, mut reader) = lines(Output::Json);
    with_default(events, || (0..20_000).for_each(|n| info!(n, "said")));
    assert!(log.dropped() > 0, "the pipe and the queue are full");
    let (mut told, mut read) = (0, 0);
    while told + read < 20_000 {
        let value: serde_json::Value = serde_json::from_str(&line(&mut reader)).unwrap();
        match lost(value["message"].as_str().unwrap()) {
            Some(lost) => told += lost,
            None => read += 1,
        }
    }
    assert_eq!(told, log.dropped());
}

#[test]
fn json_lines_keep_the_names_of_fields() {
    let (_log, events, mut reader) = lines(Output::Json);
    with_default(events, || info!(message_id = event::READY, duration_us = 12, "said \"it\""));
    let value: serde_json::Value = serde_json::from_str(&line(&mut reader)).unwrap();
    assert_eq!(value["message"], "said \"it\"");
    assert_eq!(value["level"], "notice");
    assert_eq!(value["process"], "keeper");
    assert_eq!(value["message_id"], event::READY);
    assert_eq!(value["duration_us"], 12);
}

#[test]
fn text_is_short() {
    let (_log, events, mut reader) = lines(Output::Text);
    with_default(events, || {
        info!(message_id = event::READY, services = 3, "serving");
        warn!(path = "/a b", "strange");
    });
    assert_eq!(line(&mut reader)["00:00:00Z ".len()..], *"keeper: serving services=3\n");
    assert_eq!(line(&mut reader)["00:00:00Z ".len()..], *"keeper: warning: strange path=\"/a b\"\n");
}

#[test]
fn what_was_said_before_a_flush_is_written_after_it() {
    let journald = FakeJournald::new();
    let (log, events) = to(&journald, LogLevel::Info);
    with_default(events, || info!("last words"));
    assert!(log.flush(LIMIT));
    assert_eq!(only(&journald.entry(), "MESSAGE").as_deref(), Some("last words"));
    assert!(log.flush(Duration::ZERO), "nothing waits");
}
