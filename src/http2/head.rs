//! The head of a request, and trailers, from a block of fields (RFC 9113, section 8).
//!
//! Promises: pseudo-fields are first, known, not repeated and all that the method needs (section 8.3.1;
//! RFC 8441, section 4); no field of a connection is passed on (section 8.2.2); the target is the [`Uri`] that
//! its pseudo-fields make, and a scheme without an authority is dropped, since a `Uri` cannot have it. `cookie` is as
//! it came, in as many fields.
//! Must not know: limits, what a target may be, who is asked.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{self, Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Version};

pub use super::hpack::Protocol;
use super::hpack::{Broken, Decoded, Decoder, Pseudo, Sink};

/// A map of fields that grows costs more than one that is too large; a browser's request has no more.
const EXPECTED: usize = 24;

/// Why a message is malformed: a stream error, PROTOCOL_ERROR (section 8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What a block has given. When it was too [long](Decoded::long) it is without the fields that were
/// dropped, and may be malformed because of that alone.
#[derive(Debug)]
pub struct Read<T> {
    pub message: Result<T, Malformed>,
    pub decoded: Decoded,
}

/// The request that this block begins, with its [`Protocol`] in the extensions if it is an extended CONNECT.
/// `bound` is for the size of its list of fields (section 6.5.2).
pub fn request(decoder: &mut Decoder, block: &[u8], bound: usize) -> Result<Read<Request<()>>, Broken> {
    let mut head = Assembler::with_capacity(block.len().min(EXPECTED));
    let decoded = decoder.decode(block, bound, &mut head)?;
    Ok(Read { message: head.request(), decoded })
}

/// The trailers that this block is (section 8.1).
pub fn trailers(decoder: &mut Decoder, block: &[u8], bound: usize) -> Result<Read<HeaderMap>, Broken> {
    let mut head = Assembler::with_capacity(0);
    let decoded = decoder.decode(block, bound, &mut head)?;
    Ok(Read { message: head.trailers(), decoded })
}

/// What has been read of one block.
#[derive(Debug, Default)]
pub struct Assembler {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<Protocol>,
    pseudo: bool,
    fields: HeaderMap,
    /// The first reason.
    malformed: Option<&'static str>,
}

impl Assembler {
    pub fn with_capacity(fields: usize) -> Assembler {
        Assembler { fields: HeaderMap::with_capacity(fields), ..Assembler::default() }
    }

    fn refuse(&mut self, why: &'static str) {
        self.malformed.get_or_insert(why);
    }

    /// Sections 8.3.1 and 8.5; RFC 8441, section 4.
    pub fn request(self) -> Result<Request<()>, Malformed> {
        if let Some(why) = self.malformed {
            return Err(Malformed(why));
        }
        let method = self.method.ok_or(Malformed("a request without a method"))?;
        let has_target = self.scheme.is_some() || self.path.is_some();
        if method == Method::CONNECT && self.protocol.is_none() {
            if has_target {
                return Err(Malformed("CONNECT with a scheme or a path"));
            }
            if self.authority.is_none() {
                return Err(Malformed("CONNECT without an authority"));
            }
        } else if self.protocol.is_some() && method != Method::CONNECT {
            return Err(Malformed("a protocol without CONNECT"));
        } else if self.scheme.is_none() || self.path.is_none() {
            return Err(Malformed("a request without a scheme or a path"));
        }
        let mut parts = uri::Parts::default();
        parts.scheme = self.scheme.filter(|_| self.authority.is_some());
        parts.authority = self.authority;
        parts.path_and_query = self.path;
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Malformed("the target is none"))?;
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.fields;
        if let Some(protocol) = self.protocol {
            request.extensions_mut().insert(protocol);
        }
        Ok(request)
    }

    pub fn trailers(self) -> Result<HeaderMap, Malformed> {
        match self.malformed {
            Some(why) => Err(Malformed(why)),
            None if self.pseudo => Err(Malformed("trailers with a pseudo-field")),
            None => Ok(self.fields),
        }
    }
}

impl Sink for Assembler {
    fn regular(&mut self, name: HeaderName, value: HeaderValue) {
        if self.fields.try_append(name, value).is_err() {
            self.refuse("there are too many fields");
        }
    }

    fn pseudo(&mut self, pseudo: Pseudo) {
        self.pseudo = true;
        if !self.fields.is_empty() {
            return self.refuse("a pseudo-field comes after another field");
        }
        let is_first = match pseudo {
            Pseudo::Method(method) => self.method.replace(method).is_none(),
            Pseudo::Scheme(scheme) => self.scheme.replace(scheme).is_none(),
            Pseudo::Authority(authority) => self.authority.replace(authority).is_none(),
            Pseudo::Path(path) => self.path.replace(path).is_none(),
            Pseudo::Protocol(protocol) => self.protocol.replace(protocol).is_none(),
            Pseudo::Status(_) => return self.refuse("a request has a status"),
        };
        if !is_first {
            self.refuse("a pseudo-field is repeated");
        }
    }

    fn malformed(&mut self, why: &'static str) {
        self.refuse(why);
    }
}
