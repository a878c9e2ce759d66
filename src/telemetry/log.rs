//! The log of this process: every `tracing` event becomes a line.
//!
//! Promises: an event costs its caller the building of a line and never a wait. An event with a
//! `message_id` (one of [`super::event`]) is a lifecycle event: at `INFO` it has the priority
//! *notice*. Other fields become `HITLESS_<NAME>` in the journal and keep their name in JSON.
//! Events of other crates are written from *warning* on. Spans are not looked at: an event says
//! by itself what it is about.
//! Must not know: what the events mean.
//!
//! Where lines go is found out once: to the journal when stderr is connected to it, as text to a
//! terminal, as JSON to any other stderr.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::metadata::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::event;
use super::file::Appended;
use super::journal::{self, Journal};
use super::line::{Format, Head, Line, Priority};
use super::queue::{Queue, Sink, Trouble};
use super::stderr::Stream;
use crate::config::settings::{AccessSink, LogLevel};

/// Makes the log of this process the destination of all `tracing` events. `process` is `keeper` or
/// `gateway`. A second call changes nothing about where events go.
pub fn init(process: &'static str, level: LogLevel) -> Handle {
    let (handle, events) = open(process, level, Output::found());
    if tracing::subscriber::set_global_default(events).is_err() {
        handle.say(Priority::Warning, None, "the log was opened twice, keeping the first");
    }
    handle
}

/// A log that is not yet, and need not become, the destination of all events.
pub fn open(process: &'static str, level: LogLevel, output: Output) -> (Handle, Events) {
    let lost = Arc::new(AtomicU64::new(0));
    let (format, queue) = match output {
        Output::Journal(path) => (Format::Journal, start(process, Format::Journal, Journal::at(path), &lost)),
        Output::Stderr if std::io::stderr().is_terminal() => {
            (Format::Text, start(process, Format::Text, Stream::stderr(), &lost))
        }
        Output::Stderr => (Format::Json, start(process, Format::Json, Stream::stderr(), &lost)),
        Output::Text(to) => (Format::Text, start(process, Format::Text, Stream::to(to), &lost)),
        Output::Json(to) => (Format::Json, start(process, Format::Json, Stream::to(to), &lost)),
    };
    let level = AtomicU8::new(level as u8);
    let log = Log { process, level, format, queue: Arc::new(queue), lost, others: Mutex::default() };
    let handle = Handle { log: Arc::new(log) };
    (handle.clone(), Events { log: handle })
}

/// Where a log goes.
#[derive(Debug)]
pub enum Output {
    /// A journald by the path of its socket.
    Journal(PathBuf),
    /// Text when it is a terminal, else JSON.
    Stderr,
    Text(OwnedFd),
    Json(OwnedFd),
}

impl Output {
    /// The journal when stderr is connected to it, else stderr.
    pub fn found() -> Output {
        if journal::is_stderr() { Output::Journal(PathBuf::from(journal::SOCKET)) } else { Output::Stderr }
    }
}

/// The way to the log of this process. Clones lead to the same log.
#[derive(Clone, Debug)]
pub struct Handle {
    log: Arc<Log>,
}

#[derive(Debug)]
struct Log {
    process: &'static str,
    /// A [`LogLevel`].
    level: AtomicU8,
    format: Format,
    queue: Arc<Queue>,
    /// Lines lost by `queue` and all of `others`.
    lost: Arc<AtomicU64>,
    /// The destinations that an access log has open.
    others: Mutex<Vec<(AccessSink, Weak<Queue>)>>,
}

impl Handle {
    /// From now on events of less weight than `level` are not written. The access log has its own setting.
    pub fn set_level(&self, level: LogLevel) {
        if self.log.level.swap(level as u8, Ordering::Relaxed) != level as u8 {
            tracing::callsite::rebuild_interest_cache();
        }
    }

    /// Lines that were dropped so far, here and in the access log.
    pub fn dropped(&self) -> u64 {
        self.log.lost.load(Ordering::Relaxed)
    }

    /// Waits until what was logged so far is written, at the longest for this time. Whether it was.
    pub fn flush(&self, limit: Duration) -> bool {
        let limit = Instant::now() + limit;
        let others: Vec<_> = self.others().iter().filter_map(|(_, queue)| queue.upgrade()).collect();
        // Theirs first: they may have something to tell here.
        let flushed = others.iter().all(|queue| queue.flush(limit));
        self.log.queue.flush(limit) && flushed
    }

    pub(super) fn process(&self) -> &'static str {
        self.log.process
    }

    /// The log itself, for lines of this form, whatever the level.
    pub(super) fn main(&self) -> (Arc<Queue>, Format) {
        (Arc::clone(&self.log.queue), self.log.format)
    }

    /// The destination of an access log when it is not the log itself. One that is open is shared.
    pub(super) fn other(&self, to: &AccessSink) -> Option<(Arc<Queue>, Format)> {
        let format = match to {
            AccessSink::Journal { namespace: None } => return None,
            AccessSink::Journal { namespace: Some(_) } => Format::Journal,
            AccessSink::File(_) => Format::Json,
        };
        let mut others = self.others();
        others.retain(|(_, queue)| queue.strong_count() > 0);
        let open = others.iter().find(|(sink, _)| sink == to).and_then(|(_, queue)| queue.upgrade());
        let queue = open.unwrap_or_else(|| {
            let queue = Arc::new(self.start_sink(to));
            others.push((to.clone(), Arc::downgrade(&queue)));
            queue
        });
        Some((queue, format))
    }

    fn start_sink(&self, to: &AccessSink) -> Queue {
        match to {
            AccessSink::Journal { namespace } => {
                let name = namespace.as_deref().unwrap_or_default();
                let path = journal::namespace(name);
                self.start_other(Journal::at(path), format!("journal namespace '{name}'"))
            }
            AccessSink::File(path) => {
                self.start_other(Appended::to(path.clone()), format!("'{}'", path.display()))
            }
        }
    }

    /// Starts a queue that tells its troubles in this log.
    pub(super) fn start_other(&self, sink: impl Sink, destination: String) -> Queue {
        let log = self.clone();
        let tell = move |trouble: Trouble, _: &mut dyn Sink| {
            let (id, message) = match trouble {
                Trouble::Failing(error) => (
                    None,
                    format!(
                        "cannot write the access log to {destination}: {error}, dropping its lines until it can"
                    ),
                ),
                Trouble::Lost(lines) => (
                    Some(event::LOGS_DROPPED),
                    format!("dropped {lines} lines of the access log to {destination}"),
                ),
            };
            log.say(Priority::Warning, id, &message)
        };
        Queue::start("access log", sink, tell, Arc::clone(&self.log.lost))
    }

    /// Whether it was taken.
    fn say(&self, priority: Priority, message_id: Option<&str>, message: &str) -> bool {
        self.log.queue.push(self.line(priority, message, message_id).finish())
    }

    fn line(&self, priority: Priority, message: &str, message_id: Option<&str>) -> Line {
        Line::new(self.log.format, &Head { process: self.log.process, priority, message, message_id })
    }

    fn others(&self) -> std::sync::MutexGuard<'_, Vec<(AccessSink, Weak<Queue>)>> {
        self.log.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of the log itself, which tells its own losses.
fn start(process: &'static str, format: Format, sink: impl Sink, lost: &Arc<AtomicU64>) -> Queue {
    let tell = move |trouble: Trouble, sink: &mut dyn Sink| {
        let Trouble::Lost(lines) = trouble else { return false };
        let message = format!("dropped {lines} log lines");
        let id = Some(event::LOGS_DROPPED);
        let head = Head { process, priority: Priority::Warning, message: &message, message_id: id };
        sink.write(&Line::new(format, &head).finish()).is_ok()
    };
    Queue::start("log", sink, tell, Arc::clone(lost))
}

/// The events of this process, as `tracing` knows them.
#[derive(Debug)]
pub struct Events {
    log: Handle,
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some("hitless");
        metadata.is_event()
            && (ours || *metadata.level() <= Level::WARN)
            && priority(metadata) as u8 <= self.least()
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.least() {
            3 => LevelFilter::ERROR,
            4 => LevelFilter::WARN,
            5 | 6 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut head = Gathered::default();
        event.record(&mut head);
        let id = (!head.message_id.is_empty()).then_some(head.message_id.as_str());
        let line = self.log.line(priority(event.metadata()), &head.message, id);
        let mut fields = Fields(line);
        event.record(&mut fields);
        self.log.log.queue.push(fields.0.finish());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Events {
    /// The numerically highest priority that is written.
    fn least(&self) -> u8 {
        LEVELS[usize::from(self.log.log.level.load(Ordering::Relaxed))] as u8
    }
}

/// By [`LogLevel`].
const LEVELS: [Priority; 5] =
    [Priority::Error, Priority::Warning, Priority::Notice, Priority::Info, Priority::Debug];

fn priority(metadata: &Metadata<'_>) -> Priority {
    match *metadata.level() {
        Level::ERROR => Priority::Error,
        Level::WARN => Priority::Warning,
        Level::INFO if metadata.fields().field("message_id").is_some() => Priority::Notice,
        Level::INFO => Priority::Info,
        _ => Priority::Debug,
    }
}

/// What goes into the head of a line, wherever it stands among the fields.
#[derive(Default)]
struct Gathered {
    message: String,
    message_id: String,
}

impl Visit for Gathered {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let into = match field.name() {
            "message" => &mut self.message,
            "message_id" => &mut self.message_id,
            _ => return,
        };
        // A value that fails to display itself leaves what it wrote so far.
        let _ = write!(into, "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            "message_id" => self.message_id.push_str(value),
            _ => {}
        }
    }
}

/// What follows the head.
struct Fields(Line);

impl Fields {
    fn text(&mut self, field: &Field, value: &str) {
        if !matches!(field.name(), "message" | "message_id") {
            self.0.text(field.name(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut chain = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            chain.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        self.text(field, &chain);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.plain(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.plain(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.plain(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.0.plain(field.name(), value),
            false => self.text(field, &value.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader};

    use tracing::subscriber::with_default;
    use tracing::{debug, error, info, warn};

    use super::super::journal::tests::FakeJournald;
    use super::super::line::tests::{fields, only};
    use super::*;

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
        assert_eq!(only(&journald.entry(), "MESSAGE").as_deref(), Some("dropped 1 log lines"));
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
}
