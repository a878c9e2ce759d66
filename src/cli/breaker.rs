//! `hitless breaker`: sets a breaker by hand.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::client::{self, Where};
use super::{Fatal, code, print};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// open: no requests; close: requests whatever is answered; auto: by itself
    #[arg(value_enum)]
    hand: Hand,
    /// A service, or one of its endpoints as 'hitless status' names it: shop, shop/127.0.0.1:3000
    #[arg(value_name = "SERVICE[/ENDPOINT]")]
    whose: String,
    #[command(flatten)]
    place: Where,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Hand {
    Open,
    Close,
    Auto,
}

/// The gateway itself gives up before.
const LIMIT: Duration = Duration::from_secs(15);

pub fn breaker(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let hand = match options.hand {
        Hand::Open => "open",
        Hand::Close => "close",
        Hand::Auto => "auto",
    };
    let request = format!("POST /breaker/{hand}/{}", encoded(&options.whose));
    let answer = client::ask(&options.place, directory, &request, "set a breaker", LIMIT)?;
    let text = String::from_utf8_lossy(&answer.body);
    match answer.status {
        200 => print(&text),
        _ => Err(Fatal::new(code::REFUSED, text.trim())),
    }
}

/// As a path may have it (RFC 3986, section 3.3); a slash stays one.
fn encoded(whose: &str) -> String {
    let mut path = String::with_capacity(whose.len());
    for byte in whose.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => {
                path.push(char::from(byte));
            }
            // INVARIANT: writing to a String does not fail.
            other => drop(write!(path, "%{other:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_breaks_out_of_the_request() {
        assert_eq!(encoded("shop/[::1]:80"), "shop/%5B::1%5D:80");
        assert_eq!(encoded("a HTTP/1.1\r\nX: y?%"), "a%20HTTP/1.1%0D%0AX:%20y%3F%25");
    }
}
