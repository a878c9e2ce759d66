//! The access log: one line per request, as far as the operator wants it.
//!
//! Promises: a failure by any fault but the client's is written whatever the setting, and always
//! to the log itself, so that it is found where an operator looks first; if the access log has a
//! destination of its own, it is written there too. Asking ([`AccessLog::wants`]) costs a random
//! number at most; writing never waits.
//! Must not know: HTTP types, or the table of failures.
//!
//! The message reads `GET shop.example.com/cart 200 12.3 ms 5120 B shop 127.0.0.1:3000`; a failure
//! adds its code, fault and phase. In the journal and in JSON the parts are fields of their own. A
//! file gets one JSON object per line, a terminal the message alone.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::line::{Format, Head, Line, Priority};
use super::log::Handle;
use super::queue::Queue;
use crate::config::settings;

/// What is told about one request.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub request_id: &'a str,
    pub trace_id: &'a str,
    /// `None`: it came over a Unix socket.
    pub client: Option<IpAddr>,
    /// `None` where the request did not get that far.
    pub service: Option<&'a str>,
    pub route: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    /// How often an endpoint was asked, this one last; told when it was more than once.
    pub attempts: u32,
    pub method: &'a str,
    pub authority: &'a str,
    /// With its query, as received.
    pub path: &'a str,
    /// As in `HTTP/1.1`.
    pub protocol: &'a str,
    /// The status that was sent, or that would have been.
    pub status: u16,
    /// [`OK`], or the code of the failure.
    pub code: &'a str,
    /// In lower case: `client`, `upstream`, `policy`, `hitless`.
    pub fault: Option<&'a str>,
    pub phase: Option<&'a str>,
    /// What happened, in words.
    pub error: Option<&'a str>,
    /// Bytes of content to the client, and from it.
    pub sent: u64,
    pub received: u64,
    pub duration: Duration,
}

/// The code of a request that did not fail.
pub const OK: &str = "ok";

/// The access log of one generation.
#[derive(Debug)]
pub struct AccessLog {
    process: &'static str,
    /// Of 2^32 requests without a failure, how many are written.
    share: u64,
    /// The log itself.
    main: Option<Destination>,
    /// Where the access log goes when that is not the log itself.
    own: Option<Destination>,
}

#[derive(Debug)]
struct Destination {
    queue: Arc<Queue>,
    format: Format,
}

impl AccessLog {
    /// As configured; a destination that an earlier generation has open is shared with it.
    pub fn new(settings: &settings::Log, log: &Handle) -> Arc<AccessLog> {
        let own = match settings.access {
            settings::AccessLog::Off => None,
            _ => log.other(&settings.access_to),
        };
        AccessLog::to(settings.access, log, own)
    }

    /// One that wants nothing and writes nothing.
    pub fn silent() -> Arc<AccessLog> {
        Arc::new(AccessLog { process: "", share: 0, main: None, own: None })
    }

    /// Whether to tell about a request; `failed`: by any fault but the client's. Draws lots for the
    /// others: ask once per request.
    pub fn wants(&self, failed: bool) -> bool {
        self.main.is_some() && (failed || self.drawn())
    }

    /// Hands the line over; never waits.
    pub fn write(&self, entry: &Entry<'_>) {
        let failed = entry.failed();
        let main = self.main.as_ref().filter(|_| failed || self.own.is_none());
        let message = (main.is_some() || self.own.is_some()).then(|| Message(entry).to_string());
        for to in main.into_iter().chain(&self.own) {
            let message = message.as_deref().unwrap_or_default();
            let priority = if failed { Priority::Warning } else { Priority::Info };
            let head = Head { process: self.process, priority, message, message_id: None };
            to.queue.push(entry.line(to.format, &head));
        }
    }

    fn to(access: settings::AccessLog, log: &Handle, own: Option<(Arc<Queue>, Format)>) -> Arc<AccessLog> {
        let share = match access {
            settings::AccessLog::Off => 0.0,
            settings::AccessLog::Sampled(share) => share.clamp(0.0, 1.0),
            settings::AccessLog::All => 1.0,
        };
        let share = (share * EVERY as f64) as u64;
        let destination = |(queue, format)| Destination { queue, format };
        let (main, own) = (Some(destination(log.main())), own.map(destination));
        Arc::new(AccessLog { process: log.process(), share, main, own })
    }

    fn drawn(&self) -> bool {
        match self.share {
            0 => false,
            EVERY => true,
            share => u64::from(fastrand::u32(..)) < share,
        }
    }
}

const EVERY: u64 = 1 << 32;

impl Entry<'_> {
    /// By any fault but the client's.
    fn failed(&self) -> bool {
        self.fault.is_some_and(|fault| fault != "client")
    }

    fn line(&self, format: Format, head: &Head<'_>) -> Vec<u8> {
        let mut line = Line::new(format, head);
        if format != Format::Text {
            self.fields(&mut line);
        }
        line.finish()
    }

    fn fields(&self, line: &mut Line) {
        line.text("request_id", self.request_id);
        line.text("trace_id", self.trace_id);
        match self.client {
            Some(address) => line.text("client", &address.to_string()),
            None => line.text("client", "unix"),
        }
        let optional = [("service", self.service), ("route", self.route), ("endpoint", self.endpoint)];
        let request = [("method", self.method), ("authority", self.authority), ("path", self.path)];
        let failure = [("fault", self.fault), ("phase", self.phase), ("error", self.error)];
        for (name, value) in optional.into_iter().chain(failure) {
            if let Some(value) = value {
                line.text(name, value);
            }
        }
        for (name, value) in request.into_iter().chain([("protocol", self.protocol), ("code", self.code)]) {
            line.text(name, value);
        }
        line.plain("status", self.status);
        line.plain("sent_bytes", self.sent);
        line.plain("received_bytes", self.received);
        line.plain("duration_us", self.duration.as_micros());
        if self.attempts > 1 {
            line.plain("attempts", self.attempts);
        }
    }
}

/// The entry as an operator reads it.
struct Message<'a>(&'a Entry<'a>);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.0;
        write!(f, "{} {}{} {} ", entry.method, entry.authority, entry.path, entry.status)?;
        match entry.duration.as_secs_f64() {
            seconds if seconds < 1.0 => write!(f, "{:.1} ms", seconds * 1e3)?,
            seconds => write!(f, "{seconds:.2} s")?,
        }
        write!(f, " {} B {} {}", entry.sent, entry.service.unwrap_or("-"), entry.endpoint.unwrap_or("-"))?;
        if entry.attempts > 1 {
            write!(f, " attempt {}", entry.attempts)?;
        }
        match (entry.fault, entry.phase) {
            (Some(fault), Some(phase)) => write!(f, " {} ({fault}, {phase})", entry.code)?,
            (Some(fault), None) => write!(f, " {} ({fault})", entry.code)?,
            (None, _) => {}
        }
        entry.error.map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::journal::Journal;
    use super::super::journal::tests::FakeJournald;
    use super::super::line::tests::{fields, only};
    use super::super::log::{Output, open};
    use super::*;
    use crate::config::settings::{AccessSink, LogLevel};

    const LIMIT: Duration = Duration::from_secs(20);

    const CART: Entry<'static> = Entry {
        request_id: "r-1",
        trace_id: "0af7651916cd43dd8448eb211c80319c",
        client: None,
        service: Some("shop"),
        route: Some("shop[0]"),
        endpoint: Some("127.0.0.1:3000"),
        attempts: 1,
        method: "GET",
        authority: "shop.example.com",
        path: "/cart",
        protocol: "HTTP/1.1",
        status: 200,
        code: OK,
        fault: None,
        phase: None,
        error: None,
        sent: 5120,
        received: 7,
        duration: Duration::from_micros(12_345),
    };

    const LATE: Entry<'static> = Entry {
        status: 504,
        code: "late-first-byte",
        fault: Some("upstream"),
        phase: Some("await"),
        error: Some("first-byte deadline of 60s passed"),
        duration: Duration::from_secs(60),
        ..CART
    };

    fn log(journald: &FakeJournald) -> Handle {
        open("gateway", LogLevel::Error, Output::Journal(journald.path.clone())).0
    }

    fn settings(access: settings::AccessLog, access_to: AccessSink) -> settings::Log {
        settings::Log { level: LogLevel::Error, access, access_to }
    }

    fn to_journal(access: settings::AccessLog, log: &Handle) -> Arc<AccessLog> {
        AccessLog::new(&settings(access, AccessSink::Journal { namespace: None }), log)
    }

    fn to_file(path: PathBuf, log: &Handle) -> Arc<AccessLog> {
        AccessLog::new(&settings(settings::AccessLog::All, AccessSink::File(path)), log)
    }

    #[test]
    fn a_line_reads_like_a_sentence() {
        let message = |entry: Entry<'_>| Message(&entry).to_string();
        assert_eq!(
            message(Entry { attempts: 2, ..CART }),
            "GET shop.example.com/cart 200 12.3 ms 5120 B shop 127.0.0.1:3000 attempt 2"
        );
        assert_eq!(message(CART), "GET shop.example.com/cart 200 12.3 ms 5120 B shop 127.0.0.1:3000");
        assert_eq!(
            message(LATE),
            "GET shop.example.com/cart 504 60.00 s 5120 B shop 127.0.0.1:3000 late-first-byte (upstream, await): first-byte deadline of 60s passed"
        );
        let unknown =
            Entry { service: None, endpoint: None, fault: Some("client"), code: "misdirected", ..CART };
        assert!(message(unknown).ends_with(" 5120 B - - misdirected (client)"));
    }

    #[test]
    fn a_journal_entry_has_a_field_for_each_part() {
        let journald = FakeJournald::new();
        let client = Some("192.0.2.7".parse().unwrap());
        to_journal(settings::AccessLog::All, &log(&journald)).write(&Entry { client, ..LATE });
        let entry = journald.entry();
        let expected = [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "hitless"),
            ("HITLESS_PROCESS", "gateway"),
            ("HITLESS_REQUEST_ID", "r-1"),
            ("HITLESS_TRACE_ID", "0af7651916cd43dd8448eb211c80319c"),
            ("HITLESS_CLIENT", "192.0.2.7"),
            ("HITLESS_SERVICE", "shop"),
            ("HITLESS_ROUTE", "shop[0]"),
            ("HITLESS_ENDPOINT", "127.0.0.1:3000"),
            ("HITLESS_METHOD", "GET"),
            ("HITLESS_AUTHORITY", "shop.example.com"),
            ("HITLESS_PATH", "/cart"),
            ("HITLESS_PROTOCOL", "HTTP/1.1"),
            ("HITLESS_CODE", "late-first-byte"),
            ("HITLESS_ERROR", "first-byte deadline of 60s passed"),
            ("HITLESS_FAULT", "upstream"),
            ("HITLESS_PHASE", "await"),
            ("HITLESS_STATUS", "504"),
            ("HITLESS_SENT_BYTES", "5120"),
            ("HITLESS_RECEIVED_BYTES", "7"),
            ("HITLESS_DURATION_US", "60000000"),
        ];
        for (name, value) in expected {
            assert_eq!(only(&entry, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(fields(&entry).len(), expected.len() + 1, "and the message");
    }

    #[test]
    fn a_path_forges_no_field() {
        let journald = FakeJournald::new();
        let path = "/\nHITLESS_STATUS=200\nPRIORITY=7";
        to_journal(settings::AccessLog::All, &log(&journald)).write(&Entry { path, ..LATE });
        let entry = journald.entry();
        assert_eq!(only(&entry, "HITLESS_PATH").as_deref(), Some(path));
        assert_eq!(only(&entry, "HITLESS_STATUS").as_deref(), Some("504"));
        assert_eq!(only(&entry, "PRIORITY").as_deref(), Some("4"));
    }

    #[test]
    fn failures_are_wanted_whatever_the_setting() {
        let journald = FakeJournald::new();
        let log = log(&journald);
        for access in [
            settings::AccessLog::Off,
            settings::AccessLog::Sampled(0.0),
            settings::AccessLog::Sampled(0.5),
            settings::AccessLog::All,
        ] {
            assert!(to_journal(access, &log).wants(true), "{access:?}");
        }
        assert!(!to_journal(settings::AccessLog::Off, &log).wants(false));
        assert!(to_journal(settings::AccessLog::All, &log).wants(false));
        assert!(to_journal(settings::AccessLog::Sampled(1.0), &log).wants(false));
        assert!(!AccessLog::silent().wants(true));
    }

    #[test]
    fn a_sample_is_about_its_share() {
        let journald = FakeJournald::new();
        let sampled = to_journal(settings::AccessLog::Sampled(0.1), &log(&journald));
        fastrand::seed(7);
        let drawn = (0..10_000).filter(|_| sampled.wants(false)).count();
        assert!((900..1100).contains(&drawn), "{drawn}");
    }

    #[test]
    fn a_failure_is_in_the_log_itself_and_in_the_access_log_of_its_own() {
        let (journald, namespace) = (FakeJournald::new(), FakeJournald::new());
        let log = log(&journald);
        let own = Arc::new(log.start_other(Journal::at(namespace.path.clone()), "there".to_owned()));
        let access = AccessLog::to(settings::AccessLog::All, &log, Some((own, Format::Journal)));
        access.write(&CART);
        access.write(&LATE);
        assert_eq!(only(&namespace.entry(), "HITLESS_STATUS").as_deref(), Some("200"));
        assert_eq!(only(&namespace.entry(), "HITLESS_STATUS").as_deref(), Some("504"));
        assert_eq!(only(&journald.entry(), "HITLESS_STATUS").as_deref(), Some("504"));
    }

    #[test]
    fn an_access_file_has_one_json_object_per_line_and_is_shared_by_generations() {
        let (journald, folder) = (FakeJournald::new(), tempfile::tempdir().unwrap());
        let (log, path) = (log(&journald), folder.path().join("access.log"));
        let (old, new) = (to_file(path.clone(), &log), to_file(path.clone(), &log));
        assert!(Arc::ptr_eq(&old.own.as_ref().unwrap().queue, &new.own.as_ref().unwrap().queue));
        old.write(&CART);
        new.write(&Entry { path: "/two\n", ..CART });
        assert!(log.flush(LIMIT));
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["status"], &lines[0]["client"]), (&200.into(), &"unix".into()));
        assert_eq!(lines[1]["path"], "/two\n");
    }

    #[test]
    fn a_rotated_access_file_is_opened_anew() {
        let (journald, folder) = (FakeJournald::new(), tempfile::tempdir().unwrap());
        let (log, path) = (log(&journald), folder.path().join("access.log"));
        let access = to_file(path.clone(), &log);
        access.write(&CART);
        assert!(log.flush(LIMIT));
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        access.write(&CART);
        assert!(log.flush(LIMIT));
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_full_disk_is_said_once_and_every_line_counted() {
        let journald = FakeJournald::new();
        let log = log(&journald);
        let access = to_file("/dev/full".into(), &log);
        for _ in 0..3 {
            access.write(&CART);
            assert!(log.flush(LIMIT));
        }
        assert_eq!(log.dropped(), 3);
        access.write(&LATE);
        assert_eq!(
            only(&journald.entry(), "MESSAGE").unwrap(),
            "cannot write the access log to '/dev/full': No space left on device (os error 28), \
             dropping its lines until it can"
        );
        assert_eq!(only(&journald.entry(), "HITLESS_STATUS").as_deref(), Some("504"), "nothing between");
    }
}
