//! `tracing` events, made into lines of the log.
//!
//! Promises: an event with a `message_id` (one of [`super::event`]) is a lifecycle event: at `INFO`
//! it has the priority *notice*. Other fields become `HITLESS_<NAME>` in the journal and keep their
//! name in JSON. Events of other crates are written from *warning* on. Spans are not looked at: an
//! event says by itself what it is about.
//! A value that fails to show itself leaves what it has shown so far.
//! Must not know: where lines go.

use std::error::Error;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::metadata::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::line::{Line, Priority};
use super::log::Handle;

/// The events of this process, as `tracing` knows them.
#[derive(Debug)]
pub struct Events {
    pub(super) log: Handle,
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some("hitless");
        metadata.is_event()
            && (ours || *metadata.level() <= Level::WARN)
            && priority(metadata) <= self.log.least()
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.log.least() {
            Priority::Error => LevelFilter::ERROR,
            Priority::Warning => LevelFilter::WARN,
            Priority::Notice | Priority::Info => LevelFilter::INFO,
            Priority::Debug => LevelFilter::DEBUG,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut head = Gathered::default();
        event.record(&mut head);
        let id = (!head.message_id.is_empty()).then_some(head.message_id.as_str());
        let line = self.log.line(priority(event.metadata()), &head.message, id);
        let mut fields = Fields(line);
        event.record(&mut fields);
        self.log.push(fields.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

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
        let mut shown = String::new();
        let _ = write!(shown, "{value:?}");
        self.text(field, &shown);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut shown = String::new();
        let _ = write!(shown, "{value}");
        let mut source = value.source();
        while let Some(cause) = source {
            let _ = write!(shown, ": {cause}");
            source = cause.source();
        }
        self.text(field, &shown);
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
