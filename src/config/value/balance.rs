//! What a service says about its endpoints, as it is written: weights, shares, keys of a hash, statuses.
//!
//! Promises: as [`super`].
//! Must not know: as [`super`].

use super::super::message::quote;
use super::super::settings::Endpoint;
use super::name::{field, is_token};
use super::{Refusal, Value, address};

/// The largest weight: a thousand endpoints of it add up to no large number.
const HEAVIEST: u32 = 1_000_000;

/// `127.0.0.1:3000`, `127.0.0.1:3000 weight=3`. Paths of sockets may have spaces.
pub fn endpoint(text: &str) -> Result<Endpoint, Refusal> {
    let Some((address, weight)) = text.rsplit_once(" weight=") else {
        return address::endpoint(text).map(Endpoint::from);
    };
    let number = weight.parse().ok().filter(|_| weight.bytes().all(|byte| byte.is_ascii_digit()));
    match number {
        Some(weight @ 0..=HEAVIEST) => {
            Ok(Endpoint { address: address::endpoint(address.trim_end())?, weight })
        }
        _ => Err(Refusal::new(
            format!("found {}, whose weight is no number up to {HEAVIEST}", quote(text)),
            format!("write \"{} weight=3\"", address.trim_end()),
        )),
    }
}

/// `20%`, `0.5%`; in thousandths.
pub fn percent(text: &str) -> Result<u32, Refusal> {
    let refusal = || {
        let number = text.trim_end_matches('%');
        let remedy = match number.parse::<f64>() {
            Ok(share) if share > 0.0 && share < 1.0 && !text.ends_with('%') => {
                format!("write \"{}%\"", share * 100.0)
            }
            Ok(_) if !text.ends_with('%') => format!("write \"{number}%\""),
            _ => "write \"20%\"".to_owned(),
        };
        Refusal::new(format!("found {}", quote(text)), remedy)
    };
    let number = text.strip_suffix('%').ok_or_else(refusal)?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, most: usize| {
        let sound = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
        sound.then(|| text.parse::<u32>().ok()).flatten()
    };
    let thousandths = digits(whole, 3).zip(digits(tenth, 1)).map(|(whole, tenth)| whole * 10 + tenth);
    thousandths.filter(|thousandths| *thousandths <= 1000).ok_or_else(refusal)
}

/// The same, and more than nothing.
pub fn some_percent(text: &str) -> Result<u32, Refusal> {
    match percent(text)? {
        0 => Err(Refusal::new(format!("found {}", quote(text)), "write \"off\" for never")),
        thousandths => Ok(thousandths),
    }
}

/// `address`, `field:x-tenant`, `cookie:id`; the field in lower case.
pub fn hash_key(text: &str) -> Result<String, Refusal> {
    match text.split_once(':') {
        None if text == "address" => Ok(text.to_owned()),
        Some(("field", name)) => field(name).map(|name| format!("field:{name}")),
        Some(("cookie", name)) => token(name).map(|name| format!("cookie:{name}")),
        _ => {
            let remedy = if is_token(text) { format!("write \"field:{text}\"") } else { String::new() };
            Err(Refusal::new(format!("found {}", quote(text)), remedy))
        }
    }
}

/// The name of a cookie (RFC 6265, section 4.1.1).
pub fn token(text: &str) -> Result<String, Refusal> {
    match is_token(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::new(
            format!("found {} as the name of a cookie", quote(text)),
            "use letters, digits and hyphens",
        )),
    }
}

/// A path with its query: what a request line can carry.
pub fn target(text: &str) -> Result<String, Refusal> {
    let sound =
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('#');
    match sound && text.len() <= 2048 && http::uri::PathAndQuery::try_from(text).is_ok() {
        true => Ok(text.to_owned()),
        false => Err(Refusal::new(format!("found {}", quote(text)), "write a path that begins with '/'")),
    }
}

/// `200`, `200-399`.
pub fn statuses(text: &str) -> Result<Value, Refusal> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let status =
        |text: &str| text.parse().ok().filter(|status| text.len() == 3 && (100..=599_u16).contains(status));
    match (status(from), status(to)) {
        (Some(from), Some(to)) if from <= to => Ok(Value::Statuses(from, to)),
        _ => Err(Refusal::new(format!("found {}", quote(text)), "write \"200-399\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_have_a_weight() {
        for (text, weight) in
            [("127.0.0.1:3000", 1), ("[::1]:80 weight=0", 0), ("app:80  weight=1000000", 1_000_000)]
        {
            assert_eq!(endpoint(text).unwrap().weight, weight, "{text}");
        }
        assert_eq!(
            endpoint("unix:/run/a b.sock weight=2").unwrap().to_string(),
            "unix:/run/a b.sock weight=2"
        );
        for text in [
            "app:80 weight=",
            "app:80 weight=-1",
            "app:80 weight=1000001",
            "app:80 weight=1.5",
            "app:80 weight=99999999999",
            "app:80 weight=+1",
            "app:80 wieght=1",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_has_its_sign() {
        for (text, thousandths) in [("0%", 0), ("20%", 200), ("0.5%", 5), ("100%", 1000), ("100.0%", 1000)] {
            assert_eq!(percent(text), Ok(thousandths), "{text}");
        }
        for text in ["", "%", "20", "-1%", "101%", "100.1%", "1.55%", "1e1%", "0.2", "20 %"] {
            assert!(percent(text).is_err(), "{text}");
        }
        assert_eq!(percent("0.2").unwrap_err().remedy, "write \"20%\"");
        assert_eq!(percent("20").unwrap_err().remedy, "write \"20%\"");
        assert!(some_percent("0%").is_err() && some_percent("0.1%").is_ok());
    }

    #[test]
    fn keys_and_statuses_are_what_they_say() {
        assert_eq!(hash_key("field:X-Tenant").as_deref(), Ok("field:x-tenant"));
        assert_eq!(hash_key("x-tenant").unwrap_err().remedy, "write \"field:x-tenant\"");
        for text in ["", "field:", "cookie:a=b", "cookie:", "ip:1", "field:a b"] {
            assert!(hash_key(text).is_err(), "{text}");
        }
        assert_eq!(statuses("204"), Ok(Value::Statuses(204, 204)));
        for text in ["", "20", "2000", "399-200", "200-", "-200", "600", "2xx"] {
            assert!(statuses(text).is_err(), "{text}");
        }
        assert!(target("/healthz?full=1").is_ok());
        for text in ["", "healthz", "/a b", "/a#b", "/\r\nX: y", "*"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
