//! The log of this process: every `tracing` event becomes a line.
//!
//! Promises: an event costs its caller the building of a line and never a wait. The level may change
//! at any time. At the end, [`Handle::flush`] waits for what is still queued, but not for ever.
//! Must not know: what the events mean, or how they become lines ([`Events`]).
//!
//! Where lines go is found out once: to the journal when stderr is connected to it, as text to a
//! terminal, as JSON to any other stderr.

use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::event;
pub use super::events::Events;
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
    let (format, sink) = output.opened();
    let queue = start(process, format, sink, &lost);
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

    fn opened(self) -> (Format, Box<dyn Sink>) {
        match self {
            Output::Journal(path) => (Format::Journal, Box::new(Journal::at(path))),
            Output::Stderr if std::io::stderr().is_terminal() => (Format::Text, Box::new(Stream::stderr())),
            Output::Stderr => (Format::Json, Box::new(Stream::stderr())),
            Output::Text(to) => (Format::Text, Box::new(Stream::to(to))),
            Output::Json(to) => (Format::Json, Box::new(Stream::to(to))),
        }
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
                Trouble::Lost(lost) => (
                    Some(event::LOGS_DROPPED),
                    format!("dropped {lost} {} of the access log to {destination}", lines(lost)),
                ),
            };
            log.say(Priority::Warning, id, &message)
        };
        Queue::start("access log", Box::new(sink), Box::new(tell), Arc::clone(&self.log.lost))
    }

    /// Whether it was taken.
    fn say(&self, priority: Priority, message_id: Option<&str>, message: &str) -> bool {
        self.push(self.line(priority, message, message_id))
    }

    pub(super) fn line(&self, priority: Priority, message: &str, message_id: Option<&str>) -> Line {
        Line::new(self.log.format, &Head { process: self.log.process, priority, message, message_id })
    }

    pub(super) fn push(&self, line: Line) -> bool {
        self.log.queue.push(line.finish())
    }

    /// The least of the priorities that are written.
    pub(super) fn least(&self) -> Priority {
        LEVELS[usize::from(self.log.level.load(Ordering::Relaxed))]
    }

    fn others(&self) -> std::sync::MutexGuard<'_, Vec<(AccessSink, Weak<Queue>)>> {
        self.log.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By [`LogLevel`].
const LEVELS: [Priority; 5] =
    [Priority::Error, Priority::Warning, Priority::Notice, Priority::Info, Priority::Debug];

fn lines(count: u64) -> &'static str {
    if count == 1 { "line" } else { "lines" }
}

/// The queue of the log itself, which tells its own losses.
fn start(process: &'static str, format: Format, sink: Box<dyn Sink>, lost: &Arc<AtomicU64>) -> Queue {
    let tell = move |trouble: Trouble, sink: &mut dyn Sink| {
        let Trouble::Lost(lost) = trouble else { return false };
        let message = format!("dropped {lost} log {}", lines(lost));
        let id = Some(event::LOGS_DROPPED);
        let head = Head { process, priority: Priority::Warning, message: &message, message_id: id };
        sink.write(&Line::new(format, &head).finish()).is_ok()
    };
    Queue::start("log", sink, Box::new(tell), Arc::clone(lost))
}

#[cfg(test)]
mod tests;
