//! A table of what a client says, what it is answered, and what of it reaches the endpoint.
//!
//! Promises: each row has a connection of its own; after its outcome a plain request follows, on the
//! same connection unless that has ended, and what the endpoint was sent until then is the row's, however late
//! the endpoint's threads get to it. Some are played over TLS as well, which must be no different.
//! All failing rows of a table are told at once, with name and citation.

use crate::client::{Client, Outcome};
use crate::daemon::{Daemon, Folder};
use crate::endpoint::{self, Book, Noted, Record};
use crate::endpoint2;
use crate::frames::*;
use crate::pki::Authority;

/// One row of so many is played over TLS as well.
const SECURE: usize = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL: u32 = 1;
pub const FLOW: u32 = 3;
pub const CLOSED: u32 = 5;
pub const SIZE: u32 = 6;
pub const REFUSED: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION: u32 = 9;
pub const CALM: u32 = 11;

/// One reaction that the RFCs permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    Status(u16),
    Reset(u32),
    Goaway(u32),
    /// The connection goes on.
    Alive,
    Closed,
    /// An answer whose end is seen to be missing.
    Broken,
}

/// What the endpoint must have received.
enum Received {
    /// Not a byte, or only if the answer is its own.
    Lines(Vec<Noted>),
    /// The beginning of it at most: content was on its way before anybody could know.
    NothingWhole,
    /// Anything that is to the letter: a sound request is on its way before the error.
    Anything,
}

enum Step {
    Say(Vec<u8>),
    /// Goes on when this stream has ended.
    Ended(u32),
    /// Goes on when the endpoint has so many heads.
    Arrived(usize),
}

pub struct Row {
    name: String,
    citation: &'static str,
    /// Without preface and settings of the client.
    bare: bool,
    steps: Vec<Step>,
    /// Whose outcome counts; 0 is the connection.
    watched: u32,
    allowed: Vec<Allowed>,
    received: Received,
    script: Vec<u8>,
    answer: Option<Check>,
    /// Asks the endpoint that speaks HTTP/2.
    h2c: bool,
}

type Check = Box<dyn Fn(&crate::client::Answer) -> bool>;

pub fn row(name: impl Into<String>, citation: &'static str) -> Row {
    Row {
        name: name.into(),
        citation,
        bare: false,
        steps: vec![],
        watched: 1,
        allowed: vec![],
        received: Received::Lines(vec![]),
        script: vec![],
        answer: None,
        h2c: false,
    }
}

/// The four pseudo-fields, and more.
pub fn head<'a>(method: &'a str, path: &'a str, more: &[Field<'a>]) -> Vec<Field<'a>> {
    head_at("a.test", method, path, more)
}

pub fn head_at<'a>(host: &'a str, method: &'a str, path: &'a str, more: &[Field<'a>]) -> Vec<Field<'a>> {
    let base = [(":method", method), (":scheme", "http"), (":path", path), (":authority", host)];
    base.iter().chain(more).copied().collect()
}

/// A GET without content on stream 1.
pub fn get(path: &str) -> Vec<u8> {
    headers(1, END_STREAM, &head("GET", path, &[]))
}

/// The head of a POST on stream 1, whose content follows.
pub fn post(path: &str, more: &[Field]) -> Vec<u8> {
    headers(1, 0, &head("POST", path, more))
}

impl Row {
    pub fn says(mut self, bytes: Vec<u8>) -> Row {
        self.steps.push(Step::Say(bytes));
        self
    }

    /// All that the client ever says.
    pub fn says_only(mut self, bytes: &[u8]) -> Row {
        self.bare = true;
        self.says(bytes.to_vec()).of_connection()
    }

    /// A request without content, of exactly these fields.
    pub fn asks(self, fields: &[Field]) -> Row {
        self.says(headers(1, END_STREAM, fields))
    }

    /// `GET /x` with these fields beside.
    pub fn gets(self, more: &[Field]) -> Row {
        self.asks(&head("GET", "/x", more))
    }

    /// `POST /x` with these fields and this content.
    pub fn posts(self, more: &[Field], content: &str) -> Row {
        self.says(post("/x", more)).says(data(1, END_STREAM, content.as_bytes()))
    }

    pub fn after_end_of(mut self, stream: u32) -> Row {
        self.steps.push(Step::Ended(stream));
        self
    }

    pub fn after_arrival_of(mut self, count: usize) -> Row {
        self.steps.push(Step::Arrived(count));
        self
    }

    /// What the endpoint says when it is asked for `/scripted`.
    pub fn scripted(self, bytes: impl AsRef<[u8]>) -> Row {
        let asked = self.scripted_only(bytes).says(get("/scripted"));
        asked.reaches(&["GET /scripted HTTP/1.1", "host: a.test"])
    }

    /// The same for a request of the row's own.
    pub fn scripted_only(mut self, bytes: impl AsRef<[u8]>) -> Row {
        self.script = bytes.as_ref().to_vec();
        self
    }

    /// The endpoint of `b.test` is the one that is watched.
    pub fn at_h2c(mut self) -> Row {
        self.h2c = true;
        self
    }

    pub fn of_connection(self) -> Row {
        self.of_stream(0)
    }

    pub fn of_stream(mut self, stream: u32) -> Row {
        self.watched = stream;
        self
    }

    pub fn allows(mut self, allowed: &[Allowed]) -> Row {
        self.allowed.extend_from_slice(allowed);
        self
    }

    /// RFC 9113, section 8.1.1: a stream error, or an answer that says so.
    pub fn malformed(self) -> Row {
        self.allows(&[Allowed::Reset(PROTOCOL), Allowed::Status(400)])
    }

    /// What no decoder hands on as a field. Better only the stream ended; RFC 9113, section 5.4.1, permits to
    /// treat it as an error of the connection.
    pub fn unreadable(self) -> Row {
        self.malformed().allows(&[Allowed::Goaway(PROTOCOL)])
    }

    pub fn status(self, status: u16) -> Row {
        self.allows(&[Allowed::Status(status)])
    }

    /// An error of the connection. RFC 9113, section 5.4: a generic code may stand for the specific one.
    pub fn goes_away(self, code: u32) -> Row {
        self.of_connection().allows(&[Allowed::Goaway(code), Allowed::Goaway(PROTOCOL)])
    }

    /// An error of the stream, which may be treated as one of the connection (RFC 9113, section 5.4.1).
    pub fn fails(self, code: u32) -> Row {
        let errors = [code, PROTOCOL].map(|code| [Allowed::Reset(code), Allowed::Goaway(code)]);
        self.allows(&errors.concat())
    }

    /// Answered by the endpoint with 200, which received this; other answers permitted mean nothing received.
    pub fn passes(self, lines: &[&str]) -> Row {
        self.status(200).reaches(lines)
    }

    /// `GET /x` was received with these lines beside.
    pub fn passes_with(self, more: &[&str]) -> Row {
        self.passes(&[&["GET /x HTTP/1.1", "host: a.test"], more].concat())
    }

    /// What the endpoint receives, whatever the client is told.
    pub fn reaches(mut self, lines: &[&str]) -> Row {
        let Received::Lines(all) = &mut self.received else { return self };
        let marked = |line: &&str| ["= ", "+ ", "! "].iter().any(|mark| line.starts_with(mark));
        let split = lines.iter().position(marked).unwrap_or(lines.len());
        let fields: Vec<_> = lines[1..split].iter().filter_map(|line| line.split_once(": ")).collect();
        let fields: Vec<_> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut noted = endpoint::noted(lines[0], &fields);
        noted.extend(lines[split..].iter().map(|line| (*line).to_owned()));
        all.push(noted);
        self
    }

    pub fn nothing_whole(mut self) -> Row {
        self.received = Received::NothingWhole;
        self
    }

    pub fn whatever_reaches(mut self) -> Row {
        self.received = Received::Anything;
        self
    }

    /// What else must be true of the answer.
    pub fn with(mut self, check: impl Fn(&crate::client::Answer) -> bool + 'static) -> Row {
        self.answer = Some(Box::new(check));
        self
    }
}

/// A gateway in front of one endpoint of each kind: `a.test` speaks HTTP/1.1, `b.test` HTTP/2;
/// `hasty.test` is `a.test`, with an answer-rate that nobody keeps.
pub struct Stage {
    daemon: Daemon,
    pub address: String,
    secure: String,
    pub book: Book,
    pub book2: Book,
}

impl Stage {
    pub fn new() -> Stage {
        let (endpoint, book) = endpoint::start();
        let (endpoint2, book2) = endpoint2::start();
        let folder = Folder::listening_with(
            "[listener.https]\nlisten = [\"127.0.0.1:0\"]\ntls = true\n\
             [tls]\ncertificates = [{ chain = \"rows.pem\", key = \"rows.key\" }]\n\
             [daemon]\nthreads = 1\n[log]\naccess = \"all\"",
        );
        Authority::new("rows").leaf(&["rows.test"]).pair().write(folder.path(), "rows");
        folder.passing("a", &endpoint);
        folder.passing_with("hasty", &endpoint, "limits = { answer-rate = \"1GiB\" }");
        folder.passing_with("b", &endpoint2, "protocol = \"h2c\"");
        let daemon = folder.start().ready();
        let [address, secure] = ["http", "https"].map(|listener| daemon.address_of(listener));
        Stage { address, secure, daemon, book, book2 }
    }

    pub fn log(&self) -> String {
        self.daemon.log()
    }

    fn connect(&self, over_tls: bool) -> Client {
        if over_tls { Client::silent_over_tls(&self.secure) } else { Client::silent(&self.address) }
    }

    fn play(&self, row: &Row, over_tls: bool) -> Result<(), String> {
        let book = if row.h2c { &self.book2 } else { &self.book };
        book.script(&row.script);
        let client = self.connect(over_tls);
        let mut client = if row.bare { client } else { client.greeted() };
        for step in &row.steps {
            match step {
                Step::Say(bytes) => _ = client.say(bytes),
                Step::Ended(stream) => _ = client.outcome(*stream),
                Step::Arrived(count) => {
                    if !book.until(|records| heads(records) >= *count) {
                        let here = heads(&book.records());
                        return Err(format!("only {here} of {count} requests reached the endpoint"));
                    }
                }
            }
        }
        let outcome = client.outcome(row.watched);
        let answered = matches!(&outcome, Outcome::Answer(answer) if answer.status == 200);
        // What the endpoint sees of a cut comes when it comes.
        if let Received::Lines(lines) = &row.received {
            let wanted: usize = lines.iter().map(Vec::len).sum();
            let marked = lines.iter().flatten().any(|line| line.starts_with("! "));
            if marked {
                book.until(|records| records.iter().map(|one| one.lines.len()).sum::<usize>() >= wanted);
            }
        }
        // The client stays until then: what comes of its leaving is nobody's.
        let plain = self.plain(&mut client, if row.h2c { "b.test" } else { "a.test" }, over_tls);
        let mut received = book.take();
        received.retain(|one| !one.lines[0].starts_with("GET /plain "));
        let mut faults = vec![];
        if !row.allowed.iter().any(|allowed| permits(allowed, &outcome)) {
            faults.push(format!("came: {}\n      allowed: {:?}", told(&outcome), row.allowed));
        }
        if let (Some(check), Outcome::Answer(answer)) = (&row.answer, &outcome)
            && !check(answer)
        {
            faults.push(format!("the answer is not as it must be: {answer:?}"));
        }
        let noted: Vec<Noted> = received.iter().map(|one| one.lines.clone()).collect();
        match &row.received {
            Received::NothingWhole => {
                if received.iter().any(|one| one.whole || one.lines.iter().any(|line| line.starts_with("? ")))
                {
                    faults.push(format!("the endpoint received a whole request: {noted:?}"));
                }
            }
            Received::Anything => {
                if noted.iter().flatten().any(|line| line.starts_with("? ")) {
                    faults.push(format!("the endpoint received: {noted:?}"));
                }
            }
            Received::Lines(lines) => {
                let may_be_missing = row.allowed.contains(&Allowed::Status(200)) && !answered;
                if noted != *lines && !(may_be_missing && noted.is_empty()) {
                    faults.push(format!("the endpoint received: {noted:?}\n      it must: {lines:?}"));
                }
            }
        }
        faults.extend(plain.err());
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n      ")) }
    }

    /// A plain request, on the same connection if that goes on; whatever a row has caused comes before it.
    fn plain(&self, client: &mut Client, host: &str, over_tls: bool) -> Result<(), String> {
        let same = !client.is_over();
        if !same {
            *client = self.connect(over_tls).greeted();
        }
        client.get(1001, host, "/plain");
        match client.outcome(1001) {
            Outcome::Answer(answer) if answer.status == 200 && answer.content == "ok" => Ok(()),
            other => Err(format!("a plain request afterwards (same connection: {same}): {other:?}")),
        }
    }
}

fn heads(records: &[Record]) -> usize {
    records.iter().filter(|record| !record.lines.is_empty()).count()
}

/// The outcome without the fields of its answer.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer(answer) => {
            format!("{} {:?}, broken: {:?}", answer.status, answer.content, answer.broken)
        }
        other => format!("{other:?}"),
    }
}

fn permits(allowed: &Allowed, outcome: &Outcome) -> bool {
    match (allowed, outcome) {
        (Allowed::Status(status), Outcome::Answer(answer)) => {
            answer.status == *status && matches!(answer.broken, None | Some(NO_ERROR))
        }
        // The head may have been waiting still when its stream was reset.
        (Allowed::Broken, Outcome::Reset(code)) => *code != NO_ERROR,
        (Allowed::Broken, Outcome::Answer(answer)) => answer.broken.is_some_and(|code| code != NO_ERROR),
        (Allowed::Reset(code), Outcome::Reset(came)) => code == came,
        (Allowed::Goaway(code), Outcome::Goaway(came)) => code == came,
        (Allowed::Alive, Outcome::Alive) | (Allowed::Closed, Outcome::Closed) => true,
        _ => false,
    }
}

/// Plays every row.
pub fn holds(rows: Vec<Row>) {
    let stage = Stage::new();
    let count = rows.len();
    let told = |row: &Row, over_tls: bool| {
        let why = stage.play(row, over_tls).err()?;
        let over = if over_tls { ", over TLS" } else { "" };
        Some(format!("  {}{over} ({})\n      {why}", row.name, row.citation))
    };
    let mut failed: Vec<String> = rows.iter().filter_map(|row| told(row, false)).collect();
    failed.extend(rows.iter().step_by(SECURE).filter_map(|row| told(row, true)));
    assert!(failed.is_empty(), "{} of {count} rows fail:\n{}", failed.len(), failed.join("\n"));
}
