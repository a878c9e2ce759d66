//! What a request says about which endpoint it wants, and what its client is told about which it got.
//!
//! Promises: a cookie names an endpoint by an opaque mark, never by its address; a client that names none, or one that
//! is gone, is balanced like any other.
//! Must not know: endpoints, who gets requests.

use http::{HeaderMap, HeaderValue, Response, header};

use super::Asker;
use super::balance::key_of;
use super::board::Row;
use super::roster::Preference;
use crate::config::settings::{Balance, HashKey, Way};

/// As the request says it. Costs nothing where the configuration does not ask.
pub(super) fn of(balance: &Balance, fields: &HeaderMap, asker: &dyn Asker) -> Preference {
    let key = match (balance.way, &balance.key) {
        (Way::Least | Way::Turns, _) => None,
        (Way::Hash, HashKey::Address) => asker.address().map(|address| match address.to_canonical() {
            std::net::IpAddr::V4(address) => key_of(&address.octets()),
            std::net::IpAddr::V6(address) => key_of(&address.octets()),
        }),
        (Way::Hash, HashKey::Field(name)) => fields.get(name.as_str()).map(|value| key_of(value.as_bytes())),
        (Way::Hash, HashKey::Cookie(name)) => cookie(fields, name).map(key_of),
    };
    let mark = balance.sticky.as_deref().and_then(|name| {
        let text = std::str::from_utf8(cookie(fields, name)?).ok()?;
        u64::from_str_radix(text, 16).ok()
    });
    Preference { key, mark }
}

/// Has the client come back to this endpoint, if it has not said so by itself.
pub(super) fn remember<B>(balance: &Balance, wanted: Preference, row: &Row, response: &mut Response<B>) {
    let Some(name) = &balance.sticky else { return };
    if wanted.mark == Some(row.mark()) {
        return;
    }
    let cookie = format!("{name}={:016x}; Path=/; HttpOnly; SameSite=Lax", row.mark());
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The value of the first cookie of this name (RFC 6265, section 5.4).
fn cookie<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = fields
        .get_all(header::COOKIE)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut fields = HeaderMap::new();
        fields.append(header::COOKIE, HeaderValue::from_static("xid=1; id2=2;id=3; id=4"));
        fields.append(header::COOKIE, HeaderValue::from_static("last=5"));
        let value = |name| cookie(&fields, name).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(value("id").as_deref(), Some("3"));
        assert_eq!(value("last").as_deref(), Some("5"));
        assert_eq!(value("i"), None);
        assert_eq!(value(""), None);
    }
}
