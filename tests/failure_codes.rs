//! Every way in which a request can fail has a counter of its own.

use std::time::Duration;

use hitless::response::failure::{Deadline, Failure, Quota};
use hitless::telemetry::counters::{CODES, OTHER};

/// One of each. The match makes the compiler ask for a new variant here.
fn every_failure() -> Vec<Failure> {
    let text = String::new;
    let all = vec![
        Failure::BadRequest(""),
        Failure::NoRoute,
        Failure::Misdirected,
        Failure::WrongName,
        Failure::PlainHttp,
        Failure::ConnectRefused,
        Failure::UnsupportedVersion,
        Failure::UnknownCoding,
        Failure::UnknownExpectation,
        Failure::Loop,
        Failure::LongRequestLine(7),
        Failure::LongFields(7),
        Failure::ManyFields(7),
        Failure::LongContent(7),
        Failure::SlowHead(Duration::from_secs(3)),
        Failure::SlowContent(7),
        Failure::SlowReader(7),
        Failure::ManyTunnels(7),
        Failure::HeldTooLong(Duration::from_secs(3)),
        Failure::HoldFull("hold.count"),
        Failure::ManyRequests(Quota { by: "all", count: 7, per: Duration::ZERO, wait: Duration::ZERO }),
        Failure::NoPlace(7),
        Failure::LongQueue(Duration::ZERO),
        Failure::Shed,
        Failure::Fault(503),
        Failure::ClientGone,
        Failure::ClientSilent,
        Failure::NoEndpoint,
        Failure::NobodyUp,
        Failure::BreakerOpen,
        Failure::Unreachable(text()),
        Failure::Untrusted(text()),
        Failure::Handshake(text()),
        Failure::Unsent(text()),
        Failure::NoAnswer(text()),
        Failure::BadAnswer(text()),
        Failure::Truncated(text()),
        Failure::BadUpgrade,
        Failure::Late(Deadline::Connect, Duration::ZERO),
        Failure::Late(Deadline::FirstByte, Duration::ZERO),
        Failure::Late(Deadline::Idle, Duration::ZERO),
        Failure::Late(Deadline::Request, Duration::ZERO),
        Failure::NoDescriptor,
        Failure::Drained,
        Failure::Panicked,
    ];
    for failure in &all {
        match failure {
            Failure::BadRequest(_) | Failure::NoRoute | Failure::Misdirected | Failure::ConnectRefused => {}
            Failure::ClientGone | Failure::ClientSilent | Failure::NoEndpoint | Failure::Unreachable(_) => {}
            Failure::Untrusted(_) | Failure::Handshake(_) | Failure::WrongName | Failure::PlainHttp => {}
            Failure::Unsent(_) | Failure::NoAnswer(_) | Failure::BadAnswer(_) | Failure::Truncated(_) => {}
            Failure::BadUpgrade | Failure::NoDescriptor | Failure::Drained | Failure::Panicked => {}
            Failure::UnsupportedVersion | Failure::UnknownCoding | Failure::UnknownExpectation => {}
            Failure::Loop | Failure::ManyTunnels(_) | Failure::SlowHead(_) | Failure::SlowContent(_) => {}
            Failure::LongRequestLine(_) | Failure::LongFields(_) | Failure::ManyFields(_) => {}
            Failure::LongContent(_) | Failure::SlowReader(_) | Failure::NobodyUp | Failure::BreakerOpen => {}
            Failure::HeldTooLong(_) | Failure::HoldFull(_) => {}
            Failure::ManyRequests(_) | Failure::NoPlace(_) | Failure::LongQueue(_) => {}
            Failure::Shed | Failure::Fault(_) => {}
            Failure::Late(
                Deadline::Connect | Deadline::FirstByte | Deadline::Idle | Deadline::Request,
                _,
            ) => {}
        }
    }
    all
}

#[test]
fn every_code_of_the_table_of_failures_has_a_counter_and_no_counter_is_without_a_code() {
    let codes: Vec<&str> = every_failure().iter().map(|failure| failure.verdict().code).collect();
    let counted: Vec<&str> = CODES.into_iter().filter(|code| *code != OTHER).collect();
    assert_eq!(codes, counted, "in the same order");
}

#[test]
fn every_failure_stands_in_the_manual_with_its_status_and_the_end_of_its_connection() {
    let manual = include_str!("../man/hitless.8").replace("\\-", "-");
    let answers = manual.split(".SH ANSWERS OF ITS OWN").nth(1).and_then(|rest| rest.split(".SH ").next());
    let entries: Vec<&str> = answers.unwrap().split(".TP\n").collect();
    for failure in every_failure() {
        let verdict = failure.verdict();
        let told = |entry: &&str| {
            let head = entry.lines().next().unwrap_or("");
            let mut words = head.split(|letter: char| !letter.is_alphanumeric() && letter != '-');
            head.contains(&verdict.status.to_string()) && words.any(|word| word == verdict.code)
        };
        let entry = entries.iter().copied().find(told);
        let entry = entry.unwrap_or_else(|| panic!("{} {} is not there", verdict.status, verdict.code));
        // Nobody is there to see the connection of a client that has gone.
        let closes = verdict.close && verdict.status != 499;
        assert_eq!(entry.lines().next().unwrap().contains("(closes)"), closes, "{entry}");
    }
}
