//! The few things of an X.509 certificate (RFC 5280, section 4.1) that rustls checks and does not tell.
//!
//! Promises: never panics, whatever the bytes; decides nothing about trust, which is rustls' business.
//! Must not know: files, PEM, keys.

use std::net::IpAddr;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Certificate {
    /// As encoded: two names are the same when their bytes are.
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    pub common_name: Option<String>,
    pub names: Vec<Name>,
}

/// An alternative name of the subject (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// In lower case; may be a wildcard.
    Dns(String),
    Ip(IpAddr),
    /// A mail address or a URI.
    Other(String),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Name::Dns(name) | Name::Other(name) => f.write_str(name),
            Name::Ip(address) => write!(f, "{address}"),
        }
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.4.3 and 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

impl Certificate {
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let mut tbs = Reader(Reader(Reader(der).take(SEQUENCE)?).take(SEQUENCE)?);
        tbs.skip(VERSION);
        tbs.take(INTEGER)?;
        tbs.take(SEQUENCE)?;
        let issuer = tbs.take(SEQUENCE)?;
        let mut validity = Reader(tbs.take(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.any()?)?, time(validity.any()?)?);
        let subject = tbs.take(SEQUENCE)?;
        tbs.take(SEQUENCE)?;
        let mut names = Vec::new();
        // The unique identifiers, [1] and [2], are of the past.
        while let Some((tag, content)) = tbs.any() {
            if tag == EXTENSIONS {
                names = alternative_names(content)?;
            }
        }
        Some(Certificate {
            common_name: common_name(subject),
            issuer: issuer.to_vec(),
            subject: subject.to_vec(),
            not_before,
            not_after,
            names,
        })
    }
}

/// The elements of a DER encoding, one after the other (X.690, section 8.1).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.any().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }

    fn skip(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.any();
        }
    }
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut sets = Reader(subject);
    while let Some(set) = sets.take(SET) {
        let mut pairs = Reader(set);
        while let Some(pair) = pairs.take(SEQUENCE) {
            let mut pair = Reader(pair);
            if pair.take(OID)? == COMMON_NAME {
                let (tag, value) = pair.any()?;
                return text(tag, value).filter(|name| !name.is_empty());
            }
        }
    }
    None
}

fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        // UTF8String, PrintableString, IA5String.
        0x0c | 0x13 | 0x16 => String::from_utf8(value.to_vec()).ok(),
        // TeletexString: what is in use of it is Latin-1.
        0x14 => Some(value.iter().map(|byte| char::from(*byte)).collect()),
        // BMPString.
        0x1e => {
            let units: Vec<u16> =
                value.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<Name>> {
    let mut extensions = Reader(Reader(extensions).take(SEQUENCE)?);
    while let Some(extension) = extensions.take(SEQUENCE) {
        let mut extension = Reader(extension);
        if extension.take(OID)? != ALTERNATIVE_NAMES {
            continue;
        }
        extension.skip(BOOLEAN);
        let mut list = Reader(Reader(extension.take(OCTETS)?).take(SEQUENCE)?);
        let mut names = Vec::new();
        while let Some((tag, value)) = list.any() {
            names.extend(name(tag, value));
        }
        return Some(names);
    }
    Some(Vec::new())
}

fn name(tag: u8, value: &[u8]) -> Option<Name> {
    let ascii = || std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).map(str::to_owned);
    match tag {
        0x82 => Some(Name::Dns(ascii()?.to_ascii_lowercase())),
        0x81 | 0x86 => Some(Name::Other(ascii()?)),
        0x87 => {
            let four = <[u8; 4]>::try_from(value).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok().map(Name::Ip)
        }
        _ => None,
    }
}

/// UTCTime or GeneralizedTime, in the one form that RFC 5280, section 4.1.2.5, allows of each.
fn time((tag, value): (u8, &[u8])) -> Option<i64> {
    let digits = value.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let two = |at: usize| {
        let two = digits.get(at..at + 2)?;
        i8::try_from((two[0] - b'0') * 10 + (two[1] - b'0')).ok()
    };
    let (year, rest) = match (tag, digits.len()) {
        (0x17, 12) => {
            let year = i16::from(two(0)?);
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (0x18, 14) => (i16::from(two(0)?) * 100 + i16::from(two(2)?), 4),
        _ => return None,
    };
    let moment = jiff::civil::DateTime::new(
        year,
        two(rest)?,
        two(rest + 2)?,
        two(rest + 4)?,
        two(rest + 6)?,
        two(rest + 8)?,
        0,
    );
    Some(moment.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    fn made() -> Vec<u8> {
        let mut params =
            CertificateParams::new(vec!["Shop.Example".into(), "*.shop.example".into()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress("2001:db8::1".parse().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("a@shop.example".try_into().unwrap()));
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::OrganizationName, "Läden");
        params.distinguished_name.push(DnType::CommonName, "Der Laden");
        params.not_before = date_time_ymd(1999, 12, 31);
        params.not_after = date_time_ymd(2099, 1, 2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_read() {
        let read = Certificate::read(&made()).unwrap();
        assert_eq!(read.common_name.as_deref(), Some("Der Laden"));
        let names: Vec<String> = read.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["shop.example", "*.shop.example", "2001:db8::1", "a@shop.example"]);
        assert_eq!(read.issuer, read.subject);
        assert_eq!((read.not_before, read.not_after), (946_598_400, 4_070_995_200));
    }

    #[test]
    fn only_the_times_that_are_allowed_are_read() {
        assert_eq!(time((0x17, b"500101000000Z")), Some(-631_152_000));
        assert_eq!(time((0x17, b"491231235959Z")), Some(2_524_607_999));
        assert_eq!(time((0x18, b"20500101000000Z")), Some(2_524_608_000));
        for (tag, text) in [
            (0x17, &b"4912312359Z"[..]),
            (0x17, b"491231235959"),
            (0x17, b"491331235959Z"),
            (0x18, b"20500101000000.5Z"),
            (0x18, b"500101000000Z"),
            (0x02, b"491231235959Z"),
        ] {
            assert_eq!(time((tag, text)), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0usize..400, byte: u8, cut in 0usize..500) {
            static MADE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(made);
            let mut der = MADE.clone();
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            der.truncate(der.len().min(cut.max(300)));
            let _ = Certificate::read(&der);
        }

        #[test]
        fn nor_do_others(der: Vec<u8>) {
            let _ = Certificate::read(&der);
        }
    }
}
