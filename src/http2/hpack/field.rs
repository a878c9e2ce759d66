//! A field as a block gives it: a pseudo-field, another field, or none that may be (RFC 9113, section 8.2).
//!
//! Promises: what is malformed by itself, wherever it stands, is known here.
//! Must not know: the other fields of the block.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Pseudo(Pseudo),
    Regular(HeaderName, HeaderValue),
    /// Its message is malformed (section 8.1.1).
    Malformed(Name, &'static str),
}

/// Section 8.3; `:protocol` is RFC 8441's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pseudo {
    Method(Method),
    Scheme(Scheme),
    Authority(Authority),
    Path(PathAndQuery),
    Protocol(Protocol),
    Status(StatusCode),
}

/// Takes the fields of a block, in their order.
pub trait Sink {
    fn regular(&mut self, name: HeaderName, value: HeaderValue);
    fn pseudo(&mut self, pseudo: Pseudo);
    fn malformed(&mut self, why: &'static str);
}

/// The name of a field, for another one that shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    Regular(HeaderName),
    Malformed(&'static str, usize),
}

/// What an extended CONNECT asks for, such as `websocket` (RFC 8441, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(Arc<str>);

impl Protocol {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Protocol {
    fn from(name: &str) -> Protocol {
        Protocol(name.into())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Name {
    pub(super) fn of(text: &[u8]) -> Name {
        if text.first() == Some(&b':') {
            return match text {
                b":method" => Name::Method,
                b":scheme" => Name::Scheme,
                b":authority" => Name::Authority,
                b":path" => Name::Path,
                b":protocol" => Name::Protocol,
                b":status" => Name::Status,
                _ => Name::Malformed("an unknown pseudo-field", text.len()),
            };
        }
        match HeaderName::from_lowercase(text) {
            Ok(name) if is_of_connection(&name) => Name::Malformed("a field of the connection", text.len()),
            Ok(name) => Name::Regular(name),
            Err(_) => Name::Malformed("the name of a field has a byte that it must not have", text.len()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Name::Path => 5,
            Name::Method | Name::Scheme | Name::Status => 7,
            Name::Protocol => 9,
            Name::Authority => 10,
            Name::Regular(name) => name.as_str().len(),
            Name::Malformed(_, length) => *length,
        }
    }
}

/// RFC 9113, section 8.2.2.
fn is_of_connection(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == "keep-alive"
        || *name == "proxy-connection"
}

/// A value: shared with others of its block, or for the table.
pub(super) enum Value<'a> {
    Shared(&'a mut BytesMut),
    Own(&'a [u8]),
}

impl Value<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Value::Shared(text) => text,
            Value::Own(text) => text,
        }
    }

    fn take(self) -> Bytes {
        match self {
            _ if self.bytes().is_empty() => Bytes::new(),
            Value::Shared(text) => text.split().freeze(),
            Value::Own(text) => Bytes::copy_from_slice(text),
        }
    }
}

impl Field {
    pub(super) fn new(name: Name, value: Value<'_>) -> Field {
        let pseudo = match &name {
            Name::Regular(name) => return regular(name.clone(), value),
            Name::Malformed(why, _) => Err(*why),
            Name::Method => method(value.bytes()).ok_or("the method is none"),
            Name::Scheme => scheme(value.bytes()).ok_or("the scheme is none"),
            Name::Authority => {
                let authority = Authority::from_maybe_shared(value.take());
                authority.map(Pseudo::Authority).map_err(|_| "the authority is none")
            }
            Name::Path => path(value).ok_or("the path is none"),
            Name::Protocol => protocol(value.bytes()).ok_or("the protocol is none"),
            Name::Status => {
                let status = StatusCode::from_bytes(value.bytes());
                status.map(Pseudo::Status).map_err(|_| "the status is none")
            }
        };
        match pseudo {
            Ok(pseudo) => Field::Pseudo(pseudo),
            Err(why) => Field::Malformed(name, why),
        }
    }

    pub(super) fn give(self, sink: &mut impl Sink) {
        match self {
            Field::Regular(name, value) => sink.regular(name, value),
            Field::Pseudo(pseudo) => sink.pseudo(pseudo),
            Field::Malformed(_, why) => sink.malformed(why),
        }
    }

    /// A copy.
    #[inline]
    pub(super) fn lend(&self, sink: &mut impl Sink) {
        match self {
            Field::Regular(name, value) => sink.regular(name.clone(), value.clone()),
            Field::Pseudo(pseudo) => sink.pseudo(pseudo.clone()),
            Field::Malformed(_, why) => sink.malformed(why),
        }
    }

    pub(super) fn name(&self) -> Name {
        match self {
            Field::Pseudo(Pseudo::Method(_)) => Name::Method,
            Field::Pseudo(Pseudo::Scheme(_)) => Name::Scheme,
            Field::Pseudo(Pseudo::Authority(_)) => Name::Authority,
            Field::Pseudo(Pseudo::Path(_)) => Name::Path,
            Field::Pseudo(Pseudo::Protocol(_)) => Name::Protocol,
            Field::Pseudo(Pseudo::Status(_)) => Name::Status,
            Field::Regular(name, _) => Name::Regular(name.clone()),
            Field::Malformed(name, _) => name.clone(),
        }
    }
}

fn regular(name: HeaderName, value: Value<'_>) -> Field {
    if name == TE && value.bytes() != b"trailers" {
        return Field::Malformed(Name::Regular(name), "te is more than trailers");
    }
    if value.bytes().is_empty() {
        return Field::Regular(name, HeaderValue::from_static(""));
    }
    match HeaderValue::from_maybe_shared(value.take()) {
        Ok(value) => Field::Regular(name, value),
        Err(_) => {
            Field::Malformed(Name::Regular(name), "the value of a field has a byte that it must not have")
        }
    }
}

fn method(text: &[u8]) -> Option<Pseudo> {
    Method::from_bytes(text).ok().map(Pseudo::Method)
}

fn scheme(text: &[u8]) -> Option<Pseudo> {
    let scheme = Scheme::try_from(text).ok().filter(|scheme| !scheme.as_str().is_empty());
    scheme.map(Pseudo::Scheme)
}

/// `http` takes what follows a `#` off without a word, and nothing for `/`.
fn path(value: Value<'_>) -> Option<Pseudo> {
    let length = value.bytes().len();
    let path = PathAndQuery::from_maybe_shared(value.take()).ok()?;
    (path.as_str().len() == length).then_some(Pseudo::Path(path))
}

fn protocol(text: &[u8]) -> Option<Pseudo> {
    let visible = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    let text = std::str::from_utf8(text).ok().filter(|_| visible)?;
    Some(Pseudo::Protocol(Protocol::from(text)))
}
