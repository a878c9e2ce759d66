//! A row of a table: what a client says, what the endpoint answers, and what must come of it.
//!
//! Promises: plain data. Every row writes its host as [`HOST`]; each run of a row replaces it by a
//! host of its own of the same length, so that a smuggled request goes where it is looked for.
//! Must not know: how rows are run.

/// The host of every row.
pub const HOST: &str = "a0000.test";

/// What the endpoint answers when the row does not say.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub struct Row {
    pub name: String,
    /// Where it is written what must happen.
    pub citation: String,
    pub steps: Vec<Step>,
    /// One for each request that the endpoint gets, in order; [`OK`] afterwards.
    pub scripts: Vec<Vec<Act>>,
    /// The final answers, in order.
    pub gets: Vec<Expected>,
    pub then: Then,
    pub arrives: Vec<Want>,
    /// Lines below the service in the configuration.
    pub service: String,
    /// What the log must say afterwards.
    pub logs: Option<&'static str>,
    /// Whether the endpoint may switch protocols.
    pub tunnels: bool,
    /// Whether it is run with the answers and requests in single bytes as well.
    pub by_bytes: bool,
}

/// What the client does.
pub enum Step {
    Say(Vec<u8>),
    /// Until so many final answers are there.
    Answered(usize),
    /// Until an interim answer with this status is there.
    Interim(u16),
    /// Until these bytes have come.
    Heard(&'static str),
    HalfClose,
    Mark(&'static str),
    Await(&'static str),
}

/// What the endpoint does with a request.
pub enum Act {
    /// Waits for the rest of the request; without it, only its head is there.
    Whole,
    /// Waits for these bytes, of a content or a tunnel.
    Heard(&'static str),
    Say(Vec<u8>),
    /// Ends the connection, and takes what still comes.
    Close,
    Reset,
    Mark(&'static str),
    Await(&'static str),
}

/// What becomes of the client's connection.
pub enum Then {
    /// The next request on it gets its own answer.
    Kept,
    /// It ends; the last answer says so beforehand.
    Refused,
    /// It ends.
    Closed,
    /// When the last answer does not say `close`, these bytes are still the rest of the request, and the
    /// connection is kept after them.
    KeptAfter(&'static str),
    /// It may end without a word, since there is much that nobody wants to read; when it is kept, the next
    /// request gets its own answer.
    KeptOrClosed,
    /// Nothing is said about it.
    Any,
}

/// A final answer.
pub struct Expected {
    /// The method of its request.
    pub to: &'static str,
    pub statuses: Vec<u16>,
    pub interim: Option<Vec<u16>>,
    /// Each name with all of its values in order.
    pub fields: Vec<(String, Vec<String>)>,
    pub content: Content,
    pub trailers: Option<Vec<(String, String)>>,
    /// The code of an error, of hitless itself.
    pub code: Option<&'static str>,
    /// Whether the connection may end without it.
    pub optional: bool,
}

#[derive(Clone)]
pub enum Content {
    /// Whole, whatever it is.
    Any,
    Exactly(Vec<u8>),
    /// The client can see that it is not whole, and what it has is the beginning of this.
    Cut(Vec<u8>),
}

/// A request that the endpoint gets.
pub struct Want {
    pub line: String,
    /// Every field but those that hitless says itself, in their order name by name.
    pub exactly: Option<Vec<(String, String)>>,
    pub fields: Vec<(String, Vec<String>)>,
    /// `None`: whatever it is.
    pub content: Option<Vec<u8>>,
    pub trailers: Vec<(String, String)>,
    /// Whether it may be missing, and must not look whole.
    pub broken: bool,
    /// Whether its content may be cut short.
    pub maybe_cut: bool,
}

pub fn row(name: impl Into<String>, citation: impl Into<String>) -> Row {
    Row {
        name: name.into(),
        citation: citation.into(),
        steps: vec![],
        scripts: vec![],
        gets: vec![],
        then: Then::Kept,
        arrives: vec![],
        service: String::new(),
        logs: None,
        tunnels: false,
        by_bytes: true,
    }
}

impl Row {
    pub fn says(mut self, bytes: impl AsRef<[u8]>) -> Row {
        self.steps.push(Step::Say(bytes.as_ref().to_vec()));
        self
    }

    pub fn does(mut self, step: Step) -> Row {
        self.steps.push(step);
        self
    }

    /// The endpoint takes the whole next request and says this.
    pub fn answers(self, bytes: impl AsRef<[u8]>) -> Row {
        self.acts(vec![Act::Whole, say(bytes)])
    }

    /// The same, then it ends the connection.
    pub fn answers_and_closes(self, bytes: impl AsRef<[u8]>) -> Row {
        self.acts(vec![Act::Whole, say(bytes), Act::Close])
    }

    pub fn acts(mut self, acts: Vec<Act>) -> Row {
        self.scripts.push(acts);
        self
    }

    pub fn gets(mut self, expected: Expected) -> Row {
        self.gets.push(expected);
        self
    }

    pub fn then(mut self, then: Then) -> Row {
        self.then = then;
        self
    }

    pub fn arrives(mut self, want: Want) -> Row {
        self.arrives.push(want);
        self
    }

    pub fn service(mut self, lines: impl Into<String>) -> Row {
        self.service = lines.into();
        self
    }

    pub fn logs(mut self, text: &'static str) -> Row {
        self.logs = Some(text);
        self
    }

    pub fn tunnels(mut self) -> Row {
        self.tunnels = true;
        self
    }

    /// For what takes time by its nature: once is enough.
    pub fn once(mut self) -> Row {
        self.by_bytes = false;
        self
    }

    /// The request is answered with this, nothing of it arrives anywhere, and the connection ends.
    pub fn refused(self, status: u16) -> Row {
        self.refused_with(&[status])
    }

    /// The same, with any of these.
    pub fn refused_with(self, statuses: &[u16]) -> Row {
        self.gets(any_of(statuses)).then(Then::Refused)
    }

    /// The fault is behind the head: what arrives of the request is at most a part that looks like one.
    pub fn broken(self, status: u16, line: &str) -> Row {
        self.refused(status).arrives(Want { broken: true, ..want(line).any_content() })
    }

    /// The request arrives with this line and is answered 200.
    pub fn served(self, line: &str) -> Row {
        self.gets(status(200)).arrives(want(line))
    }
}

pub fn say(bytes: impl AsRef<[u8]>) -> Act {
    Act::Say(bytes.as_ref().to_vec())
}

pub fn status(status: u16) -> Expected {
    any_of(&[status])
}

pub fn any_of(statuses: &[u16]) -> Expected {
    Expected {
        to: "GET",
        statuses: statuses.to_vec(),
        interim: None,
        fields: vec![],
        content: Content::Any,
        trailers: None,
        code: None,
        optional: false,
    }
}

impl Expected {
    pub fn to(mut self, method: &'static str) -> Expected {
        self.to = method;
        self
    }

    pub fn interim(mut self, statuses: &[u16]) -> Expected {
        self.interim = Some(statuses.to_vec());
        self
    }

    pub fn field(mut self, name: &str, values: &[&str]) -> Expected {
        self.fields.push((name.to_owned(), owned(values)));
        self
    }

    pub fn content(mut self, bytes: impl AsRef<[u8]>) -> Expected {
        self.content = Content::Exactly(bytes.as_ref().to_vec());
        self
    }

    pub fn cut(mut self, bytes: impl AsRef<[u8]>) -> Expected {
        self.content = Content::Cut(bytes.as_ref().to_vec());
        self
    }

    pub fn trailers(mut self, trailers: &[(&str, &str)]) -> Expected {
        self.trailers = Some(pairs(trailers));
        self
    }

    pub fn code(mut self, code: &'static str) -> Expected {
        self.code = Some(code);
        self
    }

    pub fn or_nothing(mut self) -> Expected {
        self.optional = true;
        self
    }
}

pub fn want(line: &str) -> Want {
    Want {
        line: line.to_owned(),
        exactly: None,
        fields: vec![],
        content: Some(vec![]),
        trailers: vec![],
        broken: false,
        maybe_cut: false,
    }
}

impl Want {
    pub fn exactly(mut self, fields: &[(&str, &str)]) -> Want {
        self.exactly = Some(pairs(fields));
        self
    }

    pub fn field(mut self, name: &str, values: &[&str]) -> Want {
        self.fields.push((name.to_owned(), owned(values)));
        self
    }

    pub fn content(mut self, bytes: impl AsRef<[u8]>) -> Want {
        self.content = Some(bytes.as_ref().to_vec());
        self
    }

    pub fn any_content(mut self) -> Want {
        self.content = None;
        self
    }

    pub fn trailers(mut self, trailers: &[(&str, &str)]) -> Want {
        self.trailers = pairs(trailers);
        self
    }

    pub fn maybe_cut(mut self) -> Want {
        self.maybe_cut = true;
        self
    }
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A GET with these field lines.
pub fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n")
}

/// A POST with these field lines and whatever follows the head.
pub fn post(lines: &str, rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n{rest}")
}

/// A POST in chunks.
pub fn chunked(rest: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", rest)
}

/// Text with one byte in the place of `{}`.
pub fn with(text: &str, byte: u8) -> Vec<u8> {
    let (before, after) = text.split_once("{}").unwrap();
    [before.as_bytes(), &[byte], after.as_bytes()].concat()
}

/// Control characters other than those that end lines or are white space.
pub fn controls() -> impl Iterator<Item = u8> {
    (0..=0x1f).chain([0x7f]).filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n'))
}

/// What may stand in no token (RFC 9110, section 5.6.2).
pub const DELIMITERS: &[u8] = b"\"(),/;<=>?@[\\]{}";
