//! The header of the PROXY protocol, versions 1 and 2: on whose behalf a load balancer connects.
//!
//! Source: haproxy's doc/proxy-protocol.txt, whose sections are named here. What version 2 says behind the addresses is
//! skipped (section 2.2), and its checksum is not verified.
//!
//! Promises: pure; nothing is told before the header is whole, and what is wrong is refused as soon as the line or the
//! first 16 bytes say so. A header has at most [`LONGEST`] bytes, or 107 in version 1.
//! Must not know: who may be believed, where the bytes come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Section 2.1: every line fits, with its CRLF.
const LINE: usize = 107;
const WORD: &[u8] = b"PROXY ";
/// Section 2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, length.
const FIXED: usize = 16;
/// Enough for addresses of every family and a client's certificate; section 2.2 says that it fits into a segment.
const LONGEST: usize = 4096;

/// A header that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How many of the bytes are the header.
    pub(super) length: usize,
    /// `None`: it is not told, and the connection is the other side's own.
    pub(super) client: Option<IpAddr>,
}

/// Why these bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it does not begin with one")]
    Missing,
    #[error("a line of more than {LINE} bytes")]
    LongLine,
    #[error("a line that does not say two addresses and two ports of TCP")]
    Line,
    #[error("version {0}")]
    Version(u8),
    #[error("command {0}")]
    Command(u8),
    #[error("family and transport {0:#04x}")]
    Family(u8),
    #[error("{0} bytes are too few for the addresses of its family")]
    Short(usize),
    #[error("more than {LONGEST} bytes")]
    Long,
}

/// The header that the connection begins with; `None` while it may be one that is not whole.
pub(super) fn read(came: &[u8]) -> Result<Option<Header>, Malformed> {
    if agree(came, SIGNATURE) {
        binary(came)
    } else if agree(came, WORD) {
        line(came)
    } else {
        Err(Malformed::Missing)
    }
}

/// As far as both go.
fn agree(came: &[u8], mark: &[u8]) -> bool {
    came.iter().zip(mark).all(|(one, other)| one == other)
}

/// Section 2.1.
fn line(came: &[u8]) -> Result<Option<Header>, Malformed> {
    let space = &came[..came.len().min(LINE)];
    let Some(end) = space.windows(2).position(|pair| pair == b"\r\n") else {
        return if came.len() < LINE { Ok(None) } else { Err(Malformed::LongLine) };
    };
    let told = came.get(WORD.len()..end).ok_or(Malformed::Line)?;
    Ok(Some(Header { length: end + 2, client: source(told)? }))
}

/// Behind the first word. What an unknown protocol says of itself is ignored.
fn source(told: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    if told == b"UNKNOWN" || told.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let told = std::str::from_utf8(told).map_err(|_| Malformed::Line)?;
    let mut words = told.split(' ');
    let mut next = || words.next().ok_or(Malformed::Line);
    let (family, from, to) = (next()?, next()?, next()?);
    let (source, _) = match family {
        "TCP4" => (address::<Ipv4Addr>(from)?, address::<Ipv4Addr>(to)?),
        "TCP6" => (address::<Ipv6Addr>(from)?, address::<Ipv6Addr>(to)?),
        _ => return Err(Malformed::Line),
    };
    port(next()?)?;
    port(next()?)?;
    if words.next().is_some() { Err(Malformed::Line) } else { Ok(Some(source.to_canonical())) }
}

fn address<A: std::str::FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, Malformed> {
    text.parse::<A>().map(Into::into).map_err(|_| Malformed::Line)
}

/// Without a sign, and without zeroes in front.
fn port(text: &str) -> Result<(), Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain && text.parse::<u16>().is_ok() { Ok(()) } else { Err(Malformed::Line) }
}

/// Section 2.2.
fn binary(came: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((&[.., command, family, high, low], rest)) = came.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let told = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED + told;
    if command >> 4 != 2 {
        return Err(Malformed::Version(command >> 4));
    }
    if length > LONGEST {
        return Err(Malformed::Long);
    }
    let relayed = match command & 0xf {
        // By itself, as to see whether somebody is here: the family does not count.
        0 => false,
        1 => true,
        command => return Err(Malformed::Command(command)),
    };
    if relayed {
        check(family, told)?;
    }
    let Some(rest) = rest.get(..told) else { return Ok(None) };
    let client = if relayed { addressed(family, rest) } else { None };
    Ok(Some(Header { length, client }))
}

/// Whether there is such a family and transport, and room for its addresses.
fn check(family: u8, told: usize) -> Result<(), Malformed> {
    let least = match family >> 4 {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return Err(Malformed::Family(family)),
    };
    match family & 0xf {
        0 => Ok(()),
        1 | 2 if told < least => Err(Malformed::Short(told)),
        1 | 2 => Ok(()),
        _ => Err(Malformed::Family(family)),
    }
}

/// Who connects by TCP. All others are not told, as section 2.2 has it for what a receiver does not know.
fn addressed(family: u8, rest: &[u8]) -> Option<IpAddr> {
    let address = match family {
        0x11 => IpAddr::from(*rest.first_chunk::<4>()?),
        0x21 => IpAddr::from(*rest.first_chunk::<16>()?),
        _ => return None,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Version and command, family and transport, how much is said to come, what comes.
    fn of(command: u8, family: u8, length: usize, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(length).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn whole(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        of(command, family, rest.len(), rest)
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 18, 103, 1, 187];

    fn six(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        [&source.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[18, 103, 1, 187]].concat()
    }

    fn longest_line() -> Vec<u8> {
        // Section 2.1: the worst case, "UNKNOWN" with two long addresses and ports.
        let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n").into_bytes();
        assert_eq!(line.len(), LINE);
        line
    }

    fn accepted() -> Vec<(&'static str, Vec<u8>, Option<IpAddr>)> {
        let line = |text: &str| text.as_bytes().to_vec();
        let more = |rest: &[u8], extension: &[u8]| [rest, extension].concat();
        vec![
            ("2.1", line("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"), client("192.0.2.7")),
            ("2.1", line("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"), client("255.255.255.255")),
            ("2.1", line("PROXY TCP6 2001:db8::9 ::1 4711 443\r\n"), client("2001:db8::9")),
            ("2.1: upper case", line("PROXY TCP6 2001:DB8::A ::1 4711 443\r\n"), client("2001:db8::a")),
            ("2.1", line("PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 443\r\n"), client("192.0.2.7")),
            ("2.1: nothing behind UNKNOWN", line("PROXY UNKNOWN\r\n"), None),
            ("2.1: anything behind UNKNOWN", line("PROXY UNKNOWN any\x00\u{fe}thing \r\n"), None),
            ("2.1: 107 bytes", longest_line(), None),
            ("2.2: LOCAL", whole(0x20, 0x00, b""), None),
            ("2.2: LOCAL, the length counts", whole(0x20, 0x00, &[7; 99]), None),
            ("2.2: LOCAL, the family is ignored", whole(0x20, 0x11, &FOUR), None),
            ("2.2: LOCAL, whatever family", whole(0x20, 0xff, b"x"), None),
            ("2.2: UNSPEC", whole(0x21, 0x00, b""), None),
            ("2.2: UNSPEC, its addresses are ignored", whole(0x21, 0x00, &FOUR), None),
            ("2.2: a family without a transport", whole(0x21, 0x10, b""), None),
            ("2.2: a transport without a family", whole(0x21, 0x01, &FOUR), None),
            ("2.2: TCP over IPv4", whole(0x21, 0x11, &FOUR), client("192.0.2.7")),
            ("2.2: TLVs are skipped", whole(0x21, 0x11, &more(&FOUR, &[0xe0, 0, 1, 9])), client("192.0.2.7")),
            ("2.2: also broken ones", whole(0x21, 0x11, &more(&FOUR, &[4, 9])), client("192.0.2.7")),
            ("2.2: UDP over IPv4 as UNSPEC", whole(0x21, 0x12, &FOUR), None),
            ("2.2: TCP over IPv6", whole(0x21, 0x21, &six("2001:db8::9")), client("2001:db8::9")),
            ("2.2", whole(0x21, 0x21, &six("::ffff:192.0.2.7")), client("192.0.2.7")),
            ("2.2: UDP over IPv6 as UNSPEC", whole(0x21, 0x22, &six("2001:db8::9")), None),
            ("2.2: AF_UNIX", whole(0x21, 0x31, &[b'/'; 216]), None),
            ("2.2: AF_UNIX, datagrams", whole(0x21, 0x32, &[0; 216]), None),
            ("as long as may be", whole(0x21, 0x11, &more(&FOUR, &[0; LONGEST - 28])), client("192.0.2.7")),
        ]
    }

    #[test]
    fn a_header_is_told_when_its_last_byte_is_there_and_not_before() {
        for (section, header, client) in accepted() {
            for at in 0..header.len() {
                assert_eq!(read(&header[..at]), Ok(None), "{section}: {at} bytes of {header:?}");
            }
            let told = Ok(Some(Header { length: header.len(), client }));
            assert_eq!(read(&header), told, "{section}: {header:?}");
            let behind = [&header[..], b"PROXY \r\n\r\n\0"].concat();
            assert_eq!(read(&behind), told, "{section}, with more behind it: {header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let line = |text: &str| text.as_bytes().to_vec();
        let mut signature = whole(0x21, 0x11, &FOUR);
        signature[11] = b'\r';
        let long = [&longest_line()[..LINE - 2], b"x\r\n"].concat();
        for (section, header, why) in [
            ("2.2: neither of both", line("GET / HTTP/1.1\r\n\r\n"), Malformed::Missing),
            ("2.2: a TLS handshake", vec![22, 3, 1], Malformed::Missing),
            (
                "2.1: in upper case",
                line("proxy TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"),
                Malformed::Missing,
            ),
            ("2.1: one space", line("PROXY\tTCP4 192.0.2.7 198.51.100.1 4711 443\r\n"), Malformed::Missing),
            ("2.2: another signature", signature, Malformed::Missing),
            ("2.1: 108 bytes", long, Malformed::LongLine),
            ("2.1: no CRLF in 107 bytes", [&b"PROXY TCP4 "[..], &[b'1'; 96]].concat(), Malformed::LongLine),
            ("2.1: nothing", line("PROXY \r\n"), Malformed::Line),
            (
                "2.1: no such protocol",
                line("PROXY UDP4 192.0.2.7 198.51.100.1 4711 443\r\n"),
                Malformed::Line,
            ),
            ("2.1: no such protocol", line("PROXY UNKNOWNS\r\n"), Malformed::Line),
            ("2.1: two spaces", line("PROXY  TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"), Malformed::Line),
            ("2.1: two spaces", line("PROXY TCP4 192.0.2.7  198.51.100.1 4711 443\r\n"), Malformed::Line),
            ("2.1: four numbers", line("PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n"), Malformed::Line),
            ("2.1: up to 255", line("PROXY TCP4 192.0.2.256 198.51.100.1 4711 443\r\n"), Malformed::Line),
            (
                "2.1: a zero in front",
                line("PROXY TCP4 192.0.2.07 198.51.100.1 4711 443\r\n"),
                Malformed::Line,
            ),
            ("2.1: both addresses", line("PROXY TCP4 192.0.2.7 localhost 4711 443\r\n"), Malformed::Line),
            ("2.1: of its family", line("PROXY TCP4 ::1 ::1 4711 443\r\n"), Malformed::Line),
            ("2.1: of its family", line("PROXY TCP6 192.0.2.7 198.51.100.1 4711 443\r\n"), Malformed::Line),
            ("2.1: 128 bits", line("PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 4711 443\r\n"), Malformed::Line),
            ("2.1: one pair of colons", line("PROXY TCP6 1::2::3 ::1 4711 443\r\n"), Malformed::Line),
            ("2.1: no port", line("PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n"), Malformed::Line),
            ("2.1: no port", line("PROXY TCP4 192.0.2.7 198.51.100.1 4711 \r\n"), Malformed::Line),
            ("2.1: up to 65535", line("PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n"), Malformed::Line),
            ("2.1: a zero in front", line("PROXY TCP4 192.0.2.7 198.51.100.1 0471 443\r\n"), Malformed::Line),
            ("2.1: a sign", line("PROXY TCP4 192.0.2.7 198.51.100.1 +471 443\r\n"), Malformed::Line),
            ("2.1: something more", line("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 \r\n"), Malformed::Line),
            ("2.1: LF alone", line("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\nGET /\r\n"), Malformed::Line),
            ("2.1: CR alone", line("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\r\n"), Malformed::Line),
            ("2.1: no text", [b"PROXY TCP4 \xff", &b" 1 2\r\n"[..]].concat(), Malformed::Line),
            ("2.2: version 1", whole(0x11, 0x11, &FOUR), Malformed::Version(1)),
            ("2.2: version 3", whole(0x31, 0x11, &FOUR), Malformed::Version(3)),
            ("2.2: no such command", whole(0x22, 0x11, &FOUR), Malformed::Command(2)),
            ("2.2: no such family", whole(0x21, 0x41, &[0; 216]), Malformed::Family(0x41)),
            ("2.2: no such transport", whole(0x21, 0x13, &FOUR), Malformed::Family(0x13)),
            ("2.2: 12 bytes", whole(0x21, 0x11, &FOUR[..11]), Malformed::Short(11)),
            ("2.2: 12 bytes", whole(0x21, 0x12, b""), Malformed::Short(0)),
            ("2.2: 36 bytes", whole(0x21, 0x21, &six("::1")[..35]), Malformed::Short(35)),
            ("2.2: 216 bytes", whole(0x21, 0x31, &[0; 215]), Malformed::Short(215)),
            ("too long", of(0x21, 0x11, LONGEST - FIXED + 1, b""), Malformed::Long),
            ("too long, LOCAL", of(0x20, 0x00, 0xffff, b""), Malformed::Long),
        ] {
            assert_eq!(read(&header), Err(why), "{section}: {:?}", String::from_utf8_lossy(&header));
        }
    }

    /// Nobody waits for more than the longest header, and nothing is told that goes beyond what came.
    #[test]
    fn whatever_comes_it_is_known_what_it_is_within_the_longest_header() {
        let mut seeds: Vec<Vec<u8>> = accepted().into_iter().map(|(_, header, _)| header).collect();
        seeds.push(of(0x21, 0x11, LONGEST - FIXED, &FOUR));
        for seed in seeds {
            for at in 0..seed.len().min(40) {
                for byte in [0, b' ', b'\r', b'\n', 0x21, 0xff] {
                    let mut bytes = seed.clone();
                    bytes[at] = byte;
                    if let Ok(Some(header)) = read(&bytes) {
                        assert!(header.length <= bytes.len() && header.length <= LONGEST);
                    }
                    bytes.resize(LONGEST, byte);
                    assert_ne!(read(&bytes), Ok(None), "{bytes:?}");
                }
            }
        }
    }
}
