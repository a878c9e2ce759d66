//! A page as a user names it: `http://shop.example.com:8080/healthz`, `https://shop.example.com/`.
//!
//! Promises: only a page of this host is ever asked for under load: an address that no interface of this host has
//! is refused.
//! Must not know: what is asked of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::str::FromStr;

use super::options::Address;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Over TLS.
    pub secure: bool,
    /// What goes into `Host`.
    pub authority: String,
    pub path: String,
}

impl FromStr for Page {
    type Err = String;

    fn from_str(url: &str) -> Result<Page, String> {
        let secure = url.starts_with("https://");
        let rest = url.strip_prefix(if secure { "https://" } else { "http://" });
        let rest = rest.ok_or("must begin with http:// or https://")?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || authority.contains('@') || !visible(authority) || !visible(&path) {
            return Err("must be http://HOST/PATH or http://HOST:PORT/PATH, without spaces".to_owned());
        }
        Ok(Page { secure, authority: authority.to_owned(), path })
    }
}

impl Page {
    /// Where to connect: an address that is this host's own.
    pub fn address(&self) -> Result<Address, String> {
        let with_port = self.authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        let port = if self.secure { 443 } else { 80 };
        let target =
            if with_port.is_some() { self.authority.clone() } else { format!("{}:{port}", self.authority) };
        let found = target.to_socket_addrs();
        let found: Vec<_> =
            found.map_err(|error| format!("cannot resolve '{}': {error}", self.authority))?.collect();
        match found.iter().find(|address| is_of_this_host(address.ip())) {
            Some(address) => Ok(Address::Tcp(*address)),
            None => Err(format!(
                "'{}' is not an address of this host: {}; name one with --connect, such as 127.0.0.1:{port}",
                self.authority,
                found.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

impl Address {
    /// Whether it leads to this host itself.
    pub fn is_of_this_host(&self) -> bool {
        match self {
            Address::Tcp(address) => is_of_this_host(address.ip()),
            Address::Unix(_) => true,
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http{}://{}{}", if self.secure { "s" } else { "" }, self.authority, self.path)
    }
}

/// Only an address of an interface can be bound (ip(7): EADDRNOTAVAIL).
fn is_of_this_host(address: IpAddr) -> bool {
    address.is_loopback() || TcpListener::bind(SocketAddr::new(address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_browsers_read_it() {
        for (url, authority, path) in [
            ("http://shop.example.com", "shop.example.com", "/"),
            ("http://shop.example.com:8080/a?b=c#d", "shop.example.com:8080", "/a?b=c"),
            ("http://[::1]:80?x", "[::1]:80", "/?x"),
            ("https://shop.example.com/a", "shop.example.com", "/a"),
        ] {
            let page: Page = url.parse().unwrap();
            assert_eq!((page.authority.as_str(), page.path.as_str()), (authority, path), "{url}");
            assert_eq!(page.secure, url.starts_with("https:"), "{url}");
        }
        for url in ["httpsx://x/", "x", "http://", "http:///x", "http://a b/", "http://u@x/", "http://x/\r\n"]
        {
            assert!(url.parse::<Page>().is_err(), "{url:?}");
        }
    }

    #[test]
    fn only_a_page_of_this_host_has_an_address() {
        let address = |url: &str| url.parse::<Page>().unwrap().address();
        assert_eq!(address("http://127.0.0.1:81/"), Ok(Address::Tcp(([127, 0, 0, 1], 81).into())));
        assert_eq!(address("https://127.0.0.1/"), Ok(Address::Tcp(([127, 0, 0, 1], 443).into())));
        assert_eq!(address("http://127.0.0.1/"), Ok(Address::Tcp(([127, 0, 0, 1], 80).into())));
        // For documentation only, RFC 5737.
        assert!(address("http://192.0.2.1/").unwrap_err().contains("not an address of this host"));
    }
}
