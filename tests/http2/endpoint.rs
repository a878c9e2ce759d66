//! An HTTP/1.1 endpoint that notes every byte, and takes nothing that is not to the letter.
//!
//! Promises: its parser accepts one reading only (RFC 9112, without any of the leniency that it
//! permits); whatever else comes is noted as a breach and fails the row, and the connection ends.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};

use crate::daemon::PATIENCE;
use crate::ears::{Ear, Ears};

/// Lines of one request: the request line, the fields in the order of their names, `= ` and the
/// content, `+ ` and a trailer, and what became of it: `! cut` inside of the content, `! gone`
/// before an answer that was held back, `? ` and a breach.
pub type Noted = Vec<String>;

/// What one request was, as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub lines: Noted,
    pub whole: bool,
}

/// What an endpoint has received, and what it says.
#[derive(Clone)]
pub struct Book(Arc<(Mutex<Pages>, Condvar)>, Ears);

#[derive(Default)]
struct Pages {
    records: Vec<Record>,
    /// What `/scripted` is answered with; the connection ends after it.
    script: Vec<u8>,
    deaf: Vec<Ear>,
}

impl Book {
    pub fn of(ears: Ears) -> Book {
        Book(Arc::default(), ears)
    }

    pub fn script(&self, bytes: &[u8]) {
        self.0.0.lock().unwrap().script = bytes.to_vec();
    }

    /// Waits until it says so; false if it never does.
    pub fn until(&self, holds: impl Fn(&[Record]) -> bool) -> bool {
        let (pages, changed) = &*self.0;
        let pages = pages.lock().unwrap();
        let waited = changed.wait_timeout_while(pages, PATIENCE, |pages| !holds(&pages.records));
        !waited.unwrap().1.timed_out()
    }

    pub fn records(&self) -> Vec<Record> {
        self.0.0.lock().unwrap().records.clone()
    }

    /// Everything that has been sent to the endpoint; the next row begins with an empty page.
    pub fn take(&self) -> Vec<Record> {
        self.1.settle();
        let mut records = self.records();
        self.note(|pages| {
            pages.iter_mut().for_each(|page| *page = Record { whole: true, ..Record::default() })
        });
        records.retain(|record| !record.lines.is_empty());
        records
    }

    pub fn begin(&self, lines: Noted) -> usize {
        let mut place = 0;
        self.note(|records| {
            place = records.len();
            records.push(Record { lines, whole: false });
        });
        place
    }

    /// Adds to a request that has not been taken yet.
    pub fn add(&self, place: usize, line: String) {
        self.note(|records| {
            if !records[place].lines.is_empty() {
                records[place].lines.push(line);
            }
        });
    }

    pub fn finish(&self, place: usize) {
        self.note(|records| records[place].whole = true);
    }

    fn note(&self, change: impl FnOnce(&mut Vec<Record>)) {
        change(&mut self.0.0.lock().unwrap().records);
        self.0.1.notify_all();
    }
}

/// Where it listens, and its book.
pub fn start() -> (String, Book) {
    let ears = Ears::listening();
    let (address, book) = (ears.address(), Book::of(ears.clone()));
    let notes = book.clone();
    std::thread::spawn(move || {
        loop {
            let (socket, book) = (ears.accept(), notes.clone());
            std::thread::spawn(move || Speaker { socket, ahead: vec![], book }.serve());
        }
    });
    (address, book)
}

struct Speaker {
    socket: Ear,
    ahead: Vec<u8>,
    book: Book,
}

/// Why nothing more is read.
enum End {
    /// Nothing, or too little, came.
    Closed,
    Breach(String),
}

struct Head {
    lines: Noted,
    target: String,
    method: String,
    framing: Framing,
    expects: bool,
}

enum Framing {
    None,
    Length(usize),
    Chunked,
}

impl Speaker {
    fn serve(mut self) {
        loop {
            let head = match self.head() {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(End::Closed) => {
                    let partial =
                        format!("? a head that breaks off: {:?}", String::from_utf8_lossy(&self.ahead));
                    self.book.begin(vec![partial]);
                    return;
                }
                Err(End::Breach(why)) => {
                    let bytes = String::from_utf8_lossy(&self.ahead).into_owned();
                    self.book.begin(vec![format!("? {why}: {bytes:?}")]);
                    return;
                }
            };
            let place = self.book.begin(head.lines.clone());
            if head.target.starts_with("/deaf") {
                self.socket.deafen();
                self.book.0.0.lock().unwrap().deaf.push(self.socket);
                return;
            }
            if head.target.starts_with("/early") && self.say(OK).is_err() {
                return;
            }
            if head.expects {
                let _ = self.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            match self.content(&head.framing, place) {
                Ok(()) => self.book.finish(place),
                Err(End::Closed) => return self.book.add(place, "! cut".to_owned()),
                Err(End::Breach(why)) => return self.book.add(place, format!("? {why}")),
            }
            if head.target.starts_with("/hang") {
                let _ = self.more();
                return self.book.add(place, "! gone".to_owned());
            }
            if head.target.starts_with("/scripted") {
                let script = self.book.0.0.lock().unwrap().script.clone();
                let _ = self.say(&script);
                return;
            }
            if head.target.starts_with("/stream") {
                return self.stream(place);
            }
            let answer = if head.method == "HEAD" { &OK[..OK.len() - 2] } else { OK };
            if !head.target.starts_with("/early") && self.say(answer).is_err() {
                return;
            }
        }
    }

    /// Says more until nobody listens.
    fn stream(&mut self, place: usize) {
        self.socket.deafen();
        let mut said = self.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while said.is_ok() {
            said = self.say(b"5\r\nhello\r\n");
        }
        self.book.add(place, "! gone".to_owned());
    }

    fn say(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    fn more(&mut self) -> Result<(), End> {
        let mut space = [0; 16_384];
        match self.socket.read(&mut space) {
            Ok(count) if count > 0 => {
                self.ahead.extend_from_slice(&space[..count]);
                Ok(())
            }
            _ => Err(End::Closed),
        }
    }

    fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, End> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                let rest = self.ahead.split_off(at + end.len());
                let mut found = std::mem::replace(&mut self.ahead, rest);
                found.truncate(at);
                return Ok(found);
            }
            self.more()?;
        }
    }

    /// Nothing when the connection ends between two requests.
    fn head(&mut self) -> Result<Option<Head>, End> {
        if self.ahead.is_empty() && self.more().is_err() {
            return Ok(None);
        }
        let bytes = self.until(b"\r\n\r\n")?;
        read(&bytes)
            .map(Some)
            .map_err(|why| End::Breach(format!("{why} in {:?}", String::from_utf8_lossy(&bytes))))
    }

    fn content(&mut self, framing: &Framing, place: usize) -> Result<(), End> {
        let mut content = vec![];
        let mut trailers = vec![];
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                while self.ahead.len() < *length {
                    self.more()?;
                }
                content = self.ahead.drain(..length).collect();
            }
            Framing::Chunked => {
                content = self.chunks()?;
                loop {
                    let line = self.until(b"\r\n")?;
                    if line.is_empty() {
                        break;
                    }
                    trailers.push(field(&line).map_err(End::Breach)?);
                }
            }
        }
        if !content.is_empty() {
            let text = String::from_utf8_lossy(&content).into_owned();
            let long = content.len() > 100;
            self.book
                .add(place, if long { format!("= {} bytes", content.len()) } else { format!("= {text}") });
        }
        for (name, value) in trailers {
            self.book.add(place, format!("+ {name}: {value}"));
        }
        Ok(())
    }

    fn chunks(&mut self) -> Result<Vec<u8>, End> {
        let mut content = vec![];
        loop {
            let line = self.until(b"\r\n")?;
            let digits = (1..=16).contains(&line.len()) && line.iter().all(u8::is_ascii_hexdigit);
            let text = String::from_utf8_lossy(&line).into_owned();
            let size = usize::from_str_radix(&text, 16).ok().filter(|_| digits);
            let size = size.ok_or_else(|| End::Breach(format!("a chunk of the size {text:?}")))?;
            if size == 0 {
                return Ok(content);
            }
            while self.ahead.len() < size + 2 {
                self.more()?;
            }
            content.extend(self.ahead.drain(..size));
            if self.ahead.drain(..2).collect::<Vec<_>>() != b"\r\n" {
                return Err(End::Breach("a chunk that is longer than it says".to_owned()));
            }
        }
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The strict reading of a head (RFC 9112, sections 3, 5 and 6).
fn read(bytes: &[u8]) -> Result<Head, String> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (first, count) =
        (lines.next().unwrap_or_default(), bytes.iter().filter(|byte| **byte == b'\n').count());
    if bytes.windows(2).filter(|two| two == b"\r\n").count() != count
        || bytes.iter().filter(|byte| **byte == b'\r').count() != count
    {
        return Err("a bare CR or LF".to_owned());
    }
    let line = std::str::from_utf8(first).map_err(|_| "a request line that is not ASCII")?;
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(format!("the request line {line:?}")) };
    let form = match target.as_bytes() {
        b"*" => method == "OPTIONS",
        target => {
            // The URL standard's sets for path and query, which browsers keep to.
            let (path, query) =
                target.split_at(target.iter().position(|b| *b == b'?').unwrap_or(target.len()));
            let none_of =
                |text: &[u8], odd: &[u8]| text.iter().all(|b| (0x21..0x7f).contains(b) && !odd.contains(b));
            target.starts_with(b"/") && none_of(path, b"#\"<>\\`") && none_of(query, b"#\"<>")
        }
    };
    if method.is_empty() || !method.bytes().all(is_token) || !form {
        return Err(format!("the request line {line:?}"));
    }
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let all = |name: &str| {
        fields.iter().filter(|field| field.0 == name).map(|field| field.1.as_str()).collect::<Vec<_>>()
    };
    if all("host").len() != 1 || all("host").iter().any(|host| host.contains([' ', '@', ',', '/'])) {
        return Err(format!("the hosts {:?}", all("host")));
    }
    let framing = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Framing::None,
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Framing::Length(length.parse().map_err(|_| "an endless length")?)
        }
        ([], ["chunked"]) => Framing::Chunked,
        other => return Err(format!("the framing {other:?}")),
    };
    let hop = ["keep-alive", "proxy-connection", "http2-settings", "proxy"];
    if let Some(name) = hop.iter().find(|name| !all(name).is_empty()) {
        return Err(format!("the field {name}"));
    }
    let options: BTreeSet<String> = all("connection")
        .iter()
        .flat_map(|line| line.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
        .collect();
    for (field, option) in [("upgrade", "upgrade"), ("te", "te")] {
        if all(field).is_empty() == options.contains(option) {
            return Err(format!("{field} without its connection option, or the reverse"));
        }
    }
    let expects = all("expect") == ["100-continue"];
    Ok(Head {
        lines: noted(line, &fields),
        target: target.to_owned(),
        method: method.to_owned(),
        framing,
        expects,
    })
}

/// The lines of a head; what the gateway says of itself is left out.
pub fn noted(first: &str, fields: &[(String, String)]) -> Noted {
    const OWN: [&str; 7] = [
        "via",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
        "traceparent",
    ];
    let mut fields: Vec<_> = fields.iter().filter(|field| !OWN.contains(&field.0.as_str())).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    let lines = fields.into_iter().map(|(name, value)| format!("{name}: {value}"));
    std::iter::once(first.to_owned()).chain(lines).collect()
}

fn field(line: &[u8]) -> Result<(String, String), String> {
    let shown = String::from_utf8_lossy(line).into_owned();
    let (name, value) = shown.split_once(':').ok_or_else(|| format!("no field: {shown:?}"))?;
    let sound = value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if name.is_empty() || !name.bytes().all(is_token) || !sound {
        return Err(format!("no field: {shown:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle itself is held to the letter: what it lets pass has one reading.
    #[test]
    fn a_head_with_two_readings_is_a_breach() {
        let sound = "GET / HTTP/1.1\r\nhost: a";
        assert!(read(sound.as_bytes()).is_ok());
        for head in [
            "GET  / HTTP/1.1\r\nhost: a",
            "GET / HTTP/1.0\r\nhost: a",
            "GET /a b HTTP/1.1\r\nhost: a",
            "GET http://a/ HTTP/1.1\r\nhost: a",
            "GET * HTTP/1.1\r\nhost: a",
            "GET /#a HTTP/1.1\r\nhost: a",
            "G(T / HTTP/1.1\r\nhost: a",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a",
            "GET / HTTP/1.1\r\nhost: a@b",
            "GET / HTTP/1.1\nhost: a",
            "GET / HTTP/1.1\r\nhost: a\rx: b",
            "GET / HTTP/1.1\r\nhost : a",
            "GET / HTTP/1.1\r\nhost: a\r\n folded",
            "GET / HTTP/1.1\r\nhost: a\r\nx: \0",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +1",
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked",
            "GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: te",
            "GET / HTTP/1.1\r\nhost: a\r\nkeep-alive: timeout=5",
        ] {
            assert!(read(head.as_bytes()).is_err(), "{head:?}");
        }
    }
}
