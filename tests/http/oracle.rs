//! A reader of HTTP/1.1 that shares nothing with the product: it says whether bytes are exactly
//! messages, and which.
//!
//! Promises: it accepts only what a gateway may send (RFC 9112 with every leniency off): CRLF and
//! nothing else, one space where one belongs, one framing, no chunk extensions. Bytes of a field are
//! kept one to one, as Latin-1.
//! Must not know: the product's parser, sockets, rows.

/// How a connection ended for who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

pub type Fields = Vec<(String, String)>;

#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The request line or the status line.
    pub first: String,
    /// Names in lower case.
    pub fields: Fields,
    pub content: Vec<u8>,
    pub trailers: Fields,
    /// Whether it came to its end as its framing demands.
    pub whole: bool,
}

/// An answer with the interim ones before it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub interim: Vec<Message>,
    pub message: Message,
    pub status: u16,
}

impl Message {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|field| field.0 == name);
        named.map(|field| field.1.as_str()).collect()
    }

    pub fn lists(&self, name: &str, element: &str) -> bool {
        let elements = self.all(name).into_iter().flat_map(|value| value.split(','));
        elements.into_iter().any(|one| one.trim().eq_ignore_ascii_case(element))
    }

    fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }
}

/// Everything that one connection to an endpoint brought. The last message may be cut short, which it
/// then says; anything that is not a message is an error. With `tunnels`, what follows a CONNECT
/// or an upgrade is its content.
pub fn requests(bytes: &[u8], tunnels: bool) -> Result<Vec<Message>, String> {
    let mut rest = bytes;
    let mut found = vec![];
    while !rest.is_empty() {
        let Some((request, length)) = request(rest, tunnels)? else {
            return Err(format!("bytes that are no request: {}", quote(rest)));
        };
        rest = &rest[length..];
        found.push(request);
    }
    Ok(found)
}

/// The first request with its length so far; `None`: its head is not whole.
pub fn request(bytes: &[u8], tunnels: bool) -> Result<Option<(Message, usize)>, String> {
    let Some((mut message, start)) = head(bytes)? else { return Ok(None) };
    let parts: Vec<&str> = message.first.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        return Err(format!("no request line: {:?}", message.first));
    };
    if !is_token(method) || target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("no request line: {:?}", message.first));
    }
    if message.all("host").len() != 1 {
        return Err(format!("not one Host: {:?}", message.fields));
    }
    let tunnel = message.method() == "CONNECT" || !message.all("upgrade").is_empty();
    if tunnels && tunnel {
        message.content = bytes[start..].to_vec();
        message.whole = true;
        return Ok(Some((message, bytes.len())));
    }
    let length = content(&mut message, &bytes[start..], Some(0), None)?;
    Ok(Some((message, start + length)))
}

/// The answers to requests of these methods, as far as they are there; the last may be cut short or
/// still be coming. Returns how many bytes they took as well.
pub fn answers(bytes: &[u8], methods: &[&str], end: Option<End>) -> Result<(Vec<Answer>, usize), String> {
    let mut at = 0;
    let mut found = vec![];
    for method in methods {
        let (answer, length) = match answer(&bytes[at..], method, end)? {
            Some(answer) => answer,
            None => break,
        };
        at += length;
        let last = !answer.message.whole;
        found.push(answer);
        if last {
            break;
        }
    }
    Ok((found, at))
}

/// The heads of interim answers that are there, whether or not a final one is.
pub fn interim(bytes: &[u8]) -> Vec<u16> {
    let mut rest = bytes;
    let mut found = vec![];
    while let Ok(Some((message, length))) = head(rest) {
        match status(&message.first) {
            Ok(status) if is_interim(status) => found.push(status),
            _ => break,
        }
        rest = &rest[length..];
    }
    found
}

fn answer(bytes: &[u8], method: &str, end: Option<End>) -> Result<Option<(Answer, usize)>, String> {
    let mut at = 0;
    let mut interim = vec![];
    loop {
        let Some((mut message, length)) = head(&bytes[at..])? else { return Ok(None) };
        at += length;
        let status = status(&message.first)?;
        if message.first.starts_with("HTTP/1.0") && !message.all("transfer-encoding").is_empty() {
            return Err(format!("a coding in HTTP/1.0: {:?}", message.fields));
        }
        let framed =
            !message.all("content-length").is_empty() || !message.all("transfer-encoding").is_empty();
        if is_interim(status) {
            if framed {
                return Err(format!("an interim answer with a framing: {:?}", message.fields));
            }
            message.whole = true;
            interim.push(message);
            continue;
        }
        let switched = status == 101 || method == "CONNECT" && (200..300).contains(&status);
        if framed && (switched || status == 204) {
            return Err(format!("a {status} with a framing: {:?}", message.fields));
        }
        let empty = method == "HEAD" || matches!(status, 204 | 304);
        if empty {
            framing(&message)?;
            message.whole = true;
        } else {
            at += content(&mut message, &bytes[at..], None, end)?;
        }
        return Ok(Some((Answer { interim, message, status }, at)));
    }
}

fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

fn status(line: &str) -> Result<u16, String> {
    let bad = || format!("no status line: {line:?}");
    // RFC 9112, section 2.3: to a client of HTTP/1.0 either is right.
    let rest = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 ")).ok_or_else(bad)?;
    let (digits, _reason) = rest.split_once(' ').ok_or_else(bad)?;
    let is_status = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_status.then(|| digits.parse().unwrap()).ok_or_else(bad)
}

/// A head up to its empty line; `None`: there is none yet.
fn head(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = lines(&bytes[..end])?.into_iter();
    let first = lines.next().unwrap_or_default();
    let fields = lines.map(|line| field(&line)).collect::<Result<_, _>>()?;
    Ok(Some((Message { first, fields, ..Message::default() }, end + 4)))
}

fn lines(bytes: &[u8]) -> Result<Vec<String>, String> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    let bad = |char: char| (char < ' ' && char != '\t') || char == '\x7f';
    match lines.iter().find(|line| line.contains(bad)) {
        Some(line) => Err(format!("a control character in {line:?}")),
        None => Ok(lines),
    }
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no field: {line:?}"))?;
    let value = value.strip_prefix(' ').unwrap_or(value);
    if !is_token(name) || value.trim_matches([' ', '\t']) != value {
        return Err(format!("no strict field: {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

enum Framing {
    Chunked,
    Length(usize),
    None,
}

fn framing(message: &Message) -> Result<Framing, String> {
    let lengths = message.all("content-length");
    match (&message.all("transfer-encoding")[..], &lengths[..]) {
        ([], []) => Ok(Framing::None),
        (["chunked"], []) => Ok(Framing::Chunked),
        ([], [digits]) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Framing::Length).map_err(|error| format!("{digits}: {error}"))
        }
        _ => Err(format!("an ambiguous framing: {:?}", message.fields)),
    }
}

/// Reads the content; `unframed` is the length of what has no framing, `None` up to the end.
fn content(
    message: &mut Message,
    bytes: &[u8],
    unframed: Option<usize>,
    end: Option<End>,
) -> Result<usize, String> {
    let length = match (framing(message)?, unframed) {
        (Framing::Chunked, _) => return chunks(message, bytes),
        (Framing::Length(length), _) | (Framing::None, Some(length)) => length,
        (Framing::None, None) => {
            message.content = bytes.to_vec();
            message.whole = end == Some(End::Closed);
            return Ok(bytes.len());
        }
    };
    let there = length.min(bytes.len());
    message.content = bytes[..there].to_vec();
    message.whole = there == length;
    Ok(there)
}

fn chunks(message: &mut Message, bytes: &[u8]) -> Result<usize, String> {
    let mut at = 0;
    // What is not there yet makes the message a part, not wrong.
    let cut = |_: &mut Message| Ok(bytes.len());
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else {
            let begun = bytes[at..].strip_suffix(b"\r").unwrap_or(&bytes[at..]);
            if !begun.iter().all(u8::is_ascii_hexdigit) {
                return Err(format!("no chunk size: {}", quote(begun)));
            }
            return cut(message);
        };
        let digits = &bytes[at..at + end];
        let strict = !digits.is_empty() && digits.len() <= 8 && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).ok().filter(|_| strict);
        let size = text.and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.ok_or_else(|| format!("no chunk size: {}", quote(digits)))?;
        at += end + 2;
        if size == 0 {
            break;
        }
        let there = size.min(bytes.len() - at);
        message.content.extend_from_slice(&bytes[at..at + there]);
        at += there;
        match &bytes[at..] {
            rest if rest.len() < 2 => return cut(message),
            [b'\r', b'\n', ..] => at += 2,
            rest => return Err(format!("no end of a chunk: {}", quote(&rest[..2]))),
        }
    }
    if bytes[at..].starts_with(b"\r\n") {
        message.whole = true;
        return Ok(at + 2);
    }
    let Some(end) = find(&bytes[at..], b"\r\n\r\n") else { return cut(message) };
    let trailers = lines(&bytes[at..at + end])?;
    message.trailers = trailers.iter().map(|line| field(line)).collect::<Result<_, _>>()?;
    message.whole = true;
    Ok(at + end + 4)
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Bytes for a person: escaped, and cut in the middle when there are many.
pub fn quote(bytes: &[u8]) -> String {
    const MOST: usize = 600;
    let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
    if bytes.len() <= MOST {
        return format!("\"{}\"", escaped(bytes));
    }
    let (first, last) = (&bytes[..MOST / 2], &bytes[bytes.len() - MOST / 2..]);
    format!("\"{}\" … {} bytes … \"{}\"", escaped(first), bytes.len() - MOST, escaped(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_accepts_what_a_gateway_may_send() {
        let bytes = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\
                      x-sum: 1\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let found = requests(bytes, false).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].content, b"abc");
        assert_eq!(found[0].trailers, [("x-sum".to_owned(), "1".to_owned())]);
        assert!(found.iter().all(|message| message.whole));
        let part = requests(&bytes[..66], false).unwrap();
        assert!(part.len() == 1 && !part[0].whole);
    }

    #[test]
    fn the_oracle_refuses_every_leniency() {
        let post =
            |fields: &str, content: &str| format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n{content}");
        let chunked = |content: &str| post("transfer-encoding: chunked\r\n", content);
        for wrong in [
            "GET / HTTP/1.0\r\nhost: x\r\n\r\n".to_owned(),
            "GET  / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\nhost: x\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost : x\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: x\r\na:  b\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: x\r\n\r\nstray".to_owned(),
            post("content-length: 1\r\ncontent-length: 1\r\n", "a"),
            post("content-length: 1\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
            post("content-length: +1\r\n", "a"),
            post("transfer-encoding: Chunked\r\n", "0\r\n\r\n"),
            chunked("3;a\r\nabc\r\n0\r\n\r\n"),
            chunked("3\nabc\r\n0\r\n\r\n"),
            chunked("3\r\nabcd\r\n0\r\n\r\n"),
            chunked("0\r\nx\r\n\r\n"),
        ] {
            assert!(requests(wrong.as_bytes(), false).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_oracle_sees_an_answer_that_broke_off() {
        let told =
            |text: &str, end| answers(text.as_bytes(), &["GET"], Some(end)).unwrap().0[0].message.whole;
        assert!(told("HTTP/1.1 200 OK\r\n\r\nabc", End::Closed));
        assert!(!told("HTTP/1.1 200 OK\r\n\r\nabc", End::Reset));
        assert!(!told("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc", End::Closed));
        assert!(!told("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", End::Closed));
        let text = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        let (found, length) = answers(text.as_bytes(), &["GET"], None).unwrap();
        assert_eq!((found[0].status, found[0].interim.len(), length), (204, 1, text.len()));
    }
}
