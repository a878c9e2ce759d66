//! How a service has its clients come by TLS only.
//!
//! Promises: who has come by TLS, here or to a proxy that is believed, is not sent there again; what an authority asks for
//! to issue a certificate is answered without TLS, unless clients have to prove who they are.
//! Must not know: who is believed, certificates.

use http::header::FORWARDED;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};

const SCHEME: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// RFC 8555, section 8.3: asked for on port 80.
const CHALLENGE: &str = "/.well-known/acme-challenge/";

/// Whether a trusted proxy says that its client came by TLS: in `Forwarded` (RFC 7239, section 5.4) its first element,
/// which is of the client, otherwise in `X-Forwarded-Proto`.
pub fn came_by_tls(fields: &HeaderMap) -> bool {
    if let Some(forwarded) = fields.get(FORWARDED).and_then(|value| value.to_str().ok()) {
        let first = forwarded.split(',').next().unwrap_or_default();
        let mut pairs = first.split(';').filter_map(|pair| pair.trim().split_once('='));
        return pairs.any(|(name, value)| {
            name.eq_ignore_ascii_case("proto") && value.trim_matches('"').eq_ignore_ascii_case("https")
        });
    }
    let scheme = fields.get(SCHEME).and_then(|value| value.to_str().ok()).unwrap_or_default();
    scheme.split(',').next().unwrap_or_default().trim().eq_ignore_ascii_case("https")
}

pub fn is_challenge(path: &str) -> bool {
    path.starts_with(CHALLENGE)
}

/// The same on port 443. `host` is without a port; `None` if it is none that can be named in a field.
pub fn location(host: &str, target: &PathAndQuery) -> Option<HeaderValue> {
    // `OPTIONS *` is of the host as a whole.
    let target = if target.as_str() == "*" { "/" } else { target.as_str() };
    let host = host.to_ascii_lowercase();
    (!host.is_empty()).then(|| HeaderValue::try_from(format!("https://{host}{target}")).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_says_by_what_its_client_came() {
        for (name, value, secure) in [
            ("forwarded", "for=1.2.3.4;proto=https", true),
            ("forwarded", "for=1.2.3.4; Proto=\"HTTPS\" ;by=_x", true),
            ("forwarded", "for=1.2.3.4;proto=http, for=10.0.0.1;proto=https", false),
            ("forwarded", "for=1.2.3.4", false),
            ("x-forwarded-proto", "https", true),
            ("x-forwarded-proto", "HTTPS, http", true),
            ("x-forwarded-proto", "http, https", false),
            ("x-forwarded-protocol", "https", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(came_by_tls(&fields), secure, "{name}: {value}");
        }
        assert!(!came_by_tls(&HeaderMap::new()));
    }

    #[test]
    fn the_way_leads_to_the_same_thing() {
        let to = |host: &str, target: &'static str| location(host, &PathAndQuery::from_static(target));
        assert_eq!(to("Shop.Test", "/a?b=%2F").unwrap(), "https://shop.test/a?b=%2F");
        assert_eq!(to("[2001:db8::1]", "/").unwrap(), "https://[2001:db8::1]/");
        assert_eq!(to("shop.test", "*").unwrap(), "https://shop.test/");
        assert_eq!(to("", "/"), None);
    }
}
