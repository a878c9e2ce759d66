//! Whether a request asks to go on in another protocol (RFC 9110, section 7.8).
//!
//! Promises: what comes out may be sent to an endpoint as it is: over HTTP/1.1 asked for in both
//! `Connection` and `Upgrade`, over HTTP/2 by a CONNECT with `:protocol` (RFC 8441), and never another
//! HTTP, whose framing would run past this gateway (`h2c` smuggling; RFC 9113, section 3.1, has withdrawn
//! it), nor TLS, in which another HTTP could be (RFC 2817). Nothing but well-formed protocols comes out.
//! A request with content may ask too (`docker exec` does): the tunnel begins after its content.
//! Must not know: what the protocols do.

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Method, Version};

use crate::response::hygiene::{lists, tokens};

/// The protocols that a client would rather speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of `Upgrade`, in the client's order of preference.
    pub protocols: HeaderValue,
}

impl Upgrade {
    /// RFC 6455, section 4.1: its tunnels can be closed with a reason.
    pub fn is_websocket(&self) -> bool {
        protocols(&self.protocols).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
    }

    /// Whether a 101 with these fields switches to what was asked for, which it must say (RFC 9110,
    /// section 7.8). A version may be added or left out.
    pub fn is_met_by(&self, headers: &HeaderMap) -> bool {
        let mut switched = headers.get_all(UPGRADE).iter().flat_map(tokens).map(name_of).peekable();
        let asked =
            |name: &str| protocols(&self.protocols).any(|asked| name_of(asked).eq_ignore_ascii_case(name));
        switched.peek().is_some() && switched.all(asked)
    }
}

/// What the `:protocol` of a CONNECT asks for (RFC 8441, section 4): over HTTP/1.1 the same is an upgrade.
pub fn of_connect(protocol: &str) -> Option<Upgrade> {
    let protocols = HeaderValue::from_str(protocol).ok()?;
    passes(protocol).then_some(Upgrade { protocols })
}

/// A `Sec-WebSocket-Key`: sixteen random bytes in base64 (RFC 6455, section 4.1). A client of HTTP/2
/// sends none.
pub fn websocket_key(random: [u8; 16]) -> HeaderValue {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u128::from_be_bytes(random);
    // Twenty-two digits of six bits, the last of which has only two.
    let mut text: Vec<u8> =
        (0..21).map(|place| ALPHABET[(bits >> (122 - 6 * place) & 63) as usize]).collect();
    text.push(ALPHABET[(bits << 4 & 63) as usize]);
    text.extend_from_slice(b"==");
    // INVARIANT: all of it is visible ASCII.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or(HeaderValue::from_static(""))
}

/// What a request asks for; `None` when it asks for nothing that can be passed on.
pub fn asked(method: &Method, version: Version, headers: &HeaderMap) -> Option<Upgrade> {
    let may = version == Version::HTTP_11 && method != Method::CONNECT;
    if !may || !headers.contains_key(UPGRADE) || !lists(headers, CONNECTION, "upgrade") {
        return None;
    }
    let mut lines = headers.get_all(UPGRADE).iter();
    if let (Some(only), None) = (lines.next(), lines.next())
        && only.to_str().is_ok()
        && protocols(only).next().is_some()
        && tokens(only).all(passes)
    {
        return Some(Upgrade { protocols: only.clone() });
    }
    let passing: Vec<&str> = headers.get_all(UPGRADE).iter().flat_map(protocols).collect();
    let protocols = HeaderValue::try_from(passing.join(", ")).ok()?;
    (!passing.is_empty()).then_some(Upgrade { protocols })
}

fn protocols(line: &HeaderValue) -> impl Iterator<Item = &str> {
    tokens(line).filter(|protocol| passes(protocol))
}

/// `protocol-name ["/" protocol-version]`, both tokens, but neither HTTP in any spelling nor TLS.
fn passes(protocol: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let name = name_of(protocol);
    let well_formed = protocol.splitn(2, '/').all(is_token);
    let begins = |with: &str| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    // `h2c-14` and `h2-16` were drafts of it.
    well_formed && !["h2", "h3", "http", "tls"].iter().any(|&with| begins(with))
}

fn name_of(protocol: &str) -> &str {
    protocol.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_key_is_sixteen_bytes_in_base64() {
        assert_eq!(websocket_key([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(websocket_key([255; 16]), "/////////////////////w==");
        // The example of RFC 6455, section 1.3.
        assert_eq!(websocket_key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn a_connect_of_another_http_is_not_passed_on() {
        assert_eq!(of_connect("websocket").unwrap().protocols, "websocket");
        assert_eq!(of_connect("h2c"), None);
    }

    fn ask(version: Version, lines: &[(&'static str, &'static str)]) -> Option<String> {
        let headers: HeaderMap = lines
            .iter()
            .map(|(name, text)| (name.parse().unwrap(), HeaderValue::from_static(text)))
            .collect();
        let upgrade = asked(&Method::GET, version, &headers)?;
        Some(upgrade.protocols.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_upgrade_is_passed_on_as_it_was_asked_for() {
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("connection", "Upgrade"), ("upgrade", "websocket")], "websocket"),
            (&[("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")], "WebSocket"),
            (
                &[("connection", "keep-alive"), ("connection", "UPGRADE"), ("upgrade", "foo/2, bar")],
                "foo/2, bar",
            ),
            (&[("connection", "upgrade"), ("upgrade", "foo"), ("upgrade", "bar")], "foo, bar"),
            (&[("connection", "upgrade"), ("upgrade", "h2c, websocket")], "websocket"),
            (&[("connection", "upgrade"), ("upgrade", "H2C"), ("upgrade", "foo")], "foo"),
            (&[("connection", "upgrade"), ("upgrade", "h2c websocket, foo, \"h2c\"")], "foo"),
            (&[("connection", "upgrade"), ("upgrade", "TLS/1.0, HTTP/1.1, foo/1.0")], "foo/1.0"),
            (&[("connection", "upgrade"), ("upgrade", "tcp")], "tcp"), // docker
        ];
        for (lines, expected) in table {
            assert_eq!(ask(Version::HTTP_11, lines).as_deref(), Some(*expected), "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_an_upgrade_is_not_passed_on() {
        let table: &[&[(&str, &str)]] = &[
            &[],
            &[("upgrade", "websocket")], // RFC 9110, section 7.8: it needs the connection option
            &[("connection", "upgrade")],
            &[("connection", "upgraded"), ("upgrade", "websocket")],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "HTTP/2.0")],
            &[("connection", "upgrade"), ("upgrade", "h2c-14, h2, h3, http/3")],
            &[("connection", "upgrade"), ("upgrade", "TLS/1.0")],
            &[("connection", "upgrade"), ("upgrade", "web socket, a/b/c, /1")],
            &[("connection", "upgrade"), ("upgrade", "")],
            &[("connection", "upgrade"), ("upgrade", ", ,")],
        ];
        for lines in table {
            assert_eq!(ask(Version::HTTP_11, lines), None, "{lines:?}");
        }
        let websocket = &[("connection", "upgrade"), ("upgrade", "websocket")];
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert_eq!(ask(version, websocket), None, "{version:?}");
        }
    }

    #[test]
    fn a_websocket_is_recognised_in_any_case() {
        let upgrade = |text| Upgrade { protocols: HeaderValue::from_static(text) };
        assert!(upgrade("WebSocket").is_websocket());
        assert!(!upgrade("websockets").is_websocket());
    }

    #[test]
    fn what_is_no_text_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_bytes(b"websocket, h2c\xff").unwrap());
        let asked = asked(&Method::GET, Version::HTTP_11, &headers).unwrap();
        assert_eq!(asked.protocols, "websocket");
    }

    #[test]
    fn only_what_was_asked_for_is_switched_to() {
        // RFC 9110, section 7.8.
        let upgrade = Upgrade { protocols: HeaderValue::from_static("websocket, foo/2") };
        let table: &[(&[&'static str], bool)] = &[
            (&["websocket"], true),
            (&["WebSocket"], true),
            (&["foo/2"], true),
            (&["foo"], true),
            (&["websocket/13"], true),
            (&["foo/2, websocket"], true),
            (&["bar"], false),
            (&["websocket, h2c"], false),
            (&["websocket", "h2c"], false),
            (&[""], false),
            (&[], false),
        ];
        for (lines, met) in table {
            let headers: HeaderMap =
                lines.iter().map(|line| (UPGRADE, HeaderValue::from_static(line))).collect();
            assert_eq!(upgrade.is_met_by(&headers), *met, "{lines:?}");
        }
    }
}
