//! Addresses: where to listen, where to connect, whom to trust, where the access log goes.
//!
//! Promises: a Unix path is absolute and fits into `sun_path` (unix(7)); nothing is resolved here.
//! Must not know: which key asks.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::super::message::quote;
use super::super::settings::{AccessSink, Address, Network};
use super::{Refusal, control, name};

/// `sun_path` has room for 108 bytes, the last one is NUL.
const LONGEST_UNIX: usize = 107;

/// An address to listen on: no names, because a name may mean several addresses.
pub fn socket(text: &str) -> Result<Address, Refusal> {
    match address(text)? {
        Address::Name { host, port } => {
            let local = if host == "localhost" { "127.0.0.1" } else { "0.0.0.0" };
            let found = format!("found {}, a name where an address is needed", quote(text));
            Err(Refusal::new(found, format!("write \"{local}:{port}\"")))
        }
        address => Ok(address),
    }
}

/// An address to connect to.
pub fn endpoint(text: &str) -> Result<Address, Refusal> {
    match address(text)? {
        Address::Ip(ip) if ip.port() == 0 => Err(port_zero(text)),
        Address::Name { port: 0, .. } => Err(port_zero(text)),
        address => Ok(address),
    }
}

/// An absolute path of a Unix socket.
pub fn unix_path(text: &str) -> Result<PathBuf, Refusal> {
    let path = file_path(text)?;
    if text.len() > LONGEST_UNIX {
        let found = format!("found {}, a path of {} bytes", quote(text), text.len());
        return Err(Refusal::new(
            found,
            format!("use a path of at most {LONGEST_UNIX} bytes, the kernel's limit"),
        ));
    }
    Ok(path)
}

/// A folder: absolute, or below the folder of the configuration.
pub fn folder(text: &str) -> Result<String, Refusal> {
    let refuse = |why: &str, remedy: &str| Err(Refusal::new(format!("found {}, {why}", quote(text)), remedy));
    if let Some(control) = control(text) {
        return refuse(&format!("a path with {control} in it"), "use a path of visible characters");
    }
    let absolute = text.strip_suffix('/').unwrap_or(text);
    let segments = absolute.strip_prefix('/').unwrap_or(absolute);
    if segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return refuse("a path with an empty or relative part", "write the plain path of the folder");
    }
    Ok(text.to_owned())
}

/// A file, absolute or below the folder of the configuration, or `credential:NAME`.
pub fn place(text: &str) -> Result<String, Refusal> {
    let Some(name) = text.strip_prefix("credential:") else {
        return match text.ends_with('/') {
            true => {
                Err(Refusal::new(format!("found {}, a folder", quote(text)), "write the path of the file"))
            }
            false => folder(text).map_err(|refusal| Refusal {
                remedy: refusal.remedy.replace("of the folder", "of the file"),
                ..refusal
            }),
        };
    };
    // What systemd takes for the name of a credential: a file name of printable ASCII.
    let plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if name.is_empty() || !plain || matches!(name, "." | "..") {
        let found = format!("found {}, which names no credential", quote(text));
        return Err(Refusal::new(
            found,
            "write the name in LoadCredential= of the unit, as in \"credential:shop.key\"",
        ));
    }
    Ok(text.to_owned())
}

/// An address block, an address, or `unix`.
pub fn network(text: &str) -> Result<Network, Refusal> {
    if text == "unix" {
        return Ok(Network::Unix);
    }
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(Refusal::new(format!("found {}", quote(text)), ""));
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.map(str::parse::<u8>) {
        None => bits,
        Some(Ok(prefix)) if prefix <= bits => prefix,
        Some(_) => {
            let found = format!("found {}, a prefix that is not from 0 to {bits}", quote(text));
            return Err(Refusal::new(found, format!("write \"{address}/{bits}\" for this one address")));
        }
    };
    let base = masked(address, prefix);
    if base != address {
        let found = format!("found {}, an address with bits set after its prefix", quote(text));
        return Err(Refusal::new(
            found,
            format!("write \"{base}/{prefix}\" for the block, or \"{address}\" for the one address"),
        ));
    }
    Ok(Network::Block { address, prefix })
}

/// `journal`, `journal:NAMESPACE` or `file:/path`.
pub fn sink(text: &str) -> Result<AccessSink, Refusal> {
    match text.split_once(':') {
        None if text == "journal" => Ok(AccessSink::Journal { namespace: None }),
        Some(("journal", namespace)) if is_namespace(namespace) => {
            Ok(AccessSink::Journal { namespace: Some(namespace.to_owned()) })
        }
        Some(("journal", _)) => Err(Refusal::new(
            format!("found {}, which is not a name of a journal namespace", quote(text)),
            "use letters, digits, '-', '_' and '.', for example \"journal:hitless\"",
        )),
        Some(("file", path)) => {
            file_path(path).map(AccessSink::File).map_err(|refusal| after("file:", refusal))
        }
        _ if text.starts_with('/') => {
            Err(Refusal::new(format!("found {}", quote(text)), format!("write \"file:{text}\"")))
        }
        _ => Err(Refusal::new(format!("found {}", quote(text)), "")),
    }
}

/// A sink as `sink` reads it.
pub fn sink_in_words(sink: &AccessSink) -> String {
    match sink {
        AccessSink::Journal { namespace: None } => "journal".into(),
        AccessSink::Journal { namespace: Some(namespace) } => format!("journal:{namespace}"),
        AccessSink::File(path) => format!("file:{}", path.display()),
    }
}

/// An absolute path of a file.
fn file_path(text: &str) -> Result<PathBuf, Refusal> {
    let refuse = |why: &str, remedy: &str| Err(Refusal::new(format!("found {}, {why}", quote(text)), remedy));
    if let Some(control) = control(text) {
        return refuse(&format!("a path with {control} in it"), "use a path of visible characters");
    }
    if !text.starts_with('/') {
        return refuse("a path that is not absolute", "write the whole path, beginning with /");
    }
    if text.starts_with("//") || text.ends_with('/') || text.split('/').any(|s| matches!(s, "." | "..")) {
        return refuse("a path with an empty or relative part", "write the plain path of the file");
    }
    Ok(PathBuf::from(text))
}

fn address(text: &str) -> Result<Address, Refusal> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.starts_with("//") {
            let plain = path.trim_start_matches('/');
            return Err(Refusal::new(format!("found {}", quote(text)), format!("write \"unix:/{plain}\"")));
        }
        return unix_path(path).map(Address::Unix).map_err(|refusal| after("unix:", refusal));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Ip(address));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    match (name::host_name(host), port.parse::<u16>()) {
        // `u16::from_str` takes a leading +.
        (Some(host), Ok(number)) if port.bytes().all(|b| b.is_ascii_digit()) && !looks_like_ip(&host) => {
            Ok(Address::Name { host, port: number })
        }
        _ => Err(misspelt(text)),
    }
}

/// The refusal of what stands after a scheme, quoting both.
fn after(scheme: &str, refusal: Refusal) -> Refusal {
    Refusal { found: refusal.found.replacen('\'', &format!("'{scheme}"), 1), ..refusal }
}

fn misspelt(text: &str) -> Refusal {
    let refuse = |why: &str, remedy: String| Refusal::new(format!("found {}{why}", quote(text)), remedy);
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        return refuse(", a URL where an address is needed", format!("write \"{authority}\""));
    }
    if text.starts_with('/') {
        return refuse(", a path without its 'unix:'", format!("write \"unix:{text}\""));
    }
    if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"))
        && port.parse::<u16>().is_ok()
    {
        return refuse(", a port without an address", format!("write \"0.0.0.0:{port}\" or \"[::]:{port}\""));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return refuse(", a port without an address", format!("write \"127.0.0.1:{text}\""));
    }
    if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        return refuse(", an IPv6 address without brackets and port", format!("write \"[{text}]:80\""));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if port.is_empty() && name::host_name(host).is_some() {
        return refuse(", an address without a port", format!("add the port, for example \"{host}:8080\""));
    }
    if name::host_name(host).is_some()
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_err()
    {
        return refuse(", a port above 65535", "use a port from 1 to 65535".into());
    }
    refuse("", String::new())
}

fn port_zero(text: &str) -> Refusal {
    Refusal::new(
        format!("found {}, a port that cannot be connected to", quote(text)),
        "use a port from 1 to 65535",
    )
}

/// `300.1.1.1` is a mistyped address rather than a name.
fn looks_like_ip(host: &str) -> bool {
    host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

fn is_namespace(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_absolute_or_below_that_of_the_configuration() {
        for text in ["/etc/hitless/errors", "/etc/hitless/errors/", "errors", "pages/errors"] {
            assert_eq!(folder(text).as_deref(), Ok(text));
        }
        for text in ["", "/", "//x", ".", "../errors", "a//b", "a/./b", "a\nb"] {
            assert!(folder(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_a_name_or_a_unix_socket() {
        for text in ["127.0.0.1:3000", "[::1]:3000", "app.internal:80", "localhost:1", "unix:/run/app.sock"] {
            assert_eq!(endpoint(text).map(|a| a.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_refused_address_comes_with_what_to_write() {
        let cases = [
            ("http://127.0.0.1:3000/", "write \"127.0.0.1:3000\""),
            ("/run/app.sock", "write \"unix:/run/app.sock\""),
            ("unix:///run/app.sock", "write \"unix:/run/app.sock\""),
            ("unix:run/app.sock", "write the whole path, beginning with /"),
            ("unix:/run/../x", "write the plain path of the file"),
            ("127.0.0.1", "add the port, for example \"127.0.0.1:8080\""),
            ("app", "add the port, for example \"app:8080\""),
            ("8080", "write \"127.0.0.1:8080\""),
            (":8080", "write \"0.0.0.0:8080\" or \"[::]:8080\""),
            ("::1", "write \"[::1]:80\""),
            ("app:99999", "use a port from 1 to 65535"),
            ("app:0", "use a port from 1 to 65535"),
            ("300.0.0.1:80", ""),
            ("app:+80", ""),
            ("a b:80", ""),
            ("", ""),
        ];
        for (text, remedy) in cases {
            assert_eq!(endpoint(text).unwrap_err().remedy, remedy, "{text}");
        }
        assert_eq!(socket("localhost:80").unwrap_err().remedy, "write \"127.0.0.1:80\"");
        assert!(socket("127.0.0.1:0").is_ok(), "the kernel chooses a port");
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(socket(&long).unwrap_err().remedy.ends_with("the kernel's limit"));
    }

    #[test]
    fn a_network_is_a_block_an_address_or_unix() {
        for text in ["10.0.0.0/8", "::/0", "192.0.2.1/32", "unix"] {
            assert_eq!(network(text).map(|n| n.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        let host_bits = network("10.1.2.3/8").unwrap_err();
        assert_eq!(
            host_bits.remedy,
            "write \"10.0.0.0/8\" for the block, or \"10.1.2.3\" for the one address"
        );
        for text in ["10.0.0.0/33", "::/129", "10.0.0.0/", "example.com", ""] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_access_log_goes_to_the_journal_or_a_file() {
        for text in ["journal", "journal:web", "file:/var/log/hitless/access.log"] {
            assert_eq!(sink(text).map(|s| sink_in_words(&s)), Ok(text.to_owned()));
        }
        assert_eq!(sink("/var/log/a").unwrap_err().remedy, "write \"file:/var/log/a\"");
        for text in ["journal:", "journal:a/b", "file:a", "file:/a\nb", "file:/a/", "syslog", ""] {
            assert!(sink(text).is_err(), "{text}");
        }
    }
}
