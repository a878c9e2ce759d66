//! The fields of a request when it leaves for an endpoint.
//!
//! Sources: RFC 9110 sections 7.6.1 (`Connection`), 7.6.3 (`Via`), 10.1.4 (`TE`); RFC 9113 sections
//! 8.2.2 (connection-specific fields) and 8.2.3 (`Cookie`); RFC 7239 (`Forwarded`; node identifiers
//! in section 6, the transition from `X-Forwarded-For` in section 7.4).
//!
//! Promises: first what the client may not say is taken out, then what hitless says is set, so that
//! nothing a client sends (`Connection: x-forwarded-for`) can undo it.
//! - A trusted client's `Forwarded` and `X-Forwarded-For` are continued, its other `X-Forwarded-*` are
//!   kept where it has them: they speak of the first client. When it sends only `X-Forwarded-For`,
//!   `Forwarded` begins with the same addresses, so that both tell one story.
//! - Of any other client, every `X-Forwarded-*`, `Forwarded` and `X-Real-IP` is removed. Spelled with
//!   `_` they are removed of every client: CGI and its heirs read `X_Forwarded_For` as the same field
//!   (RFC 3875, section 4.1.18).
//! - `TE` keeps only `trailers`, `Upgrade` only what [`crate::policy::upgrade`] lets pass;
//!   `HTTP2-Settings` and `Proxy` (CVE-2016-5385) never pass.
//! - `Cookie` crumbs of HTTP/2 are one field again. Several lines of HTTP/1.1, which nobody may send (RFC
//!   6265, section 5.4), stay what they are: only HTTP/2 says what they mean together.
//! - Lines of one name keep their order, empty ones too (RFC 9110, section 5.3). That of different names
//!   has no meaning and is not kept: `HeaderMap` moves the last one to where another was removed.
//!
//! Allocates for an ordinary request: the buffer that `Forwarded` and `X-Forwarded-For` share (2, it
//! and its count), the map when it has to grow (2), a `Host` that is not already the authority. The
//! rest is static or shared with the identity. Cookie crumbs and `Connection` options that name fields
//! cost a few more.
//!
//! Must not know: which route or endpoint it is for.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use http::Version;
use http::header::{CONNECTION, COOKIE, FORWARDED, HOST, TE, UPGRADE, VIA};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::settings::Protocol;
use crate::policy::identity::{Identity, TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::policy::upgrade::Upgrade;
use crate::policy::via::Via;
use crate::response::hygiene;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Who sent the request, as its connection tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// `None` for a Unix socket.
    pub address: Option<IpAddr>,
    pub unix: bool,
    /// Whether what it says about others is believed (`[forwarded] trusted`).
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    pub version: Version,
}

/// Makes the fields of a client's request ready for an endpoint. `authority` is the one that was
/// routed, with its port; `via` names this gateway; `protocol` is the endpoint's.
pub fn for_upstream(
    headers: &mut HeaderMap,
    client: &Client,
    authority: &str,
    via: &Via,
    identity: &Identity,
    upgrade: Option<&Upgrade>,
    protocol: Protocol,
) {
    // A client of HTTP/1.0 cannot receive trailers, whatever it says.
    let trailers = client.version > Version::HTTP_10 && hygiene::lists(headers, TE, "trailers");
    hygiene::strip(headers);
    headers.remove(PROXY);
    disbelieve(headers, client.trusted);
    if client.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    // Room for all that follows, so that the map grows once; it refuses only beyond 32,768 fields.
    let _ = headers.try_reserve(10);
    set_connection(headers, trailers, upgrade, protocol);
    headers.append(VIA, via.element(client.version));
    set_origin(headers, client, authority);
    set_identity(headers, identity);
}

/// Says in the field of this name, in lower case, who the client has proven to be; whatever it says there itself is
/// removed, also in disguise.
pub fn set_proof(headers: &mut HeaderMap, name: &str, proof: Option<&str>) {
    let claims = |field: &&HeaderName| {
        field
            .as_str()
            .bytes()
            .map(|byte| if byte == b'_' { b'-' } else { byte })
            .eq(name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte }))
    };
    let claimed: Vec<HeaderName> = headers.keys().filter(claims).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    if let (Ok(name), Some(Ok(proof))) =
        (HeaderName::from_bytes(name.as_bytes()), proof.map(HeaderValue::from_str))
    {
        headers.insert(name, proof);
    }
}

/// Removes what only a trusted proxy may say about where a request comes from, and what nobody may say
/// in disguise.
fn disbelieve(headers: &mut HeaderMap, trusted: bool) {
    let refused = |name: &&HeaderName| match name.as_str() {
        disguised if disguised.contains('_') => is_ours(&disguised.replace('_', "-")),
        name => !trusted && is_claim(name),
    };
    let refused: Vec<HeaderName> = headers.keys().filter(refused).cloned().collect();
    for name in refused {
        headers.remove(name);
    }
}

/// Fields that say where a request comes from.
fn is_claim(name: &str) -> bool {
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

fn is_ours(name: &str) -> bool {
    is_claim(name) || name == X_REQUEST_ID.as_str()
}

/// RFC 9113, section 8.2.3: crumbs are one field where the next hop may not be HTTP/2.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let crumbs: Vec<&[u8]> = crumbs.filter(|crumb| !crumb.is_empty()).collect();
    let joined = crumbs.join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(COOKIE, joined);
    }
}

/// What is said on the connection to the endpoint. HTTP/2 knows `TE: trailers` and nothing else
/// (RFC 9113, section 8.2.2).
fn set_connection(headers: &mut HeaderMap, trailers: bool, upgrade: Option<&Upgrade>, protocol: Protocol) {
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if protocol == Protocol::H2c {
        return;
    }
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade.protocols.clone());
    }
    let options = match (upgrade, trailers) {
        (Some(_), true) => "upgrade, te",
        (Some(_), false) => "upgrade",
        (None, true) => "te",
        (None, false) => return,
    };
    headers.insert(CONNECTION, HeaderValue::from_static(options));
}

/// Says from whom, for which authority and by which scheme the request came. `Forwarded` before
/// `X-Forwarded-*`, since it may begin with what these said.
fn set_origin(headers: &mut HeaderMap, client: &Client, authority: &str) {
    set_lists(headers, client, authority);
    headers.entry(X_FORWARDED_PROTO).or_insert_with(|| HeaderValue::from_static(client.scheme));
    let same = |host: &&HeaderValue| host.as_bytes() == authority.as_bytes();
    let host = headers.get(HOST).filter(same).cloned().or_else(|| HeaderValue::from_str(authority).ok());
    let Some(host) = host else { return };
    if !authority.is_empty() {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    headers.insert(HOST, host);
}

/// Continues `Forwarded` and `X-Forwarded-For`, which share one buffer.
fn set_lists(headers: &mut HeaderMap, client: &Client, authority: &str) {
    let mut list = List::default();
    push_forwarded(&mut list, headers, client, authority);
    let end = list.begin();
    push_forwarded_for(&mut list, headers, client);
    // Only visible ASCII was pushed, so neither is refused as a value.
    let forwarded = bytes::Bytes::from(list.text);
    let addresses = forwarded.slice(end..);
    if let Ok(value) = HeaderValue::from_maybe_shared(forwarded.slice(..end)) {
        headers.insert(FORWARDED, value);
    }
    if !addresses.is_empty()
        && let Ok(value) = HeaderValue::from_maybe_shared(addresses)
    {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// The field has no word for a Unix socket: what a trusted client said stays as it is.
fn push_forwarded_for(list: &mut List, headers: &HeaderMap, client: &Client) {
    let Some(address) = client.address else { return };
    list.push_lines(headers, &X_FORWARDED_FOR);
    list.next();
    list.push(format_args!("{}", address.to_canonical()));
}

fn push_forwarded(list: &mut List, headers: &HeaderMap, client: &Client, authority: &str) {
    list.push_lines(headers, &FORWARDED);
    if list.is_empty() {
        translate(headers, list);
    }
    list.next();
    match client.address {
        Some(address) => list.push_node(address),
        None if client.unix => list.text.push_str("for=_unix"),
        None => list.text.push_str("for=unknown"),
    }
    list.push_parameter("host", authority);
    list.push_parameter("proto", client.scheme);
}

/// RFC 7239, section 7.4: begins the list with what a trusted client said in the older fields; host and
/// scheme are those of the first client.
fn translate(headers: &HeaderMap, list: &mut List) {
    let first = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for (index, node) in headers.get_all(X_FORWARDED_FOR).iter().flat_map(hygiene::tokens).enumerate() {
        list.next();
        match address_of(node) {
            Some(address) => list.push_node(address),
            None => list.text.push_str("for=unknown"),
        }
        if index == 0 {
            list.push_parameter("host", first(X_FORWARDED_HOST));
            list.push_parameter("proto", first(X_FORWARDED_PROTO));
        }
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
pub(super) fn address_of(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    bare.parse().ok().or_else(|| node.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Comma-separated lists, one after the other in one buffer.
struct List {
    text: String,
    /// Where the present list begins.
    start: usize,
}

impl Default for List {
    fn default() -> List {
        List { text: String::with_capacity(160), start: 0 }
    }
}

impl List {
    /// Ends the present list and begins another; returns where.
    fn begin(&mut self) -> usize {
        self.start = self.text.len();
        self.start
    }

    fn is_empty(&self) -> bool {
        self.text.len() == self.start
    }

    fn next(&mut self) {
        if !self.is_empty() {
            self.text.push_str(", ");
        }
    }

    fn push(&mut self, text: fmt::Arguments<'_>) {
        // INVARIANT: writing to a `String` does not fail.
        let _ = self.text.write_fmt(text);
    }

    /// What a field says so far, its lines joined (RFC 9110, section 5.3).
    fn push_lines(&mut self, headers: &HeaderMap, name: &HeaderName) {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).map(str::trim);
        for line in lines.filter(|line| !line.is_empty()) {
            self.next();
            self.text.push_str(line);
        }
    }

    /// RFC 7239, section 6: an IPv6 address has brackets, and so must be quoted.
    fn push_node(&mut self, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => self.push(format_args!("for={address}")),
            IpAddr::V6(address) => self.push(format_args!("for=\"[{address}]\"")),
        }
    }

    /// `;name=value`, quoted when it is no token (RFC 9110, section 5.6.2); nothing for an empty value.
    fn push_parameter(&mut self, name: &str, value: &str) {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return;
        }
        if value.bytes().all(is_token) {
            return self.push(format_args!(";{name}={value}"));
        }
        self.push(format_args!(";{name}=\""));
        for char in value.chars() {
            if matches!(char, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(char);
        }
        self.text.push('"');
    }
}

fn set_identity(headers: &mut HeaderMap, identity: &Identity) {
    headers.insert(TRACEPARENT, identity.trace.header());
    headers.insert(X_REQUEST_ID, identity.request_id.clone());
    if !identity.trace.is_continued() {
        headers.remove(TRACESTATE);
    }
}

#[cfg(test)]
mod tests;
